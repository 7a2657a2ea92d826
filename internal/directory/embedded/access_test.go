package embedded

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	goldap "github.com/go-ldap/ldap/v3"

	"expost/internal/directory"
	"expost/internal/directory/access"
	"expost/internal/directory/directorytest"
	"expost/internal/ldap"
)

// accessCase is a rule in slapd's words, and in ours.
type accessCase struct {
	slapd string // what stands between "access to" and the first "by"
	rule  access.Rule
	by    []string
}

func accessCases() []accessCase {
	dn := directorytest.DN
	return []accessCase{
		{"attrs=userPassword", access.Rule{Attributes: []string{"userPassword"}}, []string{"self =xw", "anonymous auth", "* none"}},
		{`dn.subtree="ou=secret,dc=example,dc=org"`, access.Rule{DN: dn("ou=secret,dc=example,dc=org"), Scope: access.Subtree},
			[]string{`group="cn=admins,dc=example,dc=org" write`, "* none"}},
		{`dn.children="ou=people,dc=example,dc=org" attrs=homePhone,mobile`, access.Rule{DN: dn("ou=people,dc=example,dc=org"), Scope: access.Children,
			Attributes: []string{"homePhone", "mobile"}}, []string{"self write", "dnattr=manager read", "users search", "* none"}},
		{`dn.one="ou=people,dc=example,dc=org" filter=(employeeType=hidden)`, access.Rule{DN: dn("ou=people,dc=example,dc=org"), Scope: access.One,
			Filter: directorytest.Filter("(employeeType=hidden)")}, []string{"self read", `dn.exact="cn=Boss,ou=people,dc=example,dc=org" read`, "* none"}},
		{"attrs=description", access.Rule{Attributes: []string{"description"}}, []string{"users compare", "* none"}},
		{"attrs=title", access.Rule{Attributes: []string{"title"}}, []string{"users =rsc continue", `dn.children="ou=people,dc=example,dc=org" -r continue`,
			"* +d"}},
		{`dn.base="ou=people,dc=example,dc=org" attrs=children`, access.Rule{DN: dn("ou=people,dc=example,dc=org"), Scope: access.Base,
			Attributes: []string{"children"}}, []string{`group="cn=admins,dc=example,dc=org" write`, "* read"}},
		{`dn.subtree="ou=people,dc=example,dc=org"`, access.Rule{DN: dn("ou=people,dc=example,dc=org"), Scope: access.Subtree},
			[]string{`group="cn=admins,dc=example,dc=org" write`, "users read", "anonymous search", "* break"}},
		{`dn.regex="^cn=([^,]+),ou=secret,(dc=example,dc=org)$"`, access.Rule{Pattern: pattern("^cn=([^,]+),ou=secret,(dc=example,dc=org)$")},
			[]string{`dn.regex="^cn=$1.*,ou=people,$2$" write`, "* break"}},
		{`dn.regex="^cn=([^,]+),ou=people,dc=example,dc=org$" attrs=roomNumber`, access.Rule{Pattern: pattern("^cn=([^,]+),ou=people,dc=example,dc=org$"),
			Attributes: []string{"roomNumber"}}, []string{`dn.exact,expand="cn=$1,ou=people,dc=example,dc=org" write`,
			`group.expand="cn=$1s,dc=example,dc=org" read`, `dn.regex="^cn=[^,]+ss,ou=people" read`, "* none"}},
		{"attrs=employeeType val.regex=^hid", access.Rule{Attributes: []string{"employeeType"}, Value: &access.Value{Pattern: pattern("^hid")}},
			[]string{"self read", "* none"}},
		{`attrs=member val="cn=Admin,ou=people,dc=example,dc=org"`, access.Rule{Attributes: []string{"member"},
			Value: &access.Value{Is: []byte("cn=Admin, ou=people,dc=example,dc=org")}}, []string{"users write", "* none"}},
		{"attrs=carLicense", access.Rule{Attributes: []string{"carLicense"}}, []string{`set="this/manager & user" write`,
			`set="[cn=admins,dc=example,dc=org]/member* & user" read`, "* none"}},
		{"attrs=street", access.Rule{Attributes: []string{"street"}}, []string{"users peername.ip=127.0.0.0%255.0.0.0 read", "* none"}},
		{"attrs=l", access.Rule{Attributes: []string{"l"}}, []string{"peername.ip=10.0.0.0%255.0.0.0 write", "users ssf=128 read", `peername.regex="^IP=127[.].*" search`}},
		{"attrs=@organizationalUnit,entry", access.Rule{Attributes: []string{"@organizationalUnit", "entry"}}, []string{"* read"}},
		{"*", access.Rule{}, []string{"users read", "* none"}},
	}
}

