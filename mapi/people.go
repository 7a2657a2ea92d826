package mapi

import (
	"fmt"
	"io"
	"mime"
	"slices"
	"strings"

	"expost/mapi/codepage"
)

// person is a recipient.
type person struct {
	kind int // 1 To, 2 Cc, 3 Bcc
	Address
	smtp string
	view view
}

func charsetReader(name string, r io.Reader) (io.Reader, error) {
	cp := charsetPage(name)
	if cp == 0 {
		return nil, fmt.Errorf("charset %q is not known", name)
	}
	b, err := io.ReadAll(r)
	return strings.NewReader(codepage.Decode(cp, b)), err
}

func (c *conversion) readPeople() {
	for row, err := range c.m.Recipients() {
		if err != nil {
			c.report(fmt.Errorf("reading a recipient: %w", err))
			continue
		}
		v := view{Properties: row, cp: c.cp, problem: c.report}
		kind, _ := v.int(idRecipientType)
		p := person{kind: kind & 0xF, view: v, smtp: v.text(idSMTPAddress),
			Address: Address{v.text(idDisplayName), upper(v.text(idAddressType)), v.text(idEmailAddress)}}
		p.Address = complete(p.Address, v.bytes(idRecipientEntryID), c.cp)
		c.people = append(c.people, p)
	}
}

// complete takes from an EntryID what the address does not have.
func complete(a Address, entry []byte, cp int) Address {
	if e, ok := ParseEntryID(entry, cp); ok && (a.Email == "" || a.Type != "SMTP" && e.Type == "SMTP") {
		a.Type, a.Email = e.Type, e.Email
		if a.Name == "" {
			a.Name = e.Name
		}
	}
	return a
}

func (c *conversion) addPeople(h *headerWriter) {
	from := c.party(idRepresentingName, idRepresentingType, idRepresentingAddress, idRepresentingSMTP, idRepresentingEntryID)
	sender := c.party(idSenderName, idSenderType, idSenderAddress, idSenderSMTP, idSenderEntryID)
	if from == "" {
		from, sender = sender, ""
	}
	if !h.has("From") {
		h.add("From", from)
		if sender != "" && addrSpec(sender) != addrSpec(from) {
			h.add("Sender", sender)
		}
	}
	for i, name := range []string{"To", "Cc", "Bcc"} {
		if h.has(name) {
			continue
		}
		if i < 2 && h.has("Received") && (h.has("To") || h.has("Cc")) {
			continue // what came by the transport has its own list
		}
		h.add(name, c.peopleOf(i+1))
	}
	if !h.has("To") && !h.has("Cc") && !h.has("Bcc") && !h.has("Received") {
		h.add("To", strings.Join(displayNames(c.text(idDisplayTo)), ",\r\n\t"))
	}
	var reply []string
	for _, e := range entryList(c.bytes(idReplyEntries)) {
		if a, ok := ParseEntryID(e, c.cp); ok {
			reply = append(reply, mailbox(a.Name, c.smtp(a, "")))
		}
	}
	h.add("Reply-To", strings.Join(reply, ",\r\n\t"))
	if c.bool(idReadReceipt) {
		h.add("Disposition-Notification-To", from)
	}
	if c.bool(idDeliveryReport) {
		h.add("Return-Receipt-To", from)
	}
}

// displayNames makes empty groups of names without addresses (RFC 6854).
func displayNames(s string) []string {
	var out []string
	for name := range strings.SplitSeq(s, ";") {
		if name = strings.Trim(name, " '\x00"); name != "" {
			out = append(out, phrase(name)+":;")
		}
	}
	return out
}

func (c *conversion) peopleOf(kind int) string {
	var out []string
	for _, p := range c.people {
		if p.kind == kind || kind == 1 && p.kind == 0 {
			if s := mailbox(p.Name, c.smtp(p.Address, p.smtp)); s != "" {
				out = append(out, s)
			}
		}
	}
	return strings.Join(out, ",\r\n\t")
}

func (c *conversion) party(name, typ, address, smtp, entry uint16) string {
	a := Address{c.text(name), upper(c.text(typ)), c.text(address)}
	a = complete(a, c.bytes(entry), c.cp)
	return mailbox(a.Name, c.smtp(a, c.text(smtp)))
}

