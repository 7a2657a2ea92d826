package queue

import (
	"context"
	"log/slog"
	"time"

	"expost/internal/mail"
	"expost/internal/maillog"
	"expost/internal/smtpclient"
)

// write writes a line of the mail log, to the service log where there is no
// mail log.
func (q *Queue) write(r *maillog.Record) {
	if q.cfg.MailLog != nil {
		q.cfg.MailLog.Add(r)
		return
	}
	q.cfg.Log.LogAttrs(context.Background(), slog.LevelInfo, string(r.Event), slog.String("queue", r.Queue), slog.String("from", r.From),
		slog.String("to", r.To), slog.String("remote", r.Remote), slog.String("result", r.Result), slog.String("reason", r.Reason),
		slog.Int64("size", r.Size), slog.Duration("delay", r.Delay), slog.String("tls", r.TLS))
}

// logQueued writes that a message has arrived.
func (q *Queue) logQueued(id ID, env *Envelope, size int64) {
	event := maillog.Queued
	if env.Hold != "" {
		event = maillog.Held
	}
	for _, r := range env.Recipients {
		q.write(&maillog.Record{
			Event: event, ID: env.Message, Queue: id.String(), From: string(env.From), To: string(r.Address), Size: size, Reason: env.Hold, Login: env.Origin,
		})
	}
}

// logResults writes what became of a job's recipients.
func (q *Queue) logResults(h *hop, j *job, replies []smtpclient.Reply, s Session) {
	for i, r := range j.to {
		event := maillog.Sent
		switch {
		case replies[i].Permanent():
			event = maillog.Failed
		case !replies[i].Delivered():
			event = maillog.Deferred
		case IsLocal(h.name):
			event = maillog.Delivered
		}
		rec := q.line(&j.message, event, &r)
		rec.Result, rec.Reason, rec.Remote = resultOf(replies[i]), replies[i].Text, h.name
		if s != nil {
			if rec.Remote = s.Remote(); s.Secure() && !IsLocal(h.name) {
				rec.TLS = "yes"
			}
		}
		q.write(rec)
	}
}

// resultOf is a reply's codes.
func resultOf(r smtpclient.Reply) string {
	return smtpclient.Reply{Code: r.Code, Status: r.Status}.String()
}

// line begins a line about a recipient.
func (q *Queue) line(m *message, event maillog.Event, r *recipient) *maillog.Record {
	return &maillog.Record{
		Event: event, Queue: m.id.String(), From: string(m.sender), To: string(r.address), Size: m.size,
		Delay: time.Duration(q.now()-m.created) * time.Microsecond,
	}
}

// logUnreachable writes that the mail of a job could not be sent since its hop
// cannot be reached.
func (q *Queue) logUnreachable(h *hop, j *job, cause error) {
	for _, r := range j.to {
		rec := q.line(&j.message, maillog.Deferred, &r)
		rec.Result, rec.Reason, rec.Remote = "451 4.4.1", cause.Error(), h.name
		q.write(rec)
	}
}

// logEvent writes what somebody, or time, did to a message.
func (q *Queue) logEvent(event maillog.Event, m *message, to []recipient, reason string) {
	for _, r := range to {
		rec := q.line(m, event, &r)
		rec.Reason = reason
		q.write(rec)
	}
}

// logReport writes that somebody was told.
func (q *Queue) logReport(m *message, reader mail.Address, late bool) {
	what := "of its end"
	if late {
		what = "that it is late"
	}
	q.write(&maillog.Record{Event: maillog.Reported, Queue: m.id.String(), To: string(reader), Reason: what})
}
