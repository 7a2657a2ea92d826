package pop3server

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"expost/internal/listener"
	"expost/internal/login"
	"expost/internal/mail"
	"expost/internal/proxy"
)

// maxLine is the longest command line, bytes: RFC 2449 §4 wants 255, SASL and
// UTF-8 names more.
const maxLine = 12 << 10

// state is where a session is (RFC 1939 §3).
type state int

const (
	authorization state = 1 << iota
	transaction
)

// conn is one connection.
type conn struct {
	srv   *Server
	nc    net.Conn
	r     *bufio.Reader
	w     *bufio.Writer
	log   *slog.Logger
	trust func()
	ctx   context.Context

	state    state
	user     string
	drop     *maildrop
	entry    *login.Entry // of who is logged in; nil: nobody
	origin   proxy.Origin // whom a proxy speaks for
	frozen   func() bool  // stops watching whether the account freezes
	utf8     bool
	errors   int
	logins   int
	began    time.Time
	stopping atomic.Bool
	taken    atomic.Bool                        // another session wants the maildrop
	silent   atomic.Int64                       // since when it waits for a command, Unix nanoseconds; 0: it is at work
	cut      atomic.Pointer[context.CancelFunc] // ends a session by proxy; nil: there is none
	quit     bool
}

func newConn(s *Server, nc net.Conn, id uint64, trust func()) *conn {
	c := &conn{
		srv: s, nc: nc, trust: trust, state: authorization, began: time.Now(), r: bufio.NewReaderSize(nc, 4<<10),
		log: s.cfg.Logger.With("cid", id, "remote", nc.RemoteAddr().String()),
	}
	c.w = bufio.NewWriterSize((*connWriter)(c), 16<<10)
	return c
}

// connWriter is what a connection's output goes to.
type connWriter conn

// Write sends what is to be sent, and shows it to whoever watches.
func (w *connWriter) Write(p []byte) (int, error) {
	if w.entry != nil {
		w.entry.Trace.Server(p)
	}
	return w.nc.Write(p)
}

// reply is an answer of one line. A code is a response code without brackets
// (RFC 2449 §8).
type reply struct {
	ok   bool
	code string
	text string
}

func ok(format string, args ...any) reply {
	return reply{ok: true, text: fmt.Sprintf(format, args...)}
}

func refused(code, format string, args ...any) reply {
	return reply{code: code, text: fmt.Sprintf(format, args...)}
}

// failure maps an error to a reply; the one place where kinds become codes.
func failure(err error) reply {
	switch mail.KindOf(err) {
	case mail.KindAuth:
		return refused("AUTH", "%s", mail.PublicText(err))
	case mail.KindTemporary, mail.KindUnavailable:
		return refused("SYS/TEMP", "%s", mail.PublicText(err))
	case mail.KindNotExist, mail.KindInvalid:
		return refused("", "%s", mail.PublicText(err))
	}
	return refused("SYS/PERM", "%s", mail.PublicText(err))
}

// command is a command's handler. It writes a multi-line answer itself and
// then returns no reply (nil).
type command struct {
	in  state
	run func(c *conn, arg string) (*reply, error)
}

// command returns the handler of a keyword in upper case.
func commandOf(name string) (command, bool) {
	switch name {
	case "CAPA":
		return command{authorization | transaction, (*conn).capa}, true
	case "STLS":
		return command{authorization, (*conn).stls}, true
	case "USER":
		return command{authorization, (*conn).userName}, true
	case "PASS":
		return command{authorization, (*conn).pass}, true
	case "AUTH":
		return command{authorization, (*conn).auth}, true
	case "XCLIENT":
		return command{authorization, (*conn).xclient}, true
	case "UTF8":
		return command{authorization, (*conn).utf8Mode}, true
	case "LANG":
		return command{authorization | transaction, (*conn).lang}, true
	case "QUIT":
		return command{authorization | transaction, (*conn).quitCommand}, true
	case "STAT":
		return command{transaction, (*conn).stat}, true
	case "LIST":
		return command{transaction, (*conn).list}, true
	case "UIDL":
		return command{transaction, (*conn).uidl}, true
	case "RETR":
		return command{transaction, (*conn).retr}, true
	case "TOP":
		return command{transaction, (*conn).top}, true
	case "DELE":
		return command{transaction, (*conn).dele}, true
	case "RSET":
		return command{transaction, (*conn).rset}, true
	case "NOOP":
		return command{transaction, func(*conn, string) (*reply, error) { return new(ok("")), nil }}, true
	}
	return command{}, false
}

// Refuse says why the connection is turned away (listener.Session).
func (c *conn) Refuse(why listener.Refusal) {
	_ = c.nc.SetDeadline(time.Now().Add(c.srv.cfg.Limits.WriteTime))
	c.say(refused("SYS/TEMP", "%s, try again later", why))
	_ = c.w.Flush()
}

// Stop ends the session at its next wait for a command (listener.Session).
func (c *conn) Stop() {
	c.stopping.Store(true)
	_ = c.nc.SetReadDeadline(time.Unix(1, 0))
	if cut := c.cut.Load(); cut != nil {
		(*cut)()
	}
}

// silentFor tells whether the session has waited so long for a command.
func (c *conn) silentFor(d time.Duration) bool {
	since := c.silent.Load()
	return since != 0 && time.Since(time.Unix(0, since)) >= d
}

