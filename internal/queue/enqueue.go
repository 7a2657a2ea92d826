package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"expost/internal/blob"
	"expost/internal/mail"
)

// inlineMax is the largest compressed message that is kept in the database.
const inlineMax = 64 << 10

// Flags of a message.
const (
	flagUTF8 = 1 << iota // SMTPUTF8 was asked for
	flagRequireTLS
	flagEightBit   // it has bytes above 127
	flagUTF8Header // its header has
)

// Enqueue takes a message over: when it returns nil the message is on disk.
// The body has CRLF line ends. An error is mail.KindUnavailable where the disk
// does not take it.
func (q *Queue) Enqueue(ctx context.Context, env Envelope, body io.Reader) (ID, error) {
	if len(env.Recipients) == 0 {
		return 0, mail.Errorf(mail.KindInvalid, "a message without recipients was given to the queue")
	}
	id := ID(q.lastID.Add(1))
	spool := &spool{path: q.bodyPath(id)}
	size, flags, err := q.pack(spool, body)
	if err != nil {
		return 0, errors.Join(fmt.Errorf("storing message %s: %w", id, err), spool.remove())
	}
	if env.UTF8 {
		flags |= flagUTF8
	}
	if env.RequireTLS {
		flags |= flagRequireTLS
	}
	rows, err := q.rows(&env)
	if err == nil {
		a := &arrival{id, &env, rows, spool, size, flags}
		err = q.update(ctx, func(db *database) error { return q.insert(db, a) })
	}
	if err != nil {
		return 0, errors.Join(fmt.Errorf("queueing message %s: %w", id, err), spool.remove())
	}
	q.arrived(rows)
	q.logQueued(id, &env, size)
	return id, nil
}

// bodyPath returns the file of a large body.
func (q *Queue) bodyPath(id ID) string { return filepath.Join(q.bodies(), id.String()+".zst") }

// pack compresses a body into a spool, which is on disk afterwards where it is a file.
func (q *Queue) pack(out *spool, body io.Reader) (size int64, flags int, err error) {
	scan := &scanner{w: q.codec.NewWriter(out)}
	_, err = io.Copy(scan, body)
	if closed := scan.w.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = out.sync()
	}
	return scan.size, scan.flags, err
}

// scanner compresses and looks at what it is given.
type scanner struct {
	w     *blob.Writer
	size  int64
	flags int
	body  bool // the header has ended
	line  int  // bytes in the line so far
}

// Write implements io.Writer.
func (s *scanner) Write(p []byte) (int, error) {
	s.size += int64(len(p))
	rest := p
	for !s.body && len(rest) > 0 {
		c := rest[0]
		rest = rest[1:]
		switch {
		case c >= 0x80:
			s.flags |= flagEightBit | flagUTF8Header
			s.line++
		case c == '\n':
			s.body = s.line == 0
			s.line = 0
		case c != '\r':
			s.line++
		}
	}
	if s.flags&flagEightBit == 0 && !mail.IsASCII(rest) {
		s.flags |= flagEightBit
	}
	return s.w.Write(p)
}

// spool takes a compressed body: in memory, or in a file where it is large.
type spool struct {
	path  string
	data  bytes.Buffer
	file  *os.File
	total int64
}

// Write implements io.Writer.
func (s *spool) Write(p []byte) (int, error) {
	s.total += int64(len(p))
	if s.file == nil && s.data.Len()+len(p) <= inlineMax {
		return s.data.Write(p)
	}
	if s.file == nil {
		var err error
		if s.file, err = os.OpenFile(s.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err != nil {
			return 0, full(err)
		}
		if _, err := s.file.Write(s.data.Bytes()); err != nil {
			return 0, full(err)
		}
	}
	n, err := s.file.Write(p)
	return n, full(err)
}

func full(err error) error {
	if err == nil {
		return nil
	}
	return mail.WrapError(mail.KindUnavailable, err, "the message could not be written to disk")
}

// sync makes the file durable, and its name.
func (s *spool) sync() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Sync()
	if closed := s.file.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = blob.SyncDir(filepath.Dir(s.path))
	}
	return full(err)
}

// remove removes the file, where there is one.
func (s *spool) remove() error {
	if s.file == nil {
		return nil
	}
	_ = s.file.Close()
	return os.Remove(s.path)
}

// newRow is a recipient on its way into the table.
type newRow struct {
	Recipient
	hop  string
	rank int64
}

