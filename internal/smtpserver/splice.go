package smtpserver

import (
	"bytes"
	"context"
	"log/slog"

	"expost/internal/login"
	"expost/internal/proxy"
)

// splice hands the connection over to the session on the account's host, for the
// rest of its life. What EHLO offered was ours; a client that cares asks again.
func (c *conn) splice(e *login.Entry) reply {
	c.write(reply{code: 235, status: "2.7.0", text: "logged in"})
	if err := c.wire.out.Flush(); err != nil {
		return none.closing()
	}
	pending, _ := c.wire.in.Peek(c.wire.in.Buffered())
	pending = bytes.Clone(pending)
	_, _ = c.wire.in.Discard(len(pending))
	ctx, cut := context.WithCancel(e.Inside)
	defer cut()
	c.cut.Store(&cut)
	if c.wire.stopped() { // Stop came before
		cut()
	}
	clean, err := e.Far.Splice(ctx, proxy.Client{Conn: c.wire.nc, Pending: pending, Heard: e.Trace.Heard, Said: e.Trace.Server})
	c.log.Debug("proxy session ended", slog.String("host", e.Account.Host), slog.Any("error", err))
	if clean && ctx.Err() != nil {
		return reply{code: 421, status: "4.3.2", text: "connect again"}.closing()
	}
	return none.closing()
}
