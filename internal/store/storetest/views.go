package storetest

import (
	"fmt"
	"sync"

	"expost/internal/mail"
	"expost/internal/store"
)

func testSelect(f *fixture) {
	ctx := f.context()
	inbox := f.box("INBOX").ID
	f.fill(inbox, 1000)
	_, err := f.a.StoreFlags(ctx, inbox, mail.UIDSet{{First: 1, Last: 700}}, store.FlagChange{Op: store.FlagsAdd, Flags: mail.Seen})
	f.check(err)
	_, err = f.a.StoreFlags(ctx, inbox, set(1, 300, 301), store.FlagChange{Op: store.FlagsAdd, Flags: mail.Deleted})
	f.check(err)
	_, err = f.a.Expunge(ctx, inbox, nil)
	f.check(err)
	for range 2 {
		s := f.view("INBOX").Snapshot()
		equal(f, "messages", s.Len(), 997)
		equal(f, "counted", s.Mailbox().Messages, 997)
		equal(f, "first unseen", s.FirstUnseen(), 698)
		for _, c := range []struct {
			uid mail.UID
			seq int
			ok  bool
		}{{1, 1, false}, {2, 1, true}, {299, 298, true}, {300, 299, false}, {301, 299, false}, {302, 299, true}, {1000, 997, true}, {1001, 998, false}, {1<<32 - 1, 998, false}} {
			seq, ok := s.Seq(c.uid)
			equal(f, fmt.Sprint("place of ", c.uid), fmt.Sprint(seq, ok), fmt.Sprint(c.seq, c.ok))
			if ok {
				equal(f, "UID", s.At(seq).UID, c.uid)
			}
		}
		n := 0
		for seq, m := range s.Range(500, 600) {
			equal(f, "seq", seq, 500+n)
			equal(f, "message", *m, s.At(seq))
			n++
		}
		equal(f, "ranged", n, 101)
		for range s.Range(998, 2000) {
			f.Error("a message beyond the last")
		}
		f.reopen()
	}
	equal(f, "first unseen of nothing", f.view("Trash").Snapshot().FirstUnseen(), 0)
	_, err = f.a.Select(ctx, "nothing")
	f.wantKind(err, mail.KindNotExist)
}

// testSelectWhileWriting selects mailboxes that change meanwhile: each view
// must be a state that there was, and end at the last.
func testSelectWhileWriting(f *fixture) {
	ctx := f.context()
	inbox := f.box("INBOX").ID
	f.fill(inbox, 200)
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(done)
		for n := range 150 {
			f.append(inbox, n)
			if n%10 == 0 {
				_, err := f.a.StoreFlags(ctx, inbox, set(mail.UID(n+1)), store.FlagChange{Op: store.FlagsAdd, Flags: mail.Deleted})
				f.check(err)
				_, err = f.a.Expunge(ctx, inbox, nil)
				f.check(err)
			}
		}
	})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				v, err := f.a.Select(ctx, "INBOX")
				f.check(err)
				if s := v.Snapshot(); s.Len() != s.Mailbox().Messages || len(messagesOf(s)) != s.Len() {
					f.Errorf("a view of %d messages whose mailbox has %d", s.Len(), s.Mailbox().Messages)
				}
				v.Close()
				// Others take its place in memory.
				for _, name := range []string{"Trash", "Sent", "Junk"} {
					v, err := f.a.Select(ctx, name)
					f.check(err)
					v.Close()
				}
			}
		})
	}
	wg.Wait()
	equal(f, "messages", f.view("INBOX").Snapshot().Len(), 200+150-15)
}

func testRecent(f *fixture) {
	ctx := f.context()
	inbox := f.box("INBOX").ID
	f.append(inbox, 1)
	recent := func(open func() (*store.View, error), want mail.UID) *store.View {
		f.Helper()
		v, err := open()
		f.check(err)
		equal(f, "recent", v.Recent(), want)
		return v
	}
	examine := func() (*store.View, error) { return f.a.Examine(ctx, "INBOX") }
	sel := func() (*store.View, error) { return f.a.Select(ctx, "INBOX") }
	recent(examine, 1).Close()
	first := recent(sel, 1)
	recent(sel, 2).Close()
	recent(examine, 2).Close()
	f.append(inbox, 2)
	equal(f, "recent of the first", first.Recent(), 1)
	first.MoveTo(first.Latest())
	recent(sel, 3).Close()
	first.Close()
	f.append(inbox, 3)
	f.reopen()
	recent(examine, 3).Close()
	recent(sel, 3).Close()
	f.reopen()
	recent(sel, 4).Close()
}

