package imapserver

import (
	"context"

	"expost/internal/mail"
	"expost/internal/store"
)

// moveCommand is MOVE (RFC 9051 §6.4.8, RFC 6851).
func moveCommand() command {
	return command{name: "MOVE", in: selected, takesNumbers: true, caps: caps("MOVE"), run: func(ctx context.Context, c *conn) (reply, error) { return c.move(ctx, false) }}
}

// uidMoveCommand is UID MOVE.
func uidMoveCommand() command {
	return command{name: "UID MOVE", in: selected, run: func(ctx context.Context, c *conn) (reply, error) { return c.move(ctx, true) }}
}

func (c *conn) move(ctx context.Context, uids bool) (reply, error) {
	t, err := c.readTransfer(ctx, uids)
	if err != nil || t == nil {
		return ok("", "nothing to move"), err
	}
	if err := c.needs(mail.RightDeleteMessages | mail.RightExpunge); err != nil {
		return reply{}, err
	}
	if t.to.box.ID == c.sel.id && t.to.account.ID() == c.sel.account.ID() {
		return reply{}, no("CANNOT", "the messages are in that mailbox already")
	}
	spans, lowest := c.clip(t.spans)
	var done store.Copied
	err = c.during(func() (err error) {
		done, err = c.moveTo(ctx, uidsOf(c.sel.view.Snapshot(), spans), &t.to)
		return err
	})
	if err != nil {
		return reply{}, orTryCreate(err)
	}
	if len(done.Source) == 0 {
		return reply{}, allGone()
	}
	c.out.Line("* OK [", copyUID(done), "] moved") // before the EXPUNGEs
	return c.partly(ok("", "moved"), lowest), c.sync(true)
}

// transfer is what COPY and MOVE are asked.
type transfer struct {
	spans []span
	to    place
}

// moveTo moves messages of the selected mailbox. Those that go to another
// account are copied first, so that each is in one of the two at any time.
func (c *conn) moveTo(ctx context.Context, uids mail.UIDSet, to *place) (store.Copied, error) {
	if to.account.ID() == c.sel.account.ID() {
		return c.sel.account.Move(ctx, c.sel.id, uids, to.box.ID, lacking(to.rights))
	}
	done, err := c.copyTo(ctx, uids, to)
	if err != nil || len(done.Source) == 0 {
		return done, err
	}
	var moved mail.UIDSet
	for _, uid := range done.Source {
		moved.Add(uid)
	}
	return done, c.sel.account.Remove(ctx, c.sel.id, moved)
}

// readTransfer reads the arguments of COPY or MOVE; nil where there is nothing
// to do.
func (c *conn) readTransfer(ctx context.Context, uids bool) (*transfer, error) {
	c.dec.SP()
	set := c.dec.NumSet()
	c.dec.SP()
	name := c.dec.Mailbox(c.utf8())
	if c.dec.End(); c.dec.Err() != nil {
		return nil, c.dec.Err()
	}
	if err := c.catchUp(ctx, false); err != nil {
		return nil, err
	}
	spans, err := c.resolve(set, uids)
	if err != nil {
		return nil, err
	}
	to, err := c.lookUp(ctx, name, mail.RightInsert)
	if err != nil {
		return nil, orTryCreate(err)
	}
	if len(spans) == 0 {
		return nil, nil
	}
	return &transfer{spans, to}, nil
}
