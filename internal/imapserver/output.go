package imapserver

import (
	"bufio"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"expost/internal/imapwire"
	"expost/internal/trace"
)

// The sizes of the buffers that connections share.
const (
	readBuffer  = 4 << 10
	writeBuffer = 16 << 10
	largeBuffer = 256 << 10 // a write buffer that grew beyond it is not kept
)

// buffers lends the buffers of active connections.
type buffers struct{ read, write, compressed sync.Pool }

func newBuffers() *buffers {
	return &buffers{
		read:  sync.Pool{New: func() any { return bufio.NewReaderSize(nil, readBuffer) }},
		write: sync.Pool{New: func() any { b := make([]byte, 0, writeBuffer); return &b }},

		compressed: sync.Pool{New: func() any { return new([readBuffer]byte) }},
	}
}

// output gathers responses and writes them out. Handlers append to b; what
// they append is written when Spill or Flush is called. The first error sticks.
type output struct {
	nc      net.Conn
	pool    *sync.Pool
	timeout time.Duration  // for each write
	traced  *trace.Session // is shown what is written; may be nil
	b       []byte
	box     *[]byte // what b came in, for the pool
	err     error
}

// take borrows a buffer, unless there is one.
func (o *output) take() {
	if o.box == nil {
		o.box = o.pool.Get().(*[]byte)
		o.b = (*o.box)[:0]
	}
}

// release gives the buffer back, which must be flushed.
func (o *output) release() {
	if o.box == nil {
		return
	}
	if cap(o.b) <= largeBuffer {
		*o.box = o.b[:0]
	}
	o.pool.Put(o.box)
	o.b, o.box = nil, nil
}

// Spill writes what has gathered where that is worth a write.
func (o *output) Spill() {
	if len(o.b) >= writeBuffer-1024 {
		_ = o.Flush()
	}
}

// Flush writes what has gathered.
func (o *output) Flush() error {
	if len(o.b) == 0 || o.err != nil {
		o.b = o.b[:0]
		return o.err
	}
	if o.err = o.nc.SetWriteDeadline(time.Now().Add(o.timeout)); o.err == nil {
		o.traced.Server(o.b)
		_, o.err = o.nc.Write(o.b)
	}
	if o.b = o.b[:0]; cap(o.b) > largeBuffer {
		o.b = make([]byte, 0, writeBuffer)
	}
	return o.err
}

// Line appends the pieces and a line end.
func (o *output) Line(pieces ...string) {
	for _, p := range pieces {
		o.b = append(o.b, p...)
	}
	o.b = append(o.b, "\r\n"...)
	o.Spill()
}

// Number appends n.
func (o *output) Number(n int64) { o.b = strconv.AppendInt(o.b, n, 10) }

// Text appends a string that is all there is of it.
func (o *output) Text(s string) { o.b = append(o.b, s...) }

// Literal appends the bytes [from, to) of r as a literal, in pieces. An error
// leaves the connection out of step: it must end.
func (o *output) Literal(r io.ReaderAt, from, to int64) error {
	o.b = imapwire.AppendLiteral(o.b, to-from)
	for from < to && o.err == nil {
		room := cap(o.b) - len(o.b)
		if room < 2048 && int64(room) < to-from {
			if err := o.Flush(); err != nil {
				return err
			}
			room = cap(o.b)
		}
		piece := o.b[len(o.b) : len(o.b)+int(min(int64(room), to-from))]
		n, err := r.ReadAt(piece, from)
		o.b = o.b[:len(o.b)+n]
		from += int64(n)
		if n < len(piece) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return o.err
}

// Copy appends n bytes of r, which ends a literal, in pieces. An error leaves
// the connection out of step.
func (o *output) Copy(r io.Reader, n int64) error {
	for n > 0 && o.err == nil {
		if cap(o.b)-len(o.b) < 2048 {
			if err := o.Flush(); err != nil {
				return err
			}
		}
		room := int(min(int64(cap(o.b)-len(o.b)), n))
		got, err := r.Read(o.b[len(o.b) : len(o.b)+room])
		o.b = o.b[:len(o.b)+got]
		if n -= int64(got); err != nil && n > 0 {
			return err
		}
	}
	return o.err
}
