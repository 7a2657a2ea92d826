package embedded

import (
	"math/bits"
	"slices"
)

// vector is a persistent array of pointers.
type vector[T any] struct {
	edit   *edit
	chunks []*chunk[T]
}

const chunkBits = 7

type chunk[T any] struct {
	edit  *edit
	items [1 << chunkBits]*T
}

// get returns the item at i, or nil.
func (v *vector[T]) get(i uint32) *T {
	c := int(i >> chunkBits)
	if c >= len(v.chunks) || v.chunks[c] == nil {
		return nil
	}
	return v.chunks[c].items[i&(1<<chunkBits-1)]
}

// set changes the item at i.
func (v *vector[T]) set(e *edit, i uint32, item *T) {
	c := int(i >> chunkBits)
	if v.edit != e {
		v.chunks = slices.Clone(v.chunks)
		v.edit = e
	}
	for len(v.chunks) <= c {
		v.chunks = append(v.chunks, nil)
	}
	switch old := v.chunks[c]; {
	case old == nil:
		v.chunks[c] = &chunk[T]{edit: e}
	case old.edit != e:
		v.chunks[c] = &chunk[T]{edit: e, items: old.items}
	}
	v.chunks[c].items[i&(1<<chunkBits-1)] = item
}

// walk calls yield with the items that are there, in order from first on, until
// it returns false; then walk returns false.
func (v *vector[T]) walk(first uint32, yield func(*T) bool) bool {
	skip := first & (1<<chunkBits - 1)
	for i := int(first >> chunkBits); i < len(v.chunks); i++ {
		if c := v.chunks[i]; c != nil {
			for _, item := range c.items[skip:] {
				if item != nil && !yield(item) {
					return false
				}
			}
		}
		skip = 0
	}
	return true
}

// postings is a persistent set of entry ids: sets of 65,536 each, a sorted list
// while they are few, a bitmap from then on.
type postings struct {
	edit  *edit
	count int
	sets  []*idSet // in order
}

type idSet struct {
	edit *edit
	high uint32   // the ids' upper 16 bits
	low  []uint16 // sorted; nil where bits is not
	bits *bitmap
}

// bitmap is 65,536 bits in parts, so that a change copies one of them.
type bitmap [64]*bitmapPart

type bitmapPart struct {
	edit  *edit
	words [16]uint64
}

// part returns the part of an id and the place of its bit in it.
func (b *bitmap) part(low uint16) (p **bitmapPart, word, bit uint16) {
	return &b[low>>10], low >> 6 & 15, low & 63
}

func (b *bitmap) has(low uint16) bool {
	p, word, bit := b.part(low)
	return *p != nil && (*p).words[word]>>bit&1 == 1
}

// put sets or clears a bit. The bitmap must be e's own.
func (b *bitmap) put(e *edit, low uint16, on bool) {
	p, word, bit := b.part(low)
	switch {
	case *p == nil:
		*p = &bitmapPart{edit: e}
	case (*p).edit != e:
		*p = &bitmapPart{edit: e, words: (*p).words}
	}
	if on {
		(*p).words[word] |= 1 << bit
	} else {
		(*p).words[word] &^= 1 << bit
	}
}

// all calls yield with the bits that are set, until it returns false.
func (b *bitmap) all(yield func(low uint32) bool) bool {
	for i, p := range b {
		if p == nil {
			continue
		}
		for w, word := range p.words {
			for ; word != 0; word &= word - 1 {
				if !yield(uint32(i<<10 | w<<6 | bits.TrailingZeros64(word))) {
					return false
				}
			}
		}
	}
	return true
}

// maxList is the length from which a list takes more room than a bitmap.
const maxList = 4096

// find returns the place of the set of an id.
func (p *postings) find(id uint32) (int, bool) {
	return slices.BinarySearchFunc(p.sets, id>>16, func(s *idSet, high uint32) int { return int(s.high) - int(high) })
}

// contains tells whether id is in the set; a nil p is an empty one.
func (p *postings) contains(id uint32) bool {
	if p == nil {
		return false
	}
	i, ok := p.find(id)
	return ok && p.sets[i].contains(uint16(id))
}

func (s *idSet) contains(low uint16) bool {
	if s.bits != nil {
		return s.bits.has(low)
	}
	_, ok := slices.BinarySearch(s.low, low)
	return ok
}

// mutable returns p, or a copy that e may change; a nil p is an empty one.
func (p *postings) mutable(e *edit) *postings {
	switch {
	case p == nil:
		return &postings{edit: e}
	case p.edit == e:
		return p
	}
	return &postings{edit: e, count: p.count, sets: slices.Clone(p.sets)}
}

func (s *idSet) mutable(e *edit) *idSet {
	if s.edit == e {
		return s
	}
	c := &idSet{edit: e, high: s.high}
	if s.bits != nil {
		b := *s.bits
		c.bits = &b
	} else {
		c.low = append(make([]uint16, 0, len(s.low)+4), s.low...)
	}
	return c
}

// add returns p with id in it.
func (p *postings) add(e *edit, id uint32) *postings {
	p = p.mutable(e)
	i, ok := p.find(id)
	if !ok {
		p.sets = slices.Insert(p.sets, i, &idSet{edit: e, high: id >> 16})
	} else if p.sets[i].contains(uint16(id)) {
		return p
	}
	s := p.sets[i].mutable(e)
	p.sets[i] = s
	p.count++
	s.add(e, uint16(id))
	return p
}

func (s *idSet) add(e *edit, low uint16) {
	if s.bits != nil {
		s.bits.put(e, low, true)
		return
	}
	if n := len(s.low); n == 0 || s.low[n-1] < low {
		s.low = append(s.low, low)
	} else {
		i, _ := slices.BinarySearch(s.low, low)
		s.low = slices.Insert(s.low, i, low)
	}
	if len(s.low) > maxList {
		s.bits = &bitmap{}
		for _, v := range s.low {
			s.bits.put(e, v, true)
		}
		s.low = nil
	}
}

// remove returns p without id; nil where it is empty then.
func (p *postings) remove(e *edit, id uint32) *postings {
	if p == nil || !p.contains(id) {
		return p
	}
	p = p.mutable(e)
	if p.count--; p.count == 0 {
		return nil
	}
	i, _ := p.find(id)
	s := p.sets[i].mutable(e)
	p.sets[i] = s
	low := uint16(id)
	if s.bits != nil {
		s.bits.put(e, low, false)
		return p
	}
	j, _ := slices.BinarySearch(s.low, low)
	if s.low = slices.Delete(s.low, j, j+1); len(s.low) == 0 {
		p.sets = slices.Delete(p.sets, i, i+1)
	}
	return p
}

// len returns the number of ids; a nil p has none.
func (p *postings) len() int {
	if p == nil {
		return 0
	}
	return p.count
}

// walk calls yield with the ids in order, from first on, until it returns
// false; then walk returns false.
func (p *postings) walk(first uint32, yield func(uint32) bool) bool {
	if p == nil {
		return true
	}
	start, _ := p.find(first)
	for _, s := range p.sets[start:] {
		low := s.low
		if s.high == first>>16 {
			i, _ := slices.BinarySearch(low, uint16(first))
			low = low[i:]
		}
		for _, l := range low {
			if !yield(s.high<<16 | uint32(l)) {
				return false
			}
		}
		if s.bits == nil {
			continue
		}
		if !s.bits.all(func(l uint32) bool { return s.high<<16|l < first || yield(s.high<<16|l) }) {
			return false
		}
	}
	return true
}
