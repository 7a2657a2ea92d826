// Package login lets people in, whatever protocol they come by: it checks
// passwords, SCRAM proofs and client certificates, slows guessing down, and bounds
// how many sessions an account has. The protocols' servers ask a Door; none of
// them knows how a login is checked.
package login

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"log/slog"
	"net/netip"
	"slices"
	"strings"

	"expost/internal/directory"
	"expost/internal/gate"
	"expost/internal/ldap"
	"expost/internal/mail"
	"expost/internal/password"
	"expost/internal/proxy"
	"expost/internal/sasl"
	"expost/internal/trace"
)

// Directory knows the accounts and their passwords; a directory.Directory is
// one. One that is also a directory.KeyKeeper makes SCRAM possible, one with
// Lookup client certificates.
type Directory interface {
	// Login returns the account of a login name after checking its password;
	// mail.KindAuth where they do not fit.
	Login(ctx context.Context, login, password string) (*directory.Account, error)
}

// finder is a Directory that knows who a login is without a password.
type finder interface {
	Lookup(ctx context.Context, login string) (*directory.Account, error)
}

// Config of a Door. All but Directory may be empty.
type Config struct {
	Directory  Directory
	Throttle   *Throttle      // nil: every try is checked at once
	Gate       *gate.Gate     // nil: no account is ever frozen
	Sessions   *Sessions      // nil: any number
	TLS        *tls.Config    // what the listeners use; for channel bindings
	Secret     []byte         // makes the salts of logins that do not exist; empty: random
	Iterations int            // of those; 0: 65,536
	Mechanisms []string       // that are offered; nil: all
	CertNames  []CertName     // which parts of a certificate name its account; nil: CertEmail, CertUPN
	Hostname   string         // this node, as in mailHost
	Proxy      *proxy.Proxy   // opens sessions on other hosts; nil: there are none
	Proxies    []netip.Prefix // other proxies, which are believed whom they speak for
	Rules      []Rule         // where passwords are checked; those of other accounts: see Door.ruleless
	Trace      *trace.Tracer  // shows who comes; nil: nothing is shown
	Log        *slog.Logger
}

// Door lets people in. It is safe for concurrent use.
type Door struct {
	cfg    Config
	finder finder              // nil: none
	keys   directory.KeyKeeper // nil: none
	key    [32]byte            // of fingerprints

	elsewhere bool // some passwords are not known here, so that SCRAM is not for everybody
}

// New returns a Door.
func New(cfg Config) *Door {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Iterations == 0 {
		cfg.Iterations = 65_536
	}
	if len(cfg.Secret) == 0 {
		cfg.Secret = []byte(rand.Text())
	}
	if cfg.CertNames == nil {
		cfg.CertNames = []CertName{CertEmail, CertUPN}
	}
	if cfg.Throttle == nil {
		cfg.Throttle = NewThrottle(ThrottleConfig{AccountFree: 1 << 30, AddressFree: 1 << 30, Log: cfg.Log})
	}
	d := &Door{cfg: cfg}
	d.finder, _ = cfg.Directory.(finder)
	d.keys, _ = cfg.Directory.(directory.KeyKeeper)
	rand.Read(d.key[:])
	d.elsewhere = cfg.Proxy != nil && cfg.Proxy.NeedsPasswords() || slices.ContainsFunc(cfg.Rules, func(r Rule) bool { return r.At != Own })
	return d
}

// Client is who stands before the door.
type Client struct {
	Protocol  string // "imap", "pop3", "submission", "ldap"
	Addr      netip.Addr
	TLS       *tls.ConnectionState // nil: clear text
	Plaintext bool                 // a password may come over this connection
	Hops      int                  // proxies that it has come through already
}

// Entry is somebody who was let in. Call Leave when the session ends.
type Entry struct {
	Account *directory.Account
	// Inside is the session's context: it ends when the account is frozen.
	Inside context.Context
	// Far is the session on the account's host, where the account is served by
	// proxy; nil: it is served here. Whoever takes it closes it.
	Far   *proxy.Session
	Trace *trace.Session // what the session is shown by; may be nil
	leave []func()
}

// Leave ends the stay.
func (e *Entry) Leave() {
	if e == nil {
		return
	}
	if e.Far != nil {
		_ = e.Far.Close()
	}
	for _, leave := range e.leave {
		leave()
	}
	e.leave = nil
}

