package smtpserver

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"sync/atomic"

	"expost/internal/delivery"
	"expost/internal/directory"
	"expost/internal/listener"
	"expost/internal/login"
	"expost/internal/milter"
	"expost/internal/proxy"
	"expost/internal/ratelimit"
)

// conn is one session.
type conn struct {
	cfg    *Config
	shared *buffers
	trust  func() // the connection does not count against its host any more
	wire   *wire
	remote netip.Addr
	local  netip.Addr
	log    *slog.Logger
	strict bool // a bare LF or CR is refused

	helo    string
	esmtp   bool
	tls     *tls.ConnectionState // nil: clear text
	account *directory.Account   // who is logged in
	entry   *login.Entry         // and how; nil: nobody
	env     *delivery.Envelope   // nil: no transaction
	method  string               // of the login
	name    string               // the client's, by its address; empty: not known
	lookup  chan clientFacts     // brings the facts; nil: it has, or nothing is looked up
	facts   *clientFacts         // nil: none
	alerts  *ratelimit.Limiter
	filters *milter.Session // nil: none, or none asked yet
	discard string          // the content filter that wants the message to go nowhere

	cut    atomic.Pointer[context.CancelFunc] // ends a session by proxy; nil: there is none
	origin proxy.Origin                       // whom a proxy speaks for

	failures int // commands refused for good
	idle     int // commands that did nothing, since the last message
	logins   int // failed ones
}

func newConn(s *Server, nc net.Conn, trust func()) *conn {
	c := &conn{
		cfg: &s.cfg, shared: s.buffers, trust: trust, wire: newWire(nc, &s.cfg.Limits, s.buffers),
		remote: ipOf(nc.RemoteAddr()), local: ipOf(nc.LocalAddr()), alerts: s.alerts,
	}
	c.log = s.cfg.Logger.With(slog.String("client", c.remote.String()))
	c.strict = s.cfg.BareNewline == BareReject ||
		s.cfg.BareNewline == "" && s.cfg.Mode == Receive && !c.remote.IsLoopback()
	return c
}

// ipOf returns the address of an end; a socket without one is on this host.
func ipOf(a net.Addr) netip.Addr {
	if ip := listener.AddrOf(a); ip.IsValid() {
		return ip
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// Refuse tells the client why it is not served.
func (c *conn) Refuse(why listener.Refusal) {
	defer c.wire.release(c.shared)
	status := "4.3.2"
	if why == listener.TooManyFromHost {
		status = "4.7.0"
	}
	c.log.Info("connection refused", slog.String("reason", why.String()))
	if c.wire.implicitTLS() == nil {
		c.write(reply{code: 421, status: status, text: why.String() + ", try again later"})
		_ = c.wire.out.Flush()
	}
}

// Stop makes the session end before its next command.
func (c *conn) Stop() {
	c.wire.interrupt()
	if cut := c.cut.Load(); cut != nil {
		(*cut)()
	}
}

// Run is the session loop. A client that goes away does not end ctx, so it does
// not stop a delivery half way.
func (c *conn) Run(ctx context.Context) {
	defer c.wire.release(c.shared)
	defer func() { c.entry.Leave() }()
	defer c.closeFilters()
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("panic in a session", slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			c.finish(reply{code: 421, status: "4.3.0", text: "internal error"}.closing())
		}
	}()
	if tc := c.wire.implicitTLS(); tc != nil {
		state, err := c.wire.handshake(tc)
		if err != nil {
			c.log.Debug("TLS handshake", slog.Any("error", err))
			return
		}
		c.tls = state
	}
	if r := c.greet(ctx); r.end {
		c.finish(r)
		return
	}
	c.write(reply{code: 220, text: c.cfg.Hostname + " " + c.protocol() + " Expost"})
	for {
		r := c.next(ctx)
		if r.end {
			c.finish(r)
			return
		}
		c.write(r)
	}
}

func (c *conn) protocol() string {
	if c.cfg.Mode == LMTP {
		return "LMTP"
	}
	return "ESMTP"
}

// write puts a reply into the output, which is sent at the next read.
func (c *conn) write(r reply) {
	if r.code != 0 {
		_, _ = c.wire.out.Write(r.append(c.wire.out.AvailableBuffer())) // an error comes back at Flush
	}
}

// finish sends the last reply and ends the output.
func (c *conn) finish(r reply) {
	c.write(r)
	_ = c.wire.out.Flush()
	if r.code >= 500 || c.wire.in.Buffered() > 0 {
		c.wire.linger()
	}
}

// next reads one command and carries it out.
func (c *conn) next(ctx context.Context) reply {
	c.wire.expectCommand()
	line, err := c.wire.readLine(commandLine, c.strict)
	if err != nil && err != errLineTooLong {
		return c.broken(err)
	}
	r := reply{code: 500, status: "5.5.2", text: "line too long"}
	if err == nil {
		verb, arg, ok := splitCommand(line)
		r = reply{code: 500, status: "5.5.2", text: "a command may not hold control characters"}
		if ok {
			r = c.handle(ctx, verb, arg)
		}
	}
	return c.limit(r)
}

// limit ends the sessions of clients that do nothing useful.
func (c *conn) limit(r reply) reply {
	if r.code >= 500 {
		c.failures++
	}
	if r.end || c.failures <= c.cfg.Limits.Errors && c.idle <= c.cfg.Limits.Idle {
		return r
	}
	c.write(r)
	return reply{code: 421, status: "4.7.0", text: "too many commands without effect, closing"}.closing()
}

// broken is the last reply to a client whose input ended or cannot be read on.
func (c *conn) broken(err error) reply {
	switch {
	case errors.Is(err, errStopping):
		return reply{code: 421, status: "4.3.2", text: c.cfg.Hostname + " is shutting down"}.closing()
	case errors.Is(err, errBareNewline):
		return reply{code: 550, status: "5.5.2", text: "a bare LF or CR is not a line end (RFC 5321 2.3.8)"}.closing()
	case errors.Is(err, bufio.ErrTooLong):
		return reply{code: 500, status: "5.5.2", text: "line too long"}.closing()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return reply{code: 421, status: "4.4.2", text: c.cfg.Hostname + " waited too long"}.closing()
	}
	return none.closing()
}

// handle carries out one command.
func (c *conn) handle(ctx context.Context, verb, arg string) reply {
	switch verb {
	case "HELO", "EHLO", "LHLO":
		return c.hello(ctx, verb, arg)
	case "STARTTLS":
		return c.startTLS(arg)
	case "AUTH":
		return c.auth(ctx, arg)
	case "MAIL":
		return c.mail(ctx, arg)
	case "RCPT":
		return c.rcpt(ctx, arg)
	case "DATA":
		return c.data(ctx, arg)
	case "BDAT":
		return c.bdat(ctx, arg)
	case "RSET":
		return c.rset(arg)
	case "XCLIENT":
		return c.xclient(arg)
	case "NOOP", "VRFY", "HELP":
		return c.noop(verb)
	case "QUIT":
		return reply{code: 221, status: "2.0.0", text: "bye"}.closing()
	case "CONNECT", "GET", "HEAD", "OPTIONS", "POST", "PUT":
		return reply{code: 421, status: "4.7.0", text: "this is no web server"}.closing()
	}
	return reply{code: 500, status: "5.5.1", text: "command not known"}
}
