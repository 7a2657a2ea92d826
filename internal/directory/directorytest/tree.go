package directorytest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"expost/internal/directory"
	"expost/internal/ldap"
)

// testSearch has every form of filter.
func testSearch(t *testing.T, f *fixture) {
	const outlook = "(&(mail=*)(|(mail=%[1]s*)(|(cn=%[1]s*)(|(sn=%[1]s*)(givenName=%[1]s*)))))"
	for filter, want := range map[string]string{
		fmt.Sprintf(outlook, "Bis"):            "Jürgen Groß,biswajit",
		fmt.Sprintf(outlook, "b"):              "Jürgen Groß,biswajit",
		fmt.Sprintf(outlook, "zz"):             "",
		"(cn=*ban*)":                           "biswajit",
		"(cn=*AN*)":                            "Anup Sharma,biswajit",
		"(description=*banj*)":                 "Anup Sharma",
		"(title=editor)":                       "Anup Sharma",
		"(title=edit*r)":                       "Anup Sharma",
		"(company=LPS  boi)":                   "Anup Sharma",
		"(cn=biswajit  BANERJEE)":              "biswajit",
		"(commonName=ajay kumar)":              "ajay",
		"(gn=bis*)":                            "biswajit",
		"(surname=k*r)":                        "ajay",
		"(name=ajay*)":                         "ajay",
		"(sn=GROSS)":                           "Jürgen Groß",
		"(cn=jü*)":                             "Jürgen Groß",
		"(sn>=kumar)":                          "",
		"(!(sn<=banerjee))":                    "",
		"(cn:caseIgnoreOrderingMatch:=anup t)": "Anup Sharma,ajay",
		"(&(uid=*)(createTimestamp>=20200101000000Z))": "ajay,biswajit",
		"(&(uid=*)(createTimestamp<=20200101000000Z))": "",
		"(sn~=KUMAR)":                                      "ajay",
		"(telephoneNumber=+911124650722)":                  "biswajit",
		"(telephoneNumber=*2465*)":                         "biswajit",
		"(telephoneNumber=-*)":                             "",
		"(telephoneNumber=foo*)":                           "",
		"(mailQuotaSize=01000000)":                         "biswajit",
		"(mailQuotaSize:1.2.840.113556.1.4.804:=64)":       "biswajit",
		"(cn:caseExactMatch:=Ajay Kumar)":                  "ajay",
		"(cn:caseExactMatch:=ajay kumar)":                  "",
		"(:caseExactMatch:=Editor)":                        "Anup Sharma",
		"(&(objectClass=person)(ou:dn:=addressbook))":      "Anup Sharma,Hidden,Jürgen Groß",
		"(objectClass=qmailUser)":                          "ajay,biswajit",
		"(&(objectClass=person)(!(mail=*example.org)))":    "Anup Sharma",
		"(&(objectClass=person)(!(mailHost=*)))":           "Anup Sharma,Hidden,Jürgen Groß,biswajit",
		"(!(nosuch=x))":                                    "",
		"(|(nosuch=x)(cn=ajay*))":                          "ajay",
		"(&(nosuch=x)(cn=ajay*))":                          "",
		"(!(&(nosuch=x)(cn=nobody)))":                      "Anup Sharma,Hidden,Jürgen Groß,addressbook,ajay,biswajit,example,people",
		"(&)":                                              "Anup Sharma,Hidden,Jürgen Groß,addressbook,ajay,biswajit,example,people",
		"(|)":                                              "",
		"(anr=bis ban)":                                    "biswajit",
		"(anr=ban bis)":                                    "biswajit",
		"(anr=biswa@example.net)":                          "biswajit",
		"(anr=anup)":                                       "Anup Sharma",
		"(entryDN=UID=ajay , ou=people,dc=example,dc=org)": "ajay",
		"(&(ou=*)(hasSubordinates=TRUE))":                  "addressbook,people",
		"(proxyAddresses=x500:*cn=bb)":                     "biswajit",
		"(mail=ajay@EXAMPLE.org)":                          "ajay",
		"(mail=*)":                                         "Anup Sharma,Hidden,Jürgen Groß,ajay,biswajit",
	} {
		if f.skips(filter) {
			continue
		}
		if got := names(f.search(directory.Local(), filter, "1.1")); got != names0(want) {
			t.Errorf("%s found %q, want %q", filter, got, want)
		}
	}
}

