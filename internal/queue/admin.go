package queue

import (
	"context"
	"slices"
	"time"

	"expost/internal/mail"
	"expost/internal/maillog"
)

// Entry is a message in the queue, as people are shown it.
type Entry struct {
	ID         string       `json:"id"`
	From       mail.Address `json:"from"`
	Origin     string       `json:"origin,omitempty"`
	Size       int64        `json:"size"`
	Arrived    time.Time    `json:"arrived"`
	Expires    time.Time    `json:"expires"`
	Recipients []Status     `json:"recipients"`
}

// Status is a recipient in the queue.
type Status struct {
	Address mail.Address `json:"address"`
	Hop     string       `json:"hop"`
	State   string       `json:"state"`
	Tries   int          `json:"tries"`
	Next    *time.Time   `json:"next,omitempty"`  // of waiting ones
	Reply   string       `json:"reply,omitempty"` // of the last try
}

// Filter chooses messages. The zero Filter is all.
type Filter struct {
	ID   ID     // this one
	Hop  string // with a recipient for this next hop
	From string // of this sender or origin
}

// List calls fn with messages in order of arrival, until fn returns false. It
// does not hold the queue up meanwhile.
func (q *Queue) List(ctx context.Context, f Filter, fn func(*Entry) bool) error {
	return q.each(ctx, f, func(m *message) error {
		e, err := q.entry(m)
		if err != nil {
			return err
		}
		if !fn(e) {
			return errStop
		}
		return nil
	})
}

// errStop ends each.
var errStop = mail.Errorf(mail.KindInternal, "stop")

// page is how many messages are read at once.
const page = 200

// each calls fn with each message that f chooses.
func (q *Queue) each(ctx context.Context, f Filter, fn func(*message) error) error {
	if f.ID != 0 {
		m, err := q.message(f.ID)
		if err == nil {
			err = fn(&m)
		}
		return stopped(err)
	}
	if f.Hop != "" {
		return q.eachOf(ctx, f, fn)
	}
	for after := int64(0); ; {
		var list []message
		err := q.survey(func(db *database) error {
			return db.query(`SELECT `+messageColumns+` FROM message WHERE id > ?1 AND (?2 = '' OR sender = ?2 OR origin = ?2) ORDER BY id LIMIT ?3`,
				func(s *row) error { list = append(list, messageOf(s)); return nil }, after, f.From, page)
		})
		if err != nil || len(list) == 0 {
			return err
		}
		for _, m := range list {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := fn(&m); err != nil {
				return stopped(err)
			}
			after = int64(m.id)
		}
	}
}

// eachOf is each for one hop: its index says which messages it has, eight bytes
// for each in memory, and no other message is looked at.
func (q *Queue) eachOf(ctx context.Context, f Filter, fn func(*message) error) error {
	var ids []int64
	err := q.survey(func(db *database) error {
		return db.query(`SELECT message FROM rcpt WHERE hop = ?`, func(s *row) error { ids = append(ids, s.ColumnInt64(0)); return nil }, f.Hop)
	})
	if err != nil {
		return err
	}
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		m, err := q.message(ID(id))
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case mail.KindOf(err) == mail.KindNotExist: // it has left meanwhile
			continue
		case err != nil:
			return err
		case f.From != "" && string(m.sender) != f.From && m.origin != f.From:
			continue
		}
		if err := fn(&m); err != nil {
			return stopped(err)
		}
	}
	return nil
}

func stopped(err error) error {
	if err == error(errStop) {
		return nil
	}
	return err
}

func (q *Queue) entry(m *message) (*Entry, error) {
	e := &Entry{ID: m.id.String(), From: m.sender, Origin: m.origin, Size: m.size, Arrived: micro(m.created), Expires: micro(m.expires)}
	all, err := q.recipients(m.id)
	if err != nil {
		return nil, err
	}
	for _, r := range all {
		if err := q.explain(&r); err != nil {
			return nil, err
		}
		s := Status{Address: r.address, Hop: r.hop, State: r.state.String(), Tries: r.tries, Reply: r.reply}
		if r.state == Waiting {
			next := micro(r.at)
			s.Next = &next
		}
		e.Recipients = append(e.Recipients, s)
	}
	return e, nil
}

