package embedded

import (
	"slices"

	"expost/internal/directory"
	"expost/internal/directory/access"
	"expost/internal/ldap"
	"expost/internal/schema"
)

// checkWriter refuses changes of those who have not logged in.
func (d *Directory) checkWriter(who directory.Identity) error {
	if !who.Root && len(who.DN) == 0 {
		return ldap.Errorf(ldap.StrongerAuthRequired, "modifications require authentication")
	}
	return nil
}

// checkDN refuses a DN of attribute types that nobody knows.
func (d *Directory) checkDN(dn ldap.DN) error {
	for _, rdn := range dn {
		for _, ava := range rdn {
			if d.schema.Attribute(ava.Type) == nil {
				return ldap.Errorf(ldap.InvalidDNSyntax, "invalid DN: %s: attribute type undefined", ava.Type)
			}
		}
	}
	return nil
}

// asker returns who as the batch sees them.
func (b *batch) asker(who directory.Identity) *subject {
	return b.subject(who, b.dict.rights, b.suffixDN)
}

// mayAdd refuses an entry that who may not add.
func (b *batch) mayAdd(who directory.Identity, parent uint32, e *ldap.Entry) error {
	if who.Root {
		return nil
	}
	asker := b.asker(who)
	n := &node{parent: parent, data: b.pack(e)}
	n.attrs = rdnLength(n.data)
	if asker.grants(n).entry&access.AddTo == 0 {
		return ldap.Errorf(ldap.InsufficientAccessRights, "no write access to %q", e.DN)
	}
	return b.mayChangeBelow(asker, parent, access.AddTo)
}

// mayRemove refuses to delete or rename an entry that who may not.
func (b *batch) mayRemove(who directory.Identity, n *node, p access.Privileges) error {
	if who.Root {
		return nil
	}
	asker := b.asker(who)
	if asker.grants(n).entry&p != p {
		return ldap.Errorf(ldap.InsufficientAccessRights, "no write access to %q", b.dn(n, b.suffixDN))
	}
	return b.mayChangeBelow(asker, n.parent, access.DeleteOf)
}

// mayChangeBelow refuses entries to come or go right below a parent.
func (b *batch) mayChangeBelow(asker *subject, parent uint32, p access.Privileges) error {
	if asker.root {
		return nil
	}
	if n := b.nodes.get(parent); n == nil || asker.grants(n).children&p == 0 {
		return ldap.Errorf(ldap.InsufficientAccessRights, "no write access to parent")
	}
	return nil
}

// mayModify refuses changes of attributes that who may not change.
func (b *batch) mayModify(who directory.Identity, n *node, changes []ldap.Change) error {
	if who.Root {
		return nil
	}
	g := b.asker(who).grants(n)
	for _, c := range changes {
		t := b.dict.schema.Attribute(baseOf(c.Attribute.Desc))
		if t == nil {
			continue // refused for that
		}
		if !mayChange(g, t, c) {
			return ldap.Errorf(ldap.InsufficientAccessRights, "no write access to %q of %q", c.Attribute.Desc, b.dn(n, b.suffixDN))
		}
	}
	return nil
}

// mayChange tells whether a change of an attribute is granted: of the values that
// it names, and of the attribute where it takes others away.
func mayChange(g *grants, t *schema.AttributeType, c ldap.Change) bool {
	want := access.Write
	switch {
	case c.Op == ldap.ChangeAdd:
		want = access.AddTo
	case c.Op == ldap.ChangeDelete:
		want = access.DeleteOf
	case c.Op == ldap.ChangeReplace && len(c.Attribute.Values) > 0:
		if !g.may(access.DeleteOf, t) {
			return false
		}
		want = access.AddTo
	}
	if len(c.Attribute.Values) == 0 || c.Op == ldap.ChangeIncrement {
		return g.may(want, t)
	}
	return !slices.ContainsFunc(c.Attribute.Values, func(v []byte) bool { return !g.mayValue(want, t, v) })
}

// baseOf returns an attribute description without its options.
func baseOf(desc string) string {
	for i := range len(desc) {
		if desc[i] == ';' {
			return desc[:i]
		}
	}
	return desc
}

// mayBind tells whether the password of an entry may be used to log in.
func (d *Directory) mayBind(s *snapshot, n *node, from directory.Peer) bool {
	nobody := s.subject(directory.Identity{Peer: from}, d.rights, d.suffix)
	return nobody.grants(n).may(access.Auth, d.schema.Attribute("userPassword"))
}
