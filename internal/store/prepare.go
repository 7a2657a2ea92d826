package store

import (
	"context"

	"expost/internal/mail"
)

// Preparation is what PrepareMailbox makes of a mailbox.
type Preparation struct {
	UIDValidity mail.UIDValidity // 0: as it is, or a new one
	UIDNext     mail.UID         // at least
	Subscribed  bool
	SpecialUse  mail.SpecialUse
}

// PrepareMailbox makes a mailbox ready to be filled from elsewhere, in one
// transaction: as AdoptMailbox does, where it has no mail of its own, with its
// subscription and its role. A role is not taken from a mailbox that has
// messages, and one that has messages does not lose its own to UseNone. A
// mailbox that never held a message and loses its role, as those that every
// account starts with, is deleted: it would stand beside the user's own one.
func (a *Account) PrepareMailbox(ctx context.Context, name string, p Preparation) (mail.Mailbox, error) {
	name, err := checkName(name)
	if err != nil {
		return mail.Mailbox{}, err
	}
	var box mail.Mailbox
	err = a.change(ctx, func(b *batch) error {
		e, err := b.ready(name, p)
		if err != nil {
			return err
		}
		if err := b.subscribe(name, p.Subscribed); err != nil {
			return err
		}
		if err := b.prepareUse(e, p.SpecialUse); err != nil {
			return err
		}
		box = b.mailbox(e)
		return nil
	})
	return box, err
}

// ready makes or adopts the mailbox.
func (b *batch) ready(name string, p Preparation) (*mailboxEdit, error) {
	if p.UIDValidity != 0 {
		e, err := b.adopt(name, p.UIDValidity, max(p.UIDNext, 1))
		if mail.KindOf(err) != mail.KindConflict {
			return e, err
		}
	}
	if id := b.byName(name); id != 0 {
		return b.edit(id)
	}
	return b.create(name, CreateOptions{})
}

// prepareUse gives a mailbox a role, or takes its role away, where that
// disturbs nobody.
func (b *batch) prepareUse(e *mailboxEdit, use mail.SpecialUse) error {
	if use == e.row.SpecialUse || e.row.Name == mail.Inbox || use == mail.UseNone && e.row.Messages > 0 {
		return nil
	}
	if use == mail.UseNone {
		return b.setUse(e, use)
	}
	names := b.nameMap()
	for name, id := range names {
		other, err := b.edit(id)
		if err != nil {
			return err
		}
		if other.row.SpecialUse != use {
			continue
		}
		if other.row.Messages > 0 {
			return nil
		}
		if other.row.UIDNext > 1 || len(other.row.ACL) > 0 || hasBelow(names, name) {
			break
		}
		if err := b.subscribe(name, false); err != nil {
			return err
		}
		if err := b.deleteMailbox(name); err != nil {
			return err
		}
		break
	}
	return b.setUse(e, use)
}

// hasBelow tells whether a mailbox lies below name.
func hasBelow(names map[string]mail.MailboxID, name string) bool {
	for other := range names {
		if isBelow(other, name) {
			return true
		}
	}
	return false
}