// takenOver ends the session at its next wait for a command, in favour of another.
func (c *conn) takenOver() {
	c.taken.Store(true)
	c.Stop()
}

// Run is the session (listener.Session).
func (c *conn) Run(ctx context.Context) {
	c.ctx = ctx
	defer c.leave()
	if tc, ok := c.nc.(*tls.Conn); ok {
		_ = tc.SetDeadline(time.Now().Add(c.srv.cfg.Limits.LoginTime))
		if err := tc.HandshakeContext(ctx); err != nil {
			c.log.Debug("TLS handshake", "err", err)
			return
		}
	}
	c.say(ok("%s POP3 server ready", c.srv.cfg.Hostname))
	for !c.quit {
		line, err := c.readLine()
		if err != nil {
			if c.taken.Load() {
				c.say(refused("IN-USE", "another session has taken the mailbox"))
				_ = c.flush()
			} else if c.stopping.Load() {
				c.say(refused("SYS/TEMP", "server is shutting down"))
				_ = c.flush()
			} else if errors.Is(err, os.ErrDeadlineExceeded) {
				c.say(refused("", "closed after too long without a command"))
				_ = c.flush()
			}
			return
		}
		if err := c.carryOut(line); err != nil {
			c.log.Debug("connection ended", "err", err)
			return
		}
	}
	_ = c.flush()
}

// carryOut runs one command line and answers it. An error ends the session.
func (c *conn) carryOut(line string) error {
	name, arg, _ := strings.Cut(line, " ")
	cmd, known := commandOf(strings.ToUpper(name))
	var rep *reply
	var err error
	switch {
	case !known:
		rep = new(refused("", "unknown command"))
	case cmd.in&c.state == 0 && c.state == authorization:
		rep = new(refused("", "log in first"))
	case cmd.in&c.state == 0:
		rep = new(refused("", "not allowed after login"))
	default:
		rep, err = cmd.run(c, arg)
	}
	if err != nil {
		return err
	}
	if rep == nil {
		return nil
	}
	c.say(*rep)
	if !rep.ok {
		if c.errors++; c.errors >= c.srv.cfg.Limits.Errors {
			c.say(refused("", "too many errors"))
			_ = c.flush()
			return errors.New("too many errors")
		}
	}
	return nil
}

// say writes a reply of one line.
func (c *conn) say(r reply) {
	word := "-ERR"
	if r.ok {
		word = "+OK"
	}
	_, _ = c.w.WriteString(word)
	if r.code != "" {
		_, _ = c.w.WriteString(" [" + r.code + "]")
	}
	if r.text != "" {
		_, _ = c.w.WriteString(" " + r.text)
	}
	_, _ = c.w.WriteString("\r\n")
}

// flush sends what was written.
func (c *conn) flush() error {
	_ = c.nc.SetWriteDeadline(time.Now().Add(c.srv.cfg.Limits.WriteTime))
	return c.w.Flush()
}

// Write lets answers of any length go out in pieces with a deadline each.
func (c *conn) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		if c.w.Available() == 0 {
			if err := c.flush(); err != nil {
				return done, err
			}
		}
		n, err := c.w.Write(p[done:min(len(p), done+c.w.Available())])
		done += n
		if err != nil {
			return done, err
		}
	}
	return len(p), nil
}

// readLine returns the next command line without its end. What was answered is
// sent first, unless the client has sent more already (PIPELINING).
func (c *conn) readLine() (string, error) {
	if c.r.Buffered() == 0 {
		if err := c.flush(); err != nil {
			return "", err
		}
	}
	wait := min(c.srv.cfg.Limits.IdleTime, time.Until(c.began.Add(c.srv.cfg.Limits.SessionTime)))
	if c.state == authorization {
		wait = min(wait, time.Until(c.began.Add(c.srv.cfg.Limits.LoginTime)))
	}
	if err := c.nc.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return "", err
	}
	if c.stopping.Load() {
		return "", os.ErrDeadlineExceeded
	}
	if c.entry != nil {
		c.entry.Trace.Begin()
	}
	c.silent.Store(time.Now().UnixNano())
	defer c.silent.Store(0)
	var line []byte
	for {
		piece, err := c.r.ReadSlice('\n')
		line = append(line, piece...)
		if len(line) > maxLine {
			c.say(refused("", "line is longer than %d bytes", maxLine))
			_ = c.flush()
			return "", errors.New("line too long")
		}
		if err == nil {
			if c.entry != nil {
				c.entry.Trace.Client(line)
			}
			return strings.TrimRight(string(line), "\r\n"), nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return "", err
		}
	}
}

// secure tells whether nobody else can read along.
func (c *conn) secure() bool {
	_, isTLS := c.nc.(*tls.Conn)
	return isTLS
}

// passwordOK tells whether a password may be sent now.
func (c *conn) passwordOK() bool {
	return c.srv.cfg.PlaintextAuth.Allows(listener.AddrOf(c.nc.RemoteAddr()), c.secure())
}

// leave gives the maildrop back.
func (c *conn) leave() {
	if c.drop != nil {
		c.drop.close()
		c.srv.unlock(c.drop.account.ID())
		c.drop = nil
		c.frozen()
		c.entry.Leave()
	}
}
