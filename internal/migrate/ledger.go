package migrate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ncruces/go-sqlite3"
	"golang.org/x/sys/unix"

	"expost/internal/mail"
)

// ledgerVersion is the version of the ledger's tables, in user_version.
const ledgerVersion = 3

// ledgerSchema is documented in the package comment. Times are seconds since
// 1970; -1 counts are unknown; keys are the source's.
const ledgerSchema = `
CREATE TABLE account (
	id       INTEGER PRIMARY KEY,
	source   TEXT NOT NULL,
	target   TEXT NOT NULL,
	state    TEXT NOT NULL DEFAULT 'new', -- new, running, done, failed
	error    TEXT NOT NULL DEFAULT '',
	pass     INTEGER NOT NULL DEFAULT 0,  -- number of the last pass
	began    INTEGER NOT NULL DEFAULT 0,
	ended    INTEGER NOT NULL DEFAULT 0,
	UNIQUE (source, target)
);
CREATE TABLE folder (
	id          INTEGER PRIMARY KEY,
	account     INTEGER NOT NULL REFERENCES account,
	key         TEXT NOT NULL,
	name        TEXT NOT NULL,             -- at the source, UTF-8
	target      TEXT NOT NULL,             -- at the target
	role        TEXT NOT NULL DEFAULT '',
	subscribed  INTEGER NOT NULL DEFAULT 0,
	noitems     INTEGER NOT NULL DEFAULT 0,
	present     INTEGER NOT NULL DEFAULT 1, -- the last pass found it
	validity    INTEGER NOT NULL DEFAULT 0, -- UIDVALIDITY at the source
	messages    INTEGER NOT NULL DEFAULT -1,
	bytes       INTEGER NOT NULL DEFAULT -1,
	adopted     INTEGER NOT NULL DEFAULT 0, -- UIDVALIDITY at the target, once prepared
	base        INTEGER NOT NULL DEFAULT 0, -- UIDNEXT at the target before anything was copied
	top         INTEGER NOT NULL DEFAULT 0, -- highest UID written at the target
	merged      TEXT NOT NULL DEFAULT '',   -- why it does not keep UIDs; '' where it does
	settled     INTEGER NOT NULL DEFAULT 0, -- the state below is that of a pass that left nothing undone
	uidnext     INTEGER NOT NULL DEFAULT 0,
	modseq      INTEGER NOT NULL DEFAULT 0,
	held        INTEGER NOT NULL DEFAULT 0, -- messages
	error       TEXT NOT NULL DEFAULT '',
	UNIQUE (account, key)
);
CREATE TABLE item (
	folder   INTEGER NOT NULL REFERENCES folder,
	key      TEXT NOT NULL,
	state    INTEGER NOT NULL,
	uid      INTEGER NOT NULL DEFAULT 0,   -- at the target; of seen and aside: at the source
	size     INTEGER NOT NULL DEFAULT 0,
	hash     BLOB,                         -- SHA-256 of the bytes
	flags    TEXT NOT NULL DEFAULT '',     -- as last written to the target
	date     INTEGER NOT NULL DEFAULT 0,
	zone     INTEGER NOT NULL DEFAULT 0,   -- minutes east of UTC
	verified INTEGER NOT NULL DEFAULT 0,
	reason   TEXT NOT NULL DEFAULT '',
	PRIMARY KEY (folder, key)
) WITHOUT ROWID;
CREATE INDEX item_state ON item (folder, state) WHERE state NOT IN (2, 3);
CREATE TABLE unclaimed (
	folder INTEGER NOT NULL REFERENCES folder,
	uid    INTEGER NOT NULL,               -- at the target
	hash   BLOB NOT NULL,
	PRIMARY KEY (folder, uid)
) WITHOUT ROWID;
`

