package ldap

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"expost/internal/directory"
	"expost/internal/directory/directorytest"
	"expost/internal/ldap"
	"expost/internal/ldapserver"
)

// TestViews looks at sorted answers, windows and pages of what another server
// has: an OpenLDAP without overlays, which sorts nothing, and Active Directory.
func TestViews(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*testing.T) *Directory{
		"OpenLDAP": func(t *testing.T) *Directory { return openTree(t, slapdOptions(t)) },
		"AD":       func(t *testing.T) *Directory { return openAD(t, newFakeAD(t).options()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			const n = 53
			var want []string
			for i := range n {
				cn := fmt.Sprintf("Person %02d", i*7%n)
				want = append(want, cn)
				text := fmt.Sprintf("dn: cn=%s,ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\ncn: %s\nsn: S\ngivenName: G%d\n", cn, cn, i)
				if err := d.Add(t.Context(), directory.Local(), directorytest.Entry(text)); err != nil {
					t.Fatal(err)
				}
			}
			slices.Sort(want)
			v := viewer{t, d}
			v.sorted(want)
			v.windows(want)
			v.pages(want)
			v.limits()
		})
	}
}

type viewer struct {
	t *testing.T
	d *Directory
}

// ask makes a search of all people and returns their names, from the DNs.
func (v viewer) ask(view directory.View, limit int, attributes ...string) ([]string, []*ldap.Entry, directory.Viewed, error) {
	var names []string
	var entries []*ldap.Entry
	req := &ldap.SearchRequest{Base: directorytest.DN("ou=people,dc=example,dc=org"), Scope: ldap.ScopeOne, SizeLimit: limit,
		Filter: directorytest.Filter("(sn=s)"), Attributes: attributes}
	viewed, err := v.d.SearchView(context.Background(), directory.Local(), req, view, func(e *ldap.Entry) error {
		names, entries = append(names, e.DN[0][0].Value), append(entries, e)
		return nil
	})
	return names, entries, viewed, err
}

func (v viewer) sorted(want []string) {
	v.t.Helper()
	by := []directory.SortKey{{Attr: "commonName"}}
	names, entries, _, err := v.ask(directory.View{Sort: by}, 0, "givenName")
	if err != nil || !slices.Equal(names, want) {
		v.t.Fatalf("sorted: %v, %v", names, err)
	}
	if e := entries[0]; len(e.Attributes) != 1 || e.Value("givenName") == "" {
		v.t.Errorf("what is sorted by is shown: %v", e.Attributes)
	}
	by[0].Reverse = true
	names, _, _, err = v.ask(directory.View{Sort: by}, 5, "1.1")
	slices.Reverse(want)
	if ldap.CodeOf(err) != ldap.SizeLimitExceeded || !slices.Equal(names, want[:5]) {
		v.t.Errorf("sorted backwards, with a limit: %v, %v", names, err)
	}
	slices.Reverse(want)
	if _, _, _, err = v.ask(directory.View{Sort: []directory.SortKey{{Attr: "cn", Rule: "integerOrderingMatch"}}}, 0); err == nil {
		v.t.Error("names are sorted as numbers")
	}
}

func (v viewer) windows(want []string) {
	v.t.Helper()
	by := []directory.SortKey{{Attr: "cn"}}
	for _, c := range []struct {
		w           directory.Window
		first, last int // of want
		target      int
	}{
		{directory.Window{After: 9, Offset: 1}, 0, 10, 1},
		{directory.Window{Before: 2, After: 2, Offset: 50, Count: 100}, 24, 29, 27},
		{directory.Window{Before: 3, Offset: 53, Count: 53}, 49, 53, 53},
		{directory.Window{After: 1, ByValue: true, Value: []byte("PERSON 2")}, 20, 22, 21},
		{directory.Window{After: 1, ByValue: true, Value: []byte("z")}, 0, 0, 54},
	} {
		names, _, viewed, err := v.ask(directory.View{Sort: by, Window: &c.w}, 0, "cn")
		if err != nil || !slices.Equal(names, want[c.first:c.last]) || viewed.Count != len(want) || viewed.Target != c.target {
			v.t.Errorf("%+v: %v, %+v, %v", c.w, names, viewed, err)
		}
	}
	if _, _, _, err := v.ask(directory.View{Sort: by, Window: &directory.Window{}}, 0, "cn"); ldap.CodeOf(err) != ldap.OffsetRangeError {
		v.t.Errorf("offset 0: %v", err)
	}
}

