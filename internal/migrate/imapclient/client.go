// Package imapclient is the client side of IMAP as a migration needs it:
// reading large mailboxes quickly from servers of any age and of any
// correctness. It streams message bodies, keeps no state of the mailbox, trusts
// no sequence number and no announced size, and skips what it does not know.
package imapclient

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"expost/internal/mail"
)

// Security says how a connection is protected.
type Security uint8

// The forms of security.
const (
	TLS      Security = iota // from the first byte
	StartTLS                 // STARTTLS before the login
	Plain                    // not at all
)

// Options of a connection. Zero values mean the defaults named beside them.
type Options struct {
	Security   Security
	TLSConfig  *tls.Config   // verify against the host's name
	Timeout    time.Duration // of one silence of the server: 5 minutes
	MaxLiteral int64         // larger messages are taken for nonsense: 4 GiB
	MaxLine    int           // bytes of one response without bodies: 64 MiB
	Dial       Dialer        // TCP
}

// Dialer makes a connection to a host and port.
type Dialer func(ctx context.Context, address string) (net.Conn, error)

// withDefaults returns o with its zero fields set.
func (o Options) withDefaults() Options {
	if o.Timeout <= 0 {
		o.Timeout = 5 * time.Minute
	}
	if o.MaxLiteral <= 0 {
		o.MaxLiteral = 4 << 30
	}
	if o.MaxLine <= 0 {
		o.MaxLine = 64 << 20
	}
	if o.Dial == nil {
		tcp := net.Dialer{Timeout: 30 * time.Second}
		o.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			return tcp.DialContext(ctx, "tcp", address)
		}
	}
	return o
}

// StatusError is a server's NO, BAD or BYE.
type StatusError struct {
	Status string // NO, BAD, BYE
	Code   string // the response code without brackets, or ""
	Text   string
}

// Error returns the server's words.
func (e *StatusError) Error() string {
	if e.Code != "" {
		return fmt.Sprintf("the server says %s [%s] %s", e.Status, e.Code, e.Text)
	}
	return fmt.Sprintf("the server says %s %s", e.Status, e.Text)
}

// ErrGarbage is in the chain of errors about bytes that are not IMAP.
var ErrGarbage = errors.New("the server's answer is not IMAP")

// Client is one connection. It is not for concurrent use. After any error that
// is not a *StatusError of NO or BAD the connection is of no use any more.
type Client struct {
	opt   Options
	conn  net.Conn
	r     *bufio.Reader
	w     *bufio.Writer
	tag   int
	caps  map[string]bool
	bye   *StatusError
	spare []byte // the buffer of lines longer than r's
	stop  func() bool
	ready bool // logged in by the greeting
	hello string
	code  string // the response code of the last tagged OK
}

// patientConn gives every read and write its own deadline.
type patientConn struct {
	net.Conn
	timeout time.Duration
}

func (c patientConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c patientConn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// Dial connects, protects the connection and reads the greeting. The
// connection ends with ctx. A server that is away is mail.KindUnavailable, a
// certificate that does not verify mail.KindPermission.
func Dial(ctx context.Context, address string, opt Options) (*Client, error) {
	opt = opt.withDefaults()
	conn, err := opt.Dial(ctx, address)
	if err != nil {
		return nil, mail.WrapError(mail.KindUnavailable, err, "connecting to %s", address)
	}
	c := &Client{opt: opt}
	c.stop = context.AfterFunc(ctx, func() { conn.Close() })
	c.use(conn)
	if err := c.open(ctx, address, conn); err != nil {
		c.Abort()
		return nil, err
	}
	return c, nil
}

// use makes conn the connection.
func (c *Client) use(conn net.Conn) {
	c.conn = conn
	p := patientConn{conn, c.opt.Timeout}
	c.r = bufio.NewReaderSize(p, 128<<10)
	c.w = bufio.NewWriterSize(p, 16<<10)
}

// open does what comes before the login.
func (c *Client) open(ctx context.Context, address string, conn net.Conn) error {
	if c.opt.Security == TLS {
		if err := c.handshake(ctx, address, conn); err != nil {
			return err
		}
	}
	if err := c.greeting(); err != nil {
		return fmt.Errorf("reading the greeting of %s: %w", address, err)
	}
	if c.opt.Security != StartTLS {
		return nil
	}
	if err := c.Command("STARTTLS", nil); err != nil {
		return fmt.Errorf("starting TLS with %s: %w", address, err)
	}
	if c.r.Buffered() > 0 { // whoever put it there was not asked (CVE-2011-0411)
		return mail.Errorf(mail.KindPermission, "%s sent clear text after STARTTLS", address)
	}
	c.caps = nil
	return c.handshake(ctx, address, conn)
}

// handshake puts TLS over conn.
func (c *Client) handshake(ctx context.Context, address string, conn net.Conn) error {
	cfg := c.opt.TLSConfig.Clone()
	if cfg == nil {
		cfg = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if cfg.ServerName == "" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return fmt.Errorf("reading the address %q: %w", address, err)
		}
		cfg.ServerName = host
	}
	tc := tls.Client(conn, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		kind := mail.KindUnavailable
		if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
			kind = mail.KindPermission
		}
		return mail.WrapError(kind, err, "making a TLS connection to %s", address)
	}
	c.use(tc)
	return nil
}

