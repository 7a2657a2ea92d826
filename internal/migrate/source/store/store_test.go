package store_test

import (
	"log/slog"
	"path/filepath"
	"testing"

	"expost/internal/migrate"
	"expost/internal/migrate/migratetest"
	"expost/internal/migrate/source/files"
	sourcestore "expost/internal/migrate/source/store"
	targetstore "expost/internal/migrate/target/store"
	"expost/internal/sample"
)

func TestContract(t *testing.T) {
	t.Parallel()
	keeps := migratetest.Keeps{UIDs: true, Flags: true, Dates: true, Subscriptions: true}
	migratetest.Source(t, keeps, func(t *testing.T, m *sample.Mailbox) (migrate.Source, migrate.User) {
		dir := t.TempDir()
		if err := sample.WriteMaildir(filepath.Join(dir, "mail"), m); err != nil {
			t.Fatal(err)
		}
		s := migratetest.OpenStore(t, filepath.Join(dir, "store"))
		l, err := migrate.OpenLedger(filepath.Join(dir, "ledger"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		e := migrate.NewEngine(files.New("", slog.New(slog.DiscardHandler)), targetstore.New(s, migratetest.AnyAccount, 0), l, migrate.Options{Log: slog.New(slog.DiscardHandler)})
		if r, err := e.Run(t.Context(), []migrate.User{{Source: filepath.Join(dir, "mail"), Target: "ajay@example.org"}}); err != nil || r[0].Err != nil {
			t.Fatal(err, r)
		}
		return sourcestore.New(s, migratetest.AnyAccount), migrate.User{Source: "ajay@example.org"}
	})
}
