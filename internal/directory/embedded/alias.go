package embedded

import (
	"slices"

	"expost/internal/directory"
	"expost/internal/ldap"
)

// maxAliases is how many aliases may lead to one another.
const maxAliases = 16

// ofClass returns the entries of an object class and its subclasses; nil where
// there are none.
func (s *snapshot) ofClass(name string) *postings {
	class := s.dict.schema.Class(name)
	if class == nil {
		return nil
	}
	return s.terms.get(firstClass + uint32(class.ID))
}

// HasReferrals implements directory.Referrer.
func (d *Directory) HasReferrals() bool { return d.snap.Load().ofClass("referral").len() > 0 }

// findBase is find, following aliases on the way where the search wants that
// (RFC 4511 §4.5.1.3).
func (q *query) findBase(dn, suffix ldap.DN) (n, nearest *node, err error) {
	if q.req.Deref != directory.DerefFinding && q.req.Deref != directory.DerefAlways || q.snap.ofClass("alias").len() == 0 {
		n, nearest = q.snap.find(dn, suffix)
		return n, nearest, nil
	}
	n = q.snap.nodes.get(q.snap.suffix)
	if n == nil || !dn.IsUnder(suffix, q.snap.dict.schema) {
		return nil, nil, nil
	}
	for _, rdn := range slices.Backward(dn[:len(dn)-len(suffix)]) {
		next, ok := q.snap.child(n.id, ldap.DN{rdn}.Key(q.snap.dict.schema))
		if !ok {
			return nil, n, nil
		}
		if n, err = q.target(next); err != nil {
			return nil, nil, err
		}
	}
	return n, nil, nil
}

// target returns the entry that an alias leads to; of another entry, that one.
func (q *query) target(n *node) (*node, error) {
	aliases := q.snap.ofClass("alias")
	first := n
	for range maxAliases {
		if !aliases.contains(n.id) {
			return n, nil
		}
		dn, err := ldap.ParseDN(q.snap.attribute(n, "aliasedObjectName"))
		if err != nil {
			break
		}
		next, _ := q.snap.find(dn, q.matcher.suffix)
		if next == nil {
			return nil, ldap.Errorf(ldap.AliasDereferencingProblem, "the alias %q leads to nothing", q.snap.dn(n, q.matcher.suffix))
		}
		n = next
	}
	return nil, ldap.Errorf(ldap.AliasProblem, "the alias %q leads nowhere", q.snap.dn(first, q.matcher.suffix))
}

// eachBehindAliases visits what is found below base and below what aliases there
// lead to, each entry once and no alias but base. An alias that leads to nothing
// is passed over.
func (q *query) eachBehindAliases(base *node, visit func(*node) error) error {
	aliases := q.snap.ofClass("alias")
	found, scope := newIDMarks(q.snap.lastID), q.req.Scope
	take := func(n *node) error {
		if n.id == base.id || !aliases.contains(n.id) {
			found.mark(n.id)
		}
		return nil
	}
	seen := map[uint32]bool{base.id: true}
	bases := []*node{base}
	for i := 0; i < len(bases); i++ {
		from := bases[i]
		var err error
		if scope == ldap.ScopeOne && i > 0 {
			err = q.look(from, take) // the alias stood for this one entry
		} else {
			err = q.scan(from, take)
		}
		if err != nil {
			return err
		}
		if scope == ldap.ScopeOne && i > 0 {
			continue
		}
		aliases.walk(0, func(id uint32) bool {
			n := q.snap.nodes.get(id)
			if n.id == base.id || !q.inScope(n, from) {
				return true
			}
			if to, err := q.target(n); err == nil && !seen[to.id] {
				seen[to.id] = true
				bases = append(bases, to)
			}
			return true
		})
	}
	var err error
	found.from(q.first, func(id uint32) bool {
		n := q.snap.nodes.get(id)
		q.matcher.grants = q.who.reading(n)
		err = visit(n)
		return err == nil
	})
	return err
}
