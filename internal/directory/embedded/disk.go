package embedded

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/ncruces/go-sqlite3"
)

// fileName is the directory's one file in its folder; beside it lies SQLite's
// write-ahead log while it is open.
const fileName = "directory.db"

// disk is the durable form of the tree. One goroutine uses it at a time.
type disk struct {
	conn   *sqlite3.Conn
	put    *sqlite3.Stmt
	remove *sqlite3.Stmt
	grave  *sqlite3.Stmt
	graves int // at most so many are in the table
	name   *sqlite3.Stmt
}

// formatVersion is the version of the tables; an older program refuses a newer file.
const formatVersion = 1

const tables = `
	CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
	CREATE TABLE IF NOT EXISTS description (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
	CREATE TABLE IF NOT EXISTS entry (id INTEGER PRIMARY KEY AUTOINCREMENT, parent INTEGER NOT NULL, data BLOB NOT NULL);
	CREATE TABLE IF NOT EXISTS grave (csn TEXT PRIMARY KEY, uuid BLOB NOT NULL) WITHOUT ROWID;
`

// openDisk opens the file, making it where it is not there. The lock that it
// takes keeps other processes out until it is closed.
func openDisk(dir string) (*disk, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	u := url.URL{Scheme: "file", OmitHost: true, Path: filepath.Join(dir, fileName)}
	conn, err := sqlite3.OpenFlags(u.String(), sqlite3.OPEN_READWRITE|sqlite3.OPEN_CREATE|sqlite3.OPEN_URI)
	if err != nil {
		return nil, err
	}
	d := &disk{conn: conn}
	if err := d.prepare(); err != nil {
		if errors.Is(err, sqlite3.BUSY) {
			err = fmt.Errorf("another process has it open: %w", err)
		}
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

// prepare sets the connection up, makes the tables and the statements.
func (d *disk) prepare() error {
	for _, sql := range []string{
		"PRAGMA locking_mode = EXCLUSIVE", "PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL",
		"PRAGMA cache_size = -4096", "PRAGMA journal_size_limit = 16777216", "BEGIN EXCLUSIVE; " + tables + " COMMIT",
	} {
		if err := d.conn.Exec(sql); err != nil {
			return err
		}
	}
	version, err := d.meta("version", fmt.Sprint(formatVersion))
	if err != nil {
		return err
	}
	if version != fmt.Sprint(formatVersion) {
		return fmt.Errorf("it has format %s, and this program knows %d: use the program that wrote it", version, formatVersion)
	}
	for sql, stmt := range map[string]**sqlite3.Stmt{
		"INSERT OR REPLACE INTO entry (id, parent, data) VALUES (?, ?, ?)": &d.put,
		"DELETE FROM entry WHERE id = ?":                                   &d.remove,
		"INSERT OR REPLACE INTO grave (csn, uuid) VALUES (?, ?)":           &d.grave,
		"INSERT OR REPLACE INTO description (id, name) VALUES (?, ?)":      &d.name,
	} {
		if *stmt, _, err = d.conn.PrepareFlags(sql, sqlite3.PREPARE_PERSISTENT); err != nil {
			return err
		}
	}
	return nil
}

// meta returns a value kept beside the tree; a first one becomes it where there is none.
func (d *disk) meta(name, first string) (string, error) {
	insert, _, err := d.conn.Prepare("INSERT OR IGNORE INTO meta (name, value) VALUES (?, ?)")
	if err != nil {
		return "", err
	}
	defer insert.Close()
	if err := errors.Join(insert.BindText(1, name), insert.BindText(2, first), insert.Exec()); err != nil {
		return "", err
	}
	query, _, err := d.conn.Prepare("SELECT value FROM meta WHERE name = ?")
	if err != nil {
		return "", err
	}
	defer query.Close()
	if err := query.BindText(1, name); err != nil {
		return "", err
	}
	query.Step()
	value := query.ColumnText(0)
	return value, query.Err()
}

// names returns the attribute descriptions by id.
func (d *disk) names() ([]string, error) {
	query, _, err := d.conn.Prepare("SELECT id, name FROM description ORDER BY id")
	if err != nil {
		return nil, err
	}
	defer query.Close()
	var names []string
	for query.Step() {
		if query.ColumnInt(0) != len(names) {
			return nil, errPacked
		}
		names = append(names, query.ColumnText(1))
	}
	return names, query.Err()
}

// entries calls yield with every entry, in the order of ids. data is only
// valid during the call.
func (d *disk) entries(yield func(id, parent uint32, data []byte) error) error {
	query, _, err := d.conn.Prepare("SELECT id, parent, data FROM entry ORDER BY id")
	if err != nil {
		return err
	}
	defer query.Close()
	for query.Step() {
		if err := yield(uint32(query.ColumnInt64(0)), uint32(query.ColumnInt64(1)), query.ColumnRawBlob(2)); err != nil {
			return err
		}
	}
	return query.Err()
}

// lastID returns the highest id that was ever given, also to entries that are
// gone: an id is never used again.
func (d *disk) lastID() (uint32, error) {
	query, _, err := d.conn.Prepare("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'entry'")
	if err != nil {
		return 0, err
	}
	defer query.Close()
	query.Step()
	id := uint32(query.ColumnInt64(0))
	return id, query.Err()
}

// changes is what one commit writes.
type changes struct {
	names   map[uint32]string // new descriptions
	put     map[uint32]*node
	removed map[uint32]bool
	graves  []grave // of removed
}

// commit makes the changes durable, all or none.
func (d *disk) commit(c changes) (err error) {
	if err := d.conn.Exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.conn.Exec("ROLLBACK"))
		}
	}()
	for id, name := range c.names {
		if err := errors.Join(d.name.BindInt64(1, int64(id)), d.name.BindText(2, name), d.name.Exec()); err != nil {
			return err
		}
	}
	for id, n := range c.put {
		err := errors.Join(d.put.BindInt64(1, int64(id)), d.put.BindInt64(2, int64(n.parent)), d.put.BindBlob(3, n.data), d.put.Exec())
		if err != nil {
			return err
		}
	}
	for id := range c.removed {
		if err := errors.Join(d.remove.BindInt64(1, int64(id)), d.remove.Exec()); err != nil {
			return err
		}
	}
	if err := d.bury(c.graves); err != nil {
		return err
	}
	return d.conn.Exec("COMMIT")
}

