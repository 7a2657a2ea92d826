package migrate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"expost/internal/gate"
	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/imapclient"
	"expost/internal/migrate/migratetest"
	"expost/internal/migrate/source/imap"
	targetimap "expost/internal/migrate/target/imap"
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
	Do                     string // "": a pass; "move": a cutover, and what a user does then; "back": a rollback
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
	target := targetstore.New(s, migratetest.AnyAccount, 0)
	e := migrate.NewEngine(source, target, l, migrate.Options{Delays: []time.Duration{200 * time.Millisecond, time.Second}})
	switch plan.Do {
	case "move":
		err = moveAndWork(e, target, plan)
	case "back":
		err = carryAllBack(e, plan)
	default:
		err = passOver(e, plan.Users)
	}
	if err != nil {
		return err
	}
	if err := l.Close(); err != nil {
		return err
	}
	return s.Close()
}

// passOver makes a pass.
func passOver(e *migrate.Engine, users []migrate.User) error {
	results, err := e.Run(context.Background(), users)
	for _, r := range results {
		err = errors.Join(err, r.Err)
	}
	return err
}

// done returns why one of the moves was not done.
func done(moves []migrate.Move, err error) error {
	for _, m := range moves {
		if !m.Done {
			err = errors.Join(err, errors.New(m.String()))
		}
	}
	return err
}

// fileSite is a directory of one account, whose mailHost is in a file.
func fileSite(dir string) migrate.Site {
	file := filepath.Join(dir, "host")
	return migrate.Site{
		Place: func(_ context.Context, a mail.Address) (mail.AccountID, string, error) {
			host, err := os.ReadFile(file)
			return migratetest.AccountID(a), string(host), err
		},
		Freeze: gate.New(0).Freeze,
		SetHost: func(_ context.Context, _ mail.Address, host string) error {
			if err := os.WriteFile(file+".new", []byte(host), 0o600); err != nil {
				return err
			}
			return os.Rename(file+".new", file)
		},
	}
}

// moveAndWork makes a cutover, and then does with the mailbox what users do.
func moveAndWork(e *migrate.Engine, target *targetstore.Target, plan childPlan) error {
	ctx := context.Background()
	if err := done(e.Cutover(ctx, plan.Users, fileSite(plan.Dir))); err != nil {
		return err
	}
	a, err := target.Open(ctx, plan.Users[0])
	if err != nil {
		return err
	}
	defer a.Close()
	var moved, removed mail.UIDSet
	err = a.Items(ctx, "INBOX", func(it migrate.Item) error {
		switch {
		case it.UID%5 == 1:
			moved.Add(it.UID)
		case it.UID%50 == 2:
			removed.Add(it.UID)
		}
		return nil
	})
	o := a.(migrate.Organizer)
	if _, merr := o.Move(ctx, "INBOX", moved, "Archive"); err == nil {
		err = merr
	}
	err = errors.Join(err, a.Remove(ctx, "INBOX", removed), o.Rename(ctx, "Work", "Projects"))
	for _, name := range []string{"INBOX", "Archive", "Projects", "Plans"} {
		f, perr := a.Prepare(ctx, migrate.Folder{Name: name, Subscribed: true})
		err = errors.Join(err, perr)
		for i := range 40 {
			body, serr := target.Spool(ctx, strings.NewReader(fmt.Sprintf("Message-ID: <new%d@example.org>\r\nSubject: new %d in %s\r\n\r\ntext\r\n", i%30, i%30, name)))
			if serr != nil {
				return serr
			}
			item := migrate.Item{UID: f.State.UIDNext + mail.UID(i), Flags: mail.Seen}
			err = errors.Join(err, a.Append(ctx, name, []migrate.Message{{Item: item, Body: body}}), body.Close())
		}
	}
	return err
}

// carryAllBack makes a rollback.
func carryAllBack(e *migrate.Engine, plan childPlan) error {
	old := targetimap.New(targetimap.Config{Address: plan.Address, Login: "{local}", Password: plan.Password, Client: imapclient.Options{Security: imapclient.Plain}})
	return done(e.Rollback(context.Background(), plan.Users, fileSite(plan.Dir), old))
}

// TestRollbackKilled kills rollbacks at random moments and gives them again: the
// old server has what is here, nothing is missing, nothing is twice.
func TestRollbackKilled(t *testing.T) {
	t.Parallel()
	d := migratetest.StartDovecot(t, nil)
	plan := childPlan{Address: d.Address, Password: d.Password, Dir: t.TempDir(), Users: []migrate.User{{Source: "ajay@example.org", Target: "ajay@example.org"}}, Do: "move"}
	old := targetimap.New(targetimap.Config{Address: d.Address, Login: "{local}", Password: d.Password, Client: imapclient.Options{Security: imapclient.Plain}})
	far := sideOf(old, plan.Users[0])
	for i := range 100 {
		far.add(t, "INBOX", fmt.Sprint("in", i), 0)
	}
	for i := range 10 {
		far.add(t, "Archive", fmt.Sprint("archived", i), 0)
		far.add(t, "Work", fmt.Sprint("work", i), 0)
	}
	if err := os.WriteFile(filepath.Join(plan.Dir, "host"), []byte(oldHost), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(do string, life time.Duration) bool {
		plan.Do = do
		text, err := json.Marshal(plan)
		if err != nil {
			t.Fatal(err)
		}
		ended, err := runChild(t, text, life)
		if err != nil {
			t.Fatal(err)
		}
		return ended
	}
	if !run("move", 5*time.Minute) {
		t.Fatal("the cutover did not end")
	}
	killed, ended := 0, false
	for ; killed < 40 && !ended; killed++ { // short lives at first, so that all moments are met
		ended = run("back", time.Duration(20+rand.IntN(50+killed*15))*time.Millisecond)
	}
	if !ended && !run("back", 5*time.Minute) {
		t.Fatal("the rollback did not end")
	}
	t.Logf("it was killed %d times", killed)
	host, err := os.ReadFile(filepath.Join(plan.Dir, "host"))
	if err != nil || string(host) != oldHost {
		t.Errorf("the mailHost is %q, %v", host, err)
	}
	target := targetstore.New(migratetest.OpenStore(t, filepath.Join(plan.Dir, "store")), migratetest.AnyAccount, 0)
	here := sideOf(target, plan.Users[0])
	if got, want := far.mail(t), here.mail(t); !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("the old server has\n%q, want\n%q", got, want)
	}
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
