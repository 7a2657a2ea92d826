package oab

import (
	"bytes"
	"expost/oab/oabtest"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// organisation makes records with properties of every type.
func organisation(n int) [][]Property {
	var all [][]Property
	for i := range n {
		r := []Property{
			{TagEmailAddress, fmt.Sprintf("/o=Linux For You/ou=Delhi/cn=Recipients/cn=user%d", i)},
			{TagSMTPAddress, fmt.Sprintf("user%d@linuxforu.com", i)},
			{TagDisplayName, fmt.Sprintf("Jürgen Müller %d", i)},
			{TagDisplayTypeEx, int32(0x40000000)},
			{0x3A40000B, i%2 == 0},
			{TagThumbnailPhoto, bytes.Repeat([]byte{0xFF, 0xD8, byte(i)}, i%500)},
			{TagProxyAddresses, []string{fmt.Sprintf("SMTP:user%d@linuxforu.com", i), fmt.Sprintf("smtp:u%d@linuxforu.com", i), "X500:/o=Old/cn=" + strings.Repeat("x", i%200)}},
			{TagX509Certificates, [][]byte{{0x30, 1, 2}, bytes.Repeat([]byte{7}, 300)}},
			{TagTruncated, []int32{0x3A080003, int32(i), -1}},
		}
		if i%3 == 0 {
			r = append(r, Property{TagBusinessPhone, "+91 11 2345678"})
		}
		all = append(all, r)
	}
	return all
}

// all reads every record.
func all(t *testing.T, r *Reader) [][]Property {
	t.Helper()
	var list [][]Property
	for rec, err := range r.Records() {
		if err != nil || rec.Damage != "" {
			t.Fatalf("record %d: %v %v", len(list)+1, rec, err)
		}
		list = append(list, rec.Properties)
	}
	return list
}

func TestDetails4(t *testing.T) {
	t.Parallel()
	want := organisation(2000)
	plain := details4([]Property{{0x6800001F, `\Global Address List`}, {0x6804001E, "/"}}, want)
	for name, file := range map[string][]byte{"plain": plain, "compressed": oabtest.Compress(plain, 256<<10)} {
		r, err := NewReader(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Header().Text(0x6800001F); got != `\Global Address List` || r.Total() != len(want) || !IsDetails4(file) {
			t.Errorf("%s: header %q, %d entries", name, got, r.Total())
		}
		got := all(t, r)
		if len(got) != len(want) {
			t.Fatalf("%s: %d entries, want %d", name, len(got), len(want))
		}
		for i := range want {
			sameProperties(t, fmt.Sprintf("%s: entry %d", name, i+1), got[i], want[i])
		}
	}
}

// sameProperties compares two lists of properties whose order may differ.
func sameProperties(t *testing.T, what string, got, want []Property) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s has %d properties, want %d", what, len(got), len(want))
	}
	for _, w := range want {
		i := slices.IndexFunc(got, func(p Property) bool { return p.Tag == w.Tag })
		if i < 0 || !reflect.DeepEqual(got[i].Value, w.Value) && !(empty(got[i].Value) && empty(w.Value)) {
			t.Fatalf("%s: property 0x%08X is not what was written", what, w.Tag)
		}
	}
}

func TestDetails4Damaged(t *testing.T) {
	t.Parallel()
	plain := details4(nil, organisation(20))
	r, err := NewReader(bytes.NewReader(plain[:len(plain)-5]))
	if err != nil {
		t.Fatal(err)
	}
	n, last := 0, error(nil)
	for _, err := range r.Records() {
		if err == nil {
			n++
		}
		last = err
	}
	if n != 19 || last == nil || !strings.Contains(last.Error(), "entry 20 of 20 at offset") {
		t.Errorf("%d entries of a cut file, then %v", n, last)
	}
	// A value that does not fit harms its own entry alone.
	bad := bytes.Replace(plain, []byte("user4@linuxforu.com\x00J"), []byte("user4@linuxforu.com\x01J"), 1)
	if r, err = NewReader(bytes.NewReader(bad)); err != nil {
		t.Fatal(err)
	}
	damaged := 0
	for rec, err := range r.Records() {
		if err != nil {
			t.Fatal(err)
		}
		if rec.Damage != "" {
			damaged++
		}
	}
	if damaged != 1 {
		t.Errorf("%d entries are damaged, want 1", damaged)
	}
	for _, b := range [][]byte{nil, plain[:11], plain[:20], append([]byte{0x20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0}, 0xFF, 0xFF, 0xFF, 0xFF)} {
		if _, err := NewReader(bytes.NewReader(b)); err == nil {
			t.Errorf("% x is read as an address book", b)
		}
	}
}

// details4 makes an address book of version 4.
func details4(header []Property, records [][]Property) []byte {
	convert := func(list []Property) (out []oabtest.Property) {
		for _, p := range list {
			out = append(out, oabtest.Property(p))
		}
		return out
	}
	var all [][]oabtest.Property
	for _, r := range records {
		all = append(all, convert(r))
	}
	return oabtest.Details4(convert(header), all)
}

