package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"expost/internal/mail"
	"expost/internal/store"
)

// The people who use ajay's account in these tests.
var (
	ajay   = store.Principal{ID: account, Identifiers: []string{"ajay@example.org"}}
	bishal = store.Principal{ID: "example.org/bishal", Identifiers: []string{"bishal@example.org", "group:staff@example.org"}}
	chitra = store.Principal{ID: "example.org/chitra", Identifiers: []string{"chitra@example.org"}}
)

// grant gives an identifier rights in a mailbox of ajay's.
func (f *fixture) grant(id mail.MailboxID, identifier, letters string) {
	f.Helper()
	rights, _ := mail.ParseRights(letters)
	f.check(f.a.SetACL(f.context(), id, store.ACLSet, store.ACLEntry{Identifier: identifier, Rights: rights}))
}

// acl returns a mailbox's list as a line.
func (f *fixture) acl(id mail.MailboxID) string {
	f.Helper()
	acl, err := f.a.ACL(f.context(), id)
	f.check(err)
	return strings.TrimSpace(strings.NewReplacer("\t", "=", "\n", " ").Replace(store.MarshalACL(acl)))
}

// as returns ajay's account as somebody sees it.
func (f *fixture) as(p store.Principal) *store.Access { return f.a.Access(p, store.PersonalSeen) }

func testACL(f *fixture) {
	box := f.create("A")
	f.grant(box.ID, "Bishal@example.org", "lrsd")
	f.grant(box.ID, "anyone", "lp")
	f.grant(box.ID, "-group:staff@example.org", "s")
	equal(f, "list", f.acl(box.ID), "-group:staff@example.org=s anyone=lp bishal@example.org=lrste")
	equal(f, "bishal's rights", f.as(bishal).Rights(box.ID).Compatible(), "lrpted")
	equal(f, "chitra's rights", f.as(chitra).Rights(box.ID).String(), "lp")
	nobody := store.Principal{ID: bishal.ID, Identifiers: []string{"bishal@example.org"}, GroupsUnknown: true}
	equal(f, "bishal's rights while nobody knows his groups", f.as(nobody).Rights(box.ID).String(), "lrpte")
	equal(f, "the owner's rights", f.as(ajay).Rights(box.ID).Compatible(), "lrswipkxtecda")
	f.check(f.a.SetACL(f.context(), box.ID, store.ACLAdd, store.ACLEntry{Identifier: "chitra@example.org", Rights: mail.RightInsert | mail.RightCreate}))
	f.check(f.a.SetACL(f.context(), box.ID, store.ACLRemove, store.ACLEntry{Identifier: "chitra@example.org", Rights: mail.RightInsert}))
	equal(f, "chitra's rights", f.as(chitra).Rights(box.ID).Compatible(), "lpkc")

	child := f.create("A/B/C") // RFC 4314 §4: a new mailbox has the list of the one above
	want := f.acl(box.ID)
	equal(f, "the child's list", f.acl(child.ID), want)
	equal(f, "the list of the one between", f.acl(f.box("A/B").ID), want)
	f.check(f.a.RenameMailbox(f.context(), "A", "Z/A"))
	equal(f, "the renamed list", f.acl(box.ID), want)
	equal(f, "the list of the new parent", f.acl(f.box("Z").ID), "")
	f.reopen()
	equal(f, "the list behind a restart", f.acl(f.box("Z/A/B/C").ID), want)
	f.grant(box.ID, "anyone", "")
	f.grant(box.ID, "nobody@example.org", "")
	equal(f, "without anyone", f.as(chitra).Rights(box.ID).String(), "k")
	f.check(f.a.DeleteMailbox(f.context(), "Z/A/B/C"))
	equal(f, "rights in what is gone", f.as(bishal).Rights(child.ID), 0)
	_, err := f.a.ACL(f.context(), child.ID)
	f.wantKind(err, mail.KindNotExist)
	f.wantKind(f.a.SetACL(f.context(), child.ID, store.ACLSet, store.ACLEntry{Identifier: "anyone", Rights: mail.AllRights}), mail.KindNotExist)
	for _, name := range []string{"", "-", "a\nb", "a\tb", strings.Repeat("x", 400)} {
		f.wantKind(f.a.SetACL(f.context(), box.ID, store.ACLSet, store.ACLEntry{Identifier: name, Rights: mail.RightRead}), mail.KindInvalid)
	}
	for i := 0; err == nil || i < 300; i++ {
		if err = f.a.SetACL(f.context(), box.ID, store.ACLSet, store.ACLEntry{Identifier: fmt.Sprintf("u%d", i), Rights: mail.RightRead}); err != nil {
			break
		}
	}
	f.wantKind(err, mail.KindInvalid)
}