func testAnnouncements(f *fixture) {
	ctx := f.context()
	inbox := f.box("INBOX").ID
	f.fill(inbox, 5)
	v, idle := f.view("INBOX"), f.view("INBOX")
	changed := v.Changed()
	select {
	case <-changed:
		f.Fatal("changed before anything changed")
	default:
	}
	f.append(inbox, 6)
	<-changed
	<-idle.Changed()
	equal(f, "before it moves", v.Snapshot().Len(), 5)
	v.MoveTo(v.Latest())
	equal(f, "after it moved", v.Snapshot().Len(), 6)
	equal(f, "the other", idle.Snapshot().Len(), 5)

	changed = v.Changed()
	_, err := f.a.StoreFlags(ctx, inbox, set(2, 4), store.FlagChange{Op: store.FlagsAdd, Flags: mail.Deleted})
	f.check(err)
	<-changed
	old := v.Snapshot()
	equal(f, "changes", changes(old, v.Latest()), "2+ 4+")
	v.MoveTo(v.Latest())
	changed = v.Changed()
	_, err = f.a.Expunge(ctx, inbox, nil)
	f.check(err)
	<-changed
	equal(f, "changes", changes(v.Snapshot(), v.Latest()), "2- 3-")
	equal(f, "changes since before", changes(old, v.Latest()), "2- 3-")
	changed = v.Changed()
	f.check(f.a.Subscribe(ctx, "INBOX", false))
	<-changed
	equal(f, "subscribed", v.Latest().Mailbox().Subscribed, false)
	f.append(f.box("Trash").ID, 1)
	v.MoveTo(v.Latest())
	select {
	case <-v.Changed():
		f.Error("a change of another mailbox was announced")
	default:
	}
}

// changes returns what Diff yields as text: "2-" an expunge, "4+" changed flags.
func changes(old, now *store.Snapshot) string {
	text := ""
	for c := range store.Diff(old, now) {
		sign := "+"
		if c.Expunged {
			sign = "-"
		}
		if text != "" {
			text += " "
		}
		text += fmt.Sprint(c.Seq, sign)
	}
	return text
}

func testWatch(f *fixture) {
	ctx := f.context()
	inbox := f.box("INBOX").ID
	in := func(id mail.MailboxID) store.Changed { return store.Changed{Account: f.a.ID(), Mailbox: id} }
	w, lazy := store.NewWatcher(), store.NewWatcher() // that one is never read
	defer lazy.Close()
	w.Watch(f.a)
	lazy.Watch(f.a)
	f.append(inbox, 1)
	equal(f, "changed", <-w.C, in(inbox))
	for n := range 20 {
		f.append(inbox, n)
	}
	made := f.create("new")
	seen := 0
	for ch := range w.C {
		if ch == in(made.ID) {
			break
		}
		equal(f, "changed", ch, in(inbox))
		seen++
	}
	if seen > 3 {
		f.Errorf("20 changes were announced %d times", seen)
	}
	f.check(f.a.DeleteMailbox(ctx, "new"))
	equal(f, "deleted", <-w.C, in(made.ID))
	f.check(f.a.SetACL(ctx, inbox, store.ACLSet, store.ACLEntry{Identifier: store.Anyone, Rights: mail.RightLookup}))
	got := map[store.Changed]bool{<-w.C: true, <-w.C: true}
	if !got[in(inbox)] || !got[in(0)] {
		f.Errorf("a new right was announced as %v", got)
	}
	w.Close()
	f.append(inbox, 1)
	equal(f, "the lazy one's first", <-lazy.C, in(inbox))
}

func testKeepExpunged(f *fixture) {
	ctx := f.context()
	inbox := f.box("INBOX").ID
	f.fill(inbox, 300)
	v := f.view("INBOX")
	expunge := func(uids ...mail.UID) {
		_, err := f.a.StoreFlags(ctx, inbox, set(uids...), store.FlagChange{Op: store.FlagsAdd, Flags: mail.Deleted})
		f.check(err)
		_, err = f.a.Expunge(ctx, inbox, nil)
		f.check(err)
	}
	expunge(1, 128, 129, 300)
	f.append(inbox, 1)
	kept := store.KeepExpunged(v.Snapshot(), v.Latest())
	equal(f, "kept", kept.Len(), 301)
	for seq := 1; seq <= 301; seq++ {
		equal(f, "UID", kept.At(seq).UID, mail.UID(seq))
	}
	equal(f, "messages in the mailbox", kept.Mailbox().Messages, 297)
	changed := v.Changed()
	<-changed
	v.MoveTo(kept)
	select {
	case <-v.Changed():
		f.Fatal("a view that keeps what is expunged has changed already")
	default:
	}
	expunge(2)
	<-v.Changed()
	kept = store.KeepExpunged(v.Snapshot(), v.Latest())
	equal(f, "kept", kept.Len(), 301)
	equal(f, "changes to come", changes(kept, v.Latest()), "1- 1- 126- 126- 296-")
	if same := store.KeepExpunged(v.Latest(), v.Latest()); same != v.Latest() {
		f.Error("a state without expunges was copied")
	}
}
