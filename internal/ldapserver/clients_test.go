package ldapserver

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"

	goldap "github.com/go-ldap/ldap/v3"

	"expost/internal/ldap"
)

// serveOrganisation serves the organisation of testdata and returns the URL.
func serveOrganisation(t testing.TB, cfg Config) string {
	t.Helper()
	cfg.Directory = organisation(t)
	addr, _ := start(t, cfg)
	ldapadd(t, "ldap://"+addr, organisationLDIF)
	return "ldap://" + addr
}

// anonymously searches without a bind.
func anonymously(t testing.TB, url, base string, args ...string) ran {
	t.Helper()
	return run(t, nil, "ldapsearch", append([]string{"-x", "-H", url, "-LLL", "-o", "ldif-wrap=no", "-b", base}, args...)...)
}

// dns returns the DNs in LDIF.
func dns(ldif string) []string {
	var list []string
	for line := range strings.Lines(ldif) {
		if dn, ok := strings.CutPrefix(line, "dn: "); ok {
			list = append(list, strings.TrimSpace(dn))
		}
	}
	return list
}

func TestOutlookFindsWhatIsTyped(t *testing.T) {
	t.Parallel()
	url := serveOrganisation(t, Config{})
	got := anonymously(t, url, bookDN, append([]string{"-z", "100", "-l", "60", outlook("Bis")}, strings.Fields(outlookAttributes)...)...)
	want := `dn: cn=Biswajit Banerjee,ou=addressbook,dc=linuxforu,dc=com
cn: Biswajit Banerjee
cn: Biswajit Kumar Banerjee
displayName: Banerjee, Biswajit
givenName: Biswajit
mail: biswajit@linuxforu.com
objectClass: inetOrgPerson
physicalDeliveryOfficeName: Kolkata
sn: Banerjee
telephoneNumber: +91 33 2479 0001
title: Editor
uid: biswajit`
	if got.status != 0 || sorted(got.stdout) != sorted(want) {
		t.Errorf("status %d\n%s\nwant\n%s", got.status, sorted(got.stdout), want)
	}
}

func TestSizeLimitGivesWhatFits(t *testing.T) {
	t.Parallel()
	url := serveOrganisation(t, Config{})
	got := anonymously(t, url, bookDN, "-z", "2", outlook("s"), "cn")
	if n := len(dns(got.stdout)); got.status != int(ldap.Success) || n != 2 {
		t.Errorf("two that fit: status %d, %d entries", got.status, n)
	}
	got = anonymously(t, url, bookDN, "-z", "2", "(mail=*)", "cn")
	if n := len(dns(got.stdout)); got.status != int(ldap.SizeLimitExceeded) || n != 2 {
		t.Errorf("more than fit: status %d, %d entries", got.status, n)
	}
}

func TestOtherAddressBooks(t *testing.T) {
	t.Parallel()
	url := serveOrganisation(t, Config{})
	const biswajit = "cn=Biswajit Banerjee," + bookDN
	for name, args := range map[string][]string{
		"Thunderbird's completion": {bookDN, "-z", "100", "(|(cn=*bis*)(mail=*bis*)(givenName=*bis*)(sn=*bis*))", "givenName", "sn", "surname", "cn", "commonname", "mozillaNickname", "mail"},
		"Thunderbird, two words":   {bookDN, "(|(cn=*bis*ban*)(mail=*bis ban*)(givenName=*bis*)(sn=*bis ban*))", "cn"},
		"Thunderbird's search":     {bookDN, "(|(cn=*bis*)(givenName=*bis*)(sn=*bis*)(mozillaNickname=*bis*)(mail=*bis*)(mozillaSecondEmail=*bis*)(&(description=*bis*))(o=*bis*)(ou=*bis*)(title=*bis*)(mozillaWorkUrl=*bis*)(mozillaHomeUrl=*bis*))"},
		"Contacts of a Mac":        {"", "-l", "30", "(|(givenname=bis*)(sn=bis*)(cn=bis*)(mail=bis*))", "givenName", "sn", "cn", "mail", "buildingName", "jpegPhoto", "IMHandle"},
		"Contacts of an iPhone":    {bookDN, "(|(o=bis*)(cn=bis*)(ou=bis*)(sn=bis*)(mail=bis*)(IMHandle=bis*)(givenname=bis*)(postalAddress=bis*)(telephoneNumber=bis*))"},
		"Active Directory's":       {bookDN, "(anr=bis)", "cn"},
	} {
		got := anonymously(t, url, args[0], args[1:]...)
		if found := dns(got.stdout); got.status != 0 || len(found) != 1 || found[0] != biswajit {
			t.Errorf("%s: status %d, %q, %s", name, got.status, found, got.stderr)
		}
	}
}

