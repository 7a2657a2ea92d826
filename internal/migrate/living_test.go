package migrate_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/migratetest"
)

// fetched counts the commands that asked the server for whole messages since it
// was asked last.
func (b *bench) fetched() int {
	n := 0
	for _, line := range b.server.Commands() {
		if strings.Contains(line, "BODY.PEEK[]") {
			n++
		}
	}
	return n
}

// state returns the state of a folder of the target.
func (b *bench) state(t *testing.T, name string) (migrate.State, bool) {
	t.Helper()
	folders, err := b.target.Folders(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(folders, func(f migrate.Folder) bool { return f.Name == name })
	if i < 0 {
		return migrate.State{}, false
	}
	return folders[i].State, true
}

// TestFolderRenamed renames folders at the source between passes: they have other
// names at the target then, their UIDs and UIDVALIDITY, and nothing is fetched.
func TestFolderRenamed(t *testing.T) {
	t.Parallel()
	work, deep := messages(20, 1, 2), messages(5, 1, 1)
	b := newBench(t, migratetest.Quirks{}, box("INBOX", 11, messages(5, 1, 1)), box("Work", 12, work), box("Work/Deep", 13, deep), box("Empty", 14, nil))
	b.run(t)
	if b.fetched() == 0 {
		t.Error("nothing was fetched")
	}
	b.server.Change(func(boxes []*migratetest.Box) {
		boxes[1].Name, boxes[2].Name, boxes[3].Name = "Projects", "Projects/Deep", "Void"
	})
	if r := b.run(t); r.Err != nil || r.Copied+r.There+r.Removed != 0 {
		t.Errorf("%+v", r)
	}
	if n := b.fetched(); n != 0 {
		t.Errorf("messages were fetched by %d commands", n)
	}
	b.check(t, "Projects", work)
	b.check(t, "Projects/Deep", deep)
	for name, validity := range map[string]mail.UIDValidity{"Projects": 12, "Projects/Deep": 13, "Void": 14, "Work": 0, "Work/Deep": 0, "Empty": 0} {
		if s, _ := b.state(t, name); s.UIDValidity != validity {
			t.Errorf("%q has UIDVALIDITY %d, want %d", name, s.UIDValidity, validity)
		}
	}
	b.checkSums(t, 30, 0)
}

// TestFoldersSwapNames has folders at the source that take one another's names.
func TestFoldersSwapNames(t *testing.T) {
	t.Parallel()
	a, c, d := messages(20, 1, 2), messages(5, 1, 1), messages(7, 3, 1)
	b := newBench(t, migratetest.Quirks{}, box("INBOX", 11, nil), box("A", 12, a), box("C", 13, c), box("D", 14, d))
	b.run(t)
	b.fetched()
	b.server.Change(func(boxes []*migratetest.Box) { // A to C, C to A, and D to what A was called before
		boxes[1].Name, boxes[2].Name, boxes[3].Name = "C", "D", "A"
	})
	if r := b.run(t); r.Err != nil || r.Copied+r.There+r.Removed != 0 || b.fetched() != 0 {
		t.Errorf("%+v", r)
	}
	b.check(t, "C", a)
	b.check(t, "D", c)
	b.check(t, "A", d)
	b.checkSums(t, 32, 0)
}

// TestFolderRenamedInDoubt has a source with one UIDVALIDITY for all folders:
// that a new one is what became of an old one is no fact then.
func TestFolderRenamedInDoubt(t *testing.T) {
	t.Parallel()
	b := newBench(t, migratetest.Quirks{}, box("INBOX", 1, messages(5, 1, 1)), box("Work", 1, messages(5, 1, 1)))
	b.run(t)
	other := messages(6, 1, 1)
	for i := range other {
		other[i].Body = "Subject: another\r\n\r\n" + other[i].Body
	}
	b.server.Change(func(boxes []*migratetest.Box) { boxes[1] = box("Other", 1, other) })
	if r := b.run(t); r.Err != nil || r.Copied != 6 {
		t.Errorf("%+v", r)
	}
	b.check(t, "Other", other)
}

// lateBench has a folder of which one message cannot be read in the first pass.
func lateBench(t *testing.T) (*bench, *atomic.Bool) {
	bad := &atomic.Bool{}
	bad.Store(true)
	q := migratetest.Quirks{Fetch: badBody(func(m migratetest.Message) bool { return m.UID == 5 && bad.Load() }, "BODY[] NIL", false)}
	b := newBench(t, q, box("INBOX", 11, messages(10, 1, 1)))
	if r := b.run(t); r.Err != nil || r.Aside != 1 || r.Copied != 9 {
		t.Fatalf("%+v", r)
	}
	if s, _ := b.state(t, "INBOX"); s.UIDValidity != 11 {
		t.Fatalf("the target has %+v", s)
	}
	return b, bad
}

// TestLateMessageRenewsUIDValidity copies a message late, so that UIDs are not the
// source's any more: a client that knows the source's must not take one message
// for another.
func TestLateMessageRenewsUIDValidity(t *testing.T) {
	t.Parallel()
	b, bad := lateBench(t)
	bad.Store(false)
	if r := b.run(t); r.Err != nil || r.Copied != 1 {
		t.Errorf("%+v", r)
	}
	first, _ := b.state(t, "INBOX")
	if first.UIDValidity == 11 || first.UIDNext != 12 || first.Messages != 10 {
		t.Errorf("the target has %+v", first)
	}
	b.server.Change(func(boxes []*migratetest.Box) {
		boxes[0].Messages = append(slices.Clone(boxes[0].Messages), messages(1, 11, 1)...)
		boxes[0].UIDNext = 12
	})
	if r := b.run(t); r.Err != nil || r.Copied != 1 || r.There != 0 {
		t.Errorf("%+v", r)
	}
	if s, _ := b.state(t, "INBOX"); s.UIDValidity != first.UIDValidity || s.UIDNext != 13 || s.Messages != 11 {
		t.Errorf("the target has %+v, had %+v", s, first)
	}
	b.checkSums(t, 11, 0)
}

// TestRenewingInterrupted fails between the ledger's word and the target's.
func TestRenewingInterrupted(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		b, bad := lateBench(t)
		bad.Store(false)
		b.target.Close()
		target := &renewFails{Target: b.spool, after: after}
		b.engine = b.engineInto(target)
		if r := b.run(t); r.Err == nil {
			t.Errorf("after=%t: %+v", after, r)
		}
		if r := b.run(t); r.Err != nil || r.Copied+r.There+r.Removed != 0 {
			t.Errorf("after=%t: the second pass: %+v", after, r)
		}
		a, err := b.spool.Open(t.Context(), b.user)
		if err != nil {
			t.Fatal(err)
		}
		b.target = a
		if s, _ := b.state(t, "INBOX"); s.UIDValidity == 11 || s.Messages != 10 {
			t.Errorf("after=%t: the target has %+v", after, s)
		}
		b.checkSums(t, 10, 0)
	}
}

// renewFails is a target whose first Renew fails, before or behind it.
type renewFails struct {
	migrate.Target
	after  bool
	failed atomic.Bool
}

func (r *renewFails) Open(ctx context.Context, u migrate.User) (migrate.TargetAccount, error) {
	a, err := r.Target.Open(ctx, u)
	return &renewFailsAccount{a, r}, err
}

type renewFailsAccount struct {
	migrate.TargetAccount
	r *renewFails
}

func (a *renewFailsAccount) Renew(ctx context.Context, folder string, v mail.UIDValidity) error {
	renew := a.TargetAccount.(migrate.Renewer).Renew
	if a.r.failed.Swap(true) {
		return renew(ctx, folder, v)
	}
	if a.r.after {
		return errors.Join(errFaulty, renew(ctx, folder, v))
	}
	return errFaulty
}
