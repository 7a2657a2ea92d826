package embedded

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"expost/internal/directory"
	"expost/internal/directory/directorytest"
	"expost/internal/ldap"
)

// viewed searches with a view and returns the cn of each entry.
func viewed(t testing.TB, d *Directory, filter string, limit int, v directory.View) ([]string, directory.Viewed, error) {
	t.Helper()
	var names []string
	req := &ldap.SearchRequest{Base: d.Suffix(), Scope: ldap.ScopeSub, Filter: directorytest.Filter(filter), SizeLimit: limit, Attributes: []string{"cn"}}
	got, err := d.SearchView(context.Background(), directory.Local(), req, v, func(e *ldap.Entry) error {
		names = append(names, e.DN[0][0].Value)
		return nil
	})
	return names, got, err
}

// pages searches in pages of a size.
func pages(t testing.TB, d *Directory, filter string, size, limit int, sort []directory.SortKey, between func(page []string)) []string {
	t.Helper()
	var all []string
	page := &directory.Page{Size: size}
	for {
		names, got, err := viewed(t, d, filter, limit, directory.View{Sort: sort, Page: page})
		all = append(all, names...)
		if err != nil {
			return append(all, err.Error())
		}
		if len(got.Cookie) == 0 {
			return all
		}
		if len(names) != size {
			t.Fatalf("a page of %d entries, want %d", len(names), size)
		}
		page.Cookie = got.Cookie
		between(names)
	}
}

func TestPagesHoldEveryEntryOnce(t *testing.T) {
	t.Parallel()
	d := open(t, options(t.TempDir()))
	fill(t, d, 500)
	for _, sort := range [][]directory.SortKey{nil, {{Attr: "cn"}}, {{Attr: "mobile"}}, {{Attr: "givenName"}, {Attr: "sn", Reverse: true}}} {
		for _, filter := range []string{"(uid=*)", "(|(cn=p*)(givenName=p*)(cn=*an*))", "(l=new delhi)"} {
			want, _, err := viewed(t, d, filter, 0, directory.View{Sort: sort})
			if err != nil {
				t.Fatal(err)
			}
			got := pages(t, d, filter, 7, 0, sort, func([]string) {})
			if sort == nil {
				slices.Sort(want)
				slices.Sort(got)
			}
			if len(want) == 0 || !slices.Equal(got, want) {
				t.Errorf("%s by %v: pages have %d entries, want %d", filter, sort, len(got), len(want))
			}
		}
	}
	if got := pages(t, d, "(uid=*)", 10, 25, nil, func([]string) {}); len(got) != 26 || !strings.Contains(got[25], "result 4") {
		t.Errorf("with a size limit of 25: %d entries, %s", len(got), got[len(got)-1])
	}
	_, got, err := viewed(t, d, "(uid=*)", 0, directory.View{Page: &directory.Page{Size: 5}})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = viewed(t, d, "(cn=*)", 0, directory.View{Page: &directory.Page{Size: 5, Cookie: got.Cookie}})
	if err == nil {
		t.Error("a cookie is taken for another search")
	}
}

// TestPagesWhileEntriesComeAndGo deletes what a page ended with, and adds
// entries in front of the next.
func TestPagesWhileEntriesComeAndGo(t *testing.T) {
	t.Parallel()
	for _, sort := range [][]directory.SortKey{nil, {{Attr: "cn"}}} {
		d := open(t, options(t.TempDir()))
		fill(t, d, 60)
		before, _, err := viewed(t, d, "(uid=*)", 0, directory.View{Sort: sort})
		if err != nil {
			t.Fatal(err)
		}
		book := d.Suffix().Child(ldap.AVA{Type: "ou", Value: "addressbook"})
		added := 1000
		got := pages(t, d, "(uid=*)", 5, 0, sort, func(page []string) {
			last := book.Child(ldap.AVA{Type: "cn", Value: page[4]})
			err := d.Delete(t.Context(), directory.Local(), last)
			if err == nil && added < 1010 {
				added++
				err = d.Add(t.Context(), directory.Local(), person(added))
			}
			if err != nil {
				t.Fatal(err)
			}
		})
		for _, name := range before {
			n := 0
			for _, g := range got {
				if g == name {
					n++
				}
			}
			if n != 1 {
				t.Errorf("sorted by %v: %s came %d times", sort, name, n)
			}
		}
	}
}

