package migrate_test

import (
	"context"
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

// choosy is a target that refuses one message for good.
type choosy struct {
	migrate.Target
	uid mail.UID
}

func (c *choosy) Open(ctx context.Context, u migrate.User) (migrate.TargetAccount, error) {
	a, err := c.Target.Open(ctx, u)
	return &choosyAccount{a, c}, err
}

type choosyAccount struct {
	migrate.TargetAccount
	c *choosy
}

func (a *choosyAccount) Append(ctx context.Context, folder string, msgs []migrate.Message) error {
	var taken []migrate.Message
	var at []int
	for i := range msgs {
		if msgs[i].UID == a.c.uid {
			msgs[i].Err = mail.Errorf(mail.KindTooBig, "it is too large")
			continue
		}
		taken, at = append(taken, msgs[i]), append(at, i)
	}
	if err := a.TargetAccount.Append(ctx, folder, taken); err != nil {
		return err
	}
	for n, i := range at {
		msgs[i].UID = taken[n].UID
	}
	return nil
}

// TestTargetRefusesOneMessage sets it aside with its bytes, copies the others,
// and takes it along when the target takes it.
func TestTargetRefusesOneMessage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	all := messages(6, 1, 1)
	server := migratetest.StartIMAP(t, migratetest.Quirks{}, box("INBOX", 1, all))
	source := imap.New(imap.Config{Address: server.Address, Password: "secret", Client: imapclient.Options{Security: imapclient.Plain}})
	inner, err := maildir.New(maildir.Config{Path: filepath.Join(dir, "Maildir")})
	if err != nil {
		t.Fatal(err)
	}
	target := &choosy{inner, 3}
	l := openLedger(t, filepath.Join(dir, "l.ledger"))
	e := migrate.NewEngine(source, target, l, migrate.Options{})
	users := []migrate.User{{Source: "ajay@example.org", Target: "ajay@example.org"}}
	r, err := e.Run(t.Context(), users)
	if err != nil || r[0].Err != nil || r[0].Copied != 5 || r[0].Aside != 1 {
		t.Errorf("the pass: %+v, %v", r, err)
	}
	report, err := l.Report(t.Context())
	if err != nil || report.Total.Copied != 5 || report.Total.Aside != 1 || report.Total.Source != 6 {
		t.Fatalf("the report: %+v, %v", report.Total, err)
	}
	aside := report.Accounts[0].Folders[0].Aside[0]
	kept, err := os.ReadFile(aside.File)
	if err != nil || string(kept) != all[2].Body || !strings.Contains(aside.Reason, "too large") {
		t.Errorf("kept %q, because %q: %v", kept, aside.Reason, err)
	}
	target.uid = 0
	if r, err = e.Run(t.Context(), users); err != nil || r[0].Copied != 1 || r[0].Aside != 0 {
		t.Errorf("the second pass: %+v, %v", r, err)
	}
}