// Hold keeps messages from being sent until Release. What a session has is
// sent all the same. It returns how many messages it changed.
func (q *Queue) Hold(ctx context.Context, f Filter) (int, error) {
	return q.change(ctx, f, maillog.Held, func(db *database, m *message) error {
		return db.exec(`UPDATE rcpt SET state = 2 WHERE message = ? AND state IN (0, 1)`, int64(m.id))
	})
}

// Release ends Hold: the messages are sent now.
func (q *Queue) Release(ctx context.Context, f Filter) (int, error) {
	return q.change(ctx, f, maillog.Released, func(db *database, m *message) error {
		if err := db.exec(`UPDATE rcpt SET state = 0, at = ? WHERE message = ? AND state = 2`, q.now(), int64(m.id)); err != nil {
			return err
		}
		return q.awaken(db, m)
	})
}

// Retry sends waiting messages now.
func (q *Queue) Retry(ctx context.Context, f Filter) (int, error) {
	return q.change(ctx, f, "", func(db *database, m *message) error {
		if err := db.exec(`UPDATE rcpt SET state = 0, at = ? WHERE message = ? AND state = 1`, q.now(), int64(m.id)); err != nil {
			return err
		}
		return q.awaken(db, m)
	})
}

// awaken makes the hops of a message due, also those that are left alone.
func (q *Queue) awaken(db *database, m *message) error {
	return db.exec(`INSERT INTO hop (name, due) SELECT DISTINCT hop, ?1 FROM rcpt WHERE message = ?2 AND state = 0
		ON CONFLICT (name) DO UPDATE SET due = ?1, until = 0`, q.now(), int64(m.id))
}

// Drop removes messages. Nobody is told.
func (q *Queue) Drop(ctx context.Context, f Filter) (int, error) {
	var gone []message
	n, err := q.change(ctx, f, maillog.Dropped, func(db *database, m *message) error {
		for _, sql := range []string{`DELETE FROM rcpt WHERE message = ?`, `DELETE FROM body WHERE id = ?`, `DELETE FROM message WHERE id = ?`} {
			if err := db.exec(sql, int64(m.id)); err != nil {
				return err
			}
		}
		if !m.inline {
			gone = append(gone, *m)
		}
		return nil
	})
	for _, m := range gone {
		q.dropBody(&m)
	}
	return n, err
}

// change carries out fn on each message that f chooses, a transaction each
// hundred or so, and logs it as event, where that is one.
func (q *Queue) change(ctx context.Context, f Filter, event maillog.Event, fn func(*database, *message) error) (int, error) {
	n := 0
	var group []message
	var told [][]recipient
	flush := func() error {
		defer q.forget(group)
		err := q.update(ctx, func(db *database) error {
			for _, m := range group {
				if err := fn(db, &m); err != nil {
					return err
				}
			}
			return nil
		})
		if err == nil {
			n += len(group)
			q.logGroup(event, group, told)
		}
		group, told = nil, nil
		return err
	}
	err := q.each(ctx, f, func(m *message) error {
		if event != "" {
			to, err := q.recipients(m.id)
			if err != nil {
				return err
			}
			told = append(told, to)
		}
		if group = append(group, *m); len(group) < page {
			return nil
		}
		return flush()
	})
	if err == nil && len(group) > 0 {
		err = flush()
	}
	return n, err
}

// logGroup writes what was done to messages.
func (q *Queue) logGroup(event maillog.Event, group []message, to [][]recipient) {
	if event == "" {
		return
	}
	for i := range group {
		q.logEvent(event, &group[i], to[i], "by an administrator")
	}
}

// forget takes messages out of memory that no session has yet, so that they
// are read as they are now.
func (q *Queue) forget(group []message) {
	ids := map[ID]bool{}
	for _, m := range group {
		ids[m.id] = true
	}
	q.mu.Lock()
	for _, h := range q.hops {
		h.more = true
		h.jobs = slices.DeleteFunc(h.jobs, func(j *job) bool {
			if !ids[j.id] {
				return false
			}
			for _, r := range j.to {
				delete(h.taken, r.id)
			}
			return true
		})
	}
	q.mu.Unlock()
	nudge(q.wake)
}