// Mechanisms returns the SASL mechanisms that a client may use, the best first.
// Where passwords live on other hosts, SCRAM is offered only if the configuration
// names it: a program that picks it could not log in.
func (d *Door) Mechanisms(c Client) []string {
	var list []string
	add := func(names ...string) {
		for _, n := range names {
			if d.cfg.Mechanisms == nil || slices.Contains(d.cfg.Mechanisms, n) {
				list = append(list, n)
			}
		}
	}
	if c.certificate() != nil && d.finder != nil {
		add(sasl.External)
	}
	if !c.Plaintext {
		return list
	}
	if d.keys != nil && !(d.elsewhere && d.cfg.Mechanisms == nil) {
		if c.TLS != nil {
			add(sasl.ScramSHA256Plus)
		}
		add(sasl.ScramSHA256)
	}
	add(sasl.Plain, sasl.Login)
	return list
}

// Believes tells whether a client is a proxy that may say whom it speaks for.
func (d *Door) Believes(a netip.Addr) bool {
	return slices.ContainsFunc(d.cfg.Proxies, func(p netip.Prefix) bool { return p.Contains(a.Unmap()) })
}

// For returns the client that a proxy speaks for.
func (c Client) For(o proxy.Origin) Client {
	if o.Addr.IsValid() {
		c.Addr = o.Addr
	}
	c.Hops = o.Hops
	return c
}

// Offers tells whether a mechanism is one of Mechanisms.
func (d *Door) Offers(c Client, mechanism string) bool {
	return slices.Contains(d.Mechanisms(c), mechanism)
}

// Knows tells whether a mechanism might be offered over TLS.
func (d *Door) Knows(mechanism string) bool {
	return d.Offers(Client{TLS: &tls.ConnectionState{}, Plaintext: true}, strings.ToUpper(mechanism))
}

// Exchange is a SASL exchange, and who came in by it.
type Exchange struct {
	sasl.Server
	Entry *Entry // when it is done
}

// Start begins a SASL exchange. mail.KindNotExist where the mechanism is not
// one of Mechanisms.
func (d *Door) Start(ctx context.Context, c Client, mechanism string) (*Exchange, error) {
	mechanism = strings.ToUpper(mechanism)
	if !slices.Contains(d.Mechanisms(c), mechanism) {
		return nil, mail.Errorf(mail.KindNotExist, "the mechanisms are %s", strings.Join(d.Mechanisms(c), ", "))
	}
	x := &Exchange{}
	a := sasl.Authority{
		Password: func(authzid, login, password string) (err error) {
			x.Entry, err = d.password(ctx, c, credentials{mechanism, authzid, login, password})
			return err
		},
		Keys: func(login string) (password.Scram, error) { return d.keysOf(ctx, login), nil },
		Proof: func(authzid, login string, ok bool) (err error) {
			x.Entry, err = d.proof(ctx, c, credentials{mechanism: mechanism, authzid: authzid, login: login}, ok)
			return err
		},
		Certificate: func(authzid string) (err error) {
			x.Entry, err = d.certificate(ctx, c, authzid)
			return err
		},
	}
	if c.TLS != nil {
		a.Binding = sasl.NewBinding(c.TLS, d.cfg.TLS)
	}
	x.Server = sasl.New(mechanism, a)
	return x, nil
}

// credentials are what a client brings.
type credentials struct {
	mechanism, authzid, login, password string
}

// Password lets a client with a login and a password in, as IMAP's LOGIN, POP3's
// PASS and LDAP's simple bind bring them. Errors are those of sasl.Server.
func (d *Door) Password(ctx context.Context, c Client, login, password string) (*Entry, error) {
	return d.password(ctx, c, credentials{mechanism: "password", login: login, password: password})
}

