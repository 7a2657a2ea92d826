package ldapwire

import "expost/internal/ldap"

// Limits of a filter.
const (
	maxFilterDepth = 100    // nested and, or, not
	maxFilterNodes = 20_000 // in all
)

// Context tags within a filter (RFC 4511 §4.5.1.7).
const (
	tagInitial      = 0x80
	tagAny          = 0x81
	tagFinal        = 0x82
	tagMatchingRule = 0x81
	tagMatchType    = 0x82
	tagMatchValue   = 0x83
	tagDNAttributes = 0x84
)

// filterSlab hands out filters and lists of them in blocks, to save
// allocations.
type filterSlab struct {
	free  []ldap.Filter
	lists []*ldap.Filter
	nodes int
	depth int
}

// list returns an empty list with room for n filters.
func (s *filterSlab) list(n int) []*ldap.Filter {
	if n > len(s.lists) {
		if n > 4 {
			return make([]*ldap.Filter, 0, n)
		}
		s.lists = make([]*ldap.Filter, 16)
	}
	list := s.lists[:0:n]
	s.lists = s.lists[n:]
	return list
}

// newFilter returns a filter of the kind, or nil where there are too many.
func (d *decoder) newFilter(op ldap.FilterOp) *ldap.Filter {
	s := &d.filters
	if s.nodes++; s.nodes > maxFilterNodes {
		d.refuse(ldap.Errorf(ldap.AdminLimitExceeded, "filter has more than %d terms", maxFilterNodes))
		return nil
	}
	if len(s.free) == 0 {
		s.free = make([]ldap.Filter, 3)
	}
	f := &s.free[0]
	s.free = s.free[1:]
	f.Op = op
	return f
}

// filter reads a filter; nil where it cannot be had.
func (d *decoder) filter() *ldap.Filter {
	tag := d.peek()
	if tag&^(constructed|0x1f) != classContext {
		d.fail("no filter")
		return nil
	}
	f := d.newFilter(ldap.FilterOp(tag & 0x1f))
	if f == nil {
		d.skip()
		return nil
	}
	switch f.Op {
	case ldap.FilterAnd, ldap.FilterOr, ldap.FilterNot:
		d.filterList(tag, f)
	case ldap.FilterEqual, ldap.FilterGreaterOrEqual, ldap.FilterLessOrEqual, ldap.FilterApprox:
		outer := d.enter(classContext | constructed | byte(f.Op))
		f.Attr = d.string(tagOctetString)
		f.Value = d.content(tagOctetString)
		d.leave(outer)
	case ldap.FilterSubstrings:
		d.filterSubstrings(f)
	case ldap.FilterPresent:
		f.Attr = d.string(classContext | byte(f.Op))
	case ldap.FilterExtensible:
		d.filterExtensible(f)
	default: // not known: evaluates to Undefined (RFC 4511 §4.5.1.7)
		f.Value = d.content(tag)
	}
	return f
}

// filterList reads the filters of an and, or, not.
func (d *decoder) filterList(tag byte, f *ldap.Filter) {
	s := &d.filters
	if s.depth >= maxFilterDepth {
		d.refuse(ldap.Errorf(ldap.AdminLimitExceeded, "filter is nested more than %d deep", maxFilterDepth))
		d.skip()
		return
	}
	s.depth++
	outer := d.enter(classContext | constructed | byte(f.Op))
	n := d.count()
	if f.Op == ldap.FilterNot && n != 1 {
		d.fail("a not-filter of %d filters", n)
	}
	if n > 0 {
		f.Subs = s.list(min(n, maxFilterNodes))
	}
	for d.more() && d.refused == nil {
		f.Subs = append(f.Subs, d.filter())
	}
	d.leave(outer)
	s.depth--
}

// filterSubstrings reads a substrings filter. Empty pieces match anything and
// are dropped; a filter of nothing else is a presence filter.
func (d *decoder) filterSubstrings(f *ldap.Filter) {
	outer := d.enter(classContext | constructed | byte(f.Op))
	f.Attr = d.string(tagOctetString)
	inner := d.enter(tagSequence)
	n := d.count()
	for i := 0; d.more(); i++ {
		tag := d.peek()
		piece := d.content(tag)
		switch {
		case tag == tagInitial && i == 0:
			f.Initial = nonEmpty(piece)
		case tag == tagFinal && i == n-1:
			f.Final = nonEmpty(piece)
		case tag != tagAny:
			d.fail("a substring %#02x out of place", tag)
		case len(piece) > 0:
			f.Any = append(f.Any, piece)
		}
	}
	d.leave(inner)
	d.leave(outer)
	if f.Initial == nil && f.Any == nil && f.Final == nil {
		f.Op = ldap.FilterPresent
	}
}

func nonEmpty(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}

// filterExtensible reads a MatchingRuleAssertion.
func (d *decoder) filterExtensible(f *ldap.Filter) {
	outer := d.enter(classContext | constructed | byte(f.Op))
	if d.peek() == tagMatchingRule {
		f.Rule = d.string(tagMatchingRule)
	}
	if d.peek() == tagMatchType {
		f.Attr = d.string(tagMatchType)
	}
	f.Value = d.content(tagMatchValue)
	if d.peek() == tagDNAttributes {
		f.DNAttributes = d.boolean(tagDNAttributes)
	}
	d.leave(outer)
}

// appendFilter appends the BER of a filter.
func appendFilter(b []byte, f *ldap.Filter) []byte {
	tag := classContext | constructed | byte(f.Op)
	var mark int
	switch f.Op {
	case ldap.FilterAnd, ldap.FilterOr, ldap.FilterNot:
		b, mark = begin(b, tag)
		for _, sub := range f.Subs {
			b = appendFilter(b, sub)
		}
	case ldap.FilterEqual, ldap.FilterGreaterOrEqual, ldap.FilterLessOrEqual, ldap.FilterApprox:
		b, mark = begin(b, tag)
		b = appendBytes(b, tagOctetString, f.Attr)
		b = appendBytes(b, tagOctetString, f.Value)
	case ldap.FilterSubstrings:
		b, mark = begin(b, tag)
		b = appendSubstrings(b, f)
	case ldap.FilterPresent:
		return appendBytes(b, classContext|byte(f.Op), f.Attr)
	case ldap.FilterExtensible:
		b, mark = begin(b, tag)
		b = appendExtensible(b, f)
	default:
		return appendBytes(b, classContext|byte(f.Op), f.Value)
	}
	return end(b, mark)
}

func appendSubstrings(b []byte, f *ldap.Filter) []byte {
	b = appendBytes(b, tagOctetString, f.Attr)
	b, mark := begin(b, tagSequence)
	if f.Initial != nil {
		b = appendBytes(b, tagInitial, f.Initial)
	}
	for _, piece := range f.Any {
		b = appendBytes(b, tagAny, piece)
	}
	if f.Final != nil {
		b = appendBytes(b, tagFinal, f.Final)
	}
	return end(b, mark)
}

func appendExtensible(b []byte, f *ldap.Filter) []byte {
	if f.Rule != "" {
		b = appendBytes(b, tagMatchingRule, f.Rule)
	}
	if f.Attr != "" {
		b = appendBytes(b, tagMatchType, f.Attr)
	}
	b = appendBytes(b, tagMatchValue, f.Value)
	if f.DNAttributes {
		b = appendBoolean(b, tagDNAttributes, true)
	}
	return b
}
