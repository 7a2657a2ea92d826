package imapclient

import (
	"bytes"
	"io"
	"strconv"
	"strings"
	"time"

	"expost/internal/mail"
)

// Fetched is what one FETCH response says of a message. Has… fields tell which
// items it held.
type Fetched struct {
	UID      mail.UID
	Flags    mail.Flags
	Keywords mail.Keywords
	Date     mail.Date
	Size     int64 // RFC822.SIZE: what the server believes
	ModSeq   uint64
	Email    string // EMAILID (RFC 8474)
	Header   string // of BODY[HEADER.FIELDS (…)]

	HasFlags, HasDate, HasSize, HasBody bool
}

// BodyFunc gets the bytes of BODY[] with what came before them in the response.
// It must read to the end or return an error. The end is reported only when the
// rest of the response has proved to be in order: a literal that is announced
// shorter than it is must not pass for a message.
type BodyFunc func(f *Fetched, r io.Reader, size int64) error

// Fetch reads a FETCH response. A nil body skips BODY[].
func (r *Response) Fetch(body BodyFunc) (Fetched, error) {
	var f Fetched
	l := r.line
	l.spaces()
	if !l.accept('(') {
		return f, l.c.garbage(l.buf)
	}
	return f, l.fetchItems(&f, body)
}

// fetchItems reads the items of a response up to its end.
func (l *Line) fetchItems(f *Fetched, body BodyFunc) error {
	for {
		l.spaces()
		if l.accept(')') {
			if !l.atEnd() {
				return l.c.garbage(l.buf)
			}
			return nil
		}
		name := l.atom()
		if !isItemName(name) {
			return l.c.garbage(l.buf)
		}
		if is(name, "BODY[]") || is(name, "RFC822") {
			l.spaces()
			if l.pos == len(l.buf) && l.literal >= 0 {
				return l.fetchLiteral(f, body)
			}
			if err := l.fetchText(f, body); err != nil {
				return err
			}
			continue
		}
		if err := l.fetchItem(f, name); err != nil {
			return err
		}
	}
}

// isItemName tells whether a name may be that of a FETCH item.
func isItemName(name []byte) bool {
	section := bytes.IndexByte(name, '[')
	if section < 0 {
		section = len(name)
	}
	return section > 0 && !bytes.ContainsFunc(name[:section], func(r rune) bool {
		return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune(".-_", r)
	})
}

// fetchItem reads the value of one item.
func (l *Line) fetchItem(f *Fetched, name []byte) (err error) {
	l.spaces()
	switch {
	case is(name, "UID"):
		n, perr := strconv.ParseUint(string(l.atom()), 10, 32)
		if perr != nil {
			return l.c.garbage(l.buf)
		}
		f.UID = mail.UID(n)
	case is(name, "FLAGS"):
		f.Flags, f.Keywords, err = l.flags()
		f.HasFlags = true
	case is(name, "RFC822.SIZE"):
		f.Size, err = strconv.ParseInt(string(l.atom()), 10, 64)
		if f.HasSize = err == nil; !f.HasSize {
			f.Size = 0 // it is a hint, not worth an error
		}
		return nil
	case is(name, "INTERNALDATE"):
		var v Value
		if v, err = l.Value(); err == nil {
			f.Date, f.HasDate = ParseDate(v.Text)
		}
	case is(name, "MODSEQ"):
		var v Value
		if v, err = l.Value(); err == nil && len(v.List) == 1 {
			f.ModSeq, _ = strconv.ParseUint(v.List[0].Text, 10, 64) // 0, unknown, where it is no number
		}
	case is(name, "EMAILID"):
		var v Value
		if v, err = l.Value(); err == nil && len(v.List) == 1 {
			f.Email = v.List[0].Text
		}
	case bytes.HasPrefix(bytes.ToUpper(name), []byte("BODY[HEADER.FIELDS ")):
		var v Value
		v, err = l.Value()
		f.Header = v.Text
	default:
		_, err = l.Value()
	}
	return err
}