// greeting reads the first line (RFC 9051 §7.1).
func (c *Client) greeting() error {
	res, err := c.next()
	if err != nil {
		return err
	}
	switch {
	case res.tag != "*":
		return c.garbage(res.line.rest())
	case res.name == "PREAUTH" || res.name == "OK":
		c.hello = res.status().Text
	}
	switch {
	case res.name == "PREAUTH":
		c.ready = true
	case res.name == "BYE":
		return res.status()
	case res.name != "OK":
		return c.garbage(res.line.rest())
	}
	c.learn(res)
	return nil
}

// Has tells whether the server announced a capability, asking for them where
// they are not known.
func (c *Client) Has(capability string) (bool, error) {
	if c.caps == nil {
		if err := c.Command("CAPABILITY", nil); err != nil {
			return false, fmt.Errorf("asking for the capabilities: %w", err)
		}
		if c.caps == nil {
			c.caps = map[string]bool{}
		}
	}
	return c.caps[strings.ToUpper(capability)], nil
}

// Greeting returns the words of the server's greeting.
func (c *Client) Greeting() string { return c.hello }

// Code returns the response code of the last tagged OK, without brackets:
// "APPENDUID 12 7".
func (c *Client) Code() string { return c.code }

// Value returns the value of a capability that has one, "35651584" of
// APPENDLIMIT=35651584. Call Has first.
func (c *Client) Value(capability string) string {
	for name := range c.caps {
		if value, ok := strings.CutPrefix(name, strings.ToUpper(capability)+"="); ok {
			return value
		}
	}
	return ""
}

// setCapabilities keeps a capability list.
func (c *Client) setCapabilities(list string) {
	c.caps = map[string]bool{}
	for _, w := range strings.Fields(list) {
		c.caps[strings.ToUpper(w)] = true
	}
}

// Login logs in: by AUTHENTICATE PLAIN where the server offers it or authzid
// is given, else by LOGIN. A refusal is mail.KindAuth, one that may pass by
// itself (RFC 5530 UNAVAILABLE, INUSE, LIMIT) mail.KindTemporary.
func (c *Client) Login(authzid, user, password string) error {
	if c.ready {
		return nil
	}
	plain, err := c.Has("AUTH=PLAIN")
	if err != nil {
		return err
	}
	if plain || authzid != "" {
		err = c.authenticatePlain(authzid, user, password)
	} else {
		err = c.Command("LOGIN", nil, Text(user), Text(password))
	}
	if s, ok := errors.AsType[*StatusError](err); ok && s.Status != "BYE" {
		kind := mail.KindAuth
		switch s.Code {
		case "UNAVAILABLE", "INUSE", "LIMIT", "THROTTLED", "SERVERBUG":
			kind = mail.KindTemporary
		}
		return mail.WrapError(kind, err, "logging in as %q was refused", user)
	}
	if err != nil {
		return fmt.Errorf("logging in as %q: %w", user, err)
	}
	return nil
}

// authenticatePlain is AUTHENTICATE PLAIN (RFC 4616) without an initial
// response, which old servers do not know.
func (c *Client) authenticatePlain(authzid, user, password string) error {
	c.caps = nil // they change with the login
	tag := c.begin("AUTHENTICATE PLAIN")
	c.w.WriteString("\r\n")
	if err := c.flush(); err != nil {
		return err
	}
	if err := c.wait(tag, nil, true); err != errContinue {
		return err
	}
	response := base64.StdEncoding.EncodeToString([]byte(authzid + "\x00" + user + "\x00" + password))
	c.w.WriteString(response + "\r\n")
	if err := c.flush(); err != nil {
		return err
	}
	return c.wait(tag, nil, false)
}

// Text is a string argument of a command: sent quoted, or as a literal where
// it holds what a quoted string cannot.
type Text string

