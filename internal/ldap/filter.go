package ldap

import (
	"bytes"
	"strings"
)

// Limits of ParseFilter.
const (
	maxFilterLength = 256 << 10 // bytes
	maxFilterDepth  = 100       // nested and, or, not
)

// ParseFilter reads the string form of a filter (RFC 4515). It is lenient with
// what people and programs write: the outermost parentheses may be missing,
// spaces may stand between filters, balanced parentheses in a value and a
// backslash without two hex digits stand for themselves, "**" is "*". Its
// errors are *Error of ProtocolError.
func ParseFilter(s string) (*Filter, error) {
	if len(s) > maxFilterLength {
		return nil, Errorf(ProtocolError, "bad filter: longer than %d bytes", maxFilterLength)
	}
	p := filterParser{s: s}
	p.space()
	var f *Filter
	if p.peek() == '(' {
		f = p.filter(0)
		p.space()
	} else {
		f = p.item(strings.TrimRight(p.s[p.i:], " \t\r\n"))
		p.i = len(p.s)
	}
	if p.bad == "" && p.i < len(p.s) {
		p.bad = "text behind the end"
	}
	if p.bad != "" {
		return nil, Errorf(ProtocolError, "bad filter %q: %s at byte %d", s, p.bad, p.i)
	}
	return f, nil
}

// filterParser walks the text of a filter; bad is the first thing wrong.
type filterParser struct {
	s   string
	i   int
	bad string
}

func (p *filterParser) fail(why string) *Filter {
	if p.bad == "" {
		p.bad = why
	}
	return nil
}

func (p *filterParser) peek() byte {
	if p.i < len(p.s) {
		return p.s[p.i]
	}
	return 0
}

func (p *filterParser) space() {
	for p.i < len(p.s) && strings.IndexByte(" \t\r\n", p.s[p.i]) >= 0 {
		p.i++
	}
}

// filter reads "(" … ")".
func (p *filterParser) filter(depth int) *Filter {
	if depth > maxFilterDepth {
		return p.fail("nested too deep")
	}
	if p.peek() != '(' {
		return p.fail("a ( is missing")
	}
	p.i++
	p.space()
	var f *Filter
	switch p.peek() {
	case '&':
		f = p.list(FilterAnd, depth)
	case '|':
		f = p.list(FilterOr, depth)
	case '!':
		if f = p.list(FilterNot, depth); f != nil && len(f.Subs) != 1 {
			return p.fail("a ! takes one filter")
		}
	default:
		text := p.balanced()
		f = p.item(text)
	}
	if p.bad != "" {
		return nil
	}
	if p.peek() != ')' {
		return p.fail("a ) is missing")
	}
	p.i++
	return f
}

// list reads an operator and the filters behind it. None at all is RFC 4526's
// true "(&)" and false "(|)".
func (p *filterParser) list(op FilterOp, depth int) *Filter {
	p.i++
	f := &Filter{Op: op}
	for p.space(); p.peek() == '('; p.space() {
		sub := p.filter(depth + 1)
		if p.bad != "" {
			return nil
		}
		f.Subs = append(f.Subs, sub)
	}
	return f
}

// balanced reads up to the ")" that ends an item: one that no "(" of the value
// is waiting for.
func (p *filterParser) balanced() string {
	start, open := p.i, 0
	for ; p.i < len(p.s); p.i++ {
		switch p.s[p.i] {
		case '(':
			open++
		case ')':
			if open == 0 {
				return p.s[start:p.i]
			}
			open--
		}
	}
	p.fail("a ) is missing")
	return ""
}

// item reads "attr=value" and the other simple forms.
func (p *filterParser) item(text string) *Filter {
	if p.bad != "" {
		return nil
	}
	eq := strings.IndexByte(text, '=')
	if eq <= 0 {
		return p.fail("attribute, operator and value are wanted")
	}
	attr, value := text[:eq], text[eq+1:]
	op := FilterEqual
	switch attr[len(attr)-1] {
	case '~':
		op = FilterApprox
	case '>':
		op = FilterGreaterOrEqual
	case '<':
		op = FilterLessOrEqual
	case ':':
		return p.extensible(attr[:len(attr)-1], value)
	}
	if op != FilterEqual {
		attr = attr[:len(attr)-1]
	}
	if attr = strings.TrimSpace(attr); !isDescription(attr) {
		return p.fail("no attribute description")
	}
	if op == FilterEqual && strings.Contains(value, "*") {
		return substrings(attr, value)
	}
	return &Filter{Op: op, Attr: attr, Value: unescapeFilter(value)}
}