// smtp returns the SMTP address of a, known being what a property says; "" is of
// an address that is empty.
func (c *conversion) smtp(a Address, known string) string {
	if isSMTP(known) {
		return known
	}
	if isSMTP(a.Email) && (a.Type == "SMTP" || a.Type == "" || a.Type != "EX") {
		return a.Email
	}
	if a.Email == "" || a.Type == "UNKNOWN" {
		return c.byName(a.Name)
	}
	for _, p := range c.people {
		if strings.EqualFold(p.Email, a.Email) && isSMTP(p.smtp) {
			return p.smtp
		}
	}
	if s := c.byName(a.Name); s != "" {
		return s
	}
	if c.Resolve != nil {
		if s := c.Resolve(a); s != "" {
			return s
		}
	}
	if !slices.Contains(c.r.Unresolved, a) {
		c.r.Unresolved = append(c.r.Unresolved, a)
	}
	return encapsulate(a) + "@" + c.domain()
}

// byName looks for a display name in the header that the message came with.
func (c *conversion) byName(name string) string {
	if isSMTP(name) {
		return strings.Trim(name, "'")
	}
	if name == "" {
		return ""
	}
	for _, f := range []string{"From", "Sender", "To", "Cc"} {
		s := c.headers.get(f)
		i := strings.Index(s, name)
		if i < 0 {
			continue
		}
		rest := strings.TrimLeft(s[i+len(name):], "\" \t")
		if end := strings.IndexByte(rest, '>'); strings.HasPrefix(rest, "<") && end > 0 && isSMTP(rest[1:end]) {
			return rest[1:end]
		}
	}
	return ""
}

func isSMTP(s string) bool {
	s = strings.Trim(s, "'")
	at := strings.LastIndexByte(s, '@')
	return at > 0 && at < len(s)-1 && !strings.ContainsAny(s, " \t\r\n<>\"(),:;\x00")
}

// encapsulate is the local part for an address that is not SMTP ([MS-OXCMAIL]
// 2.1.1.1.1, IMCEA).
func encapsulate(a Address) string {
	typ := a.Type
	if typ == "" {
		typ = "EX"
	}
	var b strings.Builder
	b.WriteString("IMCEA" + typ + "-")
	for i := range len(a.Email) {
		switch ch := a.Email[i]; {
		case ch >= '0' && ch <= '9', ch >= 'A' && ch <= 'Z', ch >= 'a' && ch <= 'z', ch == '-', ch == '=':
			b.WriteByte(ch)
		case ch == '/':
			b.WriteByte('_')
		default:
			fmt.Fprintf(&b, "+%02X", ch)
		}
	}
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' || strings.ContainsRune("<>@,;:\"()[]\\", r) {
			return -1
		}
		return r
	}, b.String())
}

func mailbox(name, addr string) string {
	addr = strings.Trim(addr, "'")
	name = strings.Trim(strings.TrimSpace(name), "'\x00")
	if addr == "" {
		if name == "" {
			return ""
		}
		return phrase(name) + ":;"
	}
	if name == "" || strings.EqualFold(name, addr) {
		return "<" + safeAddr(addr) + ">"
	}
	return phrase(name) + " <" + safeAddr(addr) + ">"
}

func safeAddr(s string) string {
	if isASCII(s) {
		return s
	}
	return strings.ToValidUTF8(s, "") // RFC 6532
}

func addrSpec(s string) string { return strings.ToLower(s[strings.LastIndexByte(s, '<')+1:]) }

var quoting = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// phrase is a display name for a header.
func phrase(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7F {
			return ' '
		}
		return r
	}, s)
	if !isASCII(s) || strings.Contains(s, "=?") {
		return strings.ReplaceAll(mime.BEncoding.Encode("utf-8", guard(s)), "?= =?", "?=\r\n =?")
	}
	if len(s) > 200 {
		s = s[:200]
	}
	if strings.ContainsAny(s, `()<>[]:;@\,."`) {
		return `"` + quoting.Replace(s) + `"`
	}
	return s
}
