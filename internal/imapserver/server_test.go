package imapserver_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"expost/internal/directory"
	"expost/internal/imapserver"
	"expost/internal/listener"
	"expost/internal/mail"
	"expost/internal/store"
	"expost/internal/store/sqlite"
)

// logins is a directory of accounts: login to account. Every password is "secret".
type logins map[string]*directory.Account

// Login finds the account.
func (l logins) Login(_ context.Context, login, password string) (*directory.Account, error) {
	a, ok := l[login]
	if !ok || a.Status == directory.StatusNoAccess || password != "secret" {
		return nil, mail.Errorf(mail.KindAuth, "wrong login or password")
	}
	return a, nil
}

// Resolve finds the account of an address.
func (l logins) Resolve(_ context.Context, addr mail.Address) (*directory.Account, error) {
	for _, a := range l {
		if a.Address.Key() == addr.Key() || slices.Contains(a.Aliases, addr) {
			return a, nil
		}
	}
	return nil, mail.Errorf(mail.KindNotExist, "there is no account with the address %s", addr)
}

// ByStore finds the account of a mailbox.
func (l logins) ByStore(_ context.Context, id mail.AccountID) (*directory.Account, error) {
	for _, a := range l {
		if a.ID == id {
			return a, nil
		}
	}
	return nil, mail.Errorf(mail.KindNotExist, "no account has the mailbox %q", string(id))
}

// Groups has bishal and chitra in a group.
func (l logins) Groups(_ context.Context, a *directory.Account) ([]string, error) {
	if a.Address == "ajay@example.org" {
		return nil, nil
	}
	return []string{"group:staff@example.org"}, nil
}

// Identifier knows the accounts and the group.
func (l logins) Identifier(ctx context.Context, text string) (string, error) {
	name := strings.TrimPrefix(text, "-")
	sign := text[:len(text)-len(name)]
	if name == "anyone" || name == "group:staff@example.org" {
		return text, nil
	}
	if a, known := l[name]; known {
		return sign + a.Address.Key(), nil
	}
	a, err := l.Resolve(ctx, mail.Address(name))
	if err != nil {
		return "", err
	}
	return sign + a.Address.Key(), nil
}

// SetQuota notes what an account may hold.
func (l logins) SetQuota(_ context.Context, a *directory.Account, q mail.Quota) error {
	a.Quota = q
	return nil
}

// people are the accounts of a test's server.
func people() logins {
	return logins{
		"ajay":   {ID: "example.org/ajay", Address: "ajay@example.org"},
		"bishal": {ID: "example.org/bishal", Address: "bishal@example.org", Quota: mail.Quota{Bytes: 2000}, MaxMessage: 1000},
		"chitra": {ID: "example.org/chitra", Address: "chitra@example.org", Aliases: []mail.Address{"c@example.org"}},
		"info":   {ID: "example.org/info", Address: "info@example.org", Shared: true, Status: directory.StatusNoAccess},
		"moved":  {ID: "example.org/moved", Address: "moved@example.org", Host: "old.example.org"},
	}
}

// site is a server under test.
type site struct {
	store  *store.Store
	engine store.Engine
	addr   string
	stop   context.CancelFunc
	ended  chan error
	dir    string     // of the store
	gate   sync.Mutex // held: the store changes nothing, since it wants to know the time
}

// newSite starts a server over a fresh store whose clock stands still.
func newSite(t testing.TB, change func(*imapserver.Config)) *site {
	t.Helper()
	return newSiteOn(t, func(*store.Options) {}, change)
}