func pattern(expr string) *regexp.Regexp {
	re, err := access.Compile(expr)
	if err != nil {
		panic(err)
	}
	return re
}

func accessEntries() []string {
	const person = "dn: cn=%[1]s,ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\nsn: %[1]s\ncn: %[1]s\nuserPassword: %[1]s\nhomePhone: 1\nmobile: 2\ndescription: d\ntitle: t\nroomNumber: 7\ncarLicense: x\nstreet: s\nl: Delhi\n"
	return []string{
		"dn: dc=example,dc=org\nobjectClass: dcObject\nobjectClass: organization\no: example.org\ndc: example",
		"dn: ou=people,dc=example,dc=org\nobjectClass: organizationalUnit\nou: people",
		"dn: ou=secret,dc=example,dc=org\nobjectClass: organizationalUnit\nou: secret",
		"dn: cn=key,ou=secret,dc=example,dc=org\nobjectClass: device\ncn: key",
		"dn: cn=Cl,ou=secret,dc=example,dc=org\nobjectClass: device\ncn: Cl",
		"dn: cn=bosss,dc=example,dc=org\nobjectClass: groupOfNames\ncn: bosss\nmember: cn=Admin,ou=people,dc=example,dc=org\nmember: cn=Clerk,ou=people,dc=example,dc=org",
		fmt.Sprintf(person, "Boss"),
		fmt.Sprintf(person, "Clerk") + "manager: cn=Boss,ou=people,dc=example,dc=org",
		fmt.Sprintf(person, "Ghost") + "employeeType: hidden",
		fmt.Sprintf(person, "Admin"),
		"dn: cn=admins,dc=example,dc=org\nobjectClass: groupOfNames\ncn: admins\nmember: cn=Admin,ou=people,dc=example,dc=org",
	}
}

// TestAccessLikeSlapd gives both the same rules and entries, and lets the same
// people ask and change the same things.
func TestAccessLikeSlapd(t *testing.T) {
	t.Parallel()
	var conf []string
	opt := options(t.TempDir())
	opt.Anonymous = nil
	for _, c := range accessCases() {
		lines := "access to " + c.slapd
		for _, text := range c.by {
			by, err := access.ParseBy(text)
			if err != nil {
				t.Fatal(err)
			}
			c.rule.By = append(c.rule.By, by)
			lines += "\n by " + text
		}
		conf = append(conf, lines)
		opt.Access = append(opt.Access, c.rule)
	}
	conn := startSlapd(t, conf...)
	d := open(t, opt)
	for _, text := range accessEntries() {
		e := directorytest.Entry(text)
		addToSlapd(t, conn, e)
		if err := d.Add(t.Context(), directory.Local(), e); err != nil {
			if le, ok := errors.AsType[*ldap.Error](err); !ok || le.Code != ldap.EntryAlreadyExists {
				t.Fatal(err)
			}
		}
	}
	if err := d.Delete(t.Context(), directory.Local(), directorytest.DN("ou=addressbook,dc=example,dc=org")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "Boss", "Clerk", "Ghost", "Admin"} {
		who := directory.Identity{Peer: directory.Peer{Addr: netip.MustParseAddrPort("127.0.0.1:4000")}}
		if name != "" {
			dn := "cn=" + name + ",ou=people,dc=example,dc=org"
			who.DN = directorytest.DN(dn)
			if err := conn.Bind(dn, name); err != nil {
				t.Fatal(err)
			}
			if _, err := d.Bind(t.Context(), who.DN, []byte(name)); err != nil {
				t.Errorf("%s cannot log in: %v", name, err)
			}
		} else if err := conn.UnauthenticatedBind(""); err != nil {
			t.Fatal(err)
		}
		compareReading(t, d, conn, who)
		compareWriting(t, d, conn, who)
	}
}

