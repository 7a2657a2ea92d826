package gal

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime/quotedprintable"
	"slices"
	"strings"

	"expost/internal/codepage"
)

// property is one content line of a vCard, 2.1 to 4.0.
type property struct {
	group  string // "item1"
	name   string // in upper case
	types  []string
	params map[string]string
	value  []byte // as it stands, transfer encoding undone
	line   int
}

// is tells whether the property has a type, in any of the three ways to
// write it.
func (p *property) is(t string) bool { return slices.Contains(p.types, t) }

// vcards reads the content lines of a file.
type vcards struct {
	*reader
	r       *bufio.Reader
	num     int
	pending []byte // the physical line read ahead
	ahead   bool
}

// maxProperty bounds a content line: a picture of 16 MiB fits.
const maxProperty = 24 << 20

// readVCard reads a file of vCards.
func (rd *reader) readVCard(r io.Reader) error {
	v := &vcards{reader: rd, r: bufio.NewReaderSize(r, 64<<10)}
	var card []property
	depth, start := 0, 0
	for {
		p, err := v.property()
		if err == io.EOF {
			if depth > 0 {
				rd.issue(start, Error, "", "the file ends inside this card", "it was left out")
			}
			return nil
		}
		if err != nil {
			return err
		}
		switch {
		case p.name == "BEGIN" && strings.EqualFold(string(bytes.TrimSpace(p.value)), "VCARD"):
			if depth++; depth == 1 {
				card, start = card[:0], p.line
			}
		case p.name == "END" && depth > 0:
			if depth--; depth == 0 {
				if err := v.card(start, card); err != nil {
					return err
				}
			}
		case depth == 1:
			card = append(card, p)
		case depth == 0 && p.name != "":
			rd.issue(p.line, Warning, p.name, "a line between two cards", "left out")
		}
	}
}

// physical returns the next physical line without its end. It is valid until
// the next call.
func (v *vcards) physical() ([]byte, error) {
	if v.ahead {
		v.ahead = false
		return v.pending, nil
	}
	var line []byte
	for {
		chunk, err := v.r.ReadSlice('\n')
		line = append(line, chunk...)
		if len(line) > maxProperty {
			return nil, fmt.Errorf("line %d: longer than %d bytes", v.num+1, maxProperty)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err == io.EOF && len(line) > 0 {
			err = nil
		}
		v.num++
		return bytes.TrimRight(line, "\r\n"), err
	}
}

// property returns the next content line, its folds and its encoding undone.
func (v *vcards) property() (property, error) {
	line, err := v.physical()
	for err == nil && len(bytes.TrimSpace(line)) == 0 {
		line, err = v.physical()
	}
	if err != nil {
		return property{}, err
	}
	num := v.num
	line, err = v.unfold(line)
	if err != nil {
		return property{}, err
	}
	p, ok := parseProperty(line)
	p.line = num
	if !ok {
		v.issue(num, Warning, "", fmt.Sprintf("a line without a colon: %q", clip(v.text(line, num, ""))), "left out")
		return property{line: num}, nil
	}
	return v.decode(p)
}

// unfold joins the lines that begin with a blank to the line before them.
func (v *vcards) unfold(line []byte) ([]byte, error) {
	line = bytes.Clone(line)
	for {
		next, err := v.physical()
		if err == io.EOF {
			return line, nil
		}
		if err != nil {
			return nil, err
		}
		if len(next) == 0 || next[0] != ' ' && next[0] != '\t' {
			v.pending, v.ahead = next, true
			return line, nil
		}
		if line = append(line, next[1:]...); len(line) > maxProperty {
			return nil, fmt.Errorf("line %d: longer than %d bytes", v.num, maxProperty)
		}
	}
}

// parseProperty splits a content line.
func parseProperty(line []byte) (property, bool) {
	colon, quoted := -1, false
	for i, c := range line {
		if c == '"' {
			quoted = !quoted
		} else if c == ':' && !quoted {
			colon = i
			break
		}
	}
	if colon <= 0 {
		return property{}, false
	}
	parts := splitQuoted(string(line[:colon]), ';')
	p := property{params: map[string]string{}, value: line[colon+1:]}
	p.name = strings.ToUpper(strings.TrimSpace(parts[0]))
	if dot := strings.LastIndexByte(p.name, '.'); dot >= 0 {
		p.group, p.name = p.name[:dot], p.name[dot+1:]
	}
	for _, s := range parts[1:] {
		key, val, ok := strings.Cut(s, "=")
		key = strings.ToUpper(strings.TrimSpace(key))
		val = strings.Trim(val, `"`)
		switch {
		case !ok && slices.Contains([]string{"BASE64", "QUOTED-PRINTABLE", "8BIT", "7BIT", "B"}, key):
			p.params["ENCODING"] = key
		case !ok:
			p.types = append(p.types, strings.ToLower(key))
		case key == "TYPE":
			for t := range strings.SplitSeq(strings.ToLower(val), ",") {
				p.types = append(p.types, strings.TrimSpace(t))
			}
		default:
			p.params[key] = val
		}
	}
	if _, pref := p.params["PREF"]; pref {
		p.types = append(p.types, "pref")
	}
	return p, true
}

// splitQuoted splits at sep outside of double quotes.
func splitQuoted(s string, sep byte) []string {
	var out []string
	start, quoted := 0, false
	for i := range len(s) {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case s[i] == sep && !quoted:
			out = append(out, s[start:i])
			start = i + 1
		}
	}
	return append(out, s[start:])
}

