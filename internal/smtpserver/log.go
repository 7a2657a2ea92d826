package smtpserver

import (
	"context"
	"crypto/tls"
	"log/slog"
	"time"

	"expost/internal/delivery"
	"expost/internal/maillog"
)

// logResult writes the line of the mail log for one recipient of a message, or
// of the service log where there is no mail log. msg is nil where the message was
// not received whole.
func (c *conn) logResult(ctx context.Context, env *delivery.Envelope, i int, msg *delivery.Spooled, r reply) {
	rec := c.record(env, string(env.Recipients[i].Address), r)
	rec.Delay = time.Since(env.Received).Round(time.Microsecond)
	if msg != nil {
		rec.Size, rec.MessageID = msg.Size(), msg.MessageID()
	}
	if r.code == 250 {
		rec.Event = acceptedAs(env, &env.Recipients[i])
		if c.discard != "" {
			rec.Event, rec.Reason = maillog.Discarded, "by the content filter "+c.discard
		}
	}
	c.addLine(ctx, rec)
}

// acceptedAs tells what it means that a recipient was accepted.
func acceptedAs(env *delivery.Envelope, to *delivery.Recipient) maillog.Event {
	if env.Hold != "" || !env.NotBefore.IsZero() || len(to.Route.Targets) == 0 {
		return maillog.Accepted
	}
	return maillog.Delivered
}

// record begins a line.
func (c *conn) record(env *delivery.Envelope, to string, r reply) *maillog.Record {
	rec := &maillog.Record{
		Event: maillog.Refused, ID: env.ID, From: string(env.From), To: to, Result: r.result(),
		With: env.Protocol(), Client: c.remote.String(), Login: string(env.SignedInAs),
	}
	if r.code != 250 {
		rec.Reason, rec.Helo = r.text, c.helo
	}
	if c.tls != nil {
		rec.TLS = tls.VersionName(c.tls.Version)
	}
	return rec
}

// logRefused writes the line of the mail log for a recipient refused at RCPT.
func (c *conn) logRefused(path string, r reply) {
	c.addLine(context.Background(), c.record(c.env, path, r))
}

// logSender writes the line of the mail log for a sender refused at MAIL.
func (c *conn) logSender(env *delivery.Envelope, r reply) {
	c.addLine(context.Background(), c.record(env, "", r))
}

// addLine writes a line.
func (c *conn) addLine(ctx context.Context, rec *maillog.Record) {
	if c.cfg.MailLog != nil {
		c.cfg.MailLog.Add(rec)
		return
	}
	c.log.LogAttrs(ctx, slog.LevelInfo, string(rec.Event),
		slog.String("id", rec.ID), slog.String("from", rec.From), slog.String("to", rec.To), slog.String("result", rec.Result),
		slog.String("reason", rec.Reason), slog.Duration("delay", rec.Delay), slog.String("with", rec.With), slog.Int64("size", rec.Size),
		slog.String("message-id", rec.MessageID), slog.String("login", rec.Login), slog.String("tls", rec.TLS), slog.String("helo", rec.Helo))
}
