package gal

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"expost/internal/ldap"
)

// full is a recipient with a value in every field that programs share.
func full() *Recipient {
	r := &Recipient{Photo: []byte("\xFF\xD8\xFF\xE0photo")}
	for _, v := range []Value{{NamePrefix, "Dr.", 1}, {FirstName, "Jürgen", 1}, {MiddleName, "K.", 1}, {LastName, "Müller; jun.", 1}, {FullName, "Dr. Jürgen K. Müller, jun.", 1},
		{Nickname, "Jü", 1}, {Email, "jm@a.example", 1}, {Email, "j2@a.example", 1}, {Company, "A, \"B\" & C", 1}, {Department, "Sales", 1}, {JobTitle, "Boss", 1},
		{WorkPhone, "+49 89 1", 1}, {HomePhone, "+49 89 2", 1}, {MobilePhone, "+49 170 3", 1}, {WorkFax, "+49 89 4", 1}, {Pager, "5", 1},
		{WorkStreet, "Main Street 1", 1}, {WorkCity, "München", 1}, {WorkState, "BY", 1}, {WorkPostalCode, "80331", 1}, {WorkCountry, "Germany", 1},
		{HomeStreet, "Side Street 2", 1}, {HomeCity, "Dachau", 1}, {WorkURL, "http://a.example", 1}, {HomeURL, "http://b.example", 1},
		{Notes, "two\nlines; and a comma, and a \\", 1}, {Birthday, "1970-01-31", 1}} {
		r.Add(v.Field, v.Text, v.Line)
	}
	return r
}

func TestWriteReadsBack(t *testing.T) {
	t.Parallel()
	lossy := map[string][]Field{ // what a format has no place for
		"wab":     {NamePrefix, Birthday},
		"outlook": {FullName, Nickname, HomeURL},
		"mozilla": {NamePrefix, MiddleName},
		"vcard":   nil,
	}
	for format, lost := range lossy {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			var b strings.Builder
			want := full()
			list := []*Recipient{want, {Kind: Group, Values: []Value{{FullName, "All", 1}}, Members: []Member{{Address: "jm@a.example"}}}}
			var err error
			if format == "vcard" {
				err = WriteVCard(&b, list)
			} else {
				err = WriteCSV(&b, format, list, func(Issue) {})
			}
			if err != nil {
				t.Fatal(err)
			}
			got, _, report, err := readAll(t, b.String(), Options{})
			if err != nil || len(got) == 0 {
				t.Fatalf("%v, %v\n%s", err, report, b.String())
			}
			for _, f := range []Field{NamePrefix, FirstName, MiddleName, LastName, FullName, Nickname, Company, Department, JobTitle, WorkPhone, HomePhone, MobilePhone,
				WorkFax, Pager, WorkStreet, WorkCity, WorkState, WorkPostalCode, WorkCountry, HomeStreet, HomeCity, WorkURL, HomeURL, Notes, Birthday} {
				if a, b := want.Get(f), got[0].Get(f); a != b && !slices.Contains(lost, f) {
					t.Errorf("%s: %q came back as %q", f, a, b)
				}
			}
			if mails := got[0].All(Email); mails[0] != "jm@a.example" || format != "wab" && len(mails) != 2 {
				t.Errorf("addresses %v", mails)
			}
			if format == "vcard" && (len(got) != 2 || got[1].Kind != Group || got[1].Members[0].DN != "jm@a.example" || string(got[0].Photo) != string(want.Photo)) {
				t.Errorf("group %+v", got)
			}
			for l := range strings.Lines(b.String()) {
				if format == "vcard" && len(strings.TrimRight(l, "\r\n")) > 75 {
					t.Errorf("line of %d bytes", len(l))
				}
			}
		})
	}
}

// TestDirectoryRoundTrip turns a recipient into an entry and back.
func TestDirectoryRoundTrip(t *testing.T) {
	t.Parallel()
	for _, extended := range []bool{false, true} {
		want := full()
		entries := Entries([]*Recipient{want}, TreeOptions{Base: mustDN(t, "dc=a"), Extended: extended, Containers: true})
		got := FromEntries(entries, func(Issue) {})
		if len(got) != 1 {
			t.Fatalf("%d recipients", len(got))
		}
		for _, f := range []Field{FirstName, LastName, FullName, Nickname, Company, Department, JobTitle, WorkPhone, HomePhone, MobilePhone,
			WorkFax, Pager, WorkStreet, WorkCity, WorkState, WorkPostalCode, WorkCountry, WorkURL, HomeURL, Notes, Birthday} {
			if a, b := want.Get(f), got[0].Get(f); a != b {
				t.Errorf("extended %v, %s: %q came back as %q", extended, f, a, b)
			}
		}
	}
}

func TestOutlookHas92Columns(t *testing.T) {
	t.Parallel()
	_, outlook := headerRow("outlook")
	_, wab := headerRow("wab")
	if len(outlook) != 92 || len(wab) != 29 || outlook[0] != "Title" || outlook[91] != "Web Page" {
		t.Errorf("%d and %d columns", len(outlook), len(wab))
	}
}

func BenchmarkConvert(b *testing.B) {
	var in strings.Builder
	in.WriteString("First Name,Last Name,Name,E-mail Address,Business Phone,Company,Department,Job Title,Notes\n")
	for i := range 10_000 {
		fmt.Fprintf(&in, "User,Number%d,User Number%d,user%d@example.org,+91 11 %d,LFY,Sales,Clerk,\"a\nb\"\n", i, i, i, i)
	}
	b.SetBytes(int64(in.Len()))
	for b.Loop() {
		var list []*Recipient
		if _, err := Read(strings.NewReader(in.String()), Options{}, func(r *Recipient) error {
			list = append(list, r)
			return nil
		}); err != nil {
			b.Fatal(err)
		}
		if n := len(Entries(Merge(list, func(Issue) {}), TreeOptions{Base: ldap.DN{{{Type: "dc", Value: "a"}}}})); n != 10_000 {
			b.Fatal(n)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	const size = 4 << 20
	b.SetBytes(size)
	for b.Loop() {
		if _, err := Read(&generated{left: size}, Options{}, func(*Recipient) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