// sharers returns who shares with somebody, as a line.
func (f *fixture) sharers(p store.Principal) string {
	f.Helper()
	ids, err := f.store.Sharers(f.context(), p)
	f.check(err)
	return fmt.Sprint(ids)
}

func testSharers(f *fixture) {
	box := f.create("A")
	f.check(f.store.Create(f.context(), bishal.ID))
	equal(f, "at first", f.sharers(bishal), "[]")
	f.grant(box.ID, "group:staff@example.org", "l")
	equal(f, "through a group", f.sharers(bishal), "[example.org/ajay]")
	equal(f, "to others", f.sharers(chitra), "[]")
	f.grant(box.ID, "bishal@example.org", "l")
	f.grant(box.ID, "group:staff@example.org", "")
	f.grant(f.box("INBOX").ID, "bishal@example.org", "l")
	f.grant(f.box("INBOX").ID, "bishal@example.org", "")
	equal(f, "one of two mailboxes", f.sharers(bishal), "[example.org/ajay]")
	f.grant(box.ID, "anyone", "r")
	equal(f, "to anyone", f.sharers(chitra), "[example.org/ajay]")
	equal(f, "to oneself", f.sharers(ajay), "[]")
	f.reopen()
	equal(f, "behind a restart", f.sharers(chitra), "[example.org/ajay]")
	f.grant(box.ID, "anyone", "")
	equal(f, "no longer to anyone", f.sharers(chitra), "[]")
	lost := f.create("B")
	f.grant(lost.ID, "chitra@example.org", "l")
	f.check(f.a.DeleteMailbox(f.context(), "B"))
	equal(f, "a mailbox that is gone", f.sharers(chitra), "[]")

	other, err := f.store.Open(f.context(), bishal.ID)
	f.check(err)
	inbox, err := other.Mailbox(f.context(), "INBOX")
	f.check(err)
	f.check(other.SetACL(f.context(), inbox.ID, store.ACLSet, store.ACLEntry{Identifier: "ajay@example.org", Rights: mail.RightLookup}))
	other.Release()
	equal(f, "the other way", f.sharers(ajay), "[example.org/bishal]")
	f.check(f.store.Remove(f.context(), bishal.ID))
	equal(f, "of an account that is gone", f.sharers(ajay), "[]")
}

// testSharersLost loses the index, and parts of it.
func testSharersLost(f *fixture) {
	box := f.create("A")
	f.grant(box.ID, "bishal@example.org", "l")
	f.stop()
	e := f.open(f, f.dir)
	f.check(e.UpdateSite(f.context(), func(tx store.SiteTx) error { return tx.DropShares() }))
	f.check(e.Close())
	f.start()
	f.a = f.openAccount(account)
	equal(f, "an index that was lost", f.sharers(bishal), "[example.org/ajay]")
	f.stop()
	e = f.open(f, f.dir)
	f.check(e.UpdateSite(f.context(), func(tx store.SiteTx) error {
		if err := tx.PutShare("bishal@example.org", account, false); err != nil {
			return err
		}
		return tx.PutShare("chitra@example.org", "example.org/gone", true)
	}))
	f.check(e.Close())
	f.start()
	f.a = f.openAccount(account)
	equal(f, "an index that lacks somebody", f.sharers(bishal), "[]")
	var places []string
	for finding, err := range f.store.Check(f.context(), store.CheckOptions{Repair: true}) {
		f.check(err)
		places = append(places, fmt.Sprintf("%s %v", finding.Account, finding.Repaired))
	}
	equal(f, "findings", fmt.Sprint(places), "[example.org/ajay true example.org/gone true]")
	equal(f, "a repaired index", f.sharers(bishal)+f.sharers(chitra), "[example.org/ajay][]")
}

