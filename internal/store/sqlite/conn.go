package sqlite

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"github.com/ncruces/go-sqlite3"

	"expost/internal/blob"
	"expost/internal/mail"
	"expost/internal/store"
)

// dbName is the name of an account's database in its folder.
const dbName = "mail.db"

// DB implements store.DB. It has a connection only while it is used, and for
// as long afterwards as the Engine keeps it.
type DB struct {
	engine *Engine
	id     mail.AccountID
	dir    string
	name   string // of the database in dir
	logged bool   // commits are durable by the journal
	blobs  blob.Dir
	texts  textIndex

	// Under Engine.mu.
	idle   []*conn
	closed bool
}

// String names the database in errors.
func (db *DB) String() string {
	if db.name == siteName {
		return "the index of the mail store"
	}
	return "account " + strconv.Quote(string(db.id))
}

// conn is a connection to an account's database. All connections are equal:
// whoever needs one, reader or writer, takes an idle one or opens another.
type conn struct {
	*sqlite3.Conn
	db     *DB
	stmts  map[string]*sqlite3.Stmt
	idleAt *list.Element // in Engine.idle
}

// pragmas are set on every connection. The cache is small because accounts are
// many; the system has a cache of its own.
const pragmas = `
	PRAGMA busy_timeout = 10000;
	PRAGMA synchronous = FULL;
	PRAGMA cache_size = -1024;
	PRAGMA temp_store = MEMORY;
	PRAGMA wal_autocheckpoint = 1000;
	PRAGMA journal_size_limit = 8388608;
`

// open opens a connection.
func (db *DB) open(flags sqlite3.OpenFlag) (*conn, error) {
	u := url.URL{Scheme: "file", OmitHost: true, Path: filepath.Join(db.dir, db.name)}
	name := db.engine.opt.VFS
	if db.logged {
		name = db.engine.logged.name
	}
	if name != "" {
		u.RawQuery = url.Values{"vfs": {name}}.Encode()
	}
	if err := db.engine.enter(); err != nil {
		return nil, err
	}
	raw, err := sqlite3.OpenFlags(u.String(), flags|sqlite3.OPEN_URI|sqlite3.OPEN_READWRITE)
	if err != nil {
		db.engine.leave()
		return nil, err
	}
	set := pragmas
	if db.name == textsName {
		set += textPragmas
	}
	if err := raw.Exec(set); err != nil {
		defer db.engine.leave()
		return nil, errors.Join(err, raw.Close())
	}
	return &conn{Conn: raw, db: db, stmts: make(map[string]*sqlite3.Stmt)}, nil
}

// take returns a connection for the caller alone. Give it back.
func (db *DB) take() (*conn, error) {
	e := db.engine
	e.mu.Lock()
	if db.closed || e.closed {
		e.mu.Unlock()
		return nil, mail.Errorf(mail.KindUnavailable, "%s is closed", db)
	}
	if n := len(db.idle); n > 0 {
		c := db.idle[n-1]
		c.leaveIdleLocked()
		e.mu.Unlock()
		return c, nil
	}
	e.mu.Unlock()
	c, err := db.open(0)
	return c, wrap(err, "opening the database of %s", db)
}

// give takes a connection back. After an error of the disk it is closed, since
// nobody knows what it still believes.
func (db *DB) give(c *conn, err error) {
	e := db.engine
	e.mu.Lock()
	var out *conn
	if db.closed || e.closed || isDiskError(err) {
		out = c
	} else {
		db.idle = append(db.idle, c)
		c.idleAt = e.idle.PushFront(c)
		if e.idle.Len() > e.opt.IdleConns {
			out = e.idle.Back().Value.(*conn)
			out.leaveIdleLocked()
		}
	}
	e.mu.Unlock()
	if out == nil {
		return
	}
	if err := out.close(); err != nil {
		e.opt.Log.Error("closing the database of an account", "account", out.db.id, "err", err)
	}
}

// leaveIdleLocked takes an idle connection off the lists. Engine.mu is held.
func (c *conn) leaveIdleLocked() {
	c.db.engine.idle.Remove(c.idleAt)
	c.idleAt = nil
	for i, other := range c.db.idle {
		if other == c {
			c.db.idle = append(c.db.idle[:i], c.db.idle[i+1:]...)
			return
		}
	}
}

// close closes the connection. The last one of an account empties the log into
// the database.
func (c *conn) close() error {
	for _, s := range c.stmts {
		s.Close()
	}
	defer c.db.engine.leave()
	return c.Conn.Close()
}

// enter counts a connection that is about to be opened.
func (e *Engine) enter() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return mail.Errorf(mail.KindUnavailable, "the mail store is closed")
	}
	e.conns++
	return nil
}

