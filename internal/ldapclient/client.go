// Package ldapclient speaks LDAP (RFC 4511) to other servers: one connection
// that carries out one operation after the other, and a pool of them that goes
// from a server that is away to the next.
package ldapclient

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"expost/internal/ldap"
	"expost/internal/ldapwire"
)

// Options say how servers are reached.
type Options struct {
	TLS      *tls.Config   // of ldaps and StartTLS; its ServerName is set to each server's
	StartTLS bool          // on ldap:// connections
	Timeout  time.Duration // to connect, and for each message of an answer; 0: 30 s
	Message  int           // bytes of a message; 0: 64 MiB
}

func (o Options) withDefaults() Options {
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	if o.Message == 0 {
		o.Message = 64 << 20
	}
	return o
}

// Conn is a connection. One goroutine at a time uses it.
type Conn struct {
	opt    Options
	server string
	nc     net.Conn
	in     *ldapwire.Reader
	last   int32 // message ID
	broken error

	answered bool // something of the present answer has come
}

// NetError says that a server is away, or that it speaks something else than
// LDAP. Another server, or a later time, may do.
type NetError struct {
	Server string
	Err    error
}

// Error names the server.
func (e *NetError) Error() string { return fmt.Sprintf("LDAP server %s: %v", e.Server, e.Err) }

// Unwrap returns the cause.
func (e *NetError) Unwrap() error { return e.Err }

// ParseURL reads the URL of a server, or "host" or "host:port".
func ParseURL(server string) (address string, secure bool, err error) {
	if !strings.Contains(server, "://") {
		server = "ldap://" + server
	}
	u, err := url.Parse(server)
	if err != nil {
		return "", false, err
	}
	port := u.Port()
	switch u.Scheme {
	case "ldap":
		if port == "" {
			port = "389"
		}
	case "ldaps":
		if secure = true; port == "" {
			port = "636"
		}
	default:
		return "", false, fmt.Errorf("%q is neither ldap:// nor ldaps://", server)
	}
	if u.Hostname() == "" {
		return "", false, fmt.Errorf("%q names no host", server)
	}
	return net.JoinHostPort(u.Hostname(), port), secure, nil
}

// Dial connects to a server, with TLS where the URL or the options want it. Its
// errors are *NetError.
func Dial(ctx context.Context, server string, opt Options) (*Conn, error) {
	opt = opt.withDefaults()
	c, err := dial(ctx, server, opt)
	if err != nil {
		return nil, &NetError{server, err}
	}
	return c, nil
}

func dial(ctx context.Context, server string, opt Options) (*Conn, error) {
	address, secure, err := ParseURL(server)
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, opt.Timeout)
	defer cancel()
	nc, err := new(net.Dialer).DialContext(limited, "tcp", address)
	if err != nil {
		return nil, err
	}
	c := &Conn{opt: opt, server: server}
	c.use(nc)
	if secure {
		err = c.secure(limited, address)
	} else if opt.StartTLS {
		var done *ldapwire.Message
		done, err = c.Do(limited, &ldapwire.ExtendedRequest{Name: ldapwire.OIDStartTLS}, nil, nil)
		if err == nil {
			err = ResultOf(done)
		}
		if err == nil {
			err = c.secure(limited, address)
		}
	}
	if err != nil {
		_ = nc.Close() // err says more
		return nil, err
	}
	return c, nil
}

func (c *Conn) use(nc net.Conn) {
	c.nc = nc
	c.in = ldapwire.NewReader(bufio.NewReader(nc), c.opt.Message)
}

// secure puts TLS over the connection.
func (c *Conn) secure(ctx context.Context, address string) error {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.opt.TLS != nil {
		cfg = c.opt.TLS.Clone()
	}
	if cfg.ServerName == "" {
		cfg.ServerName, _, _ = net.SplitHostPort(address) // it was joined before
	}
	tc := tls.Client(c.nc, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		return err
	}
	c.use(tc)
	return nil
}

// Close ends the session.
func (c *Conn) Close() error {
	if c.broken == nil {
		_ = c.write(&ldapwire.UnbindRequest{}, nil) // the server notices in any case
	}
	return c.nc.Close()
}

// Server returns the URL that was dialed.
func (c *Conn) Server() string { return c.server }

// Broken returns why the connection is of no more use, or nil.
func (c *Conn) Broken() error { return c.broken }

// write sends a request under the next message ID.
func (c *Conn) write(op ldapwire.Op, controls []ldapwire.Control) error {
	c.last++
	c.answered = false
	m := ldapwire.Message{ID: c.last, Op: op, Controls: controls}
	if err := c.nc.SetWriteDeadline(time.Now().Add(c.opt.Timeout)); err != nil {
		return err
	}
	_, err := c.nc.Write(m.Append(nil))
	return err
}

// errStopped ends an operation whose each wanted no more.
var errStopped = errors.New("the answer was not read to its end")

// Do carries out an operation. each is called with every message of the answer
// but the last, which Do returns; an error of each breaks the connection and is
// returned. Other errors are *NetError. The result itself is not looked at.
func (c *Conn) Do(ctx context.Context, op ldapwire.Op, controls []ldapwire.Control, each func(*ldapwire.Message) error) (*ldapwire.Message, error) {
	return c.do(ctx, op, controls, each, c.opt.Timeout)
}

