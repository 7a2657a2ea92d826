// Package store is a migration's source that is this server's own mail store:
// the way back. Nothing is written.
package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/store"
)

// Accounts finds the account of an address; mail.KindNotExist.
type Accounts func(ctx context.Context, addr mail.Address) (mail.AccountID, error)

// Source reads from a store; User.Source is an address.
type Source struct {
	store    *store.Store
	accounts Accounts
}

var (
	_ migrate.Source   = (*Source)(nil)
	_ migrate.Measurer = (*account)(nil)
)

// New returns a source on s.
func New(s *store.Store, accounts Accounts) *Source { return &Source{s, accounts} }

// Open implements migrate.Source.
func (s *Source) Open(ctx context.Context, u migrate.User) (migrate.SourceAccount, error) {
	addr, err := mail.ParseAddress(u.Source)
	if err != nil {
		return nil, mail.WrapError(mail.KindNotExist, err, "there is no account %q", u.Source)
	}
	id, err := s.accounts(ctx, addr)
	if err != nil {
		return nil, err
	}
	a, err := s.store.Open(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("opening the account %s: %w", addr, err)
	}
	return &account{a}, nil
}

// account is one open account.
type account struct{ *store.Account }

// Close implements migrate.SourceAccount.
func (a *account) Close() error {
	a.Release()
	return nil
}

// Folders implements migrate.SourceAccount.
func (a *account) Folders(ctx context.Context) ([]migrate.Folder, error) {
	boxes, err := a.Mailboxes(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]migrate.Folder, len(boxes))
	for i, box := range boxes {
		out[i] = migrate.Folder{Key: box.ID.String(), Name: box.Name, Use: box.SpecialUse, Subscribed: box.Subscribed, State: state(box)}
		if out[i].Class, err = a.class(ctx, box.ID); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(out, func(x, y migrate.Folder) int {
		switch mail.Inbox {
		case x.Name:
			return -1
		case y.Name:
			return 1
		}
		return 0
	})
	return out, nil
}

// class returns what kind of folder of Exchange a mailbox was, "" of mail.
func (a *account) class(ctx context.Context, id mail.MailboxID) (string, error) {
	marks, err := a.Access(store.Principal{ID: a.ID()}, store.Personal{}).Annotations(ctx, id)
	for _, m := range marks {
		if m.Entry == migrate.ClassEntry {
			return string(m.Value), err
		}
	}
	return "", err
}

func state(box mail.Mailbox) migrate.State {
	return migrate.State{UIDValidity: box.UIDValidity, UIDNext: box.UIDNext, ModSeq: uint64(box.HighestModSeq), Messages: box.Messages, Bytes: box.Size}
}

// Measure implements migrate.Measurer.
func (a *account) Measure(ctx context.Context, f migrate.Folder) (messages int, bytes int64, err error) {
	box, err := a.Mailbox(ctx, f.Name)
	return box.Messages, box.Size, err
}

// open opens a folder for reading.
func (a *account) open(ctx context.Context, f migrate.Folder) (*store.View, error) {
	view, err := a.Examine(ctx, f.Name)
	if err != nil {
		return nil, err
	}
	if is := view.Snapshot().Mailbox().UIDValidity; f.State.UIDValidity != 0 && is != f.State.UIDValidity {
		view.Close()
		return nil, mail.Errorf(mail.KindConflict, "UIDVALIDITY changed from %d to %d", f.State.UIDValidity, is)
	}
	return view, nil
}

// Scan implements migrate.SourceAccount. It always yields everything: flags
// come from memory.
func (a *account) Scan(ctx context.Context, f migrate.Folder, _ migrate.State, yield func([]migrate.Item) error) (migrate.Scanned, error) {
	view, err := a.open(ctx, f)
	if err != nil {
		return migrate.Scanned{}, err
	}
	defer view.Close()
	s := view.Snapshot()
	var batch []migrate.Item
	for _, m := range s.Range(1, s.Len()) {
		batch = append(batch, item(*m))
		if len(batch) == migrate.ScanBatch {
			if err := yield(batch); err != nil {
				return migrate.Scanned{}, err
			}
			batch = nil
		}
	}
	if len(batch) > 0 {
		if err := yield(batch); err != nil {
			return migrate.Scanned{}, err
		}
	}
	return migrate.Scanned{State: state(s.Mailbox())}, nil
}

func item(m mail.Message) migrate.Item {
	return migrate.Item{Key: strconv.FormatUint(uint64(m.UID), 10), UID: m.UID, Size: m.Size, Flags: m.Flags, Keywords: m.Keywords, Date: m.InternalDate}
}

// Fetch implements migrate.SourceAccount.
func (a *account) Fetch(ctx context.Context, f migrate.Folder, items []migrate.Item, fn func(migrate.Item, io.Reader, error) error) error {
	view, err := a.open(ctx, f)
	if err != nil {
		return err
	}
	defer view.Close()
	s := view.Snapshot()
	for _, it := range items {
		if err := ctx.Err(); err != nil {
			return err
		}
		seq, ok := s.Seq(it.UID)
		if !ok {
			if err := fn(it, nil, &migrate.ItemError{Gone: true, Err: errors.New("the message is not there any more")}); err != nil {
				return err
			}
			continue
		}
		if err := a.fetch(ctx, s.At(seq), fn); err != nil {
			return err
		}
	}
	return nil
}

// fetch reads one message.
func (a *account) fetch(ctx context.Context, m mail.Message, fn func(migrate.Item, io.Reader, error) error) error {
	body, err := a.Body(ctx, m.Email)
	if err != nil {
		return fn(item(m), nil, &migrate.ItemError{Err: err})
	}
	err = fn(item(m), body.Section(0, body.Size()), nil)
	return errors.Join(err, body.Close())
}
