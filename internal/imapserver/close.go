package imapserver

import (
	"context"

	"expost/internal/mail"
)

// closeCommand is CLOSE (RFC 9051 §6.4.1).
func closeCommand() command {
	return command{name: "CLOSE", in: selected, run: func(ctx context.Context, c *conn) (reply, error) {
		if c.dec.End(); c.dec.Err() != nil {
			return reply{}, c.dec.Err()
		}
		mayExpunge := !c.sel.readOnly && c.rights().Has(mail.RightExpunge) // else nothing is (RFC 4314 §4)
		if mayExpunge && c.sel.view.Latest().Mailbox().Deleted > 0 {
			if _, err := c.sel.account.Expunge(ctx, c.sel.id, nil); err != nil {
				return reply{}, err
			}
		}
		c.deselect()
		return ok("", "closed"), nil
	}}
}

// unselectCommand is UNSELECT (RFC 9051 §6.4.2, RFC 3691).
func unselectCommand() command {
	return command{name: "UNSELECT", in: selected, caps: caps("UNSELECT"), run: func(_ context.Context, c *conn) (reply, error) {
		if c.dec.End(); c.dec.Err() != nil {
			return reply{}, c.dec.Err()
		}
		c.deselect()
		return ok("", "unselected"), nil
	}}
}
