package store

import (
	"context"
	"maps"
	"slices"
	"sync"

	"expost/internal/mail"
)

// groupMax is how many operations one transaction takes.
const groupMax = 256

// sweepBatch is how many emails without references one transaction removes, so
// that an operation never waits long for the removal.
const sweepBatch = 256

// writer is the part of an Account that puts operations in order and commits
// them in groups.
type writer struct {
	mu      sync.Mutex
	idle    sync.Cond // running went false
	queue   []*op
	running bool
	stopped error // no operation is taken any more: what it is told
	unswept bool  // emails without references may be there
}

// op is one operation: do checks, then changes the batch. It may be run again
// after a failed transaction.
type op struct {
	ctx   context.Context
	do    func(*batch) error
	alone bool // in a transaction of its own, because it looks at rows
	done  chan error
}

// change runs do in the account's order and returns when what it did is
// durable and published. An error of do before it changes anything is returned
// and harms nobody else. An operation whose ctx ends while it waits is not run;
// once it runs, change waits for its outcome.
func (a *Account) change(ctx context.Context, do func(*batch) error) error {
	return a.submit(&op{ctx: ctx, do: do, done: make(chan error, 1)})
}

// submit queues an operation and waits for its outcome.
func (a *Account) submit(o *op) error {
	w := &a.writer
	w.mu.Lock()
	if w.stopped != nil {
		w.mu.Unlock()
		return w.stopped
	}
	w.queue = append(w.queue, o)
	if !w.running {
		w.running = true
		go a.write()
	}
	w.mu.Unlock()
	return <-o.done
}

// write commits what waits, then removes what is unused, and ends when neither
// is left.
func (a *Account) write() {
	w := &a.writer
	for {
		w.mu.Lock()
		group := w.takeLocked()
		if len(group) == 0 && (!w.unswept || w.stopped != nil) {
			w.running, w.queue = false, nil
			w.idle.Broadcast()
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
		if len(group) > 0 {
			a.commit(group)
		} else {
			a.sweep()
		}
	}
}

// takeLocked takes the operations that go into the next transaction. writer.mu
// is held.
func (w *writer) takeLocked() []*op {
	n := min(len(w.queue), groupMax)
	for i, o := range w.queue[:n] {
		if o.alone {
			n = max(i, 1)
			break
		}
	}
	group := w.queue[:n]
	w.queue = w.queue[n:]
	return group
}

// stop refuses further operations with err and waits for those that were taken.
func (a *Account) stop(err error) {
	w := &a.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped == nil {
		w.stopped = err
	}
	for w.running {
		w.idle.Wait()
	}
}

// commit runs a group of operations in one transaction, publishes it and
// answers. Where the transaction fails, each operation gets one of its own, so
// that the one at fault harms nobody else.
func (a *Account) commit(group []*op) {
	errs := make([]error, len(group))
	var b *batch
	err := a.db.Update(context.Background(), func(tx Tx) error {
		b = newBatch(a, tx)
		for i, o := range group {
			if errs[i] = o.ctx.Err(); errs[i] != nil {
				continue
			}
			b.dirty = false
			if errs[i] = o.do(b); errs[i] != nil && b.dirty {
				return errs[i]
			}
		}
		return b.flush()
	})
	if err != nil && len(group) > 1 {
		for i := range group {
			a.commit(group[i : i+1])
		}
		return
	}
	if err == nil {
		a.publish(b)
		a.removeBlobs(b)
		if len(b.emails) > 0 {
			a.textsBehind(nil)
		}
	}
	for i, o := range group {
		if err != nil && errs[i] == nil {
			errs[i] = err
		}
		o.done <- errs[i]
	}
}

// sweep removes some emails that no mailbox shows any more.
func (a *Account) sweep() {
	var b *batch
	n := 0
	var removed []mail.EmailID
	err := a.db.Update(context.Background(), func(tx Tx) error {
		ids, err := tx.Unused(sweepBatch)
		if err != nil {
			return err
		}
		n = len(ids)
		removed = ids
		b = newBatch(a, tx)
		if n > 0 {
			if err := a.texts.setDirty(context.Background()); err != nil {
				a.store.opt.Log.Warn("noting expunged messages in the search index", "account", a.id, "err", err)
			}
			b.unlinked, err = tx.DeleteEmails(ids)
		}
		return err
	})
	if err != nil {
		a.store.opt.Log.Error("removing expunged messages", "account", a.id, "err", err)
	} else {
		a.removeBlobs(b)
		if len(removed) > 0 {
			a.textsBehind(removed)
		}
	}
	a.unswept = err == nil && n == sweepBatch
}

// removeBlobs removes the files that a committed batch has left unused.
func (a *Account) removeBlobs(b *batch) {
	for _, sum := range b.unlinked {
		if err := a.db.RemoveBlob(sum); err != nil {
			a.store.opt.Log.Error("removing the file of an expunged message", "account", a.id, "err", err)
		}
	}
}

// publish makes a committed batch the state that everybody sees.
func (a *Account) publish(b *batch) {
	a.unswept = a.unswept || b.unused
	if !b.changed() {
		return
	}
	var stale []chan struct{}
	var ids []mail.MailboxID
	a.mu.Lock()
	a.row = b.account
	for name, on := range b.subscribed {
		if on {
			a.subscribed[name] = true
		} else {
			delete(a.subscribed, name)
		}
	}
	if b.names != nil {
		a.names = b.names
	}
	for id, e := range b.mailboxes {
		ids = append(ids, id)
		a.publishMailbox(id, e)
		if l := a.live[readerKey{mailbox: id}]; l != nil {
			stale = append(stale, l.publish(a, e))
		}
	}
	if len(b.subscribed) > 0 {
		ids = append(ids, 0)
	}
	for i := range b.annotations {
		ids = append(ids, b.annotations[i].Mailbox)
	}
	a.annotated.note(b.annotations)
	stale, ids = append(stale, a.publishReaders(b)...), b.addReaders(ids)
	for w := range a.watchers {
		w.add(a.id, ids...)
	}
	a.mu.Unlock()
	for _, changed := range stale {
		if changed != nil {
			close(changed)
		}
	}
}

// publishMailbox sets or removes the row of a mailbox. a.mu is held.
func (a *Account) publishMailbox(id mail.MailboxID, e *mailboxEdit) {
	if e.deleted {
		delete(a.mailboxes, id)
		delete(a.recent, id)
		return
	}
	row := e.row
	a.mailboxes[id] = &row
	if row.Recent >= a.recent[id] {
		delete(a.recent, id)
	}
}

// saveRecent writes which messages sessions have claimed as \Recent.
func (a *Account) saveRecent() {
	a.mu.RLock()
	ids := slices.Collect(maps.Keys(a.recent))
	a.mu.RUnlock()
	if len(ids) == 0 {
		return
	}
	err := a.change(context.Background(), func(b *batch) error {
		for _, id := range ids {
			if e, err := b.edit(id); err == nil {
				b.touch(e)
			}
		}
		return nil
	})
	if err != nil {
		a.store.opt.Log.Error("writing which messages are recent", "account", a.id, "err", err)
	}
}

// abandon tells every session of an account that it was removed.
func (a *Account) abandon() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.removed = true
	for w := range a.watchers {
		w.add(a.id, 0)
	}
	for key, l := range a.live {
		l.gone.Store(true)
		if s := l.current.Load(); s != nil {
			close(s.changed)
		}
		delete(a.live, key)
	}
}
