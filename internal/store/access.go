package store

import (
	"context"
	"slices"

	"expost/internal/mail"
)

// Access is an account as one of those who may use it sees it: its owner, who
// has every right, or somebody else with the rights that access control lists
// give, and with flags of his own. Nothing here refuses by rights: Rights says
// what they are.
type Access struct {
	*Account
	who       mail.AccountID // empty: the owner
	principal Principal
	personal  Personal
}

// Access returns the account as a principal sees it. personal says which flags
// are his own where the account is not.
func (a *Account) Access(p Principal, personal Personal) *Access {
	x := &Access{Account: a, principal: p, personal: personal}
	if p.ID != a.id {
		x.who = p.ID
	}
	return x
}

// Owner tells whether the account is the principal's own.
func (x *Access) Owner() bool { return x.who == "" }

// Rights returns the principal's rights in a mailbox; none in one that is gone.
func (x *Access) Rights(id mail.MailboxID) mail.Rights {
	a := x.Account
	a.mu.RLock()
	defer a.mu.RUnlock()
	row := a.mailboxes[id]
	switch {
	case row == nil || a.removed:
		return 0
	case x.Owner():
		return mail.AllRights
	}
	return rightsOf(row.ACL, &x.principal)
}

// seen returns a mailbox as the principal sees it. a.mu is held.
func (x *Access) seen(row *MailboxRow) mail.Mailbox {
	box := x.mailboxLocked(row)
	if x.Owner() {
		return box
	}
	r := x.readers[readerKey{row.ID, x.who}]
	if r == nil || r.row.Personal != x.personal {
		r = &reader{row: ReaderRow{Personal: x.personal}}
	}
	return r.mailbox(box)
}

// Mailboxes returns every mailbox, sorted by name with INBOX first, whatever
// the rights.
func (x *Access) Mailboxes(context.Context) ([]mail.Mailbox, error) {
	return x.Account.listMailboxes(x.seen)
}

// Mailbox returns one mailbox by name; mail.KindNotExist.
func (x *Access) Mailbox(_ context.Context, name string) (mail.Mailbox, error) {
	a := x.Account
	a.mu.RLock()
	defer a.mu.RUnlock()
	if err := a.check(); err != nil {
		return mail.Mailbox{}, err
	}
	row := a.mailboxes[a.names[canonicalName(name)]]
	if row == nil {
		return mail.Mailbox{}, errNoMailbox(name)
	}
	return x.seen(row), nil
}

// MailboxByID returns one mailbox by its id; mail.KindNotExist.
func (x *Access) MailboxByID(_ context.Context, id mail.MailboxID) (mail.Mailbox, error) {
	a := x.Account
	a.mu.RLock()
	defer a.mu.RUnlock()
	if err := a.check(); err != nil {
		return mail.Mailbox{}, err
	}
	row := a.mailboxes[id]
	if row == nil {
		return mail.Mailbox{}, errGone()
	}
	return x.seen(row), nil
}

// Select is Account.Select.
func (x *Access) Select(ctx context.Context, name string) (*View, error) {
	return x.view(ctx, name, true)
}

// Examine is Account.Examine.
func (x *Access) Examine(ctx context.Context, name string) (*View, error) {
	return x.view(ctx, name, false)
}

func (x *Access) view(ctx context.Context, name string, claims bool) (*View, error) {
	base, err := x.Account.view(ctx, name, claims)
	if err != nil || x.Owner() || x.personal == PersonalNone {
		return base, err
	}
	key := readerKey{base.live.id, x.who}
	l, err := x.openReader(ctx, key, base.live, x.personal)
	if err != nil {
		base.Close()
		return nil, err
	}
	x.store.retain(x.Account)
	return &View{a: x.Account, live: l, at: l.current.Load(), recent: base.recent, claims: claims, base: base}, nil
}

