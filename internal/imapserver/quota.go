package imapserver

import (
	"context"

	"expost/internal/imapwire"
	"expost/internal/mail"
)

// The one quota root of an account.
const quotaRoot = `""`

// getQuotaCommand is GETQUOTA (RFC 9208 §4.1.2).
func getQuotaCommand() command {
	return command{
		name: "GETQUOTA", in: loggedIn, caps: caps("QUOTA", "QUOTA=RES-STORAGE", "QUOTA=RES-MESSAGE"),
		run: func(ctx context.Context, c *conn) (reply, error) {
			c.dec.SP()
			root := c.dec.AString()
			if c.dec.End(); c.dec.Err() != nil {
				return reply{}, c.dec.Err()
			}
			if root != "" {
				return reply{}, no("NONEXISTENT", "there is no such quota root")
			}
			return ok("", "done"), c.writeQuota(ctx)
		},
	}
}

// getQuotaRootCommand is GETQUOTAROOT (RFC 9208 §4.1.3).
func getQuotaRootCommand() command {
	return command{
		name: "GETQUOTAROOT", in: loggedIn,
		run: func(ctx context.Context, c *conn) (reply, error) {
			c.dec.SP()
			name := c.dec.Mailbox(c.utf8())
			if c.dec.End(); c.dec.Err() != nil {
				return reply{}, c.dec.Err()
			}
			if _, err := c.account.Mailbox(ctx, name); err != nil {
				return reply{}, err
			}
			c.out.Text("* QUOTAROOT ")
			c.out.b = imapwire.AppendMailbox(c.out.b, name, c.utf8())
			c.out.Line(" ", quotaRoot)
			return ok("", "done"), c.writeQuota(ctx)
		},
	}
}

// writeQuota writes the QUOTA response. Storage is told in units of 1,024 bytes;
// a resource without a limit is not told.
func (c *conn) writeQuota(ctx context.Context) error {
	quota, err := c.account.Quota(ctx)
	if err != nil {
		return err
	}
	usage, err := c.account.Usage(ctx)
	if err != nil {
		return err
	}
	c.out.Text("* QUOTA " + quotaRoot + " (")
	if quota.Bytes > 0 {
		c.out.Text("STORAGE ")
		c.out.Number((usage.Bytes + 1023) / 1024)
		c.out.Text(" ")
		c.out.Number((quota.Bytes + 1023) / 1024)
	}
	if quota.Messages > 0 {
		if quota.Bytes > 0 {
			c.out.Text(" ")
		}
		c.out.Text("MESSAGE ")
		c.out.Number(usage.Messages)
		c.out.Text(" ")
		c.out.Number(quota.Messages)
	}
	c.out.Line(")")
	return nil
}

// deletedStorage returns the bytes of the messages of a mailbox that are
// \Deleted (RFC 9208 §4.1.4).
func deletedStorage(ctx context.Context, p *place) (int64, error) {
	if p.box.Deleted == 0 {
		return 0, nil
	}
	view, err := p.view(ctx, true)
	if err != nil {
		return 0, err
	}
	defer view.Close()
	snap, sum := view.Snapshot(), int64(0)
	for _, m := range snap.Range(1, snap.Len()) {
		if m.Flags&mail.Deleted != 0 {
			sum += m.Size
		}
	}
	return sum, nil
}
