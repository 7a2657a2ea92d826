package milter

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-milter"
)

// maxHeader is the largest header that filters can work on, in bytes.
const maxHeader = 2 << 20

// Outcome is what the filters make of a message.
type Outcome struct {
	Verdict
	Hold    string    // why it is to be held; empty: it is not
	From    *string   // the sender from now on; nil: unchanged
	Added   []string  // recipients
	Deleted []string  // recipients
	Text    io.Reader // the message from now on; nil: unchanged
}

// Message shows the filters a message, size bytes with CRLF line ends, and
// returns what they make of it. text must stay readable as long as Outcome.Text is read.
func (s *Session) Message(ctx context.Context, text io.ReaderAt, size int64) Outcome {
	out := Outcome{}
	m, err := readMessage(text, size)
	if err != nil {
		out.Verdict = Verdict{Action: Refuse, Code: 554, Status: "5.6.0", Text: err.Error()}
		s.Abort()
		return out
	}
	for _, p := range s.peers {
		if p.pass || p.done || p.cs == nil {
			continue
		}
		p.link.within(p.MessageTimeout)
		acts, v, err := s.show(p, m)
		if err == nil && !v.final() {
			err = out.apply(m, acts)
		}
		if err != nil {
			v = s.away(p, err)
		}
		if v.final() {
			out.Verdict = v
			s.Abort()
			return out
		}
		if ctx.Err() != nil {
			out.Verdict = Verdict{Action: Refuse, Code: 451, Status: "4.3.2", Text: "the server is shutting down"}
			return out
		}
	}
	if out.Hold == "" {
		out.Hold = s.hold
	}
	s.Abort()
	if m.changed {
		out.Text = m.reader()
	}
	return out
}

// show sends one filter the message and returns its answer.
func (s *Session) show(p *peer, m *message) ([]milter.ModifyAction, Verdict, error) {
	if v, err := s.dataCommand(p); err != nil || v.final() || p.done {
		return nil, v, err
	}
	if p.tells(Header) {
		p.skips = false
		for _, f := range m.fields {
			if p.skips || p.cs.ProtocolOption(milter.OptNoHeaders) {
				break
			}
			v, err := p.event(milter.CodeHeader, []byte(f.name+"\x00"+strings.ReplaceAll(f.value(), "\x00", "")+"\x00"), milter.OptNoHeaderReply)
			if err != nil || v.final() || p.done {
				return nil, v, err
			}
		}
		if err := p.cs.Macros(milter.CodeEOH, "i", s.env.ID); err != nil {
			return nil, Verdict{}, err
		}
		v, err := p.verdict(p.cs.HeaderEnd())
		if err != nil || v.final() || p.done {
			return nil, v, err
		}
	}
	if p.tells(Body) && !p.cs.ProtocolOption(milter.OptNoBody) {
		if v, err := p.body(m); err != nil || v.final() || p.done {
			return nil, v, err
		}
	}
	if err := p.cs.Macros(milter.CodeEOB, "i", s.env.ID); err != nil {
		return nil, Verdict{}, err
	}
	acts, act, err := p.cs.End()
	v, err := p.verdict(act, err)
	p.open, p.done = false, false
	return acts, v, err
}

// dataCommand tells a filter of the DATA command, which came with version 4 of
// the protocol.
func (s *Session) dataCommand(p *peer) (Verdict, error) {
	if !p.modern || p.cs.ProtocolOption(milter.OptNoData) {
		return Verdict{}, nil
	}
	if err := p.cs.Macros(milter.CodeData, "i", s.env.ID); err != nil {
		return Verdict{}, err
	}
	return p.event(milter.CodeData, nil, milter.OptNoDataReply)
}

// event tells a filter of what go-milter's client cannot: DATA, and fields and
// pieces of a body whose rest the filter may want to skip.
func (p *peer) event(code milter.Code, data []byte, silent milter.OptProtocol) (Verdict, error) {
	if err := p.link.SetWriteDeadline(time.Time{}); err != nil {
		return Verdict{}, err
	}
	packet := append(binary.BigEndian.AppendUint32(nil, uint32(len(data)+1)), byte(code))
	if _, err := p.link.Write(append(packet, data...)); err != nil {
		return Verdict{}, err
	}
	if p.cs.ProtocolOption(silent) {
		return Verdict{}, nil
	}
	act, err := p.link.answer()
	return p.verdict(act, err)
}

