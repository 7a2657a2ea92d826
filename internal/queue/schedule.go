package queue

import (
	"context"
	"log/slog"
	"time"

	"expost/internal/mail"
)

// Bounds of what the scheduler has in memory.
const (
	batch      = 90  // recipients of a hop that are read at once
	lowWater   = 30  // messages left at which more are read
	maxHops    = 512 // hops that are worked on at once
	firstTries = 5   // sessions that a hop gets to start with
	maxNotices = 100 // late messages looked at in one round
)

// hop is a next hop that has mail to send now.
type hop struct {
	name   string
	jobs   []*job
	busy   int
	window float64 // sessions it may have
	fails  int     // connections in a row that failed, as on disk
	more   bool    // the database may have more for it
	taken  map[int64]struct{}
	down   bool      // it could not be reached; nothing is tried until it was put down and taken up again
	feed   chan *job // to a session that waits for one
}

// job is a message on its way to some of its recipients.
type job struct {
	message
	to []recipient
}

// Run sends mail until ctx ends, then waits for what is under way, which is cut
// where it does not end within grace.
func (q *Queue) Run(ctx context.Context, grace time.Duration) error {
	work, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	reporter := make(chan struct{})
	go func() { defer close(reporter); q.reporter(ctx) }()
	for ctx.Err() == nil {
		wait, err := q.round(ctx, work)
		if err != nil {
			q.cfg.Log.Error("the queue stands still", slog.Any("error", err))
			wait = 10 * time.Second
		}
		select {
		case <-ctx.Done():
		case <-q.wake:
		case <-q.cfg.Clock.After(wait):
		}
	}
	stop := time.AfterFunc(grace, cut)
	defer stop.Stop()
	q.work.Wait()
	<-reporter
	return nil
}

// round does what there is to do now, and returns how long nothing new is due.
func (q *Queue) round(ctx, work context.Context) (time.Duration, error) {
	if err := q.notices(ctx); err != nil {
		return 0, err
	}
	if err := q.loadHops(); err != nil {
		return 0, err
	}
	q.mu.Lock()
	var hungry []*hop
	for _, h := range q.hops {
		if h.more && !h.down && len(h.jobs) < lowWater {
			hungry = append(hungry, h)
		}
	}
	q.mu.Unlock()
	for _, h := range hungry {
		if err := q.refill(h); err != nil {
			return 0, err
		}
	}
	again, err := q.settle(ctx, q.start(ctx, work))
	if err != nil || again {
		return 0, err
	}
	return q.idle()
}

// loadHops takes up the hops that are due.
func (q *Queue) loadHops() error {
	q.mu.Lock()
	room := maxHops - len(q.hops)
	limit := maxHops + len(q.hops)
	q.mu.Unlock()
	if room <= 0 {
		return nil
	}
	return q.view(func(db *database) error {
		return db.query(`SELECT name, fails FROM hop WHERE due <= ? ORDER BY due LIMIT ?`, func(s *row) error {
			q.mu.Lock()
			defer q.mu.Unlock()
			name := s.ColumnText(0)
			if q.hops[name] != nil || len(q.hops) >= maxHops {
				return nil
			}
			h := &hop{name: name, fails: s.ColumnInt(1), more: true, window: firstTries, taken: map[int64]struct{}{}, feed: make(chan *job)}
			if h.fails > 0 {
				h.window = 1 // one tries whether it is back
			}
			q.hops[name] = h
			return nil
		}, q.now(), limit)
	})
}

