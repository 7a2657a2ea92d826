package migratetest

import (
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"expost/internal/mail"
	"expost/internal/migrate"
)

// Holds says what a target can hold beside messages, flags and the instant of
// their arrival.
type Holds struct {
	UIDs  bool // UIDs and UIDVALIDITY
	Roles bool // of folders
	Zones bool // of dates
}

// Target checks that a target satisfies the contract of migrate.Target. open
// returns an empty target and a user that has an account there.
func Target(t *testing.T, holds Holds, open func(t *testing.T) (migrate.Target, migrate.User)) {
	t.Helper()
	for name, fn := range map[string]func(*targetTest, *testing.T){
		"Prepare": (*targetTest).testPrepare, "Append": (*targetTest).testAppend, "Conflict": (*targetTest).testConflict,
		"Update": (*targetTest).testUpdate, "Remove": (*targetTest).testRemove, "Reopen": (*targetTest).testReopen,
		"Merge": (*targetTest).testMerge,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target, user := open(t)
			a, err := target.Open(t.Context(), user)
			if err != nil {
				t.Fatal(err)
			}
			tt := &targetTest{target: target, user: user, account: a, Holds: holds}
			fn(tt, t)
			if err := tt.account.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// targetTest is one open, empty account.
type targetTest struct {
	Holds
	target  migrate.Target
	user    migrate.User
	account migrate.TargetAccount
}

// body is the message that is appended under a UID.
func targetBody(uid mail.UID) string {
	return fmt.Sprintf("Subject: %d\r\nMessage-ID: <%d@example.org>\r\n\r\ntext %d\r\n", uid, uid, uid)
}

// message returns a message to append. Close its body.
func (tt *targetTest) message(t *testing.T, uid mail.UID, flags mail.Flags, words ...string) migrate.Message {
	t.Helper()
	s, err := tt.target.Spool(t.Context(), strings.NewReader(targetBody(uid)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if s.Hash() != sha256.Sum256([]byte(targetBody(uid))) {
		t.Errorf("the hash of message %d is not that of its bytes", uid)
	}
	date := mail.DateOf(time.Date(2003, 5, 1, 12, 0, int(uid%60), 0, time.FixedZone("", 5*3600+1800)))
	return migrate.Message{Item: migrate.Item{UID: uid, Flags: flags, Keywords: mail.NewKeywords(words...), Date: date}, Body: s}
}

// prepare makes a folder.
func (tt *targetTest) prepare(t *testing.T, name string, validity mail.UIDValidity, next mail.UID) migrate.Folder {
	t.Helper()
	f, err := tt.account.Prepare(t.Context(), migrate.Folder{Name: name, Subscribed: true, State: migrate.State{UIDValidity: validity, UIDNext: next}})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// items lists a folder.
func (tt *targetTest) items(t *testing.T, name string) []migrate.Item {
	t.Helper()
	var items []migrate.Item
	if err := tt.account.Items(t.Context(), name, func(it migrate.Item) error { items = append(items, it); return nil }); err != nil {
		t.Fatal(err)
	}
	return items
}

// find returns a folder of Folders.
func (tt *targetTest) find(t *testing.T, name string) migrate.Folder {
	t.Helper()
	folders, err := tt.account.Folders(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(folders, func(f migrate.Folder) bool { return f.Name == name })
	if i < 0 {
		t.Fatalf("there is no folder %q", name)
	}
	return folders[i]
}

func (tt *targetTest) testPrepare(t *testing.T) {
	const name = "Projekte/Müller & Söhne"
	f := tt.prepare(t, name, 4711, 0)
	if tt.UIDs && (f.State.UIDValidity != 4711 || f.State.UIDNext != 1) {
		t.Errorf("UIDVALIDITY %d, UIDNEXT %d; want 4711, 1", f.State.UIDValidity, f.State.UIDNext)
	}
	if !tt.find(t, name).Subscribed {
		t.Error("it is not subscribed")
	}
	tt.find(t, "Projekte")
	if f := tt.prepare(t, name, 4711, 90); tt.UIDs && f.State.UIDNext != 90 {
		t.Errorf("UIDNEXT %d, want 90", f.State.UIDNext)
	}
	role := migrate.Folder{Name: "Gesendete Elemente", Use: mail.UseSent, State: migrate.State{UIDValidity: 12}}
	if _, err := tt.account.Prepare(t.Context(), role); err != nil {
		t.Fatal(err)
	}
	got := tt.find(t, role.Name)
	if tt.Roles && got.Use != mail.UseSent || got.Subscribed {
		t.Errorf("role %q, subscribed %t; want Sent, false", got.Use, got.Subscribed)
	}
	folders, err := tt.account.Folders(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range folders {
		if f.Name != role.Name && f.Use == mail.UseSent {
			t.Errorf("%q has the role too", f.Name)
		}
	}
}

func (tt *targetTest) testAppend(t *testing.T) {
	tt.prepare(t, "A", 7, 0)
	want := []migrate.Message{
		tt.message(t, 3, mail.Seen|mail.Answered), tt.message(t, 4, 0, "$Forwarded", "Project"), tt.message(t, 900, mail.Draft|mail.Flagged|mail.Deleted),
	}
	if err := tt.account.Append(t.Context(), "A", want); err != nil {
		t.Fatal(err)
	}
	sent := []mail.UID{3, 4, 900}
	got := tt.items(t, "A")
	if len(got) != len(want) {
		t.Fatalf("%d messages, want %d", len(got), len(want))
	}
	var uids mail.UIDSet
	for i, it := range got {
		w := want[i].Item
		if tt.UIDs && it.UID != w.UID || it.Flags != w.Flags || it.Keywords != w.Keywords || it.Date.Unix != w.Date.Unix || tt.Zones && it.Date != w.Date || it.Size != int64(len(targetBody(sent[i]))) {
			t.Errorf("message is %+v, want %+v", it, w)
		}
		if want[i].UID != it.UID || want[i].Err != nil {
			t.Errorf("the target said it has message %d, %v; it has %d", want[i].UID, want[i].Err, it.UID)
		}
		uids.Add(it.UID)
	}
	uids.Add(4000) // which is not there
	n := 0
	err := tt.account.Read(t.Context(), "A", uids, func(uid mail.UID, r io.Reader) error {
		b, err := io.ReadAll(r)
		if string(b) != targetBody(sent[n]) || uid != got[n].UID {
			t.Errorf("message %d is %q", uid, b)
		}
		n++
		return err
	})
	if err != nil || n != len(want) {
		t.Errorf("read %d of %d: %v", n, len(want), err)
	}
}

func (tt *targetTest) testConflict(t *testing.T) {
	if !tt.UIDs {
		t.Skip("the target gives its own UIDs")
	}
	tt.prepare(t, "A", 7, 0)
	if err := tt.account.Append(t.Context(), "A", []migrate.Message{tt.message(t, 10, 0)}); err != nil {
		t.Fatal(err)
	}
	err := tt.account.Append(t.Context(), "A", []migrate.Message{tt.message(t, 10, 0), tt.message(t, 11, 0)})
	if mail.KindOf(err) != mail.KindConflict {
		t.Errorf("a taken UID: %v, want a conflict", err)
	}
	if n := len(tt.items(t, "A")); n != 1 {
		t.Errorf("%d messages after a refused append, want 1", n)
	}
}

func (tt *targetTest) testUpdate(t *testing.T) {
	tt.prepare(t, "A", 7, 0)
	if err := tt.account.Append(t.Context(), "A", []migrate.Message{tt.message(t, 1, mail.Seen, "x"), tt.message(t, 2, 0)}); err != nil {
		t.Fatal(err)
	}
	items := tt.items(t, "A")
	change := items[0]
	change.Flags, change.Keywords = mail.Flagged, mail.NewKeywords("y")
	missing := migrate.Item{UID: 4000}
	if err := tt.account.Update(t.Context(), "A", []migrate.Item{change, missing}); err != nil {
		t.Fatal(err)
	}
	got := tt.items(t, "A")
	if got[0].Flags != mail.Flagged || got[0].Keywords != mail.NewKeywords("y") || got[1].Flags != 0 {
		t.Errorf("after the change: %+v", got)
	}
}

func (tt *targetTest) testRemove(t *testing.T) {
	tt.prepare(t, "A", 7, 0)
	if err := tt.account.Append(t.Context(), "A", []migrate.Message{tt.message(t, 1, mail.Deleted), tt.message(t, 2, 0), tt.message(t, 3, 0)}); err != nil {
		t.Fatal(err)
	}
	var uids mail.UIDSet
	uids.Add(tt.items(t, "A")[1].UID)
	uids.Add(4000)
	if err := tt.account.Remove(t.Context(), "A", uids); err != nil {
		t.Fatal(err)
	}
	if got := tt.items(t, "A"); len(got) != 2 || got[0].Flags != mail.Deleted {
		t.Errorf("left: %+v", got)
	}
}

func (tt *targetTest) testReopen(t *testing.T) {
	tt.prepare(t, "A", 7, 0)
	if err := tt.account.Append(t.Context(), "A", []migrate.Message{tt.message(t, 5, mail.Seen)}); err != nil {
		t.Fatal(err)
	}
	if err := tt.account.Close(); err != nil {
		t.Fatal(err)
	}
	var err error
	if tt.account, err = tt.target.Open(t.Context(), tt.user); err != nil {
		t.Fatal(err)
	}
	if got := tt.items(t, "A"); len(got) != 1 || got[0].Flags != mail.Seen {
		t.Errorf("after opening again: %+v", got)
	}
}

func (tt *targetTest) testMerge(t *testing.T) {
	tt.prepare(t, "A", 7, 0)
	if err := tt.account.Append(t.Context(), "A", []migrate.Message{tt.message(t, 5, 0)}); err != nil {
		t.Fatal(err)
	}
	f := tt.prepare(t, "A", 8, 0)
	if f.State.Messages != 1 || f.State.UIDNext < 2 {
		t.Errorf("a mailbox with mail was changed: %+v", f)
	}
	if tt.UIDs && f.State.UIDValidity != 7 {
		t.Errorf("a mailbox with mail got UIDVALIDITY %d", f.State.UIDValidity)
	}
}
