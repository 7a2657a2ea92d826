package imapclient

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"

	"expost/internal/mail"
)

// Response is one response of the server: "* 12 FETCH (…)", "x1 OK done". It
// is valid until the next one is read.
type Response struct {
	tag    string // "*", "+" or a command's tag
	number uint32 // of "* 12 FETCH"
	name   string // in upper case: "FETCH", "OK"
	line   *Line
	parsed *StatusError
}

// Name returns the response's name in upper case, "EXISTS".
func (r *Response) Name() string { return r.name }

// Number returns the number before the name, or 0.
func (r *Response) Number() uint32 { return r.number }

// Line returns what follows the name.
func (r *Response) Line() *Line { return r.line }

// Code splits the response code of a status response: "[UIDNEXT 4]" is
// "UIDNEXT", "4".
func (r *Response) Code() (name, value string) {
	name, value, _ = strings.Cut(r.status().Code, " ")
	return strings.ToUpper(name), value
}

// Text returns what is left of the response's line.
func (r *Response) Text() string { return string(r.line.rest()) }

// status reads the rest as resp-text (RFC 9051 §9).
func (r *Response) status() *StatusError {
	if r.parsed != nil {
		return r.parsed
	}
	e := &StatusError{Status: r.name, Text: strings.TrimSpace(string(r.line.rest()))}
	if strings.HasPrefix(e.Text, "[") {
		if end := strings.IndexByte(e.Text, ']'); end > 0 {
			e.Code, e.Text = e.Text[1:end], strings.TrimSpace(e.Text[end+1:])
		}
	}
	r.parsed = e
	return e
}

// next reads the start of the next response.
func (c *Client) next() (*Response, error) {
	line := &Line{c: c}
	if err := line.fill(); err != nil {
		return nil, err
	}
	res := &Response{line: line}
	res.tag = line.word()
	if res.tag == "+" {
		return res, nil
	}
	name := line.word()
	if n, err := strconv.ParseUint(name, 10, 32); err == nil && res.tag == "*" {
		res.number = uint32(n)
		name = line.word()
	}
	if res.tag == "" || name == "" {
		return nil, c.garbage(line.buf)
	}
	res.name = strings.ToUpper(name)
	return res, nil
}

// Line reads the values of one response. Bodies are literals, so a response is
// segments of text with literals between them: buf is the present segment, and
// literal the size of the literal behind it, or -1.
type Line struct {
	c       *Client
	buf     []byte
	pos     int
	literal int64
	body    *literalReader // of a streamed literal that may not be read to its end yet
}

// fill reads the next segment.
func (l *Line) fill() error {
	b, err := l.c.readSegment()
	if err != nil {
		return err
	}
	l.buf, l.pos, l.literal = b, 0, -1
	if n := len(b); n > 0 && b[n-1] == '}' {
		if at := bytes.LastIndexByte(b, '{'); at >= 0 {
			digits := bytes.TrimSuffix(b[at+1:n-1], []byte("+"))
			if size, err := strconv.ParseInt(string(digits), 10, 64); err == nil {
				l.literal, l.buf = size, bytes.TrimSuffix(b[:at], []byte("~"))
			}
		}
	}
	return nil
}

// readSegment returns the bytes up to the next line end, without it. They are
// valid until the next read.
func (c *Client) readSegment() ([]byte, error) {
	b, err := c.r.ReadSlice('\n')
	if err != nil {
		c.spare = c.spare[:0]
		for err != nil && len(b) == c.r.Size() {
			if c.spare = append(c.spare, b...); len(c.spare) > c.opt.MaxLine {
				return nil, c.garbage(c.spare)
			}
			b, err = c.r.ReadSlice('\n')
		}
		if err != nil {
			return nil, c.readError(err)
		}
		b = append(c.spare, b...)
		c.spare = b
	}
	b = b[:len(b)-1]
	return bytes.TrimSuffix(b, []byte("\r")), nil
}

// rest returns what is left of the present segment and moves behind it.
func (l *Line) rest() []byte {
	b := l.buf[l.pos:]
	l.pos = len(l.buf)
	return b
}

// skip reads to the end of the response.
func (l *Line) skip() error {
	for {
		if err := l.endBody(); err != nil {
			return err
		}
		if l.literal < 0 {
			l.pos = len(l.buf)
			return nil
		}
		if _, err := l.stream(); err != nil {
			return err
		}
	}
}

// word reads up to the next space and behind it.
func (l *Line) word() string {
	b := l.buf[l.pos:]
	end := bytes.IndexByte(b, ' ')
	if end < 0 {
		l.pos = len(l.buf)
		return string(b)
	}
	l.pos += end + 1
	return string(b[:end])
}

