// Package store keeps accounts: mailboxes, the messages in them, and the rules
// that hold for both (UIDs, modification sequences, flags, quota, what is
// announced to whom). The engines below it only know rows.
//
// # What is on disk, and what a crash leaves
//
// A change is acknowledged after its transaction is synced. A crash (kill -9,
// power loss, a full disk) can come before or after each step:
//
//	step                                        a crash behind it leaves          and then
//	1 a small message is in memory              nothing                           the sender tries again
//	2 a large one is a file in the spool        a file without a reader           the engine empties the spool at start
//	3 its file is synced and linked under its   a blob without a row              Check finds it; the next message with
//	  sum into the account, the folder synced                                     the same bytes takes it over
//	4 rows of a group are written, unsynced     a torn log                        the database drops it: no change of the
//	                                                                              group happened, none was acknowledged
//	5 the group is synced                       the change                        it is there, told or not
//	6 snapshots are published, callers told     the change                        it is there
//	7 an email's last reference went            the rows, references at 0         the writer removes them when next idle
//	8 its rows are gone, its file is not yet    a blob without a row              as in 3
//
//	account made in the spool, not yet named    a folder in the spool             emptied at start; Create makes it again
//	account renamed into the spool, not removed a folder in the spool             emptied at start
//	\Recent claimed, not yet written            an older \Recent                  messages are \Recent once more
//	index names an account that shares, the     an account too many to ask        nobody gets a right by it; Check
//	list is not yet changed, or not any more                                      with repair tidies it
//
// So a reference never points to a body that is missing, and what is left over
// is never visible.
//
// # Who does what
//
// One goroutine an account writes: it takes the operations that wait, applies
// each to a batch (which refuses an operation before it changes anything, so
// that one that is over quota does not harm its neighbours), commits the batch
// in one transaction with one sync, publishes the new snapshots and answers.
// It ends when nothing waits. Readers look at memory (mailbox rows, snapshots)
// or at the database through connections of their own.
package store

import (
	"container/list"
	"context"
	"iter"
	"log/slog"
	"sync"
	"time"

	"expost/internal/blob"
	"expost/internal/mail"
	"expost/internal/message"
)

// Options of a Store. The zero value of a field means what stands beside it.
type Options struct {
	Mailboxes    []DefaultMailbox // of a new account beside INBOX; Drafts, Sent, Junk, Trash, Archive
	IdleAccounts int              // accounts kept in memory after their last Release: 256
	InlineMax    int              // largest compressed body kept in the database, bytes: 64 KiB
	MaxMailboxes int              // mailboxes an account can have, and subscriptions: 20,000
	HistoryRows  int              // expunges remembered an account: 32,768
	IndexDelay   time.Duration    // quiet time before new messages are indexed for searches: 2 s; negative: only on demand
	Limits       message.Limits
	Log          *slog.Logger     // slog.Default
	Now          func() time.Time // time.Now
}

// DefaultMailbox is a mailbox that a new account starts with, subscribed.
type DefaultMailbox struct {
	Name string
	Use  mail.SpecialUse
}

// Store is all accounts of one node.
type Store struct {
	engine    Engine
	opt       Options
	codec     *blob.Codec
	buffers   sync.Pool // *[spoolBuffer]byte
	contents  sync.Pool // *contents
	shares    shares
	annotated annotated     // the server's, under mu
	indexing  chan struct{} // holds a token of the account that is being indexed

	mu       sync.Mutex
	accounts map[mail.AccountID]*Account
	idle     *list.List // *Account without references, the last released first
	closed   bool
	closing  sync.WaitGroup // accounts on their way out
}

