package embedded

import (
	"cmp"
	"math/bits"
	"slices"

	"expost/internal/ldap"
)

// source names entries among which are all that a condition is true for.
type source struct {
	size    int  // how many ids walk yields at most
	inOrder bool // walk yields ids in order, each once, and none below first
	// walk yields ids until yield returns false; then it returns false itself.
	// It may leave out those below first.
	walk func(first uint32, yield func(uint32) bool) bool
}

// nothing is the source of a condition that no entry satisfies.
func nothing() source {
	return source{inOrder: true, walk: func(uint32, func(uint32) bool) bool { return true }}
}

// everything is the source of all entries.
func (s *snapshot) everything() source {
	return source{s.count, true, func(first uint32, yield func(uint32) bool) bool {
		return s.nodes.walk(first, func(n *node) bool { return yield(n.id) })
	}}
}

// childrenOf is the source of the entries right below one.
func (s *snapshot) childrenOf(parent uint32) source {
	return s.between(item{attr: childKey, key: childPrefix(parent)}, item{attr: childKey, key: childPrefix(parent + 1)})
}

// between is the source of a range of the sorted index.
func (s *snapshot) between(from, to item) source {
	return source{s.index.rank(to) - s.index.rank(from), false, func(_ uint32, yield func(uint32) bool) bool {
		return s.index.between(from, to, func(it item) bool { return yield(it.id) })
	}}
}

// candidates returns the best source that the indexes have for a condition. It
// is false where they have none: then all entries must be looked at. Nothing is
// read before the source is walked, so that a search with a size limit costs no
// more than what it sends.
func (s *snapshot) candidates(c *condition) (source, bool) {
	if c.undefined {
		return nothing(), true
	}
	switch c.op {
	case ldap.FilterAnd:
		return s.candidatesOfAnd(c)
	case ldap.FilterOr:
		return s.candidatesOfOr(c)
	case ldap.FilterNot:
		return source{}, false
	}
	if c.typ == nil || c.dn || isComputed(c.typ) {
		return source{}, false
	}
	return s.candidatesOfItem(c), true
}

// candidatesOfAnd returns the smallest source that one of the conditions has.
func (s *snapshot) candidatesOfAnd(c *condition) (best source, ok bool) {
	for _, sub := range c.subs {
		if src, found := s.candidates(sub); found && (!ok || src.size < best.size) {
			best, ok = src, true
		}
	}
	return best, ok
}

// candidatesOfOr returns the sources of all conditions, one behind the other.
func (s *snapshot) candidatesOfOr(c *condition) (source, bool) {
	var all []source
	size := 0
	for _, sub := range c.subs {
		src, ok := s.candidates(sub)
		if !ok {
			return source{}, false
		}
		all = append(all, src)
		size += src.size
	}
	return source{size, false, func(first uint32, yield func(uint32) bool) bool {
		return !slices.ContainsFunc(all, func(src source) bool { return !src.walk(first, yield) })
	}}, true
}

// candidatesOfItem asks the index that knows most about a simple condition.
func (s *snapshot) candidatesOfItem(c *condition) source {
	switch {
	case c.op == ldap.FilterPresent:
		return sourceOf(s.terms.get(firstPresent + uint32(c.typ.ID)))
	case c.assertion.Class() != nil:
		return sourceOf(s.terms.get(firstClass + uint32(c.assertion.Class().ID)))
	case s.isSortedHere(c):
		if src, ok := s.fromSorted(c); ok {
			return src
		}
	}
	sets, ok := s.trigramSets(c)
	if !ok {
		// The attribute itself is all that is known.
		return sourceOf(s.terms.get(firstPresent + uint32(c.typ.ID)))
	}
	src, opaque := sourceOf(sets...), s.terms.get(opaqueTerm)
	if opaque.len() == 0 {
		return src
	}
	return source{src.size + opaque.len(), false, func(first uint32, yield func(uint32) bool) bool {
		return src.walk(first, yield) && opaque.walk(first, yield)
	}}
}