// is compares without regard to case, without a copy.
func is(name []byte, want string) bool {
	return len(name) == len(want) && strings.EqualFold(string(name), want)
}

// fetchText reads a message that is no literal: NIL, which is none, or by some
// servers a quoted string.
func (l *Line) fetchText(f *Fetched, body BodyFunc) error {
	v, err := l.Value()
	if err != nil || v.IsNil {
		return err
	}
	f.HasBody = true
	if body == nil {
		return nil
	}
	return body(f, strings.NewReader(v.Text), int64(len(v.Text)))
}

// fetchLiteral passes a literal on and reads the rest of the response.
func (l *Line) fetchLiteral(f *Fetched, body BodyFunc) error {
	size := l.literal
	lit, err := l.stream()
	if err != nil {
		return err
	}
	f.HasBody = true
	r := &bodyReader{literal: lit, line: l, fetched: f}
	if body != nil {
		if err := body(f, r, size); err != nil {
			return err
		}
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	return nil
}

// bodyReader is a literal whose end is that of the whole response.
type bodyReader struct {
	literal *literalReader
	line    *Line
	fetched *Fetched
	err     error // once the literal has been read
}

// Read reads.
func (b *bodyReader) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.literal.Read(p)
	if err != io.EOF {
		return n, err
	}
	b.err = b.rest()
	return n, b.err
}

// rest reads what follows the literal, and returns io.EOF where it is in order.
func (b *bodyReader) rest() error {
	l := b.line
	if err := l.endBody(); err != nil {
		return err
	}
	if next := l.peek(); next != ' ' && next != ')' {
		return l.c.garbage(l.buf)
	}
	if err := l.fetchItems(b.fetched, nil); err != nil {
		return err
	}
	return io.EOF
}

// flags reads a list of flags. Keywords that no mailbox could keep, and
// backslash flags that no standard knows, are dropped.
func (l *Line) flags() (mail.Flags, mail.Keywords, error) {
	if !l.accept('(') {
		return 0, mail.Keywords{}, l.c.garbage(l.buf)
	}
	var flags mail.Flags
	var words []string
	for {
		l.spaces()
		start := l.pos
		for l.pos < len(l.buf) && l.buf[l.pos] != ' ' && l.buf[l.pos] != ')' {
			l.pos++
		}
		if w := l.buf[start:l.pos]; len(w) > 0 {
			if f := systemFlag(w); f != 0 {
				flags |= f
			} else if isKeyword(w) {
				words = append(words, string(w))
			}
		}
		if l.accept(')') {
			return flags, mail.NewKeywords(words...), nil
		}
		if l.pos >= len(l.buf) {
			return 0, mail.Keywords{}, l.c.garbage(l.buf)
		}
	}
}

// systemFlag returns the flag of a name, or 0.
func systemFlag(w []byte) mail.Flags {
	if w[0] != '\\' {
		return 0
	}
	switch {
	case is(w, `\Seen`):
		return mail.Seen
	case is(w, `\Answered`):
		return mail.Answered
	case is(w, `\Flagged`):
		return mail.Flagged
	case is(w, `\Deleted`):
		return mail.Deleted
	case is(w, `\Draft`):
		return mail.Draft
	}
	return 0
}

// isKeyword tells whether w is an atom (RFC 9051 §9).
func isKeyword(w []byte) bool {
	return !bytes.ContainsFunc(w, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`(){%*"\]`, r)
	})
}

// ParseDate reads an INTERNALDATE (RFC 9051 §9 date-time), also with a space
// or nothing for the first digit of the day, and without a zone.
func ParseDate(s string) (mail.Date, bool) {
	s = strings.TrimSpace(s)
	for _, layout := range []string{"2-Jan-2006 15:04:05 -0700", "_2-Jan-2006 15:04:05 -0700", "2-Jan-2006 15:04:05"} {
		if t, err := time.Parse(layout, s); err == nil {
			return mail.DateOf(t), true
		}
	}
	return mail.Date{}, false
}
