package migrate_test

import (
	"path/filepath"
	"testing"

	"expost/internal/migrate"
	"expost/internal/migrate/imapclient"
	"expost/internal/migrate/migratetest"
	"expost/internal/migrate/source/imap"
	targetstore "expost/internal/migrate/target/store"
	"expost/internal/sample"
)

// organisation fills Dovecot with the mailboxes of a sample.
func organisation(t *testing.T, opt sample.Options) (*sample.Org, *migratetest.Dovecot, []migrate.User) {
	t.Helper()
	org := sample.New(opt)
	var users []migrate.User
	d := migratetest.StartDovecot(t, func(dir string) {
		for i, p := range org.People {
			if err := sample.WriteMaildir(filepath.Join(dir, p.Address.Local(), "Maildir"), org.Mailbox(i)); err != nil {
				t.Fatal(err)
			}
			users = append(users, migrate.User{Source: string(p.Address), Target: p.Address})
		}
	})
	return org, d, users
}

// imapSource returns the source that reads from Dovecot.
func imapSource(d *migratetest.Dovecot) *imap.Source {
	return imap.New(imap.Config{
		Address: d.Address, Login: "{local}", Password: d.Password, Client: imapclient.Options{Security: imapclient.Plain},
	})
}

func openLedger(t testing.TB, path string) *migrate.Ledger {
	t.Helper()
	l, err := migrate.OpenLedger(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func TestFromDovecot(t *testing.T) {
	t.Parallel()
	org, d, users := organisation(t, sample.Options{People: 4, Messages: 300})
	dir := t.TempDir()
	s := migratetest.OpenStore(t, filepath.Join(dir, "store"))
	e := migrate.NewEngine(imapSource(d), targetstore.New(s, migratetest.AnyAccount, 0), openLedger(t, filepath.Join(dir, "l.ledger")), migrate.Options{})
	results, err := e.Run(t.Context(), users)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		want := 0
		for _, f := range org.Mailbox(i).Folders {
			want += f.Messages
		}
		if r.Err != nil || r.Copied != want || r.Aside != 0 {
			t.Errorf("%s: copied %d of %d, %d aside: %v", r.User.Source, r.Copied, want, r.Aside, r.Err)
		}
	}
	second, err := e.Run(t.Context(), users)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range second {
		if r.Err != nil || r.Copied+r.There+r.Updated+r.Removed+r.Aside != 0 {
			t.Errorf("second pass: %+v", r)
		}
	}
	for i, p := range org.People {
		migratetest.CheckMailbox(t, s, migratetest.AccountID(p.Address), org.Mailbox(i))
	}
	verified, err := e.Verify(t.Context(), users)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range verified {
		if v.Error != "" || len(v.Problems) > 0 || v.Newer > 0 {
			t.Errorf("verify: %+v", v)
		}
	}
}
