package pst

import (
	"cmp"
	"encoding/binary"
	"iter"
	"slices"

	"expost/mapi"
)

// property is one of an object: its value, or where in the heap that is.
type property struct {
	tag    mapi.Tag
	raw    uint64 // the value's bytes, or an HNID
	inline bool
}

// properties are those of an object, in order of their tags. They are read
// from a property context ([MS-PST] 2.3.3) or a table's row (2.3.4.4).
type properties struct {
	heap *heap
	list []property
}

// openProperties reads the property context of a node. Parts of it that cannot
// be read are reported and left out.
func openProperties(n *node) (*properties, error) {
	h, err := openHeap(n, clientPC)
	if err != nil {
		return nil, err
	}
	t, err := openBTH(h, h.root, 2, 6)
	if err != nil {
		return nil, err
	}
	p := &properties{heap: h, list: make([]property, 0, t.count())}
	for r, err := range t.records() {
		if err != nil {
			n.f.report(at(n.top, err))
			continue
		}
		// wPropId, wPropType, dwValueHnid
		typ := mapi.Type(le.Uint16(r[2:]))
		size := fixed(typ)
		p.list = append(p.list, property{mapi.Tag(le.Uint16(r))<<16 | mapi.Tag(typ), uint64(le.Uint32(r[4:])), size > 0 && size <= 4})
	}
	p.sort()
	return p, nil
}

func (p *properties) sort() {
	slices.SortStableFunc(p.list, func(a, b property) int { return cmp.Compare(a.tag, b.tag) })
	p.list = slices.CompactFunc(p.list, func(a, b property) bool { return a.tag == b.tag })
}

func (p *properties) find(tag mapi.Tag) (property, bool) {
	i, ok := slices.BinarySearchFunc(p.list, tag, func(q property, t mapi.Tag) int { return cmp.Compare(q.tag, t) })
	if !ok {
		return property{}, false
	}
	return p.list[i], true
}

// Value implements mapi.Properties. The value of an object is nil: open it.
func (p *properties) Value(tag mapi.Tag) (any, bool, error) {
	q, ok := p.find(tag)
	if !ok {
		return nil, false, nil
	}
	if q.inline {
		b := binary.LittleEndian.AppendUint64(nil, q.raw)
		v, err := value(tag.Type(), b)
		return v, true, err
	}
	if tag.Type() == mapi.TypeObject {
		return nil, true, nil
	}
	b, err := p.bytes(q)
	if err != nil {
		return nil, true, p.damaged(tag, err)
	}
	v, err := value(tag.Type(), b)
	if err != nil {
		return nil, true, p.damaged(tag, err)
	}
	return v, true, nil
}

// bytes returns the bytes of a value, those of text in the heap itself.
func (p *properties) bytes(q property) ([]byte, error) {
	if typ := q.tag.Type(); uint32(q.raw)&0x1F == 0 && (typ == mapi.TypeString || fixed(typ) > 0) {
		return p.heap.get(uint32(q.raw)) // value makes something else of it
	}
	if q.tag.Type() == mapi.TypeString {
		s, err := p.heap.open(uint32(q.raw))
		if err != nil {
			return nil, err
		}
		if t, ok := s.(*tree); ok && t.count() == 1 {
			return t.block(0)
		}
		return s.all()
	}
	return p.heap.value(uint32(q.raw))
}

// Open implements mapi.Properties. Of an embedded message it opens the bytes
// of its node, of an OLE object its storage.
func (p *properties) Open(tag mapi.Tag) (mapi.Stream, error) {
	q, ok := p.find(tag)
	if !ok || q.inline {
		return nil, damaged(Place{Node: p.top()}, "property %#x cannot be opened: it is not there or is a number", uint32(tag))
	}
	if tag.Type() != mapi.TypeObject {
		s, err := p.heap.open(uint32(q.raw))
		if err != nil {
			return nil, p.damaged(tag, err)
		}
		return s, nil
	}
	n, err := p.object(q)
	if err != nil {
		return nil, p.damaged(tag, err)
	}
	t, err := n.tree()
	if err != nil {
		return nil, p.damaged(tag, err)
	}
	return t, nil
}

// object finds the subnode that an object property is: its place in the heap
// holds the subnode's id and size ([MS-PST] 2.3.3.5).
func (p *properties) object(q property) (*node, error) {
	nid := uint32(q.raw)
	if nid&0x1F == 0 {
		b, err := p.heap.get(nid)
		if err != nil {
			return nil, err
		}
		if len(b) < 4 {
			return nil, damaged(p.heap.place(), "an object's place has %d bytes", len(b))
		}
		nid = le.Uint32(b)
	}
	n, ok, err := p.heap.node.subnode(nid)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, damaged(p.heap.place(), "subnode %#x is not there", nid)
	}
	return n, nil
}

// Tags implements mapi.Properties.
func (p *properties) Tags() iter.Seq[mapi.Tag] {
	return func(yield func(mapi.Tag) bool) {
		for _, q := range p.list {
			if !yield(q.tag) {
				return
			}
		}
	}
}

// Lookup implements mapi.Properties.
func (p *properties) Lookup(name mapi.Name, typ mapi.Type) (mapi.Tag, bool) {
	if p.heap == nil {
		return 0, false
	}
	id, ok := p.heap.node.f.named().ids[name]
	return mapi.Tag(id)<<16 | mapi.Tag(typ), ok
}

// Name implements mapi.Properties.
func (p *properties) Name(tag mapi.Tag) (mapi.Name, bool) {
	if p.heap == nil {
		return mapi.Name{}, false
	}
	name, ok := p.heap.node.f.named().names[tag.ID()]
	return name, ok
}

func (p *properties) top() uint32 {
	if p.heap == nil {
		return 0
	}
	return p.heap.node.top
}

// damaged adds node and property to an error.
func (p *properties) damaged(tag mapi.Tag, err error) error {
	err = at(p.top(), err)
	if d, ok := err.(*Damage); ok {
		return damaged(d.Place, "property %#08x: %w", uint32(tag), d.Err)
	}
	return err
}

// text returns a string property of either type, by Options.Decode.
func (p *properties) text(id uint16) string {
	if v, _, _ := p.Value(mapi.Tag(id)<<16 | mapi.Tag(mapi.TypeString)); v != nil {
		return v.(string)
	}
	if v, _, _ := p.Value(mapi.Tag(id)<<16 | mapi.Tag(mapi.TypeString8)); v != nil {
		return p.heap.node.f.opt.Decode(v.(mapi.String8))
	}
	return ""
}

// binary returns a binary property, or nil.
func (p *properties) binary(id uint16) []byte {
	v, _, _ := p.Value(mapi.Tag(id)<<16 | mapi.Tag(mapi.TypeBinary))
	b, _ := v.([]byte)
	return b
}

// number returns a 32-bit property, and false where there is none.
func (p *properties) number(id uint16) (int32, bool) {
	v, _, _ := p.Value(mapi.Tag(id)<<16 | mapi.Tag(mapi.TypeInt32))
	n, ok := v.(int32)
	return n, ok
}

// latin1 decodes text whose code page is not known.
func latin1(b []byte) string {
	r := make([]rune, len(b))
	for i, c := range b {
		r[i] = rune(c)
	}
	return string(r)
}
