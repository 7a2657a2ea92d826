package imapserver

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"expost/internal/directory"
	"expost/internal/imapwire"
	"expost/internal/listener"
	"expost/internal/mail"
	"expost/internal/proxy"
	"expost/internal/store"
	"expost/internal/trace"
)

// feature is what a client has switched on with ENABLE or by using it.
type feature uint8

const (
	condstore feature = 1 << iota // RFC 7162 §3.1
	qresync                       // RFC 7162 §3.2
	utf8Names                     // UTF8=ACCEPT, RFC 6855
	rev2                          // RFC 9051
	uidOnly                       // RFC 9586
)

// conn is one connection. Everything in it belongs to the goroutine of Run,
// but for stopping, and while it waits for bytes and something may be told
// meanwhile: then all but the input belongs to the goroutine that tells.
type conn struct {
	srv     *Server
	raw     net.Conn // as accepted; what other goroutines may touch
	nc      net.Conn // what is read from and written to: raw, or TLS over it
	id      uint64   // numbers the server's connections, for the log
	log     *slog.Logger
	trust   func() // stops counting it against its host
	started time.Time

	in    *bufio.Reader // borrowed while bytes are to be had
	first []byte        // what has arrived before in was borrowed
	wait  [64]byte      // where the first bytes of a command arrive
	dec   *imapwire.Decoder
	out   output
	tag   string // of the command under way

	state    state
	features feature
	account  *store.Access // the user's own
	user     *directory.Account
	who      store.Principal // the user, as of whoAt
	whoAt    time.Time
	borrowed []loan // of others, until the command ends
	owner    string // the account's address, for the log
	limit    int64  // bytes of an APPEND
	sel      *selection
	idle     bool     // an IDLE is under way
	telling  *telling // of changes, while the loop waits; nil: nobody tells
	notify   *notification
	leave    func() // gives the account's admission back; nil: nobody is logged in

	errors, logins int
	stopping       atomic.Bool // the session is to end: the server shuts down, or
	frozen         atomic.Bool // the account is being moved

	origin proxy.Origin   // whom a proxy speaks for
	traced *trace.Session // is shown what is read; may be nil

	cut atomic.Pointer[context.CancelFunc] // ends a session by proxy; nil: there is none
}

// selection is a selected mailbox.
type selection struct {
	account  *store.Access // of its owner
	prefix   string        // what stands before its name in the client's names
	rights   mail.Rights   // that the client was told of
	leave    func()        // lets another's account go; nil: it is the client's own
	view     *store.View
	id       mail.MailboxID
	readOnly bool
	recent   mail.UID    // messages from here on are \Recent
	keywords int         // how many keywords the client was told of
	saved    mail.UIDSet // the saved search result (RFC 5182)
	fetched  mail.UID    // messages from here on have not been fetched for NOTIFY
	own      mail.UIDSet // messages that the client itself put there
	arrived  mail.UID    // messages from here on came since the contexts were looked at; 0: none did
	contexts []*searchContext
	pending  mail.UIDSet // of which the contexts do not know yet whether they match
	cards    *boxCards
}

// newConn returns a connection that has not been greeted yet.
func newConn(s *Server, nc net.Conn, id uint64, trust func()) *conn {
	c := &conn{srv: s, raw: nc, nc: nc, log: s.log, id: id, trust: trust, started: time.Now(), state: notAuthenticated}
	c.out = output{nc: nc, pool: &s.buffers.write, timeout: s.cfg.Limits.WriteTime}
	c.dec = imapwire.NewDecoder(beforeLogin(), c.askLiteral)
	return c
}

// Refuse says why there is no room (listener.Session).
func (c *conn) Refuse(why listener.Refusal) {
	if c.nc.SetReadDeadline(time.Now().Add(c.out.timeout)) != nil { // a TLS handshake may come first
		return
	}
	c.out.take()
	c.out.Line("* BYE [UNAVAILABLE] ", why.String())
	_ = c.out.Flush()
	c.out.release()
}

// close gives everything back.
func (c *conn) close() {
	c.deselect()
	c.giveBack()
	c.endNotify()
	if c.account != nil {
		c.account.Release()
		c.account = nil
	}
	if c.leave != nil {
		c.leave()
		c.leave = nil
	}
	c.releaseInput()
	c.out.b = c.out.b[:0]
	c.out.release()
}

// Stop makes a waiting connection say goodbye (listener.Session).
func (c *conn) Stop() {
	c.stopping.Store(true)
	_ = c.raw.SetReadDeadline(time.Now())
	if cut := c.cut.Load(); cut != nil {
		(*cut)()
	}
}

