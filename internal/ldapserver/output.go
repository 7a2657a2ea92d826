package ldapserver

import (
	"net"
	"sync"
	"time"
)

// flushSize is how many bytes of answers are gathered before they are written,
// and written at once.
const flushSize = 64 << 10

// output is the writing side of a connection. The operations append messages
// to one buffer; whoever finds that it must be written writes it, and what the
// others append meanwhile goes with the next write. While a write is under way
// and another buffer is full, all wait: a client that does not read holds two
// buffers and nothing more.
type output struct {
	nc      net.Conn
	timeout time.Duration
	pool    *sync.Pool

	mu       sync.Mutex
	room     sync.Cond // a write has ended
	buf      []byte    // borrowed from pool while not nil
	writing  bool
	wanted   bool // what is in buf must be written although it is less than flushSize
	err      error
	deadline time.Time
}

func newOutput(nc net.Conn, timeout time.Duration, pool *sync.Pool) *output {
	o := &output{nc: nc, timeout: timeout, pool: pool}
	o.room.L = &o.mu
	return o
}

// put appends what add appends to its argument, and has it written at once if
// flush is true. An error is that of the connection.
func (o *output) put(flush bool, add func(b []byte) []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.err == nil && o.writing && len(o.buf) >= flushSize {
		o.room.Wait()
	}
	if o.err != nil {
		return o.err
	}
	if o.buf == nil {
		o.buf = o.borrow()
	}
	o.buf = add(o.buf)
	o.wanted = o.wanted || flush
	if !o.writing && o.due() {
		o.drain()
	}
	return o.err
}

// due tells whether there is something that must be written.
func (o *output) due() bool { return len(o.buf) >= flushSize || o.wanted && len(o.buf) > 0 }

// drain writes until nothing is due. It is called with mu held, which it
// releases while it writes.
func (o *output) drain() {
	o.writing = true
	for o.err == nil && o.due() {
		b := o.buf
		o.buf, o.wanted = nil, false
		o.mu.Unlock()
		err := o.write(b)
		o.giveBack(b)
		o.mu.Lock()
		o.err = err
		o.room.Broadcast()
	}
	o.writing = false
	if o.err != nil && o.buf != nil {
		o.giveBack(o.buf)
		o.buf = nil
	}
}

// write writes b, in pieces that must each be taken within the timeout.
func (o *output) write(b []byte) error {
	for len(b) > 0 {
		// Moving the deadline costs a lock in the poller: move it when half is used up.
		if now := time.Now(); o.deadline.Sub(now) < o.timeout/2 {
			o.deadline = now.Add(o.timeout)
			if err := o.nc.SetWriteDeadline(o.deadline); err != nil {
				return err
			}
		}
		n, err := o.nc.Write(b[:min(len(b), flushSize)])
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func (o *output) borrow() []byte { return (*o.pool.Get().(*[]byte))[:0] }

func (o *output) giveBack(b []byte) {
	if cap(b) <= 2*flushSize {
		o.pool.Put(&b)
	}
}