// New returns a Store on an engine, which Close closes.
func New(engine Engine, opt Options) *Store {
	if opt.Mailboxes == nil {
		opt.Mailboxes = []DefaultMailbox{
			{"Drafts", mail.UseDrafts}, {"Sent", mail.UseSent}, {"Junk", mail.UseJunk},
			{"Trash", mail.UseTrash}, {"Archive", mail.UseArchive},
		}
	}
	if opt.IdleAccounts == 0 {
		opt.IdleAccounts = 256
	}
	if opt.InlineMax == 0 {
		opt.InlineMax = 64 << 10
	}
	if opt.MaxMailboxes == 0 {
		opt.MaxMailboxes = 20_000
	}
	if opt.HistoryRows == 0 {
		opt.HistoryRows = 32 << 10
	}
	if opt.IndexDelay == 0 {
		opt.IndexDelay = 2 * time.Second
	}
	if opt.Log == nil {
		opt.Log = slog.Default()
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	s := &Store{
		engine: engine, opt: opt, codec: blob.NewCodec(),
		buffers:  sync.Pool{New: func() any { return new([spoolBuffer]byte) }},
		accounts: make(map[mail.AccountID]*Account), idle: list.New(),
		indexing: make(chan struct{}, 1),
	}
	s.shares.store = s
	return s
}

// errClosed is what a closed Store answers.
var errClosed = mail.Errorf(mail.KindUnavailable, "the mail store is shut down")

// Open returns the account, opening it where it is not open yet. Release it.
// An account that does not exist is an error of mail.KindNotExist.
func (s *Store) Open(ctx context.Context, id mail.AccountID) (*Account, error) {
	for {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return nil, errClosed
		}
		a := s.accounts[id]
		switch {
		case a == nil:
			a = newAccount(s, id)
			s.accounts[id] = a
			s.mu.Unlock()
			a.err = a.load(ctx)
			close(a.opened)
			if a.err != nil {
				s.forget(a)
			}
		case a.leaving:
			s.mu.Unlock()
			select {
			case <-a.left:
				continue
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		default:
			a.retainLocked()
			s.mu.Unlock()
		}
		select {
		case <-a.opened:
		case <-ctx.Done():
			a.Release()
			return nil, ctx.Err()
		}
		if a.err == nil {
			return a, nil
		}
		if ctx.Err() == nil && context.Cause(ctx) == nil && isCanceled(a.err) {
			continue // the one who opened it went away, not we
		}
		return nil, a.err
	}
}

// retainLocked takes a reference. s.mu is held.
func (a *Account) retainLocked() {
	a.refs++
	if a.idleAt != nil {
		a.store.idle.Remove(a.idleAt)
		a.idleAt = nil
	}
}

// forget takes an account that could not be opened out of the map.
func (s *Store) forget(a *Account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.accounts[a.id] == a {
		delete(s.accounts, a.id)
	}
}

// Release gives the account back.
func (a *Account) Release() {
	s := a.store
	s.mu.Lock()
	a.refs--
	var out *Account
	if a.refs == 0 && s.accounts[a.id] == a && !a.leaving {
		a.idleAt = s.idle.PushFront(a)
		if s.idle.Len() > s.opt.IdleAccounts {
			out = s.idle.Back().Value.(*Account)
			out.leaveLocked()
		}
	}
	s.mu.Unlock()
	if out != nil {
		go out.leave(true)
	}
}

// leaveLocked marks an account as one that is being closed; leave must follow.
func (a *Account) leaveLocked() {
	a.leaving = true
	if a.idleAt != nil {
		a.store.idle.Remove(a.idleAt)
		a.idleAt = nil
	}
	a.store.closing.Add(1)
}

// leave closes an account that leaveLocked has marked. save says whether it
// lives on, so that what is written lazily must be written now.
func (a *Account) leave(save bool) {
	<-a.opened
	if a.err == nil {
		if save {
			a.saveRecent()
		}
		a.stop(errClosed)
		a.stopTexts(save)
		if err := a.db.Close(); err != nil {
			a.store.opt.Log.Error("closing an account", "account", a.id, "err", err)
		}
	}
	s := a.store
	s.mu.Lock()
	if s.accounts[a.id] == a {
		delete(s.accounts, a.id)
	}
	s.mu.Unlock()
	close(a.left)
	s.closing.Done()
}

// Create makes an empty account with an INBOX and the mailboxes of
// Options.Mailboxes, and is no error where the account exists already.
func (s *Store) Create(ctx context.Context, id mail.AccountID) error {
	err := s.engine.Create(ctx, id, func(tx Tx) error { return s.populate(tx) })
	if mail.KindOf(err) == mail.KindExist {
		return nil
	}
	return err
}

// populate writes what a new account starts with.
func (s *Store) populate(tx Tx) error {
	now := mail.UIDValidity(s.opt.Now().Unix())
	row := AccountRow{NextMailbox: 1, NextEmail: 1, UIDValidity: now, HistoryFrom: 0}
	put := func(name string, use mail.SpecialUse) error {
		row.ModSeq++
		box := MailboxRow{Recent: 1, Mailbox: mail.Mailbox{
			ID: row.NextMailbox, Name: name, UIDValidity: now, UIDNext: 1, HighestModSeq: row.ModSeq, SpecialUse: use,
		}}
		row.NextMailbox++
		if err := tx.PutMailbox(box); err != nil {
			return err
		}
		return tx.PutSubscription(name, true)
	}
	if err := put(mail.Inbox, mail.UseNone); err != nil {
		return err
	}
	for _, d := range s.opt.Mailboxes {
		if err := put(d.Name, d.Use); err != nil {
			return err
		}
	}
	return tx.PutAccount(row)
}

// Remove deletes an account with everything in it. Sessions that have it open
// find their mailboxes gone.
func (s *Store) Remove(ctx context.Context, id mail.AccountID) error {
	s.mu.Lock()
	a := s.accounts[id]
	if a != nil && a.leaving {
		s.mu.Unlock()
		<-a.left
		return s.Remove(ctx, id)
	}
	if a == nil { // hold the place, so that nobody opens it meanwhile
		a = newAccount(s, id)
		a.err = errNoAccount(id)
		close(a.opened)
		s.accounts[id] = a
	}
	a.leaveLocked()
	s.mu.Unlock()
	<-a.opened
	a.abandon()
	if err := a.removeAndLeave(ctx); err != nil {
		return err
	}
	return s.shares.drop(ctx, id)
}

// removeAndLeave closes the account, and removes it before anybody can open it
// again.
func (a *Account) removeAndLeave(ctx context.Context) error {
	defer a.leave(false)
	if a.err == nil {
		a.stop(errNoAccount(a.id))
		a.stopTexts(false)
		if err := a.db.Close(); err != nil {
			return err
		}
	}
	return a.store.engine.Remove(ctx, a.id)
}

// Accounts yields the ids of all accounts, in order.
func (s *Store) Accounts(ctx context.Context) iter.Seq2[mail.AccountID, error] {
	return s.engine.Accounts(ctx)
}

// Close waits for the writers and closes every account.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	var leaving []*Account
	for _, a := range s.accounts {
		if !a.leaving {
			a.leaveLocked()
			leaving = append(leaving, a)
		}
	}
	s.mu.Unlock()
	for _, a := range leaving {
		a.leave(true)
	}
	s.closing.Wait()
	return s.engine.Close()
}

// errNoAccount is the error of an account that is not there.
func errNoAccount(id mail.AccountID) error {
	return mail.Errorf(mail.KindNotExist, "there is no account %q", string(id))
}
