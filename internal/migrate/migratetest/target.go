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
		"Merge": (*targetTest).testMerge, "Move": (*targetTest).testMove, "Renew": (*targetTest).testRenew,
		"Stored": (*targetTest).testStored, "Discard": (*targetTest).testDiscard, "Rename": (*targetTest).testRename,
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

func (tt *targetTest) testMove(t *testing.T) {
	o, ok := tt.account.(migrate.Organizer)
	if !ok {
		t.Skip("the target only takes mail")
	}
	tt.prepare(t, "A", 7, 0)
	tt.prepare(t, "B/Müller", 8, 0)
	if err := tt.account.Append(t.Context(), "A", []migrate.Message{tt.message(t, 1, mail.Deleted), tt.message(t, 2, mail.Seen), tt.message(t, 3, mail.Flagged, "x")}); err != nil {
		t.Fatal(err)
	}
	was := tt.items(t, "A")
	var uids mail.UIDSet
	uids.Add(was[1].UID)
	uids.Add(was[2].UID)
	uids.Add(4000) // which is not there
	got, err := o.Move(t.Context(), "A", uids, "B/Müller")
	if err != nil {
		t.Fatal(err)
	}
	now := tt.items(t, "B/Müller")
	if left := tt.items(t, "A"); len(left) != 1 || left[0].UID != was[0].UID || left[0].Flags != was[0].Flags {
		t.Errorf("left where they were: %+v", left)
	}
	if len(now) != 2 || now[0].Flags != mail.Seen || now[1].Flags != mail.Flagged || now[1].Keywords != mail.NewKeywords("x") || now[0].Date != was[1].Date {
		t.Errorf("moved: %+v", now)
	} else if len(got) > 0 && (got[was[1].UID] != now[0].UID || got[was[2].UID] != now[1].UID) {
		t.Errorf("they have the UIDs %v, not %v", now, got)
	}
	if _, err := o.Move(t.Context(), "A", uids, "B/Müller"); err != nil || len(tt.items(t, "B/Müller")) != 2 {
		t.Errorf("a second time: %d messages, %v", len(tt.items(t, "B/Müller")), err)
	}
}

func (tt *targetTest) testRenew(t *testing.T) {
	r, ok := tt.account.(migrate.Renewer)
	if !ok {
		t.Skip("the target keeps its UIDVALIDITY")
	}
	tt.prepare(t, "A", 7, 90)
	if err := tt.account.Append(t.Context(), "A", []migrate.Message{tt.message(t, 90, 0), tt.message(t, 95, mail.Seen)}); err != nil {
		t.Fatal(err)
	}
	before := tt.items(t, "A")
	for range 2 {
		if err := r.Renew(t.Context(), "A", 4711); err != nil {
			t.Fatal(err)
		}
	}
	if f := tt.find(t, "A"); f.State.UIDValidity != 4711 || f.State.UIDNext != 96 {
		t.Errorf("UIDVALIDITY %d, UIDNEXT %d; want 4711, 96", f.State.UIDValidity, f.State.UIDNext)
	}
	if got := tt.items(t, "A"); !slices.EqualFunc(got, before, func(x, y migrate.Item) bool { return x.UID == y.UID && x.Flags == y.Flags && x.Date == y.Date }) {
		t.Errorf("the messages are %+v, were %+v", got, before)
	}
}

func (tt *targetTest) testStored(t *testing.T) {
	tt.prepare(t, "A", 7, 0)
	tt.prepare(t, "B", 8, 0)
	old := []migrate.Message{tt.message(t, 1, mail.Seen, "x"), tt.message(t, 2, 0), tt.message(t, 3, mail.Flagged), tt.message(t, 4, 0)}
	if err := tt.account.Append(t.Context(), "A", old); err != nil {
		t.Fatal(err)
	}
	hashes := map[mail.UID]migrate.Hash{4000: {}}
	for i := range old[:3] {
		hashes[old[i].UID] = sha256.Sum256([]byte(targetBody(mail.UID(i + 1))))
	}
	stored, err := tt.account.Stored(t.Context(), "A", hashes)
	if err != nil || len(stored) != 3 || stored[4000] != nil {
		t.Fatalf("%d messages are stored, want 3: %v", len(stored), err)
	}
	// Links stand among messages that come from elsewhere, in any order of their old UIDs.
	msgs := []migrate.Message{{}, tt.message(t, 60, 0), {}, {}, tt.message(t, 90, mail.Answered)}
	want := []mail.UID{3, 60, 1, 2, 90}
	for n, from := range map[int]int{0: 2, 2: 0, 3: 1} {
		body := stored[old[from].UID]
		if body.Hash() != hashes[old[from].UID] {
			t.Errorf("the hash of message %d is another", from)
		}
		msgs[n] = migrate.Message{Item: migrate.Item{UID: mail.UID(51 + 10*n), Flags: mail.Answered, Keywords: mail.NewKeywords("y"), Date: old[from].Date}, Body: body}
	}
	if err := tt.account.Append(t.Context(), "B", msgs); err != nil {
		t.Fatal(err)
	}
	bodies := map[mail.UID]string{}
	var uids mail.UIDSet
	items := tt.items(t, "B")
	for _, it := range items {
		uids.Add(it.UID)
	}
	err = tt.account.Read(t.Context(), "B", uids, func(uid mail.UID, r io.Reader) error {
		b, err := io.ReadAll(r)
		bodies[uid] = string(b)
		return err
	})
	if err != nil || len(items) != len(msgs) {
		t.Fatalf("%d messages, want %d: %v", len(items), len(msgs), err)
	}
	for i, it := range items {
		m := msgs[i]
		if tt.UIDs && it.UID != m.Item.UID || it.UID != m.UID || it.Flags != m.Flags || it.Keywords != m.Keywords || it.Date.Unix != m.Date.Unix || bodies[it.UID] != targetBody(want[i]) {
			t.Errorf("message %d is %+v %q, want %+v and the body of %d", i, it, bodies[it.UID], m.Item, want[i])
		}
	}
	if got := tt.items(t, "A"); len(got) != 4 || got[0].Flags != mail.Seen || got[0].Keywords != mail.NewKeywords("x") {
		t.Errorf("the folder that the messages come from has %+v", got)
	}
	uids = nil
	for i := range old[:3] {
		uids.Add(old[i].UID)
	}
	if err := tt.account.Remove(t.Context(), "A", uids); err != nil {
		t.Fatal(err)
	}
	if got := tt.items(t, "B"); len(got) != len(msgs) {
		t.Errorf("%d messages are left, want %d", len(got), len(msgs))
	}
	msgs[0].UID = 200
	if err := tt.account.Append(t.Context(), "B", msgs[:1]); mail.KindOf(err) != mail.KindTemporary {
		t.Errorf("a stored message that is gone: %v", err)
	}
}

