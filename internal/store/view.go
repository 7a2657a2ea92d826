package store

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"expost/internal/mail"
)

// gracedMax is how many mailboxes of an account stay in memory without a view,
// for a client that leaves one and comes back.
const gracedMax = 2

// live is a mailbox that is in memory, once for all views of it; for each who
// has flags of his own there, once more, over the one that the owner sees.
type live struct {
	id      mail.MailboxID
	who     mail.AccountID           // empty: as the owner sees it
	base    *live                    // as the owner sees it, held by every view of this one; nil: this is it
	current atomic.Pointer[Snapshot] // nil while it is read
	gone    atomic.Bool
	ready   chan struct{} // closed when it is read, or err set
	err     error

	// Under Account.mu.
	views  int
	missed []missed // published while it was read
}

// missed is a change of a mailbox that was published while it was read.
type missed struct {
	modseq mail.ModSeq
	edits  []chunkEdit
}

// publish moves the mailbox on by what e changed and returns the channel to
// close, or nil. a.mu is held.
func (l *live) publish(a *Account, e *mailboxEdit) chan struct{} {
	old := l.current.Load()
	switch {
	case e.deleted || e.reset:
		l.gone.Store(true)
		a.dropLive(l)
	case old == nil:
		l.missed = append(l.missed, missed{e.row.HighestModSeq, sortedEdits(e.puts)})
		return nil
	default:
		l.current.Store(&Snapshot{
			mailbox: a.mailboxLocked(&e.row), index: old.index.apply(sortedEdits(e.puts)), changed: make(chan struct{}),
		})
	}
	if old == nil {
		return nil
	}
	return old.changed
}

// dropLive takes a mailbox out of memory. a.mu is held.
func (a *Account) dropLive(l *live) {
	if key := (readerKey{l.id, l.who}); a.live[key] == l {
		delete(a.live, key)
	}
	if l.base != nil {
		return
	}
	a.graced = slices.DeleteFunc(a.graced, func(id mail.MailboxID) bool { return id == l.id })
}

// View is a session's place in a selected mailbox. It is not for concurrent use.
type View struct {
	a      *Account
	live   *live
	at     *Snapshot
	recent mail.UID
	claims bool
	closed bool
	base   *View // what a view with flags of its own holds
}

// Select returns a View that stands at the mailbox's present state. Close it.
// Its messages are \Recent for no session that selects after it.
func (a *Account) Select(ctx context.Context, name string) (*View, error) {
	return a.view(ctx, name, true)
}

// Examine is Select by a session that may not change the mailbox: the messages
// stay \Recent for the next one (RFC 9051 §6.3.3, RFC 3501 §2.3.2).
func (a *Account) Examine(ctx context.Context, name string) (*View, error) {
	return a.view(ctx, name, false)
}

func (a *Account) view(ctx context.Context, name string, claims bool) (*View, error) {
	a.mu.Lock()
	row := a.mailboxes[a.names[canonicalName(name)]]
	if row == nil || a.removed {
		a.mu.Unlock()
		return nil, errNoMailbox(name)
	}
	l := a.live[readerKey{mailbox: row.ID}]
	if l == nil {
		l = &live{id: row.ID, ready: make(chan struct{})}
		a.live[readerKey{mailbox: row.ID}] = l
		go a.loadLive(context.WithoutCancel(ctx), l)
	}
	l.views++
	a.graced = slices.DeleteFunc(a.graced, func(id mail.MailboxID) bool { return id == l.id })
	a.mu.Unlock()
	a.store.retain(a)

	v := &View{a: a, live: l, claims: claims}
	var err error
	select {
	case <-l.ready:
		err = l.err
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		v.Close()
		return nil, err
	}
	v.at = l.current.Load()
	v.claimRecent()
	a.textsSelected(v.at.Len())
	return v, nil
}

// retain takes a reference to an account that the caller holds one of.
func (s *Store) retain(a *Account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.retainLocked()
}

// loadLive reads a mailbox. What was published meanwhile is applied to what was
// read, unless that holds it already: a change is in the database a moment
// before it is published.
func (a *Account) loadLive(ctx context.Context, l *live) {
	var chunks []*chunk
	var row MailboxRow
	err := a.db.View(ctx, func(tx ReadTx) (err error) {
		if row, err = tx.Mailbox(l.id); err == nil {
			chunks, err = readChunks(tx, l.id)
		}
		return err
	})
	a.mu.Lock()
	defer a.mu.Unlock()
	defer close(l.ready)
	published := a.mailboxes[l.id]
	if err == nil && (published == nil || l.gone.Load()) {
		err = mail.Errorf(mail.KindNotExist, "the mailbox is gone")
	}
	if err != nil {
		l.err = err
		a.dropLive(l)
		return
	}
	ix := newIndex(chunks)
	for _, m := range l.missed {
		if m.modseq > row.HighestModSeq {
			ix = ix.apply(m.edits)
		}
	}
	l.missed = nil
	if published.HighestModSeq >= row.HighestModSeq {
		row = *published
	}
	l.current.Store(&Snapshot{mailbox: a.mailboxLocked(&row), index: ix, changed: make(chan struct{})})
}

