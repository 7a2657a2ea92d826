package smtpserver

import (
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"expost/internal/certificate"
	"expost/internal/delivery"
	"expost/internal/delivery/deliverytest"
	"expost/internal/directory"
	"expost/internal/mail"
	"expost/internal/store"
	"expost/internal/store/sqlite"
)

// node is a server with a store and a directory.
type node struct {
	addr      string
	server    *Server
	store     *store.Store
	directory *deliverytest.Directory
	log       *lockedBuffer
	stop      context.CancelFunc
	stopped   chan error
}

// lockedBuffer is the log of a node.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// accounts are who lives on a node.
func accounts() []directory.Account {
	return []directory.Account{
		{Address: "ann@example.org", Aliases: []mail.Address{"anna@example.org"}},
		{Address: "bob@example.org", Status: directory.StatusNoAccess},
		{Address: "cid@example.org", Quota: mail.Quota{Bytes: 3000}},
		{Address: "dan@example.org", Status: directory.StatusDisabled},
		{Address: "eve@example.org", Status: directory.StatusDeleted},
		{Address: "far@example.org", Host: "old.example.org"},
		{Address: "small@example.org", MaxMessage: 1000},
		{Address: "admin@example.org"},
		{Address: "bücher@example.org"},
	}
}

// testTLS returns a server configuration with a certificate of its own.
func testTLS(tb testing.TB) *tls.Config {
	tb.Helper()
	src, err := certificate.SelfSigned(tb.TempDir(), []string{"localhost"}, time.Now())
	if err != nil {
		tb.Fatal(err)
	}
	return src.Config()
}

// newStore returns a store in a fresh folder.
func newStore(tb testing.TB, wrap func(store.Engine) store.Engine) *store.Store {
	tb.Helper()
	engine, err := sqlite.New(tb.TempDir(), sqlite.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	st := store.New(wrap(engine), store.Options{Log: slog.New(slog.DiscardHandler)})
	tb.Cleanup(func() {
		if err := st.Close(); err != nil {
			tb.Errorf("closing the store: %v", err)
		}
	})
	return st
}

// newNode starts a server; what cfg leaves out is filled in. A TLSConfig
// without certificates stands for no TLS.
func newNode(tb testing.TB, cfg Config) *node {
	tb.Helper()
	return newNodeWith(tb, cfg, newStore(tb, plainEngine), sameDirectory)
}

// newRelay is newNode with somebody who takes what leaves.
func newRelay(tb testing.TB, out delivery.Remote, cfg Config) *node {
	tb.Helper()
	st, dir := newStore(tb, plainEngine), deliverytest.New(accounts()...)
	cfg.Delivery = delivery.New(delivery.Config{
		Hostname: "mail.example.org", Domains: []string{"example.org"}, Postmaster: "admin@example.org", Remote: out,
	}, dir, st, slog.New(slog.DiscardHandler))
	return newNodeWith(tb, cfg, st, sameDirectory)
}

// sameDirectory leaves a directory as it is.
func sameDirectory(d directory.Directory) directory.Directory { return d }

// plainEngine leaves an engine as it is.
func plainEngine(e store.Engine) store.Engine { return e }

// newNodeWith is newNode on a store and with what wrap makes of the directory.
func newNodeWith(tb testing.TB, cfg Config, st *store.Store, wrap func(directory.Directory) directory.Directory) *node {
	tb.Helper()
	n := &node{store: st, directory: deliverytest.New(accounts()...), log: &lockedBuffer{}, stopped: make(chan error, 1)}
	cfg.Hostname = "mail.example.org"
	cfg.Directory = wrap(n.directory)
	cfg.Logger = slog.New(slog.NewTextHandler(n.log, nil))
	if cfg.Delivery == nil {
		cfg.Delivery = delivery.New(delivery.Config{
			Hostname: cfg.Hostname, Domains: []string{"example.org"}, Separator: "+", CatchAll: "catchall", Postmaster: "admin@example.org",
		}, cfg.Directory, n.store, cfg.Logger)
	}
	switch {
	case cfg.TLSConfig == nil:
		cfg.TLSConfig = testTLS(tb)
	case cfg.TLSConfig.GetCertificate == nil:
		cfg.TLSConfig = nil
	}
	if cfg.Limits.ShutdownTime == 0 {
		cfg.Limits.ShutdownTime = deadline
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	n.addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	n.stop = cancel
	n.server = New(cfg)
	go func() { n.stopped <- n.server.Serve(ctx, ln) }()
	tb.Cleanup(n.shutdown)
	return n
}

// shutdown stops the server and waits for it.
func (n *node) shutdown() {
	n.stop()
	<-n.stopped
	n.stopped <- nil // for another call
}

func (n *node) dial(tb testing.TB) net.Conn {
	tb.Helper()
	nc, err := net.Dial("tcp", n.addr)
	if err != nil {
		tb.Fatal(err)
	}
	if err := nc.SetDeadline(time.Now().Add(deadline)); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = nc.Close() })
	return nc
}

// messages returns the messages of a mailbox of name@example.org. An account
// or a mailbox that is not there is empty.
func (n *node) messages(tb testing.TB, name, box string) [][]byte {
	tb.Helper()
	ctx := context.Background()
	acct, err := n.store.Open(ctx, mail.AccountID("example.org/"+name))
	if mail.KindOf(err) == mail.KindNotExist && err != nil {
		return nil
	}
	if err != nil {
		tb.Fatal(err)
	}
	defer acct.Release()
	view, err := acct.Select(ctx, box)
	if mail.KindOf(err) == mail.KindNotExist && err != nil {
		return nil
	}
	if err != nil {
		tb.Fatal(err)
	}
	defer view.Close()
	var out [][]byte
	snap := view.Snapshot()
	for i := range snap.Len() {
		body, err := acct.Body(ctx, snap.At(i+1).Email)
		if err != nil {
			tb.Fatal(err)
		}
		var b bytes.Buffer
		if _, err := body.WriteTo(&b); err != nil {
			tb.Fatal(err)
		}
		if err := body.Close(); err != nil {
			tb.Fatal(err)
		}
		out = append(out, b.Bytes())
	}
	return out
}
