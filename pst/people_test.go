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

// TestAddressBook reads the entries of a personal address book, which are known
// by their object type.
func TestAddressBook(t *testing.T) {
	t.Parallel()
	im := ansiImage(1)
	im.magic = "AB"
	im.mailbox()
	var ids []uint32
	for i, name := range []string{"Ajay", "Biswajit"} {
		nid := uint32(nidFirst + i<<5)
		im.node(im.pc(nid, nidMany, []imageProp{number(0x0FFE, mapi.TypeInt32, 6), im.text(0x3001, name), im.text(0x3002, "SMTP"),
			im.text(0x3003, name+"@example.org"), im.text(0x3A08, "+91 11 1234")}))
		ids = append(ids, nid)
	}
	im.folder(nidMany, nidSubtree, "Entries", nil, ids...)
	f, err := open(im.finish(), pst.Options{Report: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for p, err := range f.People(&mapi.Converter{}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s %s %s", p.Name, p.Emails[0].Email, p.Phones[0].Number))
	}
	if want := []string{"Ajay Ajay@example.org +91 11 1234", "Biswajit Biswajit@example.org +91 11 1234"}; f.Type() != pst.PAB || !slices.Equal(got, want) {
		t.Errorf("%s: people are %q, want %q", f.Type(), got, want)
	}
}