// testForget removes somebody from the accounts that share with him.
func testForget(f *fixture) {
	inbox := f.box("INBOX")
	f.append(inbox.ID, 1)
	f.grant(inbox.ID, "bishal@example.org", "lrs")
	f.grant(inbox.ID, "-bishal@example.org", "w")
	f.grant(inbox.ID, "group:staff@example.org", "lr")
	x := f.as(bishal)
	_, err := x.StoreFlags(f.context(), inbox.ID, all, store.FlagChange{Op: store.FlagsAdd, Flags: mail.Seen})
	f.check(err)
	f.check(x.SetAnnotations(f.context(), inbox.ID, []store.Annotation{{Entry: "/private/comment", Value: []byte("his")}, {Entry: "/shared/comment", Value: []byte("all")}}))
	v, err := x.Select(f.context(), "INBOX")
	f.check(err)
	defer v.Close()
	gone := store.Principal{ID: bishal.ID, Identifiers: []string{"bishal@example.org"}}
	f.check(f.store.Forget(f.context(), gone, []string{"group:staff@example.org"}))
	equal(f, "list", f.acl(inbox.ID), "group:staff@example.org=lr")
	equal(f, "his view is gone", v.Gone(), true)
	again := f.as(bishal)
	equal(f, "messages that the next of his name has not seen", f.seenBy(again, "INBOX").Unseen, 1)
	notes, err := again.Annotations(f.context(), inbox.ID)
	f.check(err)
	equal(f, "annotations that are left", len(notes), 1)
}

// seenBy returns a mailbox as somebody sees it.
func (f *fixture) seenBy(x *store.Access, name string) mail.Mailbox {
	f.Helper()
	box, err := x.Mailbox(f.context(), name)
	f.check(err)
	return box
}

// flagsOf returns the flags of a view's messages, "S" for \Seen and so on.
func flagsOf(v *store.View) string {
	var b strings.Builder
	for _, m := range v.Latest().Range(1, v.Latest().Len()) {
		b.WriteString("[")
		for _, l := range []struct {
			flag   mail.Flags
			letter string
		}{{mail.Seen, "S"}, {mail.Flagged, "F"}, {mail.Deleted, "D"}, {mail.Draft, "d"}} {
			if m.Flags&l.flag != 0 {
				b.WriteString(l.letter)
			}
		}
		b.WriteString(m.Keywords.String() + "]")
	}
	return b.String()
}

// openAs selects a mailbox as somebody, for as long as the test lasts.
func (f *fixture) openAs(x *store.Access, name string) *store.View {
	f.Helper()
	v, err := x.Select(f.context(), name)
	f.check(err)
	f.Cleanup(v.Close)
	return v
}

func (f *fixture) flag(x *store.Access, id mail.MailboxID, uids mail.UIDSet, ch store.FlagChange) mail.UIDSet {
	f.Helper()
	modified, err := x.StoreFlags(f.context(), id, uids, ch)
	f.check(err)
	return modified
}

// testPersonalFlags has three people who each know what they have read.
func testReplace(f *fixture) {
	ctx := f.context()
	drafts, inbox := f.box("Trash").ID, f.box("INBOX").ID
	f.append(drafts, 1)
	usage, err := f.a.Usage(ctx)
	f.check(err)
	f.check(f.a.SetQuota(ctx, mail.Quota{Bytes: usage.Bytes + 10, Messages: 1}))
	v := f.view("Trash")
	replace := func(to mail.MailboxID, n int, uid mail.UID) error {
		in := f.spool(text(n))
		defer in.Close()
		_, err := f.as(ajay).Replace(ctx, to, store.BulkMessage{Incoming: in, Flags: mail.Draft}, drafts, uid)
		return err
	}
	f.check(replace(drafts, 2, 1)) // in what the old one leaves of the quota
	equal(f, "changes", changes(v.Snapshot(), v.Latest()), "1-")
	all := f.messages("Trash")
	equal(f, "messages", len(all), 1)
	equal(f, "UID", all[0].UID, mail.UID(2))
	if err := replace(drafts, 3, 1); !errors.Is(err, store.ErrReplaced) {
		f.Errorf("replacing what is gone: %v", err)
	}
	f.wantKind(replace(drafts, 1_000_000_000, 2), mail.KindQuota)
	equal(f, "messages after failures", f.messages("Trash")[0].UID, mail.UID(2))
	f.check(replace(inbox, 4, 2))
	equal(f, "messages left", len(f.messages("Trash")), 0)
	equal(f, "messages moved on to", len(f.messages("INBOX")), 1)
	f.noFindings()
}

