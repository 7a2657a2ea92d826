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
			if err := c.account.DeleteMailbox(ctx, name); err != nil {
				return reply{}, c.orHasChildren(ctx, name, err)
			}
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
func (c *conn) orHasChildren(ctx context.Context, name string, err error) error {
	if mail.KindOf(err) != mail.KindInvalid {
		return err
	}
	boxes, listErr := c.account.Mailboxes(ctx)
	if listErr != nil || !slices.ContainsFunc(boxes, func(b mail.Mailbox) bool { return strings.HasPrefix(b.Name, name+mail.Delimiter) }) {
		return err
	}
	return no("HASCHILDREN", mail.PublicText(err))
}
