package migrate_test

import (
	"log/slog"
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

// between is a server that an organisation is copied into and out of again.
type between struct {
	into    targetimap.Config
	from    imap.Config
	one     bool // it has one account only
	address bool // accounts have names with a domain
}

// startBetween starts the servers.
func startBetween() map[string]func(t *testing.T) between {
	plain := imapclient.Options{Security: imapclient.Plain}
	cyrus := func(below bool) func(t *testing.T) between {
		return func(t *testing.T) between {
			c := migratetest.StartCyrus(t, below)
			return between{
				into: targetimap.Config{Address: c.Address, Password: c.Password, Client: plain},
				// As an administrator who acts for its users.
				from: imap.Config{Address: c.Address, Login: "cyrus", Authzid: "{address}", Password: c.Password, Client: plain},
			}
		}
	}
	return map[string]func(t *testing.T) between{
		"Cyrus":              cyrus(false),
		"Cyrus, below INBOX": cyrus(true),
		"Dovecot": func(t *testing.T) between {
			d := migratetest.StartDovecot(t, nil)
			return between{
				into:    targetimap.Config{Address: d.Address, Password: d.Password, Client: plain},
				from:    imap.Config{Address: d.Address, Password: d.Password, Client: plain},
				address: true,
			}
		},
		"Courier": func(t *testing.T) between {
			c := migratetest.StartCourier(t, filepath.Join(t.TempDir(), "Maildir"))
			return between{
				into: targetimap.Config{Address: c.Address, Password: "any", Client: plain},
				from: imap.Config{Address: c.Address, Password: "any", Client: plain},
				one:  true,
			}
		},
	}
}

// TestThroughServers copies an organisation from Dovecot into another server, and
// from there into a store: all that was in the one is in the other, and a second
// pass has nothing to do.
func TestThroughServers(t *testing.T) {
	t.Parallel()
	for name, start := range startBetween() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			_, d, users := organisation(t, sample.Options{People: 2, Messages: 150, Seed: 11})
			if b.one {
				users = users[:1]
			}
			for i, u := range users {
				if !b.address {
					users[i].Target = mail.Address(u.Target.Local())
				}
			}
			passAndVerify(t, imapSource(d), targetimap.New(b.into), users)
			for i, u := range users {
				users[i] = migrate.User{Source: string(u.Target), Target: mail.Address(u.Target.Local() + "@example.org")}
			}
			s := migratetest.OpenStore(t, filepath.Join(t.TempDir(), "store"))
			passAndVerify(t, imap.New(b.from), targetstore.New(s, migratetest.AnyAccount, 0), users)
		})
	}
}

// passAndVerify makes two passes, of which the second has nothing to do, and
// compares both sides.
func passAndVerify(t *testing.T, from migrate.Source, into migrate.Target, users []migrate.User) {
	t.Helper()
	e := migrate.NewEngine(from, into, openLedger(t, filepath.Join(t.TempDir(), "l.ledger")), migrate.Options{Log: slog.New(slog.NewTextHandler(testWriter{t}, nil))})
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