func testPersonalFlags(f *fixture) {
	inbox := f.box("INBOX")
	for n := range 3 {
		f.append(inbox.ID, n)
	}
	own, his, hers := f.as(ajay), f.as(bishal), f.as(chitra)
	vo, vb, vc := f.openAs(own, "INBOX"), f.openAs(his, "INBOX"), f.openAs(hers, "INBOX")
	add := func(flags mail.Flags) store.FlagChange { return store.FlagChange{Op: store.FlagsAdd, Flags: flags} }

	changed, before := vo.Changed(), f.box("INBOX").HighestModSeq
	f.flag(his, inbox.ID, set(1), add(mail.Seen))
	equal(f, "bishal", flagsOf(vb), "[S][][]")
	equal(f, "ajay", flagsOf(vo), "[][][]")
	equal(f, "chitra", flagsOf(vc), "[][][]")
	select {
	case <-changed:
		f.Fatal("the owner's view changed")
	default:
	}
	equal(f, "the owner's highest modseq", f.box("INBOX").HighestModSeq, before)
	equal(f, "bishal's highest modseq", f.seenBy(his, "INBOX").HighestModSeq, before+1)
	equal(f, "unseen of bishal", f.seenBy(his, "INBOX").Unseen, 2)
	equal(f, "unseen of chitra", f.seenBy(hers, "INBOX").Unseen, 3)

	f.flag(own, inbox.ID, set(1, 2), add(mail.Seen|mail.Flagged))
	equal(f, "ajay", flagsOf(vo), "[SF][SF][]")
	equal(f, "bishal", flagsOf(vb), "[SF][F][]")
	equal(f, "chitra", flagsOf(vc), "[F][F][]")
	f.flag(his, inbox.ID, set(2), store.FlagChange{Op: store.FlagsSet, Flags: mail.Seen | mail.Draft, Keywords: mail.NewKeywords("$X")})
	equal(f, "ajay", flagsOf(vo), "[SF][Sd$X][]")
	equal(f, "bishal", flagsOf(vb), "[SF][Sd$X][]")
	equal(f, "chitra", flagsOf(vc), "[F][d$X][]")

	// RFC 7162 §3.1.3: what counts as modified is what the one who asks could see.
	at := vb.Latest().Mailbox().HighestModSeq
	f.flag(hers, inbox.ID, set(1), add(mail.Seen))
	modified := f.flag(his, inbox.ID, set(1), store.FlagChange{Op: store.FlagsRemove, Flags: mail.Seen, UnchangedSince: at})
	equal(f, "modified by chitra's \\Seen", len(modified), 0)
	f.flag(own, inbox.ID, set(1), add(mail.Answered))
	modified = f.flag(his, inbox.ID, set(1), store.FlagChange{Op: store.FlagsAdd, Flags: mail.Seen, UnchangedSince: at + 1})
	equal(f, "modified by ajay's \\Answered", len(modified), 1)

	// What may not be changed stays.
	f.flag(his, inbox.ID, set(3), store.FlagChange{Op: store.FlagsSet, Flags: mail.Seen | mail.Deleted | mail.Flagged, Keywords: mail.NewKeywords("no"),
		Keep: store.FlagMask{Flags: mail.Deleted | mail.Flagged, Keywords: true}})
	equal(f, "bishal", flagsOf(vb), "[F][Sd$X][S]")
	f.flag(his, inbox.ID, set(3), add(mail.Deleted))
	equal(f, "ajay", flagsOf(vo), "[SF][Sd$X][D]")

	f.append(inbox.ID, 4)
	gone, err := f.a.Expunge(f.context(), inbox.ID, nil)
	f.check(err)
	equal(f, "expunged", gone.Len(), 1)
	equal(f, "bishal", flagsOf(vb), "[F][Sd$X][]")
	equal(f, "unseen of bishal", f.seenBy(his, "INBOX").Unseen, 2)
	f.reopen()
	equal(f, "unseen of bishal behind a restart", f.seenBy(f.as(bishal), "INBOX").Unseen, 2)
	v, err := f.as(bishal).Select(f.context(), "INBOX")
	f.check(err)
	defer v.Close()
	equal(f, "bishal behind a restart", flagsOf(v), "[F][Sd$X][]")
	f.check(f.a.DeleteMailbox(f.context(), "Trash"))
}