// newSiteOn is newSite with a store of its own options.
func newSiteOn(t testing.TB, options func(*store.Options), change func(*imapserver.Config)) *site {
	t.Helper()
	dir := t.TempDir()
	engine, err := sqlite.New(dir, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2003, 10, 1, 12, 0, 0, 0, time.UTC)
	s := &site{engine: engine, dir: dir, ended: make(chan error, 1)}
	opt := store.Options{IndexDelay: -1, MaxMailboxes: 500, Now: func() time.Time {
		s.gate.Lock()
		defer s.gate.Unlock()
		return now
	}}
	options(&opt)
	st := store.New(engine, opt)
	for _, a := range people() {
		if err := st.Create(t.Context(), a.ID); err != nil {
			t.Fatal(err)
		}
	}
	everybody := people()
	cfg := imapserver.Config{
		Store: st, Directory: everybody, People: everybody, Personal: store.PersonalSeen, Contact: "mailto:postmaster@example.org", Admins: []mail.Address{"ajay@example.org"}, Hostname: "mail.example.org", Version: "1", PlaintextAuth: listener.PlaintextLoopback,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	if change != nil {
		change(&cfg)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.store, s.addr = st, ln.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	go func() { s.ended <- imapserver.New(cfg).Serve(ctx, ln) }()
	t.Cleanup(func() {
		stop()
		if err := <-s.ended; err != nil {
			t.Errorf("serving: %v", err)
		}
		if err := st.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
	})
	return s
}

// removed waits until the store has removed the content of an email of an
// account, which it does when it has nothing else to do.
func (s *site) removed(t testing.TB, account mail.AccountID, id mail.EmailID) {
	t.Helper()
	db, err := s.engine.Open(t.Context(), account)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-time.After(5 * time.Millisecond) {
		err := db.View(t.Context(), func(tx store.ReadTx) error {
			_, err := tx.Body(id)
			return err
		})
		if mail.KindOf(err) == mail.KindNotExist {
			return
		}
	}
	t.Fatalf("email %d of %s is still there", id, account)
}

// peer is a raw connection to the server.
type peer struct {
	t  testing.TB
	nc net.Conn
	r  *bufio.Reader
	n  int

	tag string // of a dialogue's command
	at  string // where a dialogue is
}

// dial connects and reads the greeting.
func (s *site) dial(t testing.TB) *peer {
	t.Helper()
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	p := &peer{t: t, nc: nc, r: bufio.NewReader(nc)}
	p.deadline()
	return p
}

// login connects and logs in as ajay.
func (s *site) login(t testing.TB) *peer {
	t.Helper()
	p := s.dial(t)
	p.line()
	p.must("LOGIN ajay secret")
	return p
}

// deadline bounds what follows.
func (p *peer) deadline() { _ = p.nc.SetDeadline(time.Now().Add(5 * time.Second)) }

// send writes bytes.
func (p *peer) send(s string) {
	p.t.Helper()
	if _, err := p.nc.Write([]byte(s)); err != nil {
		p.t.Fatalf("writing: %v", err)
	}
}

// line reads a line without its end.
func (p *peer) line() string {
	p.t.Helper()
	s, err := p.r.ReadString('\n')
	if err != nil {
		p.t.Fatalf("%sreading: %v (after %q)", p.at, err, s)
	}
	return strings.TrimRight(s, "\r\n")
}

// do sends a command and returns the untagged lines and the tagged one.
func (p *peer) do(cmd string) (untagged []string, tagged string) {
	p.t.Helper()
	p.deadline()
	p.n++
	tag := fmt.Sprintf("t%d", p.n)
	p.send(tag + " " + cmd + "\r\n")
	for {
		l := p.line()
		if rest, ok := strings.CutPrefix(l, tag+" "); ok {
			return untagged, rest
		}
		untagged = append(untagged, l)
	}
}

// must is do for a command that must succeed.
func (p *peer) must(cmd string) []string {
	p.t.Helper()
	untagged, tagged := p.do(cmd)
	if !strings.HasPrefix(tagged, "OK") {
		p.t.Fatalf("%.100s: %s", cmd, tagged)
	}
	return untagged
}

// deliver appends a message to a mailbox of ajay's by way of the store.
func (s *site) deliver(t testing.TB, box, msg string) mail.UID {
	t.Helper()
	a, err := s.store.Open(t.Context(), "example.org/ajay")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Release()
	m, err := a.Mailbox(t.Context(), box)
	if err != nil {
		t.Fatal(err)
	}
	in, err := s.store.Spool(t.Context(), nil, strings.NewReader(msg), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	done, err := a.Append(t.Context(), m.ID, in, store.AppendOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return done.UID
}