// Run greets and serves commands until the connection ends (listener.Session).
func (c *conn) Run(ctx context.Context) {
	defer c.close()
	if c.setReadDeadline(c.srv.cfg.Limits.LoginTime) != nil {
		return
	}
	if tc, ok := c.nc.(*tls.Conn); ok && tc.HandshakeContext(ctx) != nil {
		return
	}
	c.out.take()
	c.out.Text("* OK [CAPABILITY")
	c.appendCapabilities()
	c.out.Line("] ", c.srv.cfg.Hostname, " ready")
	for c.state != loggedOut {
		if err := c.awaitCommand(ctx); err != nil {
			c.goodbye(err)
			return
		}
		if err := c.command(ctx); err != nil {
			c.goodbye(err)
			return
		}
	}
	_ = c.out.Flush()
}

// goodbye says BYE where the client may still hear it.
func (c *conn) goodbye(err error) {
	c.out.take()
	switch {
	case c.frozen.Load():
		c.out.Line("* BYE [UNAVAILABLE] the mailbox is being moved, connect again")
	case c.stopping.Load():
		c.out.Line("* BYE [UNAVAILABLE] server shutting down")
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.out.Line("* BYE [UNAVAILABLE] you were silent for too long")
	case errors.Is(err, imapwire.ErrFlood):
		c.out.Line("* BYE [TOOBIG] literal is too large")
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), c.out.err != nil:
		return
	}
	_ = c.out.Flush()
}

// setReadDeadline bounds the next reads.
func (c *conn) setReadDeadline(d time.Duration) error {
	at := time.Now().Add(d)
	if c.state == notAuthenticated {
		if end := c.started.Add(c.srv.cfg.Limits.LoginTime); end.Before(at) {
			at = end
		}
	}
	return c.nc.SetReadDeadline(at)
}

// awaitCommand returns when bytes of the next command are there. Until then
// the connection holds no buffers, and what happens is told where the client
// wants that.
func (c *conn) awaitCommand(ctx context.Context) error {
	if c.in != nil && c.in.Buffered() > 0 && !c.idle {
		return nil
	}
	if err := c.out.Flush(); err != nil {
		return err
	}
	c.out.release()
	if c.idle || c.notify != nil {
		c.startTelling(ctx)
	}
	var err error
	if c.in == nil || c.in.Buffered() == 0 {
		err = c.awaitInput()
	}
	gone := c.endTelling()
	c.out.take()
	if gone != nil {
		return gone
	}
	return err
}

// awaitInput waits for bytes and borrows a buffer for them.
func (c *conn) awaitInput() error {
	c.releaseInput()
	if err := c.setReadDeadline(c.srv.cfg.Limits.IdleTime); err != nil {
		return err
	}
	if c.stopping.Load() { // stop came before the deadline above
		return os.ErrDeadlineExceeded
	}
	n, err := c.nc.Read(c.wait[:])
	if n == 0 && err != nil {
		return err
	}
	c.first = c.wait[:n]
	c.traced.Begin()
	c.traced.Client(c.first)
	c.takeInput()
	return nil
}

// takeInput borrows a read buffer.
func (c *conn) takeInput() {
	c.in = c.srv.buffers.read.Get().(*bufio.Reader)
	c.in.Reset((*connReader)(c))
}

// releaseInput gives the read buffer back.
func (c *conn) releaseInput() {
	if c.in != nil {
		c.in.Reset(nil)
		c.srv.buffers.read.Put(c.in)
		c.in = nil
	}
}

// connReader is what a connection's read buffer reads from.
type connReader conn