func TestAnonymousSeeTheAddressBookAlone(t *testing.T) {
	t.Parallel()
	url := serveOrganisation(t, Config{})
	for _, base := range []string{suffixDN, ""} {
		for _, dn := range dns(anonymously(t, url, base, "(objectClass=*)", "*", "+").stdout) {
			if !strings.HasSuffix(dn, bookDN) {
				t.Errorf("anonymous see %s", dn)
			}
		}
	}
	for _, filter := range []string{"(uid=reader)", "(userPassword=*)", "(userPassword=letmein)"} {
		if got := anonymously(t, url, suffixDN, filter); len(dns(got.stdout)) > 0 {
			t.Errorf("anonymous find %s: %s", filter, got.stdout)
		}
	}
	for _, dn := range []string{readerDN, managerDN} {
		password := map[string]string{readerDN: "letmein", managerDN: "secret"}[dn]
		got := run(t, nil, "ldapsearch", "-x", "-H", url, "-D", dn, "-w", password, "-LLL", "-b", readerDN, "(userPassword=*)", "userPassword")
		if dn == readerDN && strings.Contains(got.stdout, "userPassword") {
			t.Errorf("%s reads a password: %s", dn, got.stdout)
		}
		if strings.Contains(got.stdout, "letmein") || strings.Contains(got.stdout, "bGV0bWVpb") {
			t.Errorf("a password is kept in clear: %s", got.stdout)
		}
	}
}

func TestLDAPUtils(t *testing.T) {
	t.Parallel()
	url := serveOrganisation(t, Config{TLSConfig: serverTLS(t)})
	manager := []string{"-x", "-H", url, "-D", managerDN, "-w", "secret"}
	ajay := "cn=Ajay," + bookDN
	added := file(t, "dn: cn=New,"+bookDN+"\nobjectClass: inetOrgPerson\ncn: New\nsn: New\nmail: new@linuxforu.com\n")
	for _, step := range []struct {
		name    string
		args    []string
		status  int
		printed string
	}{
		{"ldapwhoami", []string{"-x", "-H", url}, 0, "anonymous"},
		{"ldapwhoami", manager, 0, "dn:" + managerDN},
		{"ldapwhoami", []string{"-x", "-ZZ", "-H", url, "-D", readerDN, "-w", "letmein"}, 0, "dn:" + readerDN},
		{"ldapwhoami", []string{"-Q", "-Y", "PLAIN", "-ZZ", "-O", "none", "-H", url, "-U", "dn:" + readerDN, "-w", "letmein"}, 0, "dn:" + readerDN},
		{"ldapwhoami", []string{"-x", "-H", url, "-D", readerDN, "-w", "wrong"}, 49, "Invalid credentials"},
		{"ldapwhoami", []string{"-x", "-H", url, "-D", "uid=nobody," + suffixDN, "-w", "wrong"}, 49, "Invalid credentials"},
		{"ldapwhoami", []string{"-x", "-H", url, "-D", "a,b=", "-w", "wrong"}, 34, "Invalid DN syntax"},
		{"ldapwhoami", []string{"-x", "-H", url, "-D", readerDN, "-w", ""}, 53, "unauthenticated bind (DN with no password) disallowed"},
		{"ldapsearch", []string{"-x", "-P", "2", "-H", url, "-D", readerDN, "-w", "letmein"}, 2, "historical protocol version"},
		{"ldapcompare", append(manager, ajay, "mail:AJAY@linuxforu.com"), 6, "TRUE"},
		{"ldapcompare", append(manager, ajay, "mail:nobody@linuxforu.com"), 5, "FALSE"},
		{"ldapcompare", append(manager, ajay, "title:Editor"), 16, "No such attribute"},
		{"ldapcompare", append(manager, ajay, "nonesuch:Editor"), 17, "Undefined attribute type"},
		{"ldapcompare", append(manager, "cn=nobody,"+bookDN, "cn:nobody"), 32, "No such object"},
		{"ldapadd", []string{"-x", "-H", url, "-f", added}, 8, "modifications require authentication"},
		{"ldapadd", []string{"-x", "-H", url, "-D", readerDN, "-w", "letmein", "-f", added}, 50, "Insufficient access"},
		{"ldapadd", append(manager, "-f", added), 0, "adding new entry"},
		{"ldapadd", append(manager, "-f", added), 68, "Already exists"},
		{"ldapmodify", append(manager, "-f", file(t, "dn: cn=New,"+bookDN+"\nchangetype: modify\nreplace: title\ntitle: Clerk\n-\nadd: mobile\nmobile: +91 1\nmobile: +91 2\n")), 0, "modifying entry"},
		{"ldapcompare", append(manager, "cn=New,"+bookDN, "mobile:+912"), 6, "TRUE"},
		{"ldapmodify", append(manager, "-f", file(t, "dn: cn=New,"+bookDN+"\nchangetype: modify\ndelete: sn\n")), 65, "requires attribute 'sn'"},
		{"ldapmodrdn", append(manager, "-r", "cn=New,"+bookDN, "cn=Renamed"), 0, ""},
		{"ldapmodrdn", append(manager, "-s", "ou=branch,"+bookDN, "cn=Renamed,"+bookDN, "cn=New"), 0, ""},
		{"ldapcompare", append(manager, "cn=New,ou=branch,"+bookDN, "cn:Renamed"), 6, "TRUE"},
		{"ldapmodrdn", append(manager, "cn=nobody,"+bookDN, "cn=New"), 32, "No such object"},
		{"ldapmodrdn", append(manager, "cn=Ajay,"+bookDN, "cn=Anup Sharma"), 68, "Already exists"},
		{"ldapmodrdn", append(manager, "-s", bookDN, "cn=New,ou=branch,"+bookDN, "cn=New"), 0, ""},
		{"ldapdelete", append(manager, "ou=branch,"+bookDN), 66, "not allowed on non-leaf"},
		{"ldapdelete", append(manager, "cn=New,"+bookDN), 0, ""},
		{"ldapdelete", append(manager, "cn=New,"+bookDN), 32, "No such object"},
	} {
		got := run(t, []string{"LDAPTLS_REQCERT=never"}, step.name, step.args...)
		if got.status != step.status || !strings.Contains(got.stdout+got.stderr, step.printed) {
			t.Errorf("%s %q: status %d, want %d with %q\n%s%s", step.name, step.args, got.status, step.status, step.printed, got.stdout, got.stderr)
		}
	}
}