// names0 sorts a list of names as names does.
func names0(list string) string {
	if list == "" {
		return ""
	}
	var found []*ldap.Entry
	for name := range strings.SplitSeq(list, ",") {
		found = append(found, &ldap.Entry{DN: ldap.DN{{{Type: "cn", Value: name}}}})
	}
	return names(found)
}

func testScopes(t *testing.T, f *fixture) {
	for _, c := range []struct {
		base  string
		scope ldap.Scope
		want  string
	}{
		{"", ldap.ScopeOne, "addressbook,people"},
		{"", ldap.ScopeSub, "Anup Sharma,Hidden,Jürgen Groß,addressbook,ajay,biswajit,example,people"},
		{"DC=Example, dc=org", ldap.ScopeBase, "example"},
		{"ou=people,dc=example,dc=org", ldap.ScopeOne, "ajay,biswajit"},
		{"ou=people,dc=example,dc=org", ldap.ScopeSub, "ajay,biswajit,people"},
		{"uid=AJAY,ou=People,dc=example,dc=org", ldap.ScopeBase, "ajay"},
		{"uid=ajay,ou=people,dc=example,dc=org", ldap.ScopeOne, ""},
	} {
		for _, filter := range []*ldap.Filter{nil, Filter("(objectClass=*)"), Filter("(|(cn=*)(ou=*)(dc=*))")} {
			found, err := f.query(directory.Local(), &ldap.SearchRequest{Base: DN(c.base), Scope: c.scope, Filter: filter})
			if err != nil || names(found) != names0(c.want) {
				t.Errorf("%q scope %d: %q, %v, want %q", c.base, c.scope, names(found), err, c.want)
			}
		}
	}
	_, err := f.query(directory.Local(), &ldap.SearchRequest{Base: DN("cn=x,ou=nobody,ou=people,dc=example,dc=org"), Filter: Filter("(cn=*)")})
	wantCode(t, "a base that is not there", err, ldap.NoSuchObject, "")
	if le, ok := errors.AsType[*ldap.Error](err); !ok || le.Matched.String() != "ou=people,dc=example,dc=org" {
		t.Errorf("the nearest entry is not named: %v", err)
	}
	_, err = f.query(directory.Local(), &ldap.SearchRequest{Base: DN("dc=elsewhere"), Scope: ldap.ScopeSub, Filter: Filter("(cn=*)")})
	wantCode(t, "a base elsewhere", err, ldap.NoSuchObject, "")
}

// testAttributes selects attributes.
func testAttributes(t *testing.T, f *fixture) {
	const ajay = "(uid=ajay)"
	for _, c := range []struct {
		attributes string
		want       string // in any order
	}{
		{"cn commonName mail display-name sn surname legacyExchangeDN", "cn mail sn"},
		{"1.1", ""},
		{"1.1 cn", "cn"},
		{"MAIL", "mail"},
		{"rfc822Mailbox 2.5.4.3", "cn mail"},
		{"name", "cn sn"},
		{"cn;lang-de", ""},
		{"entryDN hasSubordinates structuralObjectClass", "entryDN hasSubordinates structuralObjectClass"},
		{"+", "createTimestamp creatorsName entryCSN entryDN entryUUID hasSubordinates modifiersName modifyTimestamp structuralObjectClass subschemaSubentry"},
		{"@person", "cn objectClass sn userPassword"},
		{"*", "accountStatus cn deliveryMode mail mailForwardingAddress mailHost objectClass sn uid userPassword"},
		{"", "accountStatus cn deliveryMode mail mailForwardingAddress mailHost objectClass sn uid userPassword"},
	} {
		found := f.search(directory.Local(), ajay, strings.Fields(c.attributes)...)
		if len(found) != 1 {
			t.Fatalf("%d entries", len(found))
		}
		var got []string
		for _, a := range found[0].Attributes {
			got = append(got, a.Desc)
			if len(a.Values) == 0 {
				t.Errorf("%s has no values", a.Desc)
			}
		}
		if names0(strings.Join(got, ",")) != names0(strings.ReplaceAll(c.want, " ", ",")) {
			t.Errorf("%q returned %q, want %q", c.attributes, got, c.want)
		}
	}
	found, err := f.query(directory.Local(), &ldap.SearchRequest{Base: f.Suffix(), Scope: ldap.ScopeSub, Filter: Filter(ajay), TypesOnly: true})
	if err != nil || len(found) != 1 || len(found[0].Attributes) == 0 {
		t.Fatalf("%d entries, %v", len(found), err)
	}
	for _, a := range found[0].Attributes {
		if len(a.Values) > 0 {
			t.Errorf("typesOnly returned values of %s", a.Desc)
		}
	}
}

