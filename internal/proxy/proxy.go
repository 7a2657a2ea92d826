// Package proxy serves accounts whose mailbox lives on another host: it logs in
// there as the user and then hands bytes to and fro. IMAP, POP3 and submission
// work so; the far side may be the old Exchange, any other server, or another
// Expost.
//
// Until the login is done both sides speak to us; afterwards they speak to each
// other. So the client sees the far side's capabilities, and every command that
// the far side knows.
package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"expost/internal/directory"
	"expost/internal/mail"
)

// Verification says what a far side's certificate must be.
type Verification string

// The verifications. The empty one is VerifyFull.
const (
	VerifyFull Verification = "verify"  // good, and of the host's name
	VerifyNone Verification = "require" // any: encrypted, but for whom?
	ClearText  Verification = "none"    // no TLS where the address does not ask for it
)

// Host is a server on which mailboxes live.
type Host struct {
	Name string // as mailHost has it, in lower case

	// The services, "imaps://host:993", "imap://host:143" (with STARTTLS),
	// and so on with pop3, pop3s, submission, submissions. Empty: not served by
	// proxy.
	IMAP, POP3, Submission string

	TLS      Verification
	Roots    *x509.CertPool // nil: the system's
	CertName string         // in the certificate, where it is not that of the address

	// Login is what to log in there as: text with {login}, as the client has
	// typed it, {address}, {local}, {domain} and {uid}; empty: "{address}".
	Login string
	// Master logs in for the users, with its own password and their Login as the
	// authorization identity (RFC 4616); empty: each user's own password is used.
	Master, MasterPassword string
	// TellClient passes the client's address on, where the far side takes it:
	// IMAP ID as Dovecot takes it, XCLIENT.
	TellClient bool
	Learn      bool // a password that was right there is stored here
}

// Service returns the URL of a protocol's service; empty: there is none.
func (h *Host) Service(protocol string) string {
	switch protocol {
	case "imap":
		return h.IMAP
	case "pop3":
		return h.POP3
	case "submission":
		return h.Submission
	}
	return ""
}

// Config of a Proxy.
type Config struct {
	Hostname string           // ours, for EHLO
	Hosts    map[string]*Host // by name
	Timeout  time.Duration    // from dialling to the login; 0: 30 s
	Idle     time.Duration    // of a session in which neither side says anything; 0: 35 min
	Log      *slog.Logger
}

// Proxy opens sessions on other hosts. It is safe for concurrent use.
type Proxy struct {
	cfg     Config
	buffers sync.Pool
}

