// Package gate admits sessions and deliveries to accounts, and closes an
// account for the moment in which its mailbox changes its place.
//
// Whoever works with a mailbox, here or by proxy, enters the account first and
// looks up only then where the mailbox lives, because that may have changed
// while it waited:
//
//	ctx, leave, err := gate.Enter(ctx, id)
//	if err != nil {
//		return err // mail.KindTemporary
//	}
//	defer leave()
//	// look up the account's mailHost, then work until done or until ctx ends
//
// The context of a session ends when the account freezes; its cause is
// ErrFrozen. A delivery takes moments: it ignores that and finishes. A gate is
// memory only. A process that ends lets everybody go; what a move has to know
// after a crash is in the move's own ledger.
package gate

import (
	"context"
	"errors"
	"sync"
	"time"

	"expost/internal/mail"
)

// ErrFrozen is the cause of the end of a session's context when its account
// freezes. A client that connects again finds its mailbox.
var ErrFrozen = errors.New("the mailbox is changing its place")

// DefaultWait is how long Enter waits for a frozen account.
const DefaultWait = 30 * time.Second

// Gate knows who is in which account. It is safe for concurrent use.
type Gate struct {
	wait time.Duration

	mu       sync.Mutex
	accounts map[mail.AccountID]*account
}

// account is one that somebody is in, or that is frozen.
type account struct {
	visits map[*visit]struct{}
	empty  chan struct{} // closed when the last visit leaves; nil: nobody waits for that
	thawed chan struct{} // closed at the thaw; nil: not frozen
}

// visit is one session or delivery.
type visit struct{ end context.CancelCauseFunc }

// New returns a gate whose Enter waits at most this long for a frozen account;
// 0 means DefaultWait.
func New(wait time.Duration) *Gate {
	if wait <= 0 {
		wait = DefaultWait
	}
	return &Gate{wait: wait, accounts: map[mail.AccountID]*account{}}
}

// Enter admits the caller to an account until it calls leave, which may be
// called more than once. It waits while the account is frozen, a bounded time:
// then it returns mail.KindTemporary. The context returned is the caller's and
// ends, with the cause ErrFrozen, when the account freezes.
func (g *Gate) Enter(ctx context.Context, id mail.AccountID) (inside context.Context, leave func(), err error) {
	var timeout <-chan time.Time
	g.mu.Lock()
	for {
		a := g.accounts[id]
		if a == nil || a.thawed == nil {
			break
		}
		thawed := a.thawed
		g.mu.Unlock()
		if timeout == nil {
			t := time.NewTimer(g.wait)
			defer t.Stop()
			timeout = t.C
		}
		select {
		case <-thawed:
		case <-timeout:
			return nil, nil, mail.WrapError(mail.KindTemporary, ErrFrozen, "the mailbox is being moved: try again in a moment")
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
		g.mu.Lock()
	}
	defer g.mu.Unlock()
	inside, end := context.WithCancelCause(ctx)
	v := &visit{end: end}
	a := g.account(id)
	a.visits[v] = struct{}{}
	return inside, func() { g.leave(id, v) }, nil
}

// account returns the account's record, made where there is none.
func (g *Gate) account(id mail.AccountID) *account {
	a := g.accounts[id]
	if a == nil {
		a = &account{visits: map[*visit]struct{}{}}
		g.accounts[id] = a
	}
	return a
}

// leave ends a visit.
func (g *Gate) leave(id mail.AccountID, v *visit) {
	v.end(nil)
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.accounts[id]
	if a == nil {
		return
	}
	delete(a.visits, v)
	g.tidy(id, a)
}

// tidy tells whoever waits that nobody is left, and forgets what needs no record.
func (g *Gate) tidy(id mail.AccountID, a *account) {
	if len(a.visits) > 0 {
		return
	}
	if a.empty != nil {
		close(a.empty)
		a.empty = nil
	}
	if a.thawed == nil {
		delete(g.accounts, id)
	}
}

// Freeze ends the sessions of an account, waits until they and the deliveries
// have left, and lets nobody in until thaw is called, which may be called more
// than once. Where ctx ends first the account is thawed and the error is ctx's.
// An account that is frozen already is mail.KindTemporary.
func (g *Gate) Freeze(ctx context.Context, id mail.AccountID) (thaw func(), err error) {
	g.mu.Lock()
	a := g.account(id)
	if a.thawed != nil {
		g.mu.Unlock()
		return nil, mail.Errorf(mail.KindTemporary, "the mailbox %s is being moved already", id)
	}
	a.thawed = make(chan struct{})
	empty := make(chan struct{})
	a.empty = empty
	for v := range a.visits {
		v.end(ErrFrozen)
	}
	g.tidy(id, a)
	g.mu.Unlock()
	thaw = sync.OnceFunc(func() { g.thaw(id) })
	select {
	case <-empty:
		return thaw, nil
	case <-ctx.Done():
		thaw()
		return nil, ctx.Err()
	}
}

// thaw opens the account again.
func (g *Gate) thaw(id mail.AccountID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.accounts[id]
	close(a.thawed)
	a.thawed, a.empty = nil, nil
	g.tidy(id, a)
}

// Inside returns how many sessions and deliveries are in an account.
func (g *Gate) Inside(id mail.AccountID) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if a := g.accounts[id]; a != nil {
		return len(a.visits)
	}
	return 0
}