func testLimits(t *testing.T, f *fixture) {
	req := &ldap.SearchRequest{Base: f.Suffix(), Scope: ldap.ScopeSub, Filter: Filter("(objectClass=person)"), SizeLimit: 3}
	found, err := f.query(directory.Local(), req)
	wantCode(t, "a size limit", err, ldap.SizeLimitExceeded, "")
	if len(found) != 3 {
		t.Errorf("%d entries before the size limit, want 3", len(found))
	}
	req.SizeLimit = 5
	if found, err = f.query(directory.Local(), req); len(found) != 5 || err != nil {
		t.Errorf("exactly as many entries as the limit: %d, %v", len(found), err)
	}
	stop := errors.New("stop")
	if err := f.Search(f.ctx, directory.Local(), req, func(*ldap.Entry) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("an error of yield came back as %v", err)
	}
	for i := range 600 {
		f.add(fmt.Sprintf("dn: cn=person %d,ou=addressbook,dc=example,dc=org\nobjectClass: person\ncn: person %d\nsn: x", i, i))
	}
	ctx, cancel := context.WithCancel(f.ctx)
	cancel()
	req = &ldap.SearchRequest{Base: f.Suffix(), Scope: ldap.ScopeSub, Filter: Filter("(cn=*)")}
	if err := f.Search(ctx, directory.Local(), req, func(*ldap.Entry) error { return nil }); err == nil {
		t.Error("a search went on after it was abandoned")
	}
}

// testAccess has what each may read.
func testAccess(t *testing.T, f *fixture) {
	nobody := directory.Identity{}
	if got := names(f.search(nobody, "(mail=*)")); got != names0("Anup Sharma,Jürgen Groß") {
		t.Errorf("anonymous sees %q", got)
	}
	if got := names(f.search(nobody, "(objectClass=*)")); got != names0("Anup Sharma,Jürgen Groß,addressbook") {
		t.Errorf("anonymous sees %q", got)
	}
	for _, base := range []string{"ou=people,dc=example,dc=org", "uid=ajay,ou=people,dc=example,dc=org", "cn=nobody,dc=example,dc=org"} {
		_, err := f.query(nobody, &ldap.SearchRequest{Base: DN(base), Scope: ldap.ScopeSub, Filter: Filter("(objectClass=*)")})
		wantCode(t, "anonymous below "+base, err, ldap.InsufficientAccessRights, "")
	}
	f.add(`
		dn: cn=Open Account,ou=addressbook,dc=example,dc=org
		objectClass: inetOrgPerson
		objectClass: qmailUser
		cn: Open Account
		sn: Account
		mail: open@example.org
		mailAlternateAddress: alias@example.org
		mailHost: inside.example.org
		mailMessageStore: example.org/open
		mailForwardingAddress: private@example.com
		accountStatus: noaccess
		userPassword: geheim`)
	const open = "(cn=open account)"
	secret := func(e *ldap.Entry, names ...string) {
		t.Helper()
		for _, name := range names {
			if e.Attribute(name) != nil {
				t.Errorf("%s can be read", name)
			}
		}
	}
	for _, attributes := range [][]string{nil, {"*", "+"}, {"userPassword", "mailHost", "mail", "accountStatus", "mailForwardingAddress", "creatorsName"}} {
		e := f.search(nobody, open, attributes...)[0]
		secret(e, "userPassword", "mailHost", "mailMessageStore", "mailForwardingAddress", "mailAlternateAddress", "accountStatus", "creatorsName")
		if e.Value("mail") != "open@example.org" {
			t.Error("anonymous cannot read mail")
		}
		e = f.search(user(), open, attributes...)[0]
		secret(e, "userPassword")
		if e.Value("mailHost") != "inside.example.org" {
			t.Error("a user cannot read mailHost")
		}
	}
	for filter, who := range map[string]directory.Identity{
		"(mailHost=*)": nobody, "(accountStatus=noaccess)": nobody, "(mailMessageStore=*)": nobody, "(!(accountStatus=x))": nobody,
		"(userPassword=*)": user(), "(!(userPassword=x))": user(), "(userPassword>={)": user(),
	} {
		if found := f.search(who, filter); len(found) > 0 {
			t.Errorf("%s tells %q of %q", filter, who.DN, names(found))
		}
	}
	if f.search(directory.Local(), open)[0].Attribute("userPassword") == nil {
		t.Error("root cannot read userPassword")
	}
}