// Bind is LDAP's simple bind. Where the DN is an account's, the account logs in:
// its tries are counted and its password is checked as with any other login. bind
// checks all other DNs, slowed down in the same way. The Entry is nil for those.
func (d *Door) Bind(ctx context.Context, c Client, dn ldap.DN, pw []byte, bind func(context.Context, ldap.DN, []byte) (directory.Identity, error)) (directory.Identity, *Entry, error) {
	if account := d.accountOf(ctx, dn); account != nil {
		e, err := d.password(ctx, c, credentials{mechanism: "simple", login: string(account.Address), password: string(pw)})
		if err != nil {
			return directory.Identity{}, nil, err
		}
		e.Leave()
		return directory.Identity{DN: e.Account.DN}, e, nil
	}
	name := strings.ToLower(dn.String())
	k := credentials{mechanism: "simple", login: name}
	try, err := d.cfg.Throttle.Begin(ctx, name, c.Addr)
	if err != nil {
		d.log(c, k, "login put off", err)
		return directory.Identity{}, nil, err
	}
	defer try.Abandon()
	who, err := bind(ctx, dn, pw)
	if err == nil {
		try.Succeeded()
	} else if ldap.CodeOf(err) == ldap.InvalidCredentials {
		try.Failed(d.fingerprint(name, string(pw)))
	}
	return who, nil, err
}

// accountOf returns the account of a DN that its uid names; nil: there is none.
func (d *Door) accountOf(ctx context.Context, dn ldap.DN) *directory.Account {
	if len(dn) == 0 {
		return nil
	}
	for _, ava := range dn[0] {
		if !strings.EqualFold(ava.Type, "uid") {
			continue
		}
		if a := d.lookup(ctx, ava.Value); a != nil && strings.EqualFold(a.DN.String(), dn.String()) {
			return a
		}
	}
	return nil
}

// password checks a login and a password.
func (d *Door) password(ctx context.Context, c Client, k credentials) (*Entry, error) {
	if !c.Plaintext {
		return nil, mail.Errorf(mail.KindPermission, "a password may not be sent in clear text here; use TLS")
	}
	return d.admit(ctx, c, k, func(ctx context.Context, known *directory.Account) (*directory.Account, *proxy.Session, error) {
		return d.verify(ctx, c, k, known)
	})
}

// keysOf returns the SCRAM keys of a login.
func (d *Door) keysOf(ctx context.Context, login string) password.Scram {
	decoys := password.Decoys(d.cfg.Secret, strings.ToLower(login), d.cfg.Iterations)
	if _, keys, err := d.keys.Keys(ctx, login); err == nil {
		return keys
	}
	return decoys
}

// proof lets the owner of a login in whose SCRAM proof fitted.
func (d *Door) proof(ctx context.Context, c Client, k credentials, fits bool) (*Entry, error) {
	return d.admit(ctx, c, k, func(ctx context.Context, _ *directory.Account) (*directory.Account, *proxy.Session, error) {
		account, _, err := d.keys.Keys(ctx, k.login)
		if !fits || err != nil {
			return nil, nil, errWrong()
		}
		return account, nil, nil
	})
}

// errWrong is all that a failed login tells.
func errWrong() error { return mail.Errorf(mail.KindAuth, "wrong login or password") }

// check tells who a client is that says it is known, who may be nil. It may open
// the session on another host.
type check func(ctx context.Context, known *directory.Account) (*directory.Account, *proxy.Session, error)

// admit lets a client in whom check finds right, when it is its turn. It passes
// the gate first, behind which the mailbox may live somewhere else than before.
func (d *Door) admit(ctx context.Context, c Client, k credentials, check check) (*Entry, error) {
	known := d.lookup(ctx, k.login)
	name := nameOf(known, k.login)
	try, err := d.cfg.Throttle.Begin(ctx, name, c.Addr)
	if err != nil {
		d.log(c, k, "login put off", err)
		return nil, err
	}
	defer try.Abandon()
	e := &Entry{Account: known, Inside: ctx}
	if err := d.pass(ctx, c, e); err != nil {
		d.log(c, k, "login failed", err)
		return nil, err
	}
	e.Account, e.Far, err = check(ctx, e.Account)
	if err == nil {
		err = d.mayAct(ctx, k, e.Account)
	}
	switch {
	case err == nil:
		try.Succeeded()
		err = d.settle(ctx, c, k, e)
	case mail.KindOf(err) == mail.KindAuth:
		try.Failed(d.fingerprint(name, k.password))
		d.log(c, k, "login refused", err)
	default:
		d.log(c, k, "login failed", err)
	}
	if err != nil {
		e.Leave()
		return nil, err
	}
	return e, nil
}

