package test

import (
	"path/filepath"
	"testing"

	"github.com/emersion/go-imap/v2"

	"expost/internal/mail"
	"expost/internal/migrate"
	sourceclient "expost/internal/migrate/imapclient"
	"expost/internal/migrate/migratetest"
	sourceimap "expost/internal/migrate/source/imap"
	targetstore "expost/internal/migrate/target/store"
)

// TestExpostIsASource moves messages about in an Expost that accounts are copied
// from: it says by EMAILID which they are, and none is read twice.
func TestExpostIsASource(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.start()
	const user = "ajay@linuxforu.com"
	s.addAccounts(user)
	c := s.imap(user, nil)
	for _, name := range []string{"Projects", "Projects/2003"} {
		if err := c.Create(name, nil).Wait(); err != nil {
			t.Fatal(err)
		}
	}
	const messages = 20
	for i := range messages {
		body := []byte("Subject: the same\r\n\r\n" + string(rune('a'+i)) + "\r\n") // no Message-ID
		w := c.Append("INBOX", int64(len(body)), nil)
		if _, err := w.Write(body); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	l, err := migrate.OpenLedger(filepath.Join(dir, "l.ledger"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	source := sourceimap.New(sourceimap.Config{Address: s.addr["imap"], Password: password, Client: sourceclient.Options{Security: sourceclient.Plain}})
	target := targetstore.New(migratetest.OpenStore(t, filepath.Join(dir, "store")), migratetest.AnyAccount, 0)
	e := migrate.NewEngine(source, target, l, migrate.Options{})
	users := []migrate.User{{Source: user, Target: mail.Address(user)}}
	run := func(copied, moved, removed int) {
		t.Helper()
		results, err := e.Run(t.Context(), users)
		if err != nil {
			t.Fatal(err)
		}
		if r := results[0]; r.Err != nil || r.Copied != copied || r.Moved != moved || r.Removed != removed {
			t.Errorf("copied %d, moved %d, removed %d; want %d, %d, %d: %v", r.Copied, r.Moved, r.Removed, copied, moved, removed, r.Err)
		}
		v, err := e.Verify(t.Context(), users)
		if err != nil || v[0].Items != messages || len(v[0].Problems) > 0 {
			t.Errorf("verified: %+v, %v", v, err)
		}
	}
	run(messages, 0, 0)
	move := func(from, to string, uids ...imap.UID) {
		t.Helper()
		if _, err := c.Select(from, nil).Wait(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Move(imap.UIDSetNum(uids...), to).Wait(); err != nil {
			t.Fatal(err)
		}
	}
	move("INBOX", "Projects", 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13)
	move("INBOX", "Projects/2003", 20)
	run(0, 14, 14)
	move("Projects", "INBOX", 1, 2)
	move("Projects", "Projects/2003", 3)
	run(0, 3, 3)
}
