package migrate_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/imapclient"
	"expost/internal/migrate/migratetest"
	"expost/internal/migrate/source/imap"
	targetstore "expost/internal/migrate/target/store"
)

// TestOrganisation plans, runs, verifies and reports many small mailboxes: 40,
// or EXPOST_ACCOUNTS of them, and says what that took.
func TestOrganisation(t *testing.T) {
	t.Parallel()
	accounts := 40
	if n, err := strconv.Atoi(os.Getenv("EXPOST_ACCOUNTS")); err == nil {
		accounts = n
	}
	dir := t.TempDir()
	boxes := []*migratetest.Box{box("INBOX", 1, messages(8, 1, 1)), box("Sent Items", 2, messages(5, 1, 1)), box("Deleted Items", 3, messages(2, 1, 1)), box("Drafts", 4, nil)}
	const perAccount = 15
	server := migratetest.StartIMAP(t, migratetest.Quirks{}, boxes...) // the same mailbox for every login
	source := imap.New(imap.Config{Address: server.Address, Password: "secret", Client: imapclient.Options{Security: imapclient.Plain}})
	target := targetstore.New(migratetest.OpenStore(t, filepath.Join(dir, "store")), migratetest.AnyAccount, 0)
	l := openLedger(t, filepath.Join(dir, "l.ledger"))
	e := migrate.NewEngine(source, target, l, migrate.Options{})
	var users []migrate.User
	for i := range accounts {
		addr := fmt.Sprintf("user%05d@example.org", i)
		users = append(users, migrate.User{Source: addr, Target: mail.Address(addr)})
	}
	step := func(name string, fn func()) {
		began := time.Now()
		fn()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		server.Commands() // it remembers them
		t.Logf("%-8s %8.1f s, heap %d MB, from the system %d MB", name, time.Since(began).Seconds(), m.HeapAlloc>>20, m.Sys>>20)
	}
	step("plan", func() {
		previews, err := e.Preview(t.Context(), users)
		if err != nil || len(previews) != accounts || previews[accounts-1].Items != perAccount {
			t.Fatalf("planned %d accounts: %v", len(previews), err)
		}
	})
	run := func(want int) func() {
		return func() {
			results, err := e.Run(t.Context(), users)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range results {
				if r.Err != nil || r.Copied != want {
					t.Fatalf("%+v", r)
				}
			}
		}
	}
	step("run", run(perAccount))
	step("run", run(0))
	step("verify", func() {
		verified, err := e.Verify(t.Context(), users)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range verified {
			if v.Error != "" || len(v.Problems) > 0 || v.Items != perAccount {
				t.Fatalf("%+v", v)
			}
		}
	})
	step("report", func() {
		r, err := l.Report(t.Context())
		if err != nil || r.Total.Copied != accounts*perAccount || r.Total.Verified != accounts*perAccount || r.Chain.Events != 3*accounts {
			t.Fatalf("%+v, %+v, %v", r.Total, r.Chain, err)
		}
		var html, table bytes.Buffer
		if err := r.WriteHTML(&html); err != nil {
			t.Fatal(err)
		}
		if err := r.WriteCSV(&table); err != nil {
			t.Fatal(err)
		}
		t.Logf("the page has %d kB, the table %d kB", html.Len()>>10, table.Len()>>10)
	})
	info, err := os.Stat(l.Path())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d accounts, %d messages: the ledger has %d kB", accounts, accounts*perAccount, info.Size()>>10)
}
