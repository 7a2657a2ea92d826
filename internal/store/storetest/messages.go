package storetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"expost/internal/mail"
	"expost/internal/store"
)

func testAppend(f *fixture) {
	ctx := f.context()
	inbox := f.box("INBOX")
	in := f.spool(text(1))
	defer in.Close()
	date := mail.Date{Unix: 1_000_000_000, Offset: -330}
	got, err := f.a.Append(ctx, inbox.ID, in, store.AppendOptions{
		Flags: mail.Flagged | mail.Draft, Keywords: mail.NewKeywords("$Forwarded", "work"), InternalDate: date,
	})
	f.check(err)
	equal(f, "UIDVALIDITY", got.UIDValidity, inbox.UIDValidity)
	equal(f, "UID", got.UID, 1)
	f.clock.unix.Add(60)
	second := f.append(inbox.ID, 2, mail.Seen, mail.Deleted)
	equal(f, "UID", second.UID, 2)
	if second.ModSeq <= got.ModSeq || got.ModSeq <= inbox.HighestModSeq {
		f.Errorf("modseqs %d, %d, %d do not rise", inbox.HighestModSeq, got.ModSeq, second.ModSeq)
	}
	for range 2 {
		messages := f.messages("INBOX")
		equal(f, "messages", len(messages), 2)
		equal(f, "message", messages[0], mail.Message{
			UID: 1, ModSeq: got.ModSeq, Email: got.Email, Thread: mail.ThreadID(got.Email), Size: int64(len(text(1))),
			Flags: mail.Flagged | mail.Draft, Keywords: mail.NewKeywords("$Forwarded", "work"), InternalDate: date, SaveDate: 1_700_000_000,
		})
		equal(f, "date", messages[1].InternalDate, mail.Date{Unix: 1_700_000_060})
		box := f.box("INBOX")
		equal(f, "counts", fmt.Sprint(box.Messages, box.Unseen, box.Deleted, box.Size), fmt.Sprint(2, 1, 1, len(text(1))+len(text(2))))
		equal(f, "UIDNEXT", box.UIDNext, 3)
		equal(f, "modseq", box.HighestModSeq, second.ModSeq)
		equal(f, "keywords", strings.Join(box.Keywords, " "), "$Forwarded work")
		f.reopen()
	}
	_, err = f.a.Append(ctx, 9999, in, store.AppendOptions{})
	f.wantKind(err, mail.KindNotExist)
}

