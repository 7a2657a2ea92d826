package queue

import (
	"context"
	"errors"
	"fmt"

	"github.com/ncruces/go-sqlite3"

	"expost/internal/mail"
)

// version is the version of the tables, in user_version.
const version = 2

// schema: times are microseconds since 1970.
const schema = `
CREATE TABLE message (
	id       INTEGER PRIMARY KEY,
	sender   TEXT NOT NULL,
	origin   TEXT NOT NULL,
	ret      TEXT NOT NULL,
	envid    TEXT NOT NULL,
	flags    INTEGER NOT NULL,
	size     INTEGER NOT NULL,
	packed   INTEGER NOT NULL,
	inline   INTEGER NOT NULL,
	created  INTEGER NOT NULL,
	expires  INTEGER NOT NULL,
	notice   INTEGER NOT NULL,  -- when its sender hears of it: that it is late, that it is returned
	left     INTEGER NOT NULL,  -- rows of rcpt
	by       INTEGER NOT NULL DEFAULT 0,  -- deliver-by time
	bymode   INTEGER NOT NULL DEFAULT 0,
	priority INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX message_notice ON message (notice);
CREATE TABLE body (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE rcpt (
	id       INTEGER PRIMARY KEY,
	message  INTEGER NOT NULL,
	address  TEXT NOT NULL,
	notify   TEXT NOT NULL,
	orcpt    TEXT NOT NULL,
	domain   TEXT NOT NULL,
	host     TEXT NOT NULL,
	hop      TEXT NOT NULL,
	state    INTEGER NOT NULL,
	at       INTEGER NOT NULL,             -- ready: rank; waiting: when it is tried
	tries    INTEGER NOT NULL DEFAULT 0,
	tried    INTEGER NOT NULL DEFAULT 0,
	status   TEXT NOT NULL DEFAULT '',
	remote   TEXT NOT NULL DEFAULT '',
	reply    TEXT NOT NULL DEFAULT ''
);
CREATE INDEX rcpt_hop ON rcpt (hop, state, at, message);
CREATE INDEX rcpt_message ON rcpt (message);
CREATE INDEX rcpt_report ON rcpt (message) WHERE state >= 3;
CREATE TABLE hop (
	name     TEXT PRIMARY KEY,
	due      INTEGER NOT NULL,             -- when there is something to do for it
	until    INTEGER NOT NULL DEFAULT 0,   -- it is left alone
	fails    INTEGER NOT NULL DEFAULT 0,   -- connections in a row
	error    TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX hop_due ON hop (due);
`

// State is a recipient's.
type State int

// The states. Those from Failed on wait for the report to the sender.
const (
	Ready State = iota
	Waiting
	Held
	Failed
	Relayed
)

// String returns the state's name.
func (s State) String() string {
	return [...]string{"ready", "waiting", "held", "failed", "relayed"}[s]
}

// row is a row of a result.
type row = sqlite3.Stmt

// database is one connection, for one goroutine at a time.
type database struct {
	*sqlite3.Conn
	stmts map[string]*sqlite3.Stmt
}

func openDatabase(path string) (*database, error) {
	conn, err := sqlite3.Open("file:" + path)
	if err != nil {
		return nil, wrap(err)
	}
	db := &database{conn, map[string]*sqlite3.Stmt{}}
	err = conn.Exec(`PRAGMA busy_timeout = 20000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -16384; PRAGMA temp_store = MEMORY; PRAGMA journal_size_limit = 67108864`)
	if err != nil {
		return nil, errors.Join(wrap(err), db.close())
	}
	return db, nil
}

// migrate makes the tables where they are missing.
func (db *database) migrate() error {
	v, err := db.int64(`PRAGMA user_version`)
	switch {
	case err != nil:
		return err
	case v == version:
		return nil
	case v == 1:
		return wrap(db.Exec(`BEGIN IMMEDIATE;
			ALTER TABLE message ADD COLUMN by INTEGER NOT NULL DEFAULT 0;
			ALTER TABLE message ADD COLUMN bymode INTEGER NOT NULL DEFAULT 0;
			ALTER TABLE message ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
			PRAGMA user_version = 2; COMMIT`))
	case v != 0:
		return mail.Errorf(mail.KindInvalid, "the queue was written by another version of this program (format %d, this one reads %d)", v, version)
	}
	return wrap(db.Exec("BEGIN IMMEDIATE;" + schema + fmt.Sprintf("PRAGMA user_version = %d; COMMIT", version)))
}

