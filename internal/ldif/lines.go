package ldif

import (
	"bufio"
	"bytes"
	"io"
	"strings"
)

func lower(s string) string            { return strings.ToLower(s) }
func equalFold(a, b string) bool       { return strings.EqualFold(a, b) }
func isBlank(b []byte) bool            { return len(bytes.TrimRight(b, " \t")) == 0 }
func isFold(c byte, lenient bool) bool { return c == ' ' || lenient && c == '\t' }

// line is a logical line: folds undone.
type line struct {
	text []byte
	num  int  // of its first physical line
	eof  bool // the file ended without a line end behind it
}

// lineReader yields logical lines. LF, CRLF and CR all end a line.
type lineReader struct {
	r       *bufio.Reader
	num     int // physical lines read
	max     int
	lenient bool
	report  func(Issue)
	buf     []byte
}

// physical appends the next physical line to buf, without its end.
// done is false where the file ended before a line end.
func (l *lineReader) physical(buf []byte) (out []byte, done bool, err error) {
	l.num++
	start := len(buf)
	for {
		if l.r.Buffered() == 0 {
			if _, err := l.r.Peek(1); err != nil {
				if err == io.EOF && len(buf) == start {
					l.num--
					return buf, false, io.EOF
				}
				if err == io.EOF {
					return buf, false, nil
				}
				return buf, false, err
			}
		}
		chunk, _ := l.r.Peek(l.r.Buffered())
		i := bytes.IndexByte(chunk, '\n')
		head := chunk
		if i >= 0 {
			head = chunk[:i]
		}
		if j := bytes.IndexByte(head, '\r'); j >= 0 {
			i = j
		}
		if i < 0 {
			if buf, err = l.take(buf, chunk, len(chunk)); err != nil {
				return buf, false, err
			}
			continue
		}
		cr := chunk[i] == '\r'
		if buf, err = l.take(buf, chunk[:i], i+1); err != nil {
			return buf, false, err
		}
		if cr {
			l.skipLF()
		}
		return buf, true, nil
	}
}

// take appends b to buf and discards n bytes of the input.
func (l *lineReader) take(buf, b []byte, n int) ([]byte, error) {
	if len(buf)+len(b) > l.max {
		return buf, &Error{Line: l.num, Text: "the line is longer than the limit"}
	}
	buf = append(buf, b...)
	_, err := l.r.Discard(n)
	return buf, err
}

// skipLF reads the LF of a CRLF, and of a CR CR LF that a broken transfer made.
func (l *lineReader) skipLF() {
	for range 2 {
		next, err := l.r.Peek(2)
		if len(next) == 0 {
			return
		}
		switch {
		case next[0] == '\n':
			_, _ = l.r.Discard(1)
			return
		case err == nil && next[0] == '\r' && next[1] == '\n':
			_, _ = l.r.Discard(1)
		default:
			return
		}
	}
}

// next returns the next logical line, comments included. Its text is valid
// until the next call.
func (l *lineReader) next() (line, error) {
	buf, done, err := l.physical(l.buf[:0])
	if err != nil {
		return line{}, err
	}
	out := line{num: l.num, eof: !done}
	for done && len(buf) > 0 {
		c, err := l.r.Peek(1)
		if err != nil || !isFold(c[0], l.lenient) {
			break
		}
		if c[0] == '\t' {
			l.report(Issue{Line: l.num + 1, What: "a line is continued with a tab", Did: "joined"})
		}
		// A line of spaces alone ends the record for those who edit by hand.
		if l.lenient && l.onlySpaces() {
			break
		}
		_, _ = l.r.Discard(1)
		if buf, done, err = l.physical(buf); err != nil && err != io.EOF {
			return line{}, err
		}
		out.eof = !done
	}
	l.buf = buf
	out.text = buf
	return out, nil
}

// onlySpaces tells whether the next physical line holds two or more blanks
// and nothing else; a single space and nothing is an empty continuation.
func (l *lineReader) onlySpaces() bool {
	for n := 1; n < 80; n++ {
		b, err := l.r.Peek(n)
		if err != nil {
			return n > 2
		}
		switch b[n-1] {
		case ' ', '\t':
		case '\r', '\n':
			return n > 2
		default:
			return false
		}
	}
	return false
}