// testPersonalChoice changes which flags are personal.
func testPersonalChoice(f *fixture) {
	inbox := f.box("INBOX")
	f.append(inbox.ID, 1, mail.Seen, mail.Flagged)
	f.append(inbox.ID, 2)
	for _, c := range []struct {
		personal store.Personal
		want     string
	}{
		{store.PersonalNone, "[SF][]"}, {store.PersonalSeen, "[F][]"}, {store.PersonalAll, "[][]"}, {store.PersonalSeen, "[F][S]"},
		{store.PersonalAll, "[][Sd$K]"}, {store.PersonalNone, "[SF][]"},
	} {
		x := f.a.Access(bishal, c.personal)
		before := f.seenBy(x, "INBOX").HighestModSeq
		v, err := x.Select(f.context(), "INBOX")
		f.check(err)
		equal(f, fmt.Sprintf("flags with %+v", c.personal), flagsOf(v), c.want)
		for _, m := range v.Snapshot().Range(1, 2) {
			if highest := v.Snapshot().Mailbox().HighestModSeq; m.ModSeq > highest || highest < before {
				f.Fatalf("modseq %d, highest %d, before %d", m.ModSeq, highest, before)
			}
		}
		v.Close()
		if c.personal == store.PersonalAll {
			f.flag(x, inbox.ID, set(2), store.FlagChange{Op: store.FlagsSet, Flags: mail.Seen | mail.Draft, Keywords: mail.NewKeywords("$K")})
		}
	}
	equal(f, "the owner", flagsOf(f.openAs(f.as(ajay), "INBOX")), "[SF][]")
}

// testPersonalCopies moves and copies what people have read.
func testPersonalCopies(f *fixture) {
	inbox, trash := f.box("INBOX"), f.box("Trash")
	f.append(inbox.ID, 1, mail.Seen, mail.Deleted)
	f.append(inbox.ID, 2)
	f.append(inbox.ID, 3)
	his, hers := f.as(bishal), f.as(chitra)
	f.flag(his, inbox.ID, set(2, 3), store.FlagChange{Op: store.FlagsAdd, Flags: mail.Seen})
	_, err := his.Copy(f.context(), inbox.ID, set(1, 2), trash.ID, store.FlagMask{Flags: mail.Deleted})
	f.check(err)
	_, err = hers.Move(f.context(), inbox.ID, set(2, 3), trash.ID, store.FlagMask{})
	f.check(err)
	equal(f, "bishal's trash", flagsOf(f.openAs(his, "Trash")), "[][S][S][S]")
	equal(f, "chitra's trash", flagsOf(f.openAs(hers, "Trash")), "[][][][]")
	equal(f, "ajay's trash", flagsOf(f.openAs(f.as(ajay), "Trash")), "[S][][][]")
	equal(f, "unseen of bishal", f.seenBy(his, "INBOX").Unseen, 1)
	in := f.spool(text(9))
	defer in.Close()
	_, err = hers.Append(f.context(), inbox.ID, []store.BulkMessage{{Incoming: in, Flags: mail.Seen | mail.Flagged}, {Incoming: in}})
	f.check(err)
	equal(f, "what chitra appended, as she sees it", flagsOf(f.openAs(hers, "INBOX")), "[D][SF][]")
	equal(f, "and as bishal does", flagsOf(f.openAs(his, "INBOX")), "[D][F][]")
	f.check(f.a.RenameMailbox(f.context(), "INBOX", "Old"))
	equal(f, "an INBOX that was renamed", flagsOf(f.openAs(hers, "Old")), "[D][SF][]")
	f.check(f.a.DeleteMailbox(f.context(), "Old"))
	f.create("Old")
	equal(f, "a new mailbox of the name", f.seenBy(hers, "Old").Unseen, 0)
}

