package mapi

import (
	"bytes"
	"encoding/base64"
	"io"
	"strings"
	"time"
)

// Contact is a person of an address book or contacts folder ([MS-OXOCNTC]), or
// with Members a distribution list. Text that is not known is "".
type Contact struct {
	Name                                            string // as it is shown
	Prefix, Given, Middle, Surname, Suffix          string
	Nickname, FileAs                                string
	Company, Department, Title, Profession          string
	Office, Manager, Assistant                      string
	PhoneticGiven, PhoneticSurname, PhoneticCompany string
	Emails                                          []Address // SMTP where it is known
	Phones                                          []Phone
	Postal                                          []Postal
	Messaging, Homepage, BusinessHomepage           string
	Spouse                                          string
	Children                                        []string
	Birthday, Anniversary                           time.Time // at midnight UTC; zero where not known
	Gender                                          int       // 1 female, 2 male
	Categories                                      []string
	Notes                                           string
	Private                                         bool
	List                                            bool
	Members                                         []Address
}

// Phone is a number and what it is for, in vCard's words: "work,voice".
type Phone struct{ Kind, Number string }

// Postal is an address; Kind is "work", "home" or "other".
type Postal struct{ Kind, Box, Street, City, Region, Code, Country string }

// Contact returns the contact that a message is, and false where it is none.
func (c *Converter) Contact(m Message) (*Contact, bool) {
	conv := c.conversion(m, &Result{}, 0)
	if !conv.isContact() {
		return nil, false
	}
	return conv.contact(), true
}

// isContact tells contacts and lists of contacts folders, and the entries of
// personal address books, which have no class but an object type.
func (c *conversion) isContact() bool {
	if c.isClass("IPM.CONTACT") || c.isClass("IPM.DISTLIST") || c.isClass("IPM.ABCHPERSON") {
		return true
	}
	typ, _ := c.int(idObjectType)
	return (typ == objectMailUser || typ == objectDistList) && c.class == "" || strings.HasPrefix(c.class, "IPM.PAB") || c.isClass("IPM.ADDRESS")
}

// The values of PidTagObjectType that people and lists have ([MS-OXCPRPT]).
const (
	idObjectType   = 0x0FFE
	objectMailUser = 6
	objectDistList = 8
)

// phones are the properties of numbers ([MS-OXOCNTC] 2.2.1.4).
var phones = []struct {
	id   uint16
	kind string
}{
	{0x3A08, "work,voice"}, {0x3A1B, "work,voice"}, {0x3A57, "work,voice"}, {0x3A24, "work,fax"}, {0x3A09, "home,voice"}, {0x3A2F, "home,voice"},
	{0x3A25, "home,fax"}, {0x3A1C, "cell"}, {0x3A1D, "x-radio"}, {0x3A1E, "x-car"}, {0x3A1F, "voice"}, {0x3A1A, "voice,x-primary"}, {0x3A21, "pager"},
	{0x3A23, "fax"}, {0x3A02, "x-callback"}, {0x3A2D, "x-isdn"}, {0x3A2C, "x-telex"}, {0x3A4B, "textphone"}, {0x3A2E, "x-assistant"},
}

