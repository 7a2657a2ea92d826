package storetest

import (
	"strings"

	"expost/internal/mail"
	"expost/internal/store"
)

func testMailboxNames(f *fixture) {
	ctx := f.context()
	for _, name := range []string{
		"", "/", "a/", "/a", "a//b", ".", "..", "a/../b", "a\x00b", "a\nb", "a\x7f", "\xff", "a\u0085b", "a\u2028b",
		strings.Repeat("x", 1001), strings.Repeat("x/", 50) + "x",
	} {
		_, err := f.a.CreateMailbox(ctx, name, store.CreateOptions{})
		f.wantKind(err, mail.KindInvalid)
		f.wantKind(f.a.RenameMailbox(ctx, "Sent", name), mail.KindInvalid)
	}
	// NFC, and INBOX in any case as the first level.
	f.create("Entwu\u0308rfe")
	equal(f, "name", f.box("Entw\u00fcrfe").Name, "Entw\u00fcrfe")
	equal(f, "name", f.create("inbox/x").Name, "INBOX/x")
	equal(f, "name", f.box("InBoX").Name, "INBOX")
	f.create(strings.Repeat("x/", 49) + "x")
	f.create("a b*%&~.c")
}

func testCreateMailbox(f *fixture) {
	ctx := f.context()
	before := f.box("INBOX")
	box, err := f.a.CreateMailbox(ctx, "a/b/c", store.CreateOptions{SpecialUse: mail.UseFlagged, Subscribe: true})
	f.check(err)
	equal(f, "subscribed", box.Subscribed, true)
	equal(f, "use", box.SpecialUse, mail.UseFlagged)
	equal(f, "UIDNEXT", box.UIDNext, mail.UID(1))
	equal(f, "subscription of a parent", f.box("a/b").Subscribed, false)
	if box.UIDValidity <= before.UIDValidity || box.HighestModSeq <= before.HighestModSeq {
		f.Errorf("UIDVALIDITY %d and modseq %d do not lie above %d and %d", box.UIDValidity, box.HighestModSeq, before.UIDValidity, before.HighestModSeq)
	}
	_, err = f.a.CreateMailbox(ctx, "a", store.CreateOptions{})
	f.wantKind(err, mail.KindExist)
	_, err = f.a.CreateMailbox(ctx, "InBox", store.CreateOptions{})
	f.wantKind(err, mail.KindExist)
	given, err := f.a.CreateMailbox(ctx, "given", store.CreateOptions{UIDValidity: 77})
	f.check(err)
	equal(f, "UIDVALIDITY", given.UIDValidity, 77)
	f.reopen()
	again := f.box("a/b/c")
	equal(f, "id", again.ID, box.ID)
	equal(f, "UIDVALIDITY", again.UIDValidity, box.UIDValidity)

	// A mailbox made again has a new id and a higher UIDVALIDITY.
	f.check(f.a.DeleteMailbox(ctx, "a/b/c"))
	anew := f.create("a/b/c")
	if anew.ID == box.ID || anew.UIDValidity <= box.UIDValidity {
		f.Errorf("id %v and UIDVALIDITY %d of a mailbox made again, before %v and %d", anew.ID, anew.UIDValidity, box.ID, box.UIDValidity)
	}
}

func testRenameMailbox(f *fixture) {
	ctx := f.context()
	box := f.create("a/b")
	deep := f.create("a/b/c")
	f.create("ab")
	f.check(f.a.Subscribe(ctx, "a/b/c", true))
	uid := f.append(box.ID, 1).UID
	v := f.view("a/b")
	f.check(f.a.RenameMailbox(ctx, "a/b", "x/y/z"))
	<-v.Changed()
	equal(f, "name in a view", v.Latest().Mailbox().Name, "x/y/z")
	equal(f, "id", f.box("x/y/z").ID, box.ID)
	equal(f, "UIDVALIDITY", f.box("x/y/z").UIDValidity, box.UIDValidity)
	equal(f, "id below", f.box("x/y/z/c").ID, deep.ID)
	equal(f, "subscription below", f.box("x/y/z/c").Subscribed, true)
	equal(f, "UID", f.messages("x/y/z")[0].UID, uid)
	_, err := f.a.Mailbox(ctx, "a/b")
	f.wantKind(err, mail.KindNotExist)
	f.box("a")
	f.box("x/y")

	f.wantKind(f.a.RenameMailbox(ctx, "nothing", "new"), mail.KindNotExist)
	f.wantKind(f.a.RenameMailbox(ctx, "x", "ab"), mail.KindExist)
	f.wantKind(f.a.RenameMailbox(ctx, "x", "x"), mail.KindExist)
	f.wantKind(f.a.RenameMailbox(ctx, "x", "x/y/w"), mail.KindInvalid)
	f.wantKind(f.a.RenameMailbox(ctx, "x", strings.Repeat("n", 997)), mail.KindInvalid) // x/y/z/c would be too long
	f.check(f.a.RenameMailbox(ctx, "x/y", "y"))
	f.check(f.a.RenameMailbox(ctx, "y", "x/y"))
	f.reopen()
	equal(f, "id after a restart", f.box("x/y/z/c").ID, deep.ID)
}

