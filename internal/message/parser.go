package message

import (
	"bytes"
	"io"
)

// Parser is an io.Writer that reads the message written to it. What it finds
// does not depend on how the bytes are spread over calls of Write.
type Parser struct {
	lim  Limits
	msg  Message
	text textOut
	left int // bytes of fields that may still be kept

	off   int64   // offset of the next byte
	tail  [2]byte // the two bytes before off
	lines int64   // line ends before off
	eol   byte    // the byte that ends lines: LF, or CR in a message from an old Macintosh; 0 while unknown

	open   []entity   // the entities that have begun and not ended, outermost first
	bounds boundaries // of the multiparts among open
	state  state
	header header   // of the innermost entity, in inHeader
	leaf   *content // takes the innermost entity's body; nil where nobody wants it
	bol    bool     // in inBody: off is at the beginning of a line
	begins bool     // in inDelimiter: a part begins behind the line

	line    []byte // what is kept of an unfinished line: of a header, or of a body where it may be a delimiter
	start   int64  // offset of that line
	lineEOL int64  // bytes of the line end before it, where there is one
}

// state is what the next byte belongs to.
type state uint8

const (
	inHeader    state = iota
	inBody            // or a preamble, or an epilogue
	inDelimiter       // the rest of a delimiter line
)

// entity is one that has begun and not ended.
type entity struct {
	part  int   // index in Message.Parts
	lines int64 // line ends before its body
}

// NewParser returns a Parser. Where text is not nil, the decoded text of the
// message (header text, text parts as UTF-8, HTML as text, attachments' names)
// is written to it as it appears; an error of text ends that, not the parse.
// A text that is a FieldWriter gets the outermost header by field instead.
func NewParser(lim Limits, text io.Writer) *Parser {
	p := &Parser{lim: lim.withDefaults(), text: newTextOut(text)}
	p.left = p.lim.Kept
	p.begin(-1, 0, &p.msg.Envelope)
	return p
}

// SkipPreview makes no preview, for those who only want the text.
func (p *Parser) SkipPreview() { p.text.preview.done = true }

// Write takes the next bytes of the message. It never fails.
func (p *Parser) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		var used int
		switch p.state {
		case inHeader:
			used = p.readHeader(b)
		case inBody:
			used = p.readBody(b)
		case inDelimiter:
			used = p.readDelimiter(b)
		}
		p.advance(b[:used])
		b = b[used:]
	}
	return n, nil
}

// advance moves off behind b.
func (p *Parser) advance(b []byte) {
	p.off += int64(len(b))
	switch n := len(b); n {
	case 0:
	case 1:
		p.tail = [2]byte{p.tail[1], b[0]}
	default:
		p.tail = [2]byte(b[n-2:])
	}
}

// Finish returns what the bytes written so far amount to.
func (p *Parser) Finish() *Message {
	switch {
	case p.state == inHeader && len(p.line) > 0:
		p.headerLine(p.line, p.off, false)
	case p.state == inBody && len(p.line) > 0:
		p.decide(p.line)
	}
	p.endHeaders(p.off)
	p.closeTo(0, p.off, p.lines)
	m := &p.msg
	m.Size = p.off
	m.Preview = p.text.preview.String()
	if ids := messageIDs(m.Envelope.MessageID); len(ids) > 0 {
		m.Refs.MessageID = ids[0]
	}
	if len(m.Refs.References) == 0 {
		ids := messageIDs(m.Envelope.InReplyTo)
		m.Refs.References = ids[:min(len(ids), 1)] // RFC 5256 §3
	}
	return m
}

// begin opens a new innermost entity whose header is at off. env takes its
// envelope where it is a message.
func (p *Parser) begin(parent int, off int64, env *Envelope) {
	p.open = append(p.open, entity{part: len(p.msg.Parts)})
	p.msg.Parts = append(p.msg.Parts, Part{Parent: parent, Header: off, Body: off, Encoding: "7bit"})
	p.header.reset(env)
	p.state = inHeader
	p.line = p.line[:0]
}

// closeTo ends the entities at level and deeper; lines are the line ends
// before end.
func (p *Parser) closeTo(level int, end, lines int64) {
	p.endLeaf()
	for ; len(p.open) > level; p.open = p.open[:len(p.open)-1] {
		part := p.part()
		part.End = end
		part.Body = min(part.Body, end)
		part.Header = min(part.Header, end)
		part.Lines = max(lines-p.open[len(p.open)-1].lines, 0)
	}
	p.bounds.cut(level)
}

// part returns the innermost open entity.
func (p *Parser) part() *Part { return &p.msg.Parts[p.open[len(p.open)-1].part] }

