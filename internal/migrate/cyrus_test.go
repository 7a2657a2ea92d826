package migrate_test

import (
	"path/filepath"
	"testing"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/imapclient"
	"expost/internal/migrate/migratetest"
	"expost/internal/migrate/source/imap"
	targetimap "expost/internal/migrate/target/imap"
	targetstore "expost/internal/migrate/target/store"
	"expost/internal/sample"
)

// TestThroughCyrus copies an organisation from Dovecot into a Cyrus, and from
// there, as an administrator who acts for its users, into a store: all that was in
// the one is in the other, and a second pass has nothing to do.
func TestThroughCyrus(t *testing.T) {
	t.Parallel()
	for name, below := range map[string]bool{"beside INBOX": false, "below INBOX": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, d, users := organisation(t, sample.Options{People: 2, Messages: 150, Seed: 11})
			c := migratetest.StartCyrus(t, below)
			plain := imapclient.Options{Security: imapclient.Plain}
			for i, u := range users {
				users[i].Target = mail.Address(u.Target.Local())
			}
			into := targetimap.New(targetimap.Config{Address: c.Address, Password: c.Password, Client: plain})
			passAndVerify(t, imapSource(d), into, users)
			for i, u := range users {
				users[i] = migrate.User{Source: string(u.Target), Target: u.Target + "@example.org"}
			}
			from := imap.New(imap.Config{Address: c.Address, Login: "cyrus", Authzid: "{address}", Password: c.Password, Client: plain})
			s := migratetest.OpenStore(t, filepath.Join(t.TempDir(), "store"))
			passAndVerify(t, from, targetstore.New(s, migratetest.AnyAccount, 0), users)
		})
	}
}

// passAndVerify makes two passes, of which the second has nothing to do, and
// compares both sides.
func passAndVerify(t *testing.T, from migrate.Source, into migrate.Target, users []migrate.User) {
	t.Helper()
	e := migrate.NewEngine(from, into, openLedger(t, filepath.Join(t.TempDir(), "l.ledger")), migrate.Options{})
	for pass := range 2 {
		results, err := e.Run(t.Context(), users)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range results {
			if r.Err != nil || r.Aside != 0 || (r.Copied+r.There+r.Removed+r.Updated > 0) == (pass > 0) {
				t.Errorf("pass %d: %+v", pass+1, r)
			}
		}
	}
	verified, err := e.Verify(t.Context(), users)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range verified {
		if v.Error != "" || len(v.Problems) > 0 || v.Newer > 0 || v.Items != 150 {
			t.Errorf("verified: %+v", v)
		}
	}
}
