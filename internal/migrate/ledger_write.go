package migrate

import (
	"context"
	"errors"
	"time"
)

// Writes to the ledger share transactions. One is open from the first write
// that may wait until a write that may not, which takes those of other
// goroutines that have come meanwhile along: one sync for all of them. A crash
// loses what waited; what may wait is what the next pass finds out again by
// itself, the state table of the package comment says how.

// maxWait bounds how long a write that may wait does, so that "status" sees it.
const maxWait = time.Second

// ledgerWrite is one write that has to be on disk.
type ledgerWrite struct {
	fn   func() error
	done bool
	err  error
}

// update runs fn in a transaction, all of it or nothing, that is on disk when
// update returns nil, with all that was noted before. fn may run in another
// goroutine.
func (l *Ledger) update(ctx context.Context, fn func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w := &ledgerWrite{fn: fn}
	l.waitingMu.Lock()
	l.waiting = append(l.waiting, w)
	l.waitingMu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.done { // another goroutine took it along
		return w.err
	}
	l.waitingMu.Lock()
	all := l.waiting
	l.waiting = nil
	l.waitingMu.Unlock()
	for _, w := range all {
		w.err = l.apply(w.fn)
	}
	err := l.commit()
	for _, w := range all {
		w.done = true
		if w.err == nil {
			w.err = err
		}
	}
	return w.err
}

// note runs fn as update does, but the write may wait for the disk.
func (l *Ledger) note(ctx context.Context, fn func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := l.apply(fn); err != nil {
		return err
	}
	if time.Since(l.since) > maxWait {
		return l.commit()
	}
	return nil
}

// settle returns when all that was noted is on disk.
func (l *Ledger) settle(ctx context.Context) error {
	return l.update(ctx, func() error { return nil })
}

// apply runs fn inside the open transaction, opening one where there is none.
// The caller holds mu.
func (l *Ledger) apply(fn func() error) error {
	if l.broken != nil {
		return l.broken
	}
	if l.db.GetAutocommit() {
		if err := l.db.Exec(`BEGIN IMMEDIATE`); err != nil {
			return l.wrap(err, "writing to the ledger")
		}
		l.since = time.Now()
	}
	if err := l.exec(`SAVEPOINT part`); err != nil {
		return l.broke(err)
	}
	err := fn()
	if l.db.GetAutocommit() { // the engine gave the whole transaction up
		return l.broke(errors.Join(err, errGaveUp))
	}
	if err != nil {
		if rerr := l.exec(`ROLLBACK TO part`); rerr != nil {
			return l.broke(errors.Join(err, rerr))
		}
	}
	if rerr := l.exec(`RELEASE part`); rerr != nil {
		return l.broke(errors.Join(err, rerr))
	}
	return err
}

// errGaveUp says that writes of others are lost with one.
var errGaveUp = errors.New("the ledger's transaction was given up")

// commit ends the open transaction. The caller holds mu.
func (l *Ledger) commit() error {
	if l.broken != nil || l.db.GetAutocommit() {
		return l.broken
	}
	if err := l.exec(`COMMIT`); err != nil {
		return l.broke(err)
	}
	return nil
}

// broke remembers that writes which their callers believe in were lost: nothing
// more may be built on them. The caller holds mu.
func (l *Ledger) broke(err error) error {
	l.broken = err
	if !l.db.GetAutocommit() {
		l.broken = errors.Join(err, l.db.Exec(`ROLLBACK`))
	}
	return l.broken
}
