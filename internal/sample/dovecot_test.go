package sample

import (
	"bytes"
	"path/filepath"
	"slices"
	"testing"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"expost/internal/mail"
	"expost/internal/sample/dovecottest"
)

// TestDovecot lets a real Dovecot serve what WriteMaildir writes, and compares
// every message.
func TestDovecot(t *testing.T) {
	t.Parallel()
	o := New(Options{Messages: 150})
	for _, i := range []int{2, 4, 10, 11} { // one for each kind of script
		m := o.Mailbox(i)
		t.Run(m.Owner.First, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "Maildir")
			if err := WriteMaildir(dir, m); err != nil {
				t.Fatal(err)
			}
			c := imapclient.New(dovecottest.Dial(t, dir), nil)
			defer c.Close()
			if err := c.WaitGreeting(); err != nil {
				t.Fatal(err)
			}
			compareList(t, c, m)
			for f := range m.Folders {
				compareFolder(t, c, m, f)
			}
		})
	}
}

// compareList compares the names and subscriptions of folders.
func compareList(t *testing.T, c *imapclient.Client, m *Mailbox) {
	list, err := c.List("", "*", &imap.ListOptions{ReturnSubscribed: true}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	subscribed := map[string]bool{}
	for _, l := range list {
		if !slices.Contains(l.Attrs, imap.MailboxAttrNonExistent) && !slices.Contains(l.Attrs, imap.MailboxAttrNoSelect) {
			subscribed[l.Mailbox] = slices.Contains(l.Attrs, imap.MailboxAttrSubscribed)
		}
	}
	if len(subscribed) != len(m.Folders) {
		t.Errorf("Dovecot lists %d folders, want %d: %v", len(subscribed), len(m.Folders), subscribed)
	}
	for _, f := range m.Folders {
		if on, ok := subscribed[f.Name]; !ok || on != f.Subscribed {
			t.Errorf("folder %q: listed %t, subscribed %t, want %t", f.Name, ok, on, f.Subscribed)
		}
	}
}

// compareFolder compares all of a folder's messages.
func compareFolder(t *testing.T, c *imapclient.Client, m *Mailbox, f int) {
	folder := m.Folders[f]
	state, err := c.Select(folder.Name, &imap.SelectOptions{ReadOnly: true}).Wait()
	if err != nil {
		t.Fatal(err)
	}
	if state.UIDValidity != uint32(folder.UIDValidity) || state.UIDNext != imap.UID(folder.UIDNext) || int(state.NumMessages) != folder.Messages {
		t.Errorf("%q: UIDVALIDITY %d, UIDNEXT %d, %d messages, want %+v", folder.Name, state.UIDValidity, state.UIDNext, state.NumMessages, folder)
	}
	if folder.Messages == 0 {
		return
	}
	got, err := c.Fetch(imap.SeqSet{{Start: 1}}, &imap.FetchOptions{UID: true, Flags: true, InternalDate: true, RFC822Size: true,
		BodySection: []*imap.FetchItemBodySection{{Peek: true}}}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	for want := range m.Messages(f) {
		if i == len(got) {
			t.Fatalf("%q: message %d is missing", folder.Name, want.UID)
		}
		msg := got[i]
		i++
		flags, words := splitFlags(msg.Flags)
		if msg.UID != imap.UID(want.UID) || flags != want.Flags || words != want.Keywords || msg.InternalDate.Unix() != want.Date.Unix || msg.RFC822Size != int64(len(want.Body)) {
			t.Errorf("%q/%d: Dovecot has UID %d, flags %v, date %v, size %d; want %v %v, %v, %d", folder.Name, want.UID,
				msg.UID, msg.Flags, msg.InternalDate, msg.RFC822Size, want.Flags, want.Keywords, want.Date.Time(), len(want.Body))
		}
		if !bytes.Equal(msg.BodySection[0].Bytes, want.Body) {
			t.Errorf("%q/%d: another body", folder.Name, want.UID)
		}
	}
}

// splitFlags separates the flags of a FETCH.
func splitFlags(list []imap.Flag) (mail.Flags, mail.Keywords) {
	var flags mail.Flags
	var words []string
	for _, name := range list {
		if f, ok := mail.FlagByName(string(name)); ok {
			flags |= f
		} else if name != "\\Recent" {
			words = append(words, string(name))
		}
	}
	return flags, mail.NewKeywords(words...)
}
