package store

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"expost/internal/mail"
)

// shares is the index of who shares with whom: which accounts have a mailbox
// that gives an identifier rights. The accounts' own lists decide; the index
// only says where to look, so it may name an account too many, never one too
// few. It is made anew from the accounts where it was lost.
type shares struct {
	store *Store

	changing sync.Mutex // held over a change of a list and of the index; taken before mu

	mu     sync.Mutex
	loaded bool
	owners map[string]map[mail.AccountID]bool // by identifier
}

// load reads the index, or makes it. x.mu is held.
func (x *shares) load(ctx context.Context) error {
	if x.loaded {
		return nil
	}
	owners := make(map[string]map[mail.AccountID]bool)
	complete := false
	err := x.store.engine.ViewSite(ctx, func(tx SiteTx) (err error) {
		complete, err = tx.Shares(func(identifier string, owner mail.AccountID) error {
			add(owners, identifier, owner)
			return nil
		})
		return err
	})
	if err != nil {
		return err
	}
	x.owners = owners
	if !complete {
		x.store.opt.Log.Debug("making the index of shared mailboxes")
		if err := x.remake(ctx); err != nil {
			return err
		}
	}
	x.loaded = true
	return nil
}

// ready loads the index.
func (x *shares) ready(ctx context.Context) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.load(ctx)
}

func add(owners map[string]map[mail.AccountID]bool, identifier string, owner mail.AccountID) {
	if owners[identifier] == nil {
		owners[identifier] = make(map[mail.AccountID]bool)
	}
	owners[identifier][owner] = true
}

// remake writes the index anew from the lists of every account. An account that
// cannot be opened keeps what the index said of it. x.mu is held.
func (x *shares) remake(ctx context.Context) error {
	owners := make(map[string]map[mail.AccountID]bool)
	for id, err := range x.store.Accounts(ctx) {
		if err != nil {
			return err
		}
		a, err := x.store.Open(ctx, id)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			x.store.opt.Log.Warn("an account could not be asked what it shares", slog.Any("account", id), slog.Any("error", err))
			for identifier, of := range x.owners {
				if of[id] {
					add(owners, identifier, id)
				}
			}
			continue
		}
		for identifier := range a.identifiers() {
			add(owners, identifier, id)
		}
		a.Release()
	}
	err := x.store.engine.UpdateSite(ctx, func(tx SiteTx) error {
		if err := tx.DropShares(); err != nil {
			return err
		}
		for identifier, of := range owners {
			for owner := range of {
				if err := tx.PutShare(identifier, owner, true); err != nil {
					return err
				}
			}
		}
		return tx.SharesComplete()
	})
	if err == nil {
		x.owners = owners
	}
	return err
}

// has tells whether the index names an account.
func (x *shares) has(identifier string, owner mail.AccountID) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.owners[identifier][owner]
}

// put writes that the index names, or no longer names, an account. x.changing is
// held.
func (x *shares) put(ctx context.Context, identifier string, owner mail.AccountID, on bool) error {
	if x.has(identifier, owner) == on {
		return nil
	}
	if err := x.store.engine.UpdateSite(ctx, func(tx SiteTx) error { return tx.PutShare(identifier, owner, on) }); err != nil {
		return err
	}
	x.mu.Lock()
	if on {
		add(x.owners, identifier, owner)
	} else {
		delete(x.owners[identifier], owner)
	}
	x.mu.Unlock()
	x.store.tellAll()
	return nil
}

// change runs do, which changes what an account gives the identifiers: the index
// names the account before it does and until it does not any more.
func (x *shares) change(ctx context.Context, a *Account, identifiers []string, do func() error) error {
	x.changing.Lock()
	defer x.changing.Unlock()
	if err := x.ready(ctx); err != nil {
		return err
	}
	for _, name := range identifiers {
		if !strings.HasPrefix(name, "-") {
			if err := x.put(ctx, name, a.id, true); err != nil {
				return err
			}
		}
	}
	err := do()
	given := a.identifiers()
	for _, name := range identifiers {
		if !strings.HasPrefix(name, "-") && !given[name] {
			if err := x.put(context.WithoutCancel(ctx), name, a.id, false); err != nil {
				x.store.opt.Log.Warn("tidying the index of shared mailboxes", slog.Any("account", a.id), slog.Any("error", err))
			}
		}
	}
	return err
}