// StoreFlags is Account.StoreFlags. The principal's own flags are changed, and
// those that are everybody's.
func (x *Access) StoreFlags(ctx context.Context, id mail.MailboxID, uids mail.UIDSet, ch FlagChange) (modified mail.UIDSet, err error) {
	if x.Owner() || x.personal == PersonalNone {
		return x.Account.StoreFlags(ctx, id, uids, ch)
	}
	return x.storeFlags(ctx, id, uids, ch, x)
}

// Copy is Account.Copy. strip names the flags that copies may not have.
func (x *Access) Copy(ctx context.Context, from mail.MailboxID, uids mail.UIDSet, to mail.MailboxID, strip FlagMask) (Copied, error) {
	return x.copy(ctx, from, uids, to, &strip)
}

// Move is Account.Move. strip names the flags that copies may not have.
func (x *Access) Move(ctx context.Context, from mail.MailboxID, uids mail.UIDSet, to mail.MailboxID, strip FlagMask) (Copied, error) {
	return x.move(ctx, from, uids, to, &strip)
}

// Append appends messages, all or none, as Account.Bulk does, within the quota
// of the account. Their personal flags become the principal's own.
func (x *Access) Append(ctx context.Context, id mail.MailboxID, msgs []BulkMessage) ([]Appended, error) {
	return x.append(ctx, id, msgs, func(*batch) error { return nil })
}

// ErrReplaced is the error of a message that is to be replaced and is gone.
var ErrReplaced = mail.Errorf(mail.KindNotExist, "the message to be replaced is gone")

// Replace appends a message as Append does and removes one of the account in the
// same step, within the quota that is free without that one.
func (x *Access) Replace(ctx context.Context, id mail.MailboxID, msg BulkMessage, from mail.MailboxID, uid mail.UID) ([]Appended, error) {
	return x.append(ctx, id, []BulkMessage{msg}, func(b *batch) error {
		e, err := b.edit(from)
		if err != nil {
			return err
		}
		if err := e.load(); err != nil {
			return err
		}
		gone := mail.UIDSet{{First: uid, Last: uid}}
		if len(e.collect(gone)) == 0 {
			return ErrReplaced
		}
		if _, err := b.edit(id); err != nil { // before anything is changed
			return err
		}
		return b.expunge(e, gone)
	})
}

// append is Append; first is done before it in the same step.
func (x *Access) append(ctx context.Context, id mail.MailboxID, msgs []BulkMessage, first func(*batch) error) ([]Appended, error) {
	var usage mail.Usage
	for i := range msgs {
		if err := checkKeywords(msgs[i].Keywords); err != nil {
			return nil, err
		}
		usage.Bytes += msgs[i].Incoming.Size()
		usage.Messages++
	}
	var done []Appended
	err := x.change(ctx, func(b *batch) error {
		if err := first(b); err != nil {
			return err
		}
		e, err := b.editTarget(id, usage, true)
		if err != nil {
			return err
		}
		uids, err := bulkUIDs(e.row.UIDNext, msgs)
		if err != nil || len(msgs) == 0 {
			return err
		}
		if x.Owner() || x.personal == PersonalNone {
			done, err = b.bulk(e, uids, msgs)
			return err
		}
		shared, own := x.split(uids, msgs)
		r, err := b.personalReader(readerKey{id, x.who}, x.personal)
		if err != nil {
			return err
		}
		if done, err = b.bulk(e, uids, shared); err != nil || len(own) == 0 {
			return err
		}
		b.set(r, own)
		return nil
	})
	return done, err
}

// split divides the flags of new messages into everybody's and the principal's.
func (x *Access) split(uids []mail.UID, msgs []BulkMessage) (shared []BulkMessage, own []mail.Message) {
	shared = slices.Clone(msgs)
	for i := range shared {
		m := &shared[i]
		mine := mail.Message{UID: uids[i], Flags: m.Flags & x.personal.Flags}
		m.Flags &^= x.personal.Flags
		if x.personal.Keywords {
			mine.Keywords, m.Keywords = m.Keywords, mail.Keywords{}
		}
		if mine.Flags != 0 || mine.Keywords != (mail.Keywords{}) {
			own = append(own, mine)
		}
	}
	return shared, own
}

