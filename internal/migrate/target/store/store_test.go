package store_test

import (
	"path/filepath"
	"strings"
	"testing"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/migratetest"
	targetstore "expost/internal/migrate/target/store"
)

func TestContract(t *testing.T) {
	t.Parallel()
	migratetest.Target(t, migratetest.Holds{UIDs: true, Roles: true, Zones: true}, func(t *testing.T) (migrate.Target, migrate.User) {
		s := migratetest.OpenStore(t, filepath.Join(t.TempDir(), "store"))
		return targetstore.New(s, migratetest.AnyAccount, 0), migrate.User{Target: "ajay@example.org"}
	})
}

func TestTooBig(t *testing.T) {
	t.Parallel()
	s := migratetest.OpenStore(t, filepath.Join(t.TempDir(), "store"))
	target := targetstore.New(s, migratetest.AnyAccount, 100)
	if _, err := target.Spool(t.Context(), strings.NewReader(strings.Repeat("x", 101))); mail.KindOf(err) != mail.KindTooBig {
		t.Errorf("error is %v, want too big", err)
	}
}