// New returns a Proxy.
func New(cfg Config) *Proxy {
	if cfg.Timeout == 0 {
		cfg.Timeout = 30 * time.Second
	}
	if cfg.Idle == 0 {
		cfg.Idle = 35 * time.Minute
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Proxy{cfg: cfg, buffers: sync.Pool{New: func() any { return new([bufferSize]byte) }}}
}

// Host returns what is known of a mailHost. One that is not configured is spoken
// to on the standard ports, with TLS from the first byte and a good certificate.
func (p *Proxy) Host(name string) *Host {
	name = strings.ToLower(name)
	if h := p.cfg.Hosts[name]; h != nil {
		return h
	}
	return &Host{Name: name, IMAP: "imaps://" + name, POP3: "pop3s://" + name}
}

// NeedsPasswords tells whether a configured host is logged in to with the users'
// own passwords, so that they must bring them.
func (p *Proxy) NeedsPasswords() bool {
	for _, h := range p.cfg.Hosts {
		if h.Master == "" {
			return true
		}
	}
	return false
}

// Request is who wants to log in where.
type Request struct {
	Protocol string // "imap", "pop3", "submission"
	Account  *directory.Account
	Login    string // as the client has typed it
	Password string // any bytes
	Client   netip.Addr
	TLS      bool // the client's side has it
	Hops     int  // proxies that the client has come through already
	Check    bool // the password is all that is of interest: no master logs in
}

// MaxHops is how many proxies a client may come through. Two hosts that each
// take the mailbox for the other's are noticed by it, where they tell each other
// (TellClient).
const MaxHops = 3

// Session is a login on the far side.
type Session struct {
	proxy    *Proxy
	conn     net.Conn
	in       *bufio.Reader
	Greeting string // what the far side said to the login: IMAP's CAPABILITY list, POP3's and SMTP's text
}

// Close ends the session.
func (s *Session) Close() error { return s.conn.Close() }

// Open logs in on the account's host. Errors: mail.KindAuth where the far side
// refuses the password, mail.KindTemporary and mail.KindUnavailable where it is
// away or does not work now; never the one for the other.
func (p *Proxy) Open(ctx context.Context, req Request) (*Session, error) {
	if req.Hops >= MaxHops {
		return nil, mail.Errorf(mail.KindUnavailable, "the mailbox is nowhere: the hosts send each other for it (is mailHost %s right?)", req.Account.Host)
	}
	h := p.Host(req.Account.Host)
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	d, err := p.dial(ctx, h, req.Protocol)
	if err != nil {
		return nil, away(h, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = d.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	switch req.Protocol {
	case "imap":
		err = d.openIMAP(ctx, h, &req)
	case "pop3":
		err = d.openPOP3(ctx, h, &req)
	default:
		err = d.openSMTP(ctx, h, &req)
	}
	if err == nil && !stop() {
		err = ctx.Err()
	}
	if err == nil {
		err = d.conn.SetDeadline(time.Time{})
	}
	if err != nil {
		_ = d.conn.Close()
		return nil, away(h, err)
	}
	return &Session{proxy: p, conn: d.conn, in: d.in, Greeting: d.greeting}, nil
}

// away makes an error that has no Kind one of a host that does not answer.
func away(h *Host, err error) error {
	if me, ok := errors.AsType[*mail.Error](err); ok {
		return me
	}
	return mail.WrapError(mail.KindUnavailable, err, "the mailbox is on %s, which does not answer: try again later", h.Name)
}

// credentials returns whom to log in as: the login, the password, and whom the
// login is to act for, where it is another.
func (h *Host) credentials(req *Request) (login, password, authzid string) {
	form := h.Login
	if form == "" {
		form = "{address}"
	}
	a := req.Account
	user := strings.NewReplacer("{login}", req.Login, "{address}", string(a.Address), "{local}", a.Address.Local(), "{domain}", a.Address.Domain(), "{uid}", uidOf(a)).Replace(form)
	if h.Master != "" && !req.Check {
		return h.Master, h.MasterPassword, user
	}
	return user, req.Password, ""
}

// uidOf returns the value of uid in an account's DN, or else the local part of
// its address.
func uidOf(a *directory.Account) string {
	if len(a.DN) > 0 {
		for _, ava := range a.DN[0] {
			if strings.EqualFold(ava.Type, "uid") {
				return ava.Value
			}
		}
	}
	return a.Address.Local()
}

// ports are the standard ones, by scheme. Those of the schemes that end in "s"
// speak TLS from the first byte.
func ports(scheme string) (port string, implicit, known bool) {
	switch scheme {
	case "imap":
		return "143", false, true
	case "imaps":
		return "993", true, true
	case "pop3":
		return "110", false, true
	case "pop3s":
		return "995", true, true
	case "submission":
		return "587", false, true
	case "submissions":
		return "465", true, true
	}
	return "", false, false
}

// endpoint is where a service listens.
type endpoint struct {
	address  string // host:port
	name     string // of the host
	implicit bool
}

// parse reads a service's URL.
func parse(service, protocol string) (endpoint, error) {
	u, err := url.Parse(service)
	if err != nil || u.Host == "" || u.Path != "" && u.Path != "/" || u.User != nil || u.RawQuery != "" {
		return endpoint{}, fmt.Errorf("%q is no service: write %ss://host or %s://host:port", service, protocol, protocol)
	}
	port, implicit, known := ports(u.Scheme)
	if !known || strings.TrimSuffix(u.Scheme, "s") != protocol {
		return endpoint{}, fmt.Errorf("%q is no service of %s: write %ss://host or %s://host:port", service, protocol, protocol, protocol)
	}
	if u.Port() != "" {
		port = u.Port()
	}
	return endpoint{net.JoinHostPort(u.Hostname(), port), u.Hostname(), implicit}, nil
}

// Check returns an error for a Host that cannot be used.
func (h *Host) Check() error {
	for _, protocol := range []string{"imap", "pop3", "submission"} {
		if s := h.Service(protocol); s != "" {
			if _, err := parse(s, protocol); err != nil {
				return err
			}
		}
	}
	switch h.TLS {
	case "", VerifyFull, VerifyNone, ClearText:
		return nil
	}
	return fmt.Errorf("%q is none of verify, require, none", h.TLS)
}

// dialog is the part of a session in which we speak to the far side.
type dialog struct {
	conn     net.Conn
	in       *bufio.Reader
	tls      *tls.Config // for STARTTLS; nil: none
	secured  bool
	hostname string // ours
	greeting string
}

// maxLine is the longest line of a far side's that we read, bytes.
const maxLine = 64 << 10

// dial connects to a service.
func (p *Proxy) dial(ctx context.Context, h *Host, protocol string) (*dialog, error) {
	at, err := parse(h.Service(protocol), protocol)
	if err != nil {
		return nil, err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", at.address)
	if err != nil {
		return nil, err
	}
	d := &dialog{conn: conn, hostname: p.cfg.Hostname}
	if h.TLS != ClearText || at.implicit {
		d.tls = &tls.Config{ServerName: at.name, RootCAs: h.Roots, MinVersion: tls.VersionTLS12, InsecureSkipVerify: h.TLS == VerifyNone || h.TLS == ClearText}
		if h.CertName != "" {
			d.tls.ServerName = h.CertName
		}
	}
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	if at.implicit {
		if err := d.secure(ctx); err != nil {
			_ = conn.Close()
			return nil, err
		}
	}
	d.in = bufio.NewReaderSize(d.conn, 4<<10)
	return d, nil
}

// secure puts TLS over the connection.
func (d *dialog) secure(ctx context.Context) error {
	if d.in != nil && d.in.Buffered() > 0 {
		return errors.New("the far side sent something before the TLS handshake")
	}
	tc := tls.Client(d.conn, d.tls)
	if err := tc.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	d.conn, d.secured = tc, true
	d.in = bufio.NewReaderSize(d.conn, 4<<10)
	return nil
}

// line reads a line without its end.
func (d *dialog) line() (string, error) {
	var line []byte
	for {
		piece, err := d.in.ReadSlice('\n')
		line = append(line, piece...)
		switch {
		case len(line) > maxLine:
			return "", errors.New("the far side's line is too long")
		case err == nil:
			return strings.TrimRight(string(line), "\r\n"), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return "", err
		}
	}
}

// send writes lines.
func (d *dialog) send(pieces ...string) error {
	_, err := d.conn.Write([]byte(strings.Join(pieces, "")))
	return err
}

// soundsTemporary tells whether a refusal without a code is one of a server that
// does not work now, in the words of Exchange and others, and none of a password.
func soundsTemporary(text string) bool {
	text = strings.ToLower(text)
	for _, word := range []string{"unavailable", "temporar", "try again", "later", "busy", "too many", "throttl", "connection limit", "internal error", "timed out", "timeout"} {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}

// refused makes an error of a far side's refusal of a login.
func refused(h *Host, temporary bool, text string) error {
	if temporary {
		return mail.WrapError(mail.KindTemporary, errors.New(text), "the mailbox is on %s, which cannot check the login now: try again later", h.Name)
	}
	return mail.WrapError(mail.KindAuth, fmt.Errorf("%s: %s", h.Name, text), "wrong login or password")
}