// ledgerUpgrade2 brings tables of version 1 to version 2.
const ledgerUpgrade2 = `
ALTER TABLE account ADD COLUMN stage TEXT NOT NULL DEFAULT '';      -- '' copying, cutting, moved, returning
ALTER TABLE account ADD COLUMN host TEXT NOT NULL DEFAULT '';       -- mailHost before the cutover
ALTER TABLE account ADD COLUMN moved INTEGER NOT NULL DEFAULT 0;    -- when the mailHost was flipped, the last time
ALTER TABLE account ADD COLUMN gap INTEGER NOT NULL DEFAULT 0;      -- milliseconds that it was frozen for then
ALTER TABLE account ADD COLUMN notbefore INTEGER NOT NULL DEFAULT 0; -- the source asked to be left alone until then
ALTER TABLE unclaimed ADD COLUMN identity BLOB;                     -- of its header; see Identity
CREATE TABLE carried (
	account  INTEGER NOT NULL REFERENCES account,
	folder   TEXT NOT NULL,                -- at the target
	validity INTEGER NOT NULL,
	uid      INTEGER NOT NULL,
	done     INTEGER NOT NULL DEFAULT 0,   -- 0: it may be at the source, or not
	PRIMARY KEY (account, folder, validity, uid)
) WITHOUT ROWID;
CREATE TABLE chain (
	id       INTEGER PRIMARY KEY,
	time     INTEGER NOT NULL,
	account  INTEGER NOT NULL DEFAULT 0,
	what     TEXT NOT NULL,                -- pass, verify, cutover, rollback, …
	text     TEXT NOT NULL,                -- JSON
	hash     BLOB NOT NULL                 -- SHA-256 of the hash before and of this row
);
`

// ledgerUpgrade3 brings tables of version 2 to version 3.
const ledgerUpgrade3 = `
ALTER TABLE carried ADD COLUMN there INTEGER NOT NULL DEFAULT 0; -- UID at the source; 0: not known
ALTER TABLE carried ADD COLUMN hash BLOB;
ALTER TABLE carried ADD COLUMN identity BLOB;
ALTER TABLE carried ADD COLUMN flags TEXT NOT NULL DEFAULT '';   -- as written there
ALTER TABLE folder ADD COLUMN renewing INTEGER NOT NULL DEFAULT 0; -- UIDVALIDITY that the target's folder has until it gets adopted; 0: it has
ALTER TABLE item ADD COLUMN likeness BLOB;                          -- what a moved message is recognised by
ALTER TABLE item ADD COLUMN said INTEGER NOT NULL DEFAULT 0;        -- the size that the source says, where it is another
ALTER TABLE folder ADD COLUMN made INTEGER NOT NULL DEFAULT 0;      -- the target had none of its name
CREATE INDEX item_date ON item (folder, date) WHERE state IN (2, 3, 6);
`

// Ledger is the memory of a migration: an SQLite database that one run at a
// time writes and that anyone may read meanwhile. It is safe for concurrent use.
type Ledger struct {
	path string
	lock *os.File         // nil where the ledger was opened for reading
	now  func() time.Time // that of the engine

	waitingMu sync.Mutex
	waiting   []*ledgerWrite // for whoever gets mu next

	mu     sync.Mutex
	db     *sqlite3.Conn
	stmts  map[string]*sqlite3.Stmt
	since  time.Time // when the open transaction began
	broken error     // writes were lost

	packer *zstd.Encoder // once something was kept beside messages
}

// OpenLedger opens the ledger at path for a run, making it where it is
// missing. One that another run holds is mail.KindTemporary.
func OpenLedger(path string) (*Ledger, error) {
	lock, err := lockFile(path + ".lock")
	if err != nil {
		return nil, err
	}
	l := &Ledger{path: path, lock: lock, now: time.Now, stmts: map[string]*sqlite3.Stmt{}}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // whom people write to is nobody else's business
	if err != nil {
		return nil, errors.Join(mail.WrapError(mail.KindUnavailable, err, "opening the ledger"), l.Close())
	}
	f.Close() // nothing was written
	if err := l.open(sqlite3.OPEN_READWRITE); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	l.hide()
	return l, nil
}

// hide lets nobody else read what SQLite has put beside the ledger, where it is
// ours and there at all.
func (l *Ledger) hide() {
	for _, suffix := range []string{"-wal", "-shm"} {
		_ = os.Chmod(l.path+suffix, 0o600) // those of another user are that one's care
	}
}

// ReadLedger opens the ledger for reading, also while a run writes it. A
// missing one is mail.KindNotExist.
func ReadLedger(path string) (*Ledger, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, mail.WrapError(mail.KindNotExist, err, "there is no ledger %s yet: nothing was planned or run", path)
	}
	l := &Ledger{path: path, now: time.Now, stmts: map[string]*sqlite3.Stmt{}}
	if err := l.open(sqlite3.OPEN_READWRITE); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	l.hide()
	return l, nil
}

// lockFile takes the lock that keeps two runs apart. The file stays; the lock
// ends with the process.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the ledger's lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, mail.Errorf(mail.KindTemporary, "another run works with this ledger (%s is locked): wait for it, or stop it", path)
	}
	return f, nil
}

