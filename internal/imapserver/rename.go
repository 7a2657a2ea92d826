package imapserver

import (
	"context"

	"expost/internal/mail"
)

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
			p, err := c.lookUp(ctx, from, mail.RightDeleteMailbox)
			if err != nil {
				return reply{}, err
			}
			target, err := c.mayCreate(ctx, to)
			if err != nil {
				return reply{}, err
			}
			if target.account.ID() != p.account.ID() {
				return reply{}, no("CANNOT", "a mailbox cannot be renamed into another account; copy its messages")
			}
			if err := p.account.RenameMailbox(ctx, p.name, target.name); err != nil {
				return reply{}, orLimit(err)
			}
			if from != mail.Inbox {
				c.movedNames(p.account.ID(), p.box.Name, target.prefix+target.name)
			}
			c.madeName(ctx, &target)
			return ok("", "mailbox renamed"), nil
		},
	}
}
