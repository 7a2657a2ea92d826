package sqlite

import (
	"os"
	"path/filepath"

	"github.com/ncruces/go-sqlite3"

	"expost/internal/blob"
	"expost/internal/mail"
	"expost/internal/store"
)

// migrations bring a database from the version of their index to the next. The
// first makes everything. PRAGMA user_version is the version of a database.
//
// A chunk's key is its mailbox's id and its own first UID, 32 bits each, so
// that the chunks of a mailbox lie together in order of UID. Those of a reader
// have the reader's id there, which no mailbox has.
var migrations = [...]string{`
	CREATE TABLE account (
		id INTEGER PRIMARY KEY CHECK (id = 1),
		modseq INTEGER NOT NULL,
		next_mailbox INTEGER NOT NULL,
		next_email INTEGER NOT NULL,
		uidvalidity INTEGER NOT NULL,
		quota_bytes INTEGER NOT NULL,
		quota_messages INTEGER NOT NULL,
		used_bytes INTEGER NOT NULL,
		used_messages INTEGER NOT NULL,
		history_from INTEGER NOT NULL,
		history_rows INTEGER NOT NULL
	);
	CREATE TABLE mailbox (
		id INTEGER PRIMARY KEY,
		name TEXT NOT NULL,
		uidvalidity INTEGER NOT NULL,
		uidnext INTEGER NOT NULL,
		modseq INTEGER NOT NULL,
		special_use TEXT NOT NULL,
		messages INTEGER NOT NULL,
		unseen INTEGER NOT NULL,
		deleted INTEGER NOT NULL,
		size INTEGER NOT NULL,
		recent INTEGER NOT NULL,
		keywords TEXT NOT NULL
	);
	CREATE TABLE subscription (name TEXT PRIMARY KEY) WITHOUT ROWID;
	CREATE TABLE chunk (key INTEGER PRIMARY KEY, data BLOB NOT NULL);
	CREATE TABLE email (
		id INTEGER PRIMARY KEY,
		refs INTEGER NOT NULL,
		thread INTEGER NOT NULL,
		size INTEGER NOT NULL,
		packed INTEGER NOT NULL,
		inline INTEGER NOT NULL,
		sum BLOB NOT NULL
	);
	CREATE INDEX email_unused ON email (id) WHERE refs = 0;
	CREATE TABLE detail (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
	CREATE TABLE body (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
	CREATE TABLE blob (sum BLOB PRIMARY KEY, refs INTEGER NOT NULL) WITHOUT ROWID;
	CREATE TABLE thread (hash INTEGER PRIMARY KEY, thread INTEGER NOT NULL);
	CREATE TABLE history (modseq INTEGER PRIMARY KEY, mailbox INTEGER NOT NULL, uids BLOB NOT NULL);
`, `
	ALTER TABLE mailbox ADD COLUMN acl TEXT NOT NULL DEFAULT '';
	CREATE TABLE reader (
		id INTEGER PRIMARY KEY,
		mailbox INTEGER NOT NULL,
		account TEXT NOT NULL,
		flags INTEGER NOT NULL,
		keywords INTEGER NOT NULL,
		since INTEGER NOT NULL,
		modseq INTEGER NOT NULL,
		seen INTEGER NOT NULL,
		UNIQUE (mailbox, account)
	);
	CREATE TABLE annotation (
		mailbox INTEGER NOT NULL,
		account TEXT NOT NULL,
		entry TEXT NOT NULL,
		value BLOB NOT NULL,
		PRIMARY KEY (mailbox, account, entry)
	) WITHOUT ROWID;
`}

// upgrade brings the database up to date. One that a newer program has written
// is refused.
func (c *conn) upgrade() error {
	return c.migrate(migrations[:])
}

// migrate brings a database to the version that the last of the steps makes.
func (c *conn) migrate(steps []string) error {
	version, err := c.number("PRAGMA user_version")
	if err != nil {
		return err
	}
	switch {
	case version == int64(len(steps)):
		return nil
	case version > int64(len(steps)):
		return mail.Errorf(mail.KindUnavailable, "%s was written by a newer version of the program (%d, this one knows %d)",
			c.db, version, len(steps))
	}
	if err := c.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	for _, sql := range steps[version:] {
		if err := c.Exec(sql); err != nil {
			c.rollback()
			return err
		}
	}
	if err := c.Exec("PRAGMA user_version = " + sqlite3.Quote(int64(len(steps)))); err != nil {
		c.rollback()
		return err
	}
	return c.exec("COMMIT")
}

// number returns the one number that a statement yields.
func (c *conn) number(sql string, args ...any) (n int64, err error) {
	err = c.query(sql, func(s *sqlite3.Stmt) error {
		n = s.ColumnInt64(0)
		return nil
	}, args...)
	return n, err
}

// create makes the database of a new account, with what init writes, and syncs
// it. Nobody sees it yet, so that one sync at the end is enough.
func (db *DB) create(init func(store.Tx) error) error {
	c, err := db.open(sqlite3.OPEN_CREATE)
	if err != nil {
		return err
	}
	err = c.fill(init)
	if closed := c.close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(db.dir, db.name), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// fill writes a new database.
func (c *conn) fill(init func(store.Tx) error) error {
	if err := c.Exec("PRAGMA synchronous = OFF; PRAGMA journal_mode = WAL"); err != nil {
		return err
	}
	if err := c.upgrade(); err != nil {
		return err
	}
	if err := c.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	if err := init(&tx{c: c}); err != nil {
		return err
	}
	return c.exec("COMMIT")
}

// unlink removes the files that a failed transaction has linked.
func (t *tx) unlink() error {
	for _, sum := range t.linked {
		if err := t.c.db.blobs.Remove(sum); err != nil {
			return err
		}
	}
	t.linked = nil
	return nil
}

// link links the file of a large body into the account.
func (t *tx) link(path string, sum blob.Sum) error {
	made, err := t.c.db.blobs.Link(path, sum)
	if made {
		t.linked = append(t.linked, sum)
	}
	return err
}
