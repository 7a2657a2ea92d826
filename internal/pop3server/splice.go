package pop3server

import (
	"bytes"
	"context"

	"expost/internal/login"
	"expost/internal/proxy"
)

// splice hands the connection over to the session on the account's host, for the
// rest of its life.
func (c *conn) splice(e *login.Entry) error {
	defer e.Leave()
	c.quit = true
	c.trust()
	c.say(ok("%s", e.Far.Greeting))
	if err := c.flush(); err != nil {
		return err
	}
	pending, _ := c.r.Peek(c.r.Buffered())
	ctx, cut := context.WithCancel(e.Inside)
	defer cut()
	c.cut.Store(&cut)
	if c.stopping.Load() { // Stop came before
		cut()
	}
	clean, err := e.Far.Splice(ctx, proxy.Client{Conn: c.nc, Pending: bytes.Clone(pending), Heard: e.Trace.Heard, Said: e.Trace.Server})
	c.log.Debug("proxy session ended", "user", e.Account.Address, "host", e.Account.Host, "err", err)
	if clean && ctx.Err() != nil {
		c.say(refused("SYS/TEMP", "connect again"))
	}
	return nil
}
