package gal

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
)

// cell is a cell of a CSV row, its bytes as in the file, quotes undone.
type cell struct {
	start, end int // in scanner.text
	line       int // where it begins
	quoted     bool
}

// scanner splits a CSV into rows as RFC 4180 has it, and as Outlook and Excel
// write it: LF, CRLF and CR end a row, line ends stand in quoted cells, a quote
// amid a quoted cell is a quote unless a delimiter follows. A quote that never
// closes is taken literally, so that it cannot swallow the file.
type scanner struct {
	r      *bufio.Reader
	delim  byte
	report func(line int, what, did string)

	line   int    // physical lines read
	pushed []byte // lines put back
	raw    []byte // the physical lines of the row
	text   []byte // the contents of its cells
	cells  []cell
	state  scanState
	stray  int // quotes that never closed
}

// scanState is where in a cell the scanner is.
type scanState int

const (
	cellStart scanState = iota
	cellPlain
	cellQuoted
	cellClosed // behind the closing quote
)

// Limits of one row: a note of a contact is far below both.
const (
	maxRowBytes = 1 << 20
	maxRowLines = 2000
	maxStray    = 1000
)

// row returns the cells of the next row that is not empty, and io.EOF behind
// the last. They are valid until the next call.
func (s *scanner) row() ([]cell, error) {
	for {
		if err := s.scan(); err != nil {
			return nil, err
		}
		if len(s.cells) > 1 || s.cells[0].end > s.cells[0].start {
			return s.cells, nil
		}
	}
}

// bytes returns the content of a cell.
func (s *scanner) bytes(c cell) []byte { return s.text[c.start:c.end] }

// scan reads one row, which may be an empty line.
func (s *scanner) scan() error {
	s.reset()
	first := 0 // length of the first physical line
	for lines := 0; ; lines++ {
		from := len(s.raw)
		err := s.physical()
		if err == io.EOF && from > 0 {
			return s.unclosed(first)
		}
		if err != nil {
			return err
		}
		if first == 0 {
			first = len(s.raw)
		}
		s.feed(s.raw[from:], false)
		if s.state != cellQuoted {
			return nil
		}
		if len(s.raw) > maxRowBytes || lines > maxRowLines {
			return s.unclosed(first)
		}
	}
}

// reset forgets the row.
func (s *scanner) reset() {
	s.raw, s.text, s.cells, s.state = s.raw[:0], s.text[:0], s.cells[:0], cellStart
}

// unclosed puts everything behind the first line back and reads that line
// with its quotes taken literally.
func (s *scanner) unclosed(first int) error {
	rest := append(bytes.Clone(s.raw[first:]), s.pushed...)
	s.line -= countLines(s.raw[first:])
	line := bytes.Clone(s.raw[:first])
	if s.stray++; s.stray > maxStray {
		return fmt.Errorf("line %d: more than %d quotes that are never closed: is this a CSV file, and is its delimiter %q?", s.line, maxStray, s.delim)
	}
	s.report(s.line, "a quote that opens here is never closed", "the line was read as it stands")
	s.reset()
	s.raw, s.pushed = append(s.raw, line...), rest
	s.feed(s.raw, true)
	return nil
}

// countLines counts line ends; the last line may lack its own.
func countLines(b []byte) int {
	n := 0
	for i, c := range b {
		if c == '\n' || c == '\r' && (i+1 == len(b) || b[i+1] != '\n') {
			n++
		}
	}
	if len(b) > 0 && b[len(b)-1] != '\n' && b[len(b)-1] != '\r' {
		n++
	}
	return n
}

// feed goes through one physical line, its end included.
func (s *scanner) feed(b []byte, literal bool) {
	if len(s.cells) == 0 {
		s.open()
	}
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch s.state {
		case cellQuoted:
			if c != '"' {
				s.text = append(s.text, c)
			} else if i+1 < len(b) && b[i+1] == '"' {
				s.text = append(s.text, c)
				i++
			} else if s.closes(b[i+1:]) {
				s.state = cellClosed
			} else {
				s.text = append(s.text, c)
			}
			continue
		case cellStart:
			if c == '"' && !literal {
				s.state = cellQuoted
				s.cells[len(s.cells)-1].quoted = true
				continue
			}
			s.state = cellPlain
		}
		switch {
		case c == s.delim:
			s.closeCell()
			s.open()
		case c == '\n' || c == '\r':
			s.closeCell()
			return
		case s.state == cellClosed: // blanks before the delimiter
		default:
			s.text = append(s.text, c)
		}
	}
	if s.state != cellQuoted {
		s.closeCell()
	}
}

// closes tells whether a quote before rest ends its cell.
func (s *scanner) closes(rest []byte) bool {
	rest = bytes.TrimLeft(rest, " ")
	return len(rest) == 0 || rest[0] == s.delim || rest[0] == '\n' || rest[0] == '\r'
}

// open begins a cell.
func (s *scanner) open() {
	s.cells = append(s.cells, cell{start: len(s.text), line: s.line})
	s.state = cellStart
}

// closeCell ends the cell.
func (s *scanner) closeCell() {
	c := &s.cells[len(s.cells)-1]
	c.end = len(s.text)
	s.state = cellPlain
}

// physical appends the next line and its end to s.raw.
func (s *scanner) physical() error {
	if len(s.pushed) > 0 {
		n := lineLength(s.pushed)
		s.raw = append(s.raw, s.pushed[:n]...)
		s.pushed = s.pushed[n:]
		s.line++
		return nil
	}
	start := len(s.raw)
	for {
		if _, err := s.r.Peek(1); err != nil {
			if err == io.EOF && len(s.raw) > start {
				s.line++
				return nil
			}
			return err
		}
		chunk, _ := s.r.Peek(s.r.Buffered())
		i := bytes.IndexByte(chunk, '\n')
		if j := bytes.IndexByte(chunk[:max(i, 0)], '\r'); j >= 0 {
			i = j
		} else if i < 0 {
			i = bytes.IndexByte(chunk, '\r')
		}
		if i < 0 {
			if len(s.raw)+len(chunk) > start+maxRowBytes {
				return fmt.Errorf("line %d: longer than %d bytes: this is no address list in CSV", s.line+1, maxRowBytes)
			}
			s.raw = append(s.raw, chunk...)
			_, _ = s.r.Discard(len(chunk)) // cannot fail: the bytes are buffered
			continue
		}
		s.raw = append(s.raw, chunk[:i+1]...)
		cr := chunk[i] == '\r'
		_, _ = s.r.Discard(i + 1)
		if next, err := s.r.Peek(1); cr && err == nil && next[0] == '\n' {
			s.raw = append(s.raw, '\n')
			_, _ = s.r.Discard(1)
		}
		s.line++
		return nil
	}
}

// lineLength returns the length of the first line in b, its end included.
func lineLength(b []byte) int {
	i := bytes.IndexAny(b, "\r\n")
	switch {
	case i < 0:
		return len(b)
	case b[i] == '\r' && i+1 < len(b) && b[i+1] == '\n':
		return i + 2
	}
	return i + 1
}