// testCopyTo copies between accounts.
func testCopyTo(f *fixture) {
	f.check(f.store.Create(f.context(), bishal.ID))
	other, err := f.store.Open(f.context(), bishal.ID)
	f.check(err)
	defer other.Release()
	inbox := f.box("INBOX")
	var bodies []string
	for n := range 600 {
		bodies = append(bodies, text(n))
	}
	bodies[3] = noise(50_000, 3)
	msgs := make([]store.BulkMessage, len(bodies))
	for i, s := range bodies {
		in := f.spool(s)
		defer in.Close()
		msgs[i] = store.BulkMessage{Incoming: in, Flags: mail.Flagged | mail.Deleted, InternalDate: mail.Date{Unix: int64(1000 + i), Offset: 60}, Keywords: mail.NewKeywords("k")}
	}
	_, err = f.a.Bulk(f.context(), inbox.ID, msgs)
	f.check(err)
	his, own := f.as(bishal), other.Access(bishal, store.PersonalSeen)
	f.flag(his, inbox.ID, set(4), store.FlagChange{Op: store.FlagsAdd, Flags: mail.Seen})
	v := f.openAs(his, "INBOX")
	target, err := own.Mailbox(f.context(), "Archive")
	f.check(err)
	done, err := his.CopyTo(f.context(), v, all, own, target.ID, store.FlagMask{Flags: mail.Deleted})
	f.check(err)
	equal(f, "copied", len(done.Source), 600)
	equal(f, "copies", len(done.Target), 600)
	copies, err := own.Examine(f.context(), "Archive")
	f.check(err)
	defer copies.Close()
	m := copies.Snapshot().At(4)
	equal(f, "flags", m.Flags, mail.Seen|mail.Flagged)
	equal(f, "date", m.InternalDate, mail.Date{Unix: 1003, Offset: 60})
	equal(f, "keywords", m.Keywords.String(), "k")
	body, err := other.Body(f.context(), m.Email)
	f.check(err)
	got := make([]byte, body.Size())
	_, _ = body.ReadAt(got, 0)
	f.check(body.Close())
	equal(f, "body", string(got), bodies[3])

	// Where some do not fit, none is copied.
	usage, err := other.Usage(f.context())
	f.check(err)
	f.check(other.SetQuota(f.context(), mail.Quota{Messages: usage.Messages + 400}))
	_, err = his.CopyTo(f.context(), v, all, own, target.ID, store.FlagMask{})
	f.wantKind(err, mail.KindQuota)
	box, err := own.Mailbox(f.context(), "Archive")
	f.check(err)
	equal(f, "messages behind a copy that failed", box.Messages, 600)
}

