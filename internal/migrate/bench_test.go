package migrate_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/migratetest"
	targetstore "expost/internal/migrate/target/store"
)

// fillMaildir writes messages of 2 to 100 KiB, a third of their lines base64.
func fillMaildir(b *testing.B, dir string, n int) {
	b.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	cur := filepath.Join(dir, "Maildir", "cur")
	if err := os.MkdirAll(cur, 0o755); err != nil {
		b.Fatal(err)
	}
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for i := range n {
		text := fmt.Appendf(nil, "From: ajay@example.org\nTo: bishal@example.org\nSubject: number %d\nDate: Wed, 1 Oct 2003 12:00:00 +0000\nMessage-ID: <%d@example.org>\n\n", i, i)
		for size := 2<<10 + rnd.IntN(50<<10)*rnd.IntN(3); len(text) < size; {
			if rnd.IntN(3) == 0 {
				for range 72 {
					text = append(text, letters[rnd.IntN(len(letters))])
				}
				text = append(text, '\n')
			} else {
				text = append(text, "The offices in Delhi and Munich will be closed for the holidays; please plan.\n"...)
			}
		}
		if err := os.WriteFile(filepath.Join(cur, fmt.Sprintf("%d.M%dP1.example:2,S", 1064000000+i, i)), text, 0o644); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRun is the first pass over four accounts of 500 messages in Dovecot.
func BenchmarkRun(b *testing.B) {
	const accounts, each = 4, 500
	var users []migrate.User
	d := migratetest.StartDovecot(b, func(dir string) {
		for i := range accounts {
			users = append(users, migrate.User{Source: fmt.Sprintf("u%d@example.org", i), Target: mail.Address(fmt.Sprintf("u%d@example.org", i))})
			fillMaildir(b, filepath.Join(dir, fmt.Sprintf("u%d", i)), each)
		}
	})
	for b.Loop() {
		b.StopTimer()
		dir := b.TempDir()
		target := targetstore.New(migratetest.OpenStore(b, filepath.Join(dir, "store")), migratetest.AnyAccount, 0)
		e := migrate.NewEngine(imapSource(d), target, openLedger(b, filepath.Join(dir, "l.ledger")), migrate.Options{})
		b.StartTimer()
		results, err := e.Run(b.Context(), users)
		if err != nil {
			b.Fatal(err)
		}
		for _, r := range results {
			if r.Err != nil || r.Copied != each {
				b.Fatalf("%+v", r)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*accounts*each), "µs/message")
}
