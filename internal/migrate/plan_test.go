package migrate_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/imapclient"
	"expost/internal/migrate/migratetest"
	"expost/internal/migrate/source/imap"
	targetstore "expost/internal/migrate/target/store"
)

// writePlan writes a plan and the files beside it.
func writePlan(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"migration.toml": text, "pw": "secret\n",
		"users.csv": "\ufeffsource,target,password\najay@old.org, ajay@example.org\n# a comment\nanup@old.org,anup@example.org,\"p,w\"\n",
		"bad.csv":   "ajay@old.org\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "migration.toml")
}

const imapPlan = "[source]\nkind = \"imap\"\naddress = \"old.example.org\"\npassword-file = \"pw\"\n"

func TestPlan(t *testing.T) {
	t.Parallel()
	p, err := migrate.LoadPlan(writePlan(t, "users-file = \"users.csv\"\n"+imapPlan+"[[user]]\nsource = \"biswajit@example.org\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	users := p.Accounts()
	if len(users) != 3 || users[0].Target != "biswajit@example.org" || users[1].Source != "ajay@old.org" || users[1].Target != "ajay@example.org" || users[2].Password != "p,w" {
		t.Errorf("users are %+v", users)
	}
	if p.Source.Password != "secret" || !strings.HasSuffix(p.LedgerPath(), string(filepath.Separator)+"migration.ledger") {
		t.Errorf("plan is %+v", p)
	}
}

func TestPlanMistakes(t *testing.T) {
	t.Parallel()
	const user = "[[user]]\nsource = \"a@example.org\"\n"
	for text, want := range map[string]string{
		"":                                        "source.kind",
		"[source]\nkind = \"pop3\"\n" + user:      "source.kind",
		"[source]\nkind = \"imap\"\n" + user:      "source.address",
		imapPlan:                                  "names no accounts",
		imapPlan + "tls = \"maybe\"\n" + user:     "source.tls",
		imapPlan + "sooner = 1\n" + user:          ":5: unknown key",
		imapPlan + "x = [\n":                      "migration.toml:",
		imapPlan + user + user:                    "in the plan already",
		imapPlan + "[[user]]\ntarget = \"a@b\"\n": "source is missing",
		imapPlan + "[[user]]\npath = \"a\"\ntarget = \"a@b\"\n": "path is for",
		imapPlan + "[[user]]\nsource = \"a\"\n":                 "target",
		"users-file = \"bad.csv\"\n" + imapPlan:                 "bad.csv:1",
		"users-file = \"none.csv\"\n" + imapPlan:                "users-file",
		imapPlan + "[target]\nkind = \"tape\"\n" + user:         "target.kind",
		strings.Replace(imapPlan, `"pw"`, `"none"`, 1) + user:   "password-file",
	} {
		_, err := migrate.LoadPlan(writePlan(t, text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the plan\n%s\ngives %v, want something with %q", text, err, want)
		}
	}
	if _, err := migrate.LoadPlan(filepath.Join(t.TempDir(), "none.toml")); err == nil || !strings.Contains(err.Error(), "there is no plan") {
		t.Errorf("a missing plan: %v", err)
	}
}

func TestPreview(t *testing.T) {
	t.Parallel()
	b := newBench(t, migratetest.Quirks{}, box("INBOX", 11, messages(7, 1, 1)), box("Sent", 12, nil))
	b.deliver(t, "Subject: here before\r\n\r\n")
	previews, err := b.engine.Preview(t.Context(), []migrate.User{b.user, {Source: "x", Target: "x@example.org"}})
	if err != nil {
		t.Fatal(err)
	}
	p := previews[0]
	if p.Items != 7 || p.Bytes <= 0 || len(p.Folders) != 2 || p.Folders[0].KeepsUID || p.Folders[0].Note == "" || !p.Folders[1].KeepsUID || p.Problem != "" {
		t.Errorf("preview is %+v", p)
	}
	var text bytes.Buffer
	if err := migrate.WritePreviews(&text, previews); err != nil || !strings.Contains(text.String(), "holds 1 messages already") {
		t.Errorf("text is %v\n%s", err, text.String())
	}
	if r := b.run(t); r.Err != nil || r.Copied != 7 {
		t.Errorf("a run after a preview: %+v", r)
	}
	report, err := b.ledger.Report(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text.Reset()
	if err := report.WriteText(&text); err != nil || !strings.Contains(text.String(), "7 at the source = 7 copied") {
		t.Errorf("report is %v\n%s", err, text.String())
	}
}

// TestPreviewMakesNothing plans an account that has no mailbox yet.
func TestPreviewMakesNothing(t *testing.T) {
	t.Parallel()
	server := migratetest.StartIMAP(t, migratetest.Quirks{}, box("INBOX", 11, messages(3, 1, 1)))
	source := imap.New(imap.Config{Address: server.Address, Password: "secret", Client: imapclient.Options{Security: imapclient.Plain}})
	s := migratetest.OpenStore(t, filepath.Join(t.TempDir(), "store"))
	e := migrate.NewEngine(source, targetstore.New(s, migratetest.AnyAccount, 0), openLedger(t, filepath.Join(t.TempDir(), "l.ledger")), migrate.Options{})
	user := migrate.User{Source: "ajay@example.org", Target: "ajay@example.org"}
	previews, err := e.Preview(t.Context(), []migrate.User{user})
	if err != nil || previews[0].Problem != "" || previews[0].Items != 3 {
		t.Fatalf("%+v, %v", previews, err)
	}
	if a, err := s.Open(t.Context(), migratetest.AccountID(user.Target)); mail.KindOf(err) != mail.KindNotExist {
		t.Errorf("the plan made a mailbox: %v, %v", a, err)
	}
}

func TestHeaderDate(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]string{
		"Received: from a\r\n by b; Thu, 1 May 2003 12:00:00 +0530 (IST)\r\nReceived: x; 2 May 2003 12:00:00 +0000\r\nDate: Mon, 5 May 2003 00:00:00 +0000\r\n\r\n": "2003-05-01 12:00:00 +0530",
		"Subject: x\nDate: Thu, 01 May 2003 12:00:00 -0700\n\nDate: no":                                                                                             "2003-05-01 12:00:00 -0700",
		"Received: without a date\nDate:   1 May 03 12:00:00 GMT\n":                                                                                                 "2003-05-01 12:00:00 +0000",
		"Date: Thu May  1 12:00:00 2003\n":                                                                                                                          "2003-05-01 12:00:00 +0000",
		"Date: yesterday\n":                                                                                                                                         "", "": "", "Date: Thu, 01 May 0003 12:00:00 +0000\n": "",
	} {
		d, ok := migrate.HeaderDate([]byte(header))
		got := d.Time().Format("2006-01-02 15:04:05 -0700")
		if ok != (want != "") || ok && got != want {
			t.Errorf("%q is of %s %t, want %s", header, got, ok, want)
		}
	}
}

func TestGuessUse(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"Sent Items": "Sent", "Gesendete Elemente": "Sent", "INBOX/Trash": "Trash", "Удаленные": "Trash", "下書き": "Drafts",
		"Courrier indésirable": "Junk", "Projects": "", "Old/Sent Items": "", "INBOX": "",
	} {
		if got := migrate.GuessUse(name); string(got) != want {
			t.Errorf("%q is taken for %q, want %q", name, got, want)
		}
	}
}

// TestRouteNotes says before a migration what IMAP never shows, and what does.
func TestRouteNotes(t *testing.T) {
	t.Parallel()
	notes := strings.Join(migrate.RouteNotes("imap"), "\n")
	for _, what := range []string{"Calendars", "contacts", "tasks", "notes", "rules", "out-of-office", "delegates", "categories", "recoverable items", "archives", "PST"} {
		if !strings.Contains(notes, what) {
			t.Errorf("%s are not named in:\n%s", what, notes)
		}
	}
}
