package embedded

import (
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
)

// changer makes the same random changes in our directory and in slapd.
type changer struct {
	*rand.Rand
	t    *testing.T
	d    *Directory
	conn *goldap.Conn

	others int // answers with another code
}

// dn returns the name of one of a few places.
func (c *changer) dn() string {
	parent := []string{"ou=people,dc=example,dc=org", "ou=addressbook,dc=example,dc=org", "ou=team,ou=people,dc=example,dc=org"}[c.IntN(3)]
	return c.rdn() + "," + parent
}

func (c *changer) rdn() string {
	return []string{"cn=Ajay", "cn=Bina", "CN=ajay  ", "uid=x", "cn=Ajay+uid=x", "ou=team", "sn=a\\, b", "nosuch=x"}[c.IntN(8)]
}

// value returns an attribute with values, of which some are wrong.
func (c *changer) value() (string, []string) {
	a := [][]string{
		{"cn", "Ajay", "AJAY", "Bina", "New"}, {"sn", "a, b", "Kumar", ""}, {"uid", "x", "X", "y"}, {"title", "Boss", "boss", "Clerk"},
		{"telephoneNumber", "+91 1", "+911", "2"}, {"displayName", "One", "Two"}, {"employeeNumber", "1", "2"}, {"description", "text", "Text"},
		{"uidNumber", "1", "2", "-5", "x"}, {"objectClass", "inetOrgPerson", "posixAccount", "person", "top", "device", "extensibleObject"}, {"nosuch", "x"},
		{"seeAlso", "cn=x", "CN=X"}, {"manager", "cn=Ajay,dc=example,dc=org", "CN=ajay, dc=example,dc=org", "x"}, {"homeDirectory", "/h"}, {"gidNumber", "7"},
		{"givenName;lang-de", "Eins"}, {"name", "x"}, {"createTimestamp", "20200101000000Z"},
	}[c.IntN(18)]
	values := slices.Clone(a[1:])
	c.Shuffle(len(values), func(i, j int) { values[i], values[j] = values[j], values[i] })
	return a[0], values[:c.IntN(min(3, len(values)+1))]
}

// step makes one change in both and compares the codes.
func (c *changer) step() {
	var ours, theirs error
	var what string
	switch dn := c.dn(); c.IntN(10) {
	case 0, 1:
		lines := "dn: " + dn + "\nobjectClass: " + []string{"inetOrgPerson", "organizationalUnit", "person"}[c.IntN(3)]
		for range c.IntN(4) {
			desc, values := c.value()
			for _, v := range values {
				lines += "\n" + desc + ": " + v
			}
		}
		if strings.Contains(lines, "erson") {
			lines += "\nsn: Added\ncn: Added"
		} else {
			lines += "\nou: added"
		}
		e := directorytest.Entry(lines)
		what = lines
		req := goldap.NewAddRequest(dn, nil)
		for _, a := range e.Attributes {
			req.Attribute(a.Desc, e.Values(a.Desc))
		}
		ours, theirs = c.d.Add(c.t.Context(), directory.Local(), e), c.conn.Add(req)
	case 2:
		what = "delete " + dn
		ours, theirs = c.d.Delete(c.t.Context(), directory.Local(), directorytest.DN(dn)), c.conn.Del(goldap.NewDelRequest(dn, nil))
	case 3, 4:
		r := directory.Rename{DN: directorytest.DN(dn), NewRDN: directorytest.DN(c.rdn())[0], DeleteOld: c.IntN(2) == 0}
		superior := ""
		if c.IntN(2) == 0 {
			superior = []string{"ou=people,dc=example,dc=org", "ou=addressbook,dc=example,dc=org", "ou=team,ou=people,dc=example,dc=org"}[c.IntN(3)]
			r.Superior = directorytest.DN(superior)
		}
		what = fmt.Sprintf("rename %s to %s below %q, %v", dn, r.NewRDN, superior, r.DeleteOld)
		ours, theirs = c.d.Rename(c.t.Context(), directory.Local(), r), c.conn.ModifyDN(goldap.NewModifyDNRequest(dn, ldap.DN{r.NewRDN}.String(), r.DeleteOld, superior))
	default:
		var changes []ldap.Change
		req := goldap.NewModifyRequest(dn, nil)
		for range 1 + c.IntN(2) {
			desc, values := c.value()
			op := ldap.ChangeOp(c.IntN(4))
			changes = append(changes, ldap.Change{Op: op, Attribute: ldap.NewAttribute(desc, values...)})
			req.Changes = append(req.Changes, goldap.Change{Operation: uint(op), Modification: goldap.PartialAttribute{Type: desc, Vals: values}})
		}
		what = fmt.Sprintf("modify %s %v", dn, req.Changes)
		ours, theirs = c.d.Modify(c.t.Context(), directory.Local(), directorytest.DN(dn), changes), c.conn.Modify(req)
	}
	c.compare(what, ours, theirs)
}

