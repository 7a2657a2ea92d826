package imapserver

import (
	"context"
	"slices"
	"strings"

	"expost/internal/mail"
)

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
			p, err := c.lookUp(ctx, name, mail.RightDeleteMailbox)
			if err != nil {
				return reply{}, err
			}
			if err := p.account.DeleteMailbox(ctx, p.name); err != nil {
				return reply{}, orHasChildren(ctx, &p, err)
			}
			c.deletedName(p.account.ID(), p.box.Name)
			if c.sel != nil && c.sel.view.Gone() {
				c.out.Line("* OK [CLOSED] the selected mailbox is the deleted one")
				c.deselect()
			}
			return ok("", "mailbox deleted"), nil
		},
	}
}

// orHasChildren says HASCHILDREN (RFC 9051 §7.1) where a mailbox cannot be
// deleted for that reason.
func orHasChildren(ctx context.Context, p *place, err error) error {
	if mail.KindOf(err) != mail.KindInvalid {
		return err
	}
	boxes, listErr := p.account.Mailboxes(ctx)
	if listErr != nil || !slices.ContainsFunc(boxes, func(b mail.Mailbox) bool { return strings.HasPrefix(b.Name, p.name+mail.Delimiter) }) {
		return err
	}
	return no("HASCHILDREN", mail.PublicText(err))
}