// browseFiles makes an address book of version 2 or 3.
func browseFiles(version byte, people []oabtest.Person) Files {
	b := oabtest.Browse(version, people)
	return Files{Browse: bytes.NewReader(b.Browse), RDN: bytes.NewReader(b.RDN), ANR: bytes.NewReader(b.ANR), Details: bytes.NewReader(b.Details)}
}

func TestBrowse(t *testing.T) {
	t.Parallel()
	people := []oabtest.Person{
		{DN: "/o=Linux For You/ou=Delhi/cn=Recipients/cn=ajay", SMTP: "ajay@linuxforu.com", Name: "Ajay", Alias: "ajay", Phone: "+91 11 1", Proxy: "SMTP:ajay@linuxforu.com"},
		{DN: "/o=Linux For You/ou=Delhi/cn=Recipients/cn=biswajit", SMTP: "biswajit@linuxforu.com", Name: "Biswajit Banerjee", Alias: "biswajit", Office: "12", Surname: "Banerjee", Proxy: "X400:c=IN"},
		{DN: "/o=Linux For You/ou=Delhi/cn=Recipients/cn=juergen", SMTP: "juergen@linuxforu.com", Name: "J\xfcrgen", Alias: "juergen", Proxy: "x"},
	}
	for _, version := range []byte{versionBrowse2, versionBrowse3} {
		people[2].Name = map[byte]string{versionBrowse2: "J\xfcrgen", versionBrowse3: "Jürgen"}[version]
		files := browseFiles(version, people)
		book, err := Open(files, func(b []byte) string { return strings.ReplaceAll(string(b), "\xfc", "ü") })
		if err != nil {
			t.Fatal(err)
		}
		var got []oabtest.Person
		for rec, err := range book.Records() {
			if err != nil || rec.Damage != "" {
				t.Fatalf("version %d: %v, %v", version, rec, err)
			}
			got = append(got, oabtest.Person{
				DN: rec.Text(TagEmailAddress), SMTP: rec.Text(TagSMTPAddress), Name: rec.Text(TagDisplayName), Alias: rec.Text(TagAccount),
				Office: rec.Text(TagOffice), Surname: rec.Text(TagSurname), Phone: rec.Text(TagBusinessPhone), Proxy: strings.Join(rec.Texts(TagProxyAddresses), ","),
			})
		}
		want := slices.Clone(people)
		want[2].Name = "Jürgen"
		if !slices.Equal(got, want) {
			t.Errorf("version %d: got %+v", version, got)
		}
	}
	files := browseFiles(versionBrowse3, people)
	files.RDN = bytes.NewReader(nil)
	book, err := Open(files, nil)
	if err != nil {
		t.Fatal(err)
	}
	for rec, err := range book.Records() {
		if err != nil || !strings.Contains(rec.Damage, "X500 DN") || rec.Text(TagDisplayName) == "" {
			t.Errorf("an entry without its RDN record: %+v, %v", rec, err)
		}
	}
	if _, err := Open(Files{Browse: files.Browse}, nil); err == nil || !strings.Contains(err.Error(), "beside it") {
		t.Errorf("browse.oab alone: %v", err)
	}
}

func FuzzDetails4(f *testing.F) {
	plain := details4([]Property{{0x6800001F, "x"}}, organisation(3))
	f.Add(plain)
	f.Add(oabtest.Compress(plain, 1024))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := NewReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		for rec, err := range r.Records() {
			if err == nil && rec.Number > r.Total() {
				t.Fatal("more entries than announced")
			}
		}
	})
}

func FuzzBrowse(f *testing.F) {
	b := oabtest.Browse(versionBrowse3, []oabtest.Person{{DN: "/o=a/cn=b", SMTP: "b@linuxforu.com", Name: "B", Alias: "b", Office: "1", Surname: "B", Phone: "2", Proxy: "3"}})
	f.Add(b.Browse, b.RDN, b.ANR, b.Details)
	f.Fuzz(func(t *testing.T, browse, rdn, anr, details []byte) {
		book, err := Open(Files{bytes.NewReader(browse), bytes.NewReader(rdn), bytes.NewReader(anr), bytes.NewReader(details)}, func(b []byte) string { return string(b) })
		if err != nil {
			return
		}
		n := 0
		for range book.Records() {
			if n++; n > len(browse)/browseRecord+1 {
				t.Fatal("more entries than the file can hold")
			}
		}
	})
}

func BenchmarkDetails4(b *testing.B) {
	plain := details4(nil, organisation(5000))
	packed := oabtest.Compress(plain, 256<<10)
	b.SetBytes(int64(len(plain)))
	for b.Loop() {
		r, err := NewReader(bytes.NewReader(packed))
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for range r.Records() {
			n++
		}
		if n != 5000 {
			b.Fatal(n)
		}
	}
}
