// Package sevenbit makes mail that an old server takes of mail that it does not:
// 7-bit mail of 8-bit or binary mail (RFC 6152 §3, RFC 3030 §3), and a header of
// ASCII of one with UTF-8 (RFC 6532).
//
// Parts with bytes above 127 become quoted-printable or base64, the entities
// around them 7bit, 8-bit header text encoded words (RFC 2047) or extended
// parameters (RFC 2231), whose words a reader sees as before. A field whose
// syntax has no place for those is kept as Downgraded-NAME (RFC 6857 §3.1.10).
//
// What is signed as it stands is never touched: 8-bit content of a
// multipart/signed is an error, and so is whatever else cannot be said in 7
// bits. A DKIM signature that covers what is changed is no longer valid, as RFC
// 6376 §5.3 warns; to a verifier that is as if there were none.
package sevenbit

import (
	"bufio"
	"io"
	"slices"
	"unicode/utf8"

	"expost/internal/mail"
	"expost/internal/message"
)

// Scope says what has to be ASCII.
type Scope int

// The scopes.
const (
	Header Scope = iota // the message's own header; bodies may stay 8-bit
	All
)

// maxHeader is the largest header that is rewritten, in bytes.
const maxHeader = 1 << 20

// Message is a message as it is after the conversion. It streams: WriteTo reads
// the original again, each time it is called.
type Message struct {
	Size     int64
	EightBit bool // bytes above 127 are left; never with All

	scope    Scope
	original io.WriterTo
	segments []segment
	parts    []message.Part
	plans    []plan
}

// plan is what becomes of a part.
type plan struct {
	encoding string // the new Content-Transfer-Encoding; empty: it keeps the one it has
	charset  string // to be said of a text that says none; empty: nothing
	header   bool   // the header is rewritten
	seen     traits
}

// traits is what was seen of a part.
type traits struct {
	size     int64 // of its body, where it is a leaf
	high     int64 // bytes above 127 of that
	zero     bool  // NUL
	head     bool  // 8-bit bytes in its header
	inside   bool  // 8-bit bytes anywhere in its body, parts included
	notUTF8  bool
	leftover []byte // an incomplete character
}

// segment is a stretch of the original.
type segment struct {
	end  int64
	kind kind
	part int // -1: belongs to none
}

type kind int

const (
	between kind = iota // preamble, boundaries, epilogue
	head
	leaf
)

// Convert plans the conversion of a message with CRLF line ends, which original
// writes as often as it is asked. An error of mail.KindInvalid says why it cannot
// be done; any other comes from reading.
func Convert(original io.WriterTo, scope Scope) (*Message, error) {
	parser := message.NewParser(message.Limits{}, nil)
	parser.SkipPreview()
	if _, err := original.WriteTo(parser); err != nil {
		return nil, err
	}
	parsed := parser.Finish()
	m := &Message{scope: scope, original: original, parts: parsed.Parts, plans: make([]plan, len(parsed.Parts))}
	m.divide(parsed.Size)
	if _, err := original.WriteTo(&walker{m: m, visitor: (*scan)(m)}); err != nil {
		return nil, err
	}
	if err := m.plan(); err != nil {
		return nil, err
	}
	n, err := m.WriteTo(&counter{m: m})
	m.Size = n
	return m, err
}

// counter looks at what comes out.
type counter struct{ m *Message }

// Write implements io.Writer.
func (c *counter) Write(p []byte) (int, error) {
	c.m.EightBit = c.m.EightBit || !mail.IsASCII(p)
	return len(p), nil
}

// divide makes segments of the parts: all bytes, in order.
func (m *Message) divide(size int64) {
	add := func(end int64, k kind, part int) {
		if n := len(m.segments); n > 0 && end <= m.segments[n-1].end || end == 0 {
			return
		}
		m.segments = append(m.segments, segment{end, k, part})
	}
	for i := range m.parts {
		p := &m.parts[i]
		add(p.Header, between, p.Parent)
		add(p.Body, head, i)
		if m.isLeaf(i) {
			add(p.End, leaf, i)
		}
	}
	add(size, between, -1)
}

