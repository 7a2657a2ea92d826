package imapserver

import (
	"context"

	"expost/internal/imapwire"
	"expost/internal/mail"
	"expost/internal/store"
)

// sync tells the client what changed in the selected mailbox since it was told
// last, and moves on. Where expunges may not be told now (RFC 9051 §7.5.1) the
// messages stay in their places until they may. An error ends the connection.
func (c *conn) sync(expunges bool) error { return c.syncExcept(expunges, nil) }

// catchUp is sync where nothing that the client asked for needs it: what NOTIFY
// does not ask for is not told (RFC 5465 §3.1). Then it tells what changed in
// the results that are kept up to date.
func (c *conn) catchUp(ctx context.Context, expunges bool) error {
	if n := c.notify; n != nil && n.selected == nil {
		if c.sel.view.Gone() {
			return c.mailboxGone()
		}
		if err := c.checkRights(); err != nil {
			return err
		}
		return c.updateContexts(ctx)
	}
	var quiet func(*mail.Message) bool
	if n := c.notify; n != nil && n.selected.Events&imapwire.EventFlagChange == 0 {
		quiet = func(*mail.Message) bool { return true }
	}
	if err := c.syncExcept(expunges, quiet); err != nil {
		return err
	}
	if err := c.fetchNew(ctx); err != nil {
		return err
	}
	return c.updateContexts(ctx)
}

// syncExcept is sync without a FETCH for messages of which quiet returns true.
func (c *conn) syncExcept(expunges bool, quiet func(m *mail.Message) bool) error {
	v := c.sel.view
	if v.Gone() {
		return c.mailboxGone()
	}
	if err := c.checkRights(); err != nil {
		return err
	}
	old, now := v.Snapshot(), v.Latest()
	if old == now {
		return nil
	}
	if !expunges {
		now = store.KeepExpunged(old, now)
	}
	if box := now.Mailbox(); len(box.Keywords) > c.sel.keywords {
		c.writeFlags(&box)
	}
	v.MoveTo(now)
	c.contextsExpunge(old, now)
	c.tell(old, now, quiet)
	c.contextsPend(old, now)
	return c.out.err
}

// tell writes the difference between two states: expunges, EXISTS, flags.
func (c *conn) tell(old, now *store.Snapshot, quiet func(m *mail.Message) bool) {
	var vanished mail.UIDSet
	expunged, grown := 0, false
	exists := func() {
		if !grown && now.Len() != old.Len()-expunged {
			c.writeExists(now)
		}
		grown = true
	}
	for ch := range store.Diff(old, now) {
		switch {
		case ch.Expunged && c.has(qresync|uidOnly):
			expunged++
			vanished.Add(ch.Message.UID)
		case ch.Expunged:
			expunged++
			c.out.Text("* ")
			c.out.Number(int64(ch.Seq))
			c.out.Line(" EXPUNGE")
		default:
			c.writeVanished(vanished, false)
			vanished = nil
			exists()
			if quiet == nil || !quiet(&ch.Message) {
				c.writeFlagUpdate(ch.Seq, &ch.Message)
			}
		}
	}
	c.writeVanished(vanished, false)
	exists()
}

// writeVanished writes VANISHED (RFC 7162 §3.2.10), unless there is nothing.
func (c *conn) writeVanished(uids mail.UIDSet, earlier bool) {
	const perLine = 1000 // ranges
	for ; len(uids) > 0; uids = uids[min(perLine, len(uids)):] {
		c.out.Text("* VANISHED ")
		if earlier {
			c.out.Text("(EARLIER) ")
		}
		c.out.b = imapwire.AppendNumSet(c.out.b, uids[:min(perLine, len(uids))])
		c.out.Line()
	}
}

// writeFlagUpdate writes the FETCH that tells a message's flags.
func (c *conn) writeFlagUpdate(seq int, m *mail.Message) {
	c.beginFetch(seq, m.UID)
	c.out.Text("FLAGS ")
	c.out.b = imapwire.AppendFlags(c.out.b, m.Flags, m.Keywords, c.isRecent(m.UID))
	if c.has(condstore) {
		c.out.Text(" ")
		c.appendModSeq(m.ModSeq)
	}
	c.out.Line(")")
}

// beginFetch begins a FETCH that was not asked for with the message's UID; it
// is a UIDFETCH where there are no sequence numbers (RFC 9586 §3.3).
func (c *conn) beginFetch(seq int, uid mail.UID) {
	c.out.Text("* ")
	if c.has(uidOnly) {
		c.out.Number(int64(uid))
		c.out.Text(" UIDFETCH (")
		return
	}
	c.out.Number(int64(seq))
	c.out.Text(" FETCH (UID ")
	c.out.Number(int64(uid))
	c.out.Text(" ")
}

// appendModSeq appends MODSEQ.
func (c *conn) appendModSeq(seq mail.ModSeq) {
	c.out.Text("MODSEQ (")
	c.out.Number(int64(seq))
	c.out.Text(")")
}

// isRecent tells whether a message has the \Recent flag in this session.
func (c *conn) isRecent(uid mail.UID) bool { return uid >= c.sel.recent && !c.has(rev2) }

// checkRights tells the client where its rights in the selected mailbox have
// changed, and ends a session that may no longer read it (RFC 4314 §5.1.1).
func (c *conn) checkRights() error {
	rights := c.rights()
	if rights == c.sel.rights {
		return nil
	}
	if !rights.Has(mail.RightRead) {
		c.out.Line("* BYE [NOPERM] you may no longer read the selected mailbox")
		_ = c.out.Flush()
		return errClose
	}
	c.sel.rights = rights
	box := c.sel.view.Snapshot().Mailbox()
	c.writeFlags(&box)
	return c.out.err
}

// mailboxGone ends a session whose selected mailbox was deleted by another: it
// cannot go on (RFC 2180 §3.3).
func (c *conn) mailboxGone() error {
	c.out.Line("* BYE [UNAVAILABLE] the selected mailbox was deleted")
	_ = c.out.Flush()
	return errClose
}
