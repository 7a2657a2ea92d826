// Package storetest is the contract of package store over any engine: UIDs,
// modification sequences, flags, copies, quota, announcements, snapshots, and
// what is left after a crash. An engine's own test is one call of Run.
package storetest

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"expost/internal/mail"
	"expost/internal/store"
)

// Open opens the engine under test on a folder, which may hold accounts.
type Open func(tb testing.TB, dir string) store.Engine

// Run runs the contract.
func Run(t *testing.T, open Open) {
	for _, test := range []struct {
		name string
		run  func(*fixture)
	}{
		{"Accounts", testAccounts},
		{"AccountRemoved", testAccountRemoved},
		{"ManyAccounts", testManyAccounts},
		{"Spool", testSpool},
		{"Bodies", testBodies},
		{"SharedBody", testSharedBody},
		{"Details", testDetails},
		{"Threads", testThreads},
		{"MailboxNames", testMailboxNames},
		{"CreateMailbox", testCreateMailbox},
		{"RenameMailbox", testRenameMailbox},
		{"RenameInbox", testRenameInbox},
		{"DeleteMailbox", testDeleteMailbox},
		{"Subscriptions", testSubscriptions},
		{"SpecialUse", testSpecialUse},
		{"AdoptMailbox", testAdoptMailbox},
		{"Append", testAppend},
		{"AppendConcurrently", testAppendConcurrently},
		{"StoreFlags", testStoreFlags},
		{"StoreConditionally", testStoreConditionally},
		{"Keywords", testKeywords},
		{"Expunge", testExpunge},
		{"Vanished", testVanished},
		{"Copy", testCopy},
		{"Move", testMove},
		{"Quota", testQuota},
		{"QuotaInGroup", testQuotaInGroup},
		{"Replace", testReplace},
		{"Bulk", testBulk},
		{"Select", testSelect},
		{"SelectWhileWriting", testSelectWhileWriting},
		{"Recent", testRecent},
		{"Announcements", testAnnouncements},
		{"Watch", testWatch},
		{"KeepExpunged", testKeepExpunged},
		{"Model", testModel},
		{"Canceled", testCanceled},
		{"ACL", testACL},
		{"Sharers", testSharers},
		{"SharersLost", testSharersLost},
		{"Forget", testForget},
		{"PersonalFlags", testPersonalFlags},
		{"PersonalChoice", testPersonalChoice},
		{"PersonalCopies", testPersonalCopies},
		{"PersonalModel", testPersonalModel},
		{"CopyTo", testCopyTo},
		{"Annotations", testAnnotations},
		{"Texts", testTexts},
		{"TextsInBackground", testTextsInBackground},
		{"Check", testCheck},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(newFixture(t, open))
		})
	}
}

// fixture is a store with one account open.
type fixture struct {
	*testing.T
	open  Open
	dir   string
	opt   store.Options
	store *store.Store
	a     *store.Account
	clock *clock
}

// clock is a clock that tests move.
type clock struct{ unix atomic.Int64 }

func (c *clock) now() time.Time { return time.Unix(c.unix.Load(), 0).UTC() }

const account = mail.AccountID("example.org/ajay")

func newFixture(t *testing.T, open Open) *fixture {
	f := &fixture{T: t, open: open, dir: t.TempDir(), clock: &clock{}}
	f.clock.unix.Store(1_700_000_000)
	f.opt = store.Options{
		IdleAccounts: 4, InlineMax: 4 << 10, HistoryRows: 64, Now: f.clock.now,
		Log: slog.New(slog.NewTextHandler(logWriter{t}, nil)),
	}
	f.start()
	f.check(f.store.Create(t.Context(), account))
	f.a = f.openAccount(account)
	t.Cleanup(f.stop)
	return f
}

// logWriter sends what the store logs to the test's log.
type logWriter struct{ t *testing.T }

func (w logWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", bytes.TrimSpace(p))
	return len(p), nil
}

// start opens the store.
func (f *fixture) start() { f.store = store.New(f.open(f, f.dir), f.opt) }

// stop checks that nothing is wrong with the store, and closes it.
func (f *fixture) stop() {
	if f.store == nil {
		return
	}
	f.noFindings()
	if f.a != nil {
		f.a.Release()
	}
	if err := f.store.Close(); err != nil {
		f.Errorf("closing the store: %v", err)
	}
	f.store, f.a = nil, nil
}

// reopen closes the store and opens it again.
func (f *fixture) reopen() {
	f.Helper()
	f.stop()
	f.start()
	f.a = f.openAccount(account)
}