func addToSlapd(t *testing.T, conn *goldap.Conn, e *ldap.Entry) {
	t.Helper()
	req := goldap.NewAddRequest(e.DN.String(), nil)
	for _, a := range e.Attributes {
		req.Attribute(a.Desc, e.Values(a.Desc))
	}
	if err := conn.Add(req); err != nil {
		t.Fatal(err)
	}
}

// compareReading asks both the same searches.
func compareReading(t *testing.T, d *Directory, conn *goldap.Conn, who directory.Identity) {
	t.Helper()
	for _, base := range []string{"ou=people,dc=example,dc=org", "ou=secret,dc=example,dc=org", "cn=Ghost,ou=people,dc=example,dc=org", "dc=example,dc=org"} {
		for _, filter := range []string{"(objectClass=*)", "(homePhone=1)", "(!(homePhone=1))", "(description=d)", "(title=t)", "(userPassword=*)",
			"(|(mobile=2)(ou=*))", "(employeeType=hidden)", "(!(employeeType=hidden))", "(member=cn=Admin,ou=people,dc=example,dc=org)",
			"(!(member=cn=Clerk,ou=people,dc=example,dc=org))", "(l=delhi)", "(!(street=x))", "(roomNumber=7)", "(&(objectClass=person)(!(employeeType=hidden)))"} {
			ours := map[string]bool{}
			err := d.Search(context.Background(), who, &ldap.SearchRequest{Base: directorytest.DN(base), Scope: ldap.ScopeSub, Filter: directorytest.Filter(filter)},
				func(e *ldap.Entry) error {
					ours[shown(e.DN.String(), len(e.Attributes), func(i int) string { return e.Attributes[i].Desc })] = true
					return nil
				})
			answer, wrong := conn.Search(goldap.NewSearchRequest(base, goldap.ScopeWholeSubtree, 0, 0, 0, false, filter, nil, nil))
			theirs := map[string]bool{}
			for _, e := range answer.Entries {
				theirs[shown(e.DN, len(e.Attributes), func(i int) string { return e.Attributes[i].Name })] = true
			}
			if (err != nil) != (wrong != nil) && len(theirs)+len(ours) > 0 {
				t.Errorf("%q %s below %s: we answer %v, slapd %v", who.DN, filter, base, err, wrong)
			}
			for e := range ours {
				if !theirs[e] {
					t.Errorf("%q %s below %s: only we show %s", who.DN, filter, base, e)
				}
			}
			for e := range theirs {
				if !ours[e] {
					t.Errorf("%q %s below %s: only slapd shows %s", who.DN, filter, base, e)
				}
			}
		}
	}
}

// shown is an entry with the names of its attributes.
func shown(dn string, n int, name func(int) string) string {
	names := make([]string, n)
	for i := range names {
		names[i] = name(i)
	}
	slices.Sort(names)
	return dn + ": " + strings.Join(names, " ")
}

