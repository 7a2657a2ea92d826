package imapserver

import "context"

// deleteCommand is DELETE (RFC 9051 §6.3.5).
func deleteCommand() command {
	return command{
		name: "DELETE", in: loggedIn,
		run: func(ctx context.Context, c *conn) (reply, error) {
			c.dec.SP()
			name := c.dec.Mailbox(c.utf8())
			if c.dec.End(); c.dec.Err() != nil {
				return reply{}, c.dec.Err()
			}
			if err := c.account.DeleteMailbox(ctx, name); err != nil {
				return reply{}, err
			}
			if c.sel != nil && c.sel.view.Gone() {
				c.out.Line("* OK [CLOSED] the selected mailbox is the deleted one")
				c.deselect()
			}
			return ok("", "mailbox deleted"), nil
		},
	}
}
