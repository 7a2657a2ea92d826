package message

import (
	"slices"
	"strconv"
	"strings"

	"expost/internal/mail"
)

// parseMediaType returns type and subtype of a Content-Type in lower case.
// What has no subtype gets the plainest one.
func parseMediaType(v string) (typ, subtype string) {
	v = mediaToken(v)
	typ, subtype, _ = strings.Cut(v, "/")
	if typ == "" || strings.Contains(subtype, "/") {
		return "text", "plain"
	}
	if subtype != "" {
		return typ, subtype
	}
	switch typ {
	case "text":
		return typ, "plain"
	case "multipart":
		return typ, "mixed"
	case "message":
		return typ, "rfc822"
	}
	return "application", "octet-stream"
}

// mediaToken returns what stands before the parameters of a structured field,
// in lower case, without quotes, comments and spaces: "text/plain".
func mediaToken(v string) string {
	if i := strings.IndexByte(v, ';'); i >= 0 {
		v = v[:i]
	}
	v = strings.Trim(v, "\" \t")
	if !strings.ContainsAny(v, " \t(\"") {
		return strings.ToLower(v)
	}
	var b strings.Builder
	words := 0
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case c == '(':
			i = skipComment(v, i) - 1
		case c == '"':
		case c == ' ' || c == '\t':
			// "text / plain" is one token, "text/plain charset=x" is two.
			if s := b.String(); s != "" && !strings.HasSuffix(s, "/") && !strings.HasPrefix(strings.TrimLeft(v[i:], " \t"), "/") {
				words++
			}
		case words > 0 && c != '/':
			return b.String()
		default:
			b.WriteByte(lowerByte(c))
		}
	}
	return b.String()
}

func lowerByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// skipComment returns the index behind the comment that begins at s[i]; one
// that does not end goes to the end of s.
func skipComment(s string, i int) int {
	depth := 0
	for ; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(s)
}

// parseParams returns the parameters behind the first word of a structured
// field, the pieces and encodings of RFC 2231 resolved.
func parseParams(v string) []Param {
	var params []Param
	var pieces []piece
	for i := paramStart(v); i < len(v); {
		var name, value string
		name, value, i = nextParam(v, i)
		if name == "" {
			continue
		}
		if p, ok := parsePiece(name, value); ok {
			pieces = append(pieces, p)
		} else {
			params = append(params, Param{name, value})
		}
	}
	if pieces == nil {
		return params
	}
	return joinPieces(params, pieces)
}

// paramStart returns where the parameters of v begin: behind the first
// semicolon, or where that is missing ("text/plain charset=x") the first space.
func paramStart(v string) int {
	semicolon := strings.IndexByte(v, ';')
	equals := strings.IndexByte(v, '=')
	if semicolon >= 0 && (equals < 0 || semicolon < equals) {
		return semicolon + 1
	}
	if equals >= 0 {
		return strings.LastIndexAny(strings.TrimRight(v[:equals], " \t"), " \t") + 1
	}
	return len(v)
}

const paramSpace = " \t;"

// nextParam reads a parameter at v[i:] and returns the index behind it. The
// name is in lower case, and empty where there was none.
func nextParam(v string, i int) (name, value string, next int) {
	for i < len(v) {
		if v[i] == '(' {
			i = skipComment(v, i)
		} else if strings.IndexByte(paramSpace, v[i]) >= 0 {
			i++
		} else {
			break
		}
	}
	start := i
	for i < len(v) && v[i] != '=' && v[i] != ';' {
		i++
	}
	name = strings.ToLower(strings.TrimSpace(v[start:i]))
	if i == len(v) || v[i] == ';' {
		return "", "", i
	}
	for i++; i < len(v) && (v[i] == ' ' || v[i] == '\t'); {
		i++
	}
	if i < len(v) && v[i] == '"' {
		value, i = quotedString(v, i)
	} else {
		value, i = bareValue(v, i, name == "name" || name == "filename")
	}
	return name, value, i
}

// quotedString returns the content of the quoted string at v[i] and the index
// behind it. A backslash stands for itself where it escapes neither a quote
// nor a backslash: Windows programs write paths.
func quotedString(v string, i int) (string, int) {
	i++
	if end := strings.IndexByte(v[i:], '"'); end >= 0 && strings.IndexByte(v[i:i+end], '\\') < 0 {
		return v[i : i+end], i + end + 1
	}
	var b strings.Builder
	for ; i < len(v) && v[i] != '"'; i++ {
		if v[i] == '\\' && i+1 < len(v) && (v[i+1] == '"' || v[i+1] == '\\') {
			i++
		}
		b.WriteByte(v[i])
	}
	return b.String(), min(i+1, len(v))
}

