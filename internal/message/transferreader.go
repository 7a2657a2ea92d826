package message

import (
	"errors"
	"io"
)

// NewTransferReader returns r with a Content-Transfer-Encoding (in lower case)
// undone, and false where the encoding is none that anybody knows. What is
// malformed is skipped or stays as it is; only r makes errors.
func NewTransferReader(r io.Reader, encoding string) (io.Reader, bool) {
	switch encoding {
	case "", "7bit", "8bit", "binary":
		return r, true
	}
	d := newTransferDecoder(encoding)
	if d == nil {
		return nil, false
	}
	return &transferReader{r: r, d: d, src: make([]byte, 8<<10)}, true
}

// transferReader decodes what it reads.
type transferReader struct {
	r       io.Reader
	d       transferDecoder
	src     []byte
	pending []byte // of src, not decoded yet
	tail    [4]byte
	over    []byte // of tail, not returned yet
	err     error
}

// Read returns decoded bytes. Small reads cost a copy.
func (t *transferReader) Read(p []byte) (int, error) {
	for len(p) > 0 {
		if len(t.over) > 0 {
			n := copy(p, t.over)
			t.over = t.over[n:]
			return n, nil
		}
		if len(t.pending) == 0 {
			if t.err != nil {
				return 0, t.err
			}
			t.fill()
		}
		dst := p
		if len(dst) < len(t.tail) {
			dst = t.tail[:]
		}
		n, used := t.d.decode(dst, t.pending)
		if t.pending = t.pending[used:]; n == 0 && len(t.pending) == 0 && errors.Is(t.err, io.EOF) {
			n = t.d.flush(dst)
		}
		if len(p) < len(t.tail) {
			t.over = t.tail[:n]
			continue
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, nil
}

// fill reads more to decode.
func (t *transferReader) fill() {
	var n int
	n, t.err = t.r.Read(t.src)
	t.pending = t.src[:n]
}
