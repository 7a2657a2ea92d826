package mapi

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"io"
	"strings"
)

// decoded returns the decoded body of a part.
func (s *section) decoded(r io.ReaderAt) io.Reader {
	body := io.NewSectionReader(r, s.from, s.to-s.from)
	switch strings.ToLower(strings.TrimSpace(s.header.get("Content-Transfer-Encoding"))) {
	case "base64":
		return base64.NewDecoder(base64.StdEncoding, &base64Reader{r: bufio.NewReaderSize(body, 32<<10)})
	case "quoted-printable":
		return &quotedReader{r: bufio.NewReaderSize(body, 32<<10)}
	}
	return body
}

// quotedReader decodes quoted-printable (RFC 2045 §6.7), and passes on as it is
// what is none: that loses nothing.
type quotedReader struct {
	r   *bufio.Reader
	out []byte
	err error
}

// Read reads.
func (q *quotedReader) Read(p []byte) (int, error) {
	for len(q.out) == 0 {
		if q.err != nil {
			return 0, q.err
		}
		line, err := q.r.ReadSlice('\n')
		if err != bufio.ErrBufferFull {
			q.err = err
		}
		q.out = unquote(q.out[:0], line)
	}
	n := copy(p, q.out)
	q.out = q.out[n:]
	return n, nil
}

// unquote appends a line, decoded.
func unquote(out, line []byte) []byte {
	text := bytes.TrimRight(line, " \t\r\n")
	end := line[len(text):]
	if i := bytes.IndexByte(end, '\n'); i < 0 {
		text, end = line, nil
	} else if i > 0 && end[i-1] == '\r' {
		end = end[i-1:]
	} else {
		end = end[i:]
	}
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] != '=':
			out = append(out, text[i])
		case i == len(text)-1 && end != nil:
			return out // a soft line break
		case i+2 < len(text) && unhex(text[i+1]) < 16 && unhex(text[i+2]) < 16:
			out = append(out, unhex(text[i+1])<<4|unhex(text[i+2]))
			i += 2
		default:
			out = append(out, '=')
		}
	}
	return append(out, end...)
}

func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}

// base64Reader passes on what is base64, and makes its length a multiple of four,
// so that what somebody damaged or cut off still decodes.
type base64Reader struct {
	r    *bufio.Reader
	n    int
	done bool
}

// Read reads.
func (b *base64Reader) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) && !b.done {
		c, err := b.r.ReadByte()
		switch {
		case err == io.EOF || err == nil && c == '=':
			b.done = true
		case err != nil:
			return n, err
		case c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/':
			p[n] = c
			n++
			b.n++
		}
	}
	for n < len(p) && b.done && b.n%4 != 0 {
		c := byte('=')
		if b.n%4 == 1 { // a digit alone means nothing
			c = 'A'
		}
		p[n] = c
		n++
		b.n++
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// lazyStream is a Stream that is decoded as it is read, and once more where its
// size or a place in it is asked for.
type lazyStream struct {
	open func() io.Reader
	r    io.Reader
	size int64 // -1 until it is known
}

func newLazyStream(open func() io.Reader) (Stream, error) {
	return &lazyStream{open: open, size: -1}, nil
}

// Read implements Stream. What cannot be decoded ends it.
func (s *lazyStream) Read(p []byte) (int, error) {
	if s.r == nil {
		s.r = s.open()
	}
	return s.r.Read(p)
}

// Size implements Stream.
func (s *lazyStream) Size() int64 {
	if s.size < 0 {
		s.size, _ = io.Copy(io.Discard, s.open()) // what Read gives before the same error
	}
	return s.size
}

// ReadAt implements Stream.
func (s *lazyStream) ReadAt(p []byte, off int64) (int, error) {
	r := s.open()
	if _, err := io.CopyN(io.Discard, r, off); err != nil {
		return 0, err
	}
	n, err := io.ReadFull(r, p)
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	return n, err
}