// spaces skips spaces.
func (l *Line) spaces() {
	for l.pos < len(l.buf) && l.buf[l.pos] == ' ' {
		l.pos++
	}
}

// peek returns the next byte, or 0 at the end of the segment.
func (l *Line) peek() byte {
	if l.pos < len(l.buf) {
		return l.buf[l.pos]
	}
	return 0
}

// accept moves over b where it is next.
func (l *Line) accept(b byte) bool {
	if l.peek() == b && l.pos < len(l.buf) {
		l.pos++
		return true
	}
	return false
}

// atom reads up to a space, a parenthesis or the end. Brackets hold what
// belongs to the atom: BODY[HEADER.FIELDS (DATE)].
func (l *Line) atom() []byte {
	start, depth := l.pos, 0
	for ; l.pos < len(l.buf); l.pos++ {
		switch b := l.buf[l.pos]; {
		case b == '[':
			depth++
		case b == ']' && depth > 0:
			depth--
		case depth == 0 && (b == ' ' || b == '(' || b == ')'):
			return l.buf[start:l.pos]
		}
	}
	return l.buf[start:l.pos]
}

// endBody reads away what nobody wanted of a streamed literal, and the segment
// behind it.
func (l *Line) endBody() error {
	if l.body == nil {
		return nil
	}
	body := l.body
	l.body = nil
	if _, err := io.Copy(io.Discard, body); err != nil {
		return err
	}
	return l.fill()
}

// stream returns the literal that comes next as a reader.
func (l *Line) stream() (*literalReader, error) {
	if l.literal > l.c.opt.MaxLiteral {
		return nil, mail.WrapError(mail.KindTooBig, ErrGarbage, "the server announces a message of %d bytes", l.literal)
	}
	l.body = &literalReader{c: l.c, left: l.literal}
	l.literal = -1
	return l.body, nil
}

// literalReader is the bytes of one literal.
type literalReader struct {
	c    *Client
	left int64
}

// Read reads; a connection that ends too early is an error, never io.EOF.
func (r *literalReader) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, io.EOF
	}
	n, err := r.c.r.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	if err != nil {
		return n, r.c.readError(err)
	}
	return n, nil
}

// Value is a parsed value: a string or atom, NIL, or a list.
type Value struct {
	Text   string
	IsNil  bool
	IsList bool
	List   []Value
}

// maxDepth bounds the nesting of lists.
const maxDepth = 32

// Value reads the next value.
func (l *Line) Value() (Value, error) { return l.value(0) }

func (l *Line) value(depth int) (Value, error) {
	l.spaces()
	switch {
	case depth > maxDepth:
		return Value{}, l.c.garbage(l.buf)
	case l.accept('('):
		v := Value{IsList: true}
		for {
			l.spaces()
			if l.accept(')') {
				return v, nil
			}
			if l.atEnd() {
				return Value{}, l.c.garbage(l.buf)
			}
			e, err := l.value(depth + 1)
			if err != nil {
				return Value{}, err
			}
			v.List = append(v.List, e)
		}
	case l.peek() == '"':
		s, err := l.quoted()
		return Value{Text: s}, err
	case l.pos == len(l.buf) && l.literal >= 0:
		s, err := l.literalText()
		return Value{Text: s}, err
	}
	a := l.atom()
	if len(a) == 0 {
		return Value{}, l.c.garbage(l.buf)
	}
	return Value{Text: string(a), IsNil: strings.EqualFold(string(a), "NIL")}, nil
}

// atEnd tells whether the response has no more values.
func (l *Line) atEnd() bool { return l.pos >= len(l.buf) && l.literal < 0 }

// quoted reads a quoted string.
func (l *Line) quoted() (string, error) {
	b := l.buf[l.pos+1:]
	if end := bytes.IndexAny(b, `"\`); end >= 0 && b[end] == '"' {
		l.pos += end + 2
		return string(b[:end]), nil
	}
	var out []byte
	for i := 0; i < len(b); i++ {
		switch {
		case b[i] == '"':
			l.pos += i + 2
			return string(out), nil
		case b[i] == '\\' && i+1 < len(b):
			i++
		}
		out = append(out, b[i])
	}
	return "", l.c.garbage(l.buf)
}

// maxText bounds literals that are kept in memory: names, not messages.
const maxText = 1 << 20

// literalText reads a literal that is a short string.
func (l *Line) literalText() (string, error) {
	if l.literal > maxText {
		return "", fmt.Errorf("%w: a name of %d bytes", ErrGarbage, l.literal)
	}
	r, err := l.stream()
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return "", err
	}
	return string(b), l.endBody()
}
