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

	mu     sync.Mutex // held over a change of a list and of the index
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

// put writes that the index names, or no longer names, an account. x.mu is held.
func (x *shares) put(ctx context.Context, identifier string, owner mail.AccountID, on bool) error {
	if x.owners[identifier][owner] == on {
		return nil
	}
	if err := x.store.engine.UpdateSite(ctx, func(tx SiteTx) error { return tx.PutShare(identifier, owner, on) }); err != nil {
		return err
	}
	if on {
		add(x.owners, identifier, owner)
	} else {
		delete(x.owners[identifier], owner)
	}
	return nil
}

// change runs do, which changes what an account gives the identifiers: the index
// names the account before it does and until it does not any more.
func (x *shares) change(ctx context.Context, a *Account, identifiers []string, do func() error) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.load(ctx); err != nil {
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
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.load(ctx); err != nil {
		return err
	}
	for identifier := range x.owners {
		if err := x.put(ctx, identifier, owner, false); err != nil {
			return err
		}
	}
	return nil
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
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.load(ctx); err != nil {
		return nil, err
	}
	var findings []Finding
	find := func(id mail.AccountID, format string, identifier string) {
		findings = append(findings, Finding{Account: id, Place: "index of shared mailboxes", Problem: strings.ReplaceAll(format, "%", identifier), Repair: repairRun})
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
	for id, err := range s.Accounts(ctx) {
		if err != nil {
			return nil, err
		}
		a, err := s.Open(ctx, id)
		if err != nil {
			delete(listed, id) // its own finding
			continue
		}
		given := a.identifiers()
		for identifier := range given {
			if !listed[id][identifier] {
				find(id, "it shares with % and is not in the index", identifier)
			}
		}
		a.Release()
		for identifier := range listed[id] {
			if given[identifier] {
				delete(listed[id], identifier)
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(listed)) { // what is left
		for _, identifier := range slices.Sorted(maps.Keys(listed[id])) {
			find(id, "the index says that it shares with %, and it does not", identifier)
		}
	}
	if len(findings) == 0 || !repair {
		return findings, nil
	}
	if err := x.remake(ctx); err != nil {
		return findings, err
	}
	for i := range findings {
		findings[i].Repaired = true
	}
	return findings, nil
}