// maxReply is the largest answer to such an event, in bytes: a reply of SMTP.
const maxReply = 4 << 10

// answer reads the answer to an event.
func (l *link) answer() (*milter.Action, error) {
	for {
		if err := l.SetReadDeadline(time.Time{}); err != nil {
			return nil, err
		}
		var size [4]byte
		if _, err := io.ReadFull(l, size[:]); err != nil {
			return nil, err
		}
		n := binary.BigEndian.Uint32(size[:])
		if n == 0 || n > maxReply {
			return nil, fmt.Errorf("the filter answers with %d bytes", n)
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(l, b); err != nil {
			return nil, err
		}
		act := &milter.Action{Code: milter.ActionCode(b[0])}
		if act.Code == 'p' { // it is still at work
			continue
		}
		if act.Code == milter.ActReplyCode {
			code, text, _ := strings.Cut(strings.TrimRight(string(b[1:]), "\x00"), " ")
			act.SMTPCode, _ = strconv.Atoi(code) // what is no number is refused by verdict
			act.SMTPText = text
		}
		return act, nil
	}
}

// body sends the body in pieces.
func (p *peer) body(m *message) (Verdict, error) {
	p.skips = false
	r := m.bodyReader()
	buf := make([]byte, milter.MaxBodyChunk)
	for {
		n, err := io.ReadFull(r, buf)
		if n > 0 {
			v, err := p.event(milter.CodeBody, buf[:n], milter.OptNoBodyReply)
			if err != nil || v.final() || p.done || p.skips {
				return v, err
			}
		}
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			return Verdict{}, nil
		default:
			return Verdict{}, fmt.Errorf("reading the message: %w", err)
		}
	}
}

// apply carries out what a filter wants changed.
func (o *Outcome) apply(m *message, acts []milter.ModifyAction) error {
	var body bytes.Buffer
	replaced := false
	for _, a := range acts {
		switch a.Code {
		case milter.ActAddHeader, milter.ActInsertHeader, milter.ActChangeHeader:
			if err := m.change(a); err != nil {
				return err
			}
		case milter.ActReplBody:
			replaced = true
			body.Write(a.Body)
		case milter.ActAddRcpt:
			o.Added = append(o.Added, bare(a.Rcpt))
		case milter.ActDelRcpt:
			o.Deleted = append(o.Deleted, bare(a.Rcpt))
		case milter.ActChangeFrom:
			from := bare(a.From)
			o.From = &from
		case milter.ActQuarantine:
			if o.Hold = a.Reason; o.Hold == "" {
				o.Hold = "a content filter said so"
			}
		}
	}
	if replaced {
		m.replacement, m.replaced, m.changed = crlf(body.Bytes()), true, true
	}
	return nil
}

// bare returns an address without brackets.
func bare(address string) string {
	return strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(address), "<"), ">")
}

// message is a message in parts that can be changed.
type message struct {
	fields      []field
	text        io.ReaderAt
	body, size  int64 // where the body begins and ends
	replacement []byte
	replaced    bool
	changed     bool
}

// field is a header field.
type field struct {
	name string
	raw  []byte // the whole, CRLF at each line's end
}

// value is the field's value as milters want it: folded as it is, LF line ends.
func (f field) value() string {
	_, v, _ := bytes.Cut(f.raw, []byte(":"))
	v = bytes.TrimSuffix(v, []byte("\r\n"))
	if len(v) > 0 && v[0] == ' ' {
		v = v[1:]
	}
	return string(bytes.ReplaceAll(v, []byte("\r\n"), []byte("\n")))
}

// readMessage takes a message apart.
func readMessage(text io.ReaderAt, size int64) (*message, error) {
	m := &message{text: text, size: size}
	head, at := []byte(nil), int64(0)
	for n := int64(16 << 10); ; n *= 4 {
		head = make([]byte, min(n, size))
		if _, err := text.ReadAt(head, 0); err != nil && err != io.EOF {
			return nil, fmt.Errorf("reading the message: %w", err)
		}
		if at = headerEnd(head); at >= 0 {
			break
		}
		if int64(len(head)) == size {
			at = size
			break
		}
		if n >= maxHeader {
			return nil, fmt.Errorf("the header has more than %d bytes", maxHeader)
		}
	}
	m.body = at
	m.split(head[:at])
	return m, nil
}

