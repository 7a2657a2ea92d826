package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// A direction waits with a small buffer, which holds most commands and answers,
// and borrows a large one only while more comes than that.
const (
	firstSize  = 512
	bufferSize = 32 << 10
	burstEnd   = 4 << 10 // a read of less is the end of a burst
)

const (
	writeTime = 5 * time.Minute  // for one buffer
	drainTime = 20 * time.Second // for the answer to a client that sends no more
)

// Client is the near side of a session.
type Client struct {
	Conn    net.Conn
	Pending []byte // what has been read of it already
	// Heard and Said are told what goes by, from the client and to it; nil: nobody is.
	Heard, Said func([]byte)
}

// Reasons of a session's end.
var (
	errIdle = errors.New("nothing was said for too long")
	errOver = errors.New("the other direction has ended")
)

// splice is a session in which bytes go to and fro.
type splice struct {
	proxy  *Proxy
	over   atomic.Bool
	last   atomic.Bool  // the client has said its last: the far side may answer for drainTime
	active atomic.Int64 // when something was said last, Unix seconds
}

// Splice hands bytes to and fro until either side ends, ctx does, or nothing was
// said for Config.Idle. It closes the far side and leaves the client's to the
// caller. clean tells whether what was last sent to the client was a whole line,
// so that it may hear another.
func (s *Session) Splice(ctx context.Context, c Client) (clean bool, err error) {
	defer s.conn.Close()
	x := &splice{proxy: s.proxy}
	x.active.Store(time.Now().Unix())
	up := &pump{splice: x, from: c.Conn, to: s.conn, tap: c.Heard}
	down := &pump{splice: x, from: s.conn, to: c.Conn, tap: c.Said, line: true}
	end := func() {
		x.over.Store(true)
		_ = c.Conn.SetReadDeadline(time.Unix(1, 0))
		_ = s.conn.SetDeadline(time.Unix(1, 0))
	}
	stop := context.AfterFunc(ctx, end)
	defer stop()
	said, _ := s.in.Peek(s.in.Buffered())
	s.in = nil
	ended := make(chan error, 1)
	go func() {
		err := up.run(c.Pending)
		half, ok := s.conn.(interface{ CloseWrite() error })
		if x.last.Store(true); err != nil || !ok || half.CloseWrite() != nil || s.conn.SetReadDeadline(time.Now().Add(drainTime)) != nil {
			end()
		}
		ended <- err
	}()
	err = down.run(said)
	end()
	if upErr := <-ended; errors.Is(err, errOver) || err == nil {
		err = upErr
	}
	_ = c.Conn.SetReadDeadline(time.Time{})
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.Is(err, errOver):
		err = nil
	}
	return down.line, err
}

// pump is one direction.
type pump struct {
	*splice
	from, to net.Conn
	tap      func([]byte)
	line     bool // what was written last ended a line
	first    [firstSize]byte
}

// run hands over what was read already and then all that comes, until the end of
// input, which is no error.
func (u *pump) run(read []byte) error {
	if err := u.write(read); err != nil {
		return err
	}
	for {
		n, err := u.await()
		if n > 0 {
			u.active.Store(time.Now().Unix())
			if werr := u.write(u.first[:n]); werr != nil {
				return werr
			}
		}
		if n == len(u.first) && err == nil {
			err = u.burst()
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// read reads within Config.Idle, and longer while the other direction is busy.
func (u *pump) read(p []byte) (int, error) {
	for {
		wait := u.proxy.cfg.Idle
		if u.last.Load() {
			wait = drainTime
		}
		if err := u.from.SetReadDeadline(time.Now().Add(wait)); err != nil {
			return 0, err
		}
		if u.over.Load() { // its deadline may have come before ours
			return 0, errOver
		}
		n, err := u.from.Read(p)
		if ne, ok := errors.AsType[net.Error](err); !ok || !ne.Timeout() || n > 0 {
			return n, err
		}
		if u.over.Load() || u.last.Load() {
			return 0, errOver
		}
		if time.Since(time.Unix(u.active.Load(), 0)) >= u.proxy.cfg.Idle {
			return 0, errIdle
		}
	}
}

// await waits for the next bytes.
func (u *pump) await() (int, error) { return u.read(u.first[:]) }

// burst hands over what comes behind a full first buffer.
func (u *pump) burst() error {
	buf := u.proxy.buffers.Get().(*[bufferSize]byte)
	defer u.proxy.buffers.Put(buf)
	for {
		n, err := u.read(buf[:])
		if n > 0 {
			u.active.Store(time.Now().Unix())
		}
		if werr := u.write(buf[:n]); werr != nil {
			return werr
		}
		if err != nil || n < burstEnd {
			return err
		}
	}
}

// write writes all of b.
func (u *pump) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if u.tap != nil {
		u.tap(b)
	}
	if err := u.to.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return err
	}
	if u.over.Load() {
		return errOver
	}
	u.line = b[len(b)-1] == '\n'
	_, err := u.to.Write(b)
	return err
}
