package migratetest

import (
	"context"
	"testing"

	"expost/internal/mail"
	"expost/internal/store"
	"expost/internal/store/sqlite"
)

// OpenStore opens the store in dir for the length of the test.
func OpenStore(t testing.TB, dir string) *store.Store {
	t.Helper()
	engine, err := sqlite.New(dir, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := store.New(engine, store.Options{})
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// AnyAccount takes every address for an account.
func AnyAccount(_ context.Context, a mail.Address) (mail.AccountID, error) { return AccountID(a), nil }

// AccountID is the account that AnyAccount finds.
func AccountID(a mail.Address) mail.AccountID {
	k := mail.Address(a.Key())
	return mail.AccountID(k.Domain() + "/" + k.Local())
}