// claimRecent notes that a session sees the messages of the view's state.
func (v *View) claimRecent() {
	a, id := v.a, v.live.id
	a.mu.Lock()
	defer a.mu.Unlock()
	row := a.mailboxes[id]
	if row == nil {
		return
	}
	first := max(row.Recent, a.recent[id])
	if v.recent == 0 {
		v.recent = first
	}
	if next := v.at.mailbox.UIDNext; v.claims && next > first {
		a.recent[id] = next
	}
}

// Snapshot returns the state the view stands at.
func (v *View) Snapshot() *Snapshot { return v.at }

// Changed returns a channel that is closed when the mailbox is no longer in
// the state of Snapshot. Ask again after MoveTo. Where Gone, it stays closed.
func (v *View) Changed() <-chan struct{} { return v.at.changed }

// Latest returns the newest state without moving the view.
func (v *View) Latest() *Snapshot { return v.live.current.Load() }

// MoveTo moves the view to a state that Latest returned (or one made from it
// with KeepExpunged).
func (v *View) MoveTo(s *Snapshot) {
	arrived := s.mailbox.UIDNext > v.at.mailbox.UIDNext
	v.at = s
	if arrived && v.claims {
		v.claimRecent()
	}
}

// Recent returns the first UID that no read-write session saw before this one
// (RFC 3501 §2.3.2); a message is \Recent here where its UID is not below it.
func (v *View) Recent() mail.UID { return v.recent }

// Gone tells whether the mailbox was deleted.
func (v *View) Gone() bool { return v.live.gone.Load() }

// Close ends the view.
func (v *View) Close() {
	if v.closed {
		return
	}
	v.closed = true
	a, l := v.a, v.live
	a.mu.Lock()
	l.views--
	switch {
	case l.views > 0 || a.live[readerKey{l.id, l.who}] != l:
	case l.base != nil:
		a.noteLeft(l)
		a.dropLive(l)
	default:
		a.graced = append(a.graced, l.id)
		if len(a.graced) > gracedMax {
			delete(a.live, readerKey{mailbox: a.graced[0]})
			a.graced = slices.Delete(a.graced, 0, 1)
		}
	}
	a.mu.Unlock()
	if v.base != nil {
		v.base.Close()
	}
	a.Release()
}

// Changed names a mailbox that changed. Mailbox 0 stands for the account itself:
// its subscriptions, its annotations, those of the server, or who shares with
// whom; or that it was removed.
type Changed struct {
	Account mail.AccountID
	Mailbox mail.MailboxID
}

// Watcher receives what changes in some accounts: mailboxes that are created,
// renamed or deleted, whose contents, flags or access control lists change. What
// waits for its reader is there once. It is safe for concurrent use, but for
// Watch, Leave and Close.
type Watcher struct {
	C <-chan Changed

	ch       chan Changed
	done     chan struct{}
	accounts []*Account

	mu      sync.Mutex
	waiting []Changed
	running bool
}

// NewWatcher returns a Watcher of no account. Close it.
func NewWatcher() *Watcher {
	ch := make(chan Changed)
	return &Watcher{C: ch, ch: ch, done: make(chan struct{})}
}

// Watch adds an account, which must stay open until Leave or Close.
func (w *Watcher) Watch(a *Account) {
	w.accounts = append(w.accounts, a)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.watchers[w] = struct{}{}
}

// Leave takes an account out. What waits of it may still be received.
func (w *Watcher) Leave(a *Account) {
	w.accounts = slices.DeleteFunc(w.accounts, func(b *Account) bool { return a == b })
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.watchers, w)
}

// Close ends it.
func (w *Watcher) Close() {
	for len(w.accounts) > 0 {
		w.Leave(w.accounts[0])
	}
	close(w.done)
}

// add takes ids that changed, and never waits for the reader.
func (w *Watcher) add(account mail.AccountID, ids ...mail.MailboxID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range ids {
		if ch := (Changed{account, id}); !slices.Contains(w.waiting, ch) {
			w.waiting = append(w.waiting, ch)
		}
	}
	if !w.running && len(w.waiting) > 0 {
		w.running = true
		go w.send()
	}
}

// send passes on what waits, and ends when nothing does.
func (w *Watcher) send() {
	for {
		w.mu.Lock()
		if len(w.waiting) == 0 {
			w.running = false
			w.mu.Unlock()
			return
		}
		next := w.waiting[0]
		w.waiting = w.waiting[1:]
		w.mu.Unlock()
		select {
		case w.ch <- next:
		case <-w.done:
			return
		}
	}
}
