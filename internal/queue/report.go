package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"expost/internal/dsn"
	"expost/internal/mail"
	"expost/internal/maillog"
)

// Bounds of what a report brings back.
const (
	maxReturned = 1 << 20  // bytes of a message; a larger one comes as its header
	maxHeader   = 64 << 10 // bytes of a header
)

// retryReports is how long reports wait that could not be delivered.
const retryReports = time.Minute

// reporter tells senders what became of their mail, until ctx ends.
func (q *Queue) reporter(ctx context.Context) {
	for {
		if err := q.reports(ctx); err != nil && ctx.Err() == nil {
			q.cfg.Log.Error("reports wait", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-q.report:
		case <-q.cfg.Clock.After(retryReports):
		}
	}
}

// reports makes every report that is due. One that fails does not keep the
// others back.
func (q *Queue) reports(ctx context.Context) error {
	var errs []error
	for after := int64(0); ctx.Err() == nil; {
		var ids []int64
		err := q.view(func(db *database) error {
			return db.query(`SELECT DISTINCT message FROM rcpt WHERE state >= 3 AND message > ? ORDER BY message LIMIT 100`,
				func(s *row) error { ids = append(ids, s.ColumnInt64(0)); return nil }, after)
		})
		if err != nil || len(ids) == 0 {
			return errors.Join(append(errs, err)...)
		}
		for _, id := range ids {
			if err := q.reportMessage(ctx, ID(id)); err != nil {
				errs = append(errs, fmt.Errorf("reporting on %s: %w", ID(id), err))
			}
			after = id
		}
	}
	return errors.Join(append(errs, ctx.Err())...)
}

// reportMessage reports the recipients of one message that wait for it.
func (q *Queue) reportMessage(ctx context.Context, id ID) error {
	m, err := q.message(id)
	if mail.KindOf(err) == mail.KindNotExist {
		return nil // dropped meanwhile
	}
	if err != nil {
		return err
	}
	all, err := q.recipients(id)
	if err != nil {
		return err
	}
	var due []recipient
	for _, r := range all {
		if r.state >= Failed {
			due = append(due, r)
		}
	}
	if err := q.tell(ctx, &m, due, false); err != nil {
		return err
	}
	var gone bool
	err = q.update(ctx, func(db *database) (err error) {
		for _, r := range due {
			if err := db.exec(`DELETE FROM rcpt WHERE id = ?`, r.id); err != nil {
				return err
			}
		}
		gone, err = finish(db, id, len(due))
		return err
	})
	if gone {
		q.dropBody(&m)
	}
	return err
}

// tell delivers a report: to the sender; where there is none, or the report
// cannot be delivered, to the postmaster; where that fails too, to the log.
func (q *Queue) tell(ctx context.Context, m *message, to []recipient, late bool) error {
	if len(to) == 0 {
		return nil
	}
	if m.sender != "" {
		err := q.inject(ctx, m, to, late, m.sender)
		if err == nil || !final(err) {
			return err
		}
		q.cfg.Log.Warn("a report cannot be delivered to the sender", slog.String("queue", m.id.String()),
			slog.String("from", string(m.sender)), slog.Any("error", err))
	}
	if late || q.cfg.Postmaster == "" {
		return nil
	}
	err := q.inject(ctx, m, to, late, q.cfg.Postmaster)
	if err != nil && final(err) {
		q.cfg.Log.Error("mail is lost: neither its sender nor the postmaster can be told", slog.String("queue", m.id.String()), slog.Any("error", err))
		return nil
	}
	return err
}

// final tells whether another try does not help.
func final(err error) bool {
	switch mail.KindOf(err) {
	case mail.KindNotExist, mail.KindPermission, mail.KindInvalid, mail.KindTooBig, mail.KindExist:
		return true
	}
	return false
}

// inject makes a report and hands it in.
func (q *Queue) inject(ctx context.Context, m *message, to []recipient, late bool, reader mail.Address) error {
	now := q.cfg.Clock.Now()
	r := &dsn.Report{
		ID: m.id.String() + "." + ID(now.UnixMicro()).String(), Hostname: q.cfg.Hostname, From: q.cfg.Postmaster, To: reader,
		Date: now, Arrival: micro(m.created), Queue: m.id.String(), EnvID: m.envid,
		UTF8: m.flags&flagUTF8 != 0, EightBit: m.flags&flagEightBit != 0, Double: reader != m.sender,
	}
	for _, rcpt := range to {
		r.Recipients = append(r.Recipients, m.reported(&rcpt, late))
	}
	b, err := q.body(m)
	if err != nil {
		return err
	}
	back, err := returned(m, b, r.Recipients)
	if err == nil {
		err = q.cfg.Inject(ctx, reader, r.Reader(back))
	}
	if err == nil {
		q.logReport(m, reader, late)
	}
	return errors.Join(err, b.close())
}

// reported is a recipient as a report has it.
func (m *message) reported(r *recipient, late bool) dsn.Recipient {
	out := dsn.Recipient{
		Address: r.address, Original: r.orcpt, Action: dsn.Failed, Status: r.status,
		Remote: r.remote, Reply: r.reply, Until: micro(m.expires),
	}
	if r.tried != 0 {
		out.Last = micro(r.tried)
	}
	switch {
	case late:
		out.Action = dsn.Delayed
	case r.state == Relayed:
		out.Action = dsn.Relayed
	}
	if out.Status == "" {
		out.Status = "4.4.1"
	}
	return out
}

// returned returns what of a message its report brings back: all of it where
// it failed and its sender said neither RET=HDRS nor REQUIRETLS (RFC 8689 §5), and
// it is not large.
func returned(m *message, b *body, to []dsn.Recipient) (dsn.Returned, error) {
	failed := false
	for _, r := range to {
		failed = failed || r.Action == dsn.Failed
	}
	if failed && m.ret != "HDRS" && m.flags&flagRequireTLS == 0 && m.size <= maxReturned {
		return dsn.Returned{Reader: io.NewSectionReader(b, 0, b.Size()), Full: true}, nil
	}
	head := make([]byte, min(maxHeader, b.Size()))
	if _, err := b.ReadAt(head, 0); err != nil && err != io.EOF {
		return dsn.Returned{}, err
	}
	text := string(head)
	if end := strings.Index(text, "\r\n\r\n"); end >= 0 {
		text = text[:end+2]
	} else if end := strings.LastIndex(text, "\r\n"); end >= 0 {
		text = text[:end+2]
	}
	return dsn.Returned{Reader: strings.NewReader(text)}, nil
}

// notices looks at the messages whose sender is to hear of them: late ones, and
// those whose time is over.
func (q *Queue) notices(ctx context.Context) error {
	var late []message
	err := q.view(func(db *database) error {
		return db.query(`SELECT `+messageColumns+` FROM message WHERE notice <= ? ORDER BY notice LIMIT ?`,
			func(s *row) error { late = append(late, messageOf(s)); return nil }, q.now(), maxNotices)
	})
	if err != nil {
		return err
	}
	for _, m := range late {
		if err := q.notice(ctx, &m); err != nil {
			return fmt.Errorf("reporting that %s is late: %w", m.id, err)
		}
	}
	if len(late) == maxNotices {
		nudge(q.wake)
	}
	return nil
}

// notice tells the sender of one message that it is late, or ends it.
func (q *Queue) notice(ctx context.Context, m *message) error {
	all, err := q.recipients(m.id)
	if err != nil {
		return err
	}
	var open []recipient
	for _, r := range all {
		if r.state > Waiting || q.underWay(&r) {
			continue
		}
		if err := q.explain(&r); err != nil {
			return err
		}
		open = append(open, r)
	}
	if q.now() >= m.expires {
		return q.expire(ctx, m, open)
	}
	next := m.expires
	err = q.tell(ctx, m, wantDelay(open), true)
	if err != nil && !final(err) { // it is only a courtesy
		q.cfg.Log.Warn("a sender could not be told of late mail", slog.String("queue", m.id.String()), slog.Any("error", err))
		next = min(next, q.now()+retryReports.Microseconds())
	}
	return q.setNotice(ctx, m.id, next)
}

func (q *Queue) setNotice(ctx context.Context, id ID, at int64) error {
	return q.update(ctx, func(db *database) error {
		return db.exec(`UPDATE message SET notice = ? WHERE id = ?`, at, int64(id))
	})
}

// underWay tells whether a session has the recipient, or will in a moment.
func (q *Queue) underWay(r *recipient) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	h := q.hops[r.hop]
	if h == nil {
		return false
	}
	_, ok := h.taken[r.id]
	return ok
}

