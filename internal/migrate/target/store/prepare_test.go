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

// TestPrepareTakesTheRole makes a user's own folder the one for sent mail: the
// empty one that the account began with goes, in one change.
func TestPrepareTakesTheRole(t *testing.T) {
	t.Parallel()
	s := migratetest.OpenStore(t, filepath.Join(t.TempDir(), "store"))
	a, err := targetstore.New(s, migratetest.AnyAccount, 0).Open(t.Context(), migrate.User{Target: "ajay@example.org"})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	account, err := s.Open(t.Context(), migratetest.AccountID("ajay@example.org"))
	if err != nil {
		t.Fatal(err)
	}
	defer account.Release()
	if _, err := account.CreateMailbox(t.Context(), "Old sent", store.CreateOptions{SpecialUse: mail.UseSent, Subscribe: true}); err != nil {
		t.Fatal(err)
	}
	f := migrate.Folder{Name: "Gesendete Elemente", Use: mail.UseSent, State: migrate.State{UIDValidity: 77, UIDNext: 9}}
	got, err := a.Prepare(t.Context(), f)
	if err != nil || got.Use != mail.UseSent || got.Subscribed || got.State.UIDValidity != 77 || got.State.UIDNext != 9 {
		t.Errorf("prepared %+v, %v", got, err)
	}
	if _, err := account.Mailbox(t.Context(), "Old sent"); mail.KindOf(err) != mail.KindNotExist {
		t.Errorf("the empty folder that had the role: %v", err)
	}
	if account.Subscribed("Old sent") {
		t.Error("its subscription stayed")
	}
	// One that has mail keeps its role, and its UIDVALIDITY.
	if _, err := account.Bulk(t.Context(), mailboxID(t, account, f.Name), []store.BulkMessage{{UID: 9, Incoming: incoming(t, s)}}); err != nil {
		t.Fatal(err)
	}
	got, err = a.Prepare(t.Context(), migrate.Folder{Name: "Sent too", Use: mail.UseSent, Subscribed: true})
	if err != nil || got.Use != mail.UseNone || !got.Subscribed {
		t.Errorf("prepared %+v, %v", got, err)
	}
	f.State.UIDValidity = 78
	if got, err = a.Prepare(t.Context(), f); err != nil || got.State.UIDValidity != 77 || got.State.Messages != 1 {
		t.Errorf("prepared %+v, %v", got, err)
	}
}

// mailboxID returns the id of a mailbox.
func mailboxID(t *testing.T, a *store.Account, name string) mail.MailboxID {
	t.Helper()
	box, err := a.Mailbox(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return box.ID
}

// incoming returns a message.
func incoming(t *testing.T, s *store.Store) *store.Incoming {
	t.Helper()
	in, err := s.Spool(t.Context(), nil, strings.NewReader("Subject: x\r\n\r\n"), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close() })
	return in
}
