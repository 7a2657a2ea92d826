package migrate_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/imapclient"
	"expost/internal/migrate/migratetest"
	"expost/internal/migrate/source/imap"
	targetstore "expost/internal/migrate/target/store"
)

// brittle is a target whose nth appends fail, before or after they were carried
// out.
type brittle struct {
	migrate.Target
	appends atomic.Int64
	fails   func(n int64) bool
	after   bool
}

func (b *brittle) Open(ctx context.Context, u migrate.User) (migrate.TargetAccount, error) {
	a, err := b.Target.Open(ctx, u)
	return &brittleAccount{a, b}, err
}

type brittleAccount struct {
	migrate.TargetAccount
	b *brittle
}

func (a *brittleAccount) Append(ctx context.Context, folder string, msgs []migrate.Message) error {
	full := mail.Errorf(mail.KindUnavailable, "the disk is full")
	fails := a.b.fails(a.b.appends.Add(1))
	if fails && !a.b.after {
		return full
	}
	if err := a.TargetAccount.Append(ctx, folder, msgs); err != nil {
		return err
	}
	if fails {
		return full
	}
	return nil
}

func TestTargetFails(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]bool{"before it writes": false, "after it has written": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			var boxes []*migratetest.Box
			for i := range 6 {
				boxes = append(boxes, box(fmt.Sprintf("F%d", i), mail.UIDValidity(i+1), messages(10, 1, 2)))
			}
			server := migratetest.StartIMAP(t, migratetest.Quirks{}, boxes...)
			source := imap.New(imap.Config{Address: server.Address, Client: imapclient.Options{Security: imapclient.Plain}})
			s := targetstore.New(migratetest.OpenStore(t, filepath.Join(dir, "store")), migratetest.AnyAccount, 0)
			target := &brittle{Target: s, after: after, fails: func(n int64) bool { return n%2 == 1 && n < 20 }}
			l := openLedger(t, filepath.Join(dir, "l.ledger"))
			users := []migrate.User{{Source: "a", Target: "a@example.org"}}
			e := migrate.NewEngine(source, target, l, migrate.Options{Delays: []time.Duration{}})
			var r migrate.Result
			for range 20 {
				results, err := e.Run(t.Context(), users)
				if err != nil {
					t.Fatal(err)
				}
				if r = results[0]; r.Err == nil {
					break
				}
				if !strings.Contains(r.Err.Error(), "disk is full") {
					t.Errorf("the error is %v", r.Err)
				}
			}
			if r.Err != nil {
				t.Error(r.Err)
			}
			b := &bench{ledger: l}
			var err error
			if b.target, err = s.Open(t.Context(), users[0]); err != nil {
				t.Fatal(err)
			}
			defer b.target.Close()
			for _, box := range boxes {
				b.check(t, box.Name, box.Messages)
			}
			b.checkSums(t, 60, 0)
		})
	}
}

func TestDeliveredMeanwhile(t *testing.T) {
	t.Parallel()
	all := messages(5, 1, 1)
	b := newBench(t, migratetest.Quirks{}, box("INBOX", 11, all))
	if r := b.run(t); r.Copied != 5 {
		t.Fatalf("first pass: %+v", r)
	}
	b.deliver(t, "Subject: new here\r\n\r\n") // UID 6
	b.server.Change(func(boxes []*migratetest.Box) {
		boxes[0].Messages = append(boxes[0].Messages, messages(2, 6, 1)...)
		boxes[0].UIDNext = 8
	})
	if r := b.run(t); r.Err != nil || r.Copied != 2 {
		t.Errorf("second pass: %+v", r)
	}
	report := b.checkSums(t, 7, 0)
	if f := report.Accounts[0].Folders[0]; f.KeepsUID || !strings.Contains(f.Note, "UID 6") {
		t.Errorf("the report does not say what happened: %+v", f)
	}
	if r := b.run(t); r.Copied+r.There+r.Removed+r.Updated != 0 {
		t.Errorf("third pass: %+v", r)
	}
}

func TestFolderRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t, migratetest.Quirks{Command: func(_ int, line string) string {
		if strings.HasPrefix(line, `EXAMINE "B"`) {
			return "NO User is authenticated but not connected."
		}
		return ""
	}}, box("A", 1, messages(5, 1, 1)), box("B", 2, messages(5, 1, 1)), box("C", 3, messages(5, 1, 1)))
	r := b.run(t)
	if r.Copied != 10 || r.Err == nil || !strings.Contains(r.Err.Error(), `"B"`) || !strings.Contains(r.Err.Error(), "FullAccess") {
		t.Errorf("result: %+v", r)
	}
	b.check(t, "A", messages(5, 1, 1))
	b.check(t, "C", messages(5, 1, 1))
}

func TestFolderThatAlwaysLosesTheConnection(t *testing.T) {
	t.Parallel()
	b := newBench(t, migratetest.Quirks{Command: func(_ int, line string) string {
		if strings.HasPrefix(line, `EXAMINE "B"`) {
			return "drop"
		}
		return ""
	}}, box("A", 1, messages(5, 1, 1)), box("B", 2, messages(5, 1, 1)), box("C", 3, messages(5, 1, 1)))
	// What was committed just before the connection went is found there by the next try.
	if r := b.run(t); r.Copied+r.There != 10 || r.Err == nil || !strings.Contains(r.Err.Error(), `"B"`) {
		t.Errorf("result: %+v", r)
	}
	b.check(t, "C", messages(5, 1, 1))
}