// TestListsFollowChanges compares lists that were brought up to date with ones
// that are made afresh.
func TestListsFollowChanges(t *testing.T) {
	t.Parallel()
	d := open(t, options(t.TempDir()))
	fill(t, d, 300)
	r := rand.New(rand.NewPCG(3, 4))
	const filter = "(&(uid=*)(!(title=Engineer 2)))"
	sorts := [][]directory.SortKey{{{Attr: "cn"}}, {{Attr: "sn", Reverse: true}}, {{Attr: "title"}, {Attr: "cn"}}, {{Attr: "mobile"}}}
	next := 300
	for range 60 {
		changeSome(t, d, r, &next)
		for _, sort := range sorts {
			want, _, err := viewed(t, d, filter, 0, directory.View{Sort: sort})
			if err != nil {
				t.Fatal(err)
			}
			at := 1 + r.IntN(len(want))
			got, v, err := viewed(t, d, filter, 0, directory.View{Sort: sort, Window: &directory.Window{Before: 3, After: 5, Offset: at}})
			part := want[max(0, at-4):min(len(want), at+5)]
			if err != nil || v.Count != len(want) || v.Target != at || !slices.Equal(got, part) {
				t.Fatalf("%v around %d: %v, %v, %q, want %q of %d", sort, at, v, err, got, part, len(want))
			}
		}
	}
}

