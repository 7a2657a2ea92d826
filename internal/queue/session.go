package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"expost/internal/smtpclient"
)

// Carrier opens sessions to next hops.
type Carrier interface {
	// Dial opens a session. An error with a method Permanent() bool that says
	// yes returns the mail (the domain does not exist); any other puts the hop off.
	Dial(ctx context.Context, hop string) (Session, error)
}

// Session carries messages, one after the other.
type Session interface {
	// Send is [smtpclient.Conn.Send].
	Send(m *smtpclient.Message) ([]smtpclient.Reply, error)
	Usable() bool
	Remote() string        // the host it leads to
	Has(word string) bool  // an extension
	Limit(name string) int // RCPTMAX, MAILMAX (RFC 9422); 0: none
	Secure() bool
	// Next opens a session to the next host of the hop, which may take what this
	// one does not take now; nil where there is none.
	Next(ctx context.Context) Session
	Close()
}

// linger is how long an open session waits for more mail to its hop.
const linger = 500 * time.Millisecond

// session is the life of one session to a hop: it takes one message after the
// other until ctx ends; work cuts it.
func (q *Queue) session(ctx, work context.Context, h *hop, j *job) {
	var s Session
	carried := 0
	for j != nil && (s != nil || ctx.Err() == nil) {
		if s == nil {
			var err error
			if s, err = q.cfg.Carrier.Dial(work, h.name); err != nil {
				s = nil
				if !isPermanent(err) {
					q.unreachable(work, h, j, err)
					break
				}
				q.undeliverable(work, h, j, err)
				j = q.next(h)
				continue
			}
			carried = 0
		}
		if !q.carry(work, h, j, &s, carried > 0) {
			s.Close()
			s = nil
			continue // the same message over a new session
		}
		if carried++; carried >= atMost(q.cfg.PerSession, s.Limit("MAILMAX")) || !s.Usable() {
			s.Close()
			s = nil
		}
		if j = q.next(h); j == nil && s != nil {
			j = await(ctx, h)
		}
	}
	if s != nil {
		s.Close()
	}
	q.mu.Lock()
	h.busy--
	q.busy--
	q.mu.Unlock()
	nudge(q.wake)
}

func isPermanent(err error) bool {
	var p interface{ Permanent() bool }
	return errors.As(err, &p) && p.Permanent()
}

// next returns the hop's next message; nil where there is none.
func (q *Queue) next(h *hop) *job {
	q.mu.Lock()
	defer q.mu.Unlock()
	if h.more && len(h.jobs) < lowWater {
		nudge(q.wake)
	}
	if len(h.jobs) == 0 || h.busy > int(max(h.window, 1)) {
		return nil
	}
	j := h.jobs[0]
	h.jobs = h.jobs[1:]
	return j
}

// await waits a moment for another message, to save it a new session.
func await(ctx context.Context, h *hop) *job {
	patience := time.NewTimer(linger)
	defer patience.Stop()
	select {
	case j := <-h.feed:
		return j
	case <-patience.C:
	case <-ctx.Done():
	}
	return nil
}

// carry sends one message and records what became of it. It is false where a
// session that was used before ended before the server answered anything: it
// had been closed meanwhile, and that says nothing of the message or the hop. A
// host that is new and takes nothing of it now gives way to the next one of the
// hop, whose session is at s then (RFC 5321 §5.1).
func (q *Queue) carry(ctx context.Context, h *hop, j *job, at *Session, used bool) bool {
	s := *at
	b, err := q.body(&j.message)
	if err != nil {
		q.record(ctx, h, j, q.ours(j, 451, "4.3.0", err.Error()), nil)
		q.cfg.Log.Error("a queued message cannot be read", slog.String("queue", j.id.String()), slog.Any("error", err))
		return true
	}
	replies, err := q.send(j, b, s)
	for !used && takesNothing(replies, err) {
		next := s.Next(ctx)
		if next == nil {
			break
		}
		s.Close()
		s, *at = next, next
		replies, err = q.send(j, b, s)
	}
	if closed := b.close(); closed != nil {
		q.cfg.Log.Warn("closing a body", slog.Any("error", closed))
	}
	if used && errors.Is(err, smtpclient.ErrUnheard) {
		return false
	}
	if err != nil {
		for i := range replies {
			if replies[i].Code == 0 {
				replies[i] = smtpclient.Reply{Code: 451, Status: "4.4.2", Text: err.Error()}
			}
		}
	}
	q.adapt(h, err == nil)
	q.record(ctx, h, j, replies, s)
	return true
}