// Listen is Do for an answer that may pause for any time.
func (c *Conn) Listen(ctx context.Context, op ldapwire.Op, controls []ldapwire.Control, each func(*ldapwire.Message) error) (*ldapwire.Message, error) {
	return c.do(ctx, op, controls, each, 0)
}

func (c *Conn) do(ctx context.Context, op ldapwire.Op, controls []ldapwire.Control, each func(*ldapwire.Message) error, pause time.Duration) (*ldapwire.Message, error) {
	if c.broken != nil {
		return nil, &NetError{c.server, c.broken}
	}
	stop := context.AfterFunc(ctx, func() { _ = c.nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := c.write(op, controls); err != nil {
		return nil, c.fail(ctx, err)
	}
	for {
		m, err := c.read(ctx, pause)
		if err != nil {
			return nil, c.fail(ctx, err)
		}
		if m.ID != c.last {
			if m.ID == 0 {
				return nil, c.fail(ctx, fmt.Errorf("it ended the session: %w", ResultOf(m)))
			}
			continue // of an operation that was given up
		}
		c.answered = true
		if m.Op.Tag() == op.Tag().Response() {
			return m, nil
		}
		if each == nil {
			continue
		}
		if err := each(m); err != nil {
			c.broken = errStopped
			return nil, err
		}
	}
}

// read returns the next message.
func (c *Conn) read(ctx context.Context, pause time.Duration) (*ldapwire.Message, error) {
	var deadline time.Time
	if pause > 0 {
		deadline = time.Now().Add(pause)
	}
	if err := c.nc.SetReadDeadline(deadline); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil { // it may have ended before the deadline was set
		return nil, err
	}
	return c.in.Next()
}

// fail notes that the connection cannot go on.
func (c *Conn) fail(ctx context.Context, err error) error {
	c.broken = err
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return &NetError{c.server, err}
}

// Bind is a simple bind. A refusal is an *ldap.Error.
func (c *Conn) Bind(ctx context.Context, name string, password []byte) error {
	m, err := c.Do(ctx, &ldapwire.BindRequest{Version: 3, Name: name, Password: password}, nil, nil)
	if err != nil {
		return err
	}
	return ResultOf(m)
}

// Search calls yield with each entry that a search finds. Referrals are left
// out. A result that is not success is an *ldap.Error; an error of yield is
// returned as it is.
func (c *Conn) Search(ctx context.Context, req *ldap.SearchRequest, controls []ldapwire.Control, yield func(*ldap.Entry) error) ([]ldapwire.Control, error) {
	m, err := c.Do(ctx, &ldapwire.SearchRequest{SearchRequest: *req}, controls, func(m *ldapwire.Message) error {
		found, ok := m.Op.(*ldapwire.SearchEntry)
		if !ok {
			return nil
		}
		e, err := EntryOf(found)
		if err != nil {
			return err
		}
		return yield(e)
	})
	if err != nil {
		return nil, err
	}
	return m.Controls, ResultOf(m)
}

// SearchPages is Search with as many pages as the answer has, for servers that
// give no more than so many entries at once.
func (c *Conn) SearchPages(ctx context.Context, req *ldap.SearchRequest, size int, controls []ldapwire.Control, yield func(*ldap.Entry) error) error {
	var cookie []byte
	for {
		var err error
		if cookie, err = c.SearchPage(ctx, req, size, cookie, controls, yield); err != nil || len(cookie) == 0 {
			return err
		}
	}
}

// SearchPage is Search for one page: the first without a cookie, the others with
// that of the page before. It returns the cookie of the next; none at the end.
func (c *Conn) SearchPage(ctx context.Context, req *ldap.SearchRequest, size int, cookie []byte, controls []ldapwire.Control, yield func(*ldap.Entry) error) ([]byte, error) {
	page := ldapwire.PagedControl{Size: size, Cookie: cookie}
	answer, err := c.Search(ctx, req, append(controls[:len(controls):len(controls)], page.Control()), yield)
	if err != nil {
		return nil, err
	}
	var next []byte
	for _, control := range answer {
		if control.OID == ldapwire.OIDPaged {
			p, err := ldapwire.DecodePaged(control.Value)
			if err != nil {
				return nil, err
			}
			next = p.Cookie
		}
	}
	return next, nil
}

// EntryOf returns an entry of an answer.
func EntryOf(found *ldapwire.SearchEntry) (*ldap.Entry, error) {
	dn, err := ldap.ParseDN(found.DN)
	if err != nil {
		return nil, err
	}
	return &ldap.Entry{DN: dn, Attributes: found.Attributes}, nil
}

// ResultOf returns the result of an answer's last message as an error; nil for
// success.
func ResultOf(m *ldapwire.Message) error {
	var r ldapwire.Result
	switch op := m.Op.(type) {
	case *ldapwire.Response:
		r = op.Result
	case *ldapwire.BindResponse:
		r = op.Result
	case *ldapwire.ExtendedResponse:
		r = op.Result
	default:
		return fmt.Errorf("an answer of another kind, %#02x", byte(m.Op.Tag()))
	}
	if r.Code == ldap.Success {
		return nil
	}
	e := ldap.Errorf(r.Code, "%s", r.Text)
	e.Referral = r.Referral
	if dn, err := ldap.ParseDN(r.Matched); err == nil {
		e.Matched = dn
	}
	return e
}