func (db *database) close() error {
	for _, s := range db.stmts {
		_ = s.Close() // repeats the error of its last Step
	}
	return db.Conn.Close()
}

// wrap makes an error of the database one of ours.
func wrap(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*mail.Error](err); ok {
		return err
	}
	kind := mail.KindUnavailable
	if errors.Is(err, sqlite3.CORRUPT) || errors.Is(err, sqlite3.NOTADB) {
		kind = mail.KindCorrupt
	}
	return mail.WrapError(kind, err, "the queue's database does not work")
}

func (db *database) stmt(sql string, args []any) (*sqlite3.Stmt, error) {
	s := db.stmts[sql]
	if s == nil {
		var err error
		if s, _, err = db.PrepareFlags(sql, sqlite3.PREPARE_PERSISTENT); err != nil {
			return nil, err
		}
		db.stmts[sql] = s
	}
	for i, arg := range args {
		var err error
		switch v := arg.(type) {
		case int64:
			err = s.BindInt64(i+1, v)
		case int:
			err = s.BindInt(i+1, v)
		case string:
			err = s.BindText(i+1, v)
		case []byte:
			err = s.BindBlob(i+1, v)
		default:
			err = fmt.Errorf("parameter of type %T", arg)
		}
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// exec runs a statement that returns no rows.
func (db *database) exec(sql string, args ...any) error {
	s, err := db.stmt(sql, args)
	if err != nil {
		return wrap(err)
	}
	return wrap(s.Exec())
}

// query calls fn with each row.
func (db *database) query(sql string, fn func(*row) error, args ...any) error {
	s, err := db.stmt(sql, args)
	if err != nil {
		return wrap(err)
	}
	for s.Step() {
		if err := fn(s); err != nil {
			_ = s.Reset()
			return err
		}
	}
	return wrap(s.Reset())
}

// int64 returns the one number of a query; 0 where there is no row.
func (db *database) int64(sql string, args ...any) (n int64, err error) {
	err = db.query(sql, func(s *row) error { n = s.ColumnInt64(0); return nil }, args...)
	return n, err
}

// touchHop notes that a hop has mail from at on, but not before its time.
func (db *database) touchHop(name string, at int64) error {
	return db.exec(`INSERT INTO hop (name, due) VALUES (?1, ?2)
		ON CONFLICT (name) DO UPDATE SET due = max(until, min(due, excluded.due))`, name, at)
}

// write is a change that waits for its turn.
type write struct {
	fn   func(*database) error
	done chan error
}

// maxGroup is how many changes share a transaction.
const maxGroup = 256

// update carries out a change in a transaction, which may hold other changes,
// and returns when it is on disk. fn may run twice, the first time in vain.
func (q *Queue) update(ctx context.Context, fn func(*database) error) error {
	w := &write{fn, make(chan error, 1)}
	select {
	case q.writes <- w:
	case <-ctx.Done():
		return ctx.Err()
	}
	return <-w.done // once it is under way its outcome counts
}

// writer carries out changes until Close.
func (q *Queue) writer() {
	defer close(q.closed)
	for first := range q.writes {
		group := []*write{first}
	more:
		for len(group) < maxGroup {
			select {
			case w, ok := <-q.writes:
				if !ok {
					break more
				}
				group = append(group, w)
			default:
				break more
			}
		}
		q.db.commit(group)
	}
}

// commit carries out a group of changes in one transaction. Where one fails
// each gets a transaction of its own, so that it fails alone.
func (db *database) commit(group []*write) {
	err := db.transaction(func() error {
		for _, w := range group {
			if err := w.fn(db); err != nil {
				return err
			}
		}
		return nil
	})
	for _, w := range group {
		if err != nil && len(group) > 1 {
			w.done <- db.transaction(func() error { return w.fn(db) })
		} else {
			w.done <- err
		}
	}
}

func (db *database) transaction(fn func() error) error {
	if err := db.exec(`BEGIN IMMEDIATE`); err != nil {
		return err
	}
	err := fn()
	if err == nil {
		err = db.exec(`COMMIT`)
	}
	if err != nil && !db.GetAutocommit() {
		err = errors.Join(err, db.exec(`ROLLBACK`))
	}
	return err
}

// view runs fn with the connection that reads.
func (q *Queue) view(fn func(*database) error) error {
	q.readMu.Lock()
	defer q.readMu.Unlock()
	return fn(q.reader)
}

// survey runs fn with the connection for what may take long.
func (q *Queue) survey(fn func(*database) error) error {
	q.listMu.Lock()
	defer q.listMu.Unlock()
	return fn(q.lister)
}
