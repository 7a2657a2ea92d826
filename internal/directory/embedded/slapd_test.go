package embedded

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	goldap "github.com/go-ldap/ldap/v3"

	"expost/internal/directory"
	"expost/internal/directory/directorytest"
	"expost/internal/ldap"
	"expost/internal/peertest"
)

// startSlapd starts OpenLDAP's server with our schema files and returns a
// connection that may do everything. extra lines end its configuration.
func startSlapd(t *testing.T, extra ...string) *goldap.Conn {
	t.Helper()
	slapd := peertest.StartSlapd(t, peertest.SlapdConfig{
		Suffix: "dc=example,dc=org", RootDN: "cn=manager,dc=example,dc=org", Password: "root",
		Schemas: "../../schema/builtin", Database: strings.Join(extra, "\n"),
	})
	conn, err := goldap.DialURL(slapd.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.Bind("cn=manager,dc=example,dc=org", "root"); err != nil {
		t.Fatal(err)
	}
	return conn
}

// addBoth adds an entry to both and compares the answers: code and, where it
// names an attribute, text.
func addBoth(t *testing.T, d *Directory, conn *goldap.Conn, e *ldap.Entry) {
	t.Helper()
	req := goldap.NewAddRequest(e.DN.String(), nil)
	for _, a := range e.Attributes {
		req.Attribute(a.Desc, e.Values(a.Desc))
	}
	theirs := conn.Add(req)
	ours := d.Add(context.Background(), directory.Local(), e)
	code, text := 0, ""
	if le, ok := errors.AsType[*ldap.Error](ours); ok {
		code, text = int(le.Code), le.Text
	}
	want, wantText := 0, ""
	if le, ok := errors.AsType[*goldap.Error](theirs); ok {
		want = int(le.ResultCode)
		if le.Err != nil {
			wantText = le.Err.Error()
		}
	}
	if code != want {
		t.Errorf("%s: we answer %d %q, slapd %d %q", e.DN, code, text, want, wantText)
	} else if code == int(ldap.ObjectClassViolation) && text != wantText {
		t.Errorf("%s: we say %q, slapd %q", e.DN, text, wantText)
	}
}

// TestLikeSlapd puts the same entries into both, refused ones too, and asks
// both the same random filters.
func TestLikeSlapd(t *testing.T) {
	t.Parallel()
	conn := startSlapd(t)
	d := open(t, options(t.TempDir()))
	for _, text := range []string{
		"dn: dc=example,dc=org\nobjectClass: dcObject\nobjectClass: organization\no: example.org\ndc: example",
		"dn: ou=people,dc=example,dc=org\nobjectClass: organizationalUnit\nou: people",
		"dn: ou=addressbook,dc=example,dc=org\nobjectClass: organizationalUnit\nou: addressbook",
	} {
		e := directorytest.Entry(text)
		req := goldap.NewAddRequest(e.DN.String(), nil)
		for _, a := range e.Attributes {
			req.Attribute(a.Desc, e.Values(a.Desc))
		}
		if err := conn.Add(req); err != nil {
			t.Fatal(err)
		}
	}
	const person = "dn: cn=%s,ou=addressbook,dc=example,dc=org\nobjectClass: %s\nsn: x\n%s"
	for i, c := range []struct{ class, lines string }{
		{"person", "mail: a@b.c"}, {"inetOrgPerson", "c: IN"}, {"inetOrgPerson", "nosuch: x"}, {"nosuch", ""}, {"qmailUser", "mail: a@b.c"},
		{"inetOrgPerson", "telephoneNumber: 24650722 / 5311; #12*"}, {"inetOrgPerson", "displayName: a\ndisplayName: b"},
		{"inetOrgPerson", "mail: A@b.c\nmail: a@B.c"}, {"inetOrgPerson", "manager: Some Boss"}, {"inetOrgPerson", "mail: jürgen@b.c"},
		{"inetOrgPerson", "entryUUID: b6f1f2a0-5c1e-4d53-9a37-65787073742e"}, {"groupOfNames", "description: x"},
		{"inetOrgPerson\nobjectClass: residentialPerson", "l: x"}, {"account", "uid: x"}, {"inetOrgPerson\nobjectClass: expostPerson", "c: India"},
		{"top", ""}, {"inetOrgPerson", "preferredLanguage: de\nmobile: +49 1"}, {"inetOrgPerson", "seeAlso: cn=a,dc=b"},
		{"posixAccount", "uid: x"}, {"inetOrgPerson\nobjectClass: posixAccount", "uid: x\nuidNumber: 01\ngidNumber: 1\nhomeDirectory: /"},
		{"extensibleObject", "c: IN"}, {"inetOrgPerson\nobjectClass: extensibleObject", "c: IN"},
		{"inetOrgPerson\nobjectClass: qmailUser", "mail: q@b.c\nmailQuotaSize: 1S"},
	} {
		addBoth(t, d, conn, directorytest.Entry(fmt.Sprintf(person, fmt.Sprint("bad", i), c.class, c.lines)))
	}
	r := &randomizer{rand.New(rand.NewPCG(11, 12)), d}
	for i := range 60 {
		e := &ldap.Entry{DN: directorytest.DN(fmt.Sprintf("cn=n%d,ou=addressbook,dc=example,dc=org", i)), Attributes: []ldap.Attribute{
			ldap.NewAttribute("objectClass", "inetOrgPerson", "expostPerson", "qmailUser"), ldap.NewAttribute("cn", fmt.Sprint("n", i), r.word()),
			ldap.NewAttribute("mail", fmt.Sprintf("m%d@example.org", i)), ldap.NewAttribute("sn", r.word())}}
		for range 4 {
			if desc, value := r.value(); e.Attribute(desc) == nil && desc != "mail" {
				e.Attributes = append(e.Attributes, ldap.NewAttribute(desc, value))
			}
		}
		addBoth(t, d, conn, e)
	}
	for range 600 {
		compareFilter(t, d, conn, r.filter(3))
	}
}

// compareFilter asks both, and compares the DNs that they find.
func compareFilter(t *testing.T, d *Directory, conn *goldap.Conn, text string) {
	t.Helper()
	// slapd does not put spaces around values where RFC 4518 §2.6.1 does.
	f, err := ldap.ParseFilter(strings.NewReplacer("=* ", "=*", " *)", "*)", "= ", "=").Replace(text))
	if err != nil {
		return
	}
	res, err := conn.Search(goldap.NewSearchRequest("dc=example,dc=org", goldap.ScopeWholeSubtree, 0, 0, 0, false, f.String(), []string{"1.1"}, nil))
	if err != nil {
		t.Errorf("slapd does not take %s: %v", f, err)
		return
	}
	var theirs, ours []string
	for _, e := range res.Entries {
		dn, err := ldap.ParseDN(e.DN)
		if err != nil {
			t.Error(err)
		}
		theirs = append(theirs, dn.String())
	}
	req := &ldap.SearchRequest{Scope: ldap.ScopeSub, Filter: f, Attributes: []string{"1.1"}}
	err = d.Search(context.Background(), directory.Local(), req, func(e *ldap.Entry) error {
		ours = append(ours, e.DN.String())
		return nil
	})
	slices.Sort(theirs)
	slices.Sort(ours)
	if err != nil || !slices.Equal(ours, theirs) {
		t.Errorf("%s: we find %d, slapd %d\n%q\n%q\n%v", f, len(ours), len(theirs), ours, theirs, err)
	}
}