// tick is what a recipient more costs a sender in rank, in microseconds.
const tick = 2000

// priorityStep is what a step of MT-PRIORITY is worth against time of arrival.
const priorityStep = time.Minute

// maxLanes bounds what is remembered of senders.
const maxLanes = 20000

// rows finds the hops of the recipients and ranks them.
func (q *Queue) rows(env *Envelope) ([]newRow, error) {
	rows := make([]newRow, len(env.Recipients))
	ranks := map[string]int64{}
	now := q.now() - int64(env.Priority)*priorityStep.Microseconds()
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, r := range env.Recipients {
		name, err := q.hop(r.Address.Domain(), r.Host)
		if err != nil {
			return nil, err
		}
		lane := env.lane() + "\x00" + strconv.Itoa(env.Priority) + name
		rank, ok := ranks[name] // recipients of one hop stay together
		if !ok {
			rank = max(now, q.lanes[lane])
			ranks[name] = rank
		}
		q.lanes[lane] = max(q.lanes[lane], rank) + tick
		rows[i] = newRow{r, name, rank}
	}
	if len(q.lanes) > maxLanes {
		for lane, rank := range q.lanes {
			if rank <= q.now() {
				delete(q.lanes, lane)
			}
		}
	}
	return rows, nil
}

// lane names whose mail it is, for fairness.
func (env *Envelope) lane() string {
	if env.Origin != "" {
		return env.Origin
	}
	return env.From.Key()
}

// Flags of a deliver-by time.
const (
	byReturn = 1 << iota
	byTrace
)

// columns is a DeliverBy as it is on disk.
func (d DeliverBy) columns() (by int64, mode int) {
	if d.Time.IsZero() {
		return 0, 0
	}
	if d.Return {
		mode |= byReturn
	}
	if d.Trace {
		mode |= byTrace
	}
	return d.Time.UnixMicro(), mode
}

// arrival is a message on its way into the tables.
type arrival struct {
	id    ID
	env   *Envelope
	rows  []newRow
	body  *spool
	size  int64
	flags int
}

// insert puts a message into the tables.
func (q *Queue) insert(db *database, a *arrival) error {
	id, env := a.id, a.env
	now := q.now()
	state, start := Ready, now
	switch {
	case env.Hold != "":
		state = Held
	case env.NotBefore.UnixMicro() > now:
		state, start = Waiting, env.NotBefore.UnixMicro()
	}
	expires := start + q.cfg.Lifetime.Microseconds()
	notice := min(start+q.cfg.DelayNotice.Microseconds(), expires)
	by, mode := env.By.columns()
	switch {
	case mode&byReturn != 0:
		expires = min(expires, by)
		notice = min(notice, expires)
	case by != 0:
		notice = min(notice, by)
	}
	inline := 0
	if a.body.file == nil {
		inline = 1
		if err := db.exec(`INSERT INTO body (id, data) VALUES (?, ?)`, int64(id), a.body.data.Bytes()); err != nil {
			return err
		}
	}
	err := db.exec(`INSERT INTO message (id, sender, origin, ret, envid, flags, size, packed, inline, created, expires, notice, left, by, bymode, priority)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		int64(id), string(env.From), env.Origin, env.Return, env.EnvID, a.flags, a.size, a.body.total, inline, now, expires, notice, len(a.rows), by, mode, env.Priority)
	if err != nil {
		return err
	}
	touched := map[string]bool{}
	for _, r := range a.rows {
		at := r.rank
		if state == Waiting {
			at = start
		}
		err := db.exec(`INSERT INTO rcpt (message, address, notify, orcpt, domain, host, hop, state, at, reply) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			int64(id), string(r.Address), r.Notify, r.Original, r.Address.Domain(), r.Host, r.hop, int(state), at, env.Hold)
		if err != nil {
			return err
		}
		if touched[r.hop] || state == Held {
			continue
		}
		touched[r.hop] = true
		if err := db.touchHop(r.hop, start); err != nil {
			return err
		}
	}
	return nil
}

// arrived tells the scheduler of new mail.
func (q *Queue) arrived(rows []newRow) {
	q.mu.Lock()
	for _, r := range rows {
		if h := q.hops[r.hop]; h != nil {
			h.more = true
		}
	}
	q.mu.Unlock()
	nudge(q.wake)
}
