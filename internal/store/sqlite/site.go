package sqlite

import (
	"context"

	"github.com/ncruces/go-sqlite3"

	"expost/internal/blob"
	"expost/internal/mail"
	"expost/internal/store"
)

// siteName is the name of the database of what belongs to no account, in
// DIR/accounts. The dot keeps it apart from domains.
const siteName = ".site.db"

// siteMigrations are migrations of it.
var siteMigrations = [...]string{`
	CREATE TABLE share (identifier TEXT NOT NULL, owner TEXT NOT NULL, PRIMARY KEY (identifier, owner)) WITHOUT ROWID;
	CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 1), complete INTEGER NOT NULL);
	INSERT INTO state (id, complete) VALUES (1, 0);
	CREATE TABLE annotation (entry TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
`}

// openSite returns the database, which it makes where it is missing.
func (e *Engine) openSite() (*DB, error) {
	e.siteMu.Lock()
	defer e.siteMu.Unlock()
	if e.site != nil {
		return e.site, nil
	}
	db := &DB{engine: e, dir: e.dir, name: siteName}
	c, err := db.open(sqlite3.OPEN_CREATE)
	if err == nil {
		if err = c.Exec("PRAGMA journal_mode = WAL"); err == nil {
			err = c.migrate(siteMigrations[:])
		}
		if err == nil {
			err = blob.SyncDir(e.dir)
		}
		db.give(c, err)
	}
	if err != nil {
		return nil, wrap(err, "opening %s", db)
	}
	e.site = db
	return db, nil
}

// ViewSite implements store.Engine.
func (e *Engine) ViewSite(ctx context.Context, fn func(store.SiteTx) error) error {
	db, err := e.openSite()
	if err != nil {
		return err
	}
	return db.view(ctx, func(c *conn) error { return fn(siteTx{c}) })
}

// UpdateSite implements store.Engine.
func (e *Engine) UpdateSite(ctx context.Context, fn func(store.SiteTx) error) error {
	db, err := e.openSite()
	if err != nil {
		return err
	}
	return db.update(ctx, func(c *conn) (func() error, error) {
		return func() error { return nil }, fn(siteTx{c})
	})
}

// siteTx implements store.SiteTx.
type siteTx struct{ c *conn }

// Shares implements store.SiteTx.
func (t siteTx) Shares(fn func(identifier string, owner mail.AccountID) error) (complete bool, err error) {
	err = t.c.query(`SELECT identifier, owner FROM share ORDER BY identifier, owner`, func(s *sqlite3.Stmt) error {
		return fn(s.ColumnText(0), mail.AccountID(s.ColumnText(1)))
	})
	if err != nil {
		return false, err
	}
	n, err := t.c.number(`SELECT complete FROM state WHERE id = 1`)
	return n == 1, err
}

// PutShare implements store.SiteTx.
func (t siteTx) PutShare(identifier string, owner mail.AccountID, on bool) error {
	if on {
		return t.c.exec(`INSERT OR IGNORE INTO share (identifier, owner) VALUES (?, ?)`, identifier, string(owner))
	}
	return t.c.exec(`DELETE FROM share WHERE identifier = ? AND owner = ?`, identifier, string(owner))
}

// SharesComplete implements store.SiteTx.
func (t siteTx) SharesComplete() error { return t.c.exec(`UPDATE state SET complete = 1`) }

// DropShares implements store.SiteTx.
func (t siteTx) DropShares() error {
	if err := t.c.exec(`DELETE FROM share`); err != nil {
		return err
	}
	return t.c.exec(`UPDATE state SET complete = 0`)
}

// SiteAnnotations implements store.SiteTx.
func (t siteTx) SiteAnnotations(fn func(entry string, value []byte) error) error {
	return t.c.query(`SELECT entry, value FROM annotation ORDER BY entry`, func(s *sqlite3.Stmt) error {
		return fn(s.ColumnText(0), value(s, 1))
	})
}

// PutSiteAnnotation implements store.SiteTx.
func (t siteTx) PutSiteAnnotation(entry string, value []byte) error {
	if value == nil {
		return t.c.exec(`DELETE FROM annotation WHERE entry = ?`, entry)
	}
	return t.c.exec(`INSERT OR REPLACE INTO annotation (entry, value) VALUES (?, ?)`, entry, value)
}