// compare fails where one refuses what the other does, or says why otherwise.
func (c *changer) compare(what string, ours, theirs error) {
	c.t.Helper()
	a, b := 0, 0
	if le, ok := errors.AsType[*ldap.Error](ours); ok {
		a = int(le.Code)
	}
	if le, ok := errors.AsType[*goldap.Error](theirs); ok {
		b = int(le.ResultCode)
	}
	if a == int(ldap.NotAllowedOnRDN) && b == int(ldap.NamingViolation) {
		return // RFC 4511 §4.6 wants the former
	}
	if (a == 0) != (b == 0) {
		c.t.Errorf("%s\nwe: %v\nslapd: %v", what, ours, theirs)
	} else if a != b { // of several things that are wrong, the other one is named
		c.others++
		c.t.Logf("%s\nwe: %v\nslapd: %v", what, ours, theirs)
	}
}

// TestChangesLikeSlapd makes random changes in both, and compares what has become
// of the entries.
func TestChangesLikeSlapd(t *testing.T) {
	t.Parallel()
	c := &changer{Rand: rand.New(rand.NewPCG(1, 2)), t: t, d: open(t, options(t.TempDir())), conn: startSlapd(t)}
	for _, text := range []string{
		"dn: dc=example,dc=org\nobjectClass: dcObject\nobjectClass: organization\nobjectClass: top\no: example.org\ndc: example",
		"dn: ou=people,dc=example,dc=org\nobjectClass: top\nobjectClass: organizationalUnit\nou: people",
		"dn: ou=addressbook,dc=example,dc=org\nobjectClass: top\nobjectClass: organizationalUnit\nou: addressbook",
	} {
		addToSlapd(t, c.conn, directorytest.Entry(text))
	}
	const steps = 3000
	for range steps {
		c.step()
	}
	if c.others > steps/30 {
		t.Errorf("%d of %d answers have another code", c.others, steps)
	}
	ours, theirs := map[string]bool{}, map[string]bool{}
	values := func(values []string) string { // the spelling of equal values is the one of either
		for i := range values {
			values[i] = strings.ToLower(values[i])
		}
		slices.Sort(values)
		return strings.Join(values, "|")
	}
	err := c.d.Search(t.Context(), directory.Local(), &ldap.SearchRequest{Base: c.d.Suffix(), Scope: ldap.ScopeSub}, func(e *ldap.Entry) error {
		ours[strings.ToLower(shown(e.DN.String(), len(e.Attributes), func(i int) string { return e.Attributes[i].Desc + "=" + values(e.Values(e.Attributes[i].Desc)) }))] = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := c.conn.Search(goldap.NewSearchRequest("dc=example,dc=org", goldap.ScopeWholeSubtree, 0, 0, 0, false, "(objectClass=*)", nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range answer.Entries {
		dn := strings.ReplaceAll(e.DN, `\2C`, `\,`)
		theirs[strings.ToLower(shown(dn, len(e.Attributes), func(i int) string { return e.Attributes[i].Name + "=" + values(e.Attributes[i].Values) }))] = true
	}
	for e := range ours {
		if !theirs[e] {
			t.Errorf("only we have %s", e)
		}
	}
	for e := range theirs {
		if !ours[e] {
			t.Errorf("only slapd has %s", e)
		}
	}
	if len(ours) < 5 {
		t.Errorf("%d entries are left", len(ours))
	}
}
