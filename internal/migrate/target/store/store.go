// Package store is a migration's target that is this server's own mail store.
package store

import (
	"context"
	"errors"
	"fmt"
	"io"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/store"
)

// Accounts finds the account of an address; mail.KindNotExist.
type Accounts func(ctx context.Context, addr mail.Address) (mail.AccountID, error)

// Target writes into a store.
type Target struct {
	store    *store.Store
	accounts Accounts
	limit    int64
}

var (
	_ migrate.Target  = (*Target)(nil)
	_ migrate.Looker  = (*Target)(nil)
	_ migrate.Limiter = (*Target)(nil)
)

// New returns a target on s. Messages of more than limit bytes (0: none) are
// refused.
func New(s *store.Store, accounts Accounts, limit int64) *Target {
	return &Target{s, accounts, limit}
}

// Spool implements migrate.Target.
func (t *Target) Spool(ctx context.Context, r io.Reader) (migrate.Spooled, error) {
	in, err := t.store.Spool(ctx, nil, r, t.limit)
	if err != nil {
		return nil, err
	}
	return spooled{in}, nil
}

// spooled is a message in the store's spool.
type spooled struct{ *store.Incoming }

// Hash implements migrate.Spooled.
func (s spooled) Hash() migrate.Hash { return migrate.Hash(s.Sum()) }

// Open implements migrate.Target. The mailbox of an account of the directory
// is made at its first use.
func (t *Target) Open(ctx context.Context, u migrate.User) (migrate.TargetAccount, error) {
	id, err := t.accounts(ctx, u.Target)
	if err != nil {
		return nil, err
	}
	if err := t.store.Create(ctx, id); err != nil {
		return nil, fmt.Errorf("making the mailbox of %s: %w", u.Target, err)
	}
	a, err := t.store.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	return &account{a}, nil
}

// Limit implements migrate.Limiter.
func (t *Target) Limit(context.Context) (int64, error) { return t.limit, nil }

// Look implements migrate.Looker.
func (t *Target) Look(ctx context.Context, u migrate.User) (migrate.TargetAccount, error) {
	id, err := t.accounts(ctx, u.Target)
	if err != nil {
		return nil, err
	}
	a, err := t.store.Open(ctx, id)
	if mail.KindOf(err) == mail.KindNotExist {
		return nil, nil // its mailbox is made with the first pass
	}
	if err != nil {
		return nil, err
	}
	return &account{a}, nil
}

// account is one open account.
type account struct{ *store.Account }

var (
	_ migrate.TargetAccount = (*account)(nil)
	_ migrate.Organizer     = (*account)(nil)
	_ migrate.Renewer       = (*account)(nil)
)

// Close gives the account back.
func (a *account) Close() error {
	a.Release()
	return nil
}

// Folders implements migrate.TargetAccount.
func (a *account) Folders(ctx context.Context) ([]migrate.Folder, error) {
	boxes, err := a.Mailboxes(ctx)
	if err != nil {
		return nil, err
	}
	folders := make([]migrate.Folder, len(boxes))
	for i, box := range boxes {
		folders[i] = folder(box)
	}
	return folders, nil
}

// folder shows a mailbox as the migration sees it.
func folder(box mail.Mailbox) migrate.Folder {
	return migrate.Folder{
		Key: box.Name, Name: box.Name, Use: box.SpecialUse, Subscribed: box.Subscribed,
		State: migrate.State{
			UIDValidity: box.UIDValidity, UIDNext: box.UIDNext, ModSeq: uint64(box.HighestModSeq),
			Messages: box.Messages, Bytes: box.Size,
		},
	}
}

// Prepare implements migrate.TargetAccount. A role is not taken from a mailbox
// that holds mail. An empty one that loses its role to f, as the ones that every
// account starts with do, is deleted: it would stand beside the user's own one.
func (a *account) Prepare(ctx context.Context, f migrate.Folder) (migrate.Folder, error) {
	p := store.Preparation{Subscribed: f.Subscribed, SpecialUse: f.Use}
	if !f.NoItems {
		p.UIDValidity, p.UIDNext = f.State.UIDValidity, f.State.UIDNext
	}
	box, err := a.PrepareMailbox(ctx, f.Name, p)
	if err != nil || f.Class == "" {
		return folder(box), err
	}
	mark := []store.Annotation{{Entry: migrate.ClassEntry, Value: []byte(f.Class)}}
	if err := a.Access(store.Principal{ID: a.ID()}, store.Personal{}).SetAnnotations(ctx, box.ID, mark); err != nil {
		return migrate.Folder{}, fmt.Errorf("marking what the folder is for: %w", err)
	}
	return folder(box), nil
}

// Append implements migrate.TargetAccount.
func (a *account) Append(ctx context.Context, name string, msgs []migrate.Message) error {
	box, err := a.Mailbox(ctx, name)
	if err != nil {
		return err
	}
	bulk := make([]store.BulkMessage, len(msgs))
	for i, m := range msgs {
		bulk[i] = store.BulkMessage{UID: m.UID, Flags: m.Flags, Keywords: m.Keywords, InternalDate: m.Date}
		switch s := m.Body.(type) {
		case spooled:
			bulk[i].Incoming = s.Incoming
		case stored:
			bulk[i].From, bulk[i].FromUID = s.mailbox, s.uid
		default:
			return errors.New("the message was made ready for another target")
		}
	}
	_, err = a.Bulk(ctx, box.ID, bulk)
	if mail.KindOf(err) == mail.KindNotExist {
		return mail.WrapError(mail.KindTemporary, err, "linking messages")
	}
	return err
}