func testAnnotations(f *fixture) {
	inbox := f.box("INBOX")
	own, his := f.as(ajay), f.as(bishal)
	put := func(x *store.Access, id mail.MailboxID, pairs ...string) error {
		var list []store.Annotation
		for i := 0; i < len(pairs); i += 2 {
			a := store.Annotation{Entry: pairs[i]}
			if pairs[i+1] != "NIL" {
				a.Value = []byte(pairs[i+1])
			}
			list = append(list, a)
		}
		return x.SetAnnotations(f.context(), id, list)
	}
	get := func(x *store.Access, id mail.MailboxID) string {
		f.Helper()
		list, err := x.Annotations(f.context(), id)
		f.check(err)
		var b strings.Builder
		for _, a := range list {
			fmt.Fprintf(&b, "%s=%s ", a.Entry, a.Value)
		}
		return b.String()
	}
	f.check(put(own, inbox.ID, "/shared/comment", "ours", "/private/comment", "mine"))
	f.check(put(his, inbox.ID, "/private/comment", "his", "/private/vendor/x", ""))
	equal(f, "ajay", get(own, inbox.ID), "/private/comment=mine /shared/comment=ours ")
	equal(f, "bishal", get(his, inbox.ID), "/private/comment=his /private/vendor/x= /shared/comment=ours ")
	f.check(put(his, inbox.ID, "/shared/comment", "NIL"))
	f.check(put(own, 0, "/private/filters/values/a", "ALL"))
	f.reopen()
	own, his = f.as(ajay), f.as(bishal)
	equal(f, "ajay behind a restart", get(own, inbox.ID), "/private/comment=mine ")
	equal(f, "of the account", get(own, 0), "/private/filters/values/a=ALL ")
	equal(f, "of the account, to bishal", get(his, 0), "")

	f.wantKind(put(own, inbox.ID, "/private/a", "x", "/private/b", strings.Repeat("x", store.MaxAnnotation+1)), mail.KindTooBig)
	f.wantKind(put(own, 999, "/private/a", "x"), mail.KindNotExist)
	for n := range store.MaxAnnotations - 1 {
		f.check(put(own, inbox.ID, fmt.Sprintf("/private/n%d", n), "x"))
	}
	f.wantKind(put(own, inbox.ID, "/private/one-too-many", "x"), mail.KindQuota)
	f.check(put(own, inbox.ID, "/private/n0", "NIL", "/private/another", "x", "/shared/comment", "fits"))
	f.check(put(his, inbox.ID, "/private/his", "x"))

	f.check(f.a.RenameMailbox(f.context(), "INBOX", "Old")) // RFC 5464 §4.1
	equal(f, "of the new mailbox", get(his, f.box("Old").ID), get(his, inbox.ID))
	f.check(f.a.DeleteMailbox(f.context(), "Old"))
	equal(f, "of a new mailbox of the name", get(his, f.create("Old").ID), "")

	f.check(f.store.SetSiteAnnotations(f.context(), []store.Annotation{{Entry: "/shared/comment", Value: []byte("hello")}, {Entry: "/shared/empty", Value: []byte{}}}))
	f.reopen()
	site, err := f.store.SiteAnnotations(f.context())
	f.check(err)
	equal(f, "annotations of the server", len(site), 2)
	equal(f, "comment of the server", string(site[0].Value), "hello")
	f.check(f.store.SetSiteAnnotations(f.context(), []store.Annotation{{Entry: "/shared/comment"}}))
	var many []store.Annotation
	for n := range store.MaxAnnotations {
		many = append(many, store.Annotation{Entry: fmt.Sprintf("/shared/n%d", n), Value: []byte("x")})
	}
	f.wantKind(f.store.SetSiteAnnotations(f.context(), many), mail.KindQuota)
	site, err = f.store.SiteAnnotations(f.context())
	f.check(err)
	equal(f, "annotations of the server", len(site), 1)
}

// personModel is somebody who looks at a mailbox in testPersonalModel: by a view
// that he follows, and by what a client cached that only asks now and then.
type personModel struct {
	access *store.Access
	view   *store.View
	told   []mail.Message
	seen   map[mail.UID]mail.Flags // what he has set himself

	cached map[mail.UID]mail.Flags
	at     mail.ModSeq
}

// testPersonalModel does random operations as three people and compares what
// each sees with a simple model.
func testPersonalModel(f *fixture) {
	for seed, personal := range []store.Personal{store.PersonalSeen, store.PersonalAll, store.PersonalSeen} {
		m := &sharedModel{f: f, r: rand.New(rand.NewPCG(uint64(seed), 7)), personal: personal, base: make(map[mail.UID]mail.Flags)}
		m.name = fmt.Sprintf("shared%d", seed)
		m.id = f.create(m.name).ID
		for _, p := range []store.Principal{ajay, bishal, chitra} {
			x := f.a.Access(p, personal)
			m.people = append(m.people, &personModel{access: x, view: f.openAs(x, m.name), seen: make(map[mail.UID]mail.Flags), cached: make(map[mail.UID]mail.Flags)})
		}
		for range 250 {
			m.step()
		}
		for _, p := range m.people {
			m.sync(p)
		}
	}
	f.reopen()
}

type sharedModel struct {
	f        *fixture
	r        *rand.Rand
	personal store.Personal
	name     string
	id       mail.MailboxID
	base     map[mail.UID]mail.Flags
	next     mail.UID
	people   []*personModel
}

// step does one random operation, and somebody looks.
func (m *sharedModel) step() {
	f, p := m.f, m.people[m.r.IntN(3)]
	switch m.r.IntN(8) {
	case 0, 1:
		n := 1 + m.r.IntN(150)
		f.fill(m.id, n)
		for range n {
			m.next++
			m.base[m.next] = 0
		}
	case 2:
		gone, err := f.a.Expunge(f.context(), m.id, nil)
		f.check(err)
		for uid := range gone.All() {
			if m.base[uid]&mail.Deleted == 0 {
				f.Fatalf("UID %d was expunged without \\Deleted", uid)
			}
			delete(m.base, uid)
			for _, p := range m.people {
				delete(p.seen, uid)
			}
		}
	default:
		m.flags(p)
	}
	if m.r.IntN(5) == 0 { // he leaves and comes back
		p.view.Close()
		if m.r.IntN(2) == 0 {
			m.flags(m.people[m.r.IntN(3)])
		}
		p.view = f.openAs(p.access, m.name)
		p.told = messagesOf(p.view.Snapshot())
	}
	m.follow(p)
	if m.r.IntN(6) == 0 {
		m.sync(p)
	}
}

