package imapserver

import (
	"context"
	"slices"
	"strings"

	"expost/internal/directory"
	"expost/internal/imapwire"
	"expost/internal/mail"
	"expost/internal/store"
)

// getQuotaCommand is GETQUOTA (RFC 9208 §4.1.2).
func getQuotaCommand() command {
	return command{
		name: "GETQUOTA", in: loggedIn, caps: caps("QUOTA", "QUOTA=RES-STORAGE", "QUOTA=RES-MESSAGE"),
		run: func(ctx context.Context, c *conn) (reply, error) {
			c.dec.SP()
			root := c.dec.Mailbox(c.utf8())
			if c.dec.End(); c.dec.Err() != nil {
				return reply{}, c.dec.Err()
			}
			account, _, err := c.quotaRoot(ctx, root)
			if err != nil {
				return reply{}, err
			}
			return ok("", "done"), c.writeQuota(ctx, root, account)
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
			p, err := c.lookUp(ctx, name, mail.RightRead)
			if mail.KindOf(err) == mail.KindNotExist && err != nil { // the name may be one to be made
				if free, failed := c.locate(ctx, name); failed == nil && free.own() {
					p, err = free, nil
				}
			}
			if err != nil {
				return reply{}, err
			}
			root := strings.TrimSuffix(p.prefix, mail.Delimiter)
			c.out.Text("* QUOTAROOT ")
			c.out.b = imapwire.AppendMailbox(c.out.b, name, c.utf8())
			c.out.Text(" ")
			c.out.b = imapwire.AppendMailbox(c.out.b, root, c.utf8())
			c.out.Line()
			return ok("", "done"), c.writeQuota(ctx, root, p.account)
		},
	}
}

// setQuotaCommand is SETQUOTA (RFC 9208 §4.1.4), for administrators. Quotas are
// kept in the directory.
func setQuotaCommand() command {
	return command{
		name: "SETQUOTA", in: loggedIn, caps: []capability{{name: "QUOTASET", when: (*conn).shares}},
		run: func(ctx context.Context, c *conn) (reply, error) {
			c.dec.SP()
			root := c.dec.Mailbox(c.utf8())
			c.dec.SP()
			var quota mail.Quota
			unknown := ""
			c.dec.List(func() {
				word := c.dec.Keyword()
				c.dec.SP()
				n := c.dec.Number()
				switch {
				case word == "STORAGE" && n <= 1<<50:
					quota.Bytes = n << 10
				case word == "MESSAGE":
					quota.Messages = n
				default:
					unknown = word
				}
			})
			if c.dec.End(); c.dec.Err() != nil {
				return reply{}, c.dec.Err()
			}
			if unknown != "" {
				return reply{}, no("CANNOT", "there is no quota of "+unknown+" of that size here")
			}
			return c.setQuota(ctx, root, quota)
		},
	}
}

// setQuota changes what an account may hold.
func (c *conn) setQuota(ctx context.Context, root string, quota mail.Quota) (reply, error) {
	if !c.shares() || !c.isAdmin() {
		return reply{}, no("NOPERM", "quotas are set by administrators")
	}
	account, owner, err := c.quotaRoot(ctx, root)
	if err != nil {
		return reply{}, err
	}
	if err := c.srv.cfg.People.SetQuota(ctx, owner, quota); err != nil {
		return reply{}, err
	}
	if err := account.SetQuota(ctx, quota); err != nil {
		return reply{}, err
	}
	return ok("", "done"), c.writeQuota(ctx, root, account)
}

// quotaRoot returns the account of a quota root: the client's own is the empty
// one, that of others the name above their mailboxes. It is seen by those who
// may read a mailbox there, and by administrators.
func (c *conn) quotaRoot(ctx context.Context, root string) (*store.Access, *directory.Account, error) {
	if root == "" {
		return c.account, c.user, nil
	}
	missing := no("NONEXISTENT", "there is no such quota root")
	space, level, inner := splitShared(root)
	if space == "" || inner != "" || !c.shares() {
		return nil, nil, missing
	}
	owner, err := c.srv.cfg.People.Resolve(ctx, ownerOf(level))
	if err != nil && mail.KindOf(err) != mail.KindNotExist {
		return nil, nil, err
	}
	if err != nil || !c.srv.servedHere(owner.Host) || owner.Shared != (space == sharedBoxes) {
		return nil, nil, missing
	}
	account, err := c.borrow(ctx, owner.ID, nil)
	if err != nil {
		return nil, nil, err
	}
	boxes, err := account.Mailboxes(ctx)
	if err != nil {
		return nil, nil, err
	}
	if !c.isAdmin() && !slices.ContainsFunc(boxes, func(b mail.Mailbox) bool { return account.Rights(b.ID).Has(mail.RightRead) }) {
		return nil, nil, missing
	}
	return account, owner, nil
}

// writeQuota writes the QUOTA response. Storage is told in units of 1,024 bytes;
// a resource without a limit is not told.
func (c *conn) writeQuota(ctx context.Context, root string, account *store.Access) error {
	quota, err := account.Quota(ctx)
	if err != nil {
		return err
	}
	usage, err := account.Usage(ctx)
	if err != nil {
		return err
	}
	c.out.Text("* QUOTA ")
	c.out.b = imapwire.AppendMailbox(c.out.b, root, c.utf8())
	c.out.Text(" (")
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