// testAppendConcurrently appends from many sides, so that groups form.
func testAppendConcurrently(f *fixture) {
	const sides, each = 8, 40
	inbox, trash := f.box("INBOX").ID, f.box("Trash").ID
	var mu sync.Mutex
	seen := make(map[mail.ModSeq]bool)
	var wg sync.WaitGroup
	for side := range sides {
		wg.Go(func() {
			for n := range each {
				id := inbox
				if n%4 == 0 {
					id = trash
				}
				got := f.append(id, side*each+n)
				mu.Lock()
				if seen[got.ModSeq] {
					f.Errorf("two changes have modseq %d", got.ModSeq)
				}
				seen[got.ModSeq] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	equal(f, "messages", len(f.messages("INBOX")), sides*each*3/4)
	equal(f, "messages", len(f.messages("Trash")), sides*each/4)
}

func testStoreFlags(f *fixture) {
	ctx := f.context()
	inbox := f.box("INBOX").ID
	f.fill(inbox, 300)
	highest := f.box("INBOX").HighestModSeq
	step := func(uids mail.UIDSet, ch store.FlagChange) {
		f.Helper()
		modified, err := f.a.StoreFlags(ctx, inbox, uids, ch)
		f.check(err)
		equal(f, "modified", len(modified), 0)
	}
	step(all, store.FlagChange{Op: store.FlagsAdd, Flags: mail.Seen})
	box := f.box("INBOX")
	equal(f, "unseen", box.Unseen, 0)
	equal(f, "modseq", box.HighestModSeq, highest+1)
	step(all, store.FlagChange{Op: store.FlagsAdd, Flags: mail.Seen}) // nothing to do
	equal(f, "modseq", f.box("INBOX").HighestModSeq, highest+1)
	step(set(5, 200, 900), store.FlagChange{Op: store.FlagsSet, Flags: mail.Deleted | mail.Answered})
	step(set(200), store.FlagChange{Op: store.FlagsRemove, Flags: mail.Deleted | mail.Draft})
	f.reopen()
	messages := f.messages("INBOX")
	equal(f, "flags", messages[4].Flags, mail.Deleted|mail.Answered)
	equal(f, "flags", messages[199].Flags, mail.Answered)
	equal(f, "flags", messages[0].Flags, mail.Seen)
	equal(f, "modseq", messages[4].ModSeq, highest+2)
	equal(f, "modseq", messages[199].ModSeq, highest+3)
	equal(f, "modseq", messages[0].ModSeq, highest+1)
	box = f.box("INBOX")
	equal(f, "counts", fmt.Sprint(box.Unseen, box.Deleted), "2 1")
}

func testStoreConditionally(f *fixture) {
	ctx := f.context()
	inbox := f.box("INBOX").ID
	f.fill(inbox, 10)
	since := f.box("INBOX").HighestModSeq
	_, err := f.a.StoreFlags(ctx, inbox, set(3, 4, 8), store.FlagChange{Op: store.FlagsAdd, Flags: mail.Flagged})
	f.check(err)
	modified, err := f.a.StoreFlags(ctx, inbox, all, store.FlagChange{Op: store.FlagsAdd, Flags: mail.Seen, UnchangedSince: since})
	f.check(err)
	equal(f, "modified", modified.String(), "3:4,8")
	equal(f, "unseen", f.box("INBOX").Unseen, 3)
	modified, err = f.a.StoreFlags(ctx, inbox, all, store.FlagChange{Op: store.FlagsAdd, Flags: mail.Draft, Conditional: true})
	f.check(err)
	equal(f, "modified since 0", modified.String(), "1:10")
}

func testKeywords(f *fixture) {
	ctx := f.context()
	inbox := f.box("INBOX").ID
	f.fill(inbox, 3)
	step := func(op store.FlagOp, words ...string) {
		_, err := f.a.StoreFlags(ctx, inbox, set(1, 2), store.FlagChange{Op: op, Keywords: mail.NewKeywords(words...)})
		f.check(err)
	}
	step(store.FlagsAdd, "b", "A")
	step(store.FlagsAdd, "c", "B")
	equal(f, "keywords", f.messages("INBOX")[1].Keywords.String(), "A b c")
	step(store.FlagsRemove, "a", "x")
	equal(f, "keywords", f.messages("INBOX")[0].Keywords.String(), "b c")
	step(store.FlagsSet, "only")
	equal(f, "keywords", f.messages("INBOX")[0].Keywords.String(), "only")
	equal(f, "keywords of another", f.messages("INBOX")[2].Keywords.String(), "")
	f.reopen()
	equal(f, "keywords", f.messages("INBOX")[0].Keywords.String(), "only")
	long := mail.NewKeywords(strings.Repeat("x", 70_000))
	_, err := f.a.StoreFlags(ctx, inbox, all, store.FlagChange{Op: store.FlagsAdd, Keywords: long})
	f.wantKind(err, mail.KindInvalid)
	_, err = f.a.Append(ctx, inbox, f.spool(text(1)), store.AppendOptions{Keywords: long})
	f.wantKind(err, mail.KindInvalid)
}

func testExpunge(f *fixture) {
	ctx := f.context()
	inbox := f.box("INBOX").ID
	f.fill(inbox, 500)
	doomed := set(1, 2, 3, 128, 129, 130, 500)
	doomed.AddRange(200, 420)
	_, err := f.a.StoreFlags(ctx, inbox, doomed, store.FlagChange{Op: store.FlagsAdd, Flags: mail.Deleted})
	f.check(err)
	gone, err := f.a.Expunge(ctx, inbox, set(1, 2, 10, 500, 501))
	f.check(err)
	equal(f, "expunged", gone.String(), "1:2,500")
	gone, err = f.a.Expunge(ctx, inbox, set(10))
	f.check(err)
	equal(f, "expunged", len(gone), 0)
	gone, err = f.a.Expunge(ctx, inbox, nil)
	f.check(err)
	equal(f, "expunged", gone.String(), "3,128:130,200:420")
	f.reopen()
	var want []mail.UID
	for uid := mail.UID(1); uid <= 500; uid++ {
		if !doomed.Contains(uid) {
			want = append(want, uid)
		}
	}
	equalSlices(f, "UIDs", uidsOf(f.messages("INBOX")), want)
	box := f.box("INBOX")
	equal(f, "counts", fmt.Sprint(box.Messages, box.Deleted, box.UIDNext), fmt.Sprint(len(want), 0, 501))
	equal(f, "UID", f.append(inbox, 1).UID, 501)
}

func testVanished(f *fixture) {
	ctx := f.context()
	inbox := f.box("INBOX").ID
	f.fill(inbox, 400)
	start := f.box("INBOX").HighestModSeq
	var since []mail.ModSeq
	for uid := mail.UID(1); uid <= 100; uid++ {
		since = append(since, f.box("INBOX").HighestModSeq)
		_, err := f.a.StoreFlags(ctx, inbox, set(uid*3), store.FlagChange{Op: store.FlagsAdd, Flags: mail.Deleted})
		f.check(err)
		_, err = f.a.Expunge(ctx, inbox, nil)
		f.check(err)
	}
	for range 2 {
		// The history of the fixture holds 64 to 68 expunges.
		for i, modseq := range since {
			gone, err := f.a.Vanished(ctx, inbox, modseq)
			f.check(err)
			var want mail.UIDSet
			for n := i + 1; n <= 100; n++ {
				want.Add(mail.UID(n * 3))
			}
			if i >= 100-64 && gone.String() != want.String() {
				f.Fatalf("vanished since %d: %v, want %v", modseq, gone, want)
			}
			if got, all := gone.Len(), 100; i < 100-68 && got != all {
				f.Fatalf("vanished since %d: %d UIDs, want all %d", modseq, got, all)
			}
		}
		f.reopen()
	}
	gone, err := f.a.Vanished(ctx, inbox, f.box("INBOX").HighestModSeq)
	f.check(err)
	equal(f, "vanished since now", len(gone), 0)
	_, err = f.a.Vanished(ctx, 9999, start)
	f.wantKind(err, mail.KindNotExist)
	empty, err := f.a.Vanished(ctx, f.box("Trash").ID, 0)
	f.check(err)
	equal(f, "vanished from an empty mailbox", len(empty), 0)
}

func testCopy(f *fixture) {
	ctx := f.context()
	inbox, trash := f.box("INBOX"), f.box("Trash")
	f.fill(inbox.ID, 300)
	_, err := f.a.StoreFlags(ctx, inbox.ID, set(7), store.FlagChange{Flags: mail.Flagged, Keywords: mail.NewKeywords("k")})
	f.check(err)
	f.append(trash.ID, 1000)
	f.clock.unix.Add(100)
	uids := set(7, 9, 5000)
	uids.AddRange(100, 290)
	got, err := f.a.Copy(ctx, inbox.ID, uids, trash.ID)
	f.check(err)
	equal(f, "UIDVALIDITY", got.UIDValidity, trash.UIDValidity)
	equal(f, "copies", len(got.Source), 193)
	equal(f, "source", got.Source[2], 100)
	equal(f, "target", got.Target[2], 4)
	f.reopen()
	from, to := f.messages("INBOX"), f.messages("Trash")
	equal(f, "originals", len(from), 300)
	equal(f, "messages", len(to), 194)
	was, is := from[6], to[1]
	if is.ModSeq <= was.ModSeq || is.SaveDate != 1_700_000_100 || was.SaveDate != 1_700_000_000 {
		f.Errorf("a copy has modseq %d and save date %d, the original %d and %d", is.ModSeq, is.SaveDate, was.ModSeq, was.SaveDate)
	}
	was.UID, was.ModSeq, was.SaveDate = is.UID, is.ModSeq, is.SaveDate
	equal(f, "copy", is, was)
	equal(f, "keywords", strings.Join(f.box("Trash").Keywords, " "), "k")

	// A copy lives on without its original.
	_, err = f.a.StoreFlags(ctx, inbox.ID, all, store.FlagChange{Op: store.FlagsAdd, Flags: mail.Deleted})
	f.check(err)
	_, err = f.a.Expunge(ctx, inbox.ID, nil)
	f.check(err)
	f.reopen()
	equal(f, "body", f.body(is.Email), text(6))

	got, err = f.a.Copy(ctx, trash.ID, set(1), trash.ID) // into itself
	f.check(err)
	equal(f, "UID", got.Target[0], 195)
	got, err = f.a.Copy(ctx, trash.ID, set(9999), inbox.ID)
	f.check(err)
	equal(f, "copies", len(got.Target), 0)
	_, err = f.a.Copy(ctx, trash.ID, all, 9999)
	f.wantKind(err, mail.KindNotExist)
	_, err = f.a.Copy(ctx, 9999, all, trash.ID)
	f.wantKind(err, mail.KindNotExist)
}

func testMove(f *fixture) {
	ctx := f.context()
	inbox, trash := f.box("INBOX"), f.box("Trash")
	f.fill(inbox.ID, 300)
	before := f.box("INBOX").HighestModSeq
	f.check(f.a.SetQuota(ctx, mail.Quota{Messages: 300})) // a move needs no room
	uids := set(1, 300)
	uids.AddRange(100, 200)
	got, err := f.a.Move(ctx, inbox.ID, uids, trash.ID)
	f.check(err)
	equal(f, "moved", len(got.Target), 103)
	equal(f, "left", f.box("INBOX").Messages, 197)
	equal(f, "arrived", f.box("Trash").Messages, 103)
	equal(f, "modseqs", f.box("INBOX").HighestModSeq, f.box("Trash").HighestModSeq)
	gone, err := f.a.Vanished(ctx, inbox.ID, before)
	f.check(err)
	equal(f, "vanished", gone.String(), uids.String())
	got, err = f.a.Move(ctx, trash.ID, set(1), trash.ID) // within itself
	f.check(err)
	equal(f, "UID", got.Target[0], 104)
	equal(f, "messages", f.box("Trash").Messages, 103)
	f.reopen()
	messages := f.messages("Trash")
	equal(f, "body", f.body(messages[0].Email), text(99))
	usage, err := f.a.Usage(ctx)
	f.check(err)
	equal(f, "usage", usage.Messages, 300)
}

func testQuota(f *fixture) {
	ctx := f.context()
	inbox, trash := f.box("INBOX").ID, f.box("Trash").ID
	size := int64(len(text(1)))
	quota := mail.Quota{Bytes: 3*size + 1, Messages: 5}
	f.check(f.a.SetQuota(ctx, quota))
	in := f.spool(text(1))
	defer in.Close()
	try := func() error {
		_, err := f.a.Append(ctx, inbox, in, store.AppendOptions{Flags: mail.Deleted})
		return err
	}
	for range 3 {
		f.check(try())
	}
	f.wantKind(try(), mail.KindQuota)
	_, err := f.a.Copy(ctx, inbox, set(1), trash)
	f.wantKind(err, mail.KindQuota)
	f.reopen()
	got, err := f.a.Quota(ctx)
	f.check(err)
	equal(f, "quota", got, quota)
	usage, err := f.a.Usage(ctx)
	f.check(err)
	equal(f, "usage", usage, mail.Usage{Bytes: 3 * size, Messages: 3})
	_, err = f.a.Expunge(ctx, inbox, set(1))
	f.check(err)
	_, err = f.a.Copy(ctx, inbox, set(2, 3), trash)
	f.wantKind(err, mail.KindQuota) // all or none
	_, err = f.a.Copy(ctx, inbox, set(2), trash)
	f.check(err)
	f.check(f.a.SetQuota(ctx, mail.Quota{Messages: 4}))
	f.check(try())
	f.wantKind(try(), mail.KindQuota)
	_, err = f.a.Bulk(ctx, inbox, []store.BulkMessage{{Incoming: in}}) // does not ask
	f.check(err)
	f.check(f.a.SetQuota(ctx, mail.Quota{}))
	f.check(try())
}

// testQuotaInGroup has some of many operations fail that are committed together.
func testQuotaInGroup(f *fixture) {
	ctx := f.context()
	inbox := f.box("INBOX").ID
	f.check(f.a.SetQuota(ctx, mail.Quota{Messages: 100}))
	var mu sync.Mutex
	var uids []mail.UID
	failed := 0
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			in := f.spool(text(1))
			defer in.Close()
			for range 10 {
				got, err := f.a.Append(ctx, inbox, in, store.AppendOptions{})
				mu.Lock()
				switch {
				case err == nil:
					uids = append(uids, got.UID)
				case mail.KindOf(err) == mail.KindQuota:
					failed++
				default:
					f.Error(err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	equal(f, "failed", failed, 60)
	slices.Sort(uids)
	equalSlices(f, "UIDs", uidsOf(f.messages("INBOX")), uids)
	equal(f, "last UID", uids[99], 100)
}

func testBulk(f *fixture) {
	ctx := f.context()
	box, err := f.a.AdoptMailbox(ctx, "migrated", 42, 1)
	f.check(err)
	saved := time.Unix(1_500_000_000, 0)
	var msgs []store.BulkMessage
	for n := range 1000 {
		in := f.spool(text(n))
		defer in.Close()
		msgs = append(msgs, store.BulkMessage{
			UID: mail.UID(10 + n*3), Incoming: in, Flags: mail.Flags(n % 32), Keywords: mail.NewKeywords(fmt.Sprintf("k%d", n%7)),
			InternalDate: mail.Date{Unix: int64(n) * 100_000, Offset: int16(n%27-13) * 60}, SaveDate: saved,
		})
	}
	before := f.box("INBOX").HighestModSeq
	done, err := f.a.Bulk(ctx, box.ID, msgs)
	f.check(err)
	equal(f, "made", len(done), 1000)
	equal(f, "UIDVALIDITY", done[0].UIDValidity, 42)
	f.reopen()
	for i, m := range f.messages("migrated") {
		want := mail.Message{
			UID: msgs[i].UID, ModSeq: done[0].ModSeq, Email: done[i].Email, Thread: mail.ThreadID(done[i].Email), Size: msgs[i].Incoming.Size(),
			Flags: msgs[i].Flags, Keywords: msgs[i].Keywords, InternalDate: msgs[i].InternalDate, SaveDate: saved.Unix(),
		}
		equal(f, fmt.Sprintf("message %d", i), m, want)
	}
	equal(f, "UIDNEXT", f.box("migrated").UIDNext, msgs[999].UID+1)
	if done[0].ModSeq <= before {
		f.Errorf("modseq %d, want above %d", done[0].ModSeq, before)
	}
	next := f.box("migrated").UIDNext
	one := msgs[0].Incoming
	for _, bad := range [][]store.BulkMessage{
		{{UID: next - 1, Incoming: one}},
		{{UID: next + 5, Incoming: one}, {UID: next + 5, Incoming: one}},
		{{UID: next + 5, Incoming: one}, {UID: next + 4, Incoming: one}},
	} {
		_, err = f.a.Bulk(ctx, box.ID, bad)
		f.wantKind(err, mail.KindConflict)
	}
	_, err = f.a.Bulk(ctx, box.ID, []store.BulkMessage{{UID: 1<<32 - 1, Incoming: one}})
	f.wantKind(err, mail.KindInvalid)
	done, err = f.a.Bulk(ctx, box.ID, []store.BulkMessage{{Incoming: one}, {UID: next + 10, Incoming: one}, {Incoming: one}})
	f.check(err)
	equal(f, "UIDs", fmt.Sprint(done[0].UID, done[1].UID, done[2].UID), fmt.Sprint(next, next+10, next+11))
	done, err = f.a.Bulk(ctx, box.ID, nil)
	f.check(err)
	equal(f, "made of nothing", len(done), 0)
	done, err = f.a.Bulk(ctx, box.ID, []store.BulkMessage{{UID: 1<<32 - 2, Incoming: one}})
	f.check(err)
	equal(f, "the last UID", done[0].UID, 1<<32-2)
	_, err = f.a.Append(ctx, box.ID, one, store.AppendOptions{})
	f.wantKind(err, mail.KindInvalid)
}

func testCanceled(f *fixture) {
	ctx, cancel := context.WithCancel(f.context())
	cancel()
	inbox := f.box("INBOX").ID
	in := f.spool(text(1))
	defer in.Close()
	if _, err := f.a.Append(ctx, inbox, in, store.AppendOptions{}); err == nil {
		f.Error("an append with a canceled context was done")
	}
	if _, err := f.a.Body(ctx, 1); err == nil {
		f.Error("a read with a canceled context was done")
	}
	equal(f, "messages", len(f.messages("INBOX")), 0)
}
