package ldapserver

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"expost/internal/directory"
	"expost/internal/directory/embedded"
	"expost/internal/ldap"
	"expost/internal/password"
	"expost/internal/peertest"
)

// ran is what a program did.
type ran struct {
	stdout, stderr string
	status         int
}

// run runs a program to its end.
func run(t testing.TB, env []string, name string, args ...string) ran {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, peertest.Lookup(t, name), args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = append(os.Environ(), env...)
	err := cmd.Run()
	if _, isExit := errors.AsType[*exec.ExitError](err); err != nil && !isExit {
		t.Fatalf("%s: %v", name, err)
	}
	return ran{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// slapdAccess is what our directory grants by default, in slapd's words.
const slapdAccess = `access to attrs=userPassword by anonymous auth by * none
access to dn.subtree="ou=addressbook,dc=linuxforu,dc=com" by * read
access to * by users read by * none
`

// newSlapd makes a slapd; lines end the configuration of its database. With our
// schema it has attributes that Debian's files lack.
func newSlapd(t testing.TB, schemas, lines string) *peertest.Slapd {
	t.Helper()
	return peertest.StartSlapd(t, peertest.SlapdConfig{Suffix: suffixDN, RootDN: managerDN, Password: "secret", Schemas: schemas, Global: "moduleload syncprov", Database: lines})
}

const (
	suffixDN  = "dc=linuxforu,dc=com"
	managerDN = "cn=manager,dc=linuxforu,dc=com"
	readerDN  = "uid=reader,ou=people,dc=linuxforu,dc=com"
	bookDN    = "ou=addressbook,dc=linuxforu,dc=com"

	organisationLDIF = "testdata/organisation.ldif"
)

// file writes a file and returns its name.
func file(t testing.TB, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// ldapadd puts the entries of a file into a server.
func ldapadd(t testing.TB, url, file string) {
	t.Helper()
	if r := run(t, nil, "ldapadd", "-x", "-H", url, "-D", managerDN, "-w", "secret", "-f", file); r.status != 0 {
		t.Fatalf("ldapadd to %s: %s%s", url, r.stdout, r.stderr)
	}
}

// organisation opens a directory that has nothing but the entries that every
// new one has.
func organisation(t testing.TB) directory.Directory {
	t.Helper()
	dn := func(s string) ldap.DN {
		dn, err := ldap.ParseDN(s)
		if err != nil {
			t.Fatal(err)
		}
		return dn
	}
	d, err := embedded.Open(t.Context(), embedded.Options{
		Dir: t.TempDir(), Suffix: dn(suffixDN), RootDN: dn(managerDN), RootPassword: []byte("secret"), Anonymous: []ldap.DN{dn(bookDN)},
		Passwords: password.New(password.Options{Memory: 64, Time: 1}),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// ldapsearch searches as the reader, whose password is letmein.
func ldapsearch(t testing.TB, url, base string, args ...string) ran {
	t.Helper()
	return run(t, nil, "ldapsearch", append([]string{"-x", "-H", url, "-D", readerDN, "-w", "letmein", "-LLL", "-o", "ldif-wrap=no", "-b", base}, args...)...)
}

// unique matches what is never the same in two directories.
var unique = regexp.MustCompile(`(?m)^(entryUUID|entryCSN|createTimestamp|modifyTimestamp): .*$`)

// sorted returns LDIF with its records, and the lines of each, in order. slapd
// writes an escaped comma in the other of its two forms.
func sorted(ldif string) string {
	ldif = unique.ReplaceAllString(strings.ReplaceAll(ldif, `\2C`, `\,`), "$1")
	records := strings.Split(strings.TrimSpace(ldif), "\n\n")
	for i, r := range records {
		lines := strings.Split(r, "\n")
		slices.Sort(lines)
		records[i] = strings.Join(lines, "\n")
	}
	slices.Sort(records)
	return strings.Join(records, "\n\n")
}

// without returns the records of one LDIF that are not in the other.
func without(ldif, other string) string {
	records := strings.Split(sorted(ldif), "\n\n")
	others := strings.Split(sorted(other), "\n\n")
	return strings.Join(slices.DeleteFunc(records, func(r string) bool { return slices.Contains(others, r) }), "\n\n")
}

// outlook is the filter of Outlook for what somebody typed.
func outlook(typed string) string {
	return strings.ReplaceAll("(&(mail=*)(|(mail=%s*)(|(cn=%s*)(|(sn=%s*)(givenName=%s*)))))", "%s", typed)
}

const outlookAttributes = "cn commonName mail roleOccupant display-name displayname sn surname co organizationName o givenName " +
	"legacyExchangeDN objectClass uid mailNickname title company physicalDeliveryOfficeName telephoneNumber"

// question is a search asked of slapd and of us.
type question struct {
	base string
	args []string // of ldapsearch
}

// differences says of filters why we do not answer as slapd 2.5 does.
func differences() map[string]string {
	return map[string]string{
		"(sn=*ß*)":                         "we fold ß to ss, as RFC 4518 §2.2 says",
		"(uidNumber=01001)":                "we read a number with leading zeros",
		"(subschemaSubentry=cn=Subschema)": "slapd does not search by it",
	}
}

func questions() []question {
	filters := []string{
		outlook("Bis"), outlook("a"), outlook("nobody"), outlook("JÜR"),
		"(&(|(mail=smith*)(cn=smith*)(sn=smith*)(givenName=smith*)(displayName=smith*)))",
		"(&(objectClass=*)(|(cn=smith*)(mail=smith*)(sn=smith*)))",
		"(|(cn=*john*)(mail=*john*)(givenName=*john*)(sn=*john*))",
		"(|(cn=*smi*joh*)(mail=*smi joh*)(givenName=*smi*)(sn=*joh*))",
		"(|(mozillaNickname=*x*)(cn=*ban*)(xmozillasecondemail=*x*))",
		"(|(givenname=far)(sn=far)(cn=far)(mail=far@linuxforu.com))",
		"(|(o=ajay*)(cn=ajay*)(ou=ajay*)(sn=ajay*)(mail=ajay*)(IMHandle=ajay*)(givenname=ajay*)(postalAddress=ajay*)(telephoneNumber=ajay*))",
		"(cn=ajay)", "(CN=AJAY)", "(commonName=ajay)", "(2.5.4.3=ajay)", "(cn=  biswajit   BANERJEE )",
		"(cn=banerjee)", "(cn=b*)", "(cn=*banerjee)", "(cn=*kumar*)", "(cn=b*kumar*ban*jee)", "(cn=*)", "(name=ajay)",
		"(cn=smith, john)", "(cn=smith\\2c john)", "(description=*\\2a*)", "(description=*\\5c*)", "(title=Director \\28Sales\\29)",
		"(cn=jürgen größe)", "(cn=JÜRGEN*)", "(sn=*ß*)", "(l=münchen)", "(l;lang-en=munich)", "(l=munich)",
		"(mail=ANUP.SHARMA@LINUXFORU.COM)", "(mail=*@linuxforu.com)", "(mail=anup*)",
		"(telephoneNumber=+911126412345)", "(telephoneNumber=+91 11-2641-2345)", "(telephoneNumber=*2641*)", "(telephoneNumber=foo*)", "(telephoneNumber=-*)",
		"(objectClass=person)", "(objectClass=inetOrgPerson)", "(objectClass=organizationalPerson)", "(objectClass=2.5.6.6)", "(objectClass=nonesuch)", "(objectClass=*)",
		"(member=cn=Biswajit Banerjee,ou=addressbook,dc=linuxforu,dc=com)", "(member=CN=biswajit banerjee, OU=AddressBook, DC=linuxforu, DC=com)", "(manager=cn=ajay,ou=addressbook,dc=linuxforu,dc=com)",
		"(uidNumber=1001)", "(uidNumber>=1000)", "(uidNumber<=999)", "(uidNumber=01001)", "(gidNumber=100)",
		"(employeeNumber=42)", "(departmentNumber=7)", "(roomNumber=7)",
		"(!(mail=*))", "(!(cn=ajay))", "(!(unknown=x))", "(!(!(unknown=x)))", "(|(unknown=x)(cn=ajay))", "(&(unknown=x)(cn=ajay))", "(unknown=*)", "(!(unknown=*))",
		"(&(mail=*)(!(title=*)))", "(&)", "(|)", "(!(&))", "(&(cn=a*)(&))",
		"(cn:=ajay)", "(cn:caseExactMatch:=ajay)", "(cn:caseExactMatch:=Ajay)", "(cn:2.5.13.5:=Ajay)", "(ou:dn:=branch)", "(:dn:caseIgnoreMatch:=branch)", "(:caseIgnoreMatch:=ajay)", "(cn:nonesuch:=ajay)", "(uidNumber:1.2.840.113556.1.4.803:=1)",
		"(postalAddress=12 park street$kolkata$india)", "(postalAddress=*kolkata*)", "(labeledURI=http://www.linuxforu.com/*)", "(preferredLanguage=ko*)",
		"(entryDN=cn=Ajay,ou=addressbook,dc=linuxforu,dc=com)", "(hasSubordinates=TRUE)", "(subschemaSubentry=cn=Subschema)", "(structuralObjectClass=organizationalRole)", "(createTimestamp>=20000101000000Z)", "(creatorsName=cn=manager,dc=linuxforu,dc=com)",
		"(userPassword=letmein)", "(userPassword=*)", "(!(userPassword=*))", "(seeAlso=*)", "(jpegPhoto=*)", "(sn>=s)", "(cn>=k)", "(cn=)", "(mail=)",
	}
	var list []question
	for _, f := range filters {
		list = append(list, question{base: suffixDN, args: []string{f}})
	}
	for _, attrs := range []string{outlookAttributes, "*", "1.1", "1.1 cn", "mail", "MAIL", "rfc822Mailbox gn fax", "name", "telephoneNumber nonesuch", "* +", "@person", "@organizationalUnit", "l", "l;lang-en", "l;lang-", "userPassword", "entryDN hasSubordinates", "* userPassword", "2.5.4.4"} {
		list = append(list, question{base: suffixDN, args: append([]string{"(|(cn=b*)(cn=j*)(uid=reader)(ou=branch))"}, strings.Fields(attrs)...)})
	}
	return append(list,
		question{base: bookDN, args: []string{"-s", "base", "(objectClass=*)"}},
		question{base: bookDN, args: []string{"-s", "base", "(cn=ajay)"}},
		question{base: bookDN, args: []string{"-s", "one", "(objectClass=*)", "1.1"}},
		question{base: bookDN, args: []string{"-s", "sub", "(objectClass=*)", "1.1"}},
		question{base: "cn=Ajay," + bookDN, args: []string{"-s", "one", "(objectClass=*)"}},
		question{base: "CN = ajay , OU=AddressBook,dc=linuxforu, dc=com", args: []string{"-s", "base", "(objectClass=*)", "cn"}},
		question{base: "sn=kim+uid=KIM," + bookDN, args: []string{"-s", "base", "(objectClass=*)", "cn"}},
		question{base: "cn=Smith\\, John," + bookDN, args: []string{"-s", "base", "(objectClass=*)", "cn"}},
		question{base: "cn=nobody," + bookDN, args: []string{"(objectClass=*)"}},
		question{base: "dc=example,dc=org", args: []string{"(objectClass=*)"}},
		question{base: "cn=a=,b", args: []string{"(objectClass=*)"}},
		question{base: suffixDN, args: []string{"-A", "(cn=ajay)", "cn", "mail"}},
		question{base: suffixDN, args: []string{"-z", "2", "(objectClass=groupOfNames)", "1.1"}},
		question{base: suffixDN, args: []string{"-z", "1", "(objectClass=groupOfNames)", "1.1"}},
		question{base: suffixDN, args: []string{"-a", "always", "(cn=ajay)", "cn"}},
		question{base: suffixDN, args: []string{"-E", "!1.2.3.4", "(cn=ajay)"}},
		question{base: suffixDN, args: []string{"-E", "1.2.3.4", "(cn=ajay)"}},
	)
}

// TestAnswersLikeSlapd asks slapd and us the same questions about the same
// data, with the same program.
func TestAnswersLikeSlapd(t *testing.T) {
	t.Parallel()
	theirs := newSlapd(t, "", slapdAccess).URL
	addr, _ := start(t, Config{Directory: organisation(t)})
	ours := "ldap://" + addr
	first := run(t, nil, "ldapsearch", "-x", "-H", ours, "-D", managerDN, "-w", "secret", "-LLL", "-b", suffixDN).stdout
	ldapadd(t, theirs, file(t, first))
	ldapadd(t, theirs, organisationLDIF)
	ldapadd(t, ours, organisationLDIF)
	for _, q := range questions() {
		want := ldapsearch(t, theirs, q.base, q.args...)
		got := ldapsearch(t, ours, q.base, q.args...)
		same := got.status == want.status && sorted(got.stdout) == sorted(want.stdout)
		why := differences()[q.args[0]]
		switch {
		case !same && why == "":
			t.Errorf("%s below %q\n--- slapd alone: %d %s\n%s\n--- ours alone: %d %s\n%s", q.args, q.base,
				want.status, want.stderr, without(want.stdout, got.stdout), got.status, got.stderr, without(got.stdout, want.stdout))
		case same && why != "":
			t.Errorf("%s does not differ any more: %s", q.args, why)
		}
	}
}
