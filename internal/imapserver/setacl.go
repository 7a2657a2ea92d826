package imapserver

import (
	"context"
	"strings"

	"golang.org/x/text/unicode/norm"

	"expost/internal/mail"
	"expost/internal/store"
)

// setACLCommand is SETACL (RFC 4314 §3.1). Its capabilities are those of all
// commands for access control lists.
func setACLCommand() command {
	return command{
		name: "SETACL", in: loggedIn,
		caps: []capability{{name: "ACL", when: (*conn).shares}, {name: "RIGHTS=texk", when: (*conn).shares}},
		run: func(ctx context.Context, c *conn) (reply, error) {
			c.dec.SP()
			name := c.dec.Mailbox(c.utf8())
			c.dec.SP()
			identifier := c.dec.AString()
			c.dec.SP()
			letters := c.dec.AString()
			if c.dec.End(); c.dec.Err() != nil {
				return reply{}, c.dec.Err()
			}
			op := store.ACLSet
			switch {
			case strings.HasPrefix(letters, "+"):
				op, letters = store.ACLAdd, letters[1:]
			case strings.HasPrefix(letters, "-"):
				op, letters = store.ACLRemove, letters[1:]
			}
			rights, known := mail.ParseRights(letters)
			if !known {
				return reply{}, bad("a right is not known; rights are " + mail.Rights(mail.AllRights).Compatible())
			}
			return c.changeACL(ctx, name, identifier, op, rights)
		},
	}
}

// deleteACLCommand is DELETEACL (RFC 4314 §3.2).
func deleteACLCommand() command {
	return command{name: "DELETEACL", in: loggedIn, run: func(ctx context.Context, c *conn) (reply, error) {
		c.dec.SP()
		name := c.dec.Mailbox(c.utf8())
		c.dec.SP()
		identifier := c.dec.AString()
		if c.dec.End(); c.dec.Err() != nil {
			return reply{}, c.dec.Err()
		}
		return c.changeACL(ctx, name, identifier, store.ACLSet, 0)
	}}
}

// shares tells whether mailboxes can be shared.
func (c *conn) shares() bool { return c.srv.cfg.People != nil }

// changeACL changes what a mailbox's list gives an identifier.
func (c *conn) changeACL(ctx context.Context, name, identifier string, op store.ACLOp, rights mail.Rights) (reply, error) {
	p, err := c.administered(ctx, name)
	if err != nil {
		return reply{}, err
	}
	who, err := c.identifier(ctx, identifier, op == store.ACLRemove || rights == 0)
	if err != nil {
		return reply{}, err
	}
	if owner, err := c.ownerIdentifier(ctx, &p); err != nil {
		return reply{}, err
	} else if owner != "" && strings.TrimPrefix(who, "-") == owner {
		return reply{}, no("CANNOT", "the owner of a mailbox has every right in it, always")
	}
	if err := p.account.SetACL(ctx, p.box.ID, op, store.ACLEntry{Identifier: who, Rights: rights}); err != nil {
		return reply{}, err
	}
	return ok("", "done"), nil
}

// administered returns a mailbox whose list the client may see and change.
func (c *conn) administered(ctx context.Context, name string) (place, error) {
	if !c.shares() {
		return place{}, no("CANNOT", "mailboxes are not shared here")
	}
	return c.lookUp(ctx, name, mail.RightAdminister)
}

// identifier returns the form in which lists have an identifier. One that names
// nobody any more can still be taken out of lists.
func (c *conn) identifier(ctx context.Context, text string, out bool) (string, error) {
	prepared := strings.TrimSpace(norm.NFKC.String(text)) // RFC 4314 §3
	if strings.TrimPrefix(prepared, "-") == "" || strings.ContainsFunc(prepared, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' }) {
		return "", bad("that is no identifier")
	}
	who, err := c.srv.cfg.People.Identifier(ctx, prepared)
	if err == nil || mail.KindOf(err) != mail.KindNotExist {
		return who, err
	}
	if out {
		return strings.ToLower(prepared), nil
	}
	return "", no("CANNOT", mail.PublicText(err))
}

// ownerIdentifier returns the identifier of the owner of a mailbox; none for one
// that is nobody's own.
func (c *conn) ownerIdentifier(ctx context.Context, p *place) (string, error) {
	if p.own() {
		return c.user.Address.Key(), nil
	}
	owner, err := c.srv.cfg.People.ByStore(ctx, p.account.ID())
	if err != nil || owner.Shared {
		return "", err
	}
	return owner.Address.Key(), nil
}
