package embedded

import (
	"encoding/binary"
	"errors"
	"slices"
	"sync/atomic"

	"expost/internal/ldap"
	"expost/internal/schema"
)

// An entry is kept in memory as it lies on disk, as one packed value:
//
//	number of AVAs in the RDN, for each: type, value (each length, bytes)
//	for each attribute: description id, length in bytes of
//	    for each value: length, bytes
//
// Numbers are uvarints. Filters are evaluated on this form; an ldap.Entry is
// made only of what a search returns.

// node is an entry in memory. It is immutable, but for what it was last sent as.
type node struct {
	id, parent uint32 // parent is 0 for the suffix
	attrs      int    // where the attributes start in data
	data       []byte
	ready      atomic.Pointer[ready]
}

// errPacked is a packed entry that is none.
var errPacked = errors.New("stored entry is damaged")

// newNode checks a packed entry once, so that nobody else needs to: every
// length lies within data and every description is in dict.
func newNode(id, parent uint32, data []byte, dict *dictionary) (*node, error) {
	n := &node{id: id, parent: parent, data: data}
	r := reader{b: data}
	for range 2 * r.count() {
		r.bytes()
	}
	n.attrs = len(data) - len(r.b)
	for len(r.b) > 0 && !r.bad {
		if desc := r.uint(); desc >= uint64(len(dict.descs)) {
			return nil, errPacked
		}
		values := reader{b: r.bytes()}
		for len(values.b) > 0 && !values.bad {
			values.bytes()
		}
		r.bad = r.bad || values.bad
	}
	if r.bad {
		return nil, errPacked
	}
	return n, nil
}

// reader takes numbers and strings off a packed entry.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uint() uint64 {
	if len(r.b) > 0 && r.b[0] < 0x80 {
		v := r.b[0]
		r.b = r.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad = true
		r.b = nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads a number of things of at least two bytes each.
func (r *reader) count() int {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.bad = true
		return 0
	}
	return int(n)
}

