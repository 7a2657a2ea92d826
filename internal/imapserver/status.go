package imapserver

import (
	"context"

	"expost/internal/imapwire"
	"expost/internal/mail"
)

// statusCommand is STATUS (RFC 9051 §6.3.11), with SIZE (RFC 8438),
// HIGHESTMODSEQ (RFC 7162), DELETED-STORAGE (RFC 9208), MAILBOXID (RFC 8474) and APPENDLIMIT (RFC 7889).
func statusCommand() command {
	return command{
		name: "STATUS", in: loggedIn,
		caps: append(caps("STATUS=SIZE", "OBJECTID"), capability{name: "APPENDLIMIT", in: loggedIn}),
		run: func(ctx context.Context, c *conn) (reply, error) {
			c.dec.SP()
			name := c.dec.Mailbox(c.utf8())
			c.dec.SP()
			items := c.dec.StatusItems()
			if c.dec.End(); c.dec.Err() != nil {
				return reply{}, c.dec.Err()
			}
			p, err := c.lookUp(ctx, name, mail.RightRead)
			if err != nil {
				return reply{}, err
			}
			if items&imapwire.StatusHighestModSeq != 0 {
				c.features |= condstore
			}
			return ok("", "done"), c.writeStatus(ctx, &p, items)
		},
	}
}

// writeStatus writes a STATUS response out of a mailbox's row.
func (c *conn) writeStatus(ctx context.Context, p *place, items imapwire.StatusItems) error {
	box := &p.box
	deleted := int64(0)
	if items&imapwire.StatusDeletedStorage != 0 {
		var err error
		if deleted, err = deletedStorage(ctx, p); err != nil {
			return err
		}
	}
	c.out.Text("* STATUS ")
	c.out.b = imapwire.AppendMailbox(c.out.b, box.Name, c.utf8())
	c.out.Text(" (")
	first := true
	number := func(item imapwire.StatusItems, name string, n int64) {
		if items&item == 0 {
			return
		}
		if !first {
			c.out.Text(" ")
		}
		first = false
		c.out.Text(name)
		c.out.Number(n)
	}
	number(imapwire.StatusMessages, "MESSAGES ", int64(box.Messages))
	number(imapwire.StatusRecent, "RECENT ", 0) // only a session that selects it knows
	number(imapwire.StatusUIDNext, "UIDNEXT ", int64(box.UIDNext))
	number(imapwire.StatusUIDValidity, "UIDVALIDITY ", int64(box.UIDValidity))
	number(imapwire.StatusUnseen, "UNSEEN ", int64(box.Unseen))
	number(imapwire.StatusDeleted, "DELETED ", int64(box.Deleted))
	number(imapwire.StatusSize, "SIZE ", box.Size)
	number(imapwire.StatusHighestModSeq, "HIGHESTMODSEQ ", int64(box.HighestModSeq))
	number(imapwire.StatusDeletedStorage, "DELETED-STORAGE ", deleted)
	number(imapwire.StatusAppendLimit, "APPENDLIMIT ", c.limit)
	if items&imapwire.StatusMailboxID != 0 {
		if !first {
			c.out.Text(" ")
		}
		c.out.Text("MAILBOXID (" + box.ID.String() + ")")
	}
	c.out.Line(")")
	return nil
}
