package pst_test

import (
	"fmt"
	"slices"
	"testing"

	"expost/mapi"
	"expost/pst"
)

func TestPeople(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][]string{
		"HiraokaHyperTools__contacts.pst": {"Mr. イグザンプル ドット コム 殿 test@example.com, My work company, 2000-01-01"},
		"Yariki__dist-list.pst": {"contact name 1 contact1@rjohnson.id.au, , 0001-01-01",
			"test dist list: contact1@rjohnson.id.au dist1@rjohnson.id.au dist2@rjohnson.id.au"},
	} {
		f, err := open(fixture(t, name), pst.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for p, err := range f.People(&mapi.Converter{}) {
			if err != nil {
				t.Error(name, err)
				continue
			}
			s := p.Name
			if p.List {
				s += ":"
				for _, m := range p.Members {
					s += " " + m.Email
				}
			} else {
				s += fmt.Sprintf(" %s, %s, %s", p.Emails[0].Email, p.Company, p.Birthday.Format("2006-01-02"))
			}
			got = append(got, s)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: people are %q, want %q", name, got, want)
		}
	}
}