// isLeaf tells whether a part has no parts inside. Parts are in pre-order.
func (m *Message) isLeaf(i int) bool { return i+1 == len(m.parts) || m.parts[i+1].Parent != i }

// visitor is shown the segments of a message.
type visitor interface {
	piece(s *segment, p []byte) error // the next bytes
	end(s *segment) error
}

// walker shows a visitor what is written to it.
type walker struct {
	m       *Message
	visitor visitor
	at      int
	off     int64
}

// Write implements io.Writer.
func (w *walker) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		if w.at == len(w.m.segments) {
			return 0, mail.Errorf(mail.KindInternal, "the message has become longer since it was read first")
		}
		s := &w.m.segments[w.at]
		n := int(min(int64(len(p)), s.end-w.off))
		if err := w.visitor.piece(s, p[:n]); err != nil {
			return 0, err
		}
		p, w.off = p[n:], w.off+int64(n)
		if w.off == s.end {
			if err := w.visitor.end(s); err != nil {
				return 0, err
			}
			w.at++
		}
	}
	return total, nil
}

// scan is the Message as a visitor that notes the traits of its parts.
type scan Message

func (m *scan) piece(s *segment, p []byte) error {
	if s.part < 0 {
		return nil
	}
	t := &m.plans[s.part].seen
	high := int64(0)
	for _, c := range p {
		if c >= 0x80 {
			high++
		}
		t.zero = t.zero || c == 0
	}
	switch s.kind {
	case head:
		t.head = t.head || high > 0
	case leaf:
		t.size += int64(len(p))
		t.high += high
		t.text(p)
	}
	t.inside = t.inside || high > 0 && s.kind != head
	return nil
}

func (*scan) end(*segment) error { return nil }

// text notes whether what comes is UTF-8.
func (t *traits) text(p []byte) {
	if t.notUTF8 || len(t.leftover) == 0 && mail.IsASCII(p) {
		return
	}
	p = append(t.leftover, p...)
	for len(p) > 0 {
		r, n := utf8.DecodeRune(p)
		if r == utf8.RuneError && n == 1 {
			if utf8.FullRune(p) {
				t.notUTF8, p = true, nil
			}
			break
		}
		p = p[n:]
	}
	t.leftover = slices.Clone(p)
}

// plan decides what becomes of each part.
func (m *Message) plan() error {
	if m.scope == Header {
		m.plans[0].header = m.plans[0].seen.head
		return m.checkHeaders()
	}
	for i := len(m.parts) - 1; i > 0; i-- { // children come behind their parents
		t, parent := &m.plans[i].seen, &m.plans[m.parts[i].Parent].seen
		parent.inside = parent.inside || t.inside || t.head
	}
	for i := range m.parts {
		if err := m.planPart(i); err != nil {
			return err
		}
	}
	return m.checkHeaders()
}

func invalid(format string, args ...any) error { return mail.Errorf(mail.KindInvalid, format, args...) }

func (m *Message) planPart(i int) error {
	p, pl := &m.parts[i], &m.plans[i]
	pl.header = pl.seen.head
	composite := p.IsMultipart() || p.IsMessage()
	if !pl.seen.inside {
		if composite && (p.Encoding == "8bit" || p.Encoding == "binary") && !m.signed(i) {
			pl.encoding, pl.header = "7bit", true
		}
		return nil
	}
	switch {
	case p.IsMultipart() && p.Subtype == "signed", m.signed(i):
		return invalid("it has 8-bit text under a digital signature, which a conversion would break")
	case composite && m.isLeaf(i):
		return invalid("a part of type %s/%s has 8-bit text and cannot be taken apart (nested too deep, or malformed)", p.Type, p.Subtype)
	case p.IsMultipart() && !mail.IsASCII(p.Param("boundary")):
		return invalid("the boundary of a multipart is not ASCII")
	case p.Type == "message" && (p.Subtype == "partial" || p.Subtype == "external-body"):
		return invalid("a part of type message/%s has 8-bit text and may not be encoded", p.Subtype)
	case composite:
		pl.encoding, pl.header = "7bit", true
	default:
		return m.planLeaf(p, pl)
	}
	return nil
}