// pass waits at the gate for an account that is being moved, and looks up then
// where it lives.
func (d *Door) pass(ctx context.Context, c Client, e *Entry) error {
	if d.cfg.Gate == nil || e.Account == nil || c.Protocol == "ldap" {
		return nil
	}
	inside, leave, err := d.cfg.Gate.Enter(ctx, e.Account.ID)
	if err != nil {
		return err
	}
	e.Inside, e.leave = inside, append(e.leave, leave)
	if now, err := d.finder.Lookup(ctx, string(e.Account.Address)); err == nil && now.ID == e.Account.ID {
		e.Account = now
	}
	return nil
}

// settle counts the session of somebody who has proved who it is, and opens it
// on the account's host where a proof without a password did not.
func (d *Door) settle(ctx context.Context, c Client, k credentials, e *Entry) error {
	if d.cfg.Sessions != nil && c.Protocol != "ldap" {
		leave, err := d.cfg.Sessions.enter(e.Account.ID, c.Addr)
		if err != nil {
			d.log(c, k, "login failed", err)
			return err
		}
		e.leave = append(e.leave, leave)
	}
	if host := d.proxied(c, e.Account); host != nil && e.Far == nil {
		err := error(mail.Errorf(mail.KindUnavailable, "the mailbox is on %s, which needs your password: log in with PLAIN", host.Name))
		if host.Master != "" {
			e.Far, err = d.open(ctx, c, k, e.Account)
		}
		if err != nil {
			d.log(c, k, "login failed", err)
			return err
		}
	}
	e.Trace = d.cfg.Trace.Session(e.Account.Address.Key(), c.Protocol, c.Addr)
	d.cfg.Trace.Note(e.Account.Address.Key(), c.Protocol, c.Addr, "login by "+k.mechanism)
	d.cfg.Log.Info("login", "protocol", c.Protocol, "user", e.Account.Address, "login", k.login, "remote", c.Addr, "tls", c.TLS != nil, "mechanism", k.mechanism, "host", e.Account.Host)
	return nil
}

// lookup returns the account of a login; nil where there is none, or nobody can
// tell.
func (d *Door) lookup(ctx context.Context, login string) *directory.Account {
	if d.finder == nil {
		return nil
	}
	account, err := d.finder.Lookup(ctx, login)
	if err != nil {
		return nil
	}
	return account
}

// nameOf returns what a login's tries are counted by: the account where there is
// one, so that its many names do not give as many tries.
func nameOf(known *directory.Account, login string) string {
	if known != nil {
		return known.Address.Key()
	}
	return strings.ToLower(login[:min(len(login), 320)])
}

// mayAct refuses an account that wants to act for another.
func (d *Door) mayAct(ctx context.Context, k credentials, account *directory.Account) error {
	id := strings.TrimPrefix(k.authzid, "u:")
	if id == "" || id == k.login || strings.EqualFold(id, "dn:"+account.DN.String()) {
		return nil
	}
	if d.finder != nil {
		if other, err := d.finder.Lookup(ctx, id); err == nil && other.ID == account.ID {
			return nil
		}
	}
	return mail.Errorf(mail.KindPermission, "logging in for somebody else is not allowed")
}

// fingerprint tells one wrong password from another, to this process only. It is
// never 0 for a password, and 0 where none was sent.
func (d *Door) fingerprint(name, password string) uint64 {
	if password == "" {
		return 0
	}
	h := sha256.New()
	h.Write(d.key[:])
	h.Write([]byte(name + "\x00" + password))
	return binary.BigEndian.Uint64(h.Sum(nil)) | 1
}

// log tells of a login that was not let in.
func (d *Door) log(c Client, k credentials, what string, err error) {
	level := slog.LevelInfo
	switch mail.KindOf(err) {
	case mail.KindInternal, mail.KindUnavailable, mail.KindCorrupt:
		level = slog.LevelError
	}
	if d.cfg.Trace.Active() {
		d.cfg.Trace.Note(nameOf(d.lookup(context.Background(), k.login), k.login), c.Protocol, c.Addr, what+" by "+k.mechanism+": "+mail.PublicText(err))
	}
	d.cfg.Log.Log(context.Background(), level, what, "protocol", c.Protocol, "login", k.login, "remote", c.Addr, "tls", c.TLS != nil, "mechanism", k.mechanism, "err", err)
}
