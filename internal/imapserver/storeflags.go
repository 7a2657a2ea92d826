package imapserver

import (
	"context"

	"expost/internal/imapwire"
	"expost/internal/mail"
	"expost/internal/store"
)

// storeCommand is STORE (RFC 9051 §6.4.6) with UNCHANGEDSINCE (RFC 7162 §3.1.3).
func storeCommand() command {
	return command{name: "STORE", in: selected, keepsNumbers: true, takesNumbers: true, run: func(ctx context.Context, c *conn) (reply, error) {
		return c.store(ctx, false)
	}}
}

// uidStoreCommand is UID STORE.
func uidStoreCommand() command {
	return command{name: "UID STORE", in: selected, run: func(ctx context.Context, c *conn) (reply, error) {
		return c.store(ctx, true)
	}}
}

// maxKeywords bounds the keywords of one STORE or APPEND.
const maxKeywords = 100

func (c *conn) store(ctx context.Context, uids bool) (reply, error) {
	cmd := c.dec.Store()
	if err := c.dec.Err(); err != nil {
		return reply{}, err
	}
	if err := c.needs(0); err != nil {
		return reply{}, err
	}
	if len(cmd.Flags.Keywords) > maxKeywords {
		return reply{}, no("LIMIT", "too many keywords")
	}
	if cmd.Conditional {
		c.features |= condstore
	}
	if err := c.catchUp(ctx, false); err != nil {
		return reply{}, err
	}
	spans, err := c.resolve(cmd.Set, uids)
	if err != nil || len(spans) == 0 {
		return ok("", "nothing to store"), err
	}
	spans, lowest := c.clip(spans)
	ch := store.FlagChange{
		Op: [...]store.FlagOp{store.FlagsSet, store.FlagsAdd, store.FlagsRemove}[cmd.Op], Flags: cmd.Flags.Flags,
		Keywords: mail.NewKeywords(cmd.Flags.Keywords...), UnchangedSince: cmd.UnchangedSince, Conditional: cmd.Conditional,
	}
	if ch.Keep, err = c.mayChange(&ch); err != nil {
		return reply{}, err
	}
	set := uidsOf(c.sel.view.Snapshot(), spans)
	var modified mail.UIDSet
	err = c.during(func() (err error) {
		modified, err = c.sel.account.StoreFlags(ctx, c.sel.id, set, ch)
		return err
	})
	if err != nil {
		return reply{}, err
	}
	if err := c.tellStored(spans, set, modified, ch, cmd.Silent); err != nil {
		return reply{}, err
	}
	switch {
	case len(modified) > 0:
		return c.partly(c.modifiedReply(modified, uids), lowest), nil
	case c.anyGone(spans):
		return c.partly(ok("EXPUNGEISSUED", "some of the messages are gone"), lowest), nil
	}
	return c.partly(ok("", "stored"), lowest), nil
}

// mayChange returns the flags that the client may not change; an error where it
// names no other (RFC 4314 §4).
func (c *conn) mayChange(ch *store.FlagChange) (store.FlagMask, error) {
	keep := lacking(c.rights())
	named := ch.Flags&^keep.Flags != 0 || ch.Keywords != (mail.Keywords{}) && !keep.Keywords
	if ch.Op == store.FlagsSet { // what it does not name goes
		named = keep != lacking(0)
	}
	if !named && (keep != store.FlagMask{}) {
		return keep, no("NOPERM", "you do not have the right to change these flags")
	}
	return keep, nil
}

// anyGone tells whether another session has expunged one of the messages.
func (c *conn) anyGone(spans []span) bool {
	now := c.sel.view.Latest()
	if now == c.sel.view.Snapshot() {
		return false
	}
	for _, m := range messages(c.sel.view.Snapshot(), spans) {
		if _, there := now.Seq(m.UID); !there {
			return true
		}
	}
	return false
}

// tellStored tells the new flags of the messages of set, whether they changed
// or not, unless the client does not want to hear of its own change: then only
// of those that others changed as well.
func (c *conn) tellStored(spans []span, set, modified mail.UIDSet, ch store.FlagChange, silent bool) error {
	old := c.sel.view.Snapshot()
	if !silent {
		if err := c.syncExcept(false, func(m *mail.Message) bool { return set.Contains(m.UID) && !modified.Contains(m.UID) }); err != nil {
			return err
		}
		now := c.sel.view.Latest()
		for seq, m := range messages(c.sel.view.Snapshot(), spans) {
			if _, there := now.Seq(m.UID); there && !modified.Contains(m.UID) {
				c.writeFlagUpdate(seq, m)
			}
		}
		return c.out.err
	}
	return c.syncExcept(false, func(m *mail.Message) bool {
		if !set.Contains(m.UID) || modified.Contains(m.UID) {
			return false
		}
		seq, found := old.Seq(m.UID)
		if !found {
			return false
		}
		flags, keywords := changed(old.At(seq), ch)
		if m.Flags != flags || m.Keywords != keywords {
			return false
		}
		if c.has(condstore) {
			c.writeModSeq(seq, m)
		}
		return true
	})
}

// changed returns the flags that a message has after ch.
func changed(m mail.Message, ch store.FlagChange) (mail.Flags, mail.Keywords) {
	flags, keywords := ch.Flags, ch.Keywords
	switch ch.Op {
	case store.FlagsAdd:
		flags |= m.Flags
	case store.FlagsRemove:
		flags = m.Flags &^ ch.Flags
	}
	switch none := ch.Keywords == (mail.Keywords{}); {
	case ch.Keep.Keywords, none && ch.Op != store.FlagsSet:
		keywords = m.Keywords
	case ch.Op == store.FlagsAdd:
		keywords = m.Keywords.Add(ch.Keywords.Words()...)
	case ch.Op == store.FlagsRemove:
		keywords = m.Keywords.Remove(ch.Keywords.Words()...)
	}
	return flags&^ch.Keep.Flags | m.Flags&ch.Keep.Flags, keywords
}

// writeModSeq tells a message's new modification sequence, and not the flags
// that the client set itself (RFC 7162 §3.1.3).
func (c *conn) writeModSeq(seq int, m *mail.Message) {
	c.beginFetch(seq, m.UID)
	c.appendModSeq(m.ModSeq)
	c.out.Line(")")
}

// modifiedReply answers a conditional STORE that left messages alone.
func (c *conn) modifiedReply(modified mail.UIDSet, uids bool) reply {
	set := modified
	if !uids {
		set = nil
		for _, s := range uidSpans(c.sel.view.Snapshot(), modified) {
			set.AddRange(mail.UID(s.from), mail.UID(s.to))
		}
	}
	return ok(string(imapwire.AppendNumSet([]byte("MODIFIED "), set)), "conditional STORE left some alone")
}
