// Package smtpclient sends mail to another server: SMTP (RFC 5321) and LMTP
// (RFC 2033), with PIPELINING, SIZE, 8BITMIME, SMTPUTF8, CHUNKING, DSN,
// REQUIRETLS, STARTTLS and AUTH where the server offers them.
//
// A [Conn] is one session and carries any number of messages, one after the
// other. The server is not trusted: a reply may have so many bytes and take so
// much time and no more, what it says is never written anywhere without its
// control characters, and nothing that came before TLS counts after it.
//
// Two kinds of failure are kept apart. A [Reply] is what the server said of a
// recipient, and another server of the same destination will hardly say
// otherwise. An error is a session that broke: nobody knows more about the
// message than before, and another host may be tried.
package smtpclient

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// TLSPolicy says how a session is secured.
type TLSPolicy string

// The policies. The empty one is TLSMay.
const (
	TLSNever    TLSPolicy = "never"
	TLSMay      TLSPolicy = "may"      // STARTTLS where it is offered; the certificate is not looked at (RFC 7435)
	TLSMust     TLSPolicy = "must"     // STARTTLS or nothing; the certificate is not looked at
	TLSVerify   TLSPolicy = "verify"   // STARTTLS and a certificate of the server's name, or nothing
	TLSImplicit TLSPolicy = "implicit" // TLS from the first byte (RFC 8314 §3.3) and a certificate of the server's name
)

// verifies tells whether the certificate counts.
func (p TLSPolicy) verifies() bool { return p == TLSVerify || p == TLSImplicit }

// Timeouts bound each step of a session (RFC 5321 §4.5.3.2). Zero values are
// those of the RFC.
type Timeouts struct {
	Greeting  time.Duration // 5 min
	Command   time.Duration // EHLO, STARTTLS, AUTH, MAIL, RCPT: 5 min
	DataStart time.Duration // the reply to DATA: 2 min
	DataBlock time.Duration // one write of the message: 3 min
	DataEnd   time.Duration // the reply to the message: 10 min
	Quit      time.Duration // 5 s: nothing depends on it
}

func (t Timeouts) withDefaults() Timeouts {
	for _, d := range []struct {
		value *time.Duration
		usual time.Duration
	}{
		{&t.Greeting, 5 * time.Minute}, {&t.Command, 5 * time.Minute}, {&t.DataStart, 2 * time.Minute},
		{&t.DataBlock, 3 * time.Minute}, {&t.DataEnd, 10 * time.Minute}, {&t.Quit, 5 * time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.usual
		}
	}
	return t
}

// Options of a session.
type Options struct {
	LocalName  string // what EHLO says: this host's name
	ServerName string // the name the certificate must have, where it counts
	LMTP       bool
	TLS        TLSPolicy
	TLSConfig  *tls.Config // roots and versions; nil: the system's
	Login      string      // empty: no AUTH
	Password   string
	Timeouts   Timeouts
}

// ErrTLS marks an error of negotiating TLS, after which TLSMay may be tried
// again in clear text on a new connection.
var ErrTLS = errors.New("TLS could not be agreed on")

// ErrUnheard marks the error of a session that ended before the server had
// answered anything about the message, or with a 421. Where the session had
// carried other mail before, the server had closed it for being idle, and the
// message is as good as not sent.
var ErrUnheard = errors.New("the session had ended")

// Error is a server that refuses the session: at its greeting, EHLO, STARTTLS
// or AUTH.
type Error struct {
	Doing string // "greeting"
	Reply Reply
}

// Error returns what was being done and the reply.
func (e *Error) Error() string { return e.Doing + ": " + e.Reply.String() }

// buffer is the size of each direction's buffer.
const buffer = 16 << 10

// Conn is a session, not for concurrent use.
type Conn struct {
	opt        Options
	nc         net.Conn
	in         *bufio.Reader
	out        *bufio.Writer
	extensions map[string]string // of EHLO, upper case -> parameters
	secure     bool
	broken     bool
	heard      int // replies, but for those that say that the server closes
	stop       func() bool
}

// New starts a session on nc, which it takes over, also where it fails: the
// greeting, EHLO (or HELO, or LHLO), STARTTLS and AUTH as opt says. The session
// is cut when ctx ends.
func New(ctx context.Context, nc net.Conn, opt Options) (*Conn, error) {
	opt.Timeouts = opt.Timeouts.withDefaults()
	c := &Conn{opt: opt, nc: nc}
	c.stop = context.AfterFunc(ctx, func() { _ = nc.Close() })
	if err := c.start(); err != nil {
		c.abort()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, err
	}
	return c, nil
}

func (c *Conn) start() error {
	if c.opt.TLS == TLSImplicit {
		if err := c.handshake(); err != nil {
			return err
		}
	}
	c.wrap()
	r, err := c.reply(c.opt.Timeouts.Greeting)
	if err != nil {
		return fmt.Errorf("waiting for the greeting: %w", err)
	}
	if r.Code != 220 {
		return &Error{"greeting", r}
	}
	if err := c.hello(); err != nil {
		return err
	}
	if err := c.startTLS(); err != nil {
		return err
	}
	return c.auth()
}

// wrap puts buffers around the connection.
func (c *Conn) wrap() {
	c.in, c.out = bufio.NewReaderSize(c.nc, buffer), bufio.NewWriterSize(c.nc, buffer)
}

