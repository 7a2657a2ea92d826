package embedded

import (
	"strings"

	"expost/internal/directory/access"
	"expost/internal/ldap"
)

// maxSetSize bounds what a set expression may gather.
const maxSetSize = 10_000

// members are the values of a set, DNs in their normal form.
type members map[string]bool

// holds tells whether a set expression yields anything for an entry.
func (sub *subject) holds(x *access.Expression, n *node) bool { return len(sub.members(x, n)) > 0 }

// members returns what a set expression yields.
func (sub *subject) members(x *access.Expression, n *node) members {
	s := sub.snap.dict.schema
	switch x.Op {
	case access.Literal:
		if dn, err := ldap.ParseDN(x.Text); err == nil && len(dn) > 0 {
			return members{access.NormalDN(dn, s): true}
		}
		return members{strings.ToLower(x.Text): true}
	case access.This:
		return members{access.NormalDN(sub.snap.dn(n, sub.suffix), s): true}
	case access.User:
		if sub.anonymous {
			return nil
		}
		return members{access.NormalDN(sub.dn, s): true}
	case access.Follow:
		found := members{}
		sub.follow(sub.members(x.Left, n), x.Text, found)
		return found
	case access.FollowAll:
		found := members{}
		for next := sub.members(x.Left, n); len(next) > 0 && len(found) < maxSetSize; {
			next = sub.follow(next, x.Text, found)
		}
		return found
	}
	return join(x.Op, sub.members(x.Left, n), sub.members(x.With, n))
}

// follow adds the values of an attribute of the entries of from to found, and
// returns those that are new.
func (sub *subject) follow(from members, attr string, found members) members {
	fresh := members{}
	t := sub.snap.dict.schema.Attribute(attr)
	if t == nil {
		return nil
	}
	for name := range from {
		dn, err := ldap.ParseDN(name)
		if err != nil {
			continue
		}
		n, _ := sub.snap.find(dn, sub.suffix)
		if n == nil {
			continue
		}
		for _, desc := range sub.snap.dict.byType[t.ID] {
			n.values(desc, func(v []byte) bool {
				if norm, ok := normalValue(sub.snap.dict.schema, t, v); ok && !found[string(norm)] && len(found) < maxSetSize {
					found[string(norm)], fresh[string(norm)] = true, true
				}
				return true
			})
		}
	}
	return fresh
}

// join combines two sets.
func join(op access.SetOp, a, b members) members {
	all := members{}
	switch op {
	case access.Both:
		for v := range a {
			if b[v] {
				all[v] = true
			}
		}
	case access.Either:
		for _, set := range []members{a, b} {
			for v := range set {
				all[v] = true
			}
		}
	case access.Joined:
		for v := range a {
			for w := range b {
				if len(all) < maxSetSize {
					all[v+w] = true
				}
			}
		}
	}
	return all
}
