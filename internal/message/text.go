package message

import (
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/transform"
)

// FieldWriter is a text writer that gets the fields of the outermost header
// one by one, decoded, instead of as text.
type FieldWriter interface {
	io.Writer
	WriteField(name, value string)
}

// textOut is where the text of a message goes: to the writer, and the
// beginning of it to the preview.
type textOut struct {
	w       io.Writer // nil: nobody wants it, or it failed
	fields  FieldWriter
	preview preview
	body    content // reused from part to part
}

func newTextOut(w io.Writer) textOut {
	t := textOut{w: w}
	t.fields, _ = w.(FieldWriter)
	return t
}

// wanted tells whether text of bodies is still of use.
func (t *textOut) wanted() bool { return t.w != nil || !t.preview.done }

// begin returns what takes the body of part; nil where its text is of no use.
func (t *textOut) begin(part *Part) *content {
	if part.Type != "text" {
		return nil
	}
	readable := part.Subtype == "plain" || part.Subtype == "html" || part.Subtype == "enriched"
	t.preview.skip = !readable || part.Disposition == "attachment"
	if t.w == nil && (t.preview.done || t.preview.skip) {
		return nil
	}
	t.body.reset(t, part)
	return &t.body
}

// field takes a field of a message's header.
func (t *textOut) field(name, value string, outermost bool) {
	if t.fields != nil && outermost {
		t.fields.WriteField(name, value)
		return
	}
	t.print(name + ": " + value + "\n")
}

// name takes the name or description of a part.
func (t *textOut) name(s string) {
	if s != "" && t.w != nil {
		t.print(DecodeHeader(s) + "\n")
	}
}

func (t *textOut) print(s string) {
	if t.w == nil {
		return
	}
	if _, err := io.WriteString(t.w, s); err != nil {
		t.w, t.fields = nil, nil
	}
}

// write takes text of a body, whole characters of UTF-8.
func (t *textOut) write(b []byte) {
	if !t.preview.done {
		t.preview.write(b)
	}
	if t.w == nil {
		return
	}
	if _, err := t.w.Write(b); err != nil {
		t.w, t.fields = nil, nil
	}
}

// endPart ends a part's text.
func (t *textOut) endPart() { t.preview.endPart() }

// content turns the body of a text part into text.
type content struct {
	out      *textOut
	transfer transferDecoder // nil: none
	charset  transform.Transformer
	isHTML   bool
	html     htmlText
	rest     []byte // of an unfinished character
	raw, dst []byte // buffers
}

const textBuffer = 2048

func (c *content) reset(out *textOut, part *Part) {
	if c.raw == nil {
		c.raw, c.dst = make([]byte, textBuffer), make([]byte, textBuffer)
	}
	c.out = out
	c.transfer = newTransferDecoder(part.Encoding)
	c.charset = charsetDecoder(part.Param("charset"))
	c.rest = c.rest[:0]
	if c.isHTML = part.Subtype == "html"; c.isHTML {
		c.html.reset(out.write)
	}
}

// write takes bytes of the body.
func (c *content) write(b []byte) {
	for len(b) > 0 && c.out.wanted() {
		if c.transfer == nil {
			n := min(len(b), textBuffer)
			c.decode(b[:n], false)
			b = b[n:]
			continue
		}
		nDst, nSrc := c.transfer.decode(c.raw, b)
		c.decode(c.raw[:nDst], false)
		b = b[nSrc:]
	}
}

// close ends the body.
func (c *content) close() {
	if c.transfer != nil {
		c.decode(c.raw[:c.transfer.flush(c.raw)], false)
	}
	c.decode(nil, true)
	if c.isHTML {
		c.html.close()
	}
	c.out.write([]byte{'\n'})
}

// decode takes bytes of the part's charset.
func (c *content) decode(b []byte, atEOF bool) {
	if len(c.rest) > 0 {
		c.rest = append(c.rest, b...)
		b = c.rest
	}
	for {
		nDst, nSrc, err := c.charset.Transform(c.dst, b, atEOF)
		c.emit(c.dst[:nDst])
		b = b[nSrc:]
		if err != transform.ErrShortDst {
			break
		}
	}
	c.rest = append(c.rest[:0], b...)
}

func (c *content) emit(b []byte) {
	if c.isHTML {
		c.html.write(b)
	} else {
		c.out.write(b)
	}
}

// preview collects the first readable text of a message.
type preview struct {
	text  strings.Builder
	n     int  // characters in text
	space bool // one is due before the next word
	skip  bool // the present part is not for reading
	done  bool
}

const previewLength = 256 // RFC 8970 §3.2

// write takes text of whole characters.
func (p *preview) write(b []byte) {
	if p.done || p.skip {
		return
	}
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		b = b[n:]
		switch {
		case unicode.IsSpace(r) || unicode.IsControl(r):
			p.space = p.n > 0
			continue
		case unicode.Is(unicode.Cf, r) || r == '\u034f': // invisible filler of newsletters
			continue
		}
		if p.space {
			p.space = false
			p.put(' ')
		}
		if p.put(r); p.done {
			return
		}
	}
}

func (p *preview) put(r rune) {
	if p.n == previewLength {
		p.done = true
		return
	}
	p.text.WriteRune(r)
	p.n++
	p.done = p.n == previewLength
}

// endPart ends a part: the first that has text is the one.
func (p *preview) endPart() { p.done = p.done || p.n > 0 }

func (p *preview) String() string { return strings.TrimRight(p.text.String(), " ") }
