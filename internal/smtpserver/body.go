package smtpserver

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// What may end a message too early.
var (
	errTooBig  = errors.New("message too big")
	errAborted = errors.New("message aborted by the client")
	errEndless = errors.New("message does not end")
)

// maxDrain is how much more than the limit of a refused message is read before
// the connection is closed over it.
const maxDrain = 64 << 20

// bodyOptions say how a message is read.
type bodyOptions struct {
	dots   bool  // CRLF "." CRLF ends it and leading dots are doubled (RFC 5321 §4.5.2)
	strict bool  // a bare LF or CR is errBareNewline; else each becomes CRLF
	limit  int64 // bytes
}

// lineStart is where in the input the next byte stands.
type lineStart uint8

const (
	afterCRLF  lineStart = iota // or at the very beginning
	afterLF                     // behind a bare LF: never the start of the end
	withinLine                  // of a line longer than the buffer
)

// body reads a message as it comes over the wire and returns it with CRLF as
// the only line end. Its cost is that of finding the line ends.
type body struct {
	in   *bufio.Reader
	opt  bodyOptions
	left int64

	pending []byte // to be returned next; often a part of in's buffer
	mended  []byte // scratch
	at      lineStart
	held    int // CRs at the end of the last piece whose LF may follow
	err     error
	tooBig  bool
	aborted reply // with errAborted: what to tell the client
}

func newBody(in *bufio.Reader, opt bodyOptions) *body {
	return &body{in: in, opt: opt, left: opt.limit}
}

// Read returns the next bytes of the message. Its errors stay in b.err.
func (b *body) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if len(b.pending) == 0 {
			if b.err != nil || n > 0 && b.in.Buffered() == 0 {
				break
			}
			if b.err = b.next(); b.err == nil {
				b.count()
			}
			continue
		}
		m := copy(p[n:], b.pending)
		b.pending = b.pending[m:]
		n += m
	}
	if n > 0 {
		return n, nil
	}
	return 0, b.err
}

// count takes the pending bytes off the limit.
func (b *body) count() {
	if b.left -= int64(len(b.pending)); b.left < 0 {
		b.pending, b.tooBig, b.err = nil, true, errTooBig
	}
}

// drain reads to the end of a message that is refused.
func (b *body) drain() {
	for n := b.left + maxDrain; ; n -= int64(len(b.pending)) {
		if n < 0 {
			b.err = errEndless
			return
		}
		if b.err = b.next(); b.err != nil {
			return
		}
	}
}

// next makes the next piece of the message pending.
func (b *body) next() error {
	b.pending = nil
	piece, err := b.in.ReadSlice('\n')
	switch {
	case err == nil, err == bufio.ErrBufferFull:
	case err == io.EOF && !b.opt.dots:
		return b.last(piece)
	case err == io.EOF:
		return io.ErrUnexpectedEOF
	default:
		return err
	}
	crlf := bytes.HasSuffix(piece, []byte("\r\n")) || b.held > 0 && piece[0] == '\n'
	if b.opt.dots && b.at != withinLine && piece[0] == '.' {
		switch text := bytes.TrimRight(piece, "\r\n"); {
		case b.at == afterCRLF && string(piece) == ".\r\n":
			return io.EOF
		case len(text) > 1 || text[0] != '.':
			piece = piece[1:]
		}
	}
	switch {
	case piece[len(piece)-1] != '\n':
		b.at = withinLine
	case crlf:
		b.at = afterCRLF
	default:
		b.at = afterLF
	}
	if b.held == 0 && crlf && bytes.IndexByte(piece[:len(piece)-2], '\r') < 0 {
		b.pending = piece
		return nil
	}
	return b.mend(piece)
}

// last takes what stands before the end of the input.
func (b *body) last(piece []byte) error {
	if len(piece) > 0 {
		if err := b.mend(piece); err != nil || len(b.pending) > 0 {
			return err
		}
	}
	if b.held == 0 {
		return io.EOF
	}
	b.held = 0
	b.pending = []byte("\r\n")
	return nil
}

// mend makes a piece pending with each bare LF and CR turned into CRLF, and
// CR CR LF into one CRLF.
func (b *body) mend(piece []byte) error {
	out := b.mended[:0]
	for _, c := range piece {
		switch {
		case c == '\r':
			b.held++
			continue
		case c == '\n' && b.held == 1:
			out = append(out, "\r\n"...)
		case b.opt.strict && (c == '\n' || b.held > 0):
			return errBareNewline
		case c == '\n':
			out = append(out, "\r\n"...)
		default:
			for range b.held {
				out = append(out, "\r\n"...)
			}
			out = append(out, c)
		}
		b.held = 0
	}
	b.mended, b.pending = out, out
	return nil
}
