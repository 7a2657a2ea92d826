package imapserver

import (
	"bytes"
	"context"
	"net"

	"expost/internal/login"
	"expost/internal/proxy"
)

// splice hands the connection over to the session on the account's host, for the
// rest of its life.
func (c *conn) splice(e *login.Entry) error {
	if err := c.out.Flush(); err != nil {
		return err
	}
	c.out.release()
	buffered, _ := c.in.Peek(c.in.Buffered())
	pending := append(bytes.Clone(buffered), c.first...)
	c.first = nil
	c.releaseInput()
	ctx, cut := context.WithCancel(e.Inside)
	defer cut()
	c.cut.Store(&cut)
	if c.stopping.Load() { // Stop came before
		cut()
	}
	c.log.Info("served by proxy", "user", e.Account.Address, "host", e.Account.Host)
	clean, err := e.Far.Splice(ctx, proxy.Client{Conn: c.nc, Pending: pending, Heard: e.Trace.Heard, Said: e.Trace.Server})
	c.log.Debug("proxy session ended", "user", e.Account.Address, "host", e.Account.Host, "err", err)
	if !clean || !c.stopping.Load() {
		c.out.err = net.ErrClosed // nothing that we say would be understood
	}
	return errClose
}