// compareWriting makes the same changes in both.
func compareWriting(t *testing.T, d *Directory, conn *goldap.Conn, who directory.Identity) {
	t.Helper()
	codes := func(ours, theirs error) (a, b int) {
		if le, ok := errors.AsType[*ldap.Error](ours); ok {
			a = int(le.Code)
		}
		if le, ok := errors.AsType[*goldap.Error](theirs); ok {
			b = int(le.ResultCode)
		}
		return a, b
	}
	for _, c := range []struct{ entry, attr string }{
		{"cn=Clerk", "homePhone"}, {"cn=Boss", "homePhone"}, {"cn=Clerk", "title"}, {"cn=Admin", "mobile"}, {"cn=Clerk", "userPassword"}, {"cn=Ghost", "userPassword"},
		{"cn=Clerk", "roomNumber"}, {"cn=Boss", "carLicense"}, {"cn=Clerk", "carLicense"}, {"cn=Boss", "l"},
	} {
		dn := c.entry + ",ou=people,dc=example,dc=org"
		value := strings.TrimPrefix(c.entry, "cn=")
		m := goldap.NewModifyRequest(dn, nil)
		m.Replace(c.attr, []string{value})
		theirs := conn.Modify(m)
		ours := d.Modify(context.Background(), who, directorytest.DN(dn), []ldap.Change{{Op: ldap.ChangeReplace, Attribute: ldap.NewAttribute(c.attr, value)}})
		if a, b := codes(ours, theirs); a != b {
			t.Errorf("%q changes %s of %s: we answer %v, slapd %v", who.DN, c.attr, dn, ours, theirs)
		}
	}
	for _, member := range []string{"cn=Admin,ou=people,dc=example,dc=org", "cn=Boss,ou=people,dc=example,dc=org"} {
		for _, op := range []ldap.ChangeOp{ldap.ChangeAdd, ldap.ChangeDelete} {
			const dn = "cn=bosss,dc=example,dc=org"
			m := goldap.NewModifyRequest(dn, nil)
			if op == ldap.ChangeAdd {
				m.Add("member", []string{member})
			} else {
				m.Delete("member", []string{member})
			}
			theirs := conn.Modify(m)
			ours := d.Modify(context.Background(), who, directorytest.DN(dn), []ldap.Change{{Op: op, Attribute: ldap.NewAttribute("member", member)}})
			if a, b := codes(ours, theirs); a != b {
				t.Errorf("%q changes (%d) member %s: we answer %v, slapd %v", who.DN, op, member, ours, theirs)
			}
		}
	}
	for _, c := range []struct{ dn, attr, value string }{
		{"cn=Clerk,ou=people,dc=example,dc=org", "description", "D"}, {"cn=Clerk,ou=people,dc=example,dc=org", "description", "other"},
		{"cn=Ghost,ou=people,dc=example,dc=org", "employeeType", "hidden"}, {"cn=Boss,ou=people,dc=example,dc=org", "homePhone", "1"},
		{"cn=Boss,ou=people,dc=example,dc=org", "pager", "1"}, {"cn=Nobody,ou=people,dc=example,dc=org", "cn", "x"}, {"cn=key,ou=secret,dc=example,dc=org", "cn", "key"},
		{"cn=bosss,dc=example,dc=org", "member", "cn=Clerk,ou=people,dc=example,dc=org"}, {"ou=people,dc=example,dc=org", "ou", "PEOPLE"},
	} {
		same, wrong := conn.Compare(c.dn, c.attr, c.value)
		is, err := d.Compare(context.Background(), who, directorytest.DN(c.dn), c.attr, []byte(c.value))
		if a, b := codes(err, wrong); a != b || is != same {
			t.Errorf("%q compares %s of %s with %s: we answer %t %v, slapd %t %v", who.DN, c.attr, c.dn, c.value, is, err, same, wrong)
		}
	}
	for _, dn := range []string{"cn=New,ou=people,dc=example,dc=org", "cn=New,ou=secret,dc=example,dc=org", "cn=New,dc=example,dc=org"} {
		e := directorytest.Entry("dn: " + dn + "\nobjectClass: device\ncn: New")
		add := goldap.NewAddRequest(dn, nil)
		add.Attribute("objectClass", []string{"device"})
		add.Attribute("cn", []string{"New"})
		ours, theirs := d.Add(context.Background(), who, e), conn.Add(add)
		if a, b := codes(ours, theirs); a != b {
			t.Errorf("%q adds %s: we answer %v, slapd %v", who.DN, dn, ours, theirs)
		}
		if ours == nil {
			ours, theirs = d.Delete(context.Background(), who, e.DN), conn.Del(goldap.NewDelRequest(dn, nil))
			if a, b := codes(ours, theirs); a != b || a != 0 {
				t.Errorf("%q deletes %s: we answer %v, slapd %v", who.DN, dn, ours, theirs)
			}
		}
	}
}

