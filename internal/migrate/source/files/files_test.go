package files_test

import (
	"log/slog"
	"path/filepath"
	"testing"

	"expost/internal/migrate"
	"expost/internal/migrate/migratetest"
	"expost/internal/migrate/source/files"
	"expost/internal/sample"
)

func TestContract(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		write func(dir string, m *sample.Mailbox) error
		keeps migratetest.Keeps
	}{
		"maildir": {sample.WriteMaildir, migratetest.Keeps{UIDs: true, Flags: true, Dates: true, Subscriptions: true, EmptyFolders: true}},
		"mbox":    {sample.WriteMbox, migratetest.Keeps{Flags: true, Dates: true, EmptyFolders: true}},
		"eml":     {sample.WriteEML, migratetest.Keeps{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			migratetest.Source(t, c.keeps, func(t *testing.T, m *sample.Mailbox) (migrate.Source, migrate.User) {
				dir := filepath.Join(t.TempDir(), "mail")
				if err := c.write(dir, m); err != nil {
					t.Fatal(err)
				}
				return files.New("", slog.New(slog.DiscardHandler)), migrate.User{Source: dir}
			})
		})
	}
}