func (c *conversion) contact() *Contact {
	p := &Contact{
		Name: c.text(idDisplayName), Prefix: c.text(0x3A45), Given: c.text(0x3A06), Middle: c.text(0x3A44), Surname: c.text(0x3A11), Suffix: c.text(0x3A05),
		Nickname: c.text(0x3A4F), FileAs: c.namedText(SetAddress, 0x8005), Company: c.text(0x3A16), Department: c.text(0x3A18), Title: c.text(0x3A17),
		Profession: c.text(0x3A46), Office: c.text(0x3A19), Manager: c.text(0x3A4E), Assistant: c.text(0x3A30),
		PhoneticGiven: c.namedText(SetAddress, 0x802C), PhoneticSurname: c.namedText(SetAddress, 0x802D), PhoneticCompany: c.namedText(SetAddress, 0x802E),
		Messaging: c.namedText(SetAddress, 0x8062), Homepage: c.text(0x3A50), BusinessHomepage: c.text(0x3A51), Spouse: c.text(0x3A48),
		Children: c.texts(0x3A58), Categories: c.categories(), Notes: c.text(idBody), Private: c.namedBool(SetCommon, 0x8506),
		List: c.isClass("IPM.DISTLIST"),
	}
	if typ, _ := c.int(idObjectType); typ == objectDistList {
		p.List = true
	}
	p.Gender, _ = c.int(0x3A4D)
	p.Birthday = c.day(0x80DE, 0x3A42)
	p.Anniversary = c.day(0x80DF, 0x3A41)
	for _, n := range phones {
		if s := c.text(n.id); s != "" {
			p.Phones = append(p.Phones, Phone{n.kind, s})
		}
	}
	c.contactPlaces(p)
	if p.List {
		p.Name = firstOf(c.namedText(SetAddress, 0x8053), p.Name)
		p.Members = c.members()
	} else {
		c.contactEmails(p)
	}
	var first Address
	if len(p.Emails) > 0 {
		first = p.Emails[0]
	}
	p.Name = firstOf(p.Name, strings.Join(strings.Fields(strings.Join([]string{p.Prefix, p.Given, p.Middle, p.Surname, p.Suffix}, " ")), " "),
		p.FileAs, c.subject(), p.Company, first.Name, first.Email)
	return p
}

func firstOf(s ...string) string {
	for _, x := range s {
		if strings.TrimSpace(x) != "" {
			return strings.TrimSpace(x)
		}
	}
	return ""
}

// day returns a date of the year: the local one where it is known, else the
// nearest midnight to the instant.
func (c *conversion) day(local uint32, id uint16) time.Time {
	t, ok := c.namedTime(SetAddress, local)
	if !ok {
		if t, ok = c.instant(id); !ok {
			return time.Time{}
		}
	}
	return nearestDay(t)
}

// nearestDay returns the midnight in UTC that t is at in its time zone, where
// that is not known.
func nearestDay(t time.Time) time.Time { return t.Add(12 * time.Hour).Truncate(24 * time.Hour) }

func (c *conversion) contactPlaces(p *Contact) {
	work := Postal{"work", c.namedText(SetAddress, 0x804A), c.namedText(SetAddress, 0x8045), c.namedText(SetAddress, 0x8046),
		c.namedText(SetAddress, 0x8047), c.namedText(SetAddress, 0x8048), c.namedText(SetAddress, 0x8049)}
	if work == (Postal{Kind: "work"}) { // the mailing address, or that of an address book
		work = Postal{"work", c.text(0x3A2B), c.text(0x3A29), c.text(0x3A27), c.text(0x3A28), c.text(0x3A2A), c.text(0x3A26)}
	}
	for _, a := range []Postal{work,
		{"home", c.text(0x3A5E), c.text(0x3A5D), c.text(0x3A59), c.text(0x3A5C), c.text(0x3A5B), c.text(0x3A5A)},
		{"other", c.text(0x3A64), c.text(0x3A63), c.text(0x3A5F), c.text(0x3A62), c.text(0x3A61), c.text(0x3A60)},
	} {
		if a != (Postal{Kind: a.Kind}) {
			p.Postal = append(p.Postal, a)
		}
	}
}

