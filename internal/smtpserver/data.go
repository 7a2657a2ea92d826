package smtpserver

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"expost/internal/delivery"
	"expost/internal/mail"
)

// data is DATA (RFC 5321 §4.1.1.4).
func (c *conn) data(ctx context.Context, arg string) reply {
	if arg != "" {
		return reply{code: 501, status: "5.5.4", text: "DATA takes no argument"}
	}
	if r := c.ready(); r.refused() {
		return r
	}
	c.write(reply{code: 354, text: "end with <CRLF>.<CRLF>"})
	if err := c.wire.out.Flush(); err != nil { // RFC 2920 §3.2: this one may not wait
		return none.closing()
	}
	c.wire.expectData()
	return c.receive(ctx, newBody(c.wire.in, bodyOptions{dots: true, strict: c.strict, limit: c.cfg.Limits.MessageSize}))
}

// ready tells whether a message may come now.
func (c *conn) ready() reply {
	switch {
	case c.env == nil:
		return reply{code: 503, status: "5.5.1", text: "MAIL first"}
	case len(c.env.Recipients) == 0:
		return reply{code: 554, status: "5.5.1", text: "no valid recipients"}
	}
	return none
}

// receive takes the message and delivers it. The transaction ends with it.
func (c *conn) receive(ctx context.Context, b *body) reply {
	env := c.env
	c.env, c.idle = nil, 0
	env.Received = time.Now()
	msg, err := c.cfg.Delivery.Spool(ctx, env, b)
	if err != nil {
		c.abortFilters()
		return c.notReceived(ctx, env, b, err)
	}
	clients := len(env.Recipients)
	msg, verdict, err := c.filter(ctx, env, msg)
	defer func() {
		if err := msg.Close(); err != nil {
			c.log.Warn("dropping a spooled message", slog.String("id", env.ID), slog.Any("error", err))
		}
	}()
	if err != nil {
		verdict = c.failure(err)
	}
	if verdict.code != 0 {
		return c.answerAll(ctx, env, msg, verdict)
	}
	c.checkOutgoing(ctx, env)
	results := c.cfg.Delivery.Deliver(ctx, env, msg)
	return c.answer(ctx, env, msg, results[:clients])
}

// answer logs what became of each recipient and makes the reply.
func (c *conn) answer(ctx context.Context, env *delivery.Envelope, msg *delivery.Spooled, results []error) reply {
	accepted := reply{code: 250, status: "2.6.0", text: "delivered as " + env.ID}
	replies := make([]reply, len(results))
	for i, err := range results {
		replies[i] = accepted
		if err != nil {
			replies[i] = c.failure(err)
		}
		c.logResult(ctx, env, i, msg, replies[i])
	}
	if env.PerReply {
		return c.each(env, replies)
	}
	if err := delivery.Reply(results); err != nil {
		return c.failure(err)
	}
	return accepted
}

// each writes a reply for each recipient (RFC 2033 §4.2) and returns the last.
func (c *conn) each(env *delivery.Envelope, replies []reply) reply {
	for i := range replies {
		replies[i].text = "<" + string(env.Recipients[i].Address) + "> " + replies[i].text
	}
	last := len(replies) - 1
	for _, r := range replies[:last] {
		c.write(r)
	}
	return replies[last]
}

// notReceived answers a message that could not be read or kept. Unless the
// input is broken it is read to its end first, so that the client sees the reply.
func (c *conn) notReceived(ctx context.Context, env *delivery.Envelope, b *body, err error) reply {
	if b.err == nil || b.err == errTooBig {
		b.drain()
	}
	var r reply
	switch {
	case errors.Is(b.err, errAborted):
		return b.aborted
	case b.err == errEndless:
		r = c.tooBig().closing()
	case b.err != nil && b.err != io.EOF:
		r = c.broken(b.err)
	case b.tooBig:
		r = c.tooBig()
	default:
		r = c.failure(err)
	}
	for i := range env.Recipients {
		c.logResult(ctx, env, i, nil, r)
	}
	if !env.PerReply || r.end {
		return r
	}
	replies := make([]reply, len(env.Recipients))
	for i := range replies {
		replies[i] = r
	}
	return c.each(env, replies)
}

// failure is the reply to an error of delivery. One that has a cause which the
// client is not told is logged with it.
func (c *conn) failure(err error) reply {
	if err.Error() != mail.PublicText(err) {
		c.log.Error("delivery failed", slog.Any("error", err))
	}
	return errorReply(err)
}