// Read returns what awaitCommand read, then what comes from the network within
// Limits.ReadTime.
func (r *connReader) Read(p []byte) (int, error) {
	c := (*conn)(r)
	if len(c.first) > 0 {
		n := copy(p, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	for interrupted := false; ; interrupted = true {
		if err := c.setReadDeadline(c.srv.cfg.Limits.ReadTime); err != nil {
			return 0, err
		}
		n, err := c.nc.Read(p)
		c.traced.Client(p[:n])
		if n == 0 && !interrupted && c.stopping.Load() && errors.Is(err, os.ErrDeadlineExceeded) {
			continue // stop woke it in the middle of a command, which may end
		}
		return n, err
	}
}

// askLiteral invites a synchronizing literal.
func (c *conn) askLiteral() error {
	c.out.Line("+ go ahead")
	return c.out.Flush()
}

// command reads one command, runs it and says how it ended. An error ends the
// connection.
func (c *conn) command(ctx context.Context) error {
	if c.idle {
		return c.endIdle()
	}
	if err := c.dec.Next(c.in); err != nil {
		return err
	}
	if c.dec.Err() == nil && c.dec.AtEnd() {
		return nil // an empty line, as Mail of iOS sends it before some commands
	}
	if c.tag = c.dec.Tag(); c.tag == "" {
		c.tag = "*"
	}
	rep, err := c.dispatch(ctx)
	if err != nil {
		if c.over(ctx, err) {
			return err
		}
		if rep = failure(err); rep.code == "SERVERBUG" || rep.code == "CORRUPTION" || rep.code == "UNAVAILABLE" {
			c.log.Error("serving an IMAP command", slog.Any("error", err))
		}
	}
	if err := c.dec.Finish(); err != nil {
		return err
	}
	if err := c.end(rep); err != nil || rep.then == nil {
		return err
	}
	return rep.then(ctx)
}

// end writes a command's end, unless that comes later.
func (c *conn) end(r reply) error {
	if r.status == "" {
		return nil
	}
	c.out.Text(c.tag)
	c.out.Text(" ")
	c.out.Text(r.status)
	if r.code != "" {
		c.out.Text(" [")
		c.out.Text(r.code)
		c.out.Text("]")
	}
	c.out.Line(" ", oneLine(r.text))
	if r.status == "BAD" {
		return c.countError()
	}
	return c.out.err
}

// oneLine makes a text fit for a response.
func oneLine(s string) string {
	if !strings.ContainsAny(s, "\r\n\x00") {
		return s
	}
	return strings.NewReplacer("\r", " ", "\n", " ", "\x00", " ").Replace(s)
}

// countError ends a connection that sends nothing but nonsense.
func (c *conn) countError() error {
	c.errors++
	limit := c.srv.cfg.Limits.Errors
	if c.state == notAuthenticated {
		limit = min(limit, 5)
	}
	if c.errors < limit {
		return nil
	}
	c.out.Line("* BYE [UNAVAILABLE] too many bad commands")
	_ = c.out.Flush()
	return errClose
}

// dispatch finds the command and runs it.
func (c *conn) dispatch(ctx context.Context) (reply, error) {
	c.dec.SP()
	at := c.dec.Pos()
	name := c.dec.Keyword()
	if name == "UID" {
		c.dec.SP()
		name += " " + c.dec.Keyword()
	}
	if err := c.dec.Err(); err != nil {
		return reply{}, err
	}
	cmd, known := c.srv.commands[name]
	if !known {
		return reply{}, bad("unknown command " + name + " at position " + strconv.FormatInt(at, 10))
	}
	if cmd.in&c.state == 0 {
		return reply{}, bad(name + wrongState(c.state, cmd.in))
	}
	if cmd.takesNumbers && c.has(uidOnly) {
		return reply{}, uidRequired(name + " takes sequence numbers")
	}
	defer c.giveBack()
	rep, err := cmd.run(ctx, c)
	if c.sel != nil && c.out.err == nil {
		if gone := c.catchUp(ctx, !cmd.keepsNumbers); gone != nil {
			return reply{}, gone
		}
	}
	return rep, err
}

// wrongState says why a command that is allowed in some states is not allowed
// now.
func wrongState(now, allowed state) string {
	switch {
	case now == notAuthenticated:
		return " needs a login first"
	case allowed&selected != 0:
		return " needs a selected mailbox"
	}
	return " is not allowed after login"
}

// has tells whether the client has switched f on.
func (c *conn) has(f feature) bool { return c.features&f != 0 }

// utf8 tells whether the client takes UTF-8 in names and strings.
func (c *conn) utf8() bool { return c.has(utf8Names | rev2) }

// secure tells whether nobody else can read along.
func (c *conn) secure() bool {
	_, isTLS := c.uncompressed().(*tls.Conn)
	return isTLS
}

// uncompressed returns what COMPRESS works on.
func (c *conn) uncompressed() net.Conn {
	if z, ok := c.nc.(*compressedConn); ok {
		return z.Conn
	}
	return c.nc
}

// plaintextOK tells whether a password may be sent now.
func (c *conn) plaintextOK() bool {
	return c.srv.cfg.PlaintextAuth.Allows(listener.AddrOf(c.nc.RemoteAddr()), c.secure())
}

// deselect leaves the selected mailbox.
func (c *conn) deselect() {
	if c.sel != nil {
		c.sel.view.Close()
		if c.sel.leave != nil {
			c.sel.leave()
		}
		c.sel = nil
		c.state = authenticated
	}
}