// flags has somebody change flags.
func (m *sharedModel) flags(p *personModel) {
	all := []mail.Flags{mail.Seen, mail.Flagged, mail.Deleted, mail.Seen | mail.Draft}
	ch := store.FlagChange{Op: store.FlagOp(m.r.IntN(3)), Flags: all[m.r.IntN(len(all))]}
	first := mail.UID(m.r.IntN(int(m.next)+1)) + 1
	uids := mail.UIDSet{{First: first, Last: first + mail.UID(m.r.IntN(200))}}
	m.f.flag(p.access, m.id, uids, ch)
	mask := m.mask(p)
	for uid := range m.base {
		if !uids.Contains(uid) {
			continue
		}
		flags := ch.Flags
		switch have := m.sees(p, uid); ch.Op {
		case store.FlagsAdd:
			flags = have | ch.Flags
		case store.FlagsRemove:
			flags = have &^ ch.Flags
		}
		p.seen[uid] = flags & mask
		m.base[uid] = m.base[uid]&mask | flags&^mask
	}
}

// mask returns the flags that are somebody's own.
func (m *sharedModel) mask(p *personModel) mail.Flags {
	if p.access.Owner() {
		return 0
	}
	return m.personal.Flags
}

// sees returns the flags that somebody sees.
func (m *sharedModel) sees(p *personModel, uid mail.UID) mail.Flags {
	mask := m.mask(p)
	return m.base[uid]&^mask | p.seen[uid]&mask
}

// follow moves somebody's view on, tells him the differences, and compares.
func (m *sharedModel) follow(p *personModel) {
	f, old, now := m.f, p.view.Snapshot(), p.view.Latest()
	for c := range store.Diff(old, now) {
		if c.Expunged {
			p.told = slices.Delete(p.told, c.Seq-1, c.Seq)
		} else {
			p.told[c.Seq-1] = c.Message
		}
	}
	for seq := len(p.told) + 1; seq <= now.Len(); seq++ {
		p.told = append(p.told, now.At(seq))
	}
	p.view.MoveTo(now)
	unseen := 0
	for i, msg := range messagesOf(now) {
		if p.told[i] != msg {
			f.Fatalf("%s was told %+v of %+v", p.access.ID(), p.told[i], msg)
		}
		if want := m.sees(p, msg.UID); msg.Flags != want {
			f.Fatalf("UID %d has flags %v, want %v", msg.UID, msg.Flags, want)
		}
		if msg.Flags&mail.Seen == 0 {
			unseen++
		}
	}
	equal(f, "messages", now.Len(), len(m.base))
	equal(f, "unseen", now.Mailbox().Unseen, unseen)
	equal(f, "unseen without a view", f.seenBy(p.access, m.name).Unseen, unseen)
}

// sync is a client that asks what changed since it was here last (RFC 7162 §3.2.5).
func (m *sharedModel) sync(p *personModel) {
	f, now := m.f, p.view.Latest()
	gone, err := f.a.Vanished(f.context(), m.id, p.at)
	f.check(err)
	for uid := range p.cached {
		if gone.Contains(uid) {
			delete(p.cached, uid)
		}
	}
	highest := now.Mailbox().HighestModSeq
	for _, msg := range messagesOf(now) {
		if msg.ModSeq > p.at {
			p.cached[msg.UID] = msg.Flags
		}
		if msg.ModSeq > highest {
			f.Fatalf("UID %d has modseq %d, the mailbox %d", msg.UID, msg.ModSeq, highest)
		}
	}
	p.at = highest
	equal(f, "cached messages", len(p.cached), len(m.base))
	for uid, flags := range p.cached {
		if want := m.sees(p, uid); flags != want {
			f.Fatalf("a client has flags %v of UID %d, want %v", flags, uid, want)
		}
	}
}
