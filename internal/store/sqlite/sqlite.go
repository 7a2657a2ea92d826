// Package sqlite is the store's engine for one node: each account is a folder
// with one SQLite database and the files of its large bodies,
//
//	DIR/accounts/<domain>/<local>/mail.db   (-wal, -shm while it is open)
//	DIR/accounts/<domain>/<local>/search.db the search index; made anew where it is missing
//	DIR/accounts/<domain>/<local>/blobs/ab/<sha256>.zst
//	DIR/accounts/.site.db                   what belongs to no account: who shares with whom (made anew where
//	                                        it is missing), annotations of the server
//	DIR/accounts/.spool/                    messages on their way in, accounts being made or removed
//	DIR/accounts/.lock                      held by the process that uses DIR
//	DIR/accounts/.journal/                  what the logs of accounts are to hold; empty once the process has ended
//
// An account can be copied, inspected or deleted as a folder while no process
// holds the lock and after one that ended by itself. Databases are in WAL mode
// with synchronous=FULL: a commit is on disk when it returns, and readers never
// wait for it.
//
// # How a commit becomes durable
//
// What a commit appends to the WAL of its account goes to the journal of the
// node first (package redo, where the states of the journal are), together with
// what other accounts commit at that moment, and one sync serves them all. Then
// it is written to the WAL, which is synced when the journal runs full. So
// beside what the table in package store says, this holds:
//
//	step                                       a crash behind it leaves             and then
//	1 frames are collected in memory           nothing                              the change did not happen
//	2 they are in the journal, synced          frames that the WAL does not have    the next New writes them into the WAL, before
//	                                                                                any account is opened
//	3 they are in the WAL, unsynced            any part of them in the WAL          as in 2
//	4 a checkpoint copies the WAL to mail.db   a part of it; WAL and journal have   as in 2; SQLite does the checkpoint again
//	  and syncs mail.db                        all of it
//	5 the WAL begins anew: header and first    the old WAL, whole (as in 2), whose  SQLite reads the old WAL into mail.db, which
//	  frames, in one record                    frames are in mail.db                changes nothing
//	6 the last connection removes the WAL      the old WAL, or none                 as in 5
//	7 a transaction is too large for a record: frames without a commit              SQLite drops them; the header of a WAL begun
//	  its frames are in the WAL, unsynced                                           anew was in the journal before
//	8 the WAL is synced, and the journal says  the commit                           what the journal has of before is not written
//	  so                                                                            over it
//	9 an account is removed: its folder has    the account is gone; the journal     New drops records whose mail.db is gone or
//	  lost its name, the journal says so       may have records of it               another file than it was
//	10 an administrator puts a folder there    records of the one that was there    as in 9, and the log says so
//
// New accounts (made in the spool, then renamed), the search index and .site.db
// are synced by SQLite itself.
package sqlite

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/ncruces/go-sqlite3/vfs"
	"golang.org/x/sys/unix"

	"expost/internal/blob"
	"expost/internal/mail"
	"expost/internal/redo"
	"expost/internal/store"
)

// Options of an Engine. The zero value of a field means what stands beside it.
type Options struct {
	IdleConns int          // connections kept open that nobody uses: 256, each 3 files and about 400 KiB
	BusyConns int          // readers, and writers, at work at the same time: 64 each
	VFS       string       // of SQLite; the operating system's
	Journal   redo.Options // Log stands for its Log
	Log       *slog.Logger // slog.Default
}

// Engine implements store.Engine in a folder.
type Engine struct {
	dir  string // DIR/accounts
	opt  Options
	lock *os.File

	journal *redo.Journal
	logged  *loggedVFS // of accounts

	readers, writers chan struct{} // one token for each at work

	site   *DB // opened when it is first used, under siteMu
	siteMu sync.Mutex

	mu     sync.Mutex
	idle   *list.List // *conn, the last used first
	conns  int        // that are open
	none   sync.Cond  // conns went to 0
	closed bool
}

var _ store.Engine = (*Engine)(nil)

// The names in DIR/accounts that are no domain.
const (
	spoolName   = ".spool"
	lockName    = ".lock"
	journalName = ".journal"
)

