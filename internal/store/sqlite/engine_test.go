package sqlite_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"expost/internal/mail"
	"expost/internal/store"
	"expost/internal/store/sqlite"
)

func TestLock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := open(t, dir)
	_, err := sqlite.New(dir, sqlite.Options{})
	if mail.KindOf(err) != mail.KindUnavailable || !strings.Contains(mail.PublicText(err), fmt.Sprint("process ", os.Getpid())) {
		t.Errorf("a second engine on one folder: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := open(t, dir).Close(); err != nil {
		t.Error(err)
	}
}

// TestSpoolEmptied leaves in the spool what a crash leaves.
func TestSpoolEmptied(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := open(t, dir)
	f, err := e.TempFile()
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	e.Close()
	e = open(t, dir)
	defer e.Close()
	if _, err := os.Stat(f.Name()); !os.IsNotExist(err) {
		t.Errorf("what a crash left in the spool: %v", err)
	}
	for id, err := range e.Accounts(t.Context()) {
		t.Errorf("account %q, %v in an empty store", id, err)
	}
}

const ajay = mail.AccountID("example.org/ajay")

// damaged makes an account with messages, runs SQL on its database and returns
// the store.
func damaged(t *testing.T, sql string) *store.Store {
	t.Helper()
	dir := t.TempDir()
	s := store.New(open(t, dir), store.Options{InlineMax: 1000})
	ctx := t.Context()
	if err := s.Create(ctx, ajay); err != nil {
		t.Fatal(err)
	}
	a, err := s.Open(ctx, ajay)
	if err != nil {
		t.Fatal(err)
	}
	box, err := a.Mailbox(ctx, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	for n := range 200 {
		var big strings.Builder
		for i := range n % 2 * 2000 {
			fmt.Fprint(&big, i*i*n, "\r\n")
		}
		in, err := s.Spool(ctx, nil, strings.NewReader(fmt.Sprintf("Subject: %d\r\n\r\n%s", n, &big)), 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Append(ctx, box.ID, in, store.AppendOptions{}); err != nil {
			t.Fatal(err)
		}
		in.Close()
	}
	share(t, a, box.ID)
	a.Release()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := sqlite3.Open(filepath.Join(dir, "accounts", "example.org", "ajay", "mail.db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Exec(sql); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	s = store.New(open(t, dir), store.Options{})
	t.Cleanup(func() { s.Close() })
	return s
}

// share has somebody else read some messages of a mailbox.
func share(t *testing.T, a *store.Account, id mail.MailboxID) {
	t.Helper()
	ctx := t.Context()
	if err := a.SetACL(ctx, id, store.ACLSet, store.ACLEntry{Identifier: "anyone", Rights: mail.AllRights}); err != nil {
		t.Fatal(err)
	}
	x := a.Access(store.Principal{ID: "example.org/bishal"}, store.PersonalSeen)
	if _, err := x.StoreFlags(ctx, id, mail.UIDSet{{First: 3, Last: 150}}, store.FlagChange{Op: store.FlagsAdd, Flags: mail.Seen}); err != nil {
		t.Fatal(err)
	}
	if err := x.SetAnnotations(ctx, id, []store.Annotation{{Entry: "/private/comment", Value: []byte("x")}}); err != nil {
		t.Fatal(err)
	}
}

// findings returns what Check finds.
func findings(t *testing.T, s *store.Store, repair bool) string {
	t.Helper()
	var lines []string
	for f, err := range s.Check(context.Background(), store.CheckOptions{Repair: repair}) {
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, f.String())
	}
	return strings.Join(lines, "\n")
}

// TestCheckRows damages each kind of row and has Check find it.
func TestCheckRows(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		sql, finding string
		repairable   bool
	}{
		{"", "", true},
		{"UPDATE mailbox SET messages = 7 WHERE id = 1", "said to have 7 messages", true},
		{"UPDATE mailbox SET unseen = unseen - 1 WHERE id = 1", "199 unseen", true},
		{"UPDATE account SET used_bytes = used_bytes + 5", "said to hold", true},
		{"UPDATE email SET refs = 3 WHERE id = 5", "in mailboxes 3 times and is 1", true},
		{"UPDATE email SET refs = 0 WHERE id = 5", "in mailboxes 0 times", false}, // the writer may be first
		{"UPDATE blob SET refs = 2 WHERE sum = (SELECT min(sum) FROM blob)", "used 2 times and is 1", true},
		{"DELETE FROM blob", "used 0 times", true},
		{"INSERT INTO detail (id, data) VALUES (9999, x'00')", "belongs to nothing", true},
		{"INSERT INTO body (id, data) VALUES (9999, x'00')", "belongs to nothing", true},
		{"INSERT INTO chunk (key, data) VALUES ((77 << 32) + 1, x'00')", "belongs to nothing", true},
		{"UPDATE reader SET seen = 7", "7 messages are said to be seen and 148 are", true},
		{"DELETE FROM chunk WHERE key = (SELECT (id << 32) + 3 FROM reader)", "148 messages are said to be seen and 20 are", true},
		{"UPDATE reader SET modseq = 99999", "never given out", false},
		{"UPDATE reader SET mailbox = 77", "belongs to nothing", true},
		{"UPDATE annotation SET mailbox = 77", "belongs to nothing", true},
		{"UPDATE mailbox SET acl = 'anyone' WHERE id = 1", "access control list is damaged", false},
		{"DELETE FROM email WHERE id = 8", "a mailbox shows it", false},
		{"DELETE FROM body WHERE id = 3", "email e3", false},
		{"UPDATE body SET data = (SELECT data FROM body WHERE id = 5) WHERE id = 3", "email e3", false},
		{"UPDATE detail SET data = x'0011' WHERE id = 3", "structure", false},
		{"UPDATE chunk SET data = substr(data, 1, 40) || x'ff' || substr(data, 42) WHERE key = (1 << 32) + 1", "checksum", false},
		{"DELETE FROM chunk WHERE key = (1 << 32) + 1", "has 72", false},
		{"UPDATE mailbox SET uidnext = 100 WHERE id = 1", "out of order", false},
		{"UPDATE mailbox SET modseq = 3 WHERE id = 1", "never given out", false},
		{"UPDATE mailbox SET name = 'a//b' WHERE id = 2", "not one that a mailbox may have", false},
		{"UPDATE mailbox SET name = 'INBOX' WHERE id = 2", "two mailboxes", false},
		{"DELETE FROM account", "own row is missing", false},
		{"PRAGMA user_version = 99", "newer version", false},
	} {
		t.Run(c.finding, func(t *testing.T) {
			t.Parallel()
			s := damaged(t, c.sql)
			got := findings(t, s, true)
			if !strings.Contains(got, c.finding) || (c.finding == "") != (got == "") {
				t.Fatalf("%s: found %q, want %q", c.sql, got, c.finding)
			}
			if c.repairable {
				if left := findings(t, s, false); left != "" {
					t.Errorf("%s: left after the repair: %q", c.sql, left)
				}
			}
		})
	}
}

// TestOlderSchema opens what was written before mailboxes could be shared.
func TestOlderSchema(t *testing.T) {
	t.Parallel()
	s := damaged(t, `DELETE FROM chunk WHERE key >> 32 IN (SELECT id FROM reader); DROP TABLE reader; DROP TABLE annotation;
		ALTER TABLE mailbox DROP COLUMN acl; PRAGMA user_version = 1`)
	if got := findings(t, s, false); got != "example.org/ajay: index of shared mailboxes: the index says that it shares with anyone, and it does not; run the check with repair" {
		t.Errorf("check found %q", got)
	}
	a, err := s.Open(t.Context(), ajay)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Release()
	box, err := a.Mailbox(t.Context(), "INBOX")
	if err != nil || box.Messages != 200 {
		t.Fatalf("INBOX is %+v, %v", box, err)
	}
	share(t, a, box.ID)
	if got := findings(t, s, false); got != "" {
		t.Errorf("check found %q", got)
	}
}

// TestNewerSchema refuses what a newer program wrote.
func TestNewerSchema(t *testing.T) {
	t.Parallel()
	s := damaged(t, "PRAGMA user_version = 99")
	_, err := s.Open(t.Context(), ajay)
	if mail.KindOf(err) != mail.KindUnavailable || !strings.Contains(err.Error(), "newer version") {
		t.Errorf("error %v", err)
	}
}

// TestBounded uses many accounts and counts open files.
func TestBounded(t *testing.T) {
	s := store.New(open(t, t.TempDir()), store.Options{IdleAccounts: 4})
	defer s.Close()
	ctx := t.Context()
	var held []*store.Account
	for i := range 200 {
		id := mail.AccountID(fmt.Sprintf("example.org/u%d", i))
		if err := s.Create(ctx, id); err != nil {
			t.Fatal(err)
		}
		a, err := s.Open(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Release()
		held = append(held, a) // as a session does
	}
	for _, a := range held {
		if err := a.Subscribe(ctx, "x", true); err != nil {
			t.Fatal(err)
		}
	}
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil || runtime.GOOS != "linux" {
		t.Skip("open files cannot be counted here")
	}
	count := 0
	for _, f := range files {
		if name, err := os.Readlink("/proc/self/fd/" + f.Name()); err == nil && strings.Contains(name, "TestBounded") {
			count++
		}
	}
	if count > 40 { // 8 idle connections of 3 files, and some being closed
		t.Errorf("%d files are open for 200 accounts", count)
	}
}