// takesNothing tells whether a host takes a message for none of its recipients,
// for now, and has certainly not got it.
func takesNothing(replies []smtpclient.Reply, err error) bool {
	if err != nil {
		return errors.Is(err, smtpclient.ErrUnheard)
	}
	for _, r := range replies {
		if r.Code < 400 || r.Permanent() {
			return false
		}
	}
	return true
}

// atMost returns the lesser of a number and a limit, where there is one.
func atMost(n, limit int) int {
	if limit > 0 {
		return min(n, limit)
	}
	return n
}

// send sends a message, in several transactions where the server takes fewer
// recipients in one.
func (q *Queue) send(j *job, b *body, s Session) ([]smtpclient.Reply, error) {
	most := atMost(len(j.to), s.Limit("RCPTMAX"))
	if most == len(j.to) {
		return s.Send(j.transaction(b))
	}
	all := make([]smtpclient.Reply, len(j.to))
	for from := 0; from < len(j.to); from += most {
		part := *j
		part.to = j.to[from:min(from+most, len(j.to))]
		replies, err := s.Send(part.transaction(b))
		copy(all[from:], replies)
		if from > 0 && errors.Is(err, smtpclient.ErrUnheard) {
			err = errors.New(err.Error()) // of the whole message much was heard
		}
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

// transaction is the job as the client wants it.
func (j *job) transaction(b *body) *smtpclient.Message {
	m := &smtpclient.Message{
		From: j.sender, Body: b, Size: j.size, Return: j.ret, EnvID: j.envid,
		EightBit: j.flags&flagEightBit != 0, RequireTLS: j.flags&flagRequireTLS != 0,
		UTF8:     j.flags&(flagUTF8|flagUTF8Header) == flagUTF8|flagUTF8Header,
		Priority: j.prio,
	}
	if j.by != 0 {
		m.By, m.ByReturn, m.ByTrace = micro(j.by), j.bymode&byReturn != 0, j.bymode&byTrace != 0
	}
	for _, r := range j.to {
		m.Recipients = append(m.Recipients, smtpclient.Recipient{Address: r.address, Notify: r.notify, Original: r.orcpt})
	}
	return m
}

// adapt gives a hop more sessions while all goes well, and fewer where not.
func (q *Queue) adapt(h *hop, good bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if good {
		h.fails = 0
		h.window = min(h.window+1/max(h.window, 1), float64(q.cfg.PerHop))
	} else {
		h.window = max(h.window-1, 1)
	}
}

// ours is one reply, of this host, for all recipients of a job.
func (q *Queue) ours(j *job, code int, status, text string) []smtpclient.Reply {
	replies := make([]smtpclient.Reply, len(j.to))
	for i := range replies {
		replies[i] = smtpclient.Reply{Code: code, Status: status, Text: text}
	}
	return replies
}

// undeliverable returns a message whose hop can never be reached.
func (q *Queue) undeliverable(ctx context.Context, h *hop, j *job, err error) {
	status := "5.4.4"
	if s, ok := errors.AsType[interface {
		error
		EnhancedStatus() string
	}](err); ok {
		status = s.EnhancedStatus()
	}
	q.record(ctx, h, j, q.ours(j, 550, status, err.Error()), nil)
}

// unreachable puts the message back. Where no other session to the hop stands,
// the hop is left alone for a while; else it bears no more sessions than that.
func (q *Queue) unreachable(ctx context.Context, h *hop, j *job, cause error) {
	q.mu.Lock()
	if h.busy > 1 || ctx.Err() != nil {
		h.window = float64(max(h.busy-1, 1))
		h.jobs = append([]*job{j}, h.jobs...)
		q.mu.Unlock()
		return
	}
	h.fails++
	fails := h.fails
	q.mu.Unlock()
	q.logUnreachable(h, j, cause)
	until := q.now() + q.backoff(fails).Microseconds()
	q.cfg.Log.Warn("next hop cannot be reached", slog.String("hop", h.name), slog.Int("tries", fails),
		slog.Time("until", micro(until)), slog.Any("error", cause))
	err := q.update(context.WithoutCancel(ctx), func(db *database) error {
		return db.exec(`UPDATE hop SET due = ?1, until = ?1, fails = ?2, error = ?3 WHERE name = ?4`, until, fails, cause.Error(), h.name)
	})
	if err != nil {
		q.cfg.Log.Error("recording a hop that cannot be reached", slog.String("hop", h.name), slog.Any("error", err))
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	h.jobs, h.down = nil, true
	clear(h.taken)
}

// backoff returns how long to wait after so many tries: doubling, and a fifth
// earlier or later so that mail that failed together is not retried together.
func (q *Queue) backoff(tries int) time.Duration {
	d := q.cfg.MinBackoff << min(max(tries-1, 0), 20)
	if d <= 0 || d > q.cfg.MaxBackoff {
		d = q.cfg.MaxBackoff
	}
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

// record writes down what became of a job's recipients. It is on disk then;
// where the disk refuses, the recipients are tried again.
func (q *Queue) record(ctx context.Context, h *hop, j *job, replies []smtpclient.Reply, s Session) {
	var gone, reports bool
	err := q.update(context.WithoutCancel(ctx), func(db *database) (err error) {
		gone, reports, err = q.recordIn(db, h, j, replies, s)
		return err
	})
	if err != nil {
		q.cfg.Log.Error("recording a delivery", slog.String("queue", j.id.String()), slog.Any("error", err))
	}
	q.mu.Lock()
	for _, r := range j.to {
		delete(h.taken, r.id)
	}
	h.more = h.more || err != nil
	q.mu.Unlock()
	if gone {
		q.dropBody(&j.message)
	}
	if reports {
		nudge(q.report)
	}
	q.logResults(h, j, replies, s)
}

func (q *Queue) recordIn(db *database, h *hop, j *job, replies []smtpclient.Reply, s Session) (gone, reports bool, err error) {
	now, done, remote := q.now(), 0, ""
	if s != nil {
		remote = s.Remote()
		if err := db.exec(`UPDATE hop SET until = 0, fails = 0, error = '' WHERE name = ? AND fails > 0`, h.name); err != nil {
			return false, false, err
		}
	}
	for i, r := range j.to {
		state, at := outcome(&j.message, &r, replies[i], s), int64(0)
		if state == doneState {
			done++
			if err := db.exec(`DELETE FROM rcpt WHERE id = ?`, r.id); err != nil {
				return false, false, err
			}
			continue
		}
		if state == Waiting {
			at = now + q.backoff(r.tries+1).Microseconds()
		} else {
			reports = true
		}
		err := db.exec(`UPDATE rcpt SET state = CASE WHEN state = 2 AND ?1 = 1 THEN 2 ELSE ?1 END, at = ?2, tries = tries + 1, tried = ?3, status = ?4, remote = ?5, reply = ?6 WHERE id = ?7`,
			int(state), at, now, statusOf(replies[i]), remote, replyText(replies[i], s), r.id)
		if err != nil {
			return false, false, err
		}
	}
	if done > 0 {
		gone, err = finish(db, j.id, done)
	}
	return gone, reports, err
}

// doneState is no state on disk: the recipient's row goes.
const doneState State = -1

// outcome returns the state a recipient has after a reply.
func outcome(m *message, r *recipient, reply smtpclient.Reply, s Session) State {
	asked := func(what string) bool { return strings.Contains(","+r.notify+",", ","+what+",") }
	switch {
	case reply.Delivered() && asked("SUCCESS") && m.sender != "" && !s.Has("DSN"):
		return Relayed
	case reply.Delivered() && m.by != 0 && m.sender != "" && r.notify != "NEVER" && !s.Has("DELIVERBY") && !isLast(r.hop):
		return Relayed // RFC 2852 §4: nobody watches the time from here on
	case reply.Delivered():
		return doneState
	case !reply.Permanent():
		return Waiting
	case r.notify != "" && !asked("FAILURE"):
		return doneState
	}
	return Failed
}

// isLast tells whether a hop is where mail ends: mailboxes here, or behind LMTP.
func isLast(hop string) bool { return IsLocal(hop) || strings.HasPrefix(hop, "lmtp:") }

// statusOf returns the enhanced status code of a reply, which may lack one or
// have one of another class.
func statusOf(r smtpclient.Reply) string {
	if r.Status != "" {
		return r.Status
	}
	return fmt.Sprintf("%d.0.0", r.Code/100)
}

// replyText returns what is kept of a reply: a server's words with its code, ours without.
func replyText(r smtpclient.Reply, s Session) string {
	if s == nil {
		return r.Text
	}
	return r.String()
}