// hello says EHLO, and HELO to a server that does not know it.
func (c *Conn) hello() error {
	word := "EHLO "
	if c.opt.LMTP {
		word = "LHLO "
	}
	r, err := c.command(word + c.opt.LocalName)
	if err != nil {
		return err
	}
	c.extensions = map[string]string{}
	if r.Code == 250 {
		for _, line := range r.lines[1:] {
			key, value, _ := strings.Cut(line, " ")
			if key, v, ok := strings.Cut(key, "="); ok { // "AUTH=LOGIN", of before RFC 2554
				c.extend(key, v+" "+value)
				continue
			}
			c.extend(key, value)
		}
		return nil
	}
	if c.opt.LMTP || r.Code == 421 || r.Code < 500 {
		return &Error{strings.TrimSpace(word), r}
	}
	if r, err = c.command("HELO " + c.opt.LocalName); err != nil {
		return err
	}
	if r.Code != 250 {
		return &Error{"HELO", r}
	}
	return nil
}

func (c *Conn) extend(key, value string) {
	key = strings.ToUpper(key)
	if old := c.extensions[key]; old != "" {
		value = old + " " + value
	}
	c.extensions[key] = value
}

// Has tells whether the server offers an extension.
func (c *Conn) Has(extension string) bool {
	_, ok := c.extensions[extension]
	return ok
}

// Secure tells whether the session is encrypted.
func (c *Conn) Secure() bool { return c.secure }

// Limit returns a limit that the server has announced (RFC 9422), "RCPTMAX",
// "MAILMAX"; 0: none.
func (c *Conn) Limit(name string) int {
	for _, word := range strings.Fields(c.extensions["LIMITS"]) {
		if key, value, _ := strings.Cut(word, "="); strings.EqualFold(key, name) {
			if n, err := strconv.Atoi(value); err == nil && n > 0 {
				return n
			}
		}
	}
	return 0
}

// sizeLimit returns the largest message the server takes; 0: it does not say.
func (c *Conn) sizeLimit() int64 {
	first, _, _ := strings.Cut(c.extensions["SIZE"], " ")
	n, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// startTLS secures the session as the policy says.
func (c *Conn) startTLS() error {
	policy := c.opt.TLS
	if policy == TLSNever || c.secure {
		return nil
	}
	optional := policy == TLSMay || policy == ""
	if !c.Has("STARTTLS") {
		if optional {
			return nil
		}
		return fmt.Errorf("%w: the server does not offer it", ErrTLS)
	}
	r, err := c.command("STARTTLS")
	if err != nil {
		return err
	}
	if r.Code != 220 {
		if optional {
			return nil
		}
		return fmt.Errorf("%w: %w", ErrTLS, &Error{"STARTTLS", r})
	}
	if c.in.Buffered() > 0 {
		return fmt.Errorf("%w: the server sent clear text behind its reply to STARTTLS", ErrTLS)
	}
	if err := c.handshake(); err != nil {
		return err
	}
	c.wrap()
	return c.hello() // RFC 3207 §4.2: what came before counts no more
}

// handshake changes to TLS.
func (c *Conn) handshake() error {
	config := &tls.Config{}
	if c.opt.TLSConfig != nil {
		config = c.opt.TLSConfig.Clone()
	}
	config.ServerName = c.opt.ServerName
	config.InsecureSkipVerify = !c.opt.TLS.verifies()
	if err := c.nc.SetDeadline(time.Now().Add(c.opt.Timeouts.Command)); err != nil {
		return err
	}
	nc := tls.Client(c.nc, config)
	if err := nc.Handshake(); err != nil {
		return fmt.Errorf("%w: %w", ErrTLS, err)
	}
	c.nc, c.secure = nc, true
	return nil
}

// command sends one line and returns the reply.
func (c *Conn) command(line string) (Reply, error) {
	if err := c.send(line); err != nil {
		return Reply{}, err
	}
	return c.reply(c.opt.Timeouts.Command)
}

// send writes a line into the buffer.
func (c *Conn) send(line string) error {
	if strings.ContainsAny(line, "\r\n\x00") {
		return errors.New("a command with a line end in it was not sent")
	}
	if err := c.writeWithin(c.opt.Timeouts.Command); err != nil {
		return err
	}
	_, err := c.out.WriteString(line + "\r\n")
	return c.fail(err)
}

// writeWithin sets the time that the next writes may take.
func (c *Conn) writeWithin(d time.Duration) error {
	return c.fail(c.nc.SetWriteDeadline(time.Now().Add(d)))
}

// reply sends what is in the buffer and reads one reply.
func (c *Conn) reply(within time.Duration) (Reply, error) {
	if c.out.Buffered() > 0 {
		if err := c.writeWithin(within); err != nil {
			return Reply{}, err
		}
		if err := c.fail(c.out.Flush()); err != nil {
			return Reply{}, err
		}
	}
	if c.in.Buffered() == 0 {
		if err := c.fail(c.nc.SetReadDeadline(time.Now().Add(within))); err != nil {
			return Reply{}, err
		}
	}
	r, err := readReply(c.in)
	if err == nil && r.Code != 421 {
		c.heard++
	}
	return r, c.fail(err)
}

// fail marks the session as broken where there is an error.
func (c *Conn) fail(err error) error {
	if err != nil {
		c.broken = true
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("the server closed the connection: %w", io.ErrUnexpectedEOF)
		}
	}
	return err
}

// Usable tells whether the session may carry another message.
func (c *Conn) Usable() bool { return !c.broken }

// Close says QUIT, where the session still stands, and closes it.
func (c *Conn) Close() {
	if !c.broken && c.send("QUIT") == nil {
		_, _ = c.reply(c.opt.Timeouts.Quit)
	}
	c.abort()
}

// abort closes the connection.
func (c *Conn) abort() {
	c.stop()
	c.broken = true
	_ = c.nc.Close()
}
