package embedded

import (
	"math"
	"slices"
	"strings"
	"sync"

	"expost/internal/directory/access"
	"expost/internal/ldap"
	"expost/internal/schema"
)

// selection is which attributes of an entry a search returns (RFC 4511
// §4.5.1.8). Attributes come once each, under their canonical names, however
// often and by whichever alias they were asked for.
type selection struct {
	list      *listID // nil: it is not remembered
	descs     bitset
	readable  bitset  // of descs, those that of allows
	by        *grants // what readable is of
	computed  []*schema.AttributeType
	typesOnly bool
	photo     *photo

	buf       []byte // of encode
	transient bool   // what of returned is of no use at its next call
	lists     slab[ldap.Attribute]
	values    slab[[]byte]
}

// photo are the numbers of jpegPhoto and thumbnailPhoto. Contacts of a Mac asks
// for the one where Exchange has the other.
type photo struct{ jpeg, thumbnail uint32 }

// newSelection returns the selection of a search. Clients ask for the same
// attributes time and again, so what a list of them means is remembered.
func (s *snapshot) newSelection(req *ldap.SearchRequest) selection {
	key := strings.Join(req.Attributes, "\x00")
	sel, ok := s.dict.selections.get(key)
	if !ok {
		sel = s.dict.selections.put(key, s.selectAttributes(req.Attributes))
	}
	sel.typesOnly, sel.transient = req.TypesOnly, req.Transient
	sel.readable = sel.descs
	return sel
}

// selections remembers lists of attributes. It is safe for concurrent use.
type selections struct {
	mu    sync.RWMutex
	known map[string]selection
}

// Bounds of selections.
const (
	maxSelections   = 256
	maxSelectionKey = 2048
)

func (s *selections) get(key string) (selection, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	sel, ok := s.known[key]
	return sel, ok
}

