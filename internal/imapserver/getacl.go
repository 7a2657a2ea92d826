package imapserver

import (
	"context"
	"strings"

	"expost/internal/imapwire"
	"expost/internal/mail"
)

// getACLCommand is GETACL (RFC 4314 §3.3).
func getACLCommand() command {
	return command{name: "GETACL", in: loggedIn, run: func(ctx context.Context, c *conn) (reply, error) {
		c.dec.SP()
		name := c.dec.Mailbox(c.utf8())
		if c.dec.End(); c.dec.Err() != nil {
			return reply{}, c.dec.Err()
		}
		p, err := c.administered(ctx, name)
		if err != nil {
			return reply{}, err
		}
		owner, err := c.ownerIdentifier(ctx, &p)
		if err != nil {
			return reply{}, err
		}
		acl, err := p.account.ACL(ctx, p.box.ID)
		if err != nil {
			return reply{}, err
		}
		c.out.Text("* ACL ")
		c.out.b = imapwire.AppendMailbox(c.out.b, p.box.Name, c.utf8())
		if owner != "" {
			c.writeEntry(owner, mail.AllRights)
		}
		for _, e := range acl {
			c.writeEntry(e.Identifier, e.Rights)
		}
		c.out.Line()
		return ok("", "done"), nil
	}}
}

// writeEntry writes an entry of an access control list.
func (c *conn) writeEntry(identifier string, rights mail.Rights) {
	c.out.Text(" ")
	c.out.b = imapwire.AppendAString(c.out.b, identifier)
	c.out.Text(" " + rights.Compatible())
}

// listRightsCommand is LISTRIGHTS (RFC 4314 §3.4).
func listRightsCommand() command {
	return command{name: "LISTRIGHTS", in: loggedIn, run: func(ctx context.Context, c *conn) (reply, error) {
		c.dec.SP()
		name := c.dec.Mailbox(c.utf8())
		c.dec.SP()
		identifier := c.dec.AString()
		if c.dec.End(); c.dec.Err() != nil {
			return reply{}, c.dec.Err()
		}
		p, err := c.administered(ctx, name)
		if err != nil {
			return reply{}, err
		}
		who, err := c.identifier(ctx, identifier, false)
		if err != nil {
			return reply{}, err
		}
		owner, err := c.ownerIdentifier(ctx, &p)
		if err != nil {
			return reply{}, err
		}
		c.out.Text("* LISTRIGHTS ")
		c.out.b = imapwire.AppendMailbox(c.out.b, p.box.Name, c.utf8())
		c.out.Text(" ")
		c.out.b = imapwire.AppendAString(c.out.b, identifier)
		if all := mail.Rights(mail.AllRights).Compatible(); who == owner {
			c.out.Line(" ", all) // always granted
		} else {
			c.out.Line(` "" `, strings.Join(strings.Split(all, ""), " ")) // each by itself
		}
		return ok("", "done"), nil
	}}
}

// myRightsCommand is MYRIGHTS (RFC 4314 §3.5).
func myRightsCommand() command {
	return command{name: "MYRIGHTS", in: loggedIn, run: func(ctx context.Context, c *conn) (reply, error) {
		c.dec.SP()
		name := c.dec.Mailbox(c.utf8())
		if c.dec.End(); c.dec.Err() != nil {
			return reply{}, c.dec.Err()
		}
		p, err := c.visit(ctx, name)
		if err != nil {
			return reply{}, err
		}
		const some = mail.RightLookup | mail.RightRead | mail.RightInsert | mail.RightCreate | mail.RightDeleteMailbox | mail.RightAdminister
		if !p.rights.Any(some) {
			return reply{}, errMissing(name)
		}
		c.writeMyRights(&p)
		return ok("", "done"), nil
	}}
}

// writeMyRights writes the MYRIGHTS response of a mailbox.
func (c *conn) writeMyRights(p *place) {
	c.out.Text("* MYRIGHTS ")
	c.out.b = imapwire.AppendMailbox(c.out.b, p.box.Name, c.utf8())
	c.out.Line(" ", p.rights.Compatible())
}