// bury writes graves, and now and then takes the oldest away.
func (d *disk) bury(graves []grave) error {
	for _, g := range graves {
		if err := errors.Join(d.grave.BindText(1, g.csn), d.grave.BindBlob(2, g.id[:]), d.grave.Exec()); err != nil {
			return err
		}
	}
	if d.graves += len(graves); d.graves < 2*maxGraves {
		return nil
	}
	d.graves = maxGraves
	oldest := fmt.Sprintf("(SELECT csn FROM grave ORDER BY csn DESC LIMIT 1 OFFSET %d)", maxGraves)
	return d.conn.Exec("INSERT OR REPLACE INTO meta (name, value) SELECT 'horizon', csn FROM grave WHERE csn = " + oldest +
		"; DELETE FROM grave WHERE csn <= " + oldest)
}

// buried returns the graves in order, the latest of them.
func (d *disk) buried() ([]grave, error) {
	query, _, err := d.conn.Prepare("SELECT csn, uuid FROM grave ORDER BY csn")
	if err != nil {
		return nil, err
	}
	defer query.Close()
	var list []grave
	for query.Step() {
		g := grave{csn: query.ColumnText(0)}
		if copy(g.id[:], query.ColumnRawBlob(1)) != len(g.id) {
			return nil, errPacked
		}
		list = append(list, g)
	}
	d.graves = len(list)
	return list, query.Err()
}

// close folds the log into the file.
func (d *disk) close() error {
	var errs []error
	for _, stmt := range []*sqlite3.Stmt{d.put, d.remove, d.name, d.grave} {
		errs = append(errs, stmt.Close())
	}
	return errors.Join(append(errs, d.conn.Close())...)
}
