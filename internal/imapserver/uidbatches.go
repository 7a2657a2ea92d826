package imapserver

import (
	"context"

	"expost/internal/imapwire"
	"expost/internal/store"
)

// minBatch is the smallest batch that a client may ask for (RFC 10022 §3.1).
const minBatch = 500

// uidBatchesCommand is UIDBATCHES (RFC 10022).
func uidBatchesCommand() command {
	return command{name: "UIDBATCHES", in: selected, caps: caps("UIDBATCHES"), run: func(ctx context.Context, c *conn) (reply, error) {
		cmd := c.dec.UIDBatches()
		if err := c.dec.Err(); err != nil {
			return reply{}, err
		}
		if cmd.Size < minBatch {
			return reply{}, no("LIMIT", "a batch has 500 messages at least")
		}
		if err := c.catchUp(ctx, true); err != nil {
			return reply{}, err
		}
		c.out.Text("* UIDBATCHES (TAG ")
		c.out.b = imapwire.AppendString(c.out.b, c.tag, false)
		c.out.Text(")")
		c.writeBatches(c.sel.view.Snapshot(), cmd)
		c.out.Line()
		return ok("", "these are the batches"), c.out.err
	}}
}

// writeBatches writes the highest and the lowest UID of each batch, the newest
// messages first.
func (c *conn) writeBatches(snap *store.Snapshot, cmd imapwire.UIDBatchesCommand) {
	between := " "
	cmd.Size = uint32(min(int64(cmd.Size), c.srv.cfg.Limits.Messages)) // RFC 10022 §3.1
	for batch, last := uint32(1), snap.Len(); last > 0; batch++ {
		first := int(max(1, int64(last)-int64(cmd.Size)+1))
		if cmd.Wants(batch) {
			c.out.Text(between)
			c.out.Number(int64(snap.At(last).UID))
			c.out.Text(":")
			c.out.Number(int64(snap.At(first).UID))
			between = ","
		}
		last = first - 1
	}
}