// TestConfiguredIndexes finds the same with other indexes, and says what is
// wrong with those that cannot be.
func TestConfiguredIndexes(t *testing.T) {
	t.Parallel()
	opt := options(t.TempDir())
	for _, text := range []string{"cn,mail none", "employeeType eq,sub", "description pres", "roomNumber eq"} {
		x, err := ParseIndex(text)
		if err != nil {
			t.Fatal(err)
		}
		opt.Indexes = append(opt.Indexes, x)
	}
	d := open(t, opt)
	for i := range 50 {
		e := directorytest.Entry(fmt.Sprintf("dn: cn=P%d,ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\ncn: P%d\nsn: x\nmail: p%d@example.org\nemployeeType: kind%d\ndescription: about %d\nroomNumber: %d", i, i, i, i%5, i, i))
		if err := d.Add(t.Context(), directory.Local(), e); err != nil {
			t.Fatal(err)
		}
	}
	s := d.snap.Load()
	for filter, want := range map[string]struct{ found, looked int }{
		"(employeeType=kind3)": {10, 10}, "(employeeType=*ind3)": {10, 10}, "(roomNumber=7)": {1, 1}, "(cn=P7)": {1, 50}, "(description=*out 7)": {1, 50}, "(mail=p7@*)": {1, 50},
	} {
		found := 0
		err := d.Search(t.Context(), directory.Local(), &ldap.SearchRequest{Base: d.Suffix(), Scope: ldap.ScopeSub, Filter: directorytest.Filter(filter)},
			func(*ldap.Entry) error { found++; return nil })
		src, ok := s.candidates(s.compile(directorytest.Filter(filter), &subject{root: true}))
		if err != nil || found != want.found || !ok || src.size != want.looked {
			t.Errorf("%s: %d found among %d, want %d among %d, %v", filter, found, src.size, want.found, want.looked, err)
		}
	}
	for _, text := range []string{"nosuch eq", "jpegPhoto eq", "uidNumber sub", "entryDN eq"} {
		x, err := ParseIndex(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := newIndexing(d.schema, []Index{x}); err == nil {
			t.Errorf("index %q is taken", text)
		}
	}
	for _, text := range []string{"cn", "cn eq sub", "cn fast"} {
		if _, err := ParseIndex(text); err == nil {
			t.Errorf("index %q is taken", text)
		}
	}
}

// TestSearchesDoNotWaitForWriters holds the writer up in the middle of a change,
// and searches, looks up and logs in.
func TestSearchesDoNotWaitForWriters(t *testing.T) {
	t.Parallel()
	d := open(t, options(t.TempDir()))
	if err := d.Add(t.Context(), directory.Local(), directorytest.Entry("dn: uid=a,ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\nobjectClass: qmailUser\ncn: A\nsn: A\nmail: a@example.org\nuserPassword: geheim")); err != nil {
		t.Fatal(err)
	}
	held, release, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- d.change(context.Background(), func(*batch) error {
			close(held)
			<-release
			return nil
		})
	}()
	<-held
	found := 0
	err := d.Search(t.Context(), directory.Local(), &ldap.SearchRequest{Base: d.Suffix(), Scope: ldap.ScopeSub, Filter: directorytest.Filter("(cn=a)")},
		func(*ldap.Entry) error { found++; return nil })
	if err != nil || found != 1 {
		t.Errorf("%d entries, %v", found, err)
	}
	if _, err := d.Resolve(t.Context(), "a@example.org"); err != nil {
		t.Error(err)
	}
	if _, err := d.Login(t.Context(), "a@example.org", "geheim"); err != nil {
		t.Error(err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
