package maildir_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/imapclient"
	"expost/internal/migrate/migratetest"
	"expost/internal/migrate/source/imap"
	"expost/internal/migrate/target/maildir"
)

// appendTo appends messages with these UIDs to INBOX, as a pass does.
func appendTo(t *testing.T, target *maildir.Target, uids ...mail.UID) {
	t.Helper()
	a, err := target.Open(t.Context(), migrate.User{Target: "ajay@example.org"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Prepare(t.Context(), migrate.Folder{Name: mail.Inbox, State: migrate.State{UIDValidity: 77}}); err != nil {
		t.Fatal(err)
	}
	var msgs []migrate.Message
	for _, uid := range uids {
		body, err := target.Spool(t.Context(), strings.NewReader("Subject: x\r\n\r\ntext\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		defer body.Close()
		msgs = append(msgs, migrate.Message{Item: migrate.Item{UID: uid}, Body: body})
	}
	if err := a.Append(t.Context(), mail.Inbox, msgs); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

// TestListOfABrokenAppend finds the lines of messages that never came into cur,
// the last of them torn: Dovecot reads the UIDs of those that came after.
func TestListOfABrokenAppend(t *testing.T) {
	t.Parallel()
	d := migratetest.StartDovecot(t, func(dir string) {
		target := newTarget(t, dir, false)
		appendTo(t, target, 3, 4)
		list := filepath.Join(dir, "ajay", "Maildir", "dovecot-uidlist")
		b, err := os.ReadFile(list)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(list, append(b, "7 :1.M7P1.host,S=18,W=21\n8 :1.M8P1.host,S=18,W=21\n9"...), 0o600); err != nil {
			t.Fatal(err)
		}
		appendTo(t, target, 7, 8, 9)
	})
	source := imap.New(imap.Config{Address: d.Address, Password: d.Password, Client: imapclient.Options{Security: imapclient.Plain}})
	got := listed(t, source, migrate.User{Source: "ajay"})
	for _, want := range []string{"INBOX UIDVALIDITY 77 UIDNEXT 10 ", "\n3 ", "\n4 ", "\n7 ", "\n8 ", "\n9 "} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in what Dovecot shows:\n%s", want, got)
		}
	}
}

// TestQuotaFile keeps what maildirsize says of the use of a Maildir true, and its
// limits; where there is none, none is made.
func TestQuotaFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	target := newTarget(t, dir, false)
	appendTo(t, target, 1)
	file := filepath.Join(dir, "ajay", "Maildir", "maildirsize")
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("a quota nobody set: %v", err)
	}
	if err := os.WriteFile(file, []byte("100000S,100C\n17 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	appendTo(t, target, 2, 3)
	a, err := target.Open(t.Context(), migrate.User{Target: "ajay@example.org"})
	if err != nil {
		t.Fatal(err)
	}
	var gone mail.UIDSet
	gone.Add(2)
	if err := a.Remove(t.Context(), mail.Inbox, gone); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(file); string(b) != "100000S,100C\n17 1\n34 2\n-17 -1\n" {
		t.Errorf("maildirsize is %q, %v", b, err)
	}
}

// TestLook looks at a Maildir that is not there without making it.
func TestLook(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	target := newTarget(t, dir, false)
	server := migratetest.StartIMAP(t, migratetest.Quirks{}, &migratetest.Box{Name: "INBOX", UIDValidity: 1, UIDNext: 1})
	source := imap.New(imap.Config{Address: server.Address, Password: "secret", Client: imapclient.Options{Security: imapclient.Plain}})
	l, err := migrate.OpenLedger(filepath.Join(dir, "l.ledger"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p, err := migrate.NewEngine(source, target, l, migrate.Options{}).Preview(t.Context(), []migrate.User{{Source: "ajay", Target: "ajay@example.org"}})
	if err != nil || p[0].Problem != "" || len(p[0].Folders) != 1 {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "ajay", "Maildir")); !os.IsNotExist(err) {
		t.Errorf("a plan made the Maildir: %v", err)
	}
}