// explain gives a recipient that was never tried by itself the reason for which
// its hop cannot be reached.
func (q *Queue) explain(r *recipient) error {
	if r.reply != "" {
		return nil
	}
	return q.view(func(db *database) error {
		return db.query(`SELECT error FROM hop WHERE name = ?`, func(s *row) error {
			r.reply = s.ColumnText(0)
			return nil
		}, r.hop)
	})
}

// wantDelay leaves those whose sender wants to hear of delay: who says nothing
// does (RFC 3461 §4.1).
func wantDelay(list []recipient) []recipient {
	var out []recipient
	for _, r := range list {
		if r.notify == "" || strings.Contains(r.notify, "DELAY") {
			out = append(out, r)
		}
	}
	return out
}

// expire gives recipients up whose time is over. Those under way are looked at
// again soon.
func (q *Queue) expire(ctx context.Context, m *message, open []recipient) error {
	dropped, gone := 0, false
	err := q.update(ctx, func(db *database) (err error) {
		dropped, gone = 0, false
		for _, r := range open {
			if r.notify != "" && !strings.Contains(r.notify, "FAILURE") {
				dropped++
				if err := db.exec(`DELETE FROM rcpt WHERE id = ?`, r.id); err != nil {
					return err
				}
				continue
			}
			status, why := "4.4.7", "tried too long"
			if m.bymode&byReturn != 0 && m.by <= m.expires {
				status, why = "5.4.7", "the time by which its sender wanted it delivered has passed"
			}
			reply := strings.TrimSpace(why + "; at last: " + r.reply)
			if r.reply == "" {
				reply = why
			}
			if err := db.exec(`UPDATE rcpt SET state = 3, status = ?, reply = ? WHERE id = ?`, status, reply, r.id); err != nil {
				return err
			}
		}
		if err := db.exec(`UPDATE message SET notice = ? WHERE id = ?`, q.now()+5*time.Minute.Microseconds(), int64(m.id)); err != nil {
			return err
		}
		if dropped > 0 {
			gone, err = finish(db, m.id, dropped)
		}
		return err
	})
	if err != nil {
		return err
	}
	if gone {
		q.dropBody(m)
	}
	q.logEvent(maillog.Failed, m, open, "tried too long")
	nudge(q.report)
	return nil
}
