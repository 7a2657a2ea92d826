package mapi

import (
	"encoding/base64"
	"encoding/binary"
	"io"
	"slices"
	"strings"
	"time"
)

// maxCard bounds the vCard that a contact is made of.
const maxCard = 4 << 20

// contactItem makes a contact again of a mail that Converter made of one: of its
// vCard, which it takes out of the attachments. It reports whether it did.
func (f *fromMail) contactItem(s *section) bool {
	class := f.header.get("X-MS-Message-Class")
	person, list := strings.HasPrefix(upper(class), "IPM.CONTACT"), strings.HasPrefix(upper(class), "IPM.DISTLIST")
	if s.kind != "text/vcard" || !person && !list || f.card || s.to-s.from > maxCard {
		return false
	}
	b, err := io.ReadAll(s.decoded(f.r))
	if err != nil {
		return false
	}
	f.card = true
	f.item.Set(tagClass, class)
	delete(f.item.values, tagBody) // it says what the card says
	f.item.Attached = slices.DeleteFunc(f.item.Attached, func(a *Item) bool { return slices.Contains(f.texts, a) })
	c := &cardReader{f: f}
	for _, l := range contentLines(b) {
		c.line(l.name, l.params, l.value)
	}
	c.finish(list)
	return true
}

// cardReader sets the properties of a contact.
type cardReader struct {
	f        *fromMail
	emails   int
	phones   map[uint16]bool
	name     string
	children []string
	members  []Address
	certs    [][]byte
}

// finish sets what more than one line says.
func (c *cardReader) finish(list bool) {
	if len(c.children) > 0 {
		c.f.item.Set(NewTag(0x3A58, TypeString|MultiValued), c.children)
	}
	if len(c.certs) > 0 {
		c.f.item.Set(NewTag(0x3A70, TypeBinary|MultiValued), c.certs)
	}
	if !list {
		return
	}
	c.named(0x8053, c.name)
	ids := make([][]byte, len(c.members))
	for i, m := range c.members {
		ids[i] = oneOff(m)
	}
	for _, id := range []uint32{0x8054, 0x8055} { // PidLidDistributionListOneOffMembers, …Members
		c.f.set(SetAddress, id, TypeBinary|MultiValued, ids)
	}
	c.f.set(SetCommon, 0x8510, TypeInt32, int32(0x111))
	c.f.item.Set(NewTag(idIconIndex, TypeInt32), int32(0x202))
}

// cardTexts are fields of one text and their properties.
var cardTexts = map[string]uint16{
	"FN": idDisplayName, "NICKNAME": 0x3A4F, "TITLE": 0x3A17, "ROLE": 0x3A46, "X-MANAGER": 0x3A4E, "X-ASSISTANT": 0x3A30, "HOBBY": 0x3A43,
	"X-MS-GOVERNMENT-ID": 0x3A07, "X-MS-ACCOUNT": 0x3A00, "X-MS-CUSTOMER-ID": 0x3A4A, "X-MS-LOCATION": 0x3A0D, "X-MS-REFERRED-BY": 0x3A47,
	"X-MS-LANGUAGE": 0x3A0C, "X-MS-COMPUTER-NETWORK": 0x3A49, "X-MS-FTP-SITE": 0x3A4C, "X-MS-ORG-ID": 0x3A10,
}

// cardNamed are the same of the address property set.
var cardNamed = map[string]uint32{
	"X-PHONETIC-FIRST-NAME": 0x802C, "X-PHONETIC-LAST-NAME": 0x802D, "X-PHONETIC-ORG": 0x802E, "FBURL": 0x80D8,
	"X-MS-USER1": 0x804F, "X-MS-USER2": 0x8050, "X-MS-USER3": 0x8051, "X-MS-USER4": 0x8052, "X-MS-HTML": 0x802B,
}

func (c *cardReader) text(id uint16, s string) {
	if s = strings.TrimSpace(s); s != "" {
		c.f.item.Set(NewTag(id, TypeString), s)
	}
}

func (c *cardReader) named(id uint32, s string) {
	if s = strings.TrimSpace(s); s != "" {
		c.f.item.Set(NewTag(c.f.nameID(SetAddress, id), TypeString), s)
	}
}

