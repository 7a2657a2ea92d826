package imapserver

import "context"

// renameCommand is RENAME (RFC 9051 §6.3.6).
func renameCommand() command {
	return command{
		name: "RENAME", in: loggedIn,
		run: func(ctx context.Context, c *conn) (reply, error) {
			c.dec.SP()
			from := c.dec.Mailbox(c.utf8())
			c.dec.SP()
			to := c.dec.Mailbox(c.utf8())
			if c.dec.End(); c.dec.Err() != nil {
				return reply{}, c.dec.Err()
			}
			if err := c.account.RenameMailbox(ctx, from, to); err != nil {
				return reply{}, err
			}
			return ok("", "mailbox renamed"), nil
		},
	}
}