// contactEmails reads the three addresses of a contact, and the one of an
// address book's entry.
func (c *conversion) contactEmails(p *Contact) {
	add := func(a Address, entry []byte, known string) {
		a.Type = upper(a.Type)
		a = complete(a, entry, c.cp)
		if a.Email == "" && known == "" {
			return
		}
		if s := c.smtpOf(a, known); isSMTP(s) {
			a.Type, a.Email = "SMTP", s
		}
		for _, e := range p.Emails {
			if strings.EqualFold(e.Email, a.Email) {
				return
			}
		}
		p.Emails = append(p.Emails, a)
	}
	for _, base := range []uint32{0x8080, 0x8090, 0x80A0} {
		a := Address{Name: firstOf(c.namedText(SetAddress, base+4), c.namedText(SetAddress, base)), Type: c.namedText(SetAddress, base+2), Email: c.namedText(SetAddress, base+3)}
		add(a, c.namedBytes(SetAddress, base+5), "")
	}
	add(Address{Name: c.text(idDisplayName), Type: c.text(idAddressType), Email: c.text(idEmailAddress)}, nil, c.text(idSMTPAddress))
	for _, base := range []uint32{0x80B0, 0x80C0, 0x80D0} {
		if n := c.namedText(SetAddress, base+3); n != "" {
			n = n[strings.LastIndexByte(n, '@')+1:]
			known := false
			for _, have := range p.Phones {
				known = known || have.Number == n
			}
			if !known {
				p.Phones = append(p.Phones, Phone{"fax", n})
			}
		}
	}
}

// smtpOf is smtp without making an address where none is known.
func (c *conversion) smtpOf(a Address, known string) string {
	switch {
	case isSMTP(known):
		return known
	case isSMTP(a.Email):
		return strings.Trim(a.Email, "'")
	case c.Resolve != nil && a.Email != "":
		return c.Resolve(a)
	}
	return ""
}

// members reads the members of a list ([MS-OXOCNTC] 2.2.2.2): their entry ids,
// of which some only point into an address book, and beside each a one-off one
// that says who it was.
func (c *conversion) members() []Address {
	ids, _ := namedValue[[][]byte](&c.view, SetAddress, 0x8055, TypeBinary|MultiValued)
	oneOffs, _ := namedValue[[][]byte](&c.view, SetAddress, 0x8054, TypeBinary|MultiValued)
	if stream := c.namedBytes(SetAddress, 0x8064); len(ids) == 0 && len(oneOffs) == 0 {
		ids, oneOffs = memberStream(stream)
	}
	var out []Address
	for i := range max(len(ids), len(oneOffs)) {
		var a Address
		if i < len(ids) {
			a, _ = ParseEntryID(ids[i], c.cp)
		}
		if i < len(oneOffs) {
			if b, ok := ParseEntryID(oneOffs[i], c.cp); ok && (a.Email == "" || a.Type != "SMTP" && b.Type == "SMTP") {
				a = b
			} else if ok && a.Name == "" {
				a.Name = b.Name
			}
		}
		if s := c.smtpOf(a, ""); isSMTP(s) {
			a.Type, a.Email = "SMTP", s
		}
		if a != (Address{}) {
			out = append(out, a)
		}
	}
	return out
}

// memberStream reads the stream that long lists are in ([MS-OXOCNTC] 2.2.2.2.4):
// 28 bytes of version, flags and sums, then for each member the sizes and bytes
// of its entry id, its one-off entry id and something more.
func memberStream(b []byte) (ids, oneOffs [][]byte) {
	if len(b) < 28 {
		return nil, nil
	}
	b = b[28:]
	for len(b) >= 12 {
		var three [3][]byte
		for i := range three {
			if len(b) < 4 {
				return ids, oneOffs
			}
			n := int(uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24)
			if n < 0 || n > len(b)-4 {
				return ids, oneOffs
			}
			three[i], b = b[4:4+n], b[4+n:]
		}
		ids, oneOffs = append(ids, three[0]), append(oneOffs, three[1])
	}
	return ids, oneOffs
}

