package gal

import (
	"encoding/base64"
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// WriteCSV writes recipients as a CSV that the named program imports: "wab"
// (Outlook Express, Windows Mail), "outlook" (92 columns) or "mozilla". It is
// UTF-8 with a byte order mark and CRLF, as Windows programs expect. Groups
// have no place in it and are reported.
func WriteCSV(w io.Writer, program string, list []*Recipient, report Reporter) error {
	fields, names := headerRow(program)
	if fields == nil {
		return fmt.Errorf("columns of %q are not known: wab, outlook and mozilla are", program)
	}
	if i := slices.Index(names, "Birth Month"); i >= 0 {
		fields = fixBirthday(fields)
		copy(names[i:], []string{"Birth Year", "Birth Month", "Birth Day"})
	}
	if _, err := io.WriteString(w, "\uFEFF"); err != nil {
		return err
	}
	out := csv.NewWriter(w)
	out.UseCRLF = true
	if err := out.Write(names); err != nil {
		return err
	}
	for _, r := range list {
		if r.Kind == Group {
			report(r.Origin.issue(0, Warning, "", fmt.Sprintf("%q is a group", r.Name()), "left out: this CSV has no groups"))
			continue
		}
		if err := out.Write(csvRow(r, fields)); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// csvRow returns the cells of a recipient. The k-th column of a field holds
// its k-th value, and the last one all that are left over.
func csvRow(r *Recipient, fields []Field) []string {
	r = forCSV(r)
	total, seen := map[Field]int{}, map[Field]int{}
	for _, f := range fields {
		total[f]++
	}
	row := make([]string, len(fields))
	for i, f := range fields {
		vals := r.All(f)
		k := seen[f]
		seen[f]++
		switch {
		case k >= len(vals):
		case seen[f] == total[f]:
			row[i] = strings.Join(vals[k:], "; ")
		default:
			row[i] = vals[k]
		}
	}
	return row
}

// forCSV returns a copy of r with the fields that only a CSV has: the second
// and third address apart, the parts of the birthday, a last name where there
// is only a full one.
func forCSV(r *Recipient) *Recipient {
	c := &Recipient{Values: slices.Clone(r.Values)}
	mails := r.All(Email)
	c.remove(Email)
	for i, f := range []Field{"email", "email2", "email3"} {
		if i < len(mails) {
			c.Add(f, mails[i], 0)
			c.Add(f+"Type", "SMTP", 0)
			c.Add(f+"Name", r.Name(), 0)
		}
	}
	for _, extra := range mails[min(len(mails), 3):] {
		c.Add(Notes, extra, 0)
	}
	if c.Get(WorkCountry) == "" {
		c.Add(WorkCountry, r.Get(WorkCountryCode), 0)
	}
	if c.Get(FullName) == "" {
		c.Add(FullName, r.Name(), 0)
	}
	if c.Get(LastName) == "" && c.Get(FirstName) == "" {
		c.Add(LastName, r.Name(), 0)
	}
	if p := strings.Split(r.Get(Birthday), "-"); len(p) == 3 {
		for i, f := range []Field{birthYear, birthMonth, birthDay} {
			c.Add(f, p[i], 0)
		}
	}
	return c
}

// WriteVCard writes recipients as vCards 3.0, which Outlook, Apple's and
// Google's programs, and Thunderbird read. A group is a card with its members
// in the form of Apple and of RFC 6350.
func WriteVCard(w io.Writer, list []*Recipient) error {
	x := newIndex(list)
	ids := make(map[*Recipient]string, len(list))
	for i, r := range list {
		ids[r] = vcardID(r, i)
	}
	for _, r := range list {
		v := &vcardWriter{}
		v.line("BEGIN", "VCARD")
		v.line("VERSION", "3.0")
		v.line("UID", ids[r])
		v.person(r)
		if r.Kind == Group {
			v.line("X-ADDRESSBOOKSERVER-KIND", "group")
			for _, m := range r.Members {
				if other := x.find(m); other != nil {
					v.line("X-ADDRESSBOOKSERVER-MEMBER", "urn:uuid:"+ids[other])
				}
			}
		}
		v.line("END", "VCARD")
		if _, err := io.WriteString(w, v.b.String()); err != nil {
			return err
		}
	}
	return nil
}

// vcardID names a card: its address, else its place in the file.
func vcardID(r *Recipient, i int) string {
	if a := r.Get(Email); a != "" {
		return addressKey(a)
	}
	return fmt.Sprintf("entry-%d", i+1)
}

// vcardWriter writes one card.
type vcardWriter struct{ b strings.Builder }

// line writes a content line whose value needs no escape, folded at 75 bytes
// between characters.
func (v *vcardWriter) line(name, value string) {
	s := name + ":" + value
	for n := 75; len(s) > n; n = 74 {
		for !utf8.RuneStart(s[n]) {
			n--
		}
		v.b.WriteString(s[:n] + "\r\n ")
		s = s[n:]
	}
	v.b.WriteString(s + "\r\n")
}

// text writes the values joined with ";", unless all are empty.
func (v *vcardWriter) text(name string, values ...string) {
	if strings.Join(values, "") == "" {
		return
	}
	esc := strings.NewReplacer(`\`, `\\`, ";", `\;`, ",", `\,`, "\r\n", `\n`, "\n", `\n`, "\r", `\n`)
	for i := range values {
		values[i] = esc.Replace(values[i])
	}
	v.line(name, strings.Join(values, ";"))
}

// person writes the properties of a recipient.
func (v *vcardWriter) person(r *Recipient) {
	v.text("FN", r.Name())
	last := r.Get(LastName)
	if last == "" && r.Get(FirstName) == "" {
		last = r.Name()
	}
	v.text("N", last, r.Get(FirstName), r.Get(MiddleName), r.Get(NamePrefix), r.Get(NameSuffix))
	v.text("ORG", r.Get(Company), r.Get(Department))
	for _, p := range []struct {
		field Field
		name  string
	}{{Nickname, "NICKNAME"}, {JobTitle, "TITLE"}, {"profession", "ROLE"}, {Birthday, "BDAY"}, {WorkURL, "URL;TYPE=WORK"}, {HomeURL, "URL;TYPE=HOME"},
		{WorkPhone, "TEL;TYPE=WORK,VOICE"}, {HomePhone, "TEL;TYPE=HOME,VOICE"}, {MobilePhone, "TEL;TYPE=CELL"}, {WorkFax, "TEL;TYPE=WORK,FAX"},
		{HomeFax, "TEL;TYPE=HOME,FAX"}, {Pager, "TEL;TYPE=PAGER"}, {CarPhone, "TEL;TYPE=CAR"}, {ISDN, "TEL;TYPE=ISDN"}, {ManagerName, "X-MANAGER"},
		{AssistantName, "X-ASSISTANT"}, {Notes, "NOTE"}, {Categories, "CATEGORIES"}} {
		for _, t := range r.All(p.field) {
			v.text(p.name, t)
		}
	}
	for i, a := range r.All(Email) {
		name := "EMAIL;TYPE=INTERNET"
		if i == 0 {
			name += ",PREF"
		}
		v.text(name, a)
	}
	join := func(f Field) string { return strings.Join(r.All(f), "\n") }
	v.text("ADR;TYPE=WORK", r.Get(WorkPOBox), "", join(WorkStreet), r.Get(WorkCity), r.Get(WorkState), r.Get(WorkPostalCode), r.Get(WorkCountry))
	v.text("ADR;TYPE=HOME", r.Get(HomePOBox), "", join(HomeStreet), r.Get(HomeCity), r.Get(HomeState), r.Get(HomePostalCode), r.Get(HomeCountry))
	if r.Photo != nil {
		v.line("PHOTO;ENCODING=b;TYPE=JPEG", base64.StdEncoding.EncodeToString(r.Photo))
	}
}