// decode undoes the transfer encoding of 2.1 and the code page.
func (v *vcards) decode(p property) (property, error) {
	switch enc := strings.ToUpper(p.params["ENCODING"]); enc {
	case "QUOTED-PRINTABLE":
		raw := bytes.Clone(p.value)
		for bytes.HasSuffix(bytes.TrimRight(raw, " \t"), []byte("=")) {
			next, err := v.physical()
			if err != nil && err != io.EOF {
				return p, err
			}
			raw = append(append(raw, '\r', '\n'), next...)
			if err == io.EOF || len(raw) > maxProperty {
				break
			}
		}
		b, err := io.ReadAll(quotedprintable.NewReader(bytes.NewReader(raw)))
		if err != nil {
			v.issue(p.line, Warning, p.name, "the value is not quoted-printable", "read as far as it is")
		}
		p.value = b
	case "BASE64", "B":
		return p, v.decodeBase64(&p)
	}
	p.value = []byte(v.charset(p))
	return p, nil
}

// decodeBase64 reads the rest of a value that 2.1 writes over unindented
// lines up to an empty one.
func (v *vcards) decodeBase64(p *property) error {
	b64 := bytes.Clone(p.value)
	for {
		next, err := v.physical()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if len(next) == 0 || bytes.IndexByte(next, ':') >= 0 || len(b64) > maxProperty {
			v.pending, v.ahead = next, true
			break
		}
		b64 = append(b64, next...)
	}
	b64 = bytes.Map(func(r rune) rune {
		if r == ' ' || r == '\t' || r == '=' || r == '\r' {
			return -1
		}
		return r
	}, b64)
	var err error
	if p.value, err = base64.RawStdEncoding.AppendDecode(nil, b64); err != nil {
		v.issue(p.line, Warning, p.name, "the value is not base64", "left out")
		p.value = nil
	}
	return nil
}

// charset returns the value in UTF-8.
func (v *vcards) charset(p property) string {
	if name := p.params["CHARSET"]; name != "" {
		if page, err := codepage.Lookup(name); err == nil {
			if s, ok := page.String(p.value); ok {
				return s
			}
		}
	}
	return v.text(p.value, p.line, p.name)
}

// split splits a structured value at unescaped semicolons.
func (p *property) split() []string {
	var out []string
	var b strings.Builder
	s := string(p.value)
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			if s[i] == 'n' || s[i] == 'N' {
				b.WriteByte('\n')
			} else {
				b.WriteByte(s[i])
			}
		case s[i] == ';':
			out = append(out, strings.TrimSpace(b.String()))
			b.Reset()
		default:
			b.WriteByte(s[i])
		}
	}
	return append(out, strings.TrimSpace(b.String()))
}

// plain returns the value as one text. A semicolon that is not escaped is
// itself there.
func (p *property) plain() string { return strings.Join(p.split(), ";") }
