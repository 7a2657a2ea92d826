package ldapserver

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/ldapwire"
	"expost/internal/trace"
)

// conn is one connection. What is not marked otherwise belongs to the
// goroutine of run; operations read who and secure, which change only while
// none runs.
type conn struct {
	srv     *Server
	raw     net.Conn // as accepted; what other goroutines may touch
	nc      net.Conn // raw, or TLS over it
	number  uint64
	remote  netip.Addr
	log     *slog.Logger
	started time.Time

	in       *ldapwire.Reader
	buffered *bufio.Reader // below in
	deadline time.Time     // of reading
	out      *output       // shared
	secure   bool
	who      directory.Identity
	peer     directory.Peer
	exchange *exchange      // a SASL bind under way; nil: none
	traced   *trace.Session // is shown the operations; may be nil

	slots    chan struct{} // one for each operation under way
	under    sync.WaitGroup
	mu       sync.Mutex
	running  map[int32]*operation // by mu
	stopping atomic.Bool          // the server shuts down

	operations, entries atomic.Int64 // done and sent, for the log
}

// newConn returns a connection of which nothing has been read.
func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{
		srv: s, raw: nc, remote: ipOf(nc.RemoteAddr()), started: time.Now(),
		slots: make(chan struct{}, s.cfg.Limits.Operations), running: map[int32]*operation{},
	}
	c.use(nc)
	return c
}

// use makes nc, the accepted connection or TLS over it, what is read and written.
func (c *conn) use(nc net.Conn) {
	c.nc = nc
	c.peer = directory.Peer{Addr: addrPortOf(c.raw.RemoteAddr())}
	c.buffered = bufio.NewReader(nc)
	c.in = ldapwire.NewReader(c.buffered, c.messageLimit())
	c.out = newOutput(nc, c.srv.cfg.Limits.WriteTime, &c.srv.buffers)
}

// messageLimit is how long a request may be.
func (c *conn) messageLimit() int {
	if c.anonymous() {
		return c.srv.cfg.Limits.AnonymousSize
	}
	return c.srv.cfg.Limits.MessageSize
}

// anonymous tells whether nobody has bound.
func (c *conn) anonymous() bool { return len(c.who.DN) == 0 && !c.who.Root }

// addrPortOf returns the address of a TCP end; other sockets have none.
func addrPortOf(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		return netip.AddrPortFrom(t.AddrPort().Addr().Unmap(), t.AddrPort().Port())
	}
	return netip.AddrPort{}
}

// ipOf returns the address of a TCP end; those of other sockets are this host's.
func ipOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap()
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// turnAway tells the client why it is not served.
func (c *conn) turnAway(why *ldap.Error) {
	c.srv.log.Info("connection refused", slog.String("remote", c.remote.String()), slog.String("reason", why.Text))
	if _, ok := c.nc.(*tls.Conn); !ok {
		c.disconnect(why.Code, why.Text)
	}
}

// disconnect sends the notice of disconnection.
func (c *conn) disconnect(code ldap.ResultCode, text string) {
	_ = c.out.put(true, ldapwire.NoticeOfDisconnection(code, text).Append) // the connection ends in any case
}

// stop makes the connection end when its operations have. The server calls it.
func (c *conn) stop() {
	c.stopping.Store(true)
	c.mu.Lock()
	for _, o := range c.running {
		if o.persists.Load() {
			o.cancel()
		}
	}
	c.mu.Unlock()
	_ = c.raw.SetReadDeadline(time.Now())
}

// run serves requests until the connection ends.
func (c *conn) run(ctx context.Context) {
	c.log = c.srv.log.With(slog.Uint64("cid", c.number))
	c.log.Debug("connection", slog.String("remote", c.remote.String()))
	ctx, cancel := context.WithCancel(ctx)
	defer c.under.Wait()
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("panic in a session", slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			c.disconnect(ldap.Other, "internal error")
		}
	}()
	defer func() {
		c.log.Info("connection ended", slog.String("remote", c.remote.String()), slog.Bool("tls", c.secure),
			slog.Int64("operations", c.operations.Load()), slog.Int64("entries", c.entries.Load()),
			slog.Duration("time", time.Since(c.started).Round(time.Microsecond)))
	}()
	if tc, ok := c.nc.(*tls.Conn); ok {
		if err := c.handshake(ctx, tc); err != nil {
			c.log.Debug("TLS handshake", slog.Any("error", err))
			return
		}
	}
	for {
		m, err := c.next()
		if err == nil {
			err = c.dispatch(ctx, m)
		}
		if err != nil {
			c.goodbye(cancel, err)
			return
		}
	}
}

// Reasons of ours to end a connection.
var (
	errUnbind   = errors.New("the client has unbound")
	errProtocol = errors.New("protocol error")
)

// next returns the next request.
func (c *conn) next() (*ldapwire.Message, error) {
	for {
		if err := c.awaitRequest(); err != nil {
			return nil, err
		}
		m, err := c.in.Next()
		refused, ok := errors.AsType[*ldapwire.RequestError](err)
		if !ok {
			return m, err
		}
		if err := c.refuse(refused); err != nil {
			return nil, err
		}
	}
}

