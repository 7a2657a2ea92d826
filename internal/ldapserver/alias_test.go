package ldapserver

import (
	"fmt"
	"strings"
	"testing"
)

// aliasesLDIF has aliases in a row, one to nothing, a ring, one to a subtree, and
// referral objects.
const aliasesLDIF = `dn: ou=names,dc=linuxforu,dc=com
objectClass: organizationalUnit
ou: names

dn: cn=one,ou=names,dc=linuxforu,dc=com
objectClass: alias
objectClass: extensibleObject
cn: one
aliasedObjectName: cn=two,ou=names,dc=linuxforu,dc=com

dn: cn=two,ou=names,dc=linuxforu,dc=com
objectClass: alias
objectClass: extensibleObject
cn: two
aliasedObjectName: cn=Ajay,ou=addressbook,dc=linuxforu,dc=com

dn: cn=lost,ou=names,dc=linuxforu,dc=com
objectClass: alias
objectClass: extensibleObject
cn: lost
aliasedObjectName: cn=nobody,ou=addressbook,dc=linuxforu,dc=com

dn: cn=ring,ou=names,dc=linuxforu,dc=com
objectClass: alias
objectClass: extensibleObject
cn: ring
aliasedObjectName: cn=ring,ou=names,dc=linuxforu,dc=com

dn: ou=book,ou=names,dc=linuxforu,dc=com
objectClass: alias
objectClass: extensibleObject
ou: book
aliasedObjectName: ou=branch,ou=addressbook,dc=linuxforu,dc=com

dn: ou=far,dc=linuxforu,dc=com
objectClass: referral
objectClass: extensibleObject
ou: far
ref: ldap://far.example.org/ou=people,dc=example,dc=org
ref: ldap://second.example.org

dn: ou=away,ou=names,dc=linuxforu,dc=com
objectClass: referral
objectClass: extensibleObject
ou: away
ref: ldap://away.example.org/
`

// TestAliasesAndReferralsLikeSlapd asks slapd and us, in all ways of following
// aliases, with ManageDsaIT and without.
func TestAliasesAndReferralsLikeSlapd(t *testing.T) {
	t.Parallel()
	ours := serveOrganisation(t, Config{})
	slapd := newSlapd(t, ourSchema, "")
	modify(t, slapd.URL, "dn: "+suffixDN+"\nchangetype: add\nobjectClass: dcObject\nobjectClass: organization\no: linuxforu\ndc: linuxforu\n\n"+
		"dn: ou=people,"+suffixDN+"\nchangetype: add\nobjectClass: organizationalUnit\nou: people\n\ndn: "+bookDN+"\nchangetype: add\nobjectClass: organizationalUnit\nou: addressbook\n")
	ldapadd(t, slapd.URL, organisationLDIF)
	for _, url := range []string{ours, slapd.URL} {
		if r := run(t, nil, "ldapadd", "-x", "-M", "-H", url, "-D", managerDN, "-w", "secret", "-f", file(t, aliasesLDIF)); r.status != 0 {
			t.Fatalf("%s: %s%s", url, r.stdout, r.stderr)
		}
	}
	manager := []string{"-x", "-D", managerDN, "-w", "secret"}
	compare := func(name string, args ...string) {
		t.Helper()
		a := run(t, nil, name, append(append([]string{"-H", ours}, manager...), args...)...)
		b := run(t, nil, name, append(append([]string{"-H", slapd.URL}, manager...), args...)...)
		refs := func(r ran) string { // what ldap-utils says of where to go on
			var lines []string
			for line := range strings.Lines(r.stdout + r.stderr) {
				if text := strings.ToLower(strings.TrimSpace(line)); strings.Contains(text, "ldap://") {
					lines = append(lines, text)
				}
			}
			return strings.Join(lines, "\n")
		}
		if a.status != b.status || sorted(a.stdout) != sorted(b.stdout) || refs(a) != refs(b) {
			t.Errorf("%s %q: we answer %d\n%s%s\nslapd %d\n%s%s", name, args, a.status, a.stdout, a.stderr, b.status, b.stdout, b.stderr)
		}
	}
	for _, deref := range []string{"never", "search", "find", "always"} {
		for _, scope := range []string{"base", "one", "sub"} {
			for _, base := range []string{"ou=names," + suffixDN, "cn=one,ou=names," + suffixDN, "ou=book,ou=names," + suffixDN,
				"cn=Far Away,ou=book,ou=names," + suffixDN, suffixDN, "ou=far," + suffixDN, "cn=x,ou=y,ou=far," + suffixDN} {
				for _, manage := range []string{"", "-MM"} {
					args := []string{"-LLL", "-o", "ldif-wrap=no", "-a", deref, "-s", scope, "-b", base, "(objectClass=*)", "cn", "ref", "aliasedObjectName"}
					if manage != "" {
						args = append([]string{manage}, args...)
					}
					compare("ldapsearch", args...)
				}
			}
		}
	}
	compare("ldapsearch", "-LLL", "-a", "search", "-b", suffixDN, "(cn=ajay)", "cn")
	compare("ldapsearch", "-LLL", "-b", suffixDN, "(cn=ajay)", "cn")
	for _, dn := range []string{"ou=far," + suffixDN, "cn=x,ou=far," + suffixDN} {
		compare("ldapdelete", dn)
		compare("ldapcompare", dn, "cn:x")
		compare("ldapmodify", "-f", file(t, "dn: "+dn+"\nchangetype: modify\nreplace: description\ndescription: x\n"))
		compare("ldapmodrdn", dn, "ou=other")
	}
	compare("ldapadd", "-f", file(t, "dn: cn=x,ou=far,"+suffixDN+"\nobjectClass: device\ncn: x\n"))
	compare("ldapadd", "-f", file(t, "dn: cn=x,cn=one,ou=names,"+suffixDN+"\nobjectClass: device\ncn: x\n"))
	compare("ldapdelete", "cn=one,ou=names,"+suffixDN)
	compare("ldapdelete", "-M", "ou=far,"+suffixDN)
	compare("ldapsearch", "-LLL", "-b", "ou=far,"+suffixDN)
}

// TestPagesBehindAliases has pages hold what aliases lead to once.
func TestPagesBehindAliases(t *testing.T) {
	t.Parallel()
	url := serveOrganisation(t, Config{})
	if r := run(t, nil, "ldapadd", "-x", "-M", "-H", url, "-D", managerDN, "-w", "secret", "-f", file(t, aliasesLDIF)); r.status != 0 {
		t.Fatal(r.stderr)
	}
	search := func(args ...string) []string {
		r := ldapsearch(t, url, "ou=names,"+suffixDN, append(args, "-a", "always", "-M", "(objectClass=*)", "1.1")...)
		if r.status != 0 {
			t.Fatalf("%q: %s", args, r.stderr)
		}
		return dns(r.stdout)
	}
	whole, paged := search(), search("-E", "pr=2/noprompt")
	if fmt.Sprint(whole) != fmt.Sprint(paged) || len(whole) < 4 {
		t.Errorf("%q in pages is %q", whole, paged)
	}
}