// refill reads more mail of a hop.
func (q *Queue) refill(h *hop) error {
	q.mu.Lock()
	h.more = false
	before := make(map[int64]struct{}, len(h.taken)) // what is recorded while we read shows as it was
	for id := range h.taken {
		before[id] = struct{}{}
	}
	q.mu.Unlock()
	var found []recipient
	var more bool
	err := q.view(func(db *database) error {
		for _, part := range []struct {
			state State
			until int64
			limit int
		}{{Ready, 1<<63 - 1, batch * 2 / 3}, {Waiting, q.now(), batch / 3}} {
			n, all := 0, 0
			err := db.query(`SELECT `+recipientColumns+` FROM rcpt WHERE hop = ? AND state = ? AND at <= ? ORDER BY at, message LIMIT ?`, func(s *row) error {
				all++
				if _, ok := before[s.ColumnInt64(0)]; !ok && n < part.limit {
					n++
					found = append(found, recipientOf(s))
				}
				return nil
			}, h.name, int(part.state), part.until, part.limit+len(before))
			if err != nil {
				return err
			}
			more = more || all == part.limit+len(before)
		}
		return nil
	})
	var jobs []*job
	if err == nil {
		jobs, err = q.jobs(found)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	h.more = h.more || more || err != nil
	if err != nil {
		return err
	}
	for _, j := range jobs {
		h.jobs = append(h.jobs, j)
		for _, r := range j.to {
			h.taken[r.id] = struct{}{}
		}
	}
	return nil
}

// jobs puts recipients of one message together.
func (q *Queue) jobs(found []recipient) ([]*job, error) {
	var jobs []*job
	byMessage := map[ID]*job{}
	for _, r := range found {
		j := byMessage[r.message]
		if j == nil || len(j.to) >= q.cfg.Recipients {
			m, err := q.message(r.message)
			if mail.KindOf(err) == mail.KindNotExist {
				continue // dropped meanwhile
			}
			if err != nil {
				return nil, err
			}
			j = &job{message: m}
			byMessage[r.message] = j
			jobs = append(jobs, j)
		}
		j.to = append(j.to, r)
	}
	return jobs, nil
}

// start hands mail to the sessions that wait for some and starts those that
// there is room for. It returns the hops that are done.
func (q *Queue) start(ctx, work context.Context) (done []*hop) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for started := true; started && ctx.Err() == nil; { // each hop one more by turns
		started = false
		for _, h := range q.hops {
			started = q.startOne(ctx, work, h) || started
		}
	}
	for _, h := range q.hops {
		if h.busy == 0 && len(h.jobs) == 0 && (h.down || !h.more) {
			done = append(done, h)
		}
	}
	return done
}

// startOne gives one message of a hop to a session. q.mu is held.
func (q *Queue) startOne(ctx, work context.Context, h *hop) bool {
	if len(h.jobs) == 0 {
		return false
	}
	j := h.jobs[0]
	select {
	case h.feed <- j:
	default:
		if h.busy >= int(h.window) || q.busy >= q.cfg.Sessions {
			return false
		}
		h.busy++
		q.busy++
		q.work.Go(func() { q.session(ctx, work, h, j) })
	}
	h.jobs = h.jobs[1:]
	return true
}

// settle writes down when hops that are done for now have mail again. It tells
// whether one of them has some already.
func (q *Queue) settle(ctx context.Context, done []*hop) (again bool, err error) {
	if len(done) == 0 {
		return false, nil
	}
	err = q.update(ctx, func(db *database) error {
		again = false
		for _, h := range done {
			now, err := q.settleHop(db, h)
			if err != nil {
				return err
			}
			again = again || now
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, h := range done {
		delete(q.hops, h.name)
	}
	return again, nil
}

func (q *Queue) settleHop(db *database, h *hop) (now bool, err error) {
	until, err := db.int64(`SELECT until FROM hop WHERE name = ?`, h.name)
	if err != nil {
		return false, err
	}
	next := int64(1<<63 - 1)
	err = db.query(`SELECT state, min(at) FROM rcpt WHERE hop = ?1 AND state = 0
		UNION ALL SELECT state, min(at) FROM rcpt WHERE hop = ?1 AND state = 1`, func(s *row) error {
		switch {
		case s.ColumnType(1) == nullColumn:
		case State(s.ColumnInt(0)) == Ready:
			next = min(next, q.now()) // whatever its rank
		default:
			next = min(next, s.ColumnInt64(1))
		}
		return nil
	}, h.name)
	switch {
	case err != nil:
		return false, err
	case next == 1<<63-1:
		return false, db.exec(`DELETE FROM hop WHERE name = ?`, h.name)
	}
	due := max(next, until)
	return due <= q.now(), db.exec(`UPDATE hop SET due = ? WHERE name = ?`, due, h.name)
}

// maxIdle is the longest the scheduler sleeps: the machine's clock may be set.
const maxIdle = time.Minute

// idle returns how long nothing new is due.
func (q *Queue) idle() (time.Duration, error) {
	next := int64(0)
	err := q.view(func(db *database) (err error) {
		next, err = db.int64(`SELECT min(t) FROM (SELECT min(due) AS t FROM hop WHERE due > ?1
			UNION ALL SELECT min(notice) FROM message WHERE notice > ?1)`, q.now())
		return err
	})
	if next == 0 {
		return maxIdle, err
	}
	return min(maxIdle, max(time.Duration(next-q.now())*time.Microsecond, time.Millisecond)), err
}