// Raw is an argument that is sent as it is.
type Raw string

// Command sends one command, gives every untagged response to fn (nil: they
// are dropped) and returns when the server has ended it; a NO or BAD is a
// *StatusError.
func (c *Client) Command(name string, fn func(*Response) error, args ...any) error {
	tag, err := c.Send(name, args...)
	if err != nil {
		return err
	}
	return c.Wait(tag, fn)
}

// Send sends a command without waiting for its end: call Wait with what it
// returns, in the order of sending.
func (c *Client) Send(name string, args ...any) (tag string, err error) {
	if name == "LOGIN" {
		c.caps = nil // they change with the login
	}
	tag = c.begin(name)
	for _, a := range args {
		c.w.WriteByte(' ')
		switch a := a.(type) {
		case Raw:
			c.w.WriteString(string(a))
		case Text:
			if err := c.writeText(tag, string(a)); err != nil {
				return "", err
			}
		}
	}
	c.w.WriteString("\r\n")
	return tag, c.flush()
}

// begin writes a new tag and the command's name.
func (c *Client) begin(name string) string {
	c.tag++
	tag := "x" + strconv.Itoa(c.tag)
	c.w.WriteString(tag + " " + name)
	return tag
}

// writeText writes a string, waiting for the server's leave where it has to be
// a literal.
func (c *Client) writeText(tag, s string) error {
	if !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		c.w.WriteByte('"')
		for i := range len(s) {
			if s[i] == '"' || s[i] == '\\' {
				c.w.WriteByte('\\')
			}
			c.w.WriteByte(s[i])
		}
		return c.w.WriteByte('"')
	}
	fmt.Fprintf(c.w, "{%d}\r\n", len(s))
	if err := c.flush(); err != nil {
		return err
	}
	if err := c.wait(tag, nil, true); err != errContinue {
		return err
	}
	_, err := c.w.WriteString(s)
	return err
}

func (c *Client) flush() error {
	if err := c.w.Flush(); err != nil {
		return mail.WrapError(mail.KindUnavailable, err, "sending a command")
	}
	return nil
}

// errContinue is what wait returns at a continuation request.
var errContinue = errors.New("continuation request")

// Wait reads up to the end of the command of this tag.
func (c *Client) Wait(tag string, fn func(*Response) error) error { return c.wait(tag, fn, false) }

func (c *Client) wait(tag string, fn func(*Response) error, continuation bool) error {
	for {
		res, err := c.next()
		if err != nil {
			return err
		}
		switch {
		case res.tag == "+":
			if continuation {
				return errContinue
			}
		case res.tag == tag:
			c.learn(res)
			if res.name != "OK" {
				return res.status()
			}
			c.code = res.status().Code
			return nil
		case res.tag != "*":
			return c.garbage([]byte(res.tag))
		default:
			if err := c.untagged(res, fn); err != nil {
				return err
			}
		}
	}
}

// untagged deals with what every command may be answered with and passes the
// response on.
func (c *Client) untagged(res *Response, fn func(*Response) error) error {
	switch res.name {
	case "BYE":
		c.bye = res.status()
		return nil
	case "CAPABILITY":
		c.setCapabilities(string(res.line.rest()))
		return nil
	case "OK":
		c.learn(res)
	}
	if fn != nil {
		if err := fn(res); err != nil {
			return err
		}
	}
	return res.line.skip()
}

// learn keeps the capabilities of a status response's code.
func (c *Client) learn(res *Response) {
	if code := res.status().Code; strings.HasPrefix(strings.ToUpper(code), "CAPABILITY ") {
		c.setCapabilities(code[len("CAPABILITY "):])
	}
}

// garbage returns an error that shows the bytes.
func (c *Client) garbage(b []byte) error {
	const most = 60
	if len(b) > most {
		b = b[:most]
	}
	return mail.WrapError(mail.KindUnavailable, ErrGarbage, "reading from the server: %q", b)
}

// readError names an error of the connection.
func (c *Client) readError(err error) error {
	if c.bye != nil {
		return mail.WrapError(mail.KindUnavailable, c.bye, "the server ended the connection")
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return mail.WrapError(mail.KindUnavailable, err, "reading from the server")
}

// Close says LOGOUT and ends the connection without waiting long.
func (c *Client) Close() error {
	c.opt.Timeout = time.Second
	c.w.WriteString("bye LOGOUT\r\n")
	flushed := c.w.Flush()
	return errors.Join(flushed, c.Abort())
}

// Abort ends the connection at once.
func (c *Client) Abort() error {
	c.stop()
	return c.conn.Close()
}
