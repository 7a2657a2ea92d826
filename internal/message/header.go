package message

import (
	"bytes"
	"strings"
)

// header collects the fields of one entity's header.
type header struct {
	env         *Envelope // of the entity, where it is a message
	field       []byte    // the field that is being read, still folded
	size        int64     // bytes of the block so far
	contentType bool      // there was a Content-Type
	boundary    string
}

func (h *header) reset(env *Envelope) { *h = header{env: env, field: h.field[:0]} }

// readHeader takes a line of the header, or what there is of it.
func (p *Parser) readHeader(b []byte) int {
	p.startLine()
	n, ok := p.lineEnd(b)
	if !ok {
		p.hold(b)
		return len(b)
	}
	line := b[:n]
	if len(p.line) > 0 {
		p.hold(line)
		line, p.line = p.line, p.line[:0]
	}
	p.headerLine(line, p.off+int64(n), true)
	return n
}

// hold keeps b of an unfinished header line, within the limit.
func (p *Parser) hold(b []byte) {
	p.line = append(p.line, b[:min(len(b), p.lim.HeaderSize-len(p.line))]...)
}

// headerLine takes a line of a header; next is the offset behind it. The last
// one of a message may have no end.
func (p *Parser) headerLine(line []byte, next int64, ended bool) {
	if level, closing, ok := p.delimiter(line); ok {
		p.endHeaders(p.start)
		p.endPart(level, closing)
		if ended {
			p.lines++
			p.behindDelimiter(next)
		} else {
			p.state = inDelimiter
		}
		return
	}
	if ended {
		p.lines++
	}
	text := bytes.Trim(line, "\r\n")
	if len(text) == 0 {
		p.endHeader(next)
		return
	}
	h := &p.header
	h.size += next - p.start
	if text[0] != ' ' && text[0] != '\t' {
		p.endField()
	}
	if h.size <= int64(p.lim.Headers) {
		h.field = append(h.field, line[:min(len(line), p.lim.HeaderSize-len(h.field))]...)
	}
}

// endHeaders ends the headers that nothing follows; the header of a message
// part may have that of the message behind it, which is empty.
func (p *Parser) endHeaders(off int64) {
	for p.state == inHeader {
		p.endHeader(off)
	}
}

// endHeader ends the innermost entity's header: its body is at off.
func (p *Parser) endHeader(off int64) {
	p.endField()
	e := &p.open[len(p.open)-1]
	e.lines = p.lines
	part := p.part()
	part.Body = off
	p.state, p.bol = inBody, true
	if !p.header.contentType {
		part.Type, part.Subtype = "text", "plain"
		if part.Parent >= 0 && p.header.env == nil && p.msg.Parts[part.Parent].Subtype == "digest" {
			part.Type, part.Subtype = "message", "rfc822" // RFC 2046 §5.1.5
		}
	}
	deep := len(p.open) > p.lim.Depth
	switch {
	case part.IsMultipart() && p.header.boundary != "" && !deep:
		p.bounds.add(p.header.boundary, len(p.open)-1)
	case part.IsMessage() && !deep && len(p.msg.Parts) < p.lim.Parts:
		part.Envelope = &Envelope{}
		p.begin(e.part, off, part.Envelope)
	default:
		p.leaf = p.text.begin(part)
	}
}

// endField takes the field that was being read.
func (p *Parser) endField() {
	raw := p.header.field
	p.header.field = raw[:0]
	colon := bytes.IndexByte(raw, ':')
	if colon <= 0 {
		return
	}
	name := bytes.TrimRight(raw[:colon], " \t")
	if len(name) == 0 || bytes.ContainsAny(name, " \t\r\n") { // "From ajay Mon Jan  5 10:00:00 2004"
		return
	}
	p.fieldText(name, raw[colon+1:])
	var lower [32]byte
	if len(name) > len(lower) {
		return
	}
	n := copy(lower[:], name)
	for i, c := range lower[:n] {
		if 'A' <= c && c <= 'Z' {
			lower[i] = c + 'a' - 'A'
		}
	}
	if rest, ok := bytes.CutPrefix(lower[:n], []byte("content-")); ok {
		p.mimeField(rest, raw[colon+1:])
	} else if p.header.env != nil {
		p.envelopeField(lower[:n], raw[colon+1:])
	}
}

// fieldText hands a field on to who wants the text.
func (p *Parser) fieldText(name, raw []byte) {
	if p.text.w == nil || p.header.env == nil {
		return
	}
	p.text.field(lenientUTF8(string(name)), DecodeHeader(unfold(raw)), len(p.open) == 1)
}

