package gal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"expost/mapi"
	"expost/mapi/codepage"
	"expost/pst"
)

// isPST tells an Outlook data file by its first bytes ([MS-PST] 2.2.2.6).
func isPST(start []byte) bool { return len(start) >= 4 && string(start[:4]) == "!BDN" }

// readPST reads the entries of a personal address book, or the contacts of a
// PST or OST. The line of a recipient is its number.
func (rd *reader) readPST() error {
	rd.src.Format, rd.src.Page = FormatPST, ""
	f, err := rd.openSelf()
	if err != nil {
		return err
	}
	defer f.Close() // only read
	info, err := f.Stat()
	if err != nil {
		return err
	}
	at, ok := f.(io.ReaderAt)
	if !ok {
		return errors.New("an Outlook data file cannot be read from here: name the file itself")
	}
	file, err := pst.Open(at, info.Size(), pst.Options{
		Report: func(err error) {
			rd.issue(0, Warning, "", err.Error(), "the file is damaged; what can be read of it is used")
		},
		Decode: func(b []byte) string { return codepage.Decode(1252, b) },
	})
	if err != nil {
		return err
	}
	rd.src.Program = "a personal address book (PAB)"
	if file.Type() != pst.PAB {
		rd.src.Program = "contacts in an Outlook data file"
	}
	n := 0
	for c, err := range file.People(&mapi.Converter{}) {
		n++
		if err != nil {
			rd.issue(n, Error, "", err.Error(), "left out")
			continue
		}
		if err := rd.emit(rd.mapiContact(c, n)); err != nil {
			return err
		}
	}
	return nil
}

// openSelf opens the file that is read once more, for reading anywhere in it.
func (rd *reader) openSelf() (fs.File, error) {
	if rd.opts.Folder == nil {
		return nil, errors.New("an Outlook data file cannot be read from a pipe: name the file itself")
	}
	return rd.opts.Folder.Open(rd.opts.File)
}

// mapiContact makes a recipient of a contact.
func (rd *reader) mapiContact(c *mapi.Contact, n int) *Recipient {
	r := &Recipient{Origin: Origin{Line: n, File: rd.opts.File}}
	for _, v := range []struct {
		field Field
		text  string
	}{
		{FullName, c.Name}, {NamePrefix, c.Prefix}, {FirstName, c.Given}, {MiddleName, c.Middle}, {LastName, c.Surname}, {NameSuffix, c.Suffix},
		{Nickname, c.Nickname}, {Company, c.Company}, {Department, c.Department}, {JobTitle, c.Title}, {"profession", c.Profession},
		{Office, c.Office}, {ManagerName, c.Manager}, {AssistantName, c.Assistant},
		{"phoneticFirstName", c.PhoneticGiven}, {"phoneticLastName", c.PhoneticSurname}, {"phoneticCompany", c.PhoneticCompany},
		{"screenName", c.Messaging}, {HomeURL, c.Homepage}, {WorkURL, c.BusinessHomepage}, {"spouse", c.Spouse},
		{"children", strings.Join(c.Children, ", ")}, {Categories, strings.Join(c.Categories, ", ")}, {Notes, c.Notes},
		{Birthday, dayText(c.Birthday)}, {Anniversary, dayText(c.Anniversary)},
	} {
		r.Add(v.field, v.text, n)
	}
	for _, p := range c.Phones {
		r.Add(phoneOf(p.Kind), p.Number, n)
	}
	for _, p := range c.Postal {
		rd.postal(r, p, n)
	}
	for _, a := range c.Emails {
		rd.mapiAddress(r, a, n)
	}
	if !c.List {
		return r
	}
	r.Kind = Group
	for _, m := range c.Members {
		member := Member{Name: m.Name, Line: n}
		if m.Type == "SMTP" || m.Type == "" {
			member.Address = m.Email
		} else {
			member.DN = m.Email
		}
		r.Members = append(r.Members, member)
	}
	return r
}

// mapiAddress adds an address of any type.
func (rd *reader) mapiAddress(r *Recipient, a mapi.Address, n int) {
	switch a.Type {
	case "SMTP", "":
		rd.addAddresses(r, a.Email, n)
	case "EX":
		r.Add(LegacyDN, a.Email, n)
	case "FAX":
		number := a.Email
		if _, after, ok := strings.Cut(a.Email, "@"); ok {
			number = after
		}
		r.Add(WorkFax, number, n)
	default:
		r.Add(Proxy, a.Type+":"+a.Email, n)
	}
}

// postal adds a postal address.
func (rd *reader) postal(r *Recipient, p mapi.Postal, n int) {
	fields := map[string][6]Field{
		"work":  {WorkPOBox, WorkStreet, WorkCity, WorkState, WorkPostalCode, WorkCountry},
		"home":  {HomePOBox, HomeStreet, HomeCity, HomeState, HomePostalCode, HomeCountry},
		"other": {"otherPOBox", "otherStreet", "otherCity", "otherState", "otherPostalCode", "otherCountry"},
	}[p.Kind]
	for i, text := range []string{p.Box, p.Street, p.City, p.Region, p.Code, p.Country} {
		if fields[i] != "" {
			r.Add(fields[i], text, n)
		}
	}
}

// phoneOf returns where a number goes.
func phoneOf(kind string) Field {
	f, ok := map[string]Field{
		"work,voice": WorkPhone, "work,fax": WorkFax, "home,voice": HomePhone, "home,fax": HomeFax, "cell": MobilePhone, "pager": Pager,
		"fax": OtherFax, "x-radio": "radioPhone", "x-car": CarPhone, "x-callback": "callbackPhone", "x-isdn": ISDN, "x-telex": "telex",
		"textphone": "ttyPhone", "x-assistant": AssistantPhone,
	}[kind]
	if !ok {
		return OtherPhone
	}
	return f
}

// dayText returns a day, "" where it is not known.
func dayText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return fmt.Sprintf("%04d-%02d-%02d", t.Year(), t.Month(), t.Day())
}
