package imapserver

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"expost/internal/fulltext"
	"expost/internal/message"
	"expost/internal/store"
)

// scan looks for needles in the bytes of one message after another. It is the
// text writer of a message.Parser.
type scan struct {
	body     *finder // needles of BODY and TEXT
	inHeader []bool  // by the index of a needle: it is in the header
	fields   []fieldNeedle
	text     bool // there is a needle of TEXT
	buf      []byte
	chunk    []byte
}

// fieldNeedle is what HEADER looks for.
type fieldNeedle struct {
	name   string // in any case
	needle []byte // folded
	found  bool
}

// addText makes the scan look for a needle of BODY, or with header of TEXT.
func (s *scan) addText(needle []byte, header bool) (index int) {
	s.text = s.text || header
	s.body.add(needle)
	s.inHeader = append(s.inHeader, false)
	return len(s.inHeader) - 1
}

// addField makes the scan look for a needle in the fields of a name.
func (s *scan) addField(name string, needle []byte) (index int) {
	s.fields = append(s.fields, fieldNeedle{name: name, needle: needle})
	return len(s.fields) - 1
}

// Write looks at a piece of the body's text.
func (s *scan) Write(b []byte) (int, error) { return s.body.Write(b) }

// WriteField looks at a field of the header.
func (s *scan) WriteField(name, value string) {
	if len(s.fields) == 0 && !s.text {
		return // only BODY is looked for
	}
	s.buf = fulltext.AppendFoldedString(s.buf[:0], name)
	s.buf = append(s.buf, ": "...)
	start := len(s.buf)
	s.buf = fulltext.AppendFoldedString(s.buf, value)
	for i, needle := range s.body.needles {
		s.inHeader[i] = s.inHeader[i] || bytes.Contains(s.buf, needle)
	}
	for i := range s.fields {
		if f := &s.fields[i]; !f.found && strings.EqualFold(f.name, name) {
			f.found = bytes.Contains(s.buf[start:], f.needle)
		}
	}
}

// reset makes the scan ready for the next message.
func (s *scan) reset() {
	s.body.reset()
	clear(s.inHeader)
	for i := range s.fields {
		s.fields[i].found = false
	}
}

// header scans the header of a message, at most limit bytes of it.
func (s *scan) header(b *store.Body, limit int64) error {
	s.reset()
	p := message.NewParser(message.Limits{}, s)
	p.SkipPreview()
	for off := int64(0); off < limit; {
		piece, err := s.read(b, off, min(4<<10, limit-off))
		if len(piece) == 0 {
			return err
		}
		off += int64(len(piece))
		_, _ = p.Write(piece) // never fails
		if bytes.Contains(piece, []byte("\n\r\n")) || bytes.Contains(piece, []byte("\n\n")) {
			break
		}
	}
	p.Finish()
	return nil
}

// all scans a message to its end, or until every needle is found.
func (s *scan) all(b *store.Body) error {
	s.reset()
	p := message.NewParser(message.Limits{}, s)
	p.SkipPreview()
	for off := int64(0); s.body.missing > 0 || off == 0; {
		piece, err := s.read(b, off, 32<<10)
		if len(piece) == 0 {
			if err != nil {
				return err
			}
			break
		}
		off += int64(len(piece))
		_, _ = p.Write(piece) // never fails
	}
	p.Finish()
	s.body.end()
	return nil
}

// read returns up to n bytes at off; none at the end.
func (s *scan) read(b *store.Body, off, n int64) ([]byte, error) {
	if n = min(n, b.Size()-off); n <= 0 {
		return nil, nil
	}
	if int64(cap(s.chunk)) < n {
		s.chunk = make([]byte, 32<<10)
	}
	got, err := b.ReadAt(s.chunk[:n], off)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return s.chunk[:got], err
}