// signed tells whether a part is inside a multipart/signed.
func (m *Message) signed(i int) bool {
	for i = m.parts[i].Parent; i >= 0; i = m.parts[i].Parent {
		if m.parts[i].IsMultipart() && m.parts[i].Subtype == "signed" {
			return true
		}
	}
	return false
}

// planLeaf chooses an encoding for a part with 8-bit bytes.
func (m *Message) planLeaf(p *message.Part, pl *plan) error {
	t := &pl.seen
	switch p.Encoding {
	case "quoted-printable", "base64": // malformed: it has what it must not have, and is mended
		return nil
	case "7bit", "8bit", "binary":
	default:
		return invalid("a part with the transfer encoding %q has 8-bit text", p.Encoding)
	}
	pl.header = true
	text := p.Type == "text" || p.Type == "message"
	pl.encoding = "base64"
	if text && !t.zero && t.high*4 <= t.size { // each costs two bytes more, base64 a third of all
		pl.encoding = "quoted-printable"
	}
	if p.Type == "text" && p.Param("charset") == "" {
		if pl.charset = "utf-8"; t.notUTF8 || len(t.leftover) > 0 {
			pl.charset = "unknown-8bit" // RFC 1428 §3
		}
	}
	return nil
}

// checkHeaders tries the headers out that are rewritten.
func (m *Message) checkHeaders() error {
	for i := range m.parts {
		if p := &m.parts[i]; m.plans[i].header && p.Body-p.Header > maxHeader {
			return invalid("a header with 8-bit text has more than %d bytes", maxHeader)
		}
	}
	return nil
}

// WriteTo writes the message as it is after the conversion.
func (m *Message) WriteTo(w io.Writer) (int64, error) {
	out := &sum{w: w}
	c := &conversion{m: m, out: bufio.NewWriterSize(out, 16<<10)}
	_, err := m.original.WriteTo(&walker{m: m, visitor: c})
	if err == nil {
		err = c.out.Flush()
	}
	return out.n, err
}

// sum counts what is written.
type sum struct {
	w io.Writer
	n int64
}

// Write implements io.Writer.
func (s *sum) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.n += int64(n)
	return n, err
}

// conversion is a visitor that writes what becomes of the segments.
type conversion struct {
	m      *Message
	out    *bufio.Writer
	header []byte
	body   encoder // of the leaf at hand; nil: none yet
}

func (c *conversion) piece(s *segment, p []byte) error {
	var pl plan
	if s.part >= 0 {
		pl = c.m.plans[s.part]
	}
	switch {
	case s.kind == head && pl.header:
		c.header = append(c.header, p...)
		return nil
	case c.m.scope == All && s.kind == leaf && pl.seen.high > 0:
		if c.body == nil {
			c.body = newEncoder(c.out, pl.encoding, c.m.parts[s.part].Encoding)
		}
		return c.body.write(p)
	case c.m.scope == All && s.kind == between && !mail.IsASCII(p):
		p = slices.Clone(p) // nobody reads what stands there
		for i := range p {
			if p[i] >= 0x80 {
				p[i] = '?'
			}
		}
	}
	_, err := c.out.Write(p)
	return err
}

func (c *conversion) end(s *segment) error {
	switch {
	case s.kind == head && c.m.plans[s.part].header:
		text, err := c.m.rewrite(s.part, c.header)
		c.header = nil
		if err != nil {
			return err
		}
		_, err = c.out.Write(text)
		return err
	case s.kind == leaf && c.body != nil:
		last := s.end == c.m.segments[len(c.m.segments)-1].end // no line end of a boundary follows
		err := c.body.close(last)
		c.body = nil
		return err
	}
	return nil
}
