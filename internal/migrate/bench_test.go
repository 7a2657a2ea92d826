package migrate_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/imapclient"
	"expost/internal/migrate/migratetest"
	"expost/internal/migrate/source/imap"
	targetimap "expost/internal/migrate/target/imap"
	targetstore "expost/internal/migrate/target/store"
)

// fillMaildir writes messages of 2 to 100 KiB, a third of their lines base64.
func fillMaildir(b *testing.B, dir string, n int) {
	b.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	cur := filepath.Join(dir, "Maildir", "cur")
	if err := os.MkdirAll(cur, 0o755); err != nil {
		b.Fatal(err)
	}
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for i := range n {
		text := fmt.Appendf(nil, "From: ajay@example.org\nTo: bishal@example.org\nSubject: number %d\nDate: Wed, 1 Oct 2003 12:00:00 +0000\nMessage-ID: <%d@example.org>\n\n", i, i)
		for size := 2<<10 + rnd.IntN(50<<10)*rnd.IntN(3); len(text) < size; {
			if rnd.IntN(3) == 0 {
				for range 72 {
					text = append(text, letters[rnd.IntN(len(letters))])
				}
				text = append(text, '\n')
			} else {
				text = append(text, "The offices in Delhi and Munich will be closed for the holidays; please plan.\n"...)
			}
		}
		if err := os.WriteFile(filepath.Join(cur, fmt.Sprintf("%d.M%dP1.example:2,S", 1064000000+i, i)), text, 0o644); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRun is the first pass over four accounts of 500 messages in Dovecot.
func BenchmarkRun(b *testing.B) {
	const accounts, each = 4, 500
	var users []migrate.User
	d := migratetest.StartDovecot(b, func(dir string) {
		for i := range accounts {
			users = append(users, migrate.User{Source: fmt.Sprintf("u%d@example.org", i), Target: mail.Address(fmt.Sprintf("u%d@example.org", i))})
			fillMaildir(b, filepath.Join(dir, fmt.Sprintf("u%d", i)), each)
		}
	})
	for b.Loop() {
		b.StopTimer()
		dir := b.TempDir()
		target := targetstore.New(migratetest.OpenStore(b, filepath.Join(dir, "store")), migratetest.AnyAccount, 0)
		e := migrate.NewEngine(imapSource(d), target, openLedger(b, filepath.Join(dir, "l.ledger")), migrate.Options{})
		b.StartTimer()
		results, err := e.Run(b.Context(), users)
		if err != nil {
			b.Fatal(err)
		}
		for _, r := range results {
			if r.Err != nil || r.Copied != each {
				b.Fatalf("%+v", r)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*accounts*each), "µs/message")
}

// countingConn counts what is read.
type countingConn struct {
	net.Conn
	bytes *atomic.Int64
}

func (c countingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.bytes.Add(int64(n))
	return n, err
}

// BenchmarkLittleChanged is a pass over a folder of EXPOST_BENCH_MESSAGES (10,000)
// messages in Dovecot of which, since the pass before, ten vanished and ten have
// other flags.
func BenchmarkLittleChanged(b *testing.B) {
	n := 10_000
	if text := os.Getenv("EXPOST_BENCH_MESSAGES"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	uid := func(i int) int { return 3*i + 1 } // as in a mailbox of which much was removed
	d := migratetest.StartDovecot(b, func(dir string) {
		cur := filepath.Join(dir, "u", "Maildir", "cur")
		if err := os.MkdirAll(cur, 0o755); err != nil {
			b.Fatal(err)
		}
		var list bytes.Buffer
		fmt.Fprintf(&list, "3 V1064000000 N%d G0123456789abcdef0123456789abcdef\n", uid(n))
		for i := range n {
			text := fmt.Sprintf("Message-ID: <%d@example.org>\n\ntext\n", i)
			if err := os.WriteFile(filepath.Join(cur, fmt.Sprintf("%d.M%dP1.example:2,S", 1064000000+i, i)), []byte(text), 0o644); err != nil {
				b.Fatal(err)
			}
			fmt.Fprintf(&list, "%d :%d.M%dP1.example\n", uid(i), 1064000000+i, i)
		}
		if err := os.WriteFile(filepath.Join(dir, "u", "Maildir", "dovecot-uidlist"), list.Bytes(), 0o644); err != nil {
			b.Fatal(err)
		}
	})
	l := newLiving(b, d)
	l.run(b, migrate.Result{Copied: n})
	l.command(b, "SELECT", imapclient.Text("INBOX"))
	l.read.Store(0)
	next := 0
	for b.Loop() {
		b.StopTimer()
		l.command(b, "UID STORE", imapclient.Raw(fmt.Sprintf("%d:%d", uid(next), uid(next+9))), imapclient.Raw(`+FLAGS.SILENT (\Deleted)`))
		l.command(b, "EXPUNGE")
		l.command(b, "UID STORE", imapclient.Raw(fmt.Sprintf("%d:%d", uid(next+10), uid(next+19))), imapclient.Raw(`+FLAGS.SILENT (\Flagged)`))
		next += 20
		b.StartTimer()
		l.run(b, migrate.Result{Updated: 10, Removed: 10})
	}
	b.ReportMetric(float64(l.read.Load())/float64(b.N), "bytes-read/op")
}

// BenchmarkMoved is a pass over an account in Dovecot in which, since the pass
// before, 200 messages of 20 KiB on average were moved to another folder.
func BenchmarkMoved(b *testing.B) {
	const n, moved = 2000, 200
	d := migratetest.StartDovecot(b, func(dir string) { fillMaildir(b, filepath.Join(dir, "u"), n) })
	l := newLiving(b, d)
	l.command(b, "CREATE", imapclient.Text("Archive"))
	l.run(b, migrate.Result{Copied: n})
	from, to := "INBOX", "Archive"
	l.read.Store(0)
	for b.Loop() {
		b.StopTimer()
		l.command(b, "SELECT", imapclient.Text(from))
		l.command(b, "MOVE", imapclient.Raw(fmt.Sprintf("1:%d", moved)), imapclient.Text(to))
		from, to = to, from
		b.StartTimer()
		l.run(b, migrate.Result{Moved: moved, Removed: moved})
	}
	b.ReportMetric(float64(l.read.Load())/float64(b.N), "bytes-read/op")
}

// living is an account in Dovecot that is used between passes.
type living struct {
	engine *migrate.Engine
	client *imapclient.Client // its user's
	read   atomic.Int64       // bytes that passes read from Dovecot
}

// newLiving logs in as the user u.
func newLiving(b *testing.B, d *migratetest.Dovecot) *living {
	b.Helper()
	l := &living{}
	source := imap.New(imap.Config{Address: d.Address, Login: "{local}", Password: d.Password, Client: imapclient.Options{
		Security: imapclient.Plain, Dial: func(ctx context.Context, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
			return countingConn{conn, &l.read}, err
		},
	}})
	dir := b.TempDir()
	target := targetstore.New(migratetest.OpenStore(b, filepath.Join(dir, "store")), migratetest.AnyAccount, 0)
	l.engine = migrate.NewEngine(source, target, openLedger(b, filepath.Join(dir, "l.ledger")), migrate.Options{})
	var err error
	if l.client, err = imapclient.Dial(b.Context(), d.Address, imapclient.Options{Security: imapclient.Plain}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.client.Close() })
	if err := l.client.Login("", "u", d.Password); err != nil {
		b.Fatal(err)
	}
	return l
}

// command does something to the account.
func (l *living) command(b *testing.B, name string, args ...any) {
	b.Helper()
	if err := l.client.Command(name, nil, args...); err != nil {
		b.Fatal(err)
	}
}

// run makes a pass and compares what it did.
func (l *living) run(b *testing.B, want migrate.Result) {
	b.Helper()
	results, err := l.engine.Run(b.Context(), []migrate.User{{Source: "u@example.org", Target: "u@example.org"}})
	if err != nil {
		b.Fatal(err)
	}
	if r := results[0]; r.Err != nil || r.Copied != want.Copied || r.Moved != want.Moved || r.Updated != want.Updated || r.Removed != want.Removed {
		b.Fatalf("%+v", r)
	}
}

// BenchmarkRollback gives back an account of 50,000 messages, of which 100 came
// since, and tells for how long nobody could work with it.
func BenchmarkRollback(b *testing.B) {
	const messages = 50_000
	user := migrate.User{Source: "u0@example.org", Target: "u0@example.org"}
	d := migratetest.StartDovecot(b, func(dir string) {
		cur := filepath.Join(dir, "u0", "Maildir", "cur")
		if err := os.MkdirAll(cur, 0o755); err != nil {
			b.Fatal(err)
		}
		for i := range messages {
			text := fmt.Appendf(nil, "Subject: number %d\nMessage-ID: <%d@example.org>\n\ntext\n", i, i)
			if err := os.WriteFile(filepath.Join(cur, fmt.Sprintf("%d.M%dP1.example:2,S", 1064000000+i, i)), text, 0o644); err != nil {
				b.Fatal(err)
			}
		}
	})
	dir := b.TempDir()
	target := targetstore.New(migratetest.OpenStore(b, filepath.Join(dir, "store")), migratetest.AnyAccount, 0)
	e := migrate.NewEngine(imapSource(d), target, openLedger(b, filepath.Join(dir, "l.ledger")), migrate.Options{})
	old := targetimap.New(targetimap.Config{Address: d.Address, Login: "{local}", Password: d.Password, Client: imapclient.Options{Security: imapclient.Plain}})
	here := sideOf(target, user)
	s, frozen := newSite(), time.Duration(0)
	for b.Loop() {
		moves, err := e.Cutover(b.Context(), []migrate.User{user}, s.site())
		if err != nil || !moves[0].Done {
			b.Fatal(err, moves)
		}
		for i := range 100 {
			here.add(b, "INBOX", fmt.Sprintf("new%d", i), 0)
		}
		moves, err = e.Rollback(b.Context(), []migrate.User{user}, s.site(), old)
		if err != nil || !moves[0].Done || moves[0].Carried != 100 {
			b.Fatal(err, moves)
		}
		frozen += moves[0].Gap
	}
	b.ReportMetric(float64(frozen.Microseconds())/1000/float64(b.N), "frozen-ms")
}
