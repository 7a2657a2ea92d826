package smtpserver

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"expost/internal/trace"
)

// Sizes of buffers and lines, in bytes.
const (
	readBuffer  = 16 << 10
	writeBuffer = 2 << 10
	commandLine = 4 << 10  // RFC 5321 §4.5.3.1.4 asks for 512 and what extensions add
	authLine    = 12 << 10 // RFC 4954 §4
	longLine    = 1 << 20  // more than this without a line end is no client
	writeTime   = time.Minute
	lingerTime  = 2 * time.Second
)

// What may be wrong with a line of input.
var (
	errLineTooLong = errors.New("line too long")
	errBareNewline = errors.New("bare LF or CR")
	errStopping    = errors.New("server is shutting down")
)

// wire is the connection as bytes: buffered both ways, with a deadline for
// everything. Replies are sent when there is nothing more to read (RFC 2920).
type wire struct {
	in  *bufio.Reader
	out *bufio.Writer

	limits  *Limits
	data    bool      // a message is being read
	since   time.Time // start of the message, or of waiting for the command; zero: not waited yet
	read    int64     // bytes of the message so far
	raw     net.Conn
	traced  *trace.Session // is shown what goes by; may be nil
	mu      sync.Mutex
	nc      net.Conn // raw, or TLS over it
	stop    bool     // the server shuts down
	waiting bool     // for a command
}

// buffers are the buffers of connections that have ended, for the next ones.
type buffers struct{ in, out sync.Pool }

func newBuffers() *buffers {
	return &buffers{
		in:  sync.Pool{New: func() any { return bufio.NewReaderSize(nil, readBuffer) }},
		out: sync.Pool{New: func() any { return bufio.NewWriterSize(nil, writeBuffer) }},
	}
}

// newWire returns a wire; give its buffers back with release.
func newWire(nc net.Conn, limits *Limits, b *buffers) *wire {
	w := &wire{raw: nc, nc: nc, limits: limits, in: b.in.Get().(*bufio.Reader), out: b.out.Get().(*bufio.Writer)}
	if tc, ok := nc.(*tls.Conn); ok {
		w.raw = tc.NetConn()
	}
	w.in.Reset(wireReader{w})
	w.out.Reset(wireWriter{w})
	return w
}

// release gives the buffers back. The wire is not used any more.
func (w *wire) release(b *buffers) {
	w.in.Reset(nil)
	w.out.Reset(nil)
	b.in.Put(w.in)
	b.out.Put(w.out)
}

// implicitTLS returns the connection where it came from a TLS listener.
func (w *wire) implicitTLS() *tls.Conn {
	tc, _ := w.nc.(*tls.Conn)
	return tc
}

// startTLS puts TLS over the connection. Nothing may be buffered.
func (w *wire) startTLS(cfg *tls.Config) *tls.Conn {
	tc := tls.Server(w.raw, cfg)
	w.mu.Lock()
	w.nc = tc
	w.mu.Unlock()
	return tc
}

// handshake makes TLS ready, within the time of a command.
func (w *wire) handshake(tc *tls.Conn) (*tls.ConnectionState, error) {
	if err := tc.SetDeadline(time.Now().Add(w.limits.CommandTime)); err != nil {
		return nil, err
	}
	if err := tc.Handshake(); err != nil {
		return nil, err
	}
	state := tc.ConnectionState()
	return &state, nil
}

// expectCommand starts the time of a command line.
func (w *wire) expectCommand() {
	w.data, w.since = false, time.Time{}
	if w.in.Buffered() == 0 {
		w.traced.Begin()
	}
}

// expectData starts the time of a message.
func (w *wire) expectData() { w.data, w.since, w.read = true, time.Now(), 0 }

// deadline returns until when the next bytes must come.
func (w *wire) deadline() time.Time {
	now := time.Now()
	if !w.data {
		if w.since.IsZero() {
			w.since = now
		}
		return w.since.Add(w.limits.CommandTime)
	}
	idle := now.Add(w.limits.DataTime)
	paced := w.since.Add(w.limits.DataTime + time.Duration(w.read/w.limits.DataRate)*time.Second)
	if paced.Before(idle) {
		return paced
	}
	return idle
}

// beforeRead sets the deadline, unless the server is shutting down.
func (w *wire) beforeRead() error {
	deadline := w.deadline()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stop && !w.data {
		return errStopping
	}
	w.waiting = !w.data
	return w.nc.SetReadDeadline(deadline)
}

func (w *wire) afterRead(n int, err error) error {
	w.read += int64(n)
	w.mu.Lock()
	defer w.mu.Unlock()
	interrupted := w.waiting && w.stop
	w.waiting = false
	if err != nil && interrupted {
		return errStopping
	}
	return err
}

// interrupt makes a connection that waits for a command, now or next, end.
func (w *wire) interrupt() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stop = true
	if w.waiting {
		_ = w.nc.SetReadDeadline(time.Unix(1, 0))
	}
}

// stopped tells whether the connection was interrupted.
func (w *wire) stopped() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stop
}

// linger ends the output and reads on for a moment, so that a client that is
// still sending sees the last reply and not a reset.
func (w *wire) linger() {
	if tc, ok := w.nc.(*tls.Conn); ok {
		_ = tc.CloseWrite()
	}
	half, ok := w.raw.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || w.raw.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, w.raw, longLine)
}

// wireReader sends what is to be sent before it waits.
type wireReader struct{ w *wire }

func (r wireReader) Read(p []byte) (int, error) {
	w := r.w
	if err := w.out.Flush(); err != nil {
		return 0, err
	}
	if err := w.beforeRead(); err != nil {
		return 0, err
	}
	n, err := w.nc.Read(p)
	w.traced.Client(p[:n])
	return n, w.afterRead(n, err)
}

type wireWriter struct{ w *wire }

func (x wireWriter) Write(p []byte) (int, error) {
	if err := x.w.nc.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return 0, err
	}
	x.w.traced.Server(p)
	return x.w.nc.Write(p)
}

// readLine returns a line without its end. It is valid until the next read.
// A line longer than limit is skipped (errLineTooLong); one that a bare LF ends
// is an error (errBareNewline) where strict.
func (w *wire) readLine(limit int, strict bool) ([]byte, error) {
	line, err := w.in.ReadSlice('\n')
	if err == bufio.ErrBufferFull {
		return nil, w.skipLine()
	}
	if err != nil {
		return nil, err
	}
	text, crlf := bytes.CutSuffix(line, []byte("\r\n"))
	if !crlf {
		if strict {
			return nil, errBareNewline
		}
		text = line[:len(line)-1]
	}
	if len(text) > limit {
		return nil, errLineTooLong
	}
	return text, nil
}

// skipLine reads over the rest of a long line.
func (w *wire) skipLine() error {
	for n := 0; n < longLine; n += readBuffer {
		_, err := w.in.ReadSlice('\n')
		if err == nil {
			return errLineTooLong
		}
		if err != bufio.ErrBufferFull {
			return err
		}
	}
	return bufio.ErrTooLong
}
