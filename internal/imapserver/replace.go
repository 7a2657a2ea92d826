package imapserver

import (
	"context"

	"expost/internal/mail"
)

// replaceCommand is REPLACE (RFC 8508 §3.1).
func replaceCommand() command {
	return command{name: "REPLACE", in: selected, takesNumbers: true, caps: caps("REPLACE"), run: func(ctx context.Context, c *conn) (reply, error) {
		return c.replace(ctx, false)
	}}
}

// uidReplaceCommand is UID REPLACE (RFC 8508 §3.2).
func uidReplaceCommand() command {
	return command{name: "UID REPLACE", in: selected, run: func(ctx context.Context, c *conn) (reply, error) {
		return c.replace(ctx, true)
	}}
}

// replace appends a message and expunges the one it replaces, in one step. In
// another account the new message is stored first: whatever fails, one of the two
// is there.
func (c *conn) replace(ctx context.Context, uids bool) (reply, error) {
	c.dec.SP()
	set := c.dec.Message()
	c.dec.SP()
	name := c.dec.Mailbox(c.utf8())
	c.dec.SP()
	if err := c.dec.Err(); err != nil {
		return reply{}, err
	}
	if err := c.needs(mail.RightDeleteMessages | mail.RightExpunge); err != nil {
		return reply{}, err
	}
	spans, err := c.resolve(set, uids)
	if err != nil {
		return reply{}, err
	}
	if len(spans) == 0 {
		return reply{}, no("NONEXISTENT", "there is no message with that UID")
	}
	old := c.sel.view.Snapshot().At(spans[0].from)
	if _, there := c.sel.view.Latest().Seq(old.UID); !there {
		return reply{}, allGone()
	}
	to, err := c.lookUp(ctx, name, mail.RightInsert)
	if err != nil {
		return reply{}, orTryCreate(err)
	}
	a := &appending{c: c, to: to}
	if to.account.ID() == c.sel.account.ID() {
		a.old = &old
	}
	defer a.drop()
	if err := a.message(ctx); err != nil {
		return reply{}, err
	}
	if c.dec.End(); c.dec.Err() != nil {
		return reply{}, c.dec.Err()
	}
	done, err := a.commit(ctx)
	if err != nil {
		return reply{}, err
	}
	c.out.Line("* OK [", done.code, "] the replacement is stored") // before the EXPUNGE
	if a.old != nil {
		return ok("", "replaced"), c.sync(true)
	}
	return ok("", "replaced"), c.remove(ctx, old.UID)
}

// remove takes a message away for good.
func (c *conn) remove(ctx context.Context, uid mail.UID) error {
	set := mail.UIDSet{{First: uid, Last: uid}}
	if err := c.sel.account.Remove(ctx, c.sel.id, set); err != nil {
		return err
	}
	return c.sync(true)
}
