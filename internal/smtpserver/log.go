package smtpserver

import (
	"context"
	"crypto/tls"
	"log/slog"
	"time"

	"expost/internal/delivery"
)

// logResult writes the line of the mail log for one recipient of a message.
// msg is nil where the message was not received whole.
func (c *conn) logResult(ctx context.Context, env *delivery.Envelope, i int, msg *delivery.Spooled, r reply) {
	attrs := []slog.Attr{
		slog.String("id", env.ID),
		slog.String("from", string(env.From)),
		slog.String("to", string(env.Recipients[i].Address)),
		slog.String("result", r.result()),
		slog.Duration("delay", time.Since(env.Received).Round(time.Microsecond)),
		slog.String("with", env.Protocol()),
	}
	if msg != nil {
		attrs = append(attrs, slog.Int64("size", msg.Size()), slog.String("message-id", msg.MessageID()))
	}
	if env.SignedInAs != "" {
		attrs = append(attrs, slog.String("login", string(env.SignedInAs)))
	}
	if env.Verdict != "" {
		attrs = append(attrs, slog.String("auth", env.Verdict), slog.Bool("junk", env.Junk))
	}
	if c.tls != nil {
		attrs = append(attrs, slog.String("tls", tls.VersionName(c.tls.Version)))
	}
	message := "delivered"
	if r.code != 250 {
		message = "not delivered"
		attrs = append(attrs, slog.String("reason", r.text))
	}
	c.log.LogAttrs(ctx, slog.LevelInfo, message, attrs...)
}

// logRefused writes the line of the mail log for a recipient refused at RCPT.
func (c *conn) logRefused(path string, r reply) {
	c.log.Info("recipient refused",
		slog.String("id", c.env.ID), slog.String("from", string(c.env.From)), slog.String("to", path),
		slog.String("helo", c.helo), slog.String("result", r.result()), slog.String("reason", r.text))
}