// New returns an Engine that keeps accounts in dir, which it makes where it is
// missing. Where another process uses dir, it says which: mail.KindUnavailable.
func New(dir string, opt Options) (*Engine, error) {
	if opt.IdleConns == 0 {
		opt.IdleConns = 256
	}
	if opt.BusyConns == 0 {
		opt.BusyConns = 64
	}
	if opt.Log == nil {
		opt.Log = slog.Default()
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the mail store: %w", err)
	}
	e := &Engine{
		dir: filepath.Join(dir, "accounts"), opt: opt, idle: list.New(),
		readers: make(chan struct{}, opt.BusyConns), writers: make(chan struct{}, opt.BusyConns),
	}
	e.none.L = &e.mu
	if err := os.MkdirAll(e.dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the mail store: %w", err)
	}
	if e.lock, err = lockFile(filepath.Join(e.dir, lockName)); err != nil {
		return nil, err
	}
	if err := e.openJournal(); err != nil {
		e.lock.Close()
		return nil, err
	}
	if err := e.emptySpool(); err != nil {
		e.journal.Close()
		e.lock.Close()
		return nil, err
	}
	if _, err := e.openSite(); err != nil { // it is tried again when it is needed
		e.opt.Log.Error("opening what belongs to no account", "err", err)
	}
	return e, nil
}

// lockFile takes the lock that keeps other processes out, and writes who has it.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the mail store: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("locking the mail store: %w", err)
		}
		owner := make([]byte, 64)
		n, _ := f.ReadAt(owner, 0)
		return nil, mail.Errorf(mail.KindUnavailable, "the mail store in %s is in use by %s; stop it first",
			filepath.Dir(path), cmp.Or(strings.TrimSpace(string(owner[:n])), "another process"))
	}
	if err := f.Truncate(0); err == nil {
		fmt.Fprintf(f, "process %d\n", os.Getpid())
	}
	return f, nil
}

// openJournal opens the journal, after which all accounts are as they were
// acknowledged, and the VFS that writes to it.
func (e *Engine) openJournal() error {
	e.opt.Journal.Log = e.opt.Log
	journal, err := redo.Open(e.dir, filepath.Join(e.dir, journalName), e.opt.Journal)
	if err != nil {
		return wrap(err, "opening the mail store in %s", e.dir)
	}
	e.journal = journal
	e.logged = &loggedVFS{VFS: vfs.Find(e.opt.VFS), name: fmt.Sprintf("expost-%p", e), root: e.dir, journal: journal, files: make(map[string]*redo.File)}
	vfs.Register(e.logged.name, e.logged)
	return nil
}

// emptySpool removes what a crash left in the spool.
func (e *Engine) emptySpool() error {
	spool := filepath.Join(e.dir, spoolName)
	if err := os.RemoveAll(spool); err != nil {
		return fmt.Errorf("emptying the spool: %w", err)
	}
	if err := os.Mkdir(spool, 0o700); err != nil {
		return fmt.Errorf("making the spool: %w", err)
	}
	return nil
}

// TempFile implements store.Engine.
func (e *Engine) TempFile() (*os.File, error) {
	f, err := os.CreateTemp(filepath.Join(e.dir, spoolName), "message-*.zst")
	if err != nil {
		return nil, wrap(err, "making a spool file")
	}
	return f, nil
}

// Open implements store.Engine. It brings an older database up to date.
func (e *Engine) Open(ctx context.Context, id mail.AccountID) (store.DB, error) {
	dir, err := e.path(id)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, dbName)); errors.Is(err, fs.ErrNotExist) {
		return nil, mail.Errorf(mail.KindNotExist, "there is no account %q", string(id))
	} else if err != nil {
		return nil, wrap(err, "opening account %q", string(id))
	}
	db := &DB{engine: e, id: id, dir: dir, name: dbName, logged: true, blobs: blob.Dir(filepath.Join(dir, "blobs"))}
	c, err := db.take()
	if err != nil {
		return nil, err
	}
	err = c.upgrade()
	db.give(c, err)
	if err != nil {
		return nil, errors.Join(wrap(err, "opening account %q", string(id)), db.Close())
	}
	return db, nil
}

