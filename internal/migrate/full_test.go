package migrate_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/imapclient"
	"expost/internal/migrate/migratetest"
	"expost/internal/migrate/source/imap"
	targetimap "expost/internal/migrate/target/imap"
)

// setQuota logs in at a Cyrus as its administrator and limits ajay's mailboxes.
func setQuota(t *testing.T, c *migratetest.Cyrus, kilobytes int) {
	t.Helper()
	admin, err := imapclient.Dial(t.Context(), c.Address, imapclient.Options{Security: imapclient.Plain})
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if err := admin.Login("", "cyrus", c.Password); err != nil {
		t.Fatal(err)
	}
	limits := fmt.Sprintf("(STORAGE %d)", kilobytes)
	if err := admin.Command("SETQUOTA", nil, imapclient.Text("user/ajay"), imapclient.Raw(limits)); err != nil {
		t.Fatal(err)
	}
}

// TestTargetFillsUp copies into a Cyrus whose quota is reached on the way: the pass
// ends with the server's word for it, and goes on where it was when the quota is
// raised, nothing twice.
func TestTargetFillsUp(t *testing.T) {
	t.Parallel()
	const n = 90
	b := &migratetest.Box{Name: "INBOX", UIDValidity: 1, UIDNext: n + 1}
	for i := range n {
		b.Messages = append(b.Messages, migratetest.Message{
			UID: mail.UID(i + 1), Date: "01-May-2003 12:00:00 +0000",
			Body: fmt.Sprintf("Subject: %d\r\nMessage-ID: <%d@example.org>\r\n\r\n%s", i, i, strings.Repeat("text of a line\r\n", 120)),
		})
	}
	server := migratetest.StartIMAP(t, migratetest.Quirks{}, b)
	c := migratetest.StartCyrus(t, false)
	plain := imapclient.Options{Security: imapclient.Plain}
	source := imap.New(imap.Config{Address: server.Address, Password: "secret", Client: plain})
	target := targetimap.New(targetimap.Config{Address: c.Address, Login: "{local}", Password: c.Password, Client: plain})
	users := []migrate.User{{Source: "ajay", Target: "ajay@example.org"}}
	first, err := target.Open(t.Context(), users[0]) // the first login makes the mailbox
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	setQuota(t, c, 60)
	e := migrate.NewEngine(source, target, openLedger(t, filepath.Join(t.TempDir(), "l.ledger")), migrate.Options{})
	r, err := e.Run(t.Context(), users)
	if err != nil || mail.KindOf(r[0].Err) != mail.KindQuota || !strings.Contains(r[0].Err.Error(), "mailbox is full") || r[0].Aside != 0 {
		t.Fatalf("the pass into a small mailbox: %+v, %v", r, err)
	}
	setQuota(t, c, 10_000)
	r, err = e.Run(t.Context(), users)
	if err != nil || r[0].Err != nil || r[0].There == 0 || r[0].Copied == 0 || r[0].There+r[0].Copied != n {
		t.Errorf("the pass after the quota was raised: %+v, %v", r, err)
	}
	v, err := e.Verify(t.Context(), users)
	if err != nil || v[0].Error != "" || len(v[0].Problems) > 0 || v[0].Items != n || v[0].Newer > 0 {
		t.Errorf("verified: %+v, %v", v, err)
	}
}
