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
		if err := c.needs(mail.RightExpunge); err != nil {
			return reply{}, err
		}
		spans, err := c.resolve(set, true)
		if err != nil {
			return reply{}, err
		}
		spans, lowest := c.clip(c.deleted(spans))
		if len(spans) == 0 {
			return ok("", "nothing to expunge"), nil
		}
		rep, err := c.expunge(ctx, uidsOf(c.sel.view.Snapshot(), spans))
		return c.partly(rep, lowest), err
	}}
}

// deleted returns of spans the messages that have \Deleted, as the client or
// anybody else says.
func (c *conn) deleted(spans []span) []span {
	var out []span
	latest := c.sel.view.Latest()
	for seq, m := range messages(c.sel.view.Snapshot(), spans) {
		if m.Flags&mail.Deleted == 0 {
			if at, there := latest.Seq(m.UID); !there || latest.At(at).Flags&mail.Deleted == 0 {
				continue
			}
		}
		if n := len(out); n > 0 && out[n-1].to+1 == seq {
			out[n-1].to = seq
		} else {
			out = append(out, span{seq, seq})
		}
	}
	return out
}

// expunge removes messages and tells it at once, so that HIGHESTMODSEQ can be
// told behind it (RFC 7162 §3.2.7).
func (c *conn) expunge(ctx context.Context, uids mail.UIDSet) (reply, error) {
	if err := c.needs(mail.RightExpunge); err != nil {
		return reply{}, err
	}
	err := c.during(func() error {
		_, err := c.sel.account.Expunge(ctx, c.sel.id, uids)
		return err
	})
	if err != nil {
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