// pages reads all pages, sorted and not, and some of two searches by turns.
func (v viewer) pages(want []string) {
	v.t.Helper()
	for _, by := range [][]directory.SortKey{nil, {{Attr: "cn"}}} {
		var all []string
		page := directory.Page{Size: 7}
		for turns := 0; ; turns++ {
			names, _, viewed, err := v.ask(directory.View{Sort: by, Page: &page}, 0, "cn")
			if err != nil || len(names) > 7 || turns > 10 {
				v.t.Fatalf("page %d: %v, %v", turns, names, err)
			}
			all = append(all, names...)
			if turns == 2 { // somebody else begins meanwhile
				if _, _, other, err := v.ask(directory.View{Sort: by, Page: &directory.Page{Size: 3}}, 0, "cn"); err != nil || other.Cookie == nil {
					v.t.Errorf("another search: %v", err)
				}
			}
			if page.Cookie = viewed.Cookie; page.Cookie == nil {
				break
			}
		}
		if by == nil {
			slices.Sort(all)
		}
		if !slices.Equal(all, want) {
			v.t.Errorf("pages, sorted %v: %v", by, all)
		}
		if _, _, _, err := v.ask(directory.View{Sort: by, Page: &directory.Page{Size: 7, Cookie: []byte("nonsense")}}, 0, "cn"); ldap.CodeOf(err) != ldap.UnwillingToPerform {
			v.t.Errorf("a cookie of nobody's: %v", err)
		}
	}
}

// limits begins more searches than are kept, and goes on with the first.
func (v viewer) limits() {
	v.t.Helper()
	var first []byte
	for i := range maxCursors + 3 {
		_, _, viewed, err := v.ask(directory.View{Page: &directory.Page{Size: 2}}, 0, "cn")
		if err != nil {
			v.t.Fatal(err)
		}
		if i == 0 {
			first = viewed.Cookie
		}
	}
	if n := len(v.d.cursors.known); n > maxCursors {
		v.t.Errorf("%d searches are kept", n)
	}
	if _, _, _, err := v.ask(directory.View{Page: &directory.Page{Size: 2, Cookie: first}}, 0, "cn"); ldap.CodeOf(err) != ldap.UnwillingToPerform {
		v.t.Errorf("the first search goes on: %v", err)
	}
}

// TestReferralIsHandedOn searches below a referral object, through our server.
func TestReferralIsHandedOn(t *testing.T) {
	t.Parallel()
	f := newFakeAD(t)
	f.add("dn: ou=branch,dc=example,dc=org\nobjectClass: referral\nobjectClass: extensibleObject\nou: branch\nref: ldap://branch.example.org/ou=branch,dc=example,dc=org")
	d := openAD(t, f.options())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := ldapserver.New(ldapserver.Config{Directory: d, PlaintextAuth: ldapserver.PlaintextAlways})
	served := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { served <- server.Serve(ctx, l) }()
	defer func() { cancel(); <-served }()
	c, err := goldap.DialURL("ldap://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetTimeout(20 * time.Second)
	if err := c.Bind(f.options().DN, "service"); err != nil {
		t.Fatal(err)
	}
	_, err = c.Search(goldap.NewSearchRequest("cn=x,ou=branch,dc=example,dc=org", goldap.ScopeBaseObject, 0, 0, 0, false, "(objectClass=*)", nil, nil))
	if le, ok := err.(*goldap.Error); !ok || le.ResultCode != goldap.LDAPResultReferral || le.Packet == nil || !strings.Contains(string(le.Packet.Bytes()), "ldap://branch.example.org/cn=x,ou=branch") {
		t.Errorf("below a referral: %v", err)
	}
	answer, err := c.SearchWithPaging(goldap.NewSearchRequest("dc=example,dc=org", goldap.ScopeWholeSubtree, 0, 0, 0, false, "(objectClass=*)", []string{"1.1"}, nil), 2)
	if err != nil || len(answer.Entries) < 3 {
		t.Errorf("pages through our server: %+v, %v", answer, err)
	}
}
