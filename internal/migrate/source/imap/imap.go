// Package imap is a migration's source that is any IMAP server: read only
// (EXAMINE, BODY.PEEK), by UID only, with everything that servers do wrong
// taken as it comes.
package imap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/imapclient"
)

// Config says where the server is and how to log in. In Login and Authzid
// {address}, {local} and {domain} stand for User.Source and its parts.
type Config struct {
	Address  string // host:port
	Login    string // "{address}" where empty
	Authzid  string // the account to act for (SASL PLAIN); "" for that of Login
	Password string // where a user has none
	Client   imapclient.Options
	Delays   []time.Duration // before a lost connection is made again: at once, 1 s, 5 s
	Log      *slog.Logger

	// MDNSent puts $MDNSent (RFC 3503) on every message, so that no program asks
	// or answers for a receipt again that Exchange has dealt with: Always, Never,
	// or, where the server says that it is Exchange, Auto.
	MDNSent When
}

// When says when something is done.
type When uint8

// The values of When.
const (
	Auto When = iota
	Always
	Never
)

// Source is an IMAP server.
type Source struct {
	cfg   Config
	quiet *quiet // of the users without a password of their own
}

var _ migrate.Source = (*Source)(nil)

// New returns a source.
func New(cfg Config) *Source {
	if cfg.Login == "" {
		cfg.Login = "{address}"
	}
	if cfg.Delays == nil {
		cfg.Delays = []time.Duration{0, time.Second, 5 * time.Second}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Source{cfg, &quiet{}}
}

// expand fills in a template.
func expand(template, login string) string {
	a := mail.Address(login)
	return strings.NewReplacer("{address}", login, "{local}", a.Local(), "{domain}", a.Domain()).Replace(template)
}

// Names returns what a user logs in as, and the account that the login acts
// for, or "".
func (c Config) Names(u migrate.User) (login, authzid string) {
	if c.Login == "" {
		c.Login = "{address}"
	}
	return expand(c.Login, u.Source), expand(c.Authzid, u.Source)
}

// maxThrottledLogins is how often a login waits as long as the server asks.
const maxThrottledLogins = 5

// Open implements migrate.Source.
func (s *Source) Open(ctx context.Context, u migrate.User) (migrate.SourceAccount, error) {
	a := &account{cfg: s.cfg, user: u, quiet: s.quietOf(u)}
	if err := a.connect(ctx); err != nil {
		return nil, err
	}
	return a, nil
}

// account is a session that outlives its connections.
type account struct {
	cfg      Config
	user     migrate.User
	quiet    *quiet
	c        *imapclient.Client // nil between connections
	selected string             // the mailbox that c has open
	qresync  bool               // c tells what vanished (RFC 7162)
	noStatus bool               // LIST-STATUS was refused
	mdnSent  bool               // messages get $MDNSent
	greeting string
	onWait   func(time.Duration)
	prefix   string // of the user's own mailboxes
	sep      string // between the levels of a name
}

var (
	_ migrate.SourceAccount = (*account)(nil)
	_ migrate.Measurer      = (*account)(nil)
	_ migrate.HeaderReader  = (*account)(nil)
	_ migrate.Throttled     = (*account)(nil)
)

// Close implements migrate.SourceAccount.
func (a *account) Close() error {
	if a.c == nil {
		return nil
	}
	c := a.c
	a.c = nil
	return c.Close()
}

// Refresh makes the next command see what has come to the mailboxes meanwhile.
func (a *account) Refresh() { a.selected = "" }

// Dial makes a connection to the server and logs in for a user.
func Dial(ctx context.Context, cfg Config, u migrate.User) (*imapclient.Client, error) {
	c, err := imapclient.Dial(ctx, cfg.Address, cfg.Client)
	if err != nil {
		return nil, err
	}
	login, authzid := cfg.Names(u)
	password := u.Password
	if password == "" {
		password = cfg.Password
	}
	if err := c.Login(authzid, login, password); err != nil {
		return nil, errors.Join(err, c.Abort())
	}
	return c, nil
}

// connect makes a connection and logs in, when the server lets it.
func (a *account) connect(ctx context.Context) error {
	for try := 0; ; try++ {
		if err := a.quiet.wait(ctx); err != nil {
			return err
		}
		err := a.login(ctx)
		d, ok := throttled(err)
		if !ok || try == maxThrottledLogins {
			return err
		}
		if err := a.rest(ctx, d); err != nil {
			return err
		}
	}
}

// login makes a connection and logs in.
func (a *account) login(ctx context.Context) error {
	c, err := Dial(ctx, a.cfg, a.user)
	if err != nil {
		return err
	}
	a.c, a.selected, a.greeting = c, "", c.Greeting()
	if err := a.enable(); err != nil {
		a.drop()
		return err
	}
	a.mdnSent = a.cfg.MDNSent == Always || a.cfg.MDNSent == Auto && strings.Contains(c.Greeting(), "Microsoft Exchange")
	return nil
}

// enable asks the server to tell what vanished, where it can.
func (a *account) enable() error {
	a.qresync = false
	for _, capability := range []string{"QRESYNC", "ENABLE"} {
		if has, err := a.c.Has(capability); err != nil || !has {
			return err
		}
	}
	err := a.c.Command("ENABLE", func(r *imapclient.Response) error {
		if r.Name() == "ENABLED" {
			a.qresync = strings.Contains(strings.ToUpper(r.Text()), "QRESYNC")
		}
		return nil
	}, imapclient.Raw("QRESYNC"))
	if _, ok := refused(err); ok {
		return nil
	}
	return err
}

// OnWait implements migrate.Throttled.
func (a *account) OnWait(fn func(time.Duration)) { a.onWait = fn }

// drop ends a connection that is of no use any more.
func (a *account) drop() {
	if a.c != nil {
		a.c.Abort() // its error is that of a connection already lost
		a.c = nil
	}
}

// reconnect makes a connection where there is none, trying several times.
func (a *account) reconnect(ctx context.Context) error {
	if a.c != nil {
		return nil
	}
	var err error
	for _, d := range a.cfg.Delays {
		if err := wait(ctx, d); err != nil {
			return err
		}
		if err = a.connect(ctx); err == nil {
			return nil
		}
		if kind := mail.KindOf(err); kind != mail.KindUnavailable && kind != mail.KindTemporary {
			return err
		}
	}
	return err
}

// wait waits, or returns the error of ctx.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// refused tells whether the server said NO or BAD and stays connected.
func refused(err error) (*imapclient.StatusError, bool) {
	s, ok := errors.AsType[*imapclient.StatusError](err)
	return s, ok && s.Status != "BYE" && !errors.Is(err, imapclient.ErrGarbage)
}

// backoffPattern is how Exchange says how long to stay away.
var backoffPattern = regexp.MustCompile(`(?i)backoff time: *(\d{1,9}) *milliseconds`)

// throttled returns how long the server wants to be left alone.
func throttled(err error) (time.Duration, bool) {
	if err == nil {
		return 0, false
	}
	m := backoffPattern.FindStringSubmatch(fmt.Sprint(err))
	if m == nil {
		return 0, false
	}
	ms, perr := strconv.Atoi(m[1])
	return time.Duration(ms) * time.Millisecond, perr == nil
}

// Backoff returns how long a server that refused a command wants to be left
// alone.
func Backoff(err error) (time.Duration, bool) { return throttled(err) }

// Wait waits, or returns the error of ctx.
func Wait(ctx context.Context, d time.Duration) error { return wait(ctx, d) }

// try runs fn on a connection, again on a new one where the connection was
// lost, and after the time that a server asks for.
func (a *account) try(ctx context.Context, fn func() error) error {
	for losses := 0; ; {
		if err := a.quiet.wait(ctx); err != nil {
			return err
		}
		if err := a.reconnect(ctx); err != nil {
			return err
		}
		err := fn()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if d, ok := throttled(err); ok {
			if err := a.rest(ctx, d); err != nil {
				return err
			}
			if _, ok := refused(err); !ok {
				a.drop()
			}
			continue
		}
		if _, ok := refused(err); ok {
			return err
		}
		a.drop()
		if mail.KindOf(err) != mail.KindUnavailable {
			return err
		}
		if losses++; losses > len(a.cfg.Delays) {
			return err
		}
		if err := wait(ctx, a.cfg.Delays[losses-1]); err != nil {
			return err
		}
	}
}

// examined is what EXAMINE says.
type examined struct {
	imapclient.Status
	noModSeq bool
}

// read takes what a response to EXAMINE says.
func (e *examined) read(r *imapclient.Response) {
	switch r.Name() {
	case "EXISTS":
		e.Messages = int(r.Number())
	case "OK":
		name, value := r.Code()
		e.noModSeq = e.noModSeq || name == "NOMODSEQ"
		e.Set(name, value)
	}
}

// state returns it as the engine wants it.
func (e *examined) state() migrate.State {
	s := migrate.State{UIDValidity: e.UIDValidity, UIDNext: e.UIDNext, ModSeq: e.HighestModSeq, Messages: e.Messages, Bytes: -1}
	if e.noModSeq {
		s.ModSeq = 0
	}
	return s
}

// examine opens a mailbox for reading and checks that it is the one of f.
func (a *account) examine(f migrate.Folder) (migrate.State, error) {
	condstore, err := a.c.Has("CONDSTORE")
	if err != nil {
		return migrate.State{}, err
	}
	args := []any{imapclient.Text(f.Key)}
	if condstore {
		args = append(args, imapclient.Raw("(CONDSTORE)"))
	}
	a.selected = ""
	var e examined
	err = a.c.Command("EXAMINE", func(r *imapclient.Response) error { e.read(r); return nil }, args...)
	if s, ok := refused(err); ok {
		if _, ok := throttled(err); ok {
			return migrate.State{}, err
		}
		return migrate.State{}, refusedFolder(s)
	}
	if err != nil {
		return migrate.State{}, fmt.Errorf("opening the mailbox: %w", err)
	}
	if e.UIDValidity != f.State.UIDValidity && f.State != (migrate.State{}) {
		return migrate.State{}, mail.Errorf(mail.KindConflict, "the source changed UIDVALIDITY from %d to %d", f.State.UIDValidity, e.UIDValidity)
	}
	a.selected = f.Key
	return e.state(), nil
}

// missing are the words of servers without response codes for a mailbox that is
// not there: Exchange, Courier, UW, Cyrus.
var missing = []string{"doesn't exist", "does not exist", "no such mailbox", "unable to open this mailbox", "nonexistent"}

// refusedFolder is the error for a mailbox that cannot be opened.
func refusedFolder(s *imapclient.StatusError) error {
	text := strings.ToLower(s.Text)
	switch {
	case s.Code == "NONEXISTENT" || slices.ContainsFunc(missing, func(words string) bool { return strings.Contains(text, words) }):
		return mail.WrapError(mail.KindNotExist, s, "the mailbox is not there any more")
	case strings.Contains(s.Text, "authenticated but not connected"):
		return mail.WrapError(mail.KindPermission, s, "Exchange let the login in but not into the mailbox: the mailbox does not exist, or the login has no FullAccess to it")
	}
	return mail.WrapError(mail.KindPermission, s, "the server does not open the mailbox")
}