// noFindings checks the store.
func (f *fixture) noFindings() {
	f.Helper()
	for finding, err := range f.store.Check(f.context(), store.CheckOptions{}) {
		if err != nil {
			f.Errorf("checking the store: %v", err)
			return
		}
		f.Errorf("check found: %v", finding)
	}
}

func (f *fixture) openAccount(id mail.AccountID) *store.Account {
	f.Helper()
	a, err := f.store.Open(f.context(), id)
	f.check(err)
	return a
}

// check ends the test on an error.
func (f *fixture) check(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// wantKind ends the test where err is not of the kind.
func (f *fixture) wantKind(err error, kind mail.Kind) {
	f.Helper()
	if err == nil || mail.KindOf(err) != kind {
		f.Fatalf("error %v, want kind %v", err, kind)
	}
}

// box returns a mailbox.
func (f *fixture) box(name string) mail.Mailbox {
	f.Helper()
	box, err := f.a.Mailbox(f.context(), name)
	f.check(err)
	return box
}

// create makes a mailbox.
func (f *fixture) create(name string) mail.Mailbox {
	f.Helper()
	box, err := f.a.CreateMailbox(f.context(), name, store.CreateOptions{})
	f.check(err)
	return box
}

// text returns a small message, different for each n.
func text(n int) string {
	return fmt.Sprintf("From: <a%d@example.org>\r\nSubject: message %d\r\nMessage-ID: <%d@example.org>\r\n\r\nThis is message %d.\r\n", n, n, n, n)
}

// spool spools a message.
func (f *fixture) spool(s string) *store.Incoming {
	f.Helper()
	in, err := f.store.Spool(f.context(), nil, strings.NewReader(s), 0)
	f.check(err)
	return in
}

// append appends message n to a mailbox.
func (f *fixture) append(id mail.MailboxID, n int, flags ...mail.Flags) store.Appended {
	f.Helper()
	in := f.spool(text(n))
	defer in.Close()
	opt := store.AppendOptions{}
	for _, flag := range flags {
		opt.Flags |= flag
	}
	got, err := f.a.Append(f.context(), id, in, opt)
	f.check(err)
	return got
}

// fill appends n messages to a mailbox.
func (f *fixture) fill(id mail.MailboxID, n int) {
	f.Helper()
	msgs := make([]store.BulkMessage, n)
	for i := range msgs {
		in := f.spool(text(i))
		defer in.Close()
		msgs[i] = store.BulkMessage{Incoming: in}
	}
	_, err := f.a.Bulk(f.context(), id, msgs)
	f.check(err)
}

// view selects a mailbox for as long as the test lasts.
func (f *fixture) view(name string) *store.View {
	f.Helper()
	v, err := f.a.Select(f.context(), name)
	f.check(err)
	f.Cleanup(v.Close)
	return v
}

// messages returns the messages of a mailbox.
func (f *fixture) messages(name string) []mail.Message {
	f.Helper()
	v, err := f.a.Examine(f.context(), name)
	f.check(err)
	defer v.Close()
	return messagesOf(v.Snapshot())
}

// messagesOf returns the messages of a snapshot.
func messagesOf(s *store.Snapshot) []mail.Message {
	var all []mail.Message
	for _, m := range s.Range(1, s.Len()) {
		all = append(all, *m)
	}
	return all
}

// uidsOf returns the UIDs of messages.
func uidsOf(messages []mail.Message) []mail.UID {
	uids := make([]mail.UID, len(messages))
	for i := range messages {
		uids[i] = messages[i].UID
	}
	return uids
}

// set returns a set of UIDs.
func set(uids ...mail.UID) mail.UIDSet {
	var s mail.UIDSet
	for _, uid := range uids {
		s.Add(uid)
	}
	return s
}

// all is every UID.
var all = mail.UIDSet{{First: 1, Last: 1<<32 - 1}}

// body returns the bytes of an email.
func (f *fixture) body(id mail.EmailID) string {
	f.Helper()
	b, err := f.a.Body(f.context(), id)
	f.check(err)
	defer b.Close()
	data, err := io.ReadAll(b.Section(0, b.Size()))
	f.check(err)
	return string(data)
}

// equal compares two values.
func equal[T comparable](f *fixture, what string, got, want T) {
	f.Helper()
	if got != want {
		f.Fatalf("%s: %v, want %v", what, got, want)
	}
}

// equalSlices compares two slices and names the first difference.
func equalSlices[T comparable](f *fixture, what string, got, want []T) {
	f.Helper()
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			f.Fatalf("%s: number %d of %d is %v, want %v", what, i, len(got), got[i], want[i])
		}
	}
	if len(got) != len(want) {
		f.Fatalf("%s: %d of them, want %d", what, len(got), len(want))
	}
}
