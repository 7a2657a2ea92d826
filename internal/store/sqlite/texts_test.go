package sqlite_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"expost/internal/fulltext"
	"expost/internal/mail"
	"expost/internal/store"
)

// indexed makes a store with an account of 300 indexed messages, and returns
// its folder and the file of the search index. The store is closed.
func indexed(t *testing.T) (dir, path string) {
	t.Helper()
	dir = t.TempDir()
	s := store.New(open(t, dir), store.Options{IndexDelay: -1, Log: slog.New(slog.DiscardHandler)})
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
	msgs := make([]store.BulkMessage, 300)
	for n := range msgs {
		text := "Subject: " + strconv.Itoa(n) + "\r\n\r\nnumber " + strconv.Itoa(n) + strings.Repeat(" filler", 100) + "\r\n"
		if msgs[n].Incoming, err = s.Spool(ctx, nil, strings.NewReader(text), 0); err != nil {
			t.Fatal(err)
		}
		defer msgs[n].Incoming.Close()
	}
	if _, err := a.Bulk(ctx, box.ID, msgs); err != nil {
		t.Fatal(err)
	}
	if err := a.IndexTexts(ctx); err != nil {
		t.Fatal(err)
	}
	a.Release()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, filepath.Join(dir, "accounts", "example.org", "ajay", "search.db")
}

// known searches for a message and returns how many the index knows. What it
// knows must be right.
func known(t *testing.T, s *store.Store) (n int) {
	t.Helper()
	a, err := s.Open(t.Context(), ajay)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Release()
	ids := make([]mail.EmailID, 300)
	for i := range ids {
		ids[i] = mail.EmailID(i + 1)
	}
	hits, err := a.SearchTexts(t.Context(), ids, []fulltext.Needle{{Where: fulltext.InBody, Text: []byte("number 77 ")}})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if !hits.Known(id) {
			continue
		}
		if n++; hits.Found(id, 0) != (id == 78) {
			t.Errorf("email %v found: %v", id, hits.Found(id, 0))
		}
	}
	return n
}

// TestTextsDamaged damages the search index in many ways: no search is wrong,
// and it is made anew.
func TestTextsDamaged(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		damage  func(t *testing.T, path string)
		finding string // of Check, where the damage is still there then
	}{
		{"nothing", func(*testing.T, string) {}, ""},
		{"removed", func(t *testing.T, path string) { os.Remove(path) }, ""},
		{"empty", rewriting(func([]byte) []byte { return nil }), ""},
		{"garbage", rewriting(func(b []byte) []byte { return bytes.Repeat([]byte("x"), len(b)) }), ""},
		{"pages", rewriting(func(b []byte) []byte { clear(b[len(b)/2:]); return b }), "search index"},
		{"truncated", rewriting(func(b []byte) []byte { return b[:len(b)/2] }), ""},
		{"head", executing("UPDATE head SET data = substr(data, 1, 9) || x'ff' || substr(data, 11) WHERE key = (SELECT max(key) FROM head)"), "damaged"},
		{"text", executing("UPDATE text SET data = substr(data, 1, 90) || x'ff' || substr(data, 92)"), "damaged"},
		{"swapped", executing("UPDATE head SET data = (SELECT data FROM head ORDER BY key LIMIT 1)"), "search index"},
		{"no text", executing("DELETE FROM text"), "damaged"},
		{"another version", executing("PRAGMA user_version = 99"), ""},
		{"another account's", executing("UPDATE head SET key = key + 1000"), "search index"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir, path := indexed(t)
			c.damage(t, path)
			s := store.New(open(t, dir), store.Options{IndexDelay: -1, Log: slog.New(slog.DiscardHandler)})
			defer s.Close()
			known(t, s)
			got := findings(t, s, true)
			if !strings.Contains(got, c.finding) || (c.finding == "") != (got == "") {
				t.Errorf("found %q, want %q", got, c.finding)
			}
			if left := findings(t, s, false); left != "" {
				t.Errorf("left after the repair: %q", left)
			}
			a, err := s.Open(t.Context(), ajay)
			if err != nil {
				t.Fatal(err)
			}
			defer a.Release()
			if err := a.IndexTexts(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n := known(t, s); n != 300 {
				t.Errorf("the index knows %d messages", n)
			}
		})
	}
}

// rewriting returns a damage of the file's bytes.
func rewriting(change func([]byte) []byte) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, change(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// executing returns a damage by SQL.
func executing(sql string) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		c, err := sqlite3.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.Exec(sql); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTextsSelected opens an account whose index is missing: it is made when a
// large mailbox is selected, before anybody searches.
func TestTextsSelected(t *testing.T) {
	t.Parallel()
	dir, path := indexed(t)
	with := func(delay time.Duration, fn func(*store.Account, mail.MailboxID)) {
		s := store.New(open(t, dir), store.Options{IndexDelay: delay, Log: slog.New(slog.DiscardHandler)})
		defer s.Close()
		a, box := inbox(t, s, ajay)
		defer a.Release()
		fn(a, box.ID)
	}
	with(-1, func(a *store.Account, id mail.MailboxID) {
		if _, err := a.Copy(t.Context(), id, mail.UIDSet{{First: 1, Last: 300}}, id); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Copy(t.Context(), id, mail.UIDSet{{First: 1, Last: 600}}, id); err != nil {
			t.Fatal(err)
		}
	})
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	with(1, func(a *store.Account, _ mail.MailboxID) {
		v, err := a.Examine(t.Context(), "INBOX")
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		for {
			if _, err := os.Stat(path); err == nil {
				return
			}
			if err := t.Context().Err(); err != nil {
				t.Fatal(err)
			}
			runtime.Gosched()
		}
	})
}
