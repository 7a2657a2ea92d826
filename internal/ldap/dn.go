package ldap

import (
	"encoding/hex"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxDNLength bounds the text of a DN, in bytes (slapd's limit).
const maxDNLength = 8192

// ParseDN reads a DN (RFC 4514), accepting the older forms of RFC 2253 and RFC
// 1779 too: spaces around separators, ";" between RDNs, quoted values, an
// "OID." before a numeric type. Types are kept as written. Its errors are
// *Error of InvalidDNSyntax.
func ParseDN(s string) (DN, error) {
	if len(s) > maxDNLength {
		return nil, Errorf(InvalidDNSyntax, "invalid DN: longer than %d bytes", maxDNLength)
	}
	p := dnParser{s: s}
	p.space()
	if p.done() {
		return DN{}, nil
	}
	most := 1 + strings.Count(s, ",") + strings.Count(s, ";")
	dn, avas := make(DN, 0, most), make([]AVA, most)
	for {
		rdn := p.rdn(avas[len(dn) : len(dn) : len(dn)+1])
		if p.bad != "" {
			return nil, Errorf(InvalidDNSyntax, "invalid DN %q: %s at byte %d", s, p.bad, p.i)
		}
		dn = append(dn, rdn)
		if p.done() {
			return dn, nil
		}
		p.i++ // the separator that ended the RDN
	}
}

// dnParser walks the text of a DN; bad is the first thing wrong with it.
type dnParser struct {
	s   string
	i   int
	bad string
}

func (p *dnParser) done() bool { return p.i >= len(p.s) || p.bad != "" }

func (p *dnParser) fail(why string) {
	if p.bad == "" {
		p.bad = why
	}
}

// space skips spaces and, as RFC 1779 has it, line ends.
func (p *dnParser) space() {
	for p.i < len(p.s) && strings.IndexByte(" \t\r\n", p.s[p.i]) >= 0 {
		p.i++
	}
}

// rdn reads AVAs joined by "+" into rdn and stops at "," or ";" or the end.
func (p *dnParser) rdn(rdn RDN) RDN {
	for {
		typ := p.attributeType()
		p.space()
		value := p.value()
		if p.bad != "" {
			return nil
		}
		rdn = append(rdn, AVA{typ, value})
		p.space()
		if p.done() || p.s[p.i] != '+' {
			return rdn
		}
		p.i++
	}
}

// attributeType reads a type and the "=" behind it.
func (p *dnParser) attributeType() string {
	p.space()
	start := p.i
	for p.i < len(p.s) && isTypeByte(p.s[p.i]) {
		p.i++
	}
	typ := p.s[start:p.i]
	if len(typ) > 4 && strings.EqualFold(typ[:4], "oid.") && '0' <= typ[4] && typ[4] <= '9' {
		typ = typ[4:]
	}
	p.space()
	switch {
	case typ == "":
		p.fail("an attribute type is missing")
	case p.i >= len(p.s) || p.s[p.i] != '=':
		p.fail("an attribute type without a value")
	default:
		p.i++
	}
	return typ
}

func isTypeByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_'
}

// value reads one value in any of its three forms and stops at the separator
// behind it.
func (p *dnParser) value() string {
	if p.i >= len(p.s) {
		return ""
	}
	switch p.s[p.i] {
	case '#':
		return p.hexValue()
	case '"':
		return p.quotedValue()
	}
	return p.plainValue()
}

// hexValue reads "#" and the hex digits of a BER string (RFC 4514 §2.4).
func (p *dnParser) hexValue() string {
	start := p.i + 1
	for p.i++; p.i < len(p.s) && isHex(p.s[p.i]); p.i++ {
	}
	ber, err := hex.DecodeString(p.s[start:p.i])
	if err != nil {
		p.fail("an odd number of hex digits")
		return ""
	}
	p.endOfValue()
	value, ok := berString(ber)
	if !ok {
		p.fail("a # value that is no BER string")
	}
	return value
}

// berString returns the content of one primitive, definite-length BER element
// that fills b.
func berString(b []byte) (string, bool) {
	if len(b) < 2 || b[0]&0x3f == 0x1f || b[0]&0x20 != 0 {
		return "", false
	}
	n, rest := int(b[1]), b[2:]
	if n >= 0x80 {
		octets := n - 0x80
		if octets < 1 || octets > 3 || octets > len(rest) {
			return "", false
		}
		n = 0
		for _, c := range rest[:octets] {
			n = n<<8 | int(c)
		}
		rest = rest[octets:]
	}
	return string(rest), n == len(rest)
}

// quotedValue reads a value of RFC 1779 between double quotes.
func (p *dnParser) quotedValue() string {
	var b strings.Builder
	for p.i++; p.i < len(p.s); p.i++ {
		switch p.s[p.i] {
		case '"':
			p.i++
			p.endOfValue()
			return b.String()
		case '\\':
			p.escape(&b)
		default:
			b.WriteByte(p.s[p.i])
		}
	}
	p.fail("a quoted value that does not end")
	return ""
}

// endOfValue wants a separator or the end, after spaces.
func (p *dnParser) endOfValue() {
	p.space()
	if p.i < len(p.s) && strings.IndexByte(",;+", p.s[p.i]) < 0 {
		p.fail("text behind a value")
	}
}

// plainValue reads an unquoted value; spaces at its end belong to it only if
// escaped.
func (p *dnParser) plainValue() string {
	if v, ok := p.verbatimValue(); ok {
		return v
	}
	var b strings.Builder
	keep := 0
	for ; p.i < len(p.s); p.i++ {
		switch c := p.s[p.i]; c {
		case ',', ';', '+':
			return b.String()[:keep]
		case '"', 0:
			p.fail("a character that must be escaped")
			return ""
		case '\\':
			p.escape(&b)
			keep = b.Len()
		case ' ', '\t', '\r', '\n':
			b.WriteByte(c)
		default:
			b.WriteByte(c)
			keep = b.Len()
		}
	}
	return b.String()[:keep]
}

// verbatimValue reads a value that nothing is escaped in, as most are: a part
// of the text. It is false, and reads nothing, where the value is another.
func (p *dnParser) verbatimValue() (string, bool) {
	end := p.i
scan:
	for ; end < len(p.s); end++ {
		switch p.s[end] {
		case ',', ';', '+':
			break scan
		case '"', '\\', 0:
			return "", false
		}
	}
	v := strings.TrimRight(p.s[p.i:end], " \t\r\n")
	p.i = end
	return v, true
}

// escape reads a backslash with two hex digits or one character behind it, and
// leaves p at the last byte of it.
func (p *dnParser) escape(b *strings.Builder) {
	rest := p.s[p.i+1:]
	switch {
	case len(rest) >= 2 && isHex(rest[0]) && isHex(rest[1]):
		b.WriteByte(unhex(rest[0])<<4 | unhex(rest[1]))
		p.i += 2
	case len(rest) >= 1:
		b.WriteByte(rest[0])
		p.i++
	default:
		p.fail("a backslash at the end")
	}
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c >= 'a':
		return c - 'a' + 10
	}
	return c - 'A' + 10
}