// bareValue returns the unquoted value at v[i:] and the index behind it. Where
// words are allowed ("name=My file.pdf") those behind the first belong to it
// unless they look like the next parameter or a comment.
func bareValue(v string, i int, words bool) (string, int) {
	start := i
	for i < len(v) && strings.IndexByte(paramSpace, v[i]) < 0 {
		i++
	}
	end := i
	if !words {
		return v[start:end], end
	}
	for i < len(v) && v[i] != ';' && v[i] != '=' {
		i++
	}
	rest := strings.TrimSpace(v[end:i])
	if rest == "" || rest[0] == '(' || i < len(v) && v[i] == '=' {
		return v[start:end], end
	}
	return strings.TrimRight(v[start:i], " \t"), i
}

// piece is one of the parameters "name*", "name*2" and "name*2*" (RFC 2231 §4).
type piece struct {
	name  string
	index int
	coded bool // percent-encoded, the first with charset and language before
	value string
}

// parsePiece takes a parameter apart whose name has an asterisk.
func parsePiece(name, value string) (piece, bool) {
	base, suffix, ok := strings.Cut(name, "*")
	if !ok || base == "" {
		return piece{}, false
	}
	p := piece{name: base, value: value}
	if suffix == "" {
		p.coded = true
		return p, true
	}
	suffix, p.coded = strings.CutSuffix(suffix, "*")
	n, err := strconv.Atoi(suffix)
	if err != nil || n < 0 {
		return piece{}, false
	}
	p.index = n
	return p, true
}

// joinPieces appends what the pieces amount to, in place of parameters that
// give the same in a simpler form.
func joinPieces(params []Param, pieces []piece) []Param {
	slices.SortStableFunc(pieces, func(a, b piece) int {
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		return a.index - b.index
	})
	for len(pieces) > 0 {
		n := 1
		for n < len(pieces) && pieces[n].name == pieces[0].name {
			n++
		}
		name := pieces[0].name
		params = slices.DeleteFunc(params, func(p Param) bool { return p.Name == name })
		params = append(params, Param{name, joinPiece(pieces[:n])})
		pieces = pieces[n:]
	}
	return params
}

// joinPiece returns the value that the pieces of one parameter make, as UTF-8.
func joinPiece(pieces []piece) string {
	if !slices.ContainsFunc(pieces, func(p piece) bool { return p.coded }) {
		var b strings.Builder
		for _, p := range pieces {
			b.WriteString(p.value)
		}
		return b.String()
	}
	charset := ""
	var raw []byte
	for i, p := range pieces {
		v := p.value
		if i == 0 && p.coded {
			if c, rest, ok := strings.Cut(v, "'"); ok {
				if _, text, ok := strings.Cut(rest, "'"); ok {
					charset, v = c, text
				}
			}
		}
		if p.coded {
			raw = appendPercentDecoded(raw, v)
		} else {
			raw = append(raw, v...)
		}
	}
	return decodeCharset(charset, raw)
}

func appendPercentDecoded(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if hi, lo := unhex(s[i+1]), unhex(s[i+2]); hi < 16 && lo < 16 {
				dst = append(dst, hi<<4|lo)
				i += 2
				continue
			}
		}
		dst = append(dst, s[i])
	}
	return dst
}

// unhex returns the value of a hexadecimal digit, or 0xff.
func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 0xff
}

// ASCII returns the parameter without 8-bit bytes: as it is where it has none,
// else in the extended form of RFC 2231 §4, "filename*" and "utf-8”M%C3%BCller".
func (p Param) ASCII() (name, value string) {
	if mail.IsASCII(p.Value) {
		return p.Name, p.Value
	}
	var b strings.Builder
	b.WriteString("utf-8''")
	for _, c := range []byte(DecodeHeader(p.Value)) {
		if c > ' ' && c < 0x7f && strings.IndexByte("*'%()<>@,;:\\\"/[]?=", c) < 0 {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte("0123456789ABCDEF"[c>>4])
			b.WriteByte("0123456789ABCDEF"[c&15])
		}
	}
	return p.Name + "*", b.String()
}
