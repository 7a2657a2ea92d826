package embedded

import (
	"iter"
	"strings"
	"unicode/utf8"

	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/schema"
)

// A term is a property that entries have or have not; the snapshot knows the
// entries of each. Trigrams are three bytes of a value's normal form, hashed to
// 18 bits: what they find must be looked at again.
const (
	firstTrigram uint32 = 0
	firstPresent uint32 = 1 << 18              // + ID of an attribute type: has a value of it
	firstClass   uint32 = firstPresent + 1<<14 // + place of a class: is of it or a subclass
	opaqueTerm   uint32 = firstClass + 1<<14   // has a text too long for trigrams
	maxTerms            = opaqueTerm + 1
)

// maxTrigramText is the length from which a text's trigrams are not kept.
const maxTrigramText = 1024

// trigramClass maps bytes of normal forms to 6 bits: letters and digits to
// themselves, all others to what is left.
func trigramClass(c byte) uint32 {
	switch {
	case c >= 'a' && c <= 'z':
		return uint32(c - 'a')
	case c >= 'A' && c <= 'Z': // of rules that keep case
		return uint32(c - 'A')
	case c >= '0' && c <= '9':
		return 26 + uint32(c-'0')
	case c == '@':
		return 36
	case c == '.':
		return 37
	case c == ' ':
		return 38
	case c == '-':
		return 39
	}
	return 40 + uint32(c)%24
}

// trigrams yields the terms of a text's trigrams.
func trigrams(text []byte) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		if len(text) < 3 {
			return
		}
		w := trigramClass(text[0])<<6 | trigramClass(text[1])
		for _, c := range text[2:] {
			w = (w<<6 | trigramClass(c)) & (1<<18 - 1)
			if !yield(firstTrigram + w) {
				return
			}
		}
	}
}

// facts gathers what the indexes hold of an entry. It is used again for one
// entry after the other.
type facts struct {
	terms []uint32 // each once

	schema  *schema.Schema
	index   *indexing
	seen    []uint64 // the terms as bits
	scratch []byte
	classes map[string][]uint32
}

func newFacts(s *schema.Schema, x *indexing) *facts {
	return &facts{schema: s, index: x, seen: make([]uint64, maxTerms/64+1), classes: map[string][]uint32{}}
}

// of fills in the terms of an entry, and calls add with each key of the sorted
// index, perhaps twice with the same; key is only valid during the call.
func (f *facts) of(n *node, dict *dictionary, add func(attr uint32, key []byte)) {
	for _, t := range f.terms {
		f.seen[t>>6] = 0
	}
	f.terms = f.terms[:0]
	for desc, values := range n.attributes {
		t := dict.descs[desc].Type
		if t == nil {
			continue
		}
		for sup := t; sup != nil; sup = sup.Sup {
			f.term(firstPresent + uint32(sup.ID))
		}
		class, sorted, text := t.Name() == "objectClass", f.index.sorted(t), f.index.substrings(t)
		for len(values.b) > 0 && (class || sorted || text) {
			v := values.bytes()
			if class {
				f.class(v)
				continue
			}
			norm, ok := t.Equality.Normalize(f.scratch[:0], v)
			f.scratch = norm
			if ok && sorted {
				add(uint32(t.ID), norm)
			}
			if ok && text {
				f.text(t, norm)
			}
		}
	}
}

// text adds the trigrams of a value.
func (f *facts) text(t *schema.AttributeType, norm []byte) {
	text, ok := trigramText(t, norm)
	if !ok {
		f.term(opaqueTerm)
	}
	for term := range trigrams(text) {
		f.term(term)
	}
}

// trigramText returns the text whose trigrams stand for a normal form. It is
// false where there is none: the text is long, or keeps its case beyond ASCII,
// which trigrams do not tell.
func trigramText(t *schema.AttributeType, norm []byte) ([]byte, bool) {
	if len(norm) > maxTrigramText {
		return nil, false
	}
	if strings.HasPrefix(t.Equality.Name, "caseExact") {
		for _, c := range norm {
			if c >= utf8.RuneSelf {
				return nil, false
			}
		}
	}
	return norm, true
}

func (f *facts) term(t uint32) {
	if f.seen[t>>6]>>(t&63)&1 == 0 {
		f.seen[t>>6] |= 1 << (t & 63)
		f.terms = append(f.terms, t)
	}
}

// class adds the terms of a class and those above it.
func (f *facts) class(v []byte) {
	terms, ok := f.classes[string(v)]
	if !ok {
		if c := f.schema.Class(string(v)); c != nil {
			for sup := range c.Superclasses {
				terms = append(terms, firstClass+uint32(sup.ID))
			}
		}
		f.classes[string(v)] = terms
	}
	for _, t := range terms {
		f.term(t)
	}
}

// ownerItems returns the items by which mail finds an account or group: its
// addresses, its store and its uids.
func ownerItems(e *ldap.Entry, id uint32) []item {
	var items []item
	for _, addr := range directory.Addresses(e) {
		items = append(items, item{addr.Key(), addressKey, id})
	}
	acc, ok := directory.AccountOf(e)
	if !ok {
		return items
	}
	items = append(items, item{string(acc.ID), storeKey, id})
	for _, uid := range e.Values("uid") {
		items = append(items, item{strings.ToLower(uid), uidKey, id})
	}
	return items
}
