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

	"expost/internal/delivery"
	"expost/internal/directory"
)

// conn is one session.
type conn struct {
	cfg    *Config
	wire   *wire
	remote netip.Addr
	local  netip.Addr
	log    *slog.Logger
	strict bool // a bare LF or CR is refused

	helo    string
	esmtp   bool
	tls     *tls.ConnectionState // nil: clear text
	account *directory.Account   // who is logged in
	env     *delivery.Envelope   // nil: no transaction

	failures int // commands refused for good
	idle     int // commands that did nothing, since the last message
	logins   int // failed ones
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{
		cfg: &s.cfg, wire: newWire(nc, &s.cfg.Limits, s.buffers),
		remote: ipOf(nc.RemoteAddr()), local: ipOf(nc.LocalAddr()),
	}
	c.log = s.log.With(slog.String("client", c.remote.String()))
	c.strict = s.cfg.BareNewline == BareReject ||
		s.cfg.BareNewline == "" && s.cfg.Mode == Receive && !c.remote.IsLoopback()
	return c
}

// ipOf returns the address of a TCP end; those of other sockets are this host's.
func ipOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap()
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// turnAway tells the client why it is not served.
func (c *conn) turnAway(reason string) {
	c.log.Info("connection refused", slog.String("reason", reason))
	if c.wire.implicitTLS() == nil {
		c.write(reply{code: 421, text: reason})
		_ = c.wire.out.Flush()
	}
}

// run is the session loop.
func (c *conn) run(ctx context.Context) {
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
		return c.hello(verb, arg)
	case "STARTTLS":
		return c.startTLS(arg)
	case "AUTH":
		return c.auth(ctx, arg)
	case "MAIL":
		return c.mail(arg)
	case "RCPT":
		return c.rcpt(ctx, arg)
	case "DATA":
		return c.data(ctx, arg)
	case "BDAT":
		return c.bdat(ctx, arg)
	case "RSET":
		return c.rset(arg)
	case "NOOP", "VRFY", "HELP":
		return c.noop(verb)
	case "QUIT":
		return reply{code: 221, status: "2.0.0", text: "bye"}.closing()
	case "CONNECT", "GET", "HEAD", "OPTIONS", "POST", "PUT":
		return reply{code: 421, status: "4.7.0", text: "this is no web server"}.closing()
	}
	return reply{code: 500, status: "5.5.1", text: "command not known"}
}
