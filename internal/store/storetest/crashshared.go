package storetest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"expost/internal/mail"
	"expost/internal/message"
	"expost/internal/store"
)

// What the killed process does about sharing: it gives and takes rights in a
// mailbox one after another, and marks messages as read that another reads. Both
// are reported as states of names below sharedPrefix.
const (
	sharedPrefix = "shared."
	aclPrefix    = sharedPrefix + "acl."
	seenPrefix   = sharedPrefix + "seen."
	sharedBox    = "Shared"
	aclKept      = 10 // entries that stand at a time
)

// The states of an entry and of a message.
const (
	aclGiven = 1 + iota
	aclTaken

	sharedAppended = 1
	sharedSeen     = 2
)

// sharedBox makes the mailbox of this load, and takes out entries of earlier rounds.
func (w *work) sharedBox(ctx context.Context, a *store.Account) (mail.MailboxID, error) {
	box, err := a.CreateMailbox(ctx, sharedBox, store.CreateOptions{})
	if err != nil && mail.KindOf(err) == mail.KindExist {
		box, err = a.Mailbox(ctx, sharedBox)
	}
	if err != nil {
		return 0, err
	}
	acl, err := a.ACL(ctx, box.ID)
	for _, e := range acl {
		if err == nil {
			err = a.SetACL(ctx, box.ID, store.ACLSet, store.ACLEntry{Identifier: e.Identifier})
		}
		w.report(e.Identifier, aclTaken)
	}
	return box.ID, err
}

// share gives an identifier rights and takes those of an older one away, n times.
func (w *work) share(ctx context.Context, a *store.Account, box mail.MailboxID, n int) error {
	name := func(n int) string { return fmt.Sprintf("%s%s.%d", aclPrefix, w.round, n) }
	if err := a.SetACL(ctx, box, store.ACLSet, store.ACLEntry{Identifier: name(n), Rights: mail.RightRead}); err != nil {
		return err
	}
	w.report(name(n), aclGiven)
	if n < aclKept {
		return nil
	}
	if err := a.SetACL(ctx, box, store.ACLSet, store.ACLEntry{Identifier: name(n - aclKept)}); err != nil {
		return err
	}
	w.report(name(n-aclKept), aclTaken)
	return nil
}

// read appends a message and marks it as read by another than the owner.
func (w *work) read(ctx context.Context, a *store.Account, box mail.MailboxID, n int) error {
	name := fmt.Sprintf("%s%s.%d", seenPrefix, w.round, n)
	in, err := w.store.Spool(ctx, nil, strings.NewReader("Subject: "+name+"\r\n\r\nx"), 0)
	if err != nil {
		return err
	}
	defer in.Close()
	got, err := a.Append(ctx, box, in, store.AppendOptions{})
	if err != nil {
		return err
	}
	w.report(name, sharedAppended)
	reader := a.Access(bishal, store.PersonalSeen)
	if _, err := reader.StoreFlags(ctx, box, set(got.UID), store.FlagChange{Op: store.FlagsAdd, Flags: mail.Seen}); err != nil {
		return err
	}
	w.report(name, sharedSeen)
	return nil
}

// verifyShared compares rights and who has read what with what was acknowledged
// before the process stopped, and at the latest.
func verifyShared(t *testing.T, a *store.Account, acked, latest map[string]int) {
	t.Helper()
	ctx := t.Context()
	box, err := a.Mailbox(ctx, sharedBox)
	if err != nil {
		for name := range acked {
			if strings.HasPrefix(name, sharedPrefix) {
				t.Fatalf("%s was acknowledged, and the mailbox: %v", name, err)
			}
		}
		return
	}
	acl, err := a.ACL(ctx, box.ID)
	if err != nil {
		t.Fatal(err)
	}
	is := make(map[string]int)
	early := 0 // was under way, and is done
	for _, e := range acl {
		is[e.Identifier] = aclGiven
		if acked[e.Identifier] == 0 && latest[e.Identifier] == 0 {
			early++
			acked[e.Identifier] = aclGiven // from now on
		}
		if acked[e.Identifier] == aclTaken {
			t.Errorf("the rights of %s were taken and are there", e.Identifier)
		}
	}
	for name, state := range acked {
		if strings.HasPrefix(name, aclPrefix) && state == aclGiven && is[name] == 0 && latest[name] == aclGiven {
			early++
			acked[name] = aclTaken
		}
	}
	if early > 1 {
		t.Errorf("%d rights are not as acknowledged, where one change was under way", early)
	}
	verifySeen(t, a, acked, latest)
}

// verifySeen compares who has read what.
func verifySeen(t *testing.T, a *store.Account, acked, latest map[string]int) {
	t.Helper()
	ctx := t.Context()
	v, err := a.Access(bishal, store.PersonalSeen).Examine(ctx, sharedBox)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	owner, err := a.Examine(ctx, sharedBox)
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close()
	for _, m := range messagesOf(owner.Snapshot()) {
		if m.Flags&mail.Seen != 0 {
			t.Errorf("the owner has read UID %d", m.UID)
		}
	}
	messages, is := messagesOf(v.Snapshot()), make(map[string]int)
	ids := make([]mail.EmailID, len(messages))
	for i := range messages {
		ids[i] = messages[i].Email
	}
	err = a.Details(ctx, ids, func(i int, m *message.Message) error {
		is[m.Envelope.Subject] = sharedAppended
		if messages[i].Flags&mail.Seen != 0 {
			is[m.Envelope.Subject] = sharedSeen
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, state := range acked {
		if strings.HasPrefix(name, seenPrefix) && (is[name] < state || is[name] > latest[name]+1) {
			t.Errorf("message %s was acknowledged in state %d and is in %d", name, state, is[name])
		}
	}
}
