package delivery

import (
	"bytes"
	"hash/maphash"
	"io"
	"strings"

	"expost/internal/mail"
	"expost/internal/mailauth"
)

// headerBuffer is how much of a header is looked at at once. A longer line is
// passed on in pieces.
const headerBuffer = 4 << 10

// header reads a message and mends its header on the way, in bounded memory:
// it counts Received, drops fields that are not the sender's to give, closes a
// header that a line without a colon ends, and, for a message that an author's
// program submits, drops Bcc and adds Date and Message-ID. The body passes as it is.
type header struct {
	src io.Reader
	sum maphash.Hash // of the bytes of src

	authserv    string // Authentication-Results of this name are forged; empty: none are
	submitted   bool
	maxReceived int
	received    int
	hostname    string  // this host's
	passes      int     // Received fields that it has written
	inReceived  bool    // within such a field that has not named its host yet
	date, id    string  // values of missing fields; emptied once the message has them
	messageID   string  // as found or added, for the log
	junk        bool    // a content filter says that it is spam
	authors     authors // of a submitted message
	atField     bool    // the next piece begins the field
	capture     *[]byte // the value of the field at hand is wanted here; nil: it is not

	// check returns the fields to add for what is known of the authors, or
	// refuses the message; nil: any author will do.
	check func(*authors) ([]byte, error)

	in   []byte // read and not looked at yet
	out  []byte // ready to be returned
	buf  []byte // what out is made in
	line int    // fields and lines seen
	skip bool   // within a field that is dropped
	mid  bool   // within a line that is longer than the buffer
	done bool   // the header has ended
	err  error  // of src
}

// maxAuthors bounds From and Sender, in bytes.
const maxAuthors = 64 << 10

// authors are the fields that say whom a message is from, as they stand in it.
type authors struct {
	from, sender         []byte // values, folded as they are
	fromCount, sendCount int
	tooLong              bool
}

// keep appends a piece of a field's value.
func (a *authors) keep(to *[]byte, p []byte) {
	if len(*to)+len(p) > maxAuthors {
		a.tooLong = true
		return
	}
	*to = append(*to, p...)
}

// newHeader returns a header; reset makes it ready for a message.
func newHeader() *header {
	return &header{in: make([]byte, 0, headerBuffer), buf: make([]byte, 0, headerBuffer+256)}
}

// reset makes h read from src, which may not be read by others.
func (h *header) reset(src io.Reader, seed maphash.Seed, maxReceived int) {
	*h = header{src: src, maxReceived: maxReceived, in: h.in[:0], buf: h.buf[:0]}
	h.sum.SetSeed(seed)
}

// submit makes h treat the message as one that its author's program hands in;
// date and id are the values for missing fields.
func (h *header) submit(date, id string) {
	h.submitted, h.date, h.id = true, date, id
}

// Read returns the next bytes of the mended message.
func (h *header) Read(p []byte) (int, error) {
	for len(h.out) == 0 {
		if h.done && len(h.in) == 0 {
			return h.readBody(p)
		}
		if err := h.advance(); err != nil {
			return 0, err
		}
	}
	n := copy(p, h.out)
	h.out = h.out[n:]
	return n, nil
}

func (h *header) readBody(p []byte) (int, error) {
	if h.err != nil {
		return 0, h.err
	}
	n, err := h.src.Read(p)
	_, _ = h.sum.Write(p[:n])
	return n, err
}

// advance reads more and makes out of it what it can.
func (h *header) advance() error {
	if h.err == nil && len(h.in) < cap(h.in) && !h.done {
		n, err := h.src.Read(h.in[len(h.in):cap(h.in)])
		_, _ = h.sum.Write(h.in[len(h.in) : len(h.in)+n])
		h.in, h.err = h.in[:len(h.in)+n], err
	}
	if h.err != nil && h.err != io.EOF {
		return h.err
	}
	h.buf = h.buf[:0]
	rest := h.in
	for len(rest) > 0 && !h.done {
		end := bytes.IndexByte(rest, '\n') + 1
		if end == 0 {
			if h.err == nil && len(rest) < cap(h.in) {
				break
			}
			end = len(rest)
		}
		if err := h.piece(rest[:end]); err != nil {
			return err
		}
		rest = rest[end:]
	}
	if !h.done && h.err == io.EOF {
		if h.mid && !h.skip {
			h.buf = append(h.buf, "\r\n"...)
		}
		if err := h.finish(); err != nil {
			return err
		}
	}
	if h.done {
		h.buf = append(h.buf, rest...)
		rest = nil
	}
	h.in = h.in[:copy(h.in[:cap(h.in)], rest)]
	h.out = h.buf
	return nil
}