func (tt *targetTest) testDiscard(t *testing.T) {
	d, ok := tt.account.(migrate.Discarder)
	if !ok {
		t.Skip("the target removes no folders")
	}
	tt.prepare(t, "A", 7, 0)
	tt.prepare(t, "A/B", 8, 0)
	if err := tt.account.Append(t.Context(), "A/B", []migrate.Message{tt.message(t, 1, 0)}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"A", "A/B"} {
		if err := d.Discard(t.Context(), name); mail.KindOf(err) != mail.KindConflict {
			t.Errorf("removing %s: %v", name, err)
		}
	}
	var uids mail.UIDSet
	for _, it := range tt.items(t, "A/B") {
		uids.Add(it.UID)
	}
	if err := tt.account.Remove(t.Context(), "A/B", uids); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"A/B", "A", "A"} {
		if err := d.Discard(t.Context(), name); err != nil {
			t.Errorf("removing %s: %v", name, err)
		}
	}
	folders, err := tt.account.Folders(t.Context())
	if err != nil || slices.ContainsFunc(folders, func(f migrate.Folder) bool { return strings.HasPrefix(f.Name+"/", "A/") }) {
		t.Errorf("left: %+v, %v", folders, err)
	}
	if f := tt.prepare(t, "A", 9, 0); tt.UIDs && f.State.UIDValidity != 9 {
		t.Errorf("made again: %+v", f)
	}
}

func (tt *targetTest) testRename(t *testing.T) {
	r, ok := tt.account.(migrate.Renamer)
	if !ok {
		t.Skip("the target renames no folders")
	}
	tt.prepare(t, "Work", 7, 0)
	tt.prepare(t, "Work/Deep", 8, 0)
	tt.prepare(t, "Workshop", 9, 0)
	for _, name := range []string{"Work", "Work/Deep", "Workshop"} {
		if err := tt.account.Append(t.Context(), name, []migrate.Message{tt.message(t, 5, mail.Seen, "x")}); err != nil {
			t.Fatal(err)
		}
	}
	was, deep := tt.items(t, "Work"), tt.items(t, "Work/Deep")
	validity := tt.find(t, "Work").State.UIDValidity
	if err := r.Rename(t.Context(), "Work", "Old/Projects"); err != nil {
		t.Fatal(err)
	}
	if f := tt.find(t, "Old/Projects"); tt.UIDs && f.State.UIDValidity != validity || !f.Subscribed || !tt.find(t, "Old/Projects/Deep").Subscribed {
		t.Errorf("renamed: %+v", f)
	}
	for name, want := range map[string][]migrate.Item{"Old/Projects": was, "Old/Projects/Deep": deep} {
		if got := tt.items(t, name); len(got) != 1 || got[0].UID != want[0].UID || got[0].Flags != mail.Seen || got[0].Keywords != want[0].Keywords {
			t.Errorf("%s holds %+v, want %+v", name, got, want)
		}
	}
	if err := r.Rename(t.Context(), "Workshop", "Old/Projects"); mail.KindOf(err) != mail.KindExist {
		t.Errorf("a name that is taken: %v", err)
	}
	folders, err := tt.account.Folders(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range folders {
		if strings.HasPrefix(f.Name+"/", "Work/") {
			t.Errorf("%q is there still", f.Name)
		}
	}
	tt.find(t, "Workshop")
	if err := tt.account.Append(t.Context(), "Old/Projects", []migrate.Message{tt.message(t, 6, 0)}); err != nil || len(tt.items(t, "Old/Projects")) != 2 {
		t.Errorf("appending behind the change: %v", err)
	}
}
