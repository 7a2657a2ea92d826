package maillog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// indexEvery is how long after new lines the index is brought up to date.
const indexEvery = 5 * time.Second

// indexBatch is how many lines one transaction takes.
const indexBatch = 5000

// schema: a line is where it stands; its time is in microseconds since 1970.
const schema = `
CREATE TABLE file (id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, done INTEGER NOT NULL);
CREATE TABLE line (
	id     INTEGER PRIMARY KEY,
	time   INTEGER NOT NULL,
	file   INTEGER NOT NULL,
	start  INTEGER NOT NULL,
	length INTEGER NOT NULL,
	message TEXT NOT NULL,
	queue   TEXT NOT NULL,
	sender  TEXT NOT NULL,  -- lower case, as rcpt
	rcpt    TEXT NOT NULL,
	msgid   TEXT NOT NULL
);
CREATE INDEX line_time ON line (time);
CREATE INDEX line_message ON line (message) WHERE message <> '';
CREATE INDEX line_queue ON line (queue) WHERE queue <> '';
CREATE INDEX line_sender ON line (sender, time);
CREATE INDEX line_rcpt ON line (rcpt, time) WHERE rcpt <> '';
CREATE INDEX line_msgid ON line (msgid) WHERE msgid <> '';
PRAGMA user_version = 1;
`

// index is where each line stands. The mutex serves its one connection.
type index struct {
	mu   sync.Mutex
	conn *sqlite3.Conn
}

// openIndex opens the index; one that cannot be used is made anew.
func openIndex(path string, log *slog.Logger) (*index, error) {
	x := &index{}
	err := x.open(path)
	if err != nil {
		log.Warn("the index of the mail log is made anew", slog.Any("error", err))
		for _, suffix := range []string{"", "-wal", "-shm"} {
			if gone := os.Remove(path + suffix); gone != nil && !errors.Is(gone, os.ErrNotExist) {
				return nil, gone
			}
		}
		err = x.open(path)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the index of the mail log: %w", err)
	}
	return x, nil
}

func (x *index) open(path string) error {
	conn, err := sqlite3.Open("file:" + path)
	if err != nil {
		return err
	}
	err = conn.Exec(`PRAGMA busy_timeout = 20000; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -4096`)
	version := 0
	if err == nil {
		err = each(conn, `PRAGMA user_version`, func(s *sqlite3.Stmt) { version = s.ColumnInt(0) })
	}
	if err == nil && version == 0 {
		err = conn.Exec("BEGIN;" + schema + "COMMIT")
	} else if err == nil && version != 1 {
		err = fmt.Errorf("its format is %d", version)
	}
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	x.conn = conn
	return nil
}

func (x *index) close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.conn.Close()
}

// each calls fn with each row.
func each(conn *sqlite3.Conn, sql string, fn func(*sqlite3.Stmt), args ...any) error {
	s, _, err := conn.Prepare(sql)
	if err != nil {
		return err
	}
	defer s.Close()
	for i, arg := range args {
		if v, ok := arg.(int64); ok {
			err = s.BindInt64(i+1, v)
		} else {
			err = s.BindText(i+1, fmt.Sprint(arg))
		}
		if err != nil {
			return err
		}
	}
	for s.Step() {
		fn(s)
	}
	return s.Err()
}

// indexer brings the index up to date until Close.
func (l *Log) indexer() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-l.done
		cancel()
	}()
	tick := time.NewTicker(indexEvery)
	defer tick.Stop()
	var seen int64 = -1
	for {
		select {
		case <-l.done:
			return
		case <-tick.C:
		}
		l.fileMu.Lock()
		at := l.written + l.opened.UnixNano()
		l.fileMu.Unlock()
		if at == seen {
			continue
		}
		seen = at
		if err := l.catchUp(ctx); err != nil && ctx.Err() == nil {
			l.cfg.Log.Error("the mail log could not be indexed", slog.Any("error", err))
		}
	}
}

// catchUp reads what the files have and the index has not.
func (l *Log) catchUp(ctx context.Context) error {
	x := l.index
	x.mu.Lock()
	defer x.mu.Unlock()
	type state struct {
		id   int64
		done int64
	}
	known := map[string]state{}
	err := each(x.conn, `SELECT id, name, done FROM file`, func(s *sqlite3.Stmt) {
		known[s.ColumnText(1)] = state{s.ColumnInt64(0), s.ColumnInt64(2)}
	})
	if err != nil {
		return err
	}
	names := l.files()
	for name, st := range known {
		if !slices.Contains(names, name) {
			if err := x.forget(st.id); err != nil {
				return err
			}
		}
	}
	for _, name := range names {
		st := known[name]
		info, err := os.Stat(filepath.Join(l.cfg.Dir, name))
		if err != nil || info.Size() <= st.done {
			continue
		}
		if st.id == 0 {
			if err := each(x.conn, `INSERT INTO file (name, done) VALUES (?, 0) RETURNING id`, func(s *sqlite3.Stmt) { st.id = s.ColumnInt64(0) }, name); err != nil {
				return err
			}
		}
		if err := x.read(ctx, filepath.Join(l.cfg.Dir, name), st.id, st.done); err != nil {
			return fmt.Errorf("indexing %s: %w", name, err)
		}
	}
	return nil
}

// forget drops the lines of a file that is gone.
func (x *index) forget(file int64) error {
	return x.conn.Exec(fmt.Sprintf(`BEGIN; DELETE FROM line WHERE file = %d; DELETE FROM file WHERE id = %d; COMMIT`, file, file))
}

// read indexes the lines of a file from an offset on.
func (x *index) read(ctx context.Context, path string, file, from int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return err
	}
	in := bufio.NewReaderSize(f, 64<<10)
	for more := true; more && ctx.Err() == nil; {
		if from, more, err = x.batch(in, file, from); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// batch indexes some lines in one transaction.
func (x *index) batch(in *bufio.Reader, file, at int64) (end int64, more bool, err error) {
	if err := x.conn.Exec(`BEGIN IMMEDIATE`); err != nil {
		return at, false, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, x.conn.Exec(`ROLLBACK`))
		}
	}()
	s, _, err := x.conn.Prepare(`INSERT INTO line (time, file, start, length, message, queue, sender, rcpt, msgid) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`)
	if err != nil {
		return at, false, err
	}
	defer s.Close()
	for n := 0; n < indexBatch; n++ {
		line, err := in.ReadString('\n')
		if err == io.EOF { // what there is of the last line is read when it is whole
			return at, false, x.commit(file, at)
		}
		if err != nil {
			return at, false, err
		}
		r, ok := parse(strings.TrimSuffix(line, "\n"))
		if ok {
			err = errors.Join(s.BindInt64(1, r.Time.UnixMicro()), s.BindInt64(2, file), s.BindInt64(3, at), s.BindInt(4, len(line)),
				s.BindText(5, r.ID), s.BindText(6, r.Queue), s.BindText(7, strings.ToLower(r.From)), s.BindText(8, strings.ToLower(r.To)), s.BindText(9, bareID(r.MessageID)), s.Exec())
			if err != nil {
				return at, false, err
			}
		}
		at += int64(len(line))
	}
	return at, true, x.commit(file, at)
}

// commit ends a transaction that has read a file up to done.
func (x *index) commit(file, done int64) error {
	return x.conn.Exec(fmt.Sprintf(`UPDATE file SET done = %d WHERE id = %d; COMMIT`, done, file))
}

// bareID is a Message-ID without brackets.
func bareID(id string) string { return strings.Trim(id, "<> ") }