// isSortedHere tells whether the sorted index answers a condition: all that it
// is about is in it, in the normal form of its rule.
func (s *snapshot) isSortedHere(c *condition) bool {
	if c.op == ldap.FilterExtensible && c.assertion.Orders() {
		return false
	}
	return s.dict.index.sorted(c.typ) && c.assertion.SameForm(c.typ.Equality) &&
		!slices.ContainsFunc(s.dict.byType[c.typ.ID], func(id uint32) bool { return s.dict.descs[id].Type != c.typ })
}

// fromSorted returns a range of the sorted index. It is false where a condition
// is not about one.
func (s *snapshot) fromSorted(c *condition) (source, bool) {
	attr := uint32(c.typ.ID)
	from, to := item{attr: attr}, item{attr: attr + 1}
	switch value := string(c.assertion.Value); c.op {
	case ldap.FilterEqual, ldap.FilterApprox, ldap.FilterExtensible:
		from.key, to = value, item{attr: attr, key: value + "\x00"}
	case ldap.FilterGreaterOrEqual:
		from.key = value
	case ldap.FilterLessOrEqual:
		to = item{attr: attr, key: value + "\x00"}
	default:
		prefix := c.assertion.Prefix()
		if prefix == nil {
			return source{}, false
		}
		from.key, to = string(prefix), prefixEnd(attr, prefix)
	}
	return s.between(from, to), true
}

// prefixEnd returns the first place behind an attribute's keys with a prefix.
func prefixEnd(attr uint32, prefix []byte) item {
	end := slices.Clone(prefix)
	for n := len(end) - 1; n >= 0; n-- {
		if end[n]++; end[n] != 0 {
			return item{attr: attr, key: string(end[:n+1])}
		}
	}
	return item{attr: attr + 1}
}

// trigramSets returns the sets of the trigrams that every match has, with that
// of the attribute. It is false where no trigram is known.
func (s *snapshot) trigramSets(c *condition) ([]*postings, bool) {
	if !s.dict.index.substrings(c.typ) || c.assertion.Orders() || !c.assertion.SameForm(c.typ.Equality) {
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

// sourceOf returns the ids that are in all sets.
func sourceOf(sets ...*postings) source {
	slices.SortFunc(sets, func(a, b *postings) int { return cmp.Compare(a.len(), b.len()) })
	// The rarest sets tell most; the others would cost more than they save.
	rarest, rest := sets[0], sets[1:min(len(sets), 6)]
	return source{rarest.len(), true, func(first uint32, yield func(uint32) bool) bool {
		return rarest.walk(first, func(id uint32) bool {
			for _, other := range rest {
				if !other.contains(id) {
					return true
				}
			}
			return yield(id)
		})
	}}
}

// idMarks is a set of ids below a bound that is known when it is made. Its
// pages come into being as they are needed.
type idMarks []*[markPage / 64]uint64

const markPage = 4096

func newIDMarks(last uint32) idMarks { return make(idMarks, last/markPage+1) }

// mark puts an id into the set, and tells whether it was new.
func (m idMarks) mark(id uint32) bool {
	p := &m[id/markPage]
	if *p == nil {
		*p = new([markPage / 64]uint64)
	}
	word, bit := &(*p)[id%markPage/64], uint64(1)<<(id%64)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}

// take takes an id out of the set, and tells whether it was there.
func (m idMarks) take(id uint32) bool {
	p := m[id/markPage]
	if p == nil || p[id%markPage/64]>>(id%64)&1 == 0 {
		return false
	}
	p[id%markPage/64] &^= 1 << (id % 64)
	return true
}

// from yields the ids that are not less than first, in order.
func (m idMarks) from(first uint32, yield func(uint32) bool) {
	for p := first / markPage; int(p) < len(m); p++ {
		if m[p] == nil {
			continue
		}
		for w, word := range m[p] {
			for ; word != 0; word &= word - 1 {
				id := p*markPage + uint32(w*64+bits.TrailingZeros64(word))
				if id >= first && !yield(id) {
					return
				}
			}
		}
	}
}