// vcard returns the contact as a vCard 4 (RFC 6350).
func (c *conversion) vcard(p *Contact) string {
	var l lines
	l.raw("BEGIN", "", "VCARD")
	l.raw("VERSION", "", "4.0")
	l.raw("PRODID", "", "-//Expost//MAPI//EN")
	l.text("UID", "", strings.Trim(c.messageID(), "<>"))
	name := firstOf(p.Name, "?")
	l.text("FN", "", name)
	if p.List {
		l.raw("KIND", "", "group")
		for _, m := range p.Members {
			l.raw("MEMBER", param("X-CN", m.Name), "mailto:"+c.mailto(m))
		}
	} else {
		sort := ""
		if p.FileAs != "" {
			sort = param("SORT-AS", p.FileAs)
		}
		l.list("N", sort, ";", p.Surname, p.Given, p.Middle, p.Prefix, p.Suffix)
	}
	l.text("NICKNAME", "", p.Nickname)
	l.list("ORG", "", ";", p.Company, p.Department, p.Office)
	l.text("TITLE", "", p.Title)
	l.text("ROLE", "", p.Profession)
	for i, e := range p.Emails {
		pref := ""
		if i == 0 && len(p.Emails) > 1 {
			pref = ";PREF=1"
		}
		l.text("EMAIL", pref+param("X-CN", e.Name), c.mailto(e))
	}
	for _, n := range p.Phones {
		l.text("TEL", ";TYPE=\""+n.Kind+"\"", n.Number)
	}
	for _, a := range p.Postal {
		kind := ";TYPE=" + a.Kind
		if a.Kind == "other" {
			kind = ""
		}
		l.list("ADR", kind, ";", a.Box, "", a.Street, a.City, a.Region, a.Code, a.Country)
	}
	c.vcardRest(&l, p)
	l.raw("END", "", "VCARD")
	return l.String()
}

// mailto returns an address for a URI.
func (c *conversion) mailto(a Address) string {
	if a.Type == "SMTP" || isSMTP(a.Email) {
		return a.Email
	}
	return c.smtp(a, "")
}

func (c *conversion) vcardRest(l *lines, p *Contact) {
	if !p.Birthday.IsZero() {
		l.raw("BDAY", "", p.Birthday.Format(dateLayout))
	}
	if !p.Anniversary.IsZero() {
		l.raw("ANNIVERSARY", "", p.Anniversary.Format(dateLayout))
	}
	if p.Gender == 1 || p.Gender == 2 {
		l.raw("GENDER", "", " FM"[p.Gender:p.Gender+1])
	}
	l.text("URL", ";TYPE=home", p.Homepage)
	l.text("URL", ";TYPE=work", p.BusinessHomepage)
	l.text("FBURL", "", c.namedText(SetAddress, 0x80D8))
	if p.Messaging != "" {
		l.raw("IMPP", "", "x-im:"+strings.Join(strings.Fields(p.Messaging), "%20"))
	}
	l.text("RELATED", ";TYPE=spouse;VALUE=text", p.Spouse)
	for _, child := range p.Children {
		l.text("RELATED", ";TYPE=child;VALUE=text", child)
	}
	l.text("X-MANAGER", "", p.Manager)
	l.text("X-ASSISTANT", "", p.Assistant)
	l.text("X-PHONETIC-FIRST-NAME", "", p.PhoneticGiven)
	l.text("X-PHONETIC-LAST-NAME", "", p.PhoneticSurname)
	l.text("X-PHONETIC-ORG", "", p.PhoneticCompany)
	l.list("CATEGORIES", "", ",", p.Categories...)
	l.text("NOTE", "", p.Notes)
	for _, x := range []struct {
		name string
		id   uint32
	}{{"X-MS-USER1", 0x804F}, {"X-MS-USER2", 0x8050}, {"X-MS-USER3", 0x8051}, {"X-MS-USER4", 0x8052}, {"X-MS-HTML", 0x802B}} {
		l.text(x.name, "", c.namedText(SetAddress, x.id))
	}
	for _, x := range []struct {
		name string
		id   uint16
	}{{"HOBBY", 0x3A43}, {"X-MS-GOVERNMENT-ID", 0x3A07}, {"X-MS-ACCOUNT", 0x3A00}, {"X-MS-CUSTOMER-ID", 0x3A4A}, {"X-MS-LANGUAGE", 0x3A0C},
		{"X-MS-LOCATION", 0x3A0D}, {"X-MS-REFERRED-BY", 0x3A47}, {"X-MS-COMPUTER-NETWORK", 0x3A49}, {"X-MS-FTP-SITE", 0x3A4C}, {"X-MS-ORG-ID", 0x3A10}} {
		l.text(x.name, "", c.text(x.id))
	}
	l.text("X-MS-BILLING", "", c.namedText(SetCommon, 0x8535))
	l.text("X-MS-MILEAGE", "", c.namedText(SetCommon, 0x8534))
	if p.Private {
		l.raw("X-CLASS", "", "PRIVATE")
	}
	certs, _ := get[[][]byte](&c.view, 0x3A70, TypeBinary|MultiValued)
	for _, cert := range certs {
		if der := certificate(cert); der != nil {
			l.raw("KEY", "", "data:application/pkix-cert;base64,"+base64.StdEncoding.EncodeToString(der))
		}
	}
	c.photo(l)
	if t, ok := c.instant(idModificationTime); ok {
		l.stamp("REV", t, true)
	}
}

