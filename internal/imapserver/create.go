package imapserver

import (
	"context"
	"slices"
	"strings"

	"expost/internal/mail"
	"expost/internal/store"
)

// createCommand is CREATE (RFC 9051 §6.3.4) with USE (RFC 6154 §3).
func createCommand() command {
	return command{
		name: "CREATE", in: loggedIn, caps: caps("CREATE-SPECIAL-USE"),
		run: func(ctx context.Context, c *conn) (reply, error) {
			c.dec.SP()
			name := c.dec.Mailbox(c.utf8())
			var opt store.CreateOptions
			var unknown string
			if c.dec.TrySP() && !c.dec.AtEnd() {
				unknown = c.readCreateOptions(&opt)
			}
			if c.dec.End(); c.dec.Err() != nil {
				return reply{}, c.dec.Err()
			}
			if unknown != "" {
				return reply{}, no("USEATTR", unknown)
			}
			// A delimiter at the end says that children will follow (RFC 9051 §6.3.4).
			name = strings.TrimSuffix(name, mail.Delimiter)
			p, err := c.mayCreate(ctx, name)
			if err != nil {
				return reply{}, err
			}
			if !p.own() && opt.SpecialUse != mail.UseNone {
				return reply{}, no("USEATTR", "a mailbox of another's account has no special use")
			}
			opt.LikeInbox = !p.own()
			box, err := p.account.CreateMailbox(ctx, p.name, opt)
			if err != nil {
				return reply{}, orLimit(err)
			}
			c.madeName(ctx, &p)
			return ok("MAILBOXID ("+box.ID.String()+")", "mailbox created"), nil
		},
	}
}

// orLimit says LIMIT (RFC 5530) where an account has as many mailboxes as it can.
func orLimit(err error) error {
	if mail.KindOf(err) == mail.KindTooBig {
		return no("LIMIT", mail.PublicText(err))
	}
	return err
}

// mayCreate returns where a mailbox is to be made, for which the client needs a
// right in the nearest one above (RFC 4314 §4). What is at the top of another's
// account stands below its INBOX in that.
func (c *conn) mayCreate(ctx context.Context, name string) (place, error) {
	p, err := c.locate(ctx, name)
	if mail.KindOf(err) == mail.KindNotExist && err != nil {
		return place{}, no("NOPERM", "you do not have the right to make mailboxes there")
	}
	if err != nil || p.own() {
		return p, err
	}
	for above := p.name; ; {
		if at := strings.LastIndex(above, mail.Delimiter); at > 0 {
			above = above[:at]
		} else {
			above = mail.Inbox
		}
		box, err := p.account.Mailbox(ctx, above)
		if err != nil && mail.KindOf(err) == mail.KindNotExist {
			continue
		}
		if err != nil {
			return place{}, err
		}
		if p.rights = p.account.Rights(box.ID); !p.rights.Has(mail.RightCreate) {
			return place{}, no("NOPERM", "you do not have the right to make mailboxes there")
		}
		return p, nil
	}
}

// readCreateOptions reads "(USE (\Sent))". It returns why a use cannot be given.
func (c *conn) readCreateOptions(opt *store.CreateOptions) (refusal string) {
	c.dec.List(func() {
		if !c.dec.TryKeyword("USE") {
			c.dec.Fail("unknown CREATE option")
		}
		c.dec.SP()
		c.dec.List(func() {
			c.dec.Expect('\\')
			word := c.dec.Atom()
			use, known := specialUse(word)
			switch {
			case !known:
				refusal = `there is no special use \` + word
			case opt.SpecialUse != mail.UseNone:
				refusal = "a mailbox has at most one special use"
			}
			opt.SpecialUse = use
		})
	})
	return refusal
}

// specialUse returns the role of a name, in any case, which a client may give.
func specialUse(name string) (mail.SpecialUse, bool) {
	uses := []mail.SpecialUse{mail.UseArchive, mail.UseDrafts, mail.UseJunk, mail.UseSent, mail.UseTrash}
	i := slices.IndexFunc(uses, func(u mail.SpecialUse) bool { return strings.EqualFold(string(u), name) })
	if i < 0 {
		return mail.UseNone, false
	}
	return uses[i], true
}
