package migrate_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/imapclient"
	"expost/internal/migrate/migratetest"
	targetimap "expost/internal/migrate/target/imap"
)

// side is one of the two places of a rolled back account: how it is opened, and
// what takes messages for it.
type side struct {
	open  func(t testing.TB) migrate.TargetAccount
	spool migrate.Target
}

// sideOf is the account of a user at a target.
func sideOf(target migrate.Target, user migrate.User) side {
	return side{spool: target, open: func(t testing.TB) migrate.TargetAccount {
		a, err := target.Open(t.Context(), user)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}}
}

// add appends a message with a subject, and returns its UID.
func (s side) add(t testing.TB, folder, subject string, flags mail.Flags) {
	t.Helper()
	a := s.open(t)
	defer a.Close()
	f, err := a.Prepare(t.Context(), migrate.Folder{Name: folder, Subscribed: true})
	if err != nil {
		t.Fatal(err)
	}
	body, err := s.spool.Spool(t.Context(), strings.NewReader("Message-ID: <"+subject+"@example.org>\r\nSubject: "+subject+"\r\n\r\ntext\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if err := a.Append(t.Context(), folder, []migrate.Message{{Item: migrate.Item{UID: f.State.UIDNext, Flags: flags}, Body: body}}); err != nil {
		t.Fatal(err)
	}
}

// mail returns the subjects and flags of every folder that holds anything, or
// was made by the test.
func (s side) mail(t *testing.T) map[string][]string {
	t.Helper()
	a := s.open(t)
	defer a.Close()
	folders, err := a.Folders(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for _, f := range folders {
		if f.NoItems || f.Use != mail.UseNone && f.State.UIDNext <= 1 {
			continue
		}
		out[f.Name] = nil
		flags := map[mail.UID]string{}
		var uids mail.UIDSet
		if err := a.Items(t.Context(), f.Name, func(it migrate.Item) error {
			flags[it.UID] = strings.TrimSpace(it.Flags.String() + " " + it.Keywords.String())
			uids.Add(it.UID)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if err := a.Read(t.Context(), f.Name, uids, func(uid mail.UID, r io.Reader) error {
			b, err := io.ReadAll(r)
			_, after, _ := strings.Cut(string(b), "Subject: ")
			subject, _, _ := strings.Cut(after, "\r\n")
			out[f.Name] = append(out[f.Name], strings.TrimSpace(subject+" "+flags[uid]))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		slices.Sort(out[f.Name])
	}
	return out
}

// uid returns the UID of the message with a subject.
func (s side) uid(t *testing.T, folder, subject string) (uids mail.UIDSet) {
	t.Helper()
	a := s.open(t)
	defer a.Close()
	var all mail.UIDSet
	if err := a.Items(t.Context(), folder, func(it migrate.Item) error { all.Add(it.UID); return nil }); err != nil {
		t.Fatal(err)
	}
	err := a.Read(t.Context(), folder, all, func(uid mail.UID, r io.Reader) error {
		b, err := io.ReadAll(r)
		if len(uids) == 0 && strings.Contains(string(b), "Subject: "+subject+"\r\n") {
			uids.Add(uid)
		}
		return err
	})
	if err != nil || len(uids) == 0 {
		t.Fatalf("there is no %q in %q: %v", subject, folder, err)
	}
	return uids
}

// carryBench is an account in Dovecot that was cut over, and the way back.
type carryBench struct {
	*bench
	site      *site
	old       migrate.Target
	here, far side
}

// newCarryBench fills a Dovecot and moves its account.
func newCarryBench(t *testing.T) *carryBench {
	t.Helper()
	d := migratetest.StartDovecot(t, nil)
	b := &carryBench{bench: newDovecotBench(t, d), site: newSite()}
	b.old = targetimap.New(targetimap.Config{Address: d.Address, Login: "{local}", Password: d.Password, Client: imapclient.Options{Security: imapclient.Plain}})
	b.far = sideOf(b.old, b.user)
	b.here = sideOf(b.spool, b.user)
	for i := range 6 {
		b.far.add(t, "INBOX", fmt.Sprint("in", i), 0)
	}
	for i := range 3 {
		b.far.add(t, "Archive", fmt.Sprint("archived", i), mail.Seen)
		b.far.add(t, "Work", fmt.Sprint("work", i), 0)
		b.far.add(t, "Work/Deep", fmt.Sprint("deep", i), 0)
		b.far.add(t, "Old", fmt.Sprint("old", i), 0)
	}
	b.far.add(t, "Twins", "twin", 0)
	b.far.add(t, "Twins", "twin", 0)
	if m := b.move(t, b.site); !m.Done {
		t.Fatalf("the move is %+v", m)
	}
	return b
}

// back rolls back.
func (b *carryBench) back(t *testing.T, old migrate.Target) migrate.Move {
	t.Helper()
	moves, err := b.engine.Rollback(t.Context(), []migrate.User{b.user}, b.site.site(), old)
	if err != nil {
		t.Fatal(err)
	}
	return moves[0]
}

// work does with the mailbox here what users do.
func (b *carryBench) work(t *testing.T) {
	t.Helper()
	a := b.here.open(t)
	defer a.Close()
	o := a.(migrate.Organizer)
	move := func(from, subject, to string) mail.UID {
		got, err := o.Move(t.Context(), from, b.here.uid(t, from, subject), to)
		if err != nil {
			t.Fatal(err)
		}
		for _, uid := range got {
			return uid
		}
		t.Fatalf("%q was not moved", subject)
		return 0
	}
	for _, err := range []error{
		a.Update(t.Context(), "Archive", []migrate.Item{{UID: move("INBOX", "in1", "Archive"), Flags: mail.Seen | mail.Flagged, Keywords: mail.NewKeywords("Later")}}),
		a.Remove(t.Context(), "INBOX", b.here.uid(t, "INBOX", "in2")),
		a.Update(t.Context(), "INBOX", []migrate.Item{{UID: 1, Flags: mail.Flagged}}),
		o.Rename(t.Context(), "Work", "Projects"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	b.here.add(t, "INBOX", "new1", 0)
	b.here.add(t, "INBOX", "new2", mail.Answered)
	move("INBOX", "new2", "Archive")
	b.here.add(t, "Projects", "in3", 0) // a copy of what is still in INBOX
	b.here.add(t, "Projects/Deep", "new3", 0)
	b.here.add(t, "Plans", "plan", 0)
	move("Plans", "plan", "INBOX") // "Plans" is empty now
	for i := range 3 {
		move("Old", fmt.Sprint("old", i), "Archive")
	}
	if err := o.Discard(t.Context(), "Old"); err != nil {
		t.Fatal(err)
	}
	move("Twins", "twin", "Archive")
}

// TestRollbackCarries leaves the old server's mailbox as the user has left the
// one here, and the account ready to be moved again.
func TestRollbackCarries(t *testing.T) {
	t.Parallel()
	b := newCarryBench(t)
	b.work(t)
	want := b.here.mail(t)
	b.far.add(t, "INBOX", "straggler", 0)
	m := b.back(t, b.old)
	if !m.Done || m.Left != 0 || m.Carried != 5 || m.Moved != 5 || m.Removed != 1 || m.Updated != 1 || b.site.host != oldHost || b.stage(t) != migrate.StageCopying {
		t.Errorf("mailHost %q, stage %q, %+v", b.site.host, b.stage(t), m)
	}
	// new1 is 7 here, and 8 there, where the straggler is 7.
	if len(m.Renumbered) == 0 || !slices.Contains(m.Renumbered, "INBOX") || !strings.Contains(m.String(), "fetch anew") {
		t.Errorf("the folders with other UIDs are %q: %s", m.Renumbered, m)
	}
	want["INBOX"] = append(want["INBOX"], "straggler")
	slices.Sort(want["INBOX"])
	if got := b.far.mail(t); !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("the old server has\n%q, want\n%q", got, want)
	}
	for range 2 {
		if r := b.run(t); r.Err != nil || r.Aside+r.Removed != 0 {
			t.Errorf("the pass behind it: %+v", r)
		}
	}
	if m := b.move(t, b.site); !m.Done {
		t.Fatalf("the second move is %+v", m)
	}
	if got := b.here.mail(t); !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("here is\n%q, want\n%q", got, want)
	}
	v, err := b.engine.Verify(t.Context(), []migrate.User{b.user})
	if err != nil || len(v[0].Problems) > 0 {
		t.Errorf("verified: %+v, %v", v, err)
	}
}

// TestRollbackCounts says what stays here where nothing is to be carried.
func TestRollbackCounts(t *testing.T) {
	t.Parallel()
	b := newCarryBench(t)
	before := b.far.mail(t)
	b.here.add(t, "INBOX", "new1", 0)
	b.here.add(t, "Archive", "new2", 0)
	if m := b.back(t, nil); !m.Done || m.Left != 2 || m.Carried != 0 || b.site.host != oldHost {
		t.Errorf("%+v", m)
	}
	if got := b.far.mail(t); !maps.EqualFunc(got, before, slices.Equal) {
		t.Errorf("the old server has\n%q, want\n%q", got, before)
	}
}

// TestRollbackGuards keeps at the old server what vanished here by the dozen.
func TestRollbackGuards(t *testing.T) {
	t.Parallel()
	b := newCarryBench(t)
	a := b.here.open(t)
	defer a.Close()
	for i := range 12 {
		b.far.add(t, "Archive", fmt.Sprint("more", i), 0)
	}
	b.run(t)
	var all mail.UIDSet
	for _, it := range b.items(t, "Archive") {
		all.Add(it.UID)
	}
	if err := a.Remove(t.Context(), "Archive", all); err != nil {
		t.Fatal(err)
	}
	if m := b.back(t, b.old); m.Done || !strings.Contains(m.Error, "--removals") || b.site.host != "" || b.stage(t) != migrate.StageMoved {
		t.Errorf("mailHost %q, stage %q, %+v", b.site.host, b.stage(t), m)
	}
	if n := len(b.far.mail(t)["Archive"]); n != 15 {
		t.Errorf("the old server has %d messages, want 15", n)
	}
}

// faulty is an old server that fails at the nth change, before or behind it.
type faulty struct {
	migrate.Target
	n     int
	after bool
	done  int
}

var errFaulty = errors.New("the old server went away")

// step carries out one change, unless it is the one that fails.
func (f *faulty) step(fn func() error) error {
	f.done++
	if f.done != f.n {
		return fn()
	}
	if f.after {
		return errors.Join(errFaulty, fn())
	}
	return errFaulty
}

func (f *faulty) Open(ctx context.Context, u migrate.User) (migrate.TargetAccount, error) {
	a, err := f.Target.Open(ctx, u)
	return &faultyAccount{a, f}, err
}

// faultyAccount is an open account of a faulty server.
type faultyAccount struct {
	migrate.TargetAccount
	f *faulty
}

func (a *faultyAccount) Prepare(ctx context.Context, f migrate.Folder) (out migrate.Folder, err error) {
	err = a.f.step(func() (err error) { out, err = a.TargetAccount.Prepare(ctx, f); return err })
	return out, err
}

func (a *faultyAccount) Append(ctx context.Context, name string, msgs []migrate.Message) error {
	return a.f.step(func() error { return a.TargetAccount.Append(ctx, name, msgs) })
}

func (a *faultyAccount) Update(ctx context.Context, name string, items []migrate.Item) error {
	return a.f.step(func() error { return a.TargetAccount.Update(ctx, name, items) })
}

func (a *faultyAccount) Remove(ctx context.Context, name string, uids mail.UIDSet) error {
	return a.f.step(func() error { return a.TargetAccount.Remove(ctx, name, uids) })
}

func (a *faultyAccount) Move(ctx context.Context, from string, uids mail.UIDSet, to string) (got map[mail.UID]mail.UID, err error) {
	err = a.f.step(func() (err error) {
		got, err = a.TargetAccount.(migrate.Organizer).Move(ctx, from, uids, to)
		return err
	})
	return got, err
}

func (a *faultyAccount) Rename(ctx context.Context, from, to string) error {
	return a.f.step(func() error { return a.TargetAccount.(migrate.Organizer).Rename(ctx, from, to) })
}

func (a *faultyAccount) Discard(ctx context.Context, name string) error {
	return a.f.step(func() error { return a.TargetAccount.(migrate.Organizer).Discard(ctx, name) })
}

func (a *faultyAccount) Since(ctx context.Context, name string, from mail.UID, fn func(mail.UID, migrate.Hash, migrate.Identity) error) error {
	return a.TargetAccount.(migrate.Finder).Since(ctx, name, from, fn)
}

// TestRollbackInterrupted fails at every single change that a rollback makes at
// the old server, before and behind it: given again, nothing is missing or twice.
func TestRollbackInterrupted(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		t.Run(fmt.Sprintf("after=%t", after), func(t *testing.T) {
			t.Parallel()
			b := newCarryBench(t)
			b.work(t)
			want := b.here.mail(t)
			for n := 1; ; n++ {
				m := b.back(t, &faulty{Target: b.old, n: n, after: after})
				if m.Done {
					if n < 5 {
						t.Errorf("the rollback made only %d changes", n-1)
					}
					break
				}
				if !strings.Contains(m.Error, errFaulty.Error()) || b.site.host != "" || b.stage(t) != migrate.StageMoved {
					t.Fatalf("change %d: mailHost %q, stage %q, %+v", n, b.site.host, b.stage(t), m)
				}
			}
			if got := b.far.mail(t); !maps.EqualFunc(got, want, slices.Equal) {
				t.Errorf("the old server has\n%q, want\n%q", got, want)
			}
		})
	}
}
