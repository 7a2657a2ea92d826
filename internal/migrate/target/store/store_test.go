package store_test

import (
	"path/filepath"
	"strings"
	"testing"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/migratetest"
	targetstore "expost/internal/migrate/target/store"
	"expost/internal/store"
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

// TestClass looks for the mark of a folder that held no mail at its source.
func TestClass(t *testing.T) {
	t.Parallel()
	s := migratetest.OpenStore(t, filepath.Join(t.TempDir(), "store"))
	a, err := targetstore.New(s, migratetest.AnyAccount, 0).Open(t.Context(), migrate.User{Target: "ajay@example.org"})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if _, err := a.Prepare(t.Context(), migrate.Folder{Name: "Kalender", Class: "IPF.Appointment"}); err != nil {
		t.Fatal(err)
	}
	id := migratetest.AccountID("ajay@example.org")
	account, err := s.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer account.Release()
	box, err := account.Mailbox(t.Context(), "Kalender")
	if err != nil {
		t.Fatal(err)
	}
	marks, err := account.Access(store.Principal{ID: id}, store.Personal{}).Annotations(t.Context(), box.ID)
	if err != nil || len(marks) != 1 || marks[0].Entry != migrate.ClassEntry || string(marks[0].Value) != "IPF.Appointment" {
		t.Errorf("annotations %+v, %v", marks, err)
	}
}