// String returns the DN as RFC 4514 writes it.
func (d DN) String() string { return string(d.Append(nil)) }

// Append appends the DN as RFC 4514 writes it.
func (d DN) Append(b []byte) []byte {
	for i, rdn := range d {
		if i > 0 {
			b = append(b, ',')
		}
		b = rdn.append(b)
	}
	return b
}

// String returns the RDN as RFC 4514 writes it.
func (r RDN) String() string { return string(r.append(nil)) }

func (r RDN) append(b []byte) []byte {
	for i, ava := range r {
		if i > 0 {
			b = append(b, '+')
		}
		b = append(b, ava.Type...)
		b = append(b, '=')
		b = appendDNValue(b, ava.Value)
	}
	return b
}

// appendDNValue escapes what RFC 4514 §2.4 demands, and control characters and
// bytes that are not UTF-8 as hex pairs, so that the result is printable.
func appendDNValue(b []byte, v string) []byte {
	if isPlainDNValue(v) {
		return append(b, v...)
	}
	for i := 0; i < len(v); {
		c := v[i]
		switch {
		case strings.IndexByte(`"+,;<>\`, c) >= 0, c == '#' && i == 0, c == ' ' && (i == 0 || i == len(v)-1):
			b = append(b, '\\', c)
		case c < ' ' || c == 0x7f:
			b = appendHexPair(b, c)
		case c >= utf8.RuneSelf:
			r, size := utf8.DecodeRuneInString(v[i:])
			if r == utf8.RuneError && size == 1 {
				b = appendHexPair(b, c)
				break
			}
			b = append(b, v[i:i+size]...)
			i += size
			continue
		default:
			b = append(b, c)
		}
		i++
	}
	return b
}

// isPlainDNValue tells whether a value has nothing in it that might need to be
// escaped, as most have.
func isPlainDNValue(v string) bool {
	for i := range len(v) {
		switch c := v[i]; {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '-' && c <= '9' || c == '@' || c == '_':
		case c == ' ' && i > 0 && i < len(v)-1:
		default:
			return false
		}
	}
	return true
}

func appendHexPair(b []byte, c byte) []byte {
	return hex.AppendEncode(append(b, '\\'), []byte{c})
}

// Parent returns the DN without its first RDN; the root's parent is the root.
func (d DN) Parent() DN {
	if len(d) == 0 {
		return d
	}
	return d[1:]
}

// Child returns the DN of an entry below d. d is not changed.
func (d DN) Child(rdn ...AVA) DN {
	return append(DN{RDN(rdn)}, d...)
}

// Normalizer knows how values of an attribute are compared; the schema is one.
type Normalizer interface {
	// NormalizeAVA returns the type's one canonical spelling in lower case,
	// and the value in the form in which equal values are equal bytes.
	NormalizeAVA(AVA) AVA
}

// Key returns the form in which DNs are compared: equal DNs have equal keys,
// and the key of d starts with that of each of its parents followed by
// KeySeparator, so that a subtree is a range of sorted keys.
func (d DN) Key(n Normalizer) string {
	var b []byte
	for i, rdn := range slices.Backward(d) {
		if i < len(d)-1 {
			b = append(b, KeySeparator)
		}
		b = append(b, rdn.key(n)...)
	}
	return string(b)
}

// KeySeparator stands between the RDNs of a Key and occurs nowhere else in it.
const KeySeparator = 0x00

// key returns the RDN's AVAs in sorted order, since their order has no meaning.
func (r RDN) key(n Normalizer) string {
	parts := make([]string, len(r))
	for i, ava := range r {
		ava = n.NormalizeAVA(ava)
		parts[i] = ava.Type + "=" + escapeKey(ava.Value)
	}
	if len(parts) == 1 {
		return parts[0]
	}
	slices.Sort(parts)
	return strings.Join(parts, "\x01")
}

// escapeKey keeps separators out of a key's values.
func escapeKey(v string) string {
	if !strings.ContainsAny(v, "\x00\x01\x02") {
		return v
	}
	return strings.NewReplacer("\x00", "\x02a", "\x01", "\x02b", "\x02", "\x02c").Replace(v)
}

// Equal tells whether d and other name the same entry.
func (d DN) Equal(other DN, n Normalizer) bool {
	return len(d) == len(other) && d.Key(n) == other.Key(n)
}

// IsUnder tells whether d is base or stands below it.
func (d DN) IsUnder(base DN, n Normalizer) bool {
	return len(d) >= len(base) && d[len(d)-len(base):].Equal(base, n)
}