// certificate finds the certificate in an entry of PidTagUserX509Certificate:
// tags of two bytes with lengths, of which 3 is the certificate ([MS-OXOABK]
// 2.2.4.38), or the certificate itself.
func certificate(b []byte) []byte {
	if len(b) > 2 && b[0] == 0x30 {
		return b
	}
	for len(b) >= 4 {
		tag, n := int(b[0])|int(b[1])<<8, int(b[2])|int(b[3])<<8
		if n < 4 || n > len(b) {
			return nil
		}
		if tag == 3 {
			return b[4:n]
		}
		b = b[n:]
	}
	return nil
}

// maxPhoto bounds the picture in a vCard; the attachment itself stays in any case.
const maxPhoto = 1 << 20

func (c *conversion) photo(l *lines) {
	for i := range c.attached {
		a := &c.attached[i]
		if photo := a.bool(idContactPhoto); !photo && !strings.EqualFold(a.name, "ContactPicture.jpg") {
			continue
		}
		s, err := a.open()
		if err != nil || s.Size() > maxPhoto {
			return // what is wrong with it is said where the attachment is written
		}
		b, err := io.ReadAll(s)
		if err != nil || len(b) == 0 {
			return
		}
		if kind := imageType(b); kind != "" {
			l.raw("PHOTO", "", "data:"+kind+";base64,"+base64.StdEncoding.EncodeToString(b))
		}
		return
	}
}

// imageType tells a picture by its first bytes.
func imageType(b []byte) string {
	for magic, kind := range map[string]string{"\xFF\xD8\xFF": "image/jpeg", "\x89PNG\r\n\x1A\n": "image/png", "GIF8": "image/gif", "BM": "image/bmp"} {
		if bytes.HasPrefix(b, []byte(magic)) {
			return kind
		}
	}
	return ""
}

// about returns the contact for people to read.
func (p *Contact) about(c *conversion) string {
	var b strings.Builder
	line := func(label, value string) {
		if value = strings.TrimSpace(value); value != "" {
			b.WriteString(label + ": " + value + "\r\n")
		}
	}
	line("Name", p.Name)
	line("Company", p.Company)
	line("Department", p.Department)
	line("Title", p.Title)
	for _, e := range p.Emails {
		line("E-mail", c.mailto(e))
	}
	for _, n := range p.Phones {
		line("Phone ("+n.Kind+")", n.Number)
	}
	for _, a := range p.Postal {
		line("Address ("+a.Kind+")", strings.Join(nonEmpty(a.Box, newlines(a.Street), a.Code+" "+a.City, a.Region, a.Country), ", "))
	}
	for _, m := range p.Members {
		line("Member", strings.TrimSpace(m.Name+" <"+c.mailto(m)+">"))
	}
	return b.String()
}

func nonEmpty(s ...string) []string {
	var out []string
	for _, x := range s {
		if x = strings.Join(strings.Fields(x), " "); x != "" {
			out = append(out, x)
		}
	}
	return out
}