// piece takes a line of the header, or the next piece of a long one.
func (h *header) piece(p []byte) error {
	start := !h.mid
	h.mid = p[len(p)-1] != '\n'
	if start {
		if err := h.begin(p); err != nil {
			return err
		}
	}
	if h.capture != nil {
		if start && h.atField {
			_, p, _ := bytes.Cut(p, []byte(":"))
			h.authors.keep(h.capture, p)
		} else {
			h.authors.keep(h.capture, p)
		}
		h.atField = false
	}
	if h.inReceived && namesHost(p, h.hostname) {
		h.passes++
		h.inReceived = false
	}
	if !h.skip {
		h.buf = append(h.buf, p...)
	}
	return nil
}

// namesHost tells whether a piece of a Received field says "by hostname".
func namesHost(p []byte, hostname string) bool {
	for {
		i := bytes.Index(p, []byte("by "))
		if i < 0 {
			return false
		}
		start := i == 0 || p[i-1] == ' ' || p[i-1] == '\t'
		p = bytes.TrimLeft(p[i+3:], " \t")
		if start && len(p) > len(hostname) && strings.EqualFold(string(p[:len(hostname)]), hostname) && strings.IndexByte(" \t\r\n;(", p[len(hostname)]) >= 0 {
			return true
		}
	}
}

// begin decides what becomes of the line that starts with p.
func (h *header) begin(p []byte) error {
	first := h.line == 0
	h.line++
	if (p[0] == ' ' || p[0] == '\t') && !first {
		return nil // a folded line shares the fate of its field
	}
	h.skip, h.inReceived, h.capture = false, false, nil
	if p[0] == '\n' || bytes.HasPrefix(p, []byte("\r\n")) {
		return h.finish()
	}
	name := fieldName(p)
	if name == nil {
		if first && (bytes.HasPrefix(p, []byte("From ")) || bytes.HasPrefix(p, []byte(">From "))) {
			h.buf = append(h.buf, "X-Mailbox-Line: "...)
			return nil
		}
		if err := h.finish(); err != nil {
			return err
		}
		h.buf = append(h.buf, "\r\n"...)
		return nil
	}
	return h.field(name, p)
}

// field looks at a field that starts with p.
func (h *header) field(name, p []byte) error {
	switch {
	case equalFold(name, "received"):
		h.inReceived = h.hostname != ""
		if h.received++; h.received > h.maxReceived {
			return refuse("5.4.6", mail.KindInvalid, "the message has passed through more than %d hosts: it goes round in a loop", h.maxReceived)
		}
	case equalFold(name, "return-path"):
		h.skip = true
	case equalFold(name, "authentication-results"):
		_, value, _ := bytes.Cut(p, []byte(":"))
		h.skip = h.authserv != "" && mailauth.Forged(value, h.authserv)
	case h.check != nil && equalFold(name, "from"):
		h.authors.fromCount++
		h.capture, h.atField = &h.authors.from, true
	case h.check != nil && equalFold(name, "sender"):
		h.authors.sendCount++
		h.capture, h.atField, h.skip = &h.authors.sender, true, true
	case equalFold(name, "bcc"), equalFold(name, "resent-bcc"):
		h.skip = h.submitted
	case equalFold(name[:min(len(name), 2)], "x-"):
		_, value, _ := bytes.Cut(p, []byte(":"))
		h.junk = h.junk || saysJunk(name, value)
	case equalFold(name, "date"):
		h.date = ""
	case equalFold(name, "message-id"):
		h.id = ""
		_, value, _ := bytes.Cut(p, []byte(":"))
		if value = bytes.TrimSpace(value); len(value) <= 998 {
			h.messageID = string(value)
		}
	}
	return nil
}

// finish ends the header, adding what a submitted message lacks.
func (h *header) finish() error {
	h.done, h.skip, h.capture = true, false, nil
	if !h.submitted {
		return nil
	}
	if h.check != nil {
		fields, err := h.check(&h.authors)
		if err != nil {
			return err
		}
		h.buf = append(h.buf, fields...)
	}
	if h.date != "" {
		h.buf = append(append(append(h.buf, "Date: "...), h.date...), "\r\n"...)
	}
	if h.id != "" {
		h.buf = append(append(append(h.buf, "Message-ID: "...), h.id...), "\r\n"...)
		h.messageID = h.id
	}
	return nil
}

// fieldName returns the name of the field that a line starts with (RFC 5322
// §2.2, and the white space before the colon of §4.5), or nil where it is none.
func fieldName(line []byte) []byte {
	for i, c := range line {
		switch {
		case c == ':':
			if i == 0 {
				return nil
			}
			return bytes.TrimRight(line[:i], " \t")
		case c == ' ' || c == '\t':
			if rest := bytes.TrimLeft(line[i:], " \t"); i == 0 || len(rest) == 0 || rest[0] != ':' {
				return nil
			}
		case c < ' ' || c == 0x7f:
			return nil
		}
	}
	return nil
}

// equalFold compares a field name with one in lower case.
func equalFold(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
