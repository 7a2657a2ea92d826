package imapserver

import (
	"context"
	"strconv"

	"expost/internal/mail"
)

// expungeCommand is EXPUNGE (RFC 9051 §6.4.3).
func expungeCommand() command {
	return command{name: "EXPUNGE", in: selected, run: func(ctx context.Context, c *conn) (reply, error) {
		if c.dec.End(); c.dec.Err() != nil {
			return reply{}, c.dec.Err()
		}
		return c.expunge(ctx, nil)
	}}
}

// uidExpungeCommand is UID EXPUNGE (RFC 4315 §2.1).
func uidExpungeCommand() command {
	return command{name: "UID EXPUNGE", in: selected, run: func(ctx context.Context, c *conn) (reply, error) {
		c.dec.SP()
		set := c.dec.NumSet()
		if c.dec.End(); c.dec.Err() != nil {
			return reply{}, c.dec.Err()
		}
		spans, err := c.resolve(set, true)
		if err != nil {
			return reply{}, err
		}
		uids := uidsOf(c.sel.view.Snapshot(), spans)
		if len(uids) == 0 {
			return ok("", "nothing to expunge"), nil
		}
		return c.expunge(ctx, uids)
	}}
}

// expunge removes messages and tells it at once, so that HIGHESTMODSEQ can be
// told behind it (RFC 7162 §3.2.7).
func (c *conn) expunge(ctx context.Context, uids mail.UIDSet) (reply, error) {
	if err := c.writable(); err != nil {
		return reply{}, err
	}
	if _, err := c.account.Expunge(ctx, c.sel.id, uids); err != nil {
		return reply{}, err
	}
	if err := c.sync(true); err != nil {
		return reply{}, err
	}
	code := ""
	if c.has(condstore) {
		code = "HIGHESTMODSEQ " + strconv.FormatUint(uint64(c.sel.view.Snapshot().Mailbox().HighestModSeq), 10)
	}
	return ok(code, "expunged"), nil
}

// writable refuses changes of a mailbox selected with EXAMINE.
func (c *conn) writable() error {
	if c.sel.readOnly {
		return no("READ-ONLY", "the mailbox was selected with EXAMINE")
	}
	return nil
}