// Create implements store.Engine: the account is made in the spool, synced and
// given its name.
func (e *Engine) Create(ctx context.Context, id mail.AccountID, init func(store.Tx) error) error {
	dir, err := e.path(id)
	if err != nil {
		return err
	}
	if _, err := os.Stat(dir); err == nil {
		return mail.Errorf(mail.KindExist, "there is an account %q already", string(id))
	}
	temp, err := os.MkdirTemp(filepath.Join(e.dir, spoolName), "account-")
	if err != nil {
		return wrap(err, "making account %q", string(id))
	}
	defer os.RemoveAll(temp)
	db := &DB{engine: e, id: id, dir: temp, name: dbName, blobs: blob.Dir(filepath.Join(temp, "blobs"))}
	if err := db.create(init); err != nil {
		return wrap(err, "making account %q", string(id))
	}
	return wrap(e.adopt(temp, dir), "making account %q", string(id))
}

// adopt gives a finished account folder its name.
func (e *Engine) adopt(temp, dir string) error {
	domain := filepath.Dir(dir)
	if err := os.Mkdir(domain, 0o700); err == nil {
		if err := blob.SyncDir(e.dir); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := blob.SyncDir(temp); err != nil {
		return err
	}
	if err := os.Rename(temp, dir); err != nil {
		if errors.Is(err, fs.ErrExist) || errors.Is(err, unix.ENOTEMPTY) {
			return mail.Errorf(mail.KindExist, "there is an account of this name already")
		}
		return err
	}
	return blob.SyncDir(domain)
}

// Remove implements store.Engine: the account loses its name first, so that a
// crash leaves it whole or gone.
func (e *Engine) Remove(ctx context.Context, id mail.AccountID) error {
	dir, err := e.path(id)
	if err != nil {
		return err
	}
	temp, err := os.MkdirTemp(filepath.Join(e.dir, spoolName), "removed-")
	if err != nil {
		return wrap(err, "removing account %q", string(id))
	}
	defer os.RemoveAll(temp)
	logged, err := e.logged.file(filepath.Join(dir, dbName+walSuffix))
	if err == nil {
		err = os.Rename(dir, filepath.Join(temp, "account"))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return mail.Errorf(mail.KindNotExist, "there is no account %q", string(id))
	}
	if err == nil {
		err = blob.SyncDir(filepath.Dir(dir))
	}
	if err == nil { // so that what the journal has of it is not taken for the next one's of this name
		err = logged.Gone()
	}
	return wrap(err, "removing account %q", string(id))
}

// Accounts implements store.Engine.
func (e *Engine) Accounts(ctx context.Context) iter.Seq2[mail.AccountID, error] {
	return func(yield func(mail.AccountID, error) bool) {
		ids, err := e.list(ctx)
		if err != nil {
			yield("", wrap(err, "listing the accounts"))
			return
		}
		for _, id := range ids {
			if !yield(id, nil) {
				return
			}
		}
	}
}

// list returns the ids of all accounts in order.
func (e *Engine) list(ctx context.Context) ([]mail.AccountID, error) {
	domains, err := os.ReadDir(e.dir)
	if err != nil {
		return nil, err
	}
	var ids []mail.AccountID
	for _, d := range domains {
		if !d.IsDir() || strings.HasPrefix(d.Name(), ".") {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		locals, err := os.ReadDir(filepath.Join(e.dir, d.Name()))
		if err != nil {
			return nil, err
		}
		for _, l := range locals {
			if id, ok := accountOf(d.Name(), l.Name()); ok && l.IsDir() {
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// Close implements store.Engine. It waits for those who are at work.
func (e *Engine) Close() error {
	e.mu.Lock()
	e.closed = true
	var conns []*conn
	for at := e.idle.Front(); at != nil; at = at.Next() {
		conns = append(conns, at.Value.(*conn))
	}
	for _, c := range conns {
		c.leaveIdleLocked()
	}
	e.mu.Unlock()
	var errs []error
	for _, c := range conns {
		errs = append(errs, c.close())
	}
	e.mu.Lock()
	for e.conns > 0 {
		e.none.Wait()
	}
	e.mu.Unlock()
	errs = append(errs, e.journal.Close())
	vfs.Unregister(e.logged.name)
	// Unlocked by name: a child that is just being started still has the file open.
	return errors.Join(append(errs, unix.Flock(int(e.lock.Fd()), unix.LOCK_UN), e.lock.Close())...)
}
