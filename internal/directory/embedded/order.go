package embedded

import (
	"cmp"
	"slices"

	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/schema"
)

// order is a way to sort entries (RFC 2891): by the least value of each key,
// an entry without one behind all others. Entries that are equal so far stand
// in the order of their ids.
type order struct {
	keys []orderKey
	bufs [2][]byte
}

type orderKey struct {
	typ     *schema.AttributeType
	descs   bitset
	rule    *schema.MatchingRule
	reverse bool
}

// newOrder makes sort keys ready for who asks.
func (s *snapshot) newOrder(keys []directory.SortKey, who *subject) (*order, error) {
	o := &order{}
	for _, k := range keys {
		desc, ok := s.dict.schema.Describe(k.Attr)
		if !ok || !who.everSearches(desc.Type) || isComputed(desc.Type) {
			return nil, &directory.SortError{Attr: k.Attr, Err: ldap.Errorf(ldap.NoSuchAttribute, "%s: no attribute to sort by", k.Attr)}
		}
		rule, ok := s.dict.schema.Ordering(desc.Type, k.Rule)
		if !ok {
			return nil, &directory.SortError{Attr: k.Attr, Err: ldap.Errorf(ldap.InappropriateMatching, "%s: values cannot be ordered by %q", k.Attr, k.Rule)}
		}
		o.keys = append(o.keys, orderKey{desc.Type, s.dict.matching(desc), rule, k.Reverse})
	}
	return o, nil
}

// least appends the normal form of an entry's least value to dst. It is false
// where the entry has none.
func (k *orderKey) least(dst []byte, n *node) ([]byte, bool) {
	best, found := len(dst), false
	for desc, values := range n.attributes {
		for k.descs.has(desc) && len(values.b) > 0 {
			start := len(dst)
			norm, ok := k.rule.Normalize(dst, values.bytes())
			switch {
			case !ok:
				norm = norm[:start]
			case !found:
				found = true
			case k.rule.Compare(norm[start:], norm[best:start]) < 0:
				norm = append(norm[:best], norm[start:]...)
			default:
				norm = norm[:start]
			}
			dst = norm
		}
	}
	return dst, found
}

// compare orders two least values; nil stands for none.
func (k *orderKey) compare(a, b []byte) int {
	return k.rule.CompareLeast(a, b, k.reverse)
}

// ties orders ids whose entries are equal.
func (o *order) ties(a, b uint32) int {
	if o.keys[0].reverse {
		a, b = b, a
	}
	return cmp.Compare(a, b)
}

// key returns the least value of an entry, nil where it has none. It is kept in
// a buffer.
func (o *order) key(buf int, k *orderKey, n *node) []byte {
	v, ok := k.least(o.bufs[buf][:0], n)
	o.bufs[buf] = v
	if !ok {
		return nil
	}
	return notNil(v)
}

// notNil makes an empty value something else than none.
func notNil(v []byte) []byte {
	if v == nil {
		return []byte{}
	}
	return v
}

// compare orders two entries.
func (o *order) compare(a, b *node) int {
	for i := range o.keys {
		k := &o.keys[i]
		if c := k.compare(o.key(0, k, a), o.key(1, k, b)); c != 0 {
			return c
		}
	}
	return o.ties(a.id, b.id)
}

// compareWith orders an entry and a place that keys and an id stand for.
func (o *order) compareWith(n *node, keys [][]byte, id uint32) int {
	for i := range o.keys {
		k := &o.keys[i]
		if c := k.compare(o.key(0, k, n), keys[i]); c != 0 {
			return c
		}
	}
	return o.ties(n.id, id)
}

// pack returns the keys of an entry: for each a mark that there is one, length
// and bytes.
func (o *order) pack(n *node) []byte {
	var b []byte
	for i := range o.keys {
		v := o.key(0, &o.keys[i], n)
		if v == nil {
			b = append(b, 0)
			continue
		}
		b = appendBytes(append(b, 1), v)
	}
	return b
}

// unpack returns the keys that pack has packed. It is false where they are of
// another order.
func (o *order) unpack(b []byte) ([][]byte, bool) {
	r := reader{b: b}
	keys := make([][]byte, len(o.keys))
	for i := range keys {
		if r.uint() == 1 {
			keys[i] = notNil(r.bytes())
		}
	}
	return keys, !r.bad && len(r.b) == 0
}

// sort returns the ids of entries in order, and leaves none in found.
func (o *order) sort(s *snapshot, found idMarks, count int) []uint32 {
	if o.isIndexed(s) && count > s.count/16 {
		return o.fromIndex(s, found, count)
	}
	type row struct {
		id   uint32
		keys [][]byte
	}
	rows := make([]row, 0, count)
	found.from(0, func(id uint32) bool {
		r := row{id, make([][]byte, len(o.keys))}
		for i := range o.keys {
			if v, ok := o.keys[i].least(nil, s.nodes.get(id)); ok {
				r.keys[i] = notNil(v)
			}
		}
		rows = append(rows, r)
		return true
	})
	slices.SortFunc(rows, func(a, b row) int {
		for i := range o.keys {
			if c := o.keys[i].compare(a.keys[i], b.keys[i]); c != 0 {
				return c
			}
		}
		return o.ties(a.id, b.id)
	})
	ids := make([]uint32, len(rows))
	for i, r := range rows {
		ids[i] = r.id
	}
	return ids
}

// isIndexed tells whether the sorted index has entries in this order.
func (o *order) isIndexed(s *snapshot) bool {
	k := &o.keys[0]
	return len(o.keys) == 1 && s.dict.index.sorted(k.typ) && k.rule.SortsAs(k.typ.Equality) &&
		!slices.ContainsFunc(s.dict.byType[k.typ.ID], func(id uint32) bool { return !k.descs.has(id) || s.dict.descs[id].Type != k.typ })
}

// fromIndex reads the order off the sorted index, where an entry comes first
// with its least value.
func (o *order) fromIndex(s *snapshot, found idMarks, count int) []uint32 {
	ids := make([]uint32, 0, count)
	attr := uint32(o.keys[0].typ.ID)
	s.index.between(item{attr: attr}, item{attr: attr + 1}, func(it item) bool {
		if found.take(it.id) {
			ids = append(ids, it.id)
		}
		return len(ids) < count
	})
	found.from(0, func(id uint32) bool {
		ids = append(ids, id)
		return true
	})
	if o.keys[0].reverse {
		slices.Reverse(ids)
	}
	return ids
}
