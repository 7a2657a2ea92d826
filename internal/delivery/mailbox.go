package delivery

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"expost/internal/directory"
	"expost/internal/mail"
	"expost/internal/store"
)

// Room tells whether every mailbox of a route may take one more message of size
// bytes (0: not known yet), so that a recipient can be refused before the
// message is sent.
func (a *Agent) Room(ctx context.Context, route *Route, size int64) error {
	for _, t := range route.Targets {
		if err := checkSize(t.Account, size); err != nil {
			return err
		}
		if t.Account.Quota == (mail.Quota{}) {
			continue
		}
		if err := a.checkQuota(ctx, t.Account, size); err != nil {
			return err
		}
	}
	return nil
}

func checkSize(acct *directory.Account, size int64) error {
	if acct.MaxMessage > 0 && size > acct.MaxMessage {
		return refuse("5.2.3", mail.KindTooBig, "%s takes messages of at most %d bytes", acct.Address, acct.MaxMessage)
	}
	return nil
}

func (a *Agent) checkQuota(ctx context.Context, acct *directory.Account, size int64) error {
	box, err := a.open(ctx, acct)
	if err != nil {
		return err
	}
	defer box.Release()
	used, err := box.Usage(ctx)
	if err != nil {
		return fmt.Errorf("reading the usage of %q: %w", acct.ID, err)
	}
	q := acct.Quota
	if q.Bytes > 0 && used.Bytes+max(size, 1) > q.Bytes || q.Messages > 0 && used.Messages >= q.Messages {
		return full(acct)
	}
	return nil
}

func full(acct *directory.Account) error {
	return refuse("4.2.2", mail.KindQuota, "the mailbox %s is full", acct.Address)
}

// open returns the account's store. It is made at the first mail, and its quota
// follows the directory's. Release what it returns.
func (a *Agent) open(ctx context.Context, acct *directory.Account) (*store.Account, error) {
	box, err := a.store.Open(ctx, acct.ID)
	if mail.KindOf(err) == mail.KindNotExist {
		if err = a.store.Create(ctx, acct.ID); err == nil {
			box, err = a.store.Open(ctx, acct.ID)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("opening account %q: %w", acct.ID, err)
	}
	q, err := box.Quota(ctx)
	if err == nil && q != acct.Quota {
		err = box.SetQuota(ctx, acct.Quota)
	}
	if err != nil {
		box.Release()
		return nil, fmt.Errorf("bringing the quota of %q up to date: %w", acct.ID, err)
	}
	return box, nil
}

// mailbox returns the mailbox a target's mail goes to: the one that the detail
// of the sub-address names, exactly or else but for case, where there is one
// and it is a place for incoming mail; INBOX otherwise. Junk goes into the
// mailbox of that role, where there is one.
func mailbox(ctx context.Context, box *store.Account, detail string, junk bool) (mail.Mailbox, error) {
	if detail != "" || junk {
		all, err := box.Mailboxes(ctx)
		if err != nil {
			return mail.Mailbox{}, fmt.Errorf("listing the mailboxes of %q: %w", box.ID(), err)
		}
		if i := slices.IndexFunc(all, func(m mail.Mailbox) bool { return m.SpecialUse == mail.UseJunk }); junk && i >= 0 {
			return all[i], nil
		}
		if m, ok := named(all, detail); ok && receives(m.SpecialUse) {
			return m, nil
		}
	}
	m, err := box.Mailbox(ctx, mail.Inbox)
	if err != nil {
		return m, fmt.Errorf("finding the INBOX of %q: %w", box.ID(), err)
	}
	return m, nil
}

// poster returns a sender as access control lists know him.
func (a *Agent) poster(ctx context.Context, sender *directory.Account) store.Principal {
	if sender == nil {
		return store.Principal{}
	}
	p := store.Principal{ID: sender.ID, Identifiers: []string{sender.Address.Key()}}
	for _, alias := range sender.Aliases {
		p.Identifiers = append(p.Identifiers, alias.Key())
	}
	groups, err := directory.People{Directory: a.directory}.Groups(ctx, sender)
	if err != nil {
		a.log.Warn("looking up the groups of a sender", "sender", sender.Address, "err", err)
	}
	p.Identifiers = append(p.Identifiers, groups...)
	return p
}

// named returns the mailbox of a name, the exact spelling preferred.
func named(all []mail.Mailbox, name string) (mail.Mailbox, bool) {
	var found mail.Mailbox
	for _, m := range all {
		if m.Name == name {
			return m, true
		}
		if found.ID == 0 && strings.EqualFold(m.Name, name) {
			found = m
		}
	}
	return found, found.ID != 0
}

// receives tells whether strangers may put mail into a mailbox of this role:
// not into those that hold what the user wrote or threw away.
func receives(use mail.SpecialUse) bool {
	switch use {
	case mail.UseSent, mail.UseDrafts, mail.UseTrash, mail.UseAll:
		return false
	}
	return true
}