// keep returns a field's value, or nothing where too much is kept already.
func (p *Parser) keep(raw []byte) string {
	const overhead = 32
	s := unfold(raw)
	if p.left -= len(s) + overhead; p.left < 0 {
		p.left = 0
		return ""
	}
	return s
}

// envelopeField takes a field of a message's header; name is in lower case.
// Of a field that is there twice the first counts; address lists add up.
func (p *Parser) envelopeField(name, raw []byte) {
	env := p.header.env
	switch string(name) {
	case "date":
		p.first(&env.Date, raw)
	case "subject":
		p.first(&env.Subject, raw)
	case "message-id":
		p.first(&env.MessageID, raw)
	case "in-reply-to":
		p.first(&env.InReplyTo, raw)
	case "references":
		if len(p.open) == 1 && p.msg.Refs.References == nil {
			p.msg.Refs.References = messageIDs(p.keep(raw))
		}
	case "from":
		p.addresses(&env.From, raw)
	case "sender":
		p.addresses(&env.Sender, raw)
	case "reply-to":
		p.addresses(&env.ReplyTo, raw)
	case "to":
		p.addresses(&env.To, raw)
	case "cc":
		p.addresses(&env.Cc, raw)
	case "bcc":
		p.addresses(&env.Bcc, raw)
	}
}

// first sets *s to a field's value where it is not set yet.
func (p *Parser) first(s *string, raw []byte) {
	if *s == "" {
		*s = p.keep(raw)
	}
}

// addresses appends a field's addresses to *list.
func (p *Parser) addresses(list *[]Address, raw []byte) {
	const size = 64 // of an Address
	all := ParseAddressList(p.keep(raw))
	all = all[:min(len(all), p.left/size)]
	p.left -= len(all) * size
	*list = append(*list, all...)
}

// mimeField takes a Content- field; name is in lower case and without that.
func (p *Parser) mimeField(name, raw []byte) {
	part := p.part()
	switch string(name) {
	case "type":
		p.contentType(part, raw)
	case "transfer-encoding":
		if v := mediaToken(unfold(raw)); v != "" {
			part.Encoding = p.keep([]byte(v))
		}
	case "id":
		p.first(&part.ID, raw)
	case "description":
		p.first(&part.Description, raw)
		p.text.name(part.Description)
	case "md5":
		p.first(&part.MD5, raw)
	case "location":
		p.first(&part.Location, raw)
	case "disposition":
		if part.Disposition != "" {
			return
		}
		v := p.keep(raw)
		part.Disposition = mediaToken(v)
		part.DispParams = p.params(v)
		p.text.name(paramValue(part.DispParams, "filename"))
	case "language":
		for tag := range strings.FieldsFuncSeq(p.keep(raw), func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
			part.Language = append(part.Language, tag)
		}
	}
}

// contentType takes the Content-Type of part; the first one counts.
func (p *Parser) contentType(part *Part, raw []byte) {
	if p.header.contentType {
		return
	}
	v := p.keep(raw)
	if v == "" {
		return
	}
	p.header.contentType = true
	part.Type, part.Subtype = parseMediaType(v)
	part.Params = p.params(v)
	p.text.name(part.Param("name"))
	if part.IsMultipart() {
		p.header.boundary = strings.TrimRight(part.Param("boundary"), " \t")
	}
}

// params returns the parameters of a field's value.
func (p *Parser) params(v string) []Param {
	const size = 32 // of a Param
	params := parseParams(v)
	params = params[:min(len(params), p.left/size)]
	p.left -= len(params) * size
	return params
}

// unfold returns a field's value without NULs and surrounding space, and with
// a space for each line end and the space around it.
func unfold(raw []byte) string {
	raw = bytes.Trim(raw, " \t\r\n\x00")
	if bytes.IndexByte(raw, '\r') < 0 && bytes.IndexByte(raw, '\n') < 0 && bytes.IndexByte(raw, 0) < 0 {
		return string(raw)
	}
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case 0:
		case '\r', '\n':
			out = append(bytes.TrimRight(out, " \t"), ' ')
			for strings.IndexByte(" \t\r\n\x00", raw[i+1]) >= 0 { // raw does not end so
				i++
			}
		default:
			out = append(out, raw[i])
		}
	}
	return string(out)
}

// messageIDs returns the message ids in s without their angle brackets. A
// single word is one without brackets.
func messageIDs(s string) []string {
	if words := strings.Fields(s); len(words) == 1 && !strings.Contains(s, "<") {
		return words
	}
	var ids []string
	for {
		_, rest, ok := strings.Cut(s, "<")
		if !ok {
			return ids
		}
		id, rest, ok := strings.Cut(rest, ">")
		if !ok {
			return ids
		}
		if id = strings.Join(strings.Fields(id), ""); id != "" {
			ids = append(ids, id)
		}
		s = rest
	}
}
