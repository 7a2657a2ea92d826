package store

import (
	"context"
	"slices"

	"expost/internal/mail"
)

// CreateOptions of a new mailbox. UIDValidity zero means a new one.
type CreateOptions struct {
	UIDValidity mail.UIDValidity
	SpecialUse  mail.SpecialUse
	Subscribe   bool
	LikeInbox   bool // at the top level it has the access control list of INBOX
}

// CreateMailbox makes a mailbox and its missing parents; mail.KindExist.
// Names are checked: UTF-8 without control characters, at most 1,000 bytes and
// 50 levels, no empty level, no "." or ".." level; mail.KindInvalid.
func (a *Account) CreateMailbox(ctx context.Context, name string, opt CreateOptions) (mail.Mailbox, error) {
	name, err := checkName(name)
	if err != nil {
		return mail.Mailbox{}, err
	}
	var box mail.Mailbox
	err = a.change(ctx, func(b *batch) error {
		if b.byName(name) != 0 {
			return errExists(name)
		}
		e, err := b.create(name, opt)
		if err == nil {
			box = b.mailbox(e)
		}
		return err
	})
	return box, err
}

func errExists(name string) error {
	return mail.Errorf(mail.KindExist, "there is a mailbox %q already", name)
}

// mailbox returns an edited mailbox as callers see it.
func (b *batch) mailbox(e *mailboxEdit) mail.Mailbox {
	box := e.row.Mailbox
	box.Subscribed = b.isSubscribed(box.Name)
	return box
}

// create makes a mailbox whose name is free, and its missing parents.
func (b *batch) create(name string, opt CreateOptions) (*mailboxEdit, error) {
	if err := b.createParents(name, 1, opt.LikeInbox); err != nil {
		return nil, err
	}
	e := b.add(name, opt)
	if opt.SpecialUse != mail.UseNone {
		if err := b.setUse(e, opt.SpecialUse); err != nil {
			return nil, err
		}
	}
	if opt.Subscribe {
		return e, b.subscribe(name, true)
	}
	return e, nil
}

// createParents makes the mailboxes above name that are missing, where the
// account can have them and more.
func (b *batch) createParents(name string, more int, likeInbox bool) error {
	missing := slices.DeleteFunc(parents(name), func(parent string) bool { return b.byName(parent) != 0 })
	if limit := b.a.store.opt.MaxMailboxes; len(b.nameMap())+len(missing)+more > limit {
		return mail.Errorf(mail.KindTooBig, "an account can have %d mailboxes", limit)
	}
	for _, parent := range missing {
		b.add(parent, CreateOptions{LikeInbox: likeInbox})
	}
	return nil
}

// add makes one mailbox.
func (b *batch) add(name string, opt CreateOptions) *mailboxEdit {
	v := opt.UIDValidity
	if v == 0 {
		v = b.nextUIDValidity()
	}
	b.sawUIDValidity(v)
	e := &mailboxEdit{b: b, puts: make(map[mail.UID]*chunk), index: newIndex(nil), row: MailboxRow{
		Recent: 1, Mailbox: mail.Mailbox{
			ID: b.account.NextMailbox, Name: name, UIDValidity: v, UIDNext: 1, HighestModSeq: b.nextModSeq(),
		}}}
	e.row.ACL = b.inheritedACL(name, opt.LikeInbox)
	b.account.NextMailbox++
	b.allNames()[name] = e.row.ID
	b.touch(e)
	return e
}

// inheritedACL returns the list of the mailbox above name (RFC 4314 §4).
func (b *batch) inheritedACL(name string, likeInbox bool) []ACLEntry {
	above := parents(name)
	if len(above) == 0 && likeInbox {
		above = []string{mail.Inbox}
	}
	if len(above) == 0 {
		return nil
	}
	parent, err := b.edit(b.byName(above[len(above)-1]))
	if err != nil {
		return nil // there is none
	}
	return parent.row.ACL
}

// sawUIDValidity notes a value that came from elsewhere, so that a mailbox made
// later has a higher one. One at the end of the range would leave no room for
// later ones and is not noted.
func (b *batch) sawUIDValidity(v mail.UIDValidity) {
	if v < 1<<32-1<<24 {
		b.account.UIDValidity = max(b.account.UIDValidity, v)
	}
}

// rename gives one mailbox another name, and its subscription with it.
func (b *batch) rename(e *mailboxEdit, to string) error {
	from := e.row.Name
	b.touch(e)
	e.row.Name = to
	e.row.HighestModSeq = b.nextModSeq()
	names := b.allNames()
	delete(names, from)
	names[to] = e.row.ID
	if !b.isSubscribed(from) {
		return nil
	}
	if err := b.subscribe(from, false); err != nil {
		return err
	}
	return b.subscribe(to, true)
}

