package files

import (
	"bufio"
	"bytes"
	"io"
)

// crlfReader gives lines that end by LF the CRLF of messages. Every other byte
// stays.
type crlfReader struct {
	r    *bufio.Reader
	last byte
	out  []byte
	err  error
}

func newCRLFReader(r io.Reader) io.Reader { return &crlfReader{r: bufio.NewReaderSize(r, 32<<10)} }

// Read reads.
func (c *crlfReader) Read(p []byte) (int, error) {
	for len(c.out) == 0 {
		if c.err != nil {
			return 0, c.err
		}
		c.fill()
	}
	n := copy(p, c.out)
	c.out = c.out[n:]
	return n, nil
}

// fill turns the next piece of r into out.
func (c *crlfReader) fill() {
	piece, err := c.r.ReadSlice('\n')
	if err != bufio.ErrBufferFull {
		c.err = err
	}
	if len(piece) == 0 {
		return
	}
	n := len(piece)
	before := c.last
	if n > 1 {
		before = piece[n-2]
	}
	c.last = piece[n-1]
	if piece[n-1] != '\n' || before == '\r' {
		c.out = piece
		return
	}
	c.out = append(bytes.Clone(piece[:n-1]), '\r', '\n')
}