// awaitRequest returns when a request has begun and sets the time in which the
// rest of it must come. Operations under way keep a silent connection open.
func (c *conn) awaitRequest() error {
	for {
		if err := c.readWithin(c.srv.cfg.Limits.IdleTime); err != nil {
			return err
		}
		err := c.in.Wait()
		switch {
		case err == nil && c.in.Complete():
			return nil
		case err == nil:
			return c.readWithin(c.srv.cfg.Limits.ReadTime)
		case !errors.Is(err, os.ErrDeadlineExceeded) || c.stopping.Load() || len(c.slots) == 0:
			return err
		}
	}
}

// readWithin gives reads until d from now, or up to an eighth less: moving the
// deadline costs a lock in the poller.
func (c *conn) readWithin(d time.Duration) error {
	now := time.Now()
	if left := c.deadline.Sub(now); left > d-d/8 && left <= d {
		return nil
	}
	c.deadline = now.Add(d)
	err := c.nc.SetReadDeadline(c.deadline)
	if c.stopping.Load() { // stop may have come between
		err = c.raw.SetReadDeadline(now)
	}
	return err
}

// refuse answers a request that could be read but not be understood.
func (c *conn) refuse(e *ldapwire.RequestError) error {
	c.operations.Add(1)
	c.log.Debug("request refused", slog.Int("op", int(e.ID)), slog.Any("error", e))
	of := e.Tag.Response()
	if of == 0 {
		return nil
	}
	return c.send(e.ID, response(of, resultOf(e.Err)))
}

// dispatch starts a request's operation, or carries it out where it must be
// alone. Its error ends the connection.
func (c *conn) dispatch(ctx context.Context, m *ldapwire.Message) error {
	if m.ID == 0 {
		c.disconnect(ldap.ProtocolError, "invalid message ID 0")
		return errProtocol
	}
	switch r := m.Op.(type) {
	case *ldapwire.UnbindRequest:
		return errUnbind
	case *ldapwire.AbandonRequest:
		c.abandon(r)
		return nil
	case *ldapwire.BindRequest:
		c.under.Wait()
		return c.answer(ctx, &operation{c: c, m: m})
	case *ldapwire.ExtendedRequest:
		if r.Name == ldapwire.OIDStartTLS {
			c.under.Wait()
			return c.startTLS(ctx, m)
		}
	}
	if m.Op.Tag().Response() == 0 {
		c.disconnect(ldap.ProtocolError, "unknown LDAP request")
		return errProtocol
	}
	c.start(ctx, m)
	return nil
}

// start runs an operation beside the others, waiting first while there are too
// many of them.
func (c *conn) start(ctx context.Context, m *ldapwire.Message) {
	c.slots <- struct{}{}
	ctx, cancel := context.WithCancel(ctx)
	o := &operation{c: c, m: m, cancel: cancel, done: make(chan struct{})}
	c.mu.Lock()
	c.running[m.ID] = o
	c.mu.Unlock()
	c.under.Go(func() {
		defer func() {
			c.mu.Lock()
			if c.running[m.ID] == o {
				delete(c.running, m.ID)
			}
			c.mu.Unlock()
			cancel()
			close(o.done)
			<-c.slots
		}()
		_ = c.answer(ctx, o) // the reader notices that the connection is broken
	})
}

// abandon gives an operation up; it is not answered any more (RFC 4511 §4.11).
func (c *conn) abandon(r *ldapwire.AbandonRequest) {
	c.mu.Lock()
	o := c.running[r.ID]
	c.mu.Unlock()
	if o != nil {
		o.abandoned.Store(true)
		o.cancel()
	}
}

// send writes one message.
func (c *conn) send(id int32, op ldapwire.Op, controls ...ldapwire.Control) error {
	m := ldapwire.Message{ID: id, Op: op, Controls: controls}
	return c.out.put(true, m.Append)
}

// goodbye ends the connection for the reason given, telling the client where
// it may not know.
func (c *conn) goodbye(cancel context.CancelFunc, reason error) {
	switch {
	case c.stopping.Load():
		c.under.Wait() // until the server cuts them
		c.disconnect(ldap.Unavailable, shuttingDown)
	case errors.Is(reason, errUnbind), errors.Is(reason, io.EOF):
		cancel()
		_ = c.nc.Close() // wakes operations that wait for the client to read
	default:
		cancel()
		c.under.Wait()
		c.tellWhy(reason)
	}
	c.log.Debug("connection ends", slog.Any("reason", reason))
}

// tellWhy sends the notice of disconnection that belongs to an error of next.
func (c *conn) tellWhy(reason error) {
	syntax, isSyntax := errors.AsType[*ldapwire.SyntaxError](reason)
	tooBig, isTooBig := errors.AsType[*ldapwire.TooBigError](reason)
	switch {
	case isSyntax:
		c.disconnect(ldap.ProtocolError, syntax.Error())
		c.linger()
	case isTooBig:
		c.disconnect(ldap.ProtocolError, tooBig.Error())
		c.linger()
	case errors.Is(reason, os.ErrDeadlineExceeded):
		c.disconnect(ldap.Unavailable, "the connection was idle for too long")
	}
}

// linger reads a little more, since closing with something unread would reset
// the connection before the client has read the notice.
func (c *conn) linger() {
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || c.raw.SetReadDeadline(time.Now().Add(time.Second)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, c.nc, 1<<20)
}