// changeSome adds, changes and deletes people, and renames the unit above them.
func changeSome(t testing.TB, d *Directory, r *rand.Rand, next *int) {
	t.Helper()
	ctx, who := context.Background(), directory.Local()
	var err error
	switch e := person(*next); r.IntN(4) {
	case 0:
		err = d.Add(ctx, who, e)
		*next++
	case 1:
		err = d.Delete(ctx, who, person(*next-1).DN)
		*next--
	case 2:
		err = d.Modify(ctx, who, person(r.IntN(*next)).DN, []ldap.Change{
			{Op: ldap.ChangeReplace, Attribute: ldap.NewAttribute("sn", fmt.Sprintf("Sn %d", r.IntN(100)))},
			{Op: ldap.ChangeReplace, Attribute: ldap.NewAttribute("title", fmt.Sprintf("Engineer %d", r.IntN(4)))},
			{Op: ldap.ChangeReplace, Attribute: ldap.NewAttribute("mobile", fmt.Sprintf("+1 %d", r.IntN(4)), "+0")},
		})
	case 3:
		unit := ldap.AVA{Type: "ou", Value: "addressbook"}
		other := ldap.AVA{Type: "ou", Value: "renamed"}
		err = d.Rename(ctx, who, directory.Rename{DN: d.Suffix().Child(unit), NewRDN: ldap.RDN{other}})
		if err == nil {
			err = d.Rename(ctx, who, directory.Rename{DN: d.Suffix().Child(other), NewRDN: ldap.RDN{unit}})
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestSort(t *testing.T) {
	t.Parallel()
	d := open(t, options(t.TempDir()))
	for i, cn := range []string{"charlie", "Alpha", "bravo", "Äther", "delta"} {
		text := fmt.Sprintf("dn: uid=%d,ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: %[1]d\ncn: %s\nsn: %d\n", i, cn, i%2)
		if cn == "delta" {
			text += "cn: aardvark\n"
		} else {
			text += fmt.Sprintf("telephoneNumber: %d\n", 9-i)
		}
		if err := d.Add(t.Context(), directory.Local(), directorytest.Entry(text)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ keys, want string }{
		{"cn", "4 1 2 0 3"},
		{"-cn", "3 0 2 1 4"},
		{"sn cn", "4 2 0 1 3"},
		{"-sn cn", "1 3 4 2 0"},
		{"telephoneNumber", "3 2 1 0 4"},
		{"-telephoneNumber", "4 0 1 2 3"},
		{"cn:caseExactOrderingMatch", "1 4 2 0 3"},
		{"cn:2.5.13.3", "4 1 2 0 3"},
		{"cn:integerOrderingMatch", "result 18"},
		{"cn:caseIgnoreMatch", "result 18"},
		{"nonesuch", "result 16"},
		{"jpegPhoto", "result 18"},
		{"entryDN", "result 16"},
	} {
		var keys []directory.SortKey
		for _, k := range strings.Fields(c.keys) {
			attr, reverse := strings.CutPrefix(k, "-")
			attr, rule, _ := strings.Cut(attr, ":")
			keys = append(keys, directory.SortKey{Attr: attr, Rule: rule, Reverse: reverse})
		}
		got, _, err := viewed(t, d, "(uid=*)", 0, directory.View{Sort: keys})
		if err != nil && !strings.Contains(err.Error(), c.want) || err == nil && strings.Join(got, " ") != c.want {
			t.Errorf("by %s: %q, %v, want %s", c.keys, got, err, c.want)
		}
	}
}

func TestWindow(t *testing.T) {
	t.Parallel()
	d := open(t, options(t.TempDir()))
	fill(t, d, 100)
	byCN := []directory.SortKey{{Attr: "cn"}}
	all, _, err := viewed(t, d, "(uid=*)", 0, directory.View{Sort: byCN})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		w             directory.Window
		target, first int // first from 0
		n             int
	}{
		{directory.Window{Offset: 1, After: 9}, 1, 0, 10},
		{directory.Window{Offset: 1, Count: 100, Before: 5, After: 9}, 1, 0, 10},
		{directory.Window{Offset: 50, Before: 5, After: 5}, 50, 44, 11},
		{directory.Window{Offset: 50, Count: 200, Before: 0, After: 0}, 25, 24, 1},
		{directory.Window{Offset: 200, Count: 200, Before: 9, After: 9}, 100, 90, 10},
		{directory.Window{Offset: 1000, After: 9}, 100, 99, 1},
		{directory.Window{ByValue: true, Value: []byte(all[40]), After: 2}, 41, 40, 3},
		{directory.Window{ByValue: true, Value: []byte("ZZZ"), Before: 2, After: 2}, 101, 98, 2},
		{directory.Window{ByValue: true, Value: nil, After: 1 << 30}, 1, 0, 100},
	} {
		got, v, err := viewed(t, d, "(uid=*)", 0, directory.View{Sort: byCN, Window: &c.w})
		if err != nil || v.Target != c.target || v.Count != 100 || !slices.Equal(got, all[c.first:c.first+c.n]) {
			t.Errorf("%+v: %+v, %v, %q", c.w, v, err, got)
		}
	}
	if _, _, err := viewed(t, d, "(uid=*)", 0, directory.View{Sort: byCN, Window: &directory.Window{}}); err == nil {
		t.Error("an offset of 0 is taken")
	}
	if _, v, err := viewed(t, d, "(uid=nobody)", 0, directory.View{Sort: byCN, Window: &directory.Window{Offset: 1, After: 9}}); err != nil || v.Target != 0 || v.Count != 0 {
		t.Errorf("nothing: %+v, %v", v, err)
	}
}

func FuzzCookie(f *testing.F) {
	d := open(f, options(f.TempDir()))
	fill(f, d, 20)
	sort := []directory.SortKey{{Attr: "cn"}, {Attr: "mobile"}}
	_, got, err := viewed(f, d, "(uid=*)", 0, directory.View{Sort: sort, Page: &directory.Page{Size: 5}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(got.Cookie[8:])
	f.Fuzz(func(t *testing.T, b []byte) {
		cookie := slices.Concat(got.Cookie[:8], b) // a forged one of the same search
		for _, s := range [][]directory.SortKey{sort, nil} {
			names, _, err := viewed(t, d, "(uid=*)", 0, directory.View{Sort: s, Page: &directory.Page{Size: 5, Cookie: cookie}})
			if err == nil && len(names) > 5 {
				t.Errorf("a page of %d", len(names))
			}
		}
	})
}
