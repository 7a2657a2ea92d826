package embedded

import (
	"cmp"
	"slices"

	"expost/internal/ldap"
)

// candidates returns the ids of entries, sorted, among which are all that a
// condition is true for. It is false where the indexes name none or more than
// limit: then all entries are looked at.
func (s *snapshot) candidates(c *condition, limit int) ([]uint32, bool) {
	if c.undefined {
		return nil, true
	}
	switch c.op {
	case ldap.FilterAnd:
		return s.candidatesOfAnd(c, limit)
	case ldap.FilterOr:
		var all []uint32
		for _, sub := range c.subs {
			ids, ok := s.candidates(sub, limit)
			if !ok || len(all)+len(ids) > limit {
				return nil, false
			}
			all = append(all, ids...)
		}
		slices.Sort(all)
		return slices.Compact(all), true
	case ldap.FilterNot:
		return nil, false
	}
	if c.typ == nil || c.dn || isComputed(c.typ) {
		return nil, false
	}
	return s.candidatesOfItem(c, limit)
}

// enough is a number of candidates that are sooner looked at than reduced.
const enough = 32

// candidatesOfAnd returns the fewest candidates that one of the conditions has.
func (s *snapshot) candidatesOfAnd(c *condition, limit int) (best []uint32, ok bool) {
	for _, sub := range slices.SortedStableFunc(slices.Values(c.subs), func(a, b *condition) int { return cmp.Compare(a.cost(), b.cost()) }) {
		if ids, found := s.candidates(sub, limit); found {
			best, ok = ids, true
			if limit = len(ids) - 1; len(ids) <= enough {
				break
			}
		}
	}
	return best, ok
}

// cost orders conditions by how many candidates they are likely to have.
func (c *condition) cost() int {
	switch c.op {
	case ldap.FilterEqual, ldap.FilterApprox, ldap.FilterExtensible:
		return 0
	case ldap.FilterSubstrings:
		return 1
	case ldap.FilterOr, ldap.FilterAnd:
		return 2
	}
	return 3
}

// candidatesOfItem asks the index that knows most about a simple condition.
func (s *snapshot) candidatesOfItem(c *condition, limit int) ([]uint32, bool) {
	var sets []*postings
	switch {
	case c.op == ldap.FilterPresent:
		return s.collect([]*postings{s.terms.get(firstPresent + uint32(c.typ.ID))}, limit)
	case c.assertion.Class() != nil:
		return s.collect([]*postings{s.terms.get(firstClass + uint32(c.assertion.Class().ID))}, limit)
	case s.isSortedHere(c):
		if ids, ok := s.fromSorted(c, limit); ok {
			return ids, true
		}
	}
	sets, ok := s.trigramSets(c)
	if !ok {
		// The attribute itself is all that is known.
		return s.collect([]*postings{s.terms.get(firstPresent + uint32(c.typ.ID))}, limit)
	}
	ids, ok := s.collect(sets, limit)
	opaque := s.terms.get(opaqueTerm)
	if !ok || opaque.len() == 0 {
		return ids, ok
	}
	for id := range opaque.all {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return slices.Compact(ids), true
}

// isSortedHere tells whether the sorted index answers a condition: all that it
// is about is in it, in the normal form of its rule.
func (s *snapshot) isSortedHere(c *condition) bool {
	if c.op == ldap.FilterExtensible && c.assertion.Orders() {
		return false
	}
	return isSorted(c.typ) && c.assertion.SameForm(c.typ.Equality) &&
		!slices.ContainsFunc(s.dict.byType[c.typ.ID], func(id uint32) bool { return s.dict.descs[id].Type != c.typ })
}

// fromSorted reads candidates off the sorted index.
func (s *snapshot) fromSorted(c *condition, limit int) ([]uint32, bool) {
	attr := uint32(c.typ.ID)
	var ids []uint32
	add := func(it item) bool {
		ids = append(ids, it.id)
		return len(ids) <= limit
	}
	switch c.op {
	case ldap.FilterEqual, ldap.FilterApprox, ldap.FilterExtensible:
		s.index.equal(attr, string(c.assertion.Value), add)
	case ldap.FilterGreaterOrEqual:
		s.index.ascend(item{attr: attr, key: string(c.assertion.Value)}, func(it item) bool { return it.attr == attr && add(it) })
	case ldap.FilterLessOrEqual:
		s.index.ascend(item{attr: attr}, func(it item) bool {
			return it.attr == attr && it.key <= string(c.assertion.Value) && add(it)
		})
	default:
		prefix := c.assertion.Prefix()
		if prefix == nil {
			return nil, false
		}
		s.index.prefix(attr, string(prefix), add)
	}
	if len(ids) > limit {
		return nil, false
	}
	slices.Sort(ids)
	return slices.Compact(ids), true
}

// trigramSets returns the sets of the trigrams that every match has, with that
// of the attribute. It is false where no trigram is known.
func (s *snapshot) trigramSets(c *condition) ([]*postings, bool) {
	if !isText(c.typ) || c.assertion.Orders() || !c.assertion.SameForm(c.typ.Equality) {
		return nil, false
	}
	var sets []*postings
	for _, fragment := range c.assertion.Fragments() {
		text, ok := trigramText(c.typ, fragment)
		if !ok {
			return nil, false
		}
		for term := range trigrams(text) {
			sets = append(sets, s.terms.get(term))
		}
	}
	if len(sets) == 0 {
		return nil, false
	}
	return append(sets, s.terms.get(firstPresent+uint32(c.typ.ID))), true
}

// collect returns the ids that are in all sets, in order.
func (s *snapshot) collect(sets []*postings, limit int) ([]uint32, bool) {
	slices.SortFunc(sets, func(a, b *postings) int { return cmp.Compare(a.len(), b.len()) })
	if sets[0].len() == 0 {
		return nil, true
	}
	// The rarest sets tell most; the others would cost more than they save.
	rest := sets[1:min(len(sets), 6)]
	var ids []uint32
next:
	for id := range sets[0].all {
		for _, other := range rest {
			if !other.contains(id) {
				continue next
			}
		}
		if ids = append(ids, id); len(ids) > limit {
			return nil, false
		}
	}
	return ids, true
}