// RenameMailbox moves a mailbox and all below it, subscriptions included;
// INBOX is emptied into the new name instead (RFC 9051 §6.3.6).
// mail.KindNotExist, KindExist, KindInvalid.
func (a *Account) RenameMailbox(ctx context.Context, from, to string) error {
	to, err := checkName(to)
	if err != nil {
		return err
	}
	from = canonicalName(from)
	return a.change(ctx, func(b *batch) error {
		id := b.byName(from)
		switch {
		case id == 0:
			return errNoMailbox(from)
		case b.byName(to) != 0:
			return errExists(to)
		case from == mail.Inbox:
			return b.emptyInbox(id, to)
		case isBelow(to, from):
			return mail.Errorf(mail.KindInvalid, "a mailbox cannot be moved below itself")
		}
		moves, err := b.tree(from, to)
		if err != nil {
			return err
		}
		if err := b.createParents(to, 0, false); err != nil {
			return err
		}
		for _, m := range moves {
			if err := b.rename(m.e, m.to); err != nil {
				return err
			}
		}
		return nil
	})
}

// renameStep is one mailbox of a tree that is renamed.
type renameStep struct {
	e  *mailboxEdit
	to string
}

// tree returns the mailbox from and those below it, the uppermost first, with
// their names below to. All new names are valid and free.
func (b *batch) tree(from, to string) ([]renameStep, error) {
	var steps []renameStep
	for name, id := range b.nameMap() {
		if name != from && !isBelow(name, from) {
			continue
		}
		target, err := checkName(to + name[len(from):])
		if err != nil {
			return nil, err
		}
		if b.byName(target) != 0 && !isBelow(target, from) {
			return nil, errExists(target)
		}
		e, err := b.edit(id)
		if err != nil {
			return nil, err
		}
		steps = append(steps, renameStep{e, target})
	}
	slices.SortFunc(steps, func(x, y renameStep) int { return compareNames(x.to, y.to) })
	return steps, nil
}

// emptyInbox moves the messages of INBOX into a new mailbox.
func (b *batch) emptyInbox(inbox mail.MailboxID, to string) error {
	from, err := b.edit(inbox)
	if err != nil {
		return err
	}
	if err := from.load(); err != nil {
		return err
	}
	e, err := b.create(to, CreateOptions{})
	if err != nil {
		return err
	}
	all := mail.UIDSet{{First: 1, Last: 1<<32 - 1}}
	b.copyAnnotations = append(b.copyAnnotations, [2]mail.MailboxID{inbox, e.row.ID})
	if found := from.collect(all); len(found) > 0 {
		_, _, err = b.moveMessages(from, found, e)
	}
	return err
}

// DeleteMailbox removes a mailbox and its messages. One that has children, and
// INBOX, is mail.KindInvalid. Its subscription stays.
func (a *Account) DeleteMailbox(ctx context.Context, name string) error {
	name = canonicalName(name)
	if name == mail.Inbox {
		return mail.Errorf(mail.KindInvalid, "INBOX cannot be deleted")
	}
	remove := func() error {
		return a.change(ctx, func(b *batch) error { return b.deleteMailbox(name) })
	}
	if shared := a.sharedWith(name); len(shared) > 0 {
		return a.store.shares.change(ctx, a, shared, remove)
	}
	return remove()
}

// DeleteEmptyMailbox is DeleteMailbox for one that holds no messages; one that
// does, or that has children, is mail.KindConflict.
func (a *Account) DeleteEmptyMailbox(ctx context.Context, name string) error {
	name = canonicalName(name)
	return a.change(ctx, func(b *batch) error {
		id := b.byName(name)
		if id == 0 {
			return errNoMailbox(name)
		}
		e, err := b.edit(id)
		if err != nil {
			return err
		}
		if name == mail.Inbox || e.row.Messages > 0 || len(e.row.ACL) > 0 || hasBelow(b.nameMap(), name) {
			return mail.Errorf(mail.KindConflict, "mailbox %q is in use", name)
		}
		return b.deleteMailbox(name)
	})
}

// sharedWith returns the identifiers of a mailbox's access control list.
func (a *Account) sharedWith(name string) []string {
	a.mu.RLock()
	defer a.mu.RUnlock()
	row := a.mailboxes[a.names[name]]
	if row == nil {
		return nil
	}
	var names []string
	for _, e := range row.ACL {
		names = append(names, e.Identifier)
	}
	return names
}

// deleteMailbox is DeleteMailbox in a batch.
func (b *batch) deleteMailbox(name string) error {
	id := b.byName(name)
	if id == 0 {
		return errNoMailbox(name)
	}
	for other := range b.nameMap() {
		if isBelow(other, name) {
			return mail.Errorf(mail.KindInvalid, "mailbox %q has mailboxes below it", name)
		}
	}
	e, err := b.edit(id)
	if err != nil {
		return err
	}
	if err := e.load(); err != nil {
		return err
	}
	b.nextModSeq()
	for c := range e.index.chunks() {
		for _, m := range c.messages() {
			b.refs[m.Email]--
		}
	}
	b.account.Usage.Bytes -= e.row.Size
	b.account.Usage.Messages -= int64(e.row.Messages)
	delete(b.allNames(), name)
	b.touch(e)
	e.deleted = true
	return b.dropReaders(id)
}

