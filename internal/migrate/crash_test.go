package migrate_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/imapclient"
	"expost/internal/migrate/migratetest"
	"expost/internal/migrate/source/imap"
	targetstore "expost/internal/migrate/target/store"
	"expost/internal/sample"
	"expost/internal/store"
	"expost/internal/store/sqlite"
)

// crashEnv tells a process of this test binary to be the child of the crash
// test: its value is a childPlan.
const crashEnv = "EXPOST_MIGRATE_CHILD"

// childPlan is what a child is to do.
type childPlan struct {
	Address, Password, Dir string
	Users                  []migrate.User
}

func TestMain(m *testing.M) {
	if plan := os.Getenv(crashEnv); plan != "" {
		if err := child([]byte(plan)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child makes one pass.
func child(text []byte) error {
	var plan childPlan
	if err := json.Unmarshal(text, &plan); err != nil {
		return err
	}
	engine, err := sqlite.New(filepath.Join(plan.Dir, "store"), sqlite.Options{})
	if err != nil {
		return err
	}
	s := store.New(engine, store.Options{})
	l, err := migrate.OpenLedger(filepath.Join(plan.Dir, "l.ledger"))
	if err != nil {
		return err
	}
	source := imap.New(imap.Config{Address: plan.Address, Login: "{local}", Password: plan.Password, Client: imapclient.Options{Security: imapclient.Plain}})
	results, err := migrate.NewEngine(source, targetstore.New(s, migratetest.AnyAccount, 0), l, migrate.Options{}).Run(context.Background(), plan.Users)
	for _, r := range results {
		if err == nil {
			err = r.Err
		}
	}
	if err != nil {
		return err
	}
	if err := l.Close(); err != nil {
		return err
	}
	return s.Close()
}

// TestKilled kills runs at random moments and continues them: in the end the
// mailboxes are what they were, no message missing, none twice.
func TestKilled(t *testing.T) {
	t.Parallel()
	people, messages := 6, 400
	if testing.Short() {
		people, messages = 2, 100
	}
	org, d, users := organisation(t, sample.Options{People: people, Messages: messages, Seed: 3})
	plan := childPlan{Address: d.Address, Password: d.Password, Dir: t.TempDir(), Users: users}
	text, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	killed, finished := 0, 0
	for try := 0; killed < 10 && try < 60; try++ {
		// Short lives at first, so that all moments of a run are met.
		life := time.Duration(rand.Int64N(int64(time.Duration(50+killed*40) * time.Millisecond)))
		done, err := runChild(t, text, life)
		if err != nil {
			t.Fatal(err)
		}
		if done {
			finished++
		} else {
			killed++
		}
		if finished > 5 { // nothing is left to be interrupted
			break
		}
	}
	if done, err := runChild(t, text, 5*time.Minute); !done || err != nil {
		t.Fatalf("the last run did not finish: %v", err)
	}
	t.Logf("%d runs were killed, %d finished before", killed, finished)
	s := migratetest.OpenStore(t, filepath.Join(plan.Dir, "store"))
	for i, p := range org.People {
		migratetest.CheckMailbox(t, s, migratetest.AccountID(p.Address), org.Mailbox(i))
	}
	checkLedger(t, filepath.Join(plan.Dir, "l.ledger"), people*messages)
}

// runChild runs a child for at most life; done tells whether it ended by itself.
func runChild(t *testing.T, plan []byte, life time.Duration) (done bool, err error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		return false, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), crashEnv+"="+string(plan))
	if err := cmd.Start(); err != nil {
		return false, err
	}
	timer := time.AfterFunc(life, func() { cmd.Process.Kill() })
	err = cmd.Wait()
	timer.Stop()
	if cmd.ProcessState.Exited() {
		return err == nil, err
	}
	return false, nil
}

// checkLedger checks that a ledger accounts for n copied messages.
func checkLedger(t *testing.T, path string, n int) {
	t.Helper()
	l, err := migrate.ReadLedger(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r, err := l.Report(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.Total.Source != n || r.Total.Copied+r.Total.There != n || r.Total.Waiting != 0 {
		t.Errorf("the ledger says %+v, want %d", r.Total, n)
	}
}

func TestTwoRunsAtOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "l.ledger")
	openLedger(t, path)
	if _, err := migrate.OpenLedger(path); mail.KindOf(err) != mail.KindTemporary {
		t.Errorf("the second run is told %v", err)
	}
	l, err := migrate.ReadLedger(path)
	if err != nil {
		t.Fatalf("reading during a run: %v", err)
	}
	if _, err := l.Report(t.Context()); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// TestLedgerLost runs again without the ledger: nothing is copied twice.
func TestLedgerLost(t *testing.T) {
	t.Parallel()
	org, d, users := organisation(t, sample.Options{People: 1, Messages: 100, Seed: 5})
	dir := t.TempDir()
	s := migratetest.OpenStore(t, filepath.Join(dir, "store"))
	for pass, want := range []migrate.Result{{Copied: 100}, {There: 100}} {
		l := openLedger(t, filepath.Join(dir, fmt.Sprintf("%d.ledger", pass)))
		results, err := migrate.NewEngine(imapSource(d), targetstore.New(s, migratetest.AnyAccount, 0), l, migrate.Options{}).Run(t.Context(), users)
		if err != nil {
			t.Fatal(err)
		}
		if r := results[0]; r.Err != nil || r.Copied != want.Copied || r.There != want.There {
			t.Errorf("pass %d: %+v", pass+1, r)
		}
		migratetest.CheckMailbox(t, s, migratetest.AccountID(org.People[0].Address), org.Mailbox(0))
	}
}

// TestTargetReplaced removes the account at the target: it is copied again.
func TestTargetReplaced(t *testing.T) {
	t.Parallel()
	org, d, users := organisation(t, sample.Options{People: 1, Messages: 100, Seed: 6})
	dir := t.TempDir()
	s := migratetest.OpenStore(t, filepath.Join(dir, "store"))
	id := migratetest.AccountID(org.People[0].Address)
	e := migrate.NewEngine(imapSource(d), targetstore.New(s, migratetest.AnyAccount, 0), openLedger(t, filepath.Join(dir, "l.ledger")), migrate.Options{})
	for range 2 {
		results, err := e.Run(t.Context(), users)
		if err != nil || results[0].Err != nil || results[0].Copied != 100 {
			t.Errorf("result %+v, %v", results, err)
		}
		migratetest.CheckMailbox(t, s, id, org.Mailbox(0))
		if err := s.Remove(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCanceled stops runs at random moments and continues them.
func TestCanceled(t *testing.T) {
	t.Parallel()
	org, d, users := organisation(t, sample.Options{People: 2, Messages: 300, Seed: 8})
	dir := t.TempDir()
	s := migratetest.OpenStore(t, filepath.Join(dir, "store"))
	l := openLedger(t, filepath.Join(dir, "l.ledger"))
	target := targetstore.New(s, migratetest.AnyAccount, 0)
	for range 12 {
		ctx, cancel := context.WithCancel(t.Context())
		timer := time.AfterFunc(time.Duration(rand.Int64N(int64(150*time.Millisecond))), cancel)
		_, err := migrate.NewEngine(imapSource(d), target, l, migrate.Options{}).Run(ctx, users)
		if timer.Stop() && err != nil { // one that was stopped may have been at its end
			t.Errorf("a run that was not stopped says %v", err)
		}
		cancel()
	}
	results, err := migrate.NewEngine(imapSource(d), target, l, migrate.Options{}).Run(t.Context(), users)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if r.Err != nil {
			t.Error(r.Err)
		}
		migratetest.CheckMailbox(t, s, migratetest.AccountID(org.People[i].Address), org.Mailbox(i))
	}
}