// open connects to the database and makes or checks its tables.
func (l *Ledger) open(flags sqlite3.OpenFlag) error {
	db, err := sqlite3.OpenFlags(l.path, flags)
	if err != nil {
		return mail.WrapError(mail.KindUnavailable, err, "opening the ledger %s", l.path)
	}
	l.db = db
	err = db.Exec(`PRAGMA busy_timeout = 20000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -16384`)
	if err != nil {
		return l.wrap(err, "opening the ledger")
	}
	version := 0
	if err := l.query(`PRAGMA user_version`, func(s *sqlite3.Stmt) error { version = s.ColumnInt(0); return nil }); err != nil {
		return err
	}
	scripts := []string{ledgerSchema, ledgerUpgrade2, ledgerUpgrade3} // from version 0, 1, 2
	switch {
	case version == ledgerVersion:
		return nil
	case version < ledgerVersion:
		return l.update(context.Background(), func() error {
			script := strings.Join(scripts[version:], "")
			return l.wrap(db.Exec(script+fmt.Sprintf("PRAGMA user_version = %d", ledgerVersion)), "making the ledger's tables")
		})
	}
	return mail.Errorf(mail.KindInvalid, "the ledger %s was written by another version of this program (format %d, this one reads %d)", l.path, version, ledgerVersion)
}

// Path returns the ledger's file name.
func (l *Ledger) Path() string { return l.path }

// Close closes the database and gives the lock back.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	if l.db != nil {
		errs = append(errs, l.commit())
		for _, s := range l.stmts {
			errs = append(errs, s.Close())
		}
		errs = append(errs, l.db.Close())
	}
	if l.lock != nil {
		errs = append(errs, l.lock.Close())
	}
	return errors.Join(errs...)
}

// wrap makes an error of the database one of ours. A full disk says so.
func (l *Ledger) wrap(err error, doing string) error {
	if err == nil {
		return nil
	}
	kind := mail.KindUnavailable
	if errors.Is(err, sqlite3.CORRUPT) || errors.Is(err, sqlite3.NOTADB) {
		kind = mail.KindCorrupt
	}
	return mail.WrapError(kind, err, "%s %s", doing, l.path)
}

// view runs fn with the ledger held.
func (l *Ledger) view(ctx context.Context, fn func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	return fn()
}

// statement returns the prepared statement of sql with its parameters bound.
func (l *Ledger) statement(sql string, args []any) (*sqlite3.Stmt, error) {
	s := l.stmts[sql]
	if s == nil {
		var err error
		if s, _, err = l.db.Prepare(sql); err != nil {
			return nil, l.wrap(err, "preparing a statement for the ledger")
		}
		l.stmts[sql] = s
	}
	for i, a := range args {
		var err error
		switch a := a.(type) {
		case int:
			err = s.BindInt(i+1, a)
		case int64:
			err = s.BindInt64(i+1, a)
		case bool:
			err = s.BindBool(i+1, a)
		case string:
			err = s.BindText(i+1, a)
		case []byte:
			err = s.BindBlob(i+1, a)
		default:
			err = fmt.Errorf("no parameter can be a %T", a)
		}
		if err != nil {
			return nil, fmt.Errorf("binding parameter %d: %w", i+1, err)
		}
	}
	return s, nil
}

// exec runs one statement that returns no rows. The caller is in update.
func (l *Ledger) exec(sql string, args ...any) error {
	s, err := l.statement(sql, args)
	if err != nil {
		return err
	}
	s.Step()
	return l.wrap(s.Reset(), "writing to the ledger")
}

// query calls fn with each row. The caller is in view or update.
func (l *Ledger) query(sql string, fn func(*sqlite3.Stmt) error, args ...any) error {
	s, err := l.statement(sql, args)
	if err != nil {
		return err
	}
	for s.Step() {
		if err := fn(s); err != nil {
			return errors.Join(err, s.Reset())
		}
	}
	return l.wrap(s.Reset(), "reading the ledger")
}

// flagText is how the ledger writes flags and keywords: what IMAP shows.
func flagText(it Item) string {
	return strings.TrimSpace(it.Flags.String() + " " + it.Keywords.String())
}

// parseFlagText is the inverse of flagText.
func parseFlagText(s string) (mail.Flags, mail.Keywords) {
	var flags mail.Flags
	var words []string
	for w := range strings.FieldsSeq(s) {
		if f, ok := mail.FlagByName(w); ok {
			flags |= f
		} else {
			words = append(words, w)
		}
	}
	return flags, mail.NewKeywords(words...)
}
