package imap_test

import (
	"path/filepath"
	"testing"

	"expost/internal/migrate"
	"expost/internal/migrate/imapclient"
	"expost/internal/migrate/migratetest"
	"expost/internal/migrate/source/imap"
	"expost/internal/sample"
)

func TestContract(t *testing.T) {
	t.Parallel()
	keeps := migratetest.Keeps{UIDs: true, Flags: true, Dates: true, Subscriptions: true, EmptyFolders: true}
	migratetest.Source(t, keeps, func(t *testing.T, m *sample.Mailbox) (migrate.Source, migrate.User) {
		d := migratetest.StartDovecot(t, func(dir string) {
			if err := sample.WriteMaildir(filepath.Join(dir, "ajay", "Maildir"), m); err != nil {
				t.Fatal(err)
			}
		})
		return imap.New(imap.Config{Address: d.Address, Password: d.Password, Client: imapclient.Options{Security: imapclient.Plain}}), migrate.User{Source: "ajay"}
	})
}