// lineEnd returns the number of bytes of b up to and with the end of the line,
// and false where the line does not end in b.
func (p *Parser) lineEnd(b []byte) (int, bool) {
	if p.eol == 0 {
		return p.firstLineEnd(b)
	}
	i := bytes.IndexByte(b, p.eol)
	return i + 1, i >= 0
}

// firstLineEnd is lineEnd in the first line of the message, which tells how
// lines end: by LF, unless it ends by a CR and goes on with a visible character.
func (p *Parser) firstLineEnd(b []byte) (int, bool) {
	last := p.tail[1]
	for i, c := range b {
		switch {
		case last == '\r' && c > ' ' && c < 0x7f:
			p.eol = '\r'
			return i, true
		case last == '\r' || c == '\n':
			p.eol = '\n'
			n, ok := p.lineEnd(b[i:])
			return i + n, ok
		}
		last = c
	}
	return 0, false
}

// readBody takes bytes of a body, up to a line that may be a delimiter.
func (p *Parser) readBody(b []byte) int {
	if len(p.bounds.sorted) == 0 { // only the end of the message ends this body
		p.lines += int64(bytes.Count(b, []byte{p.eol}))
		p.content(b)
		return len(b)
	}
	if p.bol && (len(p.line) > 0 || b[0] == '-') {
		return p.readCandidate(b)
	}
	for i := 0; i < len(b); {
		if p.bol && b[i] == '-' && (i+1 == len(b) || b[i+1] == '-') {
			p.content(b[:i])
			return i
		}
		n := bytes.IndexByte(b[i:], p.eol) + 1
		if p.bol = n > 0; !p.bol {
			break
		}
		p.lines++
		i += n
	}
	p.content(b)
	return len(b)
}

// readCandidate takes bytes of a line that begins with "-", until it is plain
// whether the line is a delimiter.
func (p *Parser) readCandidate(b []byte) int {
	p.startLine()
	enough := len("--") + p.bounds.longest + len("--")
	part := b[:min(len(b), enough-len(p.line))]
	end := bytes.IndexByte(part, p.eol)
	if end >= 0 {
		part = part[:end]
	}
	line := part
	if len(p.line) > 0 || end < 0 {
		p.line = append(p.line, part...)
		line = p.line
	}
	if end >= 0 || len(line) == enough {
		p.decide(line)
	}
	return len(part)
}

// startLine takes note of where a line begins, if one begins at off.
func (p *Parser) startLine() {
	if len(p.line) > 0 {
		return
	}
	p.start, p.lineEOL = p.off, 1
	if p.eol == '\n' && p.tail == [2]byte{'\r', '\n'} {
		p.lineEOL = 2
	}
}

// decide takes the beginning of a line of a body, enough of it to tell whether
// it is a delimiter.
func (p *Parser) decide(line []byte) {
	p.line = p.line[:0]
	if level, closing, ok := p.delimiter(line); ok {
		p.endPart(level, closing)
		p.state = inDelimiter
		return
	}
	p.content(line)
	p.bol = false
}

// delimiter tells whether a line is a delimiter, and of which multipart.
func (p *Parser) delimiter(line []byte) (level int, closing, ok bool) {
	if len(line) < 2 || line[0] != '-' || line[1] != '-' {
		return 0, false, false
	}
	return p.bounds.match(line[2:])
}

// endPart ends what is open inside the multipart at level, whose delimiter
// line begins at p.start. The line end before it is the delimiter's, even where
// it would end a header or stand behind one (RFC 2046 §5.1.1).
func (p *Parser) endPart(level int, closing bool) {
	p.closeTo(level+1, p.start-p.lineEOL, p.lines-1)
	if closing {
		p.bounds.cut(level)
	}
	p.begins = !closing && len(p.msg.Parts) < p.lim.Parts
}

// readDelimiter takes the rest of a delimiter line.
func (p *Parser) readDelimiter(b []byte) int {
	n, ok := p.lineEnd(b)
	if !ok {
		return len(b)
	}
	p.lines++
	p.behindDelimiter(p.off + int64(n))
	return n
}

// behindDelimiter goes on at off, behind a delimiter line.
func (p *Parser) behindDelimiter(off int64) {
	if p.begins {
		p.begin(p.open[len(p.open)-1].part, off, nil)
		return
	}
	p.state, p.bol = inBody, true
}

// content hands on bytes of the innermost entity's body.
func (p *Parser) content(b []byte) {
	if p.leaf == nil {
		return
	}
	p.leaf.write(b)
	if !p.text.wanted() {
		p.leaf = nil
	}
}

// endLeaf ends the innermost entity's content.
func (p *Parser) endLeaf() {
	if p.leaf != nil {
		p.leaf.close()
		p.leaf = nil
	}
	p.text.endPart()
}