// drop takes an account that is removed out of the index.
func (x *shares) drop(ctx context.Context, owner mail.AccountID) error {
	x.changing.Lock()
	defer x.changing.Unlock()
	listed, err := x.all(ctx)
	if err != nil {
		return err
	}
	for identifier := range listed[owner] {
		if err := x.put(ctx, identifier, owner, false); err != nil {
			return err
		}
	}
	return nil
}

// all returns the identifiers that the index has, by account.
func (x *shares) all(ctx context.Context) (map[mail.AccountID]map[string]bool, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.load(ctx); err != nil {
		return nil, err
	}
	listed := make(map[mail.AccountID]map[string]bool)
	for identifier, owners := range x.owners {
		for id := range owners {
			if listed[id] == nil {
				listed[id] = make(map[string]bool)
			}
			listed[id][identifier] = true
		}
	}
	return listed, nil
}

// Sharers returns the accounts, in order, that may have given a principal rights
// in their mailboxes; Access.Rights says which. His own is not among them.
func (s *Store) Sharers(ctx context.Context, p Principal) ([]mail.AccountID, error) {
	x := &s.shares
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.load(ctx); err != nil {
		return nil, err
	}
	found := maps.Clone(x.owners[Anyone])
	if found == nil {
		found = make(map[mail.AccountID]bool)
	}
	for _, name := range p.Identifiers {
		maps.Copy(found, x.owners[name])
	}
	delete(found, p.ID)
	return slices.Sorted(maps.Keys(found)), nil
}

// Forget takes the rights, flags and private annotations of somebody who is no
// more out of every account that shares with him, or with one of the groups that
// he was in.
func (s *Store) Forget(ctx context.Context, p Principal, groups []string) error {
	owners, err := s.Sharers(ctx, Principal{ID: p.ID, Identifiers: slices.Concat(p.Identifiers, groups)})
	if err != nil {
		return err
	}
	for _, id := range owners {
		a, err := s.Open(ctx, id)
		if mail.KindOf(err) == mail.KindNotExist && err != nil {
			continue
		}
		if err != nil {
			return err
		}
		err = a.Forget(ctx, p)
		a.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// checkShares compares the index with the lists of the accounts.
func (s *Store) checkShares(ctx context.Context, repair bool) ([]Finding, error) {
	x := &s.shares
	listed, err := x.all(ctx)
	if err != nil {
		return nil, err
	}
	var findings []Finding
	for id, err := range s.Accounts(ctx) {
		if err == nil {
			err = x.checkAccount(ctx, id, listed[id], repair, &findings)
		}
		if err != nil {
			return findings, err
		}
		delete(listed, id)
	}
	for _, id := range slices.Sorted(maps.Keys(listed)) { // accounts that are gone
		if err := x.checkAccount(ctx, id, listed[id], repair, &findings); err != nil {
			return findings, err
		}
	}
	return findings, nil
}

// checkAccount compares what the index said of one account with its lists. What
// differs is looked at again while neither can change.
func (x *shares) checkAccount(ctx context.Context, id mail.AccountID, listed map[string]bool, repair bool, findings *[]Finding) error {
	given := make(map[string]bool)
	a, err := x.store.Open(ctx, id)
	switch {
	case err == nil:
		defer a.Release()
		given = a.identifiers()
	case mail.KindOf(err) != mail.KindNotExist:
		return ctx.Err() // its own finding
	}
	if maps.Equal(given, listed) {
		return nil
	}
	x.changing.Lock()
	defer x.changing.Unlock()
	if a != nil {
		given = a.identifiers()
	}
	names := maps.Clone(given)
	maps.Copy(names, listed)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if x.has(name, id) == given[name] {
			continue
		}
		f := Finding{Account: id, Place: "index of shared mailboxes", Problem: "it shares with " + name + " and is not in the index", Repair: repairRun}
		if !given[name] {
			f.Problem = "the index says that it shares with " + name + ", and it does not"
		}
		if repair {
			if err := x.put(ctx, name, id, given[name]); err != nil {
				return err
			}
			f.Repaired = true
		}
		*findings = append(*findings, f)
	}
	return nil
}
