package message

import "strings"

// What stands in an Address for a part that the header lacks; an empty Host
// would mean a group. Dovecot writes the same.
const (
	missingMailbox = "MISSING_MAILBOX"
	missingDomain  = "MISSING_DOMAIN"
)

// ParseAddressList reads the address list of a From, To or similar field, in
// the present and the obsolete syntax of RFC 5322 (§3.4, §4.4), groups
// included. It never fails: what is no address becomes one as well as may be.
// Name keeps encoded words as they are.
func ParseAddressList(s string) []Address {
	p := addressParser{s: s}
	for p.i < len(s) {
		p.step()
	}
	p.endMember()
	if p.inGroup {
		p.list = append(p.list, Address{})
	}
	return p.list
}

// addressParser is at s[i:] of a list.
type addressParser struct {
	s       string
	i       int
	list    []Address
	inGroup bool

	text    strings.Builder // the present member, without comments, its quoted strings unquoted
	at      int             // index behind the last "@" outside quotes in text; 0: none
	space   bool            // a space is due before the next word of text
	quoted  bool            // text holds a quoted string
	comment string          // the last comment
	spec    string          // what stands in angle brackets
	angle   bool            // there were angle brackets
}

// step reads the next token.
func (p *addressParser) step() {
	switch c := p.s[p.i]; c {
	case '(':
		end := skipComment(p.s, p.i)
		p.comment = commentText(p.s[p.i:end])
		p.i = end
		p.space = true
		return
	case '"':
		p.startWord()
		var word string
		word, p.i = quotedString(p.s, p.i)
		p.text.WriteString(word)
		p.quoted = true
		return
	case '<':
		end := angleEnd(p.s, p.i)
		p.spec = strings.TrimSuffix(p.s[p.i+1:end], ">")
		p.angle = true
		p.i = end
		p.space = true
		return
	case ' ', '\t', '\r', '\n':
		p.space = true
	case ',':
		p.endMember()
	case ';':
		p.endMember()
		if p.inGroup {
			p.list = append(p.list, Address{})
			p.inGroup = false
		}
	case ':':
		p.colon()
	case '@':
		p.space = false
		p.text.WriteByte(c)
		p.at = p.text.Len()
	default:
		p.startWord()
		p.text.WriteByte(c)
	}
	p.i++
}

// colon begins a group, or is a character like another.
func (p *addressParser) colon() {
	if p.inGroup || p.angle || p.at > 0 {
		p.text.WriteByte(':')
		return
	}
	name := p.text.String()
	p.reset()
	if name == "" {
		return
	}
	p.list = append(p.list, Address{Mailbox: name})
	p.inGroup = true
}

// startWord writes the space that is due; the obsolete syntax has some around
// an "@".
func (p *addressParser) startWord() {
	if p.space && p.text.Len() > 0 && p.text.Len() != p.at {
		p.text.WriteByte(' ')
	}
	p.space = false
}

func (p *addressParser) reset() {
	p.text.Reset()
	p.at, p.space, p.quoted, p.comment, p.spec, p.angle = 0, false, false, "", "", false
}

// endMember ends the present member of the list.
func (p *addressParser) endMember() {
	text := p.text.String()
	switch {
	case p.angle:
		a := parseSpec(p.spec)
		if a.Name = text; a.Name == "" {
			a.Name = p.comment
		}
		p.list = append(p.list, a)
	case text != "":
		p.list = append(p.list, p.bareMember(text))
	}
	p.reset()
}

// bareMember is a member without angle brackets: an address with perhaps a
// name as a comment behind it, or a broken one with a name before it.
func (p *addressParser) bareMember(text string) Address {
	a := Address{Name: p.comment, Mailbox: text, Host: missingDomain}
	if p.at > 0 {
		a.Mailbox, a.Host = text[:p.at-1], dotted(text[p.at:])
	}
	if !p.quoted {
		a.Mailbox = dotted(a.Mailbox)
		if i := strings.LastIndexByte(a.Mailbox, ' '); i >= 0 {
			if p.at == 0 { // words without an address
				return Address{Name: text, Mailbox: missingMailbox, Host: missingDomain}
			}
			a.Name, a.Mailbox = a.Mailbox[:i], a.Mailbox[i+1:]
		}
	}
	return a.complete()
}

// complete fills in what is missing.
func (a Address) complete() Address {
	if a.Mailbox == "" {
		a.Mailbox = missingMailbox
	}
	if a.Host == "" {
		a.Host = missingDomain
	}
	return a
}

// parseSpec reads what stands in angle brackets: an address with perhaps a
// route before it.
func parseSpec(s string) Address {
	var a Address
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, "@") {
		if route, rest, ok := strings.Cut(s, ":"); ok {
			a.Route, s = strings.TrimSpace(route), rest
		}
	}
	var text strings.Builder
	at := -1
	for i := 0; i < len(s); {
		switch c := s[i]; c {
		case '(':
			i = skipComment(s, i)
			continue
		case '"':
			var word string
			word, i = quotedString(s, i)
			text.WriteString(word)
			continue
		case '@':
			at = text.Len()
			text.WriteByte(c)
		case ' ', '\t':
		default:
			text.WriteByte(c)
		}
		i++
	}
	a.Mailbox = text.String()
	if at >= 0 {
		a.Mailbox, a.Host = a.Mailbox[:at], a.Mailbox[at+1:]
	}
	if a.Mailbox == "" && a.Host == "" {
		return Address{Mailbox: missingMailbox, Host: missingDomain}
	}
	return a.complete()
}

// angleEnd returns the index behind the angle brackets that begin at s[i]; one
// that does not end goes to the end of s.
func angleEnd(s string, i int) int {
	for i++; i < len(s); {
		switch s[i] {
		case '"':
			_, i = quotedString(s, i)
			continue
		case '>':
			return i + 1
		}
		i++
	}
	return len(s)
}

// dotted removes spaces beside dots: "john . smith".
func dotted(s string) string {
	if !strings.Contains(s, " .") && !strings.Contains(s, ". ") {
		return s
	}
	return strings.NewReplacer(" . ", ".", " .", ".", ". ", ".").Replace(s)
}

// commentText returns the text of a comment without its parentheses.
func commentText(c string) string {
	c = strings.TrimSuffix(strings.TrimPrefix(c, "("), ")")
	if !strings.Contains(c, "\\") {
		return strings.TrimSpace(c)
	}
	var b strings.Builder
	for i := 0; i < len(c); i++ {
		if c[i] == '\\' && i+1 < len(c) {
			i++
		}
		b.WriteByte(c[i])
	}
	return strings.TrimSpace(b.String())
}
