package migratetest

import (
	"bytes"
	"testing"

	"expost/internal/mail"
	"expost/internal/sample"
	"expost/internal/store"
)

// CheckMailbox compares an account of the store with the sample's mailbox it
// was copied from: folders, UIDs, flags, keywords, dates, roles,
// subscriptions and bytes. Of dates only the instant counts: a Maildir keeps no
// zones.
func CheckMailbox(t testing.TB, s *store.Store, id mail.AccountID, want *sample.Mailbox) {
	t.Helper()
	a, err := s.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Release()
	for i, f := range want.Folders {
		box, err := a.Mailbox(t.Context(), f.Name)
		if err != nil {
			t.Errorf("%s: %v", f.Name, err)
			continue
		}
		if box.UIDValidity != f.UIDValidity || box.UIDNext != f.UIDNext || box.Messages != f.Messages || box.Subscribed != f.Subscribed || box.SpecialUse != f.SpecialUse {
			t.Errorf("mailbox is %+v, want %+v", box, f)
		}
		CheckFolder(t, a, f.Name, want, i)
	}
	boxes, err := a.Mailboxes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, box := range boxes {
		known := false
		for _, f := range want.Folders {
			known = known || f.Name == box.Name
		}
		if !known && box.SpecialUse == mail.UseNone {
			t.Errorf("there is a mailbox %q", box.Name)
		}
	}
}

// CheckFolder compares the messages of one folder.
func CheckFolder(t testing.TB, a *store.Account, name string, want *sample.Mailbox, folder int) {
	t.Helper()
	view, err := a.Examine(t.Context(), name)
	if err != nil {
		t.Error(err)
		return
	}
	defer view.Close()
	s, seq := view.Snapshot(), 0
	for m := range want.Messages(folder) {
		if seq++; seq > s.Len() {
			t.Errorf("%s: message %d is missing", name, m.UID)
			return
		}
		got := s.At(seq)
		if got.UID != m.UID || got.Flags != m.Flags || got.Keywords != m.Keywords || got.InternalDate.Unix != m.Date.Unix {
			t.Errorf("%s: message is %d (%s) (%s) %v, want %d (%s) (%s) %v", name,
				got.UID, got.Flags, got.Keywords, got.InternalDate.Time(), m.UID, m.Flags, m.Keywords, m.Date.Time())
		}
		body, err := a.Body(t.Context(), got.Email)
		if err != nil {
			t.Errorf("%s: message %d: %v", name, m.UID, err)
			continue
		}
		var b bytes.Buffer
		if _, err := body.WriteTo(&b); err != nil || !bytes.Equal(b.Bytes(), m.Body) {
			t.Errorf("%s: the bytes of message %d differ: %v", name, m.UID, err)
		}
		body.Close()
	}
	if seq != s.Len() {
		t.Errorf("%s has %d messages, want %d", name, s.Len(), seq)
	}
}