func (c *cardReader) line(name, params, value string) {
	parts := cardParts(value)
	part := func(i int) string {
		if i < len(parts) {
			return parts[i]
		}
		return ""
	}
	if name == "FN" {
		c.name = part(0)
	}
	if id, ok := cardTexts[name]; ok {
		c.text(id, part(0))
		return
	}
	if id, ok := cardNamed[name]; ok {
		c.named(id, part(0))
		return
	}
	switch name {
	case "N":
		for i, id := range []uint16{0x3A11, 0x3A06, 0x3A44, 0x3A45, 0x3A05} {
			c.text(id, part(i))
		}
		if as := cardParam(params, "SORT-AS"); as != "" {
			c.named(0x8005, as)
		}
	case "ORG":
		for i, id := range []uint16{0x3A16, 0x3A18, 0x3A19} {
			c.text(id, part(i))
		}
	case "NOTE":
		c.text(idBody, part(0))
	case "EMAIL":
		c.email(params, part(0))
	case "TEL":
		c.phone(strings.ToLower(cardParam(params, "TYPE")), part(0))
	case "ADR":
		c.address(strings.ToLower(cardParam(params, "TYPE")), part)
	case "URL":
		c.text(map[bool]uint16{true: 0x3A51, false: 0x3A50}[strings.Contains(params, "work")], part(0))
	case "BDAY":
		c.day(0x3A42, part(0))
	case "ANNIVERSARY":
		c.day(0x3A41, part(0))
	case "IMPP":
		c.named(0x8062, strings.ReplaceAll(strings.TrimPrefix(part(0), "x-im:"), "%20", " "))
	case "RELATED":
		if strings.Contains(params, "spouse") {
			c.text(0x3A48, part(0))
		} else if strings.Contains(params, "child") {
			c.children = append(c.children, part(0))
		}
	case "MEMBER":
		if addr := strings.TrimPrefix(part(0), "mailto:"); addr != "" {
			c.members = append(c.members, Address{Name: firstOf(cardParam(params, "X-CN"), addr), Type: "SMTP", Email: addr})
		}
	case "GENDER":
		if n := strings.Index(" FM", part(0)); n > 0 {
			c.f.item.Set(NewTag(0x3A4D, TypeInt16), int16(n))
		}
	case "X-MS-BILLING":
		c.f.set(SetCommon, 0x8535, TypeString, part(0))
	case "X-MS-MILEAGE":
		c.f.set(SetCommon, 0x8534, TypeString, part(0))
	case "X-CLASS":
		c.f.set(SetCommon, 0x8506, TypeBool, upper(value) == "PRIVATE")
	case "REV":
		if t, ok := parseMoment(value); ok {
			c.f.item.Set(NewTag(idModificationTime, TypeTime), TimeOf(t.Time))
		}
	case "KEY":
		if der, err := base64.StdEncoding.DecodeString(value[strings.LastIndexByte(value, ',')+1:]); err == nil && len(der) > 0 && len(der) < 1<<16-4 {
			entry := binary.LittleEndian.AppendUint16([]byte{3, 0}, uint16(len(der)+4))
			c.certs = append(c.certs, append(entry, der...))
		}
	}
}

// email sets the next of the three addresses.
func (c *cardReader) email(params, addr string) {
	if c.emails == 3 || addr == "" {
		return
	}
	base := []uint32{0x8080, 0x8090, 0x80A0}[c.emails]
	c.emails++
	shown := addr
	if c.name != "" && c.name != addr { // as Outlook makes it
		shown = c.name + " (" + addr + ")"
	}
	c.named(base, shown)
	c.named(base+2, "SMTP")
	c.named(base+3, addr)
	c.named(base+4, firstOf(cardParam(params, "X-CN"), addr))
	if isSMTP(addr) {
		c.f.set(SetAddress, base+5, TypeBinary, oneOff(Address{firstOf(cardParam(params, "X-CN"), addr), "SMTP", addr}))
	}
}

// phone sets the first property of a kind that is free.
func (c *cardReader) phone(kind, number string) {
	if c.phones == nil {
		c.phones = map[uint16]bool{}
	}
	for _, p := range phones {
		if p.kind == kind && !c.phones[p.id] {
			c.phones[p.id] = true
			c.text(p.id, number)
			return
		}
	}
	if !c.phones[0x3A1F] {
		c.phones[0x3A1F] = true
		c.text(0x3A1F, number)
	}
}

func (c *cardReader) address(kind string, part func(int) string) {
	switch kind {
	case "work":
		for i, id := range []uint32{0x804A, 0, 0x8045, 0x8046, 0x8047, 0x8048, 0x8049} {
			if id != 0 {
				c.named(id, part(i))
			}
		}
		return
	case "home":
		for i, id := range []uint16{0x3A5E, 0, 0x3A5D, 0x3A59, 0x3A5C, 0x3A5B, 0x3A5A} {
			if id != 0 {
				c.text(id, part(i))
			}
		}
		return
	}
	for i, id := range []uint16{0x3A64, 0, 0x3A63, 0x3A5F, 0x3A62, 0x3A61, 0x3A60} {
		if id != 0 {
			c.text(id, part(i))
		}
	}
}

func (c *cardReader) day(id uint16, s string) {
	if t, err := time.Parse(dateLayout, s); err == nil {
		c.f.item.Set(NewTag(id, TypeTime), TimeOf(t))
	}
}

// cardParts splits a value at its semicolons and takes the escapes out.
func cardParts(s string) []string {
	out, b := []string(nil), strings.Builder{}
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			if s[i] == 'n' || s[i] == 'N' {
				b.WriteString("\r\n")
			} else {
				b.WriteByte(s[i])
			}
		case s[i] == ';':
			out = append(out, b.String())
			b.Reset()
		default:
			b.WriteByte(s[i])
		}
	}
	return append(out, b.String())
}

// cardParam returns the value of a parameter, without its quotes.
func cardParam(params, name string) string {
	quoted, start := false, 0
	for i := 0; i <= len(params); i++ {
		if i < len(params) && params[i] == '"' {
			quoted = !quoted
		}
		if i < len(params) && (params[i] != ';' || quoted) {
			continue
		}
		if key, value, ok := strings.Cut(params[start:i], "="); ok && strings.EqualFold(key, name) {
			return strings.Trim(value, `"`)
		}
		start = i + 1
	}
	return ""
}