func testRenameInbox(f *fixture) {
	ctx := f.context()
	inbox := f.box("INBOX")
	f.create("INBOX/child")
	f.append(inbox.ID, 1, mail.Seen)
	f.append(inbox.ID, 2)
	v := f.view("INBOX")
	f.check(f.a.RenameMailbox(ctx, "inbox", "old/mail"))
	equal(f, "messages left", f.box("INBOX").Messages, 0)
	equal(f, "id of INBOX", f.box("INBOX").ID, inbox.ID)
	equal(f, "messages seen gone", v.Latest().Len(), 0)
	old := f.box("old/mail")
	equal(f, "messages moved", old.Messages, 2)
	equal(f, "unseen moved", old.Unseen, 1)
	f.box("INBOX/child")
	f.check(f.a.RenameMailbox(ctx, "INBOX", "older")) // empty
	gone, err := f.a.Vanished(ctx, inbox.ID, v.Snapshot().Mailbox().HighestModSeq)
	f.check(err)
	equal(f, "vanished", gone.String(), "1:2")
}

func testDeleteMailbox(f *fixture) {
	ctx := f.context()
	box := f.create("a/b")
	f.append(box.ID, 1)
	kept := f.append(f.box("INBOX").ID, 2)
	copied, err := f.a.Copy(ctx, f.box("INBOX").ID, set(kept.UID), box.ID)
	f.check(err)
	equal(f, "copies", len(copied.Target), 1)
	v := f.view("a/b")
	changed := v.Changed()
	f.check(f.a.Subscribe(ctx, "a/b", true))
	f.wantKind(f.a.DeleteMailbox(ctx, "a"), mail.KindInvalid)
	f.wantKind(f.a.DeleteMailbox(ctx, "INBOX"), mail.KindInvalid)
	f.wantKind(f.a.DeleteMailbox(ctx, "no"), mail.KindNotExist)
	f.check(f.a.DeleteMailbox(ctx, "a/b"))
	<-changed
	equal(f, "gone", v.Gone(), true)
	_, err = f.a.StoreFlags(ctx, box.ID, all, store.FlagChange{Flags: mail.Seen})
	f.wantKind(err, mail.KindNotExist)
	_, err = f.a.Select(ctx, "a/b")
	f.wantKind(err, mail.KindNotExist)
	usage, err := f.a.Usage(ctx)
	f.check(err)
	equal(f, "usage", usage, mail.Usage{Messages: 1, Bytes: int64(len(text(2)))})
	f.reopen()
	names, err := f.a.Subscriptions(ctx)
	f.check(err)
	if !strings.Contains(strings.Join(names, " "), "a/b") {
		f.Error("the subscription of a deleted mailbox is lost")
	}
	equal(f, "the copy's original", f.body(kept.Email), text(2))
}

func testSubscriptions(f *fixture) {
	ctx := f.context()
	f.check(f.a.Subscribe(ctx, "not/there", true))
	f.check(f.a.Subscribe(ctx, "not/there", true))
	f.check(f.a.Subscribe(ctx, "Trash", false))
	f.check(f.a.Subscribe(ctx, "never", false))
	f.wantKind(f.a.Subscribe(ctx, "a//b", true), mail.KindInvalid)
	f.reopen()
	names, err := f.a.Subscriptions(ctx)
	f.check(err)
	equal(f, "subscriptions", strings.Join(names, " "), "Archive Drafts INBOX Junk Sent not/there")
	equal(f, "subscribed", f.box("Trash").Subscribed, false)
	equal(f, "subscribed when made later", f.create("not/there").Subscribed, true)
}

func testSpecialUse(f *fixture) {
	ctx := f.context()
	box := f.create("Gesendet")
	f.check(f.a.SetSpecialUse(ctx, box.ID, mail.UseSent))
	equal(f, "use", f.box("Gesendet").SpecialUse, mail.UseSent)
	equal(f, "use of the one before", f.box("Sent").SpecialUse, mail.UseNone)
	f.check(f.a.SetSpecialUse(ctx, box.ID, mail.UseNone))
	equal(f, "use taken away", f.box("Gesendet").SpecialUse, mail.UseNone)
	f.wantKind(f.a.SetSpecialUse(ctx, f.box("INBOX").ID, mail.UseTrash), mail.KindInvalid)
	f.wantKind(f.a.SetSpecialUse(ctx, 9999, mail.UseTrash), mail.KindNotExist)
}

func testAdoptMailbox(f *fixture) {
	ctx := f.context()
	box, err := f.a.AdoptMailbox(ctx, "old/mail", 12345, 100)
	f.check(err)
	equal(f, "UIDVALIDITY", box.UIDValidity, 12345)
	equal(f, "UIDNEXT", box.UIDNext, 100)
	box, err = f.a.AdoptMailbox(ctx, "old/mail", 12345, 50) // never goes back
	f.check(err)
	equal(f, "UIDNEXT", box.UIDNext, 100)
	equal(f, "UID", f.append(box.ID, 1).UID, 100)
	box, err = f.a.AdoptMailbox(ctx, "old/mail", 12345, 500) // messages do not mind
	f.check(err)
	equal(f, "UIDNEXT", box.UIDNext, 500)
	_, err = f.a.AdoptMailbox(ctx, "old/mail", 54321, 1)
	f.wantKind(err, mail.KindConflict)
	_, err = f.a.AdoptMailbox(ctx, "zero", 0, 1)
	f.wantKind(err, mail.KindInvalid)

	// An INBOX that is selected and takes on another UIDVALIDITY throws its sessions out.
	v := f.view("INBOX")
	box, err = f.a.AdoptMailbox(ctx, "INBOX", 7, 70)
	f.check(err)
	equal(f, "UIDVALIDITY", box.UIDValidity, 7)
	<-v.Changed()
	equal(f, "gone", v.Gone(), true)
	f.reopen()
	equal(f, "UIDVALIDITY", f.box("INBOX").UIDValidity, 7)
	equal(f, "UIDNEXT", f.box("INBOX").UIDNext, 70)
	if made := f.create("new"); made.UIDValidity <= 54321 {
		f.Errorf("UIDVALIDITY %d of a new mailbox is low", made.UIDValidity)
	}
}
