package imapserver

import "context"

// subscribeCommand is SUBSCRIBE (RFC 9051 §6.3.7). The mailbox need not exist.
func subscribeCommand() command {
	return command{name: "SUBSCRIBE", in: loggedIn, run: func(ctx context.Context, c *conn) (reply, error) {
		return c.subscribe(ctx, true)
	}}
}

// unsubscribeCommand is UNSUBSCRIBE (RFC 9051 §6.3.8).
func unsubscribeCommand() command {
	return command{name: "UNSUBSCRIBE", in: loggedIn, run: func(ctx context.Context, c *conn) (reply, error) {
		return c.subscribe(ctx, false)
	}}
}

func (c *conn) subscribe(ctx context.Context, on bool) (reply, error) {
	c.dec.SP()
	name := c.dec.Mailbox(c.utf8())
	if c.dec.End(); c.dec.Err() != nil {
		return reply{}, c.dec.Err()
	}
	if err := c.account.Subscribe(ctx, name, on); err != nil {
		return reply{}, orLimit(err)
	}
	c.subscribedName(name, on)
	return ok("", "done"), nil
}
