package ldapwire

import (
	"bufio"
	"io"
)

// Reader takes messages out of a stream.
type Reader struct {
	r     *bufio.Reader
	limit int
}

// firstRead is the most memory taken for a message before any of it has come;
// what is announced but never sent costs no more.
const firstRead = 64 << 10

// NewReader returns a Reader of messages up to limit bytes long.
func NewReader(r *bufio.Reader, limit int) *Reader { return &Reader{r: r, limit: limit} }

// SetLimit changes the limit for the messages that follow.
func (r *Reader) SetLimit(limit int) { r.limit = limit }

// Wait returns when the next message has begun.
func (r *Reader) Wait() error {
	_, err := r.r.Peek(1)
	return err
}

// Complete tells whether the whole next message has come already, or so much
// of it that Next fails, so that Next will not wait.
func (r *Reader) Complete() bool {
	head, err := r.r.Peek(min(r.r.Buffered(), 6))
	if err != nil {
		return false
	}
	_, n, size := parseHeader(head)
	return size < 0 || size > 0 && (size+n <= r.r.Buffered() || size+n > r.limit)
}

// Next reads and decodes the next message. Besides those of Decode its errors
// are *TooBigError and those of the stream: io.EOF between messages,
// io.ErrUnexpectedEOF within one.
func (r *Reader) Next() (*Message, error) {
	b, err := r.frame()
	if err != nil {
		return nil, err
	}
	return Decode(b)
}

// frame reads the bytes of one message.
func (r *Reader) frame() ([]byte, error) {
	total, err := r.length()
	if err != nil {
		return nil, err
	}
	b := make([]byte, min(total, firstRead))
	for read := 0; ; {
		n, err := io.ReadFull(r.r, b[read:])
		if err != nil {
			return nil, cutOff(err)
		}
		if read += n; read == total {
			return b, nil
		}
		grown := make([]byte, min(total, 2*len(b)))
		copy(grown, b)
		b = grown
	}
}

// length returns the length of the next message, header included.
func (r *Reader) length() (int, error) {
	for want := 2; ; want++ {
		head, err := r.r.Peek(want)
		if err != nil {
			if len(head) > 0 {
				err = cutOff(err)
			}
			return 0, err
		}
		_, n, size := parseHeader(head)
		if size < 0 || head[0] != tagSequence {
			return 0, &SyntaxError{Text: "no LDAP message"}
		}
		if size > 0 {
			if size+n > r.limit {
				return 0, &TooBigError{Size: size + n, Limit: r.limit}
			}
			return size + n, nil
		}
	}
}

// cutOff names the end of the stream within a message.
func cutOff(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