// headerEnd returns where the body begins: behind the empty line; -1: not in sight.
func headerEnd(head []byte) int64 {
	if bytes.HasPrefix(head, []byte("\r\n")) {
		return 2
	}
	if i := bytes.Index(head, []byte("\r\n\r\n")); i >= 0 {
		return int64(i) + 4
	}
	return -1
}

// split makes fields of a header. A line that is none belongs to the field
// before it, as a folded one does.
func (m *message) split(head []byte) {
	for len(head) > 0 {
		end := len(head)
		if i := bytes.Index(head, []byte("\r\n")); i >= 0 {
			end = i + 2
		}
		line := head[:end]
		head = head[end:]
		if string(line) == "\r\n" {
			break
		}
		name, _, ok := bytes.Cut(line, []byte(":"))
		name = bytes.TrimRight(name, " \t")
		if last := len(m.fields) - 1; last >= 0 && (line[0] == ' ' || line[0] == '\t' || !ok || !isName(name)) {
			m.fields[last].raw = append(m.fields[last].raw, line...)
			continue
		}
		m.fields = append(m.fields, field{string(name), bytes.Clone(line)})
	}
}

func isName(name []byte) bool {
	for _, c := range name {
		if c <= ' ' || c >= 0x7f || c == ':' {
			return false
		}
	}
	return len(name) > 0
}

// change carries out a change of the header.
func (m *message) change(a milter.ModifyAction) error {
	if !isName([]byte(a.HeaderName)) {
		return fmt.Errorf("the filter adds a field with the name %q", a.HeaderName)
	}
	m.changed = true
	f := newField(a.HeaderName, a.HeaderValue)
	switch a.Code {
	case milter.ActInsertHeader:
		// Position 0 is above the Received field of this host, 1 below it;
		// either is the top here, since that field is added later.
		at := min(max(int(min(a.HeaderIndex, 1<<20))-1, 0), len(m.fields))
		m.fields = append(m.fields[:at], append([]field{f}, m.fields[at:]...)...)
		return nil
	case milter.ActChangeHeader:
		count := uint32(0)
		for i := range m.fields {
			if !strings.EqualFold(m.fields[i].name, a.HeaderName) {
				continue
			}
			if count++; count != max(a.HeaderIndex, 1) {
				continue
			}
			if a.HeaderValue == "" {
				m.fields = append(m.fields[:i], m.fields[i+1:]...)
			} else {
				m.fields[i] = f
			}
			return nil
		}
		if a.HeaderValue == "" {
			return nil // gone already
		}
	}
	m.fields = append(m.fields, f)
	return nil
}

// newField makes a field that cannot be anything but one.
func newField(name, value string) field {
	value = strings.NewReplacer("\r\n", "\n", "\r", " ", "\x00", " ").Replace(value)
	lines := strings.Split(strings.TrimRight(value, "\n"), "\n")
	var b strings.Builder
	b.WriteString(name + ":")
	for i, line := range lines {
		switch {
		case i > 0 && strings.TrimSpace(line) == "":
			continue // an empty line would end the header
		case !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "\t"):
			b.WriteByte(' ')
		}
		b.WriteString(line + "\r\n")
	}
	return field{name, []byte(b.String())}
}

// bodyReader reads the body as it is now.
func (m *message) bodyReader() io.Reader {
	if m.replaced {
		return bytes.NewReader(m.replacement)
	}
	return io.NewSectionReader(m.text, m.body, m.size-m.body)
}

// reader reads the message as it is now.
func (m *message) reader() io.Reader {
	var head bytes.Buffer
	for _, f := range m.fields {
		head.Write(f.raw)
		if !bytes.HasSuffix(f.raw, []byte("\r\n")) {
			head.WriteString("\r\n")
		}
	}
	head.WriteString("\r\n")
	return io.MultiReader(&head, m.bodyReader())
}

// crlf returns b with CRLF as its only line end.
func crlf(b []byte) []byte {
	b = bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))
	b = bytes.ReplaceAll(b, []byte("\r"), []byte("\n"))
	return bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))
}
