package migrate_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"expost/internal/migrate/migratetest"
)

// resyncing is a server that tells what changed and what vanished.
var resyncing = migratetest.Quirks{Capabilities: "CONDSTORE QRESYNC ENABLE"}

// livingBox is a mailbox of 40 messages at MODSEQ 100.
func livingBox() *migratetest.Box {
	b := box("INBOX", 11, named(messages(40, 1, 1)))
	for i := range b.Messages {
		b.Messages[i].ModSeq = 50
	}
	b.ModSeq = 100
	return b
}

// live removes three messages, changes the flags of one and adds two, at a MODSEQ.
func live(b *migratetest.Box, modseq uint64) {
	gone := b.Messages[5:8]
	if b.Expunged == nil {
		b.Expunged = map[uint64]string{}
	}
	b.Expunged[modseq] = strings.Join([]string{uidText(gone[0]), uidText(gone[1]) + ":" + uidText(gone[2])}, ",")
	b.Messages = slices.Concat(b.Messages[:5], b.Messages[8:], named(messages(2, b.UIDNext, 1)))
	b.UIDNext += 2
	b.Messages[0].Flags = `\Flagged newword`
	for _, i := range []int{0, len(b.Messages) - 2, len(b.Messages) - 1} {
		b.Messages[i].ModSeq = modseq
	}
	b.ModSeq = modseq
}

// uidText writes a message's UID.
func uidText(m migratetest.Message) string { return strconv.FormatUint(uint64(m.UID), 10) }

// TestResync learns what changed and what vanished without listing the folder.
func TestResync(t *testing.T) {
	t.Parallel()
	inbox := livingBox()
	b := newBench(t, resyncing, inbox)
	b.run(t)
	b.server.Commands()
	b.server.Change(func([]*migratetest.Box) { live(inbox, 110) })
	if r := b.run(t); r.Err != nil || r.Copied != 2 || r.Updated != 1 || r.Removed != 3 {
		t.Errorf("%+v", r)
	}
	b.check(t, "INBOX", inbox.Messages)
	sent := b.server.Commands()
	listed := slices.DeleteFunc(slices.Clone(sent), func(line string) bool {
		return !strings.Contains(line, "RFC822.SIZE") && !strings.Contains(line, "SEARCH")
	})
	if len(listed) != 1 || !strings.Contains(listed[0], "UID FETCH 1:42 (UID FLAGS INTERNALDATE RFC822.SIZE) (CHANGEDSINCE 100 VANISHED)") {
		t.Errorf("the folder was listed by %q", listed)
	}
	b.checkAgain(t, 39)
}

// TestResyncThatIsWrong has servers that do not tell all: it is found out by the
// number of messages, and the folder is listed.
func TestResyncThatIsWrong(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		quirks migratetest.Quirks
		change func(b *migratetest.Box)
	}{
		"vanished is not told":     {resyncing, func(b *migratetest.Box) { live(b, 110); b.Expunged = nil }},
		"new mail is not told":     {resyncing, func(b *migratetest.Box) { live(b, 110); b.Messages[38].ModSeq = 50; b.Messages[0].ModSeq = 105 }},
		"HIGHESTMODSEQ stands":     {resyncing, func(b *migratetest.Box) { live(b, 100) }},
		"HIGHESTMODSEQ falls":      {resyncing, func(b *migratetest.Box) { live(b, 60) }},
		"NOMODSEQ":                 {resyncing, func(b *migratetest.Box) { live(b, 110); b.ModSeq, b.NoModSeq = 0, true }},
		"ENABLE is refused":        {resyncing, func(b *migratetest.Box) { live(b, 110) }},
		"everything ever vanished": {resyncing, func(b *migratetest.Box) { live(b, 110); b.Expunged[110] = "6:8,43:4294967295" }},
		"CONDSTORE, new mail":      {migratetest.Quirks{Capabilities: "CONDSTORE"}, func(b *migratetest.Box) { live(b, 110); b.Messages[38].ModSeq = 50 }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "ENABLE is refused" {
				c.quirks.Command = func(_ int, line string) string {
					return map[bool]string{true: "BAD what?"}[strings.HasPrefix(line, "ENABLE")]
				}
			}
			inbox := livingBox()
			b := newBench(t, c.quirks, inbox)
			b.run(t)
			b.server.Change(func([]*migratetest.Box) { c.change(inbox) })
			if r := b.run(t); r.Err != nil {
				t.Errorf("%+v", r)
			}
			b.check(t, "INBOX", inbox.Messages)
			b.checkAgain(t, len(inbox.Messages))
			b.server.Change(func([]*migratetest.Box) { // and what it says of flags is not believed again
				inbox.Messages[4].Flags = `\Answered`
				if name == "ENABLE is refused" || name == "everything ever vanished" {
					inbox.Messages[4].ModSeq, inbox.ModSeq = 120, 120
				}
			})
			if r := b.run(t); r.Err != nil || r.Updated != 1 {
				t.Errorf("%+v", r)
			}
			b.check(t, "INBOX", inbox.Messages)
		})
	}
}

// TestStatusThatTellsNothing has a server that makes the index of a mailbox while
// it is asked for its state, as Dovecot does: UIDs are kept all the same.
func TestStatusThatTellsNothing(t *testing.T) {
	t.Parallel()
	inbox := box("INBOX", 11, messages(12, 3, 7))
	b := newBench(t, migratetest.Quirks{Command: func(_ int, line string) string {
		return map[bool]string{true: "OK done"}[strings.HasPrefix(line, "STATUS")]
	}}, inbox)
	if r := b.run(t); r.Err != nil || r.Copied != 12 {
		t.Errorf("%+v", r)
	}
	if s, _ := b.state(t, "INBOX"); s.UIDValidity != 11 {
		t.Errorf("the target has %+v", s)
	}
	b.check(t, "INBOX", inbox.Messages)
	b.checkAgain(t, 12)
}

// TestCommandsThatEndLate has a server that answers several commands at once, as
// Dovecot does: nothing is asked for twice.
func TestCommandsThatEndLate(t *testing.T) {
	t.Parallel()
	inbox := box("INBOX", 11, messages(1100, 1, 3))
	b := newBench(t, migratetest.Quirks{LateEnd: true}, inbox)
	if r := b.run(t); r.Err != nil || r.Copied != 1100 {
		t.Errorf("%+v", r)
	}
	if n := b.fetched(); n != 5 {
		t.Errorf("1100 messages were asked for by %d commands, want 5", n)
	}
	b.check(t, "INBOX", inbox.Messages)
}
