package migrate_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/imapclient"
	"expost/internal/migrate/migratetest"
	"expost/internal/migrate/source/files"
	"expost/internal/migrate/source/imap"
	targetimap "expost/internal/migrate/target/imap"
	targetstore "expost/internal/migrate/target/store"
)

// What Exchange does in real migrations. Each server here behaves so.

const exchangeGreeting = "The Microsoft Exchange IMAP4 service is ready."

// TestExchangeFolders leaves out what holds no mail of the user's, and says so.
func TestExchangeFolders(t *testing.T) {
	t.Parallel()
	b := newBench(t, migratetest.Quirks{Greeting: exchangeGreeting}, box("INBOX", 1, messages(2, 1, 1)), box("sync issues", 2, messages(3, 1, 1)),
		box("Sync Issues/Conflicts", 3, messages(3, 1, 1)), box("Sync Issues of mine", 4, messages(1, 1, 1)))
	b.exclude(t, migrate.LeftOut())
	if r := b.run(t); r.Err != nil || r.Copied != 3 {
		t.Errorf("the pass: %+v", r)
	}
	report, err := b.ledger.Report(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	said := 0
	for _, f := range report.Accounts[0].Folders {
		if strings.Contains(f.Note, "left out") {
			said++
		}
	}
	if said != 2 {
		t.Errorf("the report names %d folders that were left out: %+v", said, report.Accounts[0].Folders)
	}
	s := newSite()
	if m := b.move(t, s); !m.Done {
		t.Errorf("folders that are left out keep the account: %+v", m)
	}
}

// exclude makes an engine that leaves folders out.
func (b *bench) exclude(t *testing.T, names []string) {
	t.Helper()
	source := imap.New(imap.Config{Address: b.server.Address, Password: "secret", Client: imapclient.Options{Security: imapclient.Plain}})
	b.engine = migrate.NewEngine(source, b.spool, b.ledger, migrate.Options{Exclude: names})
}

// TestReceiptsAreNotSentAgain marks what comes from Exchange with $MDNSent, at
// every pass alike.
func TestReceiptsAreNotSentAgain(t *testing.T) {
	t.Parallel()
	for greeting, want := range map[string]bool{exchangeGreeting: true, "": false} {
		b := newBench(t, migratetest.Quirks{Greeting: greeting}, box("INBOX", 1, messages(3, 1, 1)))
		b.run(t)
		for _, it := range b.items(t, "INBOX") {
			if it.Keywords.Has("$MDNSent") != want {
				t.Errorf("greeting %q: message %d has the keywords %s", greeting, it.UID, it.Keywords)
			}
		}
		if r := b.run(t); r.Updated != 0 {
			t.Errorf("greeting %q: the second pass: %+v", greeting, r)
		}
		if v, err := b.engine.Verify(t.Context(), []migrate.User{b.user}); err != nil || len(v[0].Problems) > 0 {
			t.Errorf("greeting %q: %+v, %v", greeting, v, err)
		}
	}
}

// TestTenErrors has a server that ends the connection at the tenth BAD of a
// session, and says BAD to every command that asks for one of three messages.
func TestTenErrors(t *testing.T) {
	t.Parallel()
	bad := map[mail.UID]bool{7: true, 8: true, 55: true}
	all := messages(120, 1, 1)
	errs := map[int]int{} // by connection; a connection's commands are numbered from 1
	conn := 0
	b := newBench(t, migratetest.Quirks{
		Command: func(n int, line string) string {
			if n == 1 {
				conn++
			}
			if !strings.Contains(line, "BODY.PEEK") {
				return ""
			}
			set := strings.Fields(line)[2]
			for uid := range bad {
				if inSet(set, uid) {
					if errs[conn]++; errs[conn] >= 10 {
						return "drop"
					}
					return fmt.Sprintf("BAD Command Argument Error. %d", errs[conn])
				}
			}
			return ""
		},
	}, box("INBOX", 11, all))
	good := slices.DeleteFunc(slices.Clone(all), func(m migratetest.Message) bool { return bad[m.UID] })
	if r := b.run(t); r.Err != nil || r.Copied+r.There != len(good) || r.Aside != len(bad) {
		t.Errorf("the pass: %+v", r)
	}
	b.check(t, "INBOX", good)
	b.checkSums(t, len(good), len(bad))
}

// inSet tells whether a set on the wire holds a UID.
func inSet(set string, uid mail.UID) bool {
	for part := range strings.SplitSeq(set, ",") {
		var first, last mail.UID
		if n, _ := fmt.Sscanf(part, "%d:%d", &first, &last); n == 1 {
			last = first
		}
		if uid >= first && uid <= last {
			return true
		}
	}
	return false
}

// TestThrottledLogin waits as long as the server asks before it logs in.
func TestThrottledLogin(t *testing.T) {
	t.Parallel()
	var logins atomic.Int64
	b := newBench(t, migratetest.Quirks{Command: func(_ int, line string) string {
		if strings.HasPrefix(line, "LOGIN") && logins.Add(1) <= 2 {
			return "BAD Request is throttled. Suggested Backoff Time: 5 milliseconds"
		}
		return ""
	}}, box("INBOX", 1, messages(5, 1, 1)))
	if r := b.run(t); r.Err != nil || r.Copied != 5 {
		t.Errorf("the pass: %+v", r)
	}
}

// TestThrottledListing has more folders than the server lets be asked for in a
// row.
func TestThrottledListing(t *testing.T) {
	t.Parallel()
	var boxes []*migratetest.Box
	for i := range 20 {
		boxes = append(boxes, box(fmt.Sprintf("F%02d", i), mail.UIDValidity(i+1), messages(1, 1, 1)))
	}
	var asked atomic.Int64
	b := newBench(t, migratetest.Quirks{Command: func(_ int, line string) string {
		if strings.HasPrefix(line, "STATUS") && asked.Add(1)%8 == 0 {
			return "BAD Request is throttled. Suggested Backoff Time: 1 milliseconds"
		}
		return ""
	}}, boxes...)
	if r := b.run(t); r.Err != nil || r.Copied != 20 {
		t.Errorf("the pass: %+v", r)
	}
}

// TestSiblingsOfOneName lists a folder twice, and two that differ in what a
// mailbox's name cannot hold.
func TestSiblingsOfOneName(t *testing.T) {
	t.Parallel()
	b := newBench(t, migratetest.Quirks{}, box("A", 1, messages(2, 1, 1)), box("A", 1, messages(2, 1, 1)), box("B\x01", 2, messages(3, 1, 1)), box("B\x02", 3, messages(4, 1, 1)))
	if r := b.run(t); r.Err != nil || r.Copied != 9 {
		t.Errorf("the pass: %+v", r)
	}
	if n := len(b.items(t, "B_")) + len(b.items(t, "B_ (2)")); n != 7 {
		t.Errorf("%d messages in both, want 7", n)
	}
}

// TestSizeLimit keeps what the target does not take, and the plan says so before:
// where the limit is this server's own, and where a server tells it (APPENDLIMIT).
func TestSizeLimit(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T) migrate.Target{
		"own store": func(t *testing.T) migrate.Target {
			return targetstore.New(migratetest.OpenStore(t, filepath.Join(t.TempDir(), "small")), migratetest.AnyAccount, 5000)
		},
		"APPENDLIMIT": func(t *testing.T) migrate.Target {
			c := migratetest.StartCyrus(t, false, "maxmessagesize: 5000")
			return targetimap.New(targetimap.Config{Address: c.Address, Login: "{local}", Password: c.Password, Client: imapclient.Options{Security: imapclient.Plain}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := messages(5, 1, 1)
			all[2].Body = "Subject: large\r\n\r\n" + strings.Repeat("0123456789", 1000)
			b := newBench(t, migratetest.Quirks{}, box("INBOX", 1, all))
			b.engine = b.engineInto(open(t))
			b.checkTooLarge(t, "3", int64(len(all[2].Body)))
			if r := b.run(t); r.Err != nil || r.Copied != 4 || r.Aside != 1 {
				t.Errorf("the pass: %+v", r)
			}
			report := b.checkSums(t, 4, 1)
			a := report.Accounts[0].Folders[0].Aside[0]
			kept, err := os.ReadFile(a.File)
			if err != nil || string(kept) != all[2].Body {
				t.Errorf("kept %d bytes of %d: %v", len(kept), len(all[2].Body), err)
			}
		})
	}
}

// checkTooLarge checks that a plan finds the one message that the target will not
// take.
func (b *bench) checkTooLarge(t *testing.T, item string, size int64) {
	t.Helper()
	previews, err := b.engine.Preview(t.Context(), []migrate.User{b.user})
	if err != nil {
		t.Fatal(err)
	}
	if large := previews[0].Folders[0].TooLarge; len(large) != 1 || item != "" && large[0].Item != item || large[0].Size != size {
		t.Errorf("the plan finds %+v too large: %+v", large, previews[0])
	}
	var plan strings.Builder
	if err := migrate.WritePreviews(&plan, previews); err != nil || !strings.Contains(plan.String(), "1 message larger than the target takes") {
		t.Errorf("the plan, error %v:\n%s", err, &plan)
	}
}

// TestSizeLimitByScan has a source that cannot search for large messages.
func TestSizeLimitByScan(t *testing.T) {
	t.Parallel()
	b := newBench(t, migratetest.Quirks{})
	b.user.Source = filepath.Join(t.TempDir(), "Maildir")
	for _, dir := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(b.user.Source, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, size := range map[string]int{"1.M1P1.example:2,S": 100, "2.M2P1.example:2,": 9000} {
		text := "Subject: x\n\n" + strings.Repeat("x", size-13) + "\n"
		if err := os.WriteFile(filepath.Join(b.user.Source, "cur", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	target := targetstore.New(migratetest.OpenStore(t, filepath.Join(t.TempDir(), "small")), migratetest.AnyAccount, 5000)
	b.engine = migrate.NewEngine(files.New("", slog.New(slog.DiscardHandler)), target, b.ledger, b.options)
	b.checkTooLarge(t, "", 9000)
	if r := b.run(t); r.Err != nil || r.Copied != 1 || r.Aside != 1 {
		t.Errorf("the pass: %+v", r)
	}
}

// TestCommandsAreShort has UIDs with gaps between them all: Exchange takes no
// command of more than 10 KB.
func TestCommandsAreShort(t *testing.T) {
	t.Parallel()
	b := newBench(t, migratetest.Quirks{Command: func(_ int, line string) string {
		return map[bool]string{true: "BAD Command line too long"}[len(line) > 8000]
	}}, box("INBOX", 1, messages(3000, 1000000000, 7)))
	if r := b.run(t); r.Err != nil || r.Copied != 3000 {
		t.Errorf("the pass: %+v", r)
	}
	var left []migratetest.Message // every second one
	for i, m := range messages(3000, 1000000000, 7) {
		if i%2 == 0 {
			left = append(left, m)
		}
	}
	b.server.Change(func(boxes []*migratetest.Box) { boxes[0].Messages = left })
	b.options.Removals = migrate.RemoveAll
	b.engine = b.engineInto(b.spool)
	if r := b.run(t); r.Err != nil || r.Removed != 1500 || r.Copied != 0 {
		t.Errorf("the second pass: %+v", r)
	}
	b.check(t, "INBOX", left)
}

// TestHugeFolder has a folder that is too large to be listed at once, on a server
// that loses the connection while it lists.
func TestHugeFolder(t *testing.T) {
	t.Parallel()
	const n = 7000
	lost, widest := 0, 0
	b := newBench(t, migratetest.Quirks{Command: func(_ int, line string) string {
		if !strings.HasPrefix(line, "UID FETCH") || strings.Contains(line, "BODY.PEEK") {
			return ""
		}
		set, asked := strings.Fields(line)[2], 0
		for uid := range mail.UID(n) {
			if inSet(set, uid+1) {
				asked++
			}
		}
		widest = max(widest, asked)
		if lost++; lost%2 == 1 && lost < 8 {
			return "drop"
		}
		return ""
	}}, box("INBOX", 1, messages(n, 1, 1)))
	if r := b.run(t); r.Err != nil || r.Copied != n || r.There != 0 {
		t.Errorf("the pass: %+v", r)
	}
	if lost < 4 || widest == 0 || widest > migrate.ScanBatch {
		t.Errorf("%d listings, of %d messages at most", lost, widest)
	}
	b.checkSums(t, n, 0)
}

// TestThrottledBehindALostConnection ends a connection, and throttles the login
// that follows.
func TestThrottledBehindALostConnection(t *testing.T) {
	t.Parallel()
	ended, logins := false, 0
	b := newBench(t, migratetest.Quirks{Command: func(_ int, line string) string {
		switch {
		case strings.HasPrefix(line, "LOGIN"):
			if logins++; logins == 2 || logins == 3 {
				return "BAD Request is throttled. Suggested Backoff Time: 3 milliseconds"
			}
		case strings.Contains(line, "BODY.PEEK") && !ended:
			ended = true
			return "drop"
		}
		return ""
	}}, box("INBOX", 1, messages(20, 1, 1)))
	if r := b.run(t); r.Err != nil || r.Copied != 20 || logins < 4 {
		t.Errorf("the pass, with %d logins: %+v", logins, r)
	}
	b.check(t, "INBOX", messages(20, 1, 1))
}

// TestMessagesAlike has messages that nothing tells apart, some without any
// Message-ID: each is copied, by every pass once.
func TestMessagesAlike(t *testing.T) {
	t.Parallel()
	all := messages(12, 1, 1)
	for i := range all {
		all[i].Date, all[i].Flags, all[i].Body = " 5-May-2003 10:00:00 +0200", "", "Subject: draft\r\n\r\nalike\r\n"
	}
	b := newBench(t, migratetest.Quirks{}, box("Drafts", 1, all))
	if r := b.run(t); r.Err != nil || r.Copied+r.There != 12 {
		t.Errorf("the pass: %+v", r)
	}
	if r := b.run(t); r.Err != nil || r.Copied+r.There+r.Moved+r.Removed != 0 {
		t.Errorf("the second pass: %+v", r)
	}
	b.check(t, "Drafts", all)
	b.checkSums(t, 12, 0)
}

// TestFoldersOfOthersAreNotCopied lists public folders and those of other users
// beside the mailbox's own.
func TestFoldersOfOthersAreNotCopied(t *testing.T) {
	t.Parallel()
	q := migratetest.Quirks{Capabilities: "NAMESPACE", Namespace: `(("" "/")) (("Other Users/" "/")) (("Public Folders/" "/"))`}
	b := newBench(t, q, box("INBOX", 1, messages(3, 1, 1)), box("Public Folders/Offers", 2, messages(50, 1, 1)), box("Other Users/anup", 3, messages(50, 1, 1)))
	if r := b.run(t); r.Err != nil || r.Copied != 3 {
		t.Errorf("the pass: %+v", r)
	}
	if _, there := b.state(t, "Public Folders/Offers"); there {
		t.Error("public folders were copied into a mailbox")
	}
}

// TestBytesThatNoMailHas takes NUL, long lines, 8-bit headers and messages
// without any header as they are.
func TestBytesThatNoMailHas(t *testing.T) {
	t.Parallel()
	var all []migratetest.Message
	for i, body := range []string{
		"Subject: nul\r\n\r\nte\x00xt\r\n", "Subject: long\r\n\r\n" + strings.Repeat("x", 20000) + "\r\n", "Subject: \xfc\xe4\r\n\r\n",
		"From somebody Mon May  5 10:00:00 2003\r\nSubject: x\r\n\r\n", "no header at all", "\r\n\r\n", "Subject: bare\n\nline\rends\n",
	} {
		all = append(all, migratetest.Message{UID: mail.UID(i + 1), Date: " 5-May-2003 10:00:00 +0200", Body: body})
	}
	b := newBench(t, migratetest.Quirks{}, box("INBOX", 1, all))
	if r := b.run(t); r.Err != nil || r.Copied != len(all) {
		t.Errorf("the pass: %+v", r)
	}
	b.check(t, "INBOX", all)
}

// TestFolderRenamedDuringThePass keeps every message, under the new name too.
func TestFolderRenamedDuringThePass(t *testing.T) {
	t.Parallel()
	renamed := false
	old := box("Old", 2, messages(20, 1, 1))
	b := newBench(t, migratetest.Quirks{Command: func(_ int, line string) string {
		if !renamed && strings.HasPrefix(line, `EXAMINE "Old"`) {
			renamed, old.Name = true, "New"
		}
		return ""
	}}, box("INBOX", 1, messages(5, 1, 1)), old)
	b.run(t) // says that Old is gone
	if r := b.run(t); r.Err != nil {
		t.Errorf("the second pass: %+v", r)
	}
	b.check(t, "INBOX", messages(5, 1, 1))
	b.check(t, "New", messages(20, 1, 1))
}

// TestSameUIDOtherBytes has a source that breaks its word.
func TestSameUIDOtherBytes(t *testing.T) {
	t.Parallel()
	b := newBench(t, migratetest.Quirks{}, box("INBOX", 1, messages(5, 1, 1)))
	b.run(t)
	b.server.Change(func(boxes []*migratetest.Box) {
		boxes[0].Messages[2].Body = "Subject: another one\r\n\r\nwith another text\r\n"
	})
	v, err := b.engine.Verify(t.Context(), []migrate.User{b.user})
	if err != nil || len(v[0].Problems) != 1 || v[0].Items != 4 || !strings.Contains(v[0].Problems[0].What, "another message than at the first time") {
		t.Errorf("%+v, %v", v, err)
	}
}
