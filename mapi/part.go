package mapi

import (
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"strings"
	"sync"
)

// field is a header field; its value is ready for the wire.
type field struct{ name, value string }

// part is a MIME entity: its fields and one of children, text, open or raw.
type part struct {
	root     bool
	fields   []field
	boundary string
	children []*part
	text     []byte                 // to be quoted
	open     func() (Stream, error) // to be in base64
	nested   *part                  // a message
	raw      []byte                 // an entity with its fields, as it is
	problem  func(error)
}

// writer remembers the first error.
type writer struct {
	w    io.Writer
	n    int64
	err  error
	last byte
}

func (w *writer) Write(b []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.w.Write(b)
	w.n += int64(n)
	w.err = err
	if len(b) > 0 {
		w.last = b[len(b)-1]
	}
	return n, err
}

func (w *writer) endLine() {
	if w.last != '\n' {
		w.string("\r\n")
	}
}

func (w *writer) string(s string) { _, _ = io.WriteString(w, s) }

func (p *part) write(w *writer) {
	for _, f := range p.fields {
		w.string(f.name + ": " + f.value + "\r\n")
	}
	if p.root {
		w.string("MIME-Version: 1.0\r\n")
	}
	switch {
	case p.raw != nil:
		_, _ = w.Write(p.raw)
	case p.children != nil:
		w.string("\r\n")
		for _, child := range p.children {
			w.string("--" + p.boundary + "\r\n")
			child.write(w)
			w.string("\r\n")
		}
		w.string("--" + p.boundary + "--\r\n")
	case p.nested != nil:
		w.string("\r\n")
		p.nested.write(w)
	case p.open != nil:
		w.string("Content-Transfer-Encoding: base64\r\n\r\n")
		p.writeBase64(w)
	case isPlain(p.text):
		w.string("Content-Transfer-Encoding: 7bit\r\n\r\n")
		_, _ = w.Write(p.text)
	default:
		w.string("Content-Transfer-Encoding: quoted-printable\r\n\r\n")
		q := quotedprintable.NewWriter(w)
		_, _ = q.Write(p.text)
		_ = q.Close()
	}
}

// isPlain tells whether text can be sent as it is: ASCII in lines of at most 998
// characters that end by CRLF (RFC 2045 §2.7).
func isPlain(b []byte) bool {
	line := 0
	for i, c := range b {
		switch {
		case c == '\n':
			if i == 0 || b[i-1] != '\r' {
				return false
			}
			line = 0
			continue
		case c == '\r':
			if i+1 == len(b) || b[i+1] != '\n' {
				return false
			}
		case c >= 0x7F || c < ' ' && c != '\t':
			return false
		}
		if line++; line > 998 {
			return false
		}
	}
	return true
}

// The sizes of a chunk of base64: whole lines of 57 bytes, 76 characters.
const (
	chunkLines = 512
	chunkBytes = 57 * chunkLines
)

// chunk is room for a chunk of base64.
type chunk struct {
	in   [chunkBytes]byte
	code [76 * chunkLines]byte
	out  [78 * chunkLines]byte
}

// chunks are those that nobody uses now.
var chunks = sync.Pool{New: func() any { return new(chunk) }}

// writeBase64 writes what can be read.
func (p *part) writeBase64(w *writer) {
	s, err := p.open()
	if err != nil {
		p.problem(err)
		return
	}
	c, _ := chunks.Get().(*chunk)
	defer chunks.Put(c)
	in, code, out := c.in[:], c.code[:], c.out[:0]
	for w.err == nil {
		n, err := io.ReadFull(s, in)
		out = out[:0]
		base64.StdEncoding.Encode(code, in[:n])
		for b := code[:base64.StdEncoding.EncodedLen(n)]; len(b) > 0; b = b[min(76, len(b)):] {
			out = append(append(out, b[:min(76, len(b))]...), '\r', '\n')
		}
		_, _ = w.Write(out)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return
		}
		if err != nil {
			p.problem(fmt.Errorf("reading an attachment: %w", err))
			return
		}
	}
}

// multipart wraps parts where there is more than one.
func (c *conversion) multipart(kind, params string, parts []*part) *part {
	if len(parts) == 1 && kind != "report" {
		return parts[0]
	}
	c.seed = nextSeed(c.seed)
	b := "=_" + c.seed
	return &part{boundary: b, children: parts,
		fields: []field{{"Content-Type", "multipart/" + kind + params + ";\r\n\tboundary=\"" + b + "\""}}}
}

func textPart(kind, charset string, b []byte) *part {
	return &part{text: b, fields: []field{{"Content-Type", "text/" + kind + "; charset=" + charset}}}
}

// contentType returns a media type with its parameter, encoded where needed.
func contentType(kind, param, value string) string {
	kind, params, err := mime.ParseMediaType(kind)
	if err != nil || !strings.Contains(kind, "/") || strings.HasPrefix(kind, "multipart/") || strings.HasPrefix(kind, "message/") {
		kind, params = "application/octet-stream", nil
	}
	if params == nil {
		params = map[string]string{}
	}
	if value != "" {
		params[param] = value
	}
	s := mime.FormatMediaType(kind, params)
	if s == "" {
		s = mime.FormatMediaType(kind, nil)
	}
	return strings.ReplaceAll(s, "; ", ";\r\n\t")
}