func (r *reader) bytes() []byte {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.bad = true
		r.b = nil
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// attributes yields the attributes of n: the id of the description, and the values.
func (n *node) attributes(yield func(desc uint32, values reader) bool) {
	r := reader{b: n.data[n.attrs:]}
	for len(r.b) > 0 {
		desc := uint32(r.uint())
		if !yield(desc, reader{b: r.bytes()}) {
			return
		}
	}
}

// has tells whether n has a value of a description.
func (n *node) has(desc uint32) bool {
	for d := range n.attributes {
		if d == desc {
			return true
		}
	}
	return false
}

// values yields the values of a description.
func (n *node) values(desc uint32, yield func([]byte) bool) {
	for d, r := range n.attributes {
		for d == desc && len(r.b) > 0 {
			if !yield(r.bytes()) {
				return
			}
		}
	}
}

// rdn returns the entry's own RDN.
func (n *node) rdn() ldap.RDN { return n.appendRDN(nil) }

// appendRDN reads the entry's own RDN into rdn. A type that stood there is taken
// again where it is the same.
func (n *node) appendRDN(rdn ldap.RDN) ldap.RDN {
	r := reader{b: n.data[:n.attrs]}
	count := r.count()
	rdn = slices.Grow(rdn[:0], count)[:count]
	for i := range rdn {
		if typ := r.bytes(); rdn[i].Type != string(typ) {
			rdn[i].Type = string(typ)
		}
		rdn[i].Value = string(r.bytes())
	}
	return rdn
}

// pack makes the packed form of an entry whose descriptions are all in dict.
func pack(rdn ldap.RDN, attributes []ldap.Attribute, dict *dictionary) []byte {
	b := binary.AppendUvarint(nil, uint64(len(rdn)))
	for _, ava := range rdn {
		b = appendBytes(b, ava.Type)
		b = appendBytes(b, ava.Value)
	}
	var values []byte
	for _, a := range attributes {
		values = values[:0]
		for _, v := range a.Values {
			values = appendBytes(values, v)
		}
		b = binary.AppendUvarint(b, uint64(dict.byName[a.Desc]))
		b = appendBytes(b, values)
	}
	return b
}

func appendBytes[T ~[]byte | ~string](b []byte, v T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

// unpack returns all attributes of n, operational ones too.
func (n *node) unpack(dict *dictionary) []ldap.Attribute {
	list := make([]ldap.Attribute, 0, 24)
	all := slab[[]byte]{free: make([][]byte, 0, 40)}
	for desc, r := range n.attributes {
		a := ldap.Attribute{Desc: dict.descs[desc].name, Values: all.room(4)}
		for len(r.b) > 0 {
			a.Values = append(a.Values, r.bytes())
		}
		a.Values = all.keep(a.Values)
		list = append(list, a)
	}
	return list
}

// dictionary numbers the attribute descriptions in use. It is immutable, but for
// what it remembers.
type dictionary struct {
	schema *schema.Schema
	rights *rights
	index  *indexing
	descs  []description // by id
	byName map[string]uint32
	byType [][]uint32 // by the ID of an attribute type: its descriptions and those of its subtypes

	user        bitset // not operational
	operational bitset

	selections selections
}

// description is one attribute description.
type description struct {
	name string
	schema.Description
}

// newDictionary makes a dictionary of canonical descriptions, by id. One that
// the schema knows no longer is kept, and nothing matches it.
func newDictionary(r *rights, x *indexing, names []string) *dictionary {
	s := r.schema
	d := &dictionary{schema: s, rights: r, index: x, byName: make(map[string]uint32, len(names)), byType: make([][]uint32, len(s.Attributes()))}
	for i, name := range names {
		desc, ok := s.Describe(name)
		d.descs = append(d.descs, description{name, desc})
		id := uint32(i)
		d.byName[name] = id
		if !ok {
			continue
		}
		for t := desc.Type; t != nil; t = t.Sup {
			d.byType[t.ID] = append(d.byType[t.ID], id)
		}
		if desc.Type.Operational() {
			d.operational.set(id)
		} else {
			d.user.set(id)
		}
	}
	return d
}

// names returns the descriptions by id.
func (d *dictionary) names() []string {
	names := make([]string, len(d.descs))
	for i, desc := range d.descs {
		names[i] = desc.name
	}
	return names
}

// matching returns the descriptions that are sup or a subtype of it.
func (d *dictionary) matching(sup schema.Description) bitset {
	var set bitset
	for _, id := range d.byType[sup.Type.ID] {
		if len(sup.Options) == 0 || d.descs[id].IsA(sup) {
			set.set(id)
		}
	}
	return set
}

// bitset is a set of description ids.
type bitset []uint64

func (s *bitset) set(i uint32) {
	for int(i>>6) >= len(*s) {
		*s = append(*s, 0)
	}
	(*s)[i>>6] |= 1 << (i & 63)
}

// put sets or clears a bit.
func (s *bitset) put(i uint32, on bool) {
	s.set(i)
	if !on {
		(*s)[i>>6] &^= 1 << (i & 63)
	}
}

func (s bitset) has(i uint32) bool { return int(i>>6) < len(s) && s[i>>6]>>(i&63)&1 == 1 }

// equal tells whether two sets hold the same ids.
func (s bitset) equal(other bitset) bool {
	for i := range max(len(s), len(other)) {
		if s.word(i) != other.word(i) {
			return false
		}
	}
	return true
}

func (s bitset) word(i int) uint64 {
	if i < len(s) {
		return s[i]
	}
	return 0
}

// and returns the ids in both sets.
func (s bitset) and(other bitset) bitset {
	out := make(bitset, min(len(s), len(other)))
	for i := range out {
		out[i] = s[i] & other[i]
	}
	return out
}

// or puts the ids of other into s.
func (s *bitset) or(other bitset) {
	for len(*s) < len(other) {
		*s = append(*s, 0)
	}
	for i, w := range other {
		(*s)[i] |= w
	}
}
