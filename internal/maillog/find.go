package maillog

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// Query chooses messages. Empty fields choose all.
type Query struct {
	From  string // an address, or "@domain"; "<>": the null sender
	To    string // an address, or "@domain"
	Since time.Time
	Until time.Time
	ID    string // of the message in the log, in the queue, or its Message-ID
	Limit int    // messages, the newest; 0: 1,000
}

// Story is what became of one message.
type Story struct {
	Records []Record `json:"records"` // in order of time
}

// Find returns the stories of the messages that have a line which q chooses, the
// oldest first. A story is whole: it has all lines of its message.
func (l *Log) Find(ctx context.Context, q Query) ([]Story, error) {
	l.flush()
	if err := l.catchUp(ctx); err != nil {
		return nil, fmt.Errorf("indexing the mail log: %w", err)
	}
	if q.Limit <= 0 {
		q.Limit = 1000
	}
	x := l.index
	x.mu.Lock()
	defer x.mu.Unlock()
	names, err := x.keys(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("searching the mail log: %w", err)
	}
	r := &lineReader{dir: l.cfg.Dir, files: map[int64]*os.File{}}
	defer r.close()
	stories := []Story{}
	told := map[string]bool{}
	for _, k := range names {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if told[k.String()] {
			continue
		}
		s, keys, err := x.story(k, r)
		if err != nil {
			return nil, fmt.Errorf("reading the mail log: %w", err)
		}
		for _, k := range keys {
			told[k.String()] = true
		}
		if stories = append(stories, s); len(stories) == q.Limit {
			break
		}
	}
	slices.SortStableFunc(stories, func(a, b Story) int { return cmp.Compare(a.Records[0].Time.UnixNano(), b.Records[0].Time.UnixNano()) })
	return stories, nil
}

// key names a message: by its id where it came in, or in the queue.
type key struct {
	queue bool
	id    string
}

func (k key) String() string { return fmt.Sprint(k.queue, " ", k.id) }

// keys returns the messages of the lines that q chooses, the newest line first.
func (x *index) keys(ctx context.Context, q Query) ([]key, error) {
	where, args := []string{"1"}, []any{}
	add := func(sql string, arg ...any) { where, args = append(where, sql), append(args, arg...) }
	address := func(column, value string) {
		switch value = strings.ToLower(strings.TrimSpace(value)); {
		case value == "":
		case value == "<>":
			add(column + " = ''")
		case value[0] == '@':
			add("substr("+column+", -length(?)) = ?", value, value)
		default:
			add(column+" = ?", strings.Trim(value, "<>"))
		}
	}
	address("sender", q.From)
	address("rcpt", q.To)
	if !q.Since.IsZero() {
		add("time >= ?", q.Since.UnixMicro())
	}
	if !q.Until.IsZero() {
		add("time < ?", q.Until.UnixMicro())
	}
	if q.ID != "" {
		add("id IN (SELECT id FROM line WHERE message = ? UNION SELECT id FROM line WHERE queue = ? UNION SELECT id FROM line WHERE msgid = ?)", q.ID, strings.ToUpper(q.ID), bareID(q.ID))
	}
	var list []key
	err := each(x.conn, `SELECT message, queue FROM line WHERE `+strings.Join(where, " AND ")+` ORDER BY time DESC LIMIT 100000`, func(s *sqlite3.Stmt) {
		k := key{id: s.ColumnText(0)}
		if k.id == "" {
			k = key{queue: true, id: s.ColumnText(1)}
		}
		if ctx.Err() == nil && k.id != "" {
			list = append(list, k)
		}
	}, args...)
	return list, err
}

// story collects all lines of a message: those of its id, those of the queue ids
// that it got, and so on.
func (x *index) story(k key, r *lineReader) (Story, []key, error) {
	type place struct{ file, start, length int64 }
	found := map[int64]place{}
	keys, seen := []key{k}, map[key]bool{k: true}
	for i := 0; i < len(keys); i++ {
		column := "message"
		if keys[i].queue {
			column = "queue"
		}
		err := each(x.conn, `SELECT id, file, start, length, message, queue FROM line WHERE `+column+` = ? LIMIT 100000`, func(s *sqlite3.Stmt) {
			found[s.ColumnInt64(0)] = place{s.ColumnInt64(1), s.ColumnInt64(2), s.ColumnInt64(3)}
			for _, more := range []key{{false, s.ColumnText(4)}, {true, s.ColumnText(5)}} {
				if more.id != "" && !seen[more] {
					seen[more] = true
					keys = append(keys, more)
				}
			}
		}, keys[i].id)
		if err != nil {
			return Story{}, nil, err
		}
	}
	var s Story
	for _, p := range found {
		rec, err := r.read(x, p.file, p.start, p.length)
		if err != nil {
			return s, nil, err
		}
		s.Records = append(s.Records, rec)
	}
	slices.SortFunc(s.Records, func(a, b Record) int {
		return cmp.Or(cmp.Compare(a.Time.UnixNano(), b.Time.UnixNano()), cmp.Compare(a.To, b.To), cmp.Compare(a.Event, b.Event))
	})
	return s, keys, nil
}

// lineReader reads lines out of the files.
type lineReader struct {
	dir   string
	files map[int64]*os.File
}

func (r *lineReader) read(x *index, file, start, length int64) (Record, error) {
	f := r.files[file]
	if f == nil {
		name := ""
		err := each(x.conn, `SELECT name FROM file WHERE id = ?`, func(s *sqlite3.Stmt) { name = s.ColumnText(0) }, file)
		if err != nil {
			return Record{}, err
		}
		if f, err = os.Open(filepath.Join(r.dir, name)); err != nil {
			return Record{}, err
		}
		r.files[file] = f
	}
	line := make([]byte, length)
	if _, err := f.ReadAt(line, start); err != nil && err != io.EOF {
		return Record{}, err
	}
	rec, ok := parse(strings.TrimSuffix(string(line), "\n"))
	if !ok {
		return rec, fmt.Errorf("%s at byte %d is no line of the log", f.Name(), start)
	}
	return rec, nil
}

func (r *lineReader) close() {
	for _, f := range r.files {
		f.Close()
	}
}