// put remembers a selection, unless its key is too long, and returns it.
func (s *selections) put(key string, sel selection) selection {
	if len(key) > maxSelectionKey {
		return sel
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil || len(s.known) >= maxSelections {
		s.known = map[string]selection{}
	}
	sel.list = &listID{}
	s.known[key] = sel
	return sel
}

// selectAttributes reads the list of attributes: names, "*", "+" (RFC 3673),
// "@class" (RFC 4529), "1.1". An unknown name is ignored.
func (s *snapshot) selectAttributes(asked []string) selection {
	var sel selection
	if len(asked) == 0 {
		sel.descs.or(s.dict.user)
	}
	for _, name := range asked {
		switch {
		case name == "*":
			sel.descs.or(s.dict.user)
		case name == "+":
			sel.descs.or(s.dict.operational)
			for _, computed := range []string{"entryDN", "subschemaSubentry", "hasSubordinates"} {
				sel.compute(s.dict.schema.Attribute(computed))
			}
		case strings.HasPrefix(name, "@"):
			if class := s.dict.schema.Class(name[1:]); class != nil {
				sel.selectClass(s, class)
			}
		default:
			if desc, ok := s.dict.schema.Describe(name); ok {
				sel.descs.or(s.dict.matching(desc))
				sel.compute(desc.Type)
				if desc.Type.Name() == "jpegPhoto" {
					sel.photo = s.photo()
				}
			}
		}
	}
	sel.computed = slices.Clip(sel.computed)
	return sel
}

// photo returns the numbers of the photo attributes; one that no entry has yet
// has no number.
func (s *snapshot) photo() *photo {
	thumbnail, ok := s.dict.byName["thumbnailPhoto"]
	if !ok {
		return nil
	}
	jpeg, ok := s.dict.byName["jpegPhoto"]
	if !ok {
		jpeg = math.MaxUint32
	}
	return &photo{jpeg, thumbnail}
}

func (sel *selection) selectClass(s *snapshot, class *schema.ObjectClass) {
	for c := range class.Superclasses {
		for _, list := range [][]*schema.AttributeType{c.Must, c.May} {
			for _, t := range list {
				sel.descs.or(s.dict.matching(schema.Description{Type: t}))
			}
		}
	}
}

// compute adds a computed attribute, once.
func (sel *selection) compute(t *schema.AttributeType) {
	if !isComputed(t) {
		return
	}
	for _, have := range sel.computed {
		if have == t {
			return
		}
	}
	sel.computed = append(sel.computed, t)
}

// grant makes readable what of the selection g grants.
func (sel *selection) grant(g *grants) {
	if g != sel.by {
		sel.by, sel.readable = g, sel.descs.and(g.read)
	}
}

// encode returns what of returns as BER, which is valid until the next call: the
// stored form differs from it by a tag before each value. It returns nil where
// something else than stored attributes may have been asked for.
func (sel *selection) encode(req *ldap.SearchRequest, s *snapshot, n *node, g *grants) []byte {
	if len(sel.computed) > 0 || sel.photo != nil {
		return nil
	}
	sel.grant(g)
	if sel.buf == nil {
		sel.buf = make([]byte, 0, 1024)
	}
	b := sel.buf[:0]
	for r := (reader{b: n.data[n.attrs:]}); len(r.b) > 0; {
		desc := uint32(r.uint())
		values := r.bytes()
		if !sel.readable.has(desc) {
			continue
		}
		d := &s.dict.descs[desc]
		if sel.typesOnly {
			values = nil
		} else if g.limits(d.Type) {
			if values = g.readablePacked(d.Type, values); len(values) == 0 {
				continue
			}
		}
		b = req.Encode(b, d.name, values)
	}
	sel.buf = b
	return b
}

// of returns the selected attributes of an entry that g grants. Their values
// lie in the stored form of the entry and are not copied.
func (sel *selection) of(s *snapshot, n *node, g *grants, suffix ldap.DN) []ldap.Attribute {
	sel.grant(g)
	if sel.transient {
		sel.lists.reset()
		sel.values.reset()
	}
	list := sel.lists.room(16 + len(sel.computed))
	for desc, r := range n.attributes {
		if !sel.readable.has(desc) {
			continue
		}
		a := ldap.Attribute{Desc: s.dict.descs[desc].name}
		if !sel.typesOnly {
			a.Values = sel.values.room(4)
			for len(r.b) > 0 {
				a.Values = append(a.Values, r.bytes())
			}
			if a.Values = g.readable(s.dict.descs[desc].Type, a.Values); len(a.Values) == 0 {
				continue
			}
			a.Values = sel.values.keep(a.Values)
		}
		list = append(list, a)
	}
	if a, ok := sel.standIn(s, n, g); ok {
		list = append(list, a)
	}
	for _, t := range sel.computed {
		if !g.may(access.Read, t) {
			continue
		}
		a := ldap.Attribute{Desc: t.Name()}
		if !sel.typesOnly {
			a.Values = [][]byte{s.computed(n, t, suffix)}
		}
		list = append(list, a)
	}
	return sel.lists.keep(list)
}

// standIn returns thumbnailPhoto as the jpegPhoto that an entry has not.
func (sel *selection) standIn(s *snapshot, n *node, g *grants) (ldap.Attribute, bool) {
	a := ldap.Attribute{Desc: "jpegPhoto"}
	if sel.photo == nil || n.has(sel.photo.jpeg) || !n.has(sel.photo.thumbnail) ||
		!g.may(access.Read, s.dict.schema.Attribute("jpegPhoto")) || !g.may(access.Read, s.dict.schema.Attribute("thumbnailPhoto")) {
		return a, false
	}
	if !sel.typesOnly {
		a.Values = slices.Collect(func(yield func([]byte) bool) { n.values(sel.photo.thumbnail, yield) })
	}
	return a, true
}

// slab hands out slices that are parts of larger allocations.
type slab[T any] struct {
	free []T
	all  []T // the last allocation, empty
	last int // its length
}

// reset takes back what was handed out.
func (s *slab[T]) reset() { s.free = s.all }

// room returns an empty slice to append to, at first without an allocation for
// n items. It must be given to keep before the next call of room.
func (s *slab[T]) room(n int) []T {
	if cap(s.free) < n {
		s.last = max(n, min(2*s.last, 512))
		s.free = make([]T, 0, s.last)
		s.all = s.free
	}
	return s.free[:0]
}

// keep makes what was appended to a slice that room returned the caller's own.
func (s *slab[T]) keep(used []T) []T {
	if len(used) <= cap(s.free) {
		s.free = s.free[len(used):cap(s.free)][:0]
	}
	return used[:len(used):len(used)]
}