// TestWrongPasswordOfThePlan has one password for all: it is not tried with
// everybody, and not given up where somebody's mailbox alone does not open.
func TestWrongPasswordOfThePlan(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		refused string // part of the logins that are
		tried   int64
	}{"wrong": {"@", 3}, "wrong for some": {"user5@", 20}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var logins atomic.Int64
			b := newBench(t, migratetest.Quirks{Command: func(_ int, line string) string {
				if !strings.HasPrefix(line, "LOGIN") {
					return ""
				}
				logins.Add(1)
				return map[bool]string{true: "NO LOGIN failed."}[strings.Contains(line, c.refused)]
			}}, box("INBOX", 1, messages(1, 1, 1)))
			var users []migrate.User
			for i := range 20 {
				users = append(users, migrate.User{Source: fmt.Sprintf("user%d@example.org", i), Target: mail.Address(fmt.Sprintf("user%d@example.org", i))})
			}
			results, err := b.engine.Run(t.Context(), users)
			if err != nil {
				t.Fatal(err)
			}
			if n := logins.Load(); n != c.tried {
				t.Errorf("%d logins, want %d", n, c.tried)
			}
			for i, r := range results {
				if refused := strings.Contains(users[i].Source, c.refused); refused != (r.Err != nil) || refused && mail.KindOf(r.Err) != mail.KindAuth {
					t.Errorf("%s: %v", users[i].Source, r.Err)
				}
			}
		})
	}
}

func TestWrongPassword(t *testing.T) {
	t.Parallel()
	d := migratetest.StartDovecot(t, nil)
	dir := t.TempDir()
	source := imap.New(imap.Config{Address: d.Address, Password: "wrong-one", Client: imapclient.Options{Security: imapclient.Plain}})
	target := targetstore.New(migratetest.OpenStore(t, filepath.Join(dir, "store")), migratetest.AnyAccount, 0)
	e := migrate.NewEngine(source, target, openLedger(t, filepath.Join(dir, "l.ledger")), migrate.Options{})
	users := []migrate.User{{Source: "ajay", Target: "ajay@example.org"}, {Source: "anup", Target: "anup@example.org", Password: d.Password}}
	results, err := e.Run(t.Context(), users)
	if err != nil {
		t.Fatal(err)
	}
	if err := results[0].Err; mail.KindOf(err) != mail.KindAuth || strings.Contains(err.Error(), "wrong-one") {
		t.Errorf("a wrong password: %v", err)
	}
	if results[1].Err != nil {
		t.Errorf("the other account: %v", results[1].Err)
	}
}

// TestNames gives a target every kind of name.
func TestNames(t *testing.T) {
	t.Parallel()
	q := migratetest.Quirks{Capabilities: "NAMESPACE", Namespace: `(("INBOX." ".")) (("Other Users." ".")) NIL`, Delimiter: "."}
	boxes := map[string]string{ // on the wire, and at the target
		"INBOX": "INBOX", "INBOX.Sent": "Sent", "INBOX.Gel&APY-scht": "Gelöscht", "INBOX.A.B.C": "A/B/C", "INBOX.a/b": "a_b",
		"INBOX.bad&utf7": "bad&utf7", "INBOX.raw\xff": "raw_", "INBOX.x\x01y": "x_y", "INBOX.dots...": "dots/_/_/_", "INBOX.spaces ": "spaces ",
		"Other Users.anup": "",
	}
	var list []*migratetest.Box
	for name := range boxes {
		list = append(list, box(name, 5, messages(1, 1, 1)))
	}
	b := newBench(t, q, list...)
	if r := b.run(t); r.Err != nil || r.Copied != len(boxes)-1 {
		t.Errorf("result: %+v", r)
	}
	for wire, name := range boxes {
		if name != "" {
			t.Run(wire, func(t *testing.T) { b.check(t, name, messages(1, 1, 1)) })
		}
	}
}

// TestClashingNames maps two folders to one name.
func TestClashingNames(t *testing.T) {
	t.Parallel()
	b := newBench(t, migratetest.Quirks{Delimiter: "."}, box("a/b", 1, messages(2, 1, 1)), box("a_b", 2, messages(3, 1, 1)))
	if r := b.run(t); r.Err != nil || r.Copied != 5 {
		t.Errorf("result: %+v", r)
	}
	folders, err := b.target.Folders(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, f := range folders {
		if strings.HasPrefix(f.Name, "a_b") {
			found += f.State.Messages
		}
	}
	if found != 5 {
		t.Errorf("folders are %+v", folders)
	}
}

// TestSourceAway has the source go away in the middle of a folder for longer
// than a run waits: the account fails, what came stays, and the next run fetches
// the rest and nothing twice.
func TestSourceAway(t *testing.T) {
	t.Parallel()
	var away, was atomic.Bool
	q := migratetest.Quirks{
		Connect: func(int) bool { return !away.Load() },
		Fetch: func(m migratetest.Message, whole bool) (string, bool) {
			if whole && m.UID == 20 && was.CompareAndSwap(false, true) {
				away.Store(true)
				return "* OK going away\r\n", true
			}
			return "", false
		},
	}
	all := messages(40, 1, 1)
	b := newBench(t, q, box("INBOX", 11, all))
	first := b.run(t)
	if first.Err == nil || first.Copied != 19 {
		t.Fatalf("the run that lost the source: %+v", first)
	}
	away.Store(false)
	if second := b.run(t); second.Err != nil || second.Copied+second.There != 21 {
		t.Fatalf("the run after it: %+v", second)
	}
	if n := len(b.items(t, "INBOX")); n != 40 {
		t.Errorf("%d messages, want 40", n)
	}
}
