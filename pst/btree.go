package pst

import (
	"iter"
	"sort"
)

// blockEntry is where a block lies ([MS-PST] 2.2.2.7.7.3).
type blockEntry struct {
	bid, ib  uint64
	cb       int // as stored
	inflated int // equal to cb unless the block is compressed
}

// nodeEntry is what a node is made of ([MS-PST] 2.2.2.7.7.4).
type nodeEntry struct {
	nid       uint32
	parent    uint32
	data, sub uint64
}

// directory finds blocks and nodes: by the trees of the file, or by an index
// rebuilt from its pages.
type directory interface {
	block(bid uint64) (blockEntry, bool, error)
	node(nid uint32) (nodeEntry, bool, error)

	// nodes and blocks yield all there are, and an error for each part that
	// cannot be read.
	nodes() iter.Seq2[nodeEntry, error]
	blocks() iter.Seq2[blockEntry, error]
}

// trees is the directory that the file holds ([MS-PST] 2.2.2.7.7).
type trees struct{ f *File }

func (t trees) block(bid uint64) (blockEntry, bool, error) {
	e, err := t.find(t.f.header.bbt, pageBBT, bid&^1)
	if e == nil || err != nil {
		return blockEntry{}, false, err
	}
	return t.f.format.blockEntry(e), true, nil
}

func (t trees) node(nid uint32) (nodeEntry, bool, error) {
	e, err := t.find(t.f.header.nbt, pageNBT, uint64(nid))
	if e == nil || err != nil {
		return nodeEntry{}, false, err
	}
	return t.f.format.nodeEntry(e), true, nil
}

// find returns the leaf entry of key, or nil.
func (t trees) find(r ref, kind byte, key uint64) ([]byte, error) {
	for level := -1; ; {
		p, err := t.f.page(r, kind)
		if err != nil {
			return nil, err
		}
		if level >= 0 && p.level != level-1 {
			return nil, damaged(Place{Block: r.bid, Offset: int64(r.ib)}, "page of the tree: level is %d, should be %d", p.level, level-1)
		}
		level = p.level
		i := sort.Search(p.count(), func(i int) bool { return t.key(p.entry(i), kind) > key }) - 1
		if i < 0 {
			return nil, nil
		}
		e := p.entry(i)
		if level > 0 {
			r = t.child(e)
			continue
		}
		if t.key(e, kind) != key {
			return nil, nil
		}
		return e, nil
	}
}

// key reads an entry's key: of ids of blocks the lowest bit means nothing, of
// ids of nodes the upper half.
func (t trees) key(e []byte, kind byte) uint64 {
	if kind == pageNBT {
		return uint64(le.Uint32(e))
	}
	return t.f.format.id(e) &^ 1
}

func (t trees) child(e []byte) ref {
	n := t.f.format.idSize()
	return ref{t.f.format.id(e[n:]), t.f.format.id(e[2*n:])}
}

func (t trees) nodes() iter.Seq2[nodeEntry, error] {
	return func(yield func(nodeEntry, error) bool) {
		t.walk(t.f.header.nbt, pageNBT, func(e []byte, err error) bool {
			if err != nil {
				return yield(nodeEntry{}, err)
			}
			return yield(t.f.format.nodeEntry(e), nil)
		})
	}
}

func (t trees) blocks() iter.Seq2[blockEntry, error] {
	return func(yield func(blockEntry, error) bool) {
		t.walk(t.f.header.bbt, pageBBT, func(e []byte, err error) bool {
			if err != nil {
				return yield(blockEntry{}, err)
			}
			return yield(t.f.format.blockEntry(e), nil)
		})
	}
}

// walk yields the leaf entries of a tree. It reads at most as many pages as
// the file has room for, whatever the pages refer to.
func (t trees) walk(root ref, kind byte, yield func([]byte, error) bool) {
	budget := t.f.size/int64(t.f.format.page) + 1
	var visit func(r ref, level int) bool
	visit = func(r ref, level int) bool {
		if budget--; budget < 0 {
			return false
		}
		p, err := t.f.page(r, kind)
		if err == nil && level >= 0 && p.level != level {
			err = damaged(Place{Block: r.bid, Offset: int64(r.ib)}, "page of the tree: level is %d, should be %d", p.level, level)
		}
		if err != nil {
			return yield(nil, err)
		}
		for i := range p.count() {
			if p.level == 0 && !yield(p.entry(i), nil) || p.level > 0 && !visit(t.child(p.entry(i)), p.level-1) {
				return false
			}
		}
		return true
	}
	visit(root, -1)
}

func (f *format) blockEntry(e []byte) blockEntry {
	n := f.idSize()
	b := blockEntry{bid: f.id(e) &^ 1, ib: f.id(e[n:]), cb: int(le.Uint16(e[2*n:]))}
	b.inflated = b.cb
	if f.inflate {
		b.inflated = int(le.Uint16(e[2*n+2:]))
	}
	return b
}

func (f *format) nodeEntry(e []byte) nodeEntry {
	n := f.idSize()
	return nodeEntry{nid: le.Uint32(e), data: f.id(e[n:]), sub: f.id(e[2*n:]), parent: le.Uint32(e[3*n:])}
}