// stored is a message that the account has.
type stored struct {
	mailbox mail.MailboxID
	uid     mail.UID
	hash    migrate.Hash
}

// Hash implements migrate.Spooled.
func (s stored) Hash() migrate.Hash { return s.hash }

// Close implements migrate.Spooled.
func (s stored) Close() error { return nil }

// Stored implements migrate.TargetAccount: the messages share their content.
func (a *account) Stored(ctx context.Context, name string, hashes map[mail.UID]migrate.Hash) (map[mail.UID]migrate.Spooled, error) {
	view, err := a.Examine(ctx, name)
	if err != nil {
		return nil, err
	}
	defer view.Close()
	s := view.Snapshot()
	out := make(map[mail.UID]migrate.Spooled, len(hashes))
	for uid, hash := range hashes {
		if _, ok := s.Seq(uid); ok {
			out[uid] = stored{s.Mailbox().ID, uid, hash}
		}
	}
	return out, nil
}

// Update implements migrate.TargetAccount.
func (a *account) Update(ctx context.Context, name string, items []migrate.Item) error {
	box, err := a.Mailbox(ctx, name)
	if err != nil {
		return err
	}
	type marks struct {
		flags    mail.Flags
		keywords mail.Keywords
	}
	sets := map[marks]*mail.UIDSet{}
	for _, it := range items {
		k := marks{it.Flags, it.Keywords}
		if sets[k] == nil {
			sets[k] = new(mail.UIDSet)
		}
		sets[k].Add(it.UID)
	}
	for k, uids := range sets {
		ch := store.FlagChange{Op: store.FlagsSet, Flags: k.flags, Keywords: k.keywords}
		if _, err := a.StoreFlags(ctx, box.ID, *uids, ch); err != nil {
			return err
		}
	}
	return nil
}

// Remove implements migrate.TargetAccount.
func (a *account) Remove(ctx context.Context, name string, uids mail.UIDSet) error {
	box, err := a.Mailbox(ctx, name)
	if err != nil {
		return err
	}
	if _, err := a.StoreFlags(ctx, box.ID, uids, store.FlagChange{Op: store.FlagsAdd, Flags: mail.Deleted}); err != nil {
		return err
	}
	_, err = a.Expunge(ctx, box.ID, uids)
	return err
}

// Renew implements migrate.Renewer.
func (a *account) Renew(ctx context.Context, name string, v mail.UIDValidity) error {
	box, err := a.Mailbox(ctx, name)
	if err != nil {
		return err
	}
	return a.RenewUIDValidity(ctx, box.ID, v)
}

// Move implements migrate.Organizer.
func (a *account) Move(ctx context.Context, from string, uids mail.UIDSet, to string) (map[mail.UID]mail.UID, error) {
	source, err := a.Mailbox(ctx, from)
	if err != nil {
		return nil, err
	}
	target, err := a.Mailbox(ctx, to)
	if err != nil {
		return nil, err
	}
	done, err := a.Account.Move(ctx, source.ID, uids, target.ID)
	got := make(map[mail.UID]mail.UID, len(done.Source))
	for i, uid := range done.Source {
		got[uid] = done.Target[i]
	}
	return got, err
}

// Rename implements migrate.Organizer.
func (a *account) Rename(ctx context.Context, from, to string) error {
	return a.RenameMailbox(ctx, from, to)
}

// Discard implements migrate.Organizer.
func (a *account) Discard(ctx context.Context, name string) error {
	if err := a.DeleteEmptyMailbox(ctx, name); err != nil && mail.KindOf(err) != mail.KindNotExist {
		return err
	}
	return a.Subscribe(ctx, name, false)
}

// Items implements migrate.TargetAccount.
func (a *account) Items(ctx context.Context, name string, fn func(migrate.Item) error) error {
	view, err := a.Examine(ctx, name)
	if err != nil {
		return err
	}
	defer view.Close()
	s := view.Snapshot()
	for _, m := range s.Range(1, s.Len()) {
		err := fn(migrate.Item{UID: m.UID, Size: m.Size, Flags: m.Flags, Keywords: m.Keywords, Date: m.InternalDate})
		if err != nil {
			return err
		}
	}
	return nil
}

// Read implements migrate.TargetAccount.
func (a *account) Read(ctx context.Context, name string, uids mail.UIDSet, fn func(mail.UID, io.Reader) error) error {
	view, err := a.Examine(ctx, name)
	if err != nil {
		return err
	}
	defer view.Close()
	s := view.Snapshot()
	for uid := range uids.All() {
		seq, ok := s.Seq(uid)
		if !ok {
			continue
		}
		if err := a.read(ctx, s.At(seq), fn); err != nil {
			return fmt.Errorf("reading message %d of %q: %w", uid, name, err)
		}
	}
	return nil
}

// read reads one message.
func (a *account) read(ctx context.Context, m mail.Message, fn func(mail.UID, io.Reader) error) error {
	body, err := a.Body(ctx, m.Email)
	if err != nil {
		return err
	}
	err = fn(m.UID, body.Section(0, body.Size()))
	return errors.Join(err, body.Close())
}