// Subscribe sets or clears a subscription; the mailbox need not exist.
func (a *Account) Subscribe(ctx context.Context, name string, on bool) error {
	name = canonicalName(name)
	if on {
		var err error
		if name, err = checkName(name); err != nil {
			return err
		}
	}
	return a.change(ctx, func(b *batch) error { return b.subscribe(name, on) })
}

// SetSpecialUse gives a mailbox a role; UseNone takes it away. A role belongs
// to one mailbox: the one that had it loses it. INBOX can have none.
func (a *Account) SetSpecialUse(ctx context.Context, id mail.MailboxID, use mail.SpecialUse) error {
	return a.change(ctx, func(b *batch) error {
		e, err := b.edit(id)
		if err != nil {
			return err
		}
		if e.row.Name == mail.Inbox && use != mail.UseNone {
			return mail.Errorf(mail.KindInvalid, "INBOX cannot have a special use")
		}
		return b.setUse(e, use)
	})
}

// setUse gives a mailbox a role and takes it from the one that has it.
func (b *batch) setUse(e *mailboxEdit, use mail.SpecialUse) error {
	if e.row.SpecialUse == use {
		return nil
	}
	if use != mail.UseNone {
		for _, id := range b.nameMap() {
			other, err := b.edit(id)
			if err != nil {
				return err
			}
			if other.row.SpecialUse == use {
				b.touch(other)
				other.row.SpecialUse = mail.UseNone
				other.row.HighestModSeq = b.nextModSeq()
			}
		}
	}
	b.touch(e)
	e.row.SpecialUse = use
	e.row.HighestModSeq = b.nextModSeq()
	return nil
}

// AdoptMailbox makes the mailbox, or where it exists and is empty changes it,
// so that it has this UIDValidity and at least this UIDNext. A mailbox with
// messages and another UIDValidity is mail.KindConflict.
func (a *Account) AdoptMailbox(ctx context.Context, name string, v mail.UIDValidity, next mail.UID) (mail.Mailbox, error) {
	name, err := checkName(name)
	if err != nil {
		return mail.Mailbox{}, err
	}
	if v == 0 {
		return mail.Mailbox{}, mail.Errorf(mail.KindInvalid, "a UIDVALIDITY cannot be 0")
	}
	var box mail.Mailbox
	err = a.change(ctx, func(b *batch) error {
		e, err := b.adopt(name, v, max(next, 1))
		if err == nil {
			box = b.mailbox(e)
		}
		return err
	})
	return box, err
}

// RenewUIDValidity gives a mailbox another UIDVALIDITY, so that clients forget
// what they know of it. Its messages keep their UIDs; sessions that have it open
// see it as gone.
func (a *Account) RenewUIDValidity(ctx context.Context, id mail.MailboxID, v mail.UIDValidity) error {
	if v == 0 {
		return mail.Errorf(mail.KindInvalid, "a UIDVALIDITY cannot be 0")
	}
	return a.change(ctx, func(b *batch) error {
		e, err := b.edit(id)
		if err != nil || e.row.UIDValidity == v {
			return err
		}
		b.touch(e)
		e.row.UIDValidity, e.reset = v, true
		e.row.HighestModSeq = b.nextModSeq()
		b.sawUIDValidity(v)
		return nil
	})
}

// adopt is AdoptMailbox in a batch.
func (b *batch) adopt(name string, v mail.UIDValidity, next mail.UID) (*mailboxEdit, error) {
	id := b.byName(name)
	if id == 0 {
		e, err := b.create(name, CreateOptions{UIDValidity: v})
		if err == nil {
			e.row.UIDNext = next
		}
		return e, err
	}
	e, err := b.edit(id)
	if err != nil {
		return nil, err
	}
	switch {
	case e.row.UIDValidity == v && e.row.UIDNext >= next:
		return e, nil
	case e.row.UIDValidity == v:
	case e.row.Messages > 0:
		return nil, mail.Errorf(mail.KindConflict, "mailbox %q has messages under UIDVALIDITY %d and cannot take %d", name, e.row.UIDValidity, v)
	default:
		e.row.UIDValidity, e.row.UIDNext, e.row.Recent, e.reset = v, 1, 1, true
		b.sawUIDValidity(v)
		if err := b.dropReaders(id); err != nil {
			return nil, err
		}
	}
	b.touch(e)
	e.row.UIDNext = max(e.row.UIDNext, next)
	e.row.HighestModSeq = b.nextModSeq()
	return e, nil
}