// extensible reads what stands before ":=": attr, ":dn" and ":rule", each
// optional, but not both attr and rule missing.
func (p *filterParser) extensible(head, value string) *Filter {
	parts := strings.Split(strings.TrimSpace(head), ":")
	f := &Filter{Op: FilterExtensible, Attr: parts[0], Value: unescapeFilter(value)}
	rest := parts[1:]
	if len(rest) > 0 && strings.EqualFold(rest[0], "dn") {
		f.DNAttributes = true
		rest = rest[1:]
	}
	if len(rest) > 0 {
		f.Rule = rest[0]
		rest = rest[1:]
	}
	if len(rest) > 0 || f.Attr == "" && f.Rule == "" ||
		f.Attr != "" && !isDescription(f.Attr) || f.Rule != "" && !isDescription(f.Rule) {
		return p.fail("no attribute and matching rule")
	}
	return f
}

// isDescription tells whether s could be an attribute description or an OID.
func isDescription(s string) bool {
	for i := range len(s) {
		if !isTypeByte(s[i]) && s[i] != ';' {
			return false
		}
	}
	return s != ""
}

// substrings reads a value with stars in it. Empty pieces between stars are
// dropped; stars alone are a presence filter.
func substrings(attr, value string) *Filter {
	pieces := strings.Split(value, "*")
	last := len(pieces) - 1
	f := &Filter{Op: FilterSubstrings, Attr: attr}
	if pieces[0] != "" {
		f.Initial = unescapeFilter(pieces[0])
	}
	for _, piece := range pieces[1:last] {
		if piece != "" {
			f.Any = append(f.Any, unescapeFilter(piece))
		}
	}
	if pieces[last] != "" {
		f.Final = unescapeFilter(pieces[last])
	}
	if f.Initial == nil && f.Any == nil && f.Final == nil {
		return &Filter{Op: FilterPresent, Attr: attr}
	}
	return f
}

// unescapeFilter replaces "\2a" and the like.
func unescapeFilter(s string) []byte {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]) {
			b = append(b, unhex(s[i+1])<<4|unhex(s[i+2]))
			i += 2
			continue
		}
		b = append(b, s[i])
	}
	return b
}

// String returns the filter as RFC 4515 writes it.
func (f *Filter) String() string {
	var b bytes.Buffer
	f.write(&b)
	return b.String()
}

func (f *Filter) write(b *bytes.Buffer) {
	b.WriteByte('(')
	switch f.Op {
	case FilterAnd, FilterOr, FilterNot:
		b.WriteByte("&|!"[f.Op])
		for _, sub := range f.Subs {
			sub.write(b)
		}
	case FilterSubstrings:
		b.WriteString(f.Attr + "=")
		writeFilterValue(b, f.Initial)
		b.WriteByte('*')
		for _, piece := range f.Any {
			writeFilterValue(b, piece)
			b.WriteByte('*')
		}
		writeFilterValue(b, f.Final)
	case FilterPresent:
		b.WriteString(f.Attr + "=*")
	case FilterExtensible:
		b.WriteString(f.Attr)
		if f.DNAttributes {
			b.WriteString(":dn")
		}
		if f.Rule != "" {
			b.WriteString(":" + f.Rule)
		}
		b.WriteString(":=")
		writeFilterValue(b, f.Value)
	default:
		b.WriteString(f.Attr + f.Op.sign())
		writeFilterValue(b, f.Value)
	}
	b.WriteByte(')')
}

// sign returns what stands between attribute and value.
func (op FilterOp) sign() string {
	switch op {
	case FilterGreaterOrEqual:
		return ">="
	case FilterLessOrEqual:
		return "<="
	case FilterApprox:
		return "~="
	}
	return "="
}

// writeFilterValue escapes what RFC 4515 §3 demands, control characters, and
// all that is not ASCII text where the value is not UTF-8.
func writeFilterValue(b *bytes.Buffer, v []byte) {
	text := bytes.ToValidUTF8(v, nil)
	valid := len(text) == len(v)
	for _, c := range v {
		if c < ' ' || c == 0x7f || c == '*' || c == '(' || c == ')' || c == '\\' || c >= 0x80 && !valid {
			b.Write(appendHexPair(nil, c))
		} else {
			b.WriteByte(c)
		}
	}
}
