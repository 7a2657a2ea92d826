package sqlite

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/ncruces/go-sqlite3"

	"expost/internal/mail"
	"expost/internal/store"
)

// textsName is the name of an account's search index in its folder. It is a
// database of its own, so that the commits of mail stay small, its commits need
// no sync, and it can be thrown away.
const textsName = "search.db"

// textIndex is the search index of a DB, opened when it is first used. Who uses
// it holds mu for reading; who opens or drops it, for writing.
type textIndex struct {
	mu sync.RWMutex
	db *DB
}

var _ store.TextDB = (*DB)(nil)

// textSchema is the search index. PRAGMA user_version is the version of this and
// of what the blocks hold; an index of another version is thrown away. Pages are
// large because blocks are.
const (
	textVersion = 2
	textSchema  = `
		PRAGMA page_size = 16384;
		PRAGMA journal_mode = WAL;
		BEGIN IMMEDIATE;
		CREATE TABLE head (key INTEGER PRIMARY KEY, data BLOB NOT NULL);
		CREATE TABLE text (key INTEGER PRIMARY KEY, data BLOB NOT NULL);
		CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 1), dirty INTEGER NOT NULL);
		PRAGMA user_version = 2;
		COMMIT;
	`
	textPragmas = `PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 256;`
)

// useTexts calls fn with the database of the search index.
func (db *DB) useTexts(fn func(*DB) error) error {
	x := &db.texts
	x.mu.RLock()
	defer x.mu.RUnlock()
	for x.db == nil {
		x.mu.RUnlock()
		err := db.openTexts()
		x.mu.RLock()
		if err != nil {
			return wrap(err, "opening the search index of account %q", string(db.id))
		}
	}
	return fn(x.db)
}

// openTexts opens the search index, and makes it where there is none that this
// program can read.
func (db *DB) openTexts() error {
	x := &db.texts
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.db != nil {
		return nil
	}
	t := &DB{engine: db.engine, id: db.id, dir: db.dir, name: textsName}
	version, err := t.textVersion()
	if err == nil && version == textVersion {
		x.db = t
		return nil
	}
	if err != nil && mail.KindOf(wrap(err, "")) != mail.KindCorrupt && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := t.removeFiles(); err != nil {
		return err
	}
	c, err := t.open(sqlite3.OPEN_CREATE)
	if err != nil {
		return err
	}
	if err := errors.Join(c.Exec(textSchema), c.close()); err != nil {
		return err
	}
	x.db = t
	return nil
}

// textVersion returns the version of the index on disk; fs.ErrNotExist.
func (db *DB) textVersion() (int64, error) {
	if _, err := os.Stat(filepath.Join(db.dir, db.name)); err != nil {
		return 0, err
	}
	c, err := db.open(0)
	if err != nil {
		return 0, err
	}
	version, err := c.number("PRAGMA user_version")
	return version, errors.Join(err, c.close())
}

// removeFiles removes a database that has no connections.
func (db *DB) removeFiles() error {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(filepath.Join(db.dir, db.name+suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// DropTexts implements store.TextDB.
func (db *DB) DropTexts() error {
	x := &db.texts
	x.mu.Lock()
	defer x.mu.Unlock()
	t := x.db
	if t == nil {
		t = &DB{engine: db.engine, id: db.id, dir: db.dir, name: textsName}
	}
	x.db = nil
	closed := t.Close() // of a damaged one this may fail
	return wrap(errors.Join(t.removeFiles(), dropCorrupt(closed)), "removing the search index of account %q", string(db.id))
}

// dropCorrupt returns nil for an error of damage.
func dropCorrupt(err error) error {
	if mail.KindOf(err) == mail.KindCorrupt {
		return nil
	}
	return err
}

// close closes the index, where it is open.
func (x *textIndex) close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.db == nil {
		return nil
	}
	return x.db.Close()
}

// ViewTexts implements store.TextDB.
func (db *DB) ViewTexts(ctx context.Context, fn func(store.TextReadTx) error) error {
	return db.useTexts(func(t *DB) error {
		return t.view(ctx, func(c *conn) error { return fn(&textTx{c}) })
	})
}

// UpdateTexts implements store.TextDB.
func (db *DB) UpdateTexts(ctx context.Context, fn func(store.TextTx) error) error {
	return db.useTexts(func(t *DB) error {
		return t.update(ctx, func(c *conn) (func() error, error) {
			return func() error { return nil }, fn(&textTx{c})
		})
	})
}

// textTx implements store.TextTx on a connection that has a transaction open.
type textTx struct{ c *conn }

// TextHeads implements store.TextReadTx.
func (t *textTx) TextHeads(from mail.EmailID, fn func(mail.EmailID, []byte) (bool, error)) error {
	s, err := t.c.stmt(`SELECT key, data FROM head WHERE key >= ? ORDER BY key`, int64(from))
	if err != nil {
		return err
	}
	for s.Step() {
		more, err := fn(mail.EmailID(s.ColumnInt64(0)), s.ColumnRawBlob(1))
		if err != nil || !more {
			return errors.Join(err, s.Reset())
		}
	}
	return s.Reset()
}

// LastText implements store.TextReadTx.
func (t *textTx) LastText() (key mail.EmailID, head []byte, err error) {
	err = t.c.query(`SELECT key, data FROM head ORDER BY key DESC LIMIT 1`, func(s *sqlite3.Stmt) error {
		key, head = mail.EmailID(s.ColumnInt64(0)), s.ColumnBlob(1, nil)
		return nil
	})
	return key, head, err
}

// TextData implements store.TextReadTx.
func (t *textTx) TextData(key mail.EmailID) (data []byte, err error) {
	err = t.c.query(`SELECT data FROM text WHERE key = ?`, func(s *sqlite3.Stmt) error {
		data = s.ColumnBlob(0, nil)
		return nil
	}, int64(key))
	return data, err
}

// TextsDirty implements store.TextReadTx.
func (t *textTx) TextsDirty() (bool, error) {
	dirty, err := t.c.number(`SELECT dirty FROM state`)
	return dirty != 0, err
}

// VerifyTexts implements store.TextReadTx.
func (t *textTx) VerifyTexts(fn func(problem string) error) error {
	return (&tx{c: t.c}).Verify(fn)
}

// PutText implements store.TextTx.
func (t *textTx) PutText(key mail.EmailID, head, data []byte) error {
	for _, part := range []struct {
		table string
		data  []byte
	}{{"head", head}, {"text", data}} {
		var err error
		if head == nil {
			err = t.c.exec(`DELETE FROM `+part.table+` WHERE key = ?`, int64(key))
		} else {
			err = t.c.exec(`INSERT OR REPLACE INTO `+part.table+` (key, data) VALUES (?, ?)`, int64(key), part.data)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// SetTextsDirty implements store.TextTx.
func (t *textTx) SetTextsDirty(dirty bool) error {
	n := int64(0)
	if dirty {
		n = 1
	}
	return t.c.exec(`INSERT OR REPLACE INTO state (id, dirty) VALUES (1, ?)`, n)
}