// leave counts a connection that was closed.
func (e *Engine) leave() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.conns--; e.conns == 0 {
		e.none.Broadcast()
	}
}

// stmt returns a prepared statement with its parameters bound.
func (c *conn) stmt(sql string, args ...any) (*sqlite3.Stmt, error) {
	s := c.stmts[sql]
	if s == nil {
		var err error
		if s, _, err = c.PrepareFlags(sql, sqlite3.PREPARE_PERSISTENT); err != nil {
			return nil, err
		}
		c.stmts[sql] = s
	}
	for i, arg := range args {
		var err error
		switch v := arg.(type) {
		case int64:
			err = s.BindInt64(i+1, v)
		case string:
			err = s.BindText(i+1, v)
		case []byte:
			err = s.BindBlob(i+1, v)
		default:
			err = fmt.Errorf("sqlite: parameter of type %T", arg)
		}
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// exec runs a statement that returns no rows.
func (c *conn) exec(sql string, args ...any) error {
	s, err := c.stmt(sql, args...)
	if err != nil {
		return err
	}
	return s.Exec()
}

// query calls fn with each row.
func (c *conn) query(sql string, fn func(*sqlite3.Stmt) error, args ...any) error {
	s, err := c.stmt(sql, args...)
	if err != nil {
		return err
	}
	for s.Step() {
		if err := fn(s); err != nil {
			s.Reset()
			return err
		}
	}
	return s.Reset()
}

// View implements store.DB.
func (db *DB) View(ctx context.Context, fn func(store.ReadTx) error) error {
	return db.view(ctx, func(c *conn) error { return fn(&tx{c: c}) })
}

// view calls fn with a connection on which a transaction is open.
func (db *DB) view(ctx context.Context, fn func(*conn) error) (err error) {
	select {
	case db.engine.readers <- struct{}{}:
		defer func() { <-db.engine.readers }()
	case <-ctx.Done():
		return ctx.Err()
	}
	c, err := db.take()
	if err != nil {
		return err
	}
	defer func() { db.give(c, err) }()
	defer c.SetInterrupt(c.SetInterrupt(ctx))
	if err = c.exec("BEGIN"); err == nil {
		err = errors.Join(fn(c), c.rollback())
	}
	return wrap(err, "reading %s", db)
}

// Update implements store.DB.
func (db *DB) Update(ctx context.Context, fn func(store.Tx) error) error {
	return db.update(ctx, func(c *conn) (undo func() error, err error) {
		t := &tx{c: c}
		return t.unlink, fn(t)
	})
}

// update calls fn with a connection on which a transaction is open, and commits
// it. Where either fails, what fn returns undoes what is not in the database.
func (db *DB) update(ctx context.Context, fn func(*conn) (undo func() error, err error)) (err error) {
	select {
	case db.engine.writers <- struct{}{}:
		defer func() { <-db.engine.writers }()
	case <-ctx.Done():
		return ctx.Err()
	}
	c, err := db.take()
	if err != nil {
		return err
	}
	defer func() { db.give(c, err) }()
	undo := func() error { return nil }
	if err = c.exec("BEGIN IMMEDIATE"); err == nil {
		if undo, err = fn(c); err == nil {
			err = c.exec("COMMIT")
		}
	}
	if err != nil {
		err = errors.Join(err, c.rollback(), undo())
	}
	return wrap(err, "changing %s", db)
}

// rollback ends the transaction, where one is open, even if interrupted.
func (c *conn) rollback() error {
	if c.GetAutocommit() {
		return nil
	}
	defer c.SetInterrupt(c.SetInterrupt(context.Background()))
	return c.exec("ROLLBACK")
}

// OpenBlob implements store.DB.
func (db *DB) OpenBlob(sum blob.Sum) (*os.File, error) {
	f, err := db.blobs.Open(sum)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, mail.WrapError(mail.KindNotExist, err, "the message's bytes are gone")
	}
	return f, wrap(err, "opening a message")
}

// Blobs implements store.DB.
func (db *DB) Blobs() iter.Seq2[blob.Sum, error] { return db.blobs.All() }

// RemoveBlob implements store.DB.
func (db *DB) RemoveBlob(sum blob.Sum) error { return wrap(db.blobs.Remove(sum), "removing a message") }

// Close implements store.DB.
func (db *DB) Close() error {
	e := db.engine
	e.mu.Lock()
	db.closed = true
	conns := append([]*conn(nil), db.idle...)
	for _, c := range conns {
		c.leaveIdleLocked()
	}
	e.mu.Unlock()
	var errs []error
	for _, c := range conns {
		errs = append(errs, c.close())
	}
	errs = append(errs, db.texts.close())
	return wrap(errors.Join(errs...), "closing account %q", string(db.id))
}
