package sevenbit

import (
	"bufio"
	"encoding/base64"
	"io"
)

// lineLength is the longest line that is written, without its end (RFC 2045 §6.7, §6.8).
const lineLength = 76

// encoder encodes the body of a part.
type encoder interface {
	write(p []byte) error
	close(last bool) error // last: nothing follows that begins with a line end
}

// newEncoder returns the encoder of a part: to an encoding, or where that is
// empty one that mends what has the encoding old.
func newEncoder(out *bufio.Writer, encoding, old string) encoder {
	switch {
	case encoding == "quoted-printable":
		return &quoted{out: out}
	case encoding == "base64":
		lines := &wrapped{out: out}
		return &base64Encoder{base64.NewEncoder(base64.StdEncoding, lines), lines}
	case old == "quoted-printable":
		return &quoted{out: out, mends: true}
	}
	return asterisks{out}
}

// maxLine is how long a line may be that another program has made.
const maxLine = 900

const hexDigits = "0123456789ABCDEF"

// quoted writes quoted-printable. No line begins with "-", so none can become a
// boundary that was not one.
type quoted struct {
	out   *bufio.Writer
	mends bool // what comes is quoted-printable already, but for some bytes
	col   int
	space byte // a blank or tab that is not written yet; 0: none
	cr    bool // a CR that is not written yet
}

func (q *quoted) write(p []byte) error {
	for _, c := range p {
		if q.cr {
			q.cr = false
			if c == '\n' {
				q.lineEnd()
				continue
			}
			q.escape('\r')
		}
		if c == '\r' {
			q.cr = true
			continue
		}
		q.flushSpace(false)
		switch {
		case c == ' ' || c == '\t':
			q.space = c
		case c == '-' && q.col == 0 && !q.mends, c == '=' && !q.mends, c < ' ', c >= 0x7f:
			q.escape(c)
		default:
			q.literal(c)
		}
	}
	return nil // the writer keeps its error
}

// flushSpace writes a blank that waits: escaped at the end of a line.
func (q *quoted) flushSpace(atEnd bool) {
	if c := q.space; c != 0 {
		if q.space = 0; atEnd && !q.mends {
			q.escape(c)
		} else {
			q.literal(c)
		}
	}
}

func (q *quoted) lineEnd() {
	q.flushSpace(true)
	_, _ = q.out.WriteString("\r\n")
	q.col = 0
}

// room begins a new line where n bytes more do not fit.
func (q *quoted) room(n int) {
	if q.col+n > lineLength-1 && !q.mends || q.col+n > maxLine {
		_, _ = q.out.WriteString("=\r\n")
		q.col = 0
	}
}

func (q *quoted) literal(c byte) {
	switch {
	case !q.mends:
		q.room(1)
	case c == '=':
		q.room(3) // it stays with its digits
	}
	if c == '-' && q.col == 0 && !q.mends {
		q.escape(c)
		return
	}
	_ = q.out.WriteByte(c)
	q.col++
}

func (q *quoted) escape(c byte) {
	q.room(3)
	_, _ = q.out.Write([]byte{'=', hexDigits[c>>4], hexDigits[c&15]})
	q.col += 3
}

func (q *quoted) close(last bool) error {
	if q.cr {
		q.cr = false
		q.escape('\r')
	}
	q.flushSpace(true)
	if last && q.col > 0 {
		_, _ = q.out.WriteString("=\r\n") // a soft one: the text has no line end
	}
	return nil
}

// wrapped breaks base64 into lines.
type wrapped struct {
	out *bufio.Writer
	col int
}

// Write implements io.Writer.
func (w *wrapped) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		if w.col == lineLength {
			if _, err := w.out.WriteString("\r\n"); err != nil {
				return 0, err
			}
			w.col = 0
		}
		n := min(len(p), lineLength-w.col)
		if _, err := w.out.Write(p[:n]); err != nil {
			return 0, err
		}
		w.col, p = w.col+n, p[n:]
	}
	return total, nil
}

type base64Encoder struct {
	io.WriteCloser
	lines *wrapped
}

func (e *base64Encoder) write(p []byte) error {
	_, err := e.Write(p)
	return err
}

func (e *base64Encoder) close(last bool) error {
	err := e.Close()
	if err == nil && last {
		_, err = e.lines.out.WriteString("\r\n")
	}
	return err
}

// asterisks mends base64: a decoder leaves out what is none, and so these.
type asterisks struct{ out *bufio.Writer }

func (a asterisks) write(p []byte) error {
	for _, c := range p {
		if c >= 0x80 {
			c = '*'
		}
		if err := a.out.WriteByte(c); err != nil {
			return err
		}
	}
	return nil
}

func (asterisks) close(bool) error { return nil }