// transferBatch is how many messages go from account to account at once, and
// transferBytes how many bytes, where one does not have more.
const (
	transferBatch = 256
	transferBytes = 16 << 20
)

// CopyTo copies messages to a mailbox of another account, all or none: what was
// copied before one fails is removed again. UIDs that have no message are passed
// over.
func (x *Access) CopyTo(ctx context.Context, from *View, uids mail.UIDSet, to *Access, target mail.MailboxID, strip FlagMask) (Copied, error) {
	box, err := to.boxByID(target)
	if err != nil {
		return Copied{}, err
	}
	done := Copied{UIDValidity: box.UIDValidity}
	var part []mail.Message
	bytes := int64(0)
	flush := func() error {
		if len(part) == 0 {
			return nil
		}
		source, made, err := x.carry(ctx, part, to, target, strip)
		done.Source, done.Target = append(done.Source, source...), append(done.Target, made...)
		part, bytes = part[:0], 0
		return err
	}
	for _, m := range from.Snapshot().messagesOf(uids) {
		if len(part) == transferBatch || bytes+m.Size > transferBytes {
			if err = flush(); err != nil {
				break
			}
		}
		part, bytes = append(part, m), bytes+m.Size
	}
	if err == nil {
		err = flush()
	}
	if err == nil || len(done.Target) == 0 {
		return done, err
	}
	var made mail.UIDSet
	for _, uid := range done.Target {
		made.Add(uid)
	}
	if undo := to.Remove(context.WithoutCancel(ctx), target, made); undo != nil {
		x.store.opt.Log.Error("removing copies of a COPY that failed", "account", to.id, "err", undo)
	}
	return Copied{}, err
}

// boxByID returns a mailbox; mail.KindNotExist.
func (a *Account) boxByID(id mail.MailboxID) (mail.Mailbox, error) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	row := a.mailboxes[id]
	if row == nil || a.removed {
		return mail.Mailbox{}, errGone()
	}
	return a.mailboxLocked(row), nil
}

// messagesOf returns the messages of a set of UIDs.
func (s *Snapshot) messagesOf(uids mail.UIDSet) []mail.Message {
	return (&mailboxEdit{index: s.index}).collect(uids)
}

// carry copies some messages to a mailbox of another account. Messages that are
// gone are passed over.
func (x *Access) carry(ctx context.Context, part []mail.Message, to *Access, target mail.MailboxID, strip FlagMask) (source, made []mail.UID, err error) {
	var msgs []BulkMessage
	defer func() {
		for _, m := range msgs {
			if err := m.Incoming.Close(); err != nil {
				x.store.opt.Log.Warn("dropping a copied message", "account", to.id, "err", err)
			}
		}
	}()
	for i := range part {
		m := part[i]
		in, err := x.respool(ctx, m.Email)
		if mail.KindOf(err) == mail.KindNotExist && err != nil {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		strip.from(&m)
		source = append(source, m.UID)
		msgs = append(msgs, BulkMessage{Incoming: in, Flags: m.Flags, Keywords: m.Keywords, InternalDate: m.InternalDate})
	}
	if len(msgs) == 0 {
		return nil, nil, nil
	}
	done, err := to.Append(ctx, target, msgs)
	if err != nil {
		return nil, nil, err
	}
	for _, d := range done {
		made = append(made, d.UID)
	}
	return source, made, nil
}

// respool reads a message of the account as one that comes in.
func (a *Account) respool(ctx context.Context, id mail.EmailID) (*Incoming, error) {
	body, err := a.Body(ctx, id)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return a.store.Spool(ctx, nil, body.Section(0, body.Size()), 0)
}