func TestLDAPSWithLDAPSearch(t *testing.T) {
	t.Parallel()
	config := serverTLS(t)
	addr, _ := startOn(t, Config{Directory: organisation(t), PlaintextAuth: PlaintextNever},
		func(l net.Listener) net.Listener { return tls.NewListener(l, config) })
	got := run(t, []string{"LDAPTLS_REQCERT=never"}, "ldapsearch", "-x", "-H", "ldaps://"+addr, "-D", managerDN, "-w", "secret", "-LLL", "-s", "base", "-b", "", "namingContexts")
	if got.status != 0 || !strings.Contains(got.stdout, "namingContexts: "+suffixDN) {
		t.Errorf("status %d\n%s%s", got.status, got.stdout, got.stderr)
	}
}

func TestGoLDAP(t *testing.T) {
	t.Parallel()
	c, err := goldap.DialURL(serveOrganisation(t, Config{TLSConfig: serverTLS(t)}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	dn := "cn=Go," + bookDN
	add := goldap.NewAddRequest(dn, nil)
	add.Attribute("objectClass", []string{"inetOrgPerson"})
	add.Attribute("cn", []string{"Go"})
	add.Attribute("sn", []string{"Go"})
	add.Attribute("mail", []string{"go@linuxforu.com"})
	modify := goldap.NewModifyRequest(dn, nil)
	modify.Replace("mail", []string{"go@linuxforu.com", "gopher@linuxforu.com"})
	modify.Add("title", []string{"Gopher"})
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"StartTLS", func() error { return c.StartTLS(&tls.Config{InsecureSkipVerify: true}) }},
		{"bind", func() error { return c.Bind(managerDN, "secret") }},
		{"add", func() error { return c.Add(add) }},
		{"modify", func() error { return c.Modify(modify) }},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
	}
	who, err := c.WhoAmI(nil)
	if err != nil || who.AuthzID != "dn:"+managerDN {
		t.Errorf("Who am I: %+v, %v", who, err)
	}
	if same, err := c.Compare(dn, "title", "gopher"); err != nil || !same {
		t.Errorf("compare: %v, %v", same, err)
	}
	found, err := c.Search(goldap.NewSearchRequest(suffixDN, goldap.ScopeWholeSubtree, goldap.NeverDerefAliases, 0, 0, false, "(mail=gopher@linuxforu.com)", []string{"mail"}, nil))
	if err != nil || len(found.Entries) != 1 || len(found.Entries[0].GetAttributeValues("mail")) != 2 {
		t.Errorf("search: %+v, %v", found, err)
	}
	paged, err := c.SearchWithPaging(goldap.NewSearchRequest(bookDN, goldap.ScopeWholeSubtree, goldap.NeverDerefAliases, 0, 0, false, "(mail=*)", []string{"1.1"}, nil), 3)
	if err != nil || len(paged.Entries) < 7 {
		t.Errorf("a paged search: %v, %v", paged, err)
	}
	if err := c.Del(goldap.NewDelRequest(dn, nil)); err != nil {
		t.Errorf("delete: %v", err)
	}
	if err := c.Unbind(); err != nil {
		t.Errorf("unbind: %v", err)
	}
}
