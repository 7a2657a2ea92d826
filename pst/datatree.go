package pst

import (
	"fmt"
	"io"
	"slices"
	"sort"
)

// tree is the data of a node: a block, or the blocks that an XBLOCK or XXBLOCK
// lists ([MS-PST] 2.2.2.8.3.2). It is a mapi.Stream. Not for concurrent use.
type tree struct {
	f      *File
	node   uint32 // for errors
	size   int64
	leaves []uint64
	ends   []int64 // where each leaf ends, as far as was needed

	off  int64 // of Read
	leaf int   // the one in data, if that is not nil
	data []byte

	table *[256]byte // mends the blocks, if it is not nil

	// What a stream of many blocks has read last: used again for the next.
	run  []byte
	held int    // the leaf in part, if that is not nil
	part []byte // its data, within run
}

// openTree opens the data of a node. A block id of 0 is an empty tree.
func (f *File) openTree(node uint32, bid uint64) (*tree, error) {
	t := &tree{f: f, node: node}
	if bid&^1 == 0 {
		return t, nil
	}
	if !internal(bid) {
		e, err := f.locate(bid)
		t.leaves, t.size = []uint64{bid}, int64(e.inflated)
		if err != nil {
			return nil, at(node, err)
		}
		return t, nil
	}
	b, err := f.block(bid)
	if err != nil {
		return nil, at(node, err)
	}
	level, size, ids, err := f.format.parseX(b)
	if err != nil {
		return nil, &Damage{Place{Node: node, Block: bid}, err}
	}
	t.size = size
	if max := f.maxSize(); size > max {
		return nil, damaged(Place{Node: node, Block: bid}, "data of %d bytes is said to be in a file that has room for %d", size, max)
	}
	if level == 1 {
		t.leaves = ids
	} else if err := t.addLists(ids); err != nil {
		return nil, at(node, err)
	}
	if len(t.leaves) > int(size) {
		t.leaves = t.leaves[:size] // each holds a byte at least
	}
	return t, nil
}

// maxSize bounds the data of a node: deflate makes at most 1 byte of 1032.
func (f *File) maxSize() int64 {
	if f.format.inflate {
		return f.size * 1032
	}
	return f.size
}

// parseX reads an XBLOCK or XXBLOCK.
func (f *format) parseX(b []byte) (level int, size int64, ids []uint64, err error) {
	if len(b) < 8 || b[0] != 1 || b[1] != 1 && b[1] != 2 {
		return 0, 0, nil, fmt.Errorf("not a list of blocks: %x", b[:min(len(b), 8)])
	}
	n := min(int(le.Uint16(b[2:])), (len(b)-8)/f.idSize())
	ids = make([]uint64, n)
	for i := range ids {
		ids[i] = f.id(b[8+i*f.idSize():])
		if internal(ids[i]) != (b[1] == 2) {
			return 0, 0, nil, fmt.Errorf("a list of level %d has block %#x in it", b[1], ids[i])
		}
	}
	return int(b[1]), int64(le.Uint32(b[4:])), ids, nil
}

// addLists appends the leaves of the XBLOCKs of an XXBLOCK. The leaves of one
// that cannot be read are left out, and the places of those after it are
// kept: every list but the last is full.
func (t *tree) addLists(lists []uint64) error {
	full := (t.f.format.maxBlock - 8) / t.f.format.idSize()
	limit := int(t.size/512) + 2*full
	for _, bid := range lists {
		b, err := t.f.block(bid)
		var ids []uint64
		if err == nil {
			_, _, ids, err = t.f.format.parseX(b)
		}
		if err != nil {
			t.f.report(at(t.node, err))
			ids = make([]uint64, full) // block 0 cannot be found
		}
		t.leaves = append(t.leaves, ids...)
		if len(t.leaves) > limit {
			return damaged(Place{Block: bid}, "more than %d blocks for %d bytes", limit, t.size)
		}
	}
	return nil
}

// Size returns the size of the data in bytes.
func (t *tree) Size() int64 { return t.size }

// ReadAt implements io.ReaderAt. Where a block is damaged it stops there.
func (t *tree) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		if off+int64(n) >= t.size {
			return n, io.EOF
		}
		b, err := t.from(off + int64(n))
		if err != nil {
			return n, at(t.node, err)
		}
		n += copy(p[n:], b[:min(int64(len(b)), t.size-off-int64(n))])
	}
	return n, nil
}

func (t *tree) Read(p []byte) (int, error) {
	if t.off >= t.size {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), t.size-t.off)]
	n, err := t.ReadAt(p, t.off)
	t.off += int64(n)
	return n, err
}

// from returns the data from off to the end of its leaf, one byte at least.
func (t *tree) from(off int64) ([]byte, error) {
	if err := t.extend(off); err != nil {
		return nil, err
	}
	i := sort.Search(len(t.ends), func(i int) bool { return t.ends[i] > off })
	if i == len(t.ends) {
		return nil, damaged(Place{}, "data of %d bytes ends at %d", t.size, off)
	}
	get := t.block
	if len(t.leaves) > streamed {
		get = t.streamBlock
	}
	b, err := get(i)
	if err != nil {
		return nil, err
	}
	start := t.start(i)
	if off-start >= int64(len(b)) {
		return nil, damaged(Place{Block: t.leaves[i]}, "the block has %d bytes, %d are needed", len(b), off-start+1)
	}
	return b[off-start:], nil
}

// start returns the offset of a leaf whose end is known.
func (t *tree) start(i int) int64 {
	if i == 0 {
		return 0
	}
	return t.ends[i-1]
}

// extend finds the ends of the leaves up to the one that holds off. A leaf
// that cannot be found is taken to be as long as the first, or full.
func (t *tree) extend(off int64) error {
	for i := len(t.ends); i < len(t.leaves) && (i == 0 || t.ends[i-1] <= off); i++ {
		n := t.f.format.maxBlock
		if i > 0 {
			n = int(t.ends[0])
		}
		if e, err := t.f.locate(t.leaves[i]); err == nil && e.inflated > 0 {
			n = e.inflated
		} else if err != nil && len(t.leaves) == 1 {
			return err
		}
		t.ends = append(t.ends, t.start(i)+int64(n))
	}
	return nil
}

// count returns the number of leaves.
func (t *tree) count() int { return len(t.leaves) }

// block returns the data of leaf i. The last one asked for is kept, so that a
// stream does not fill the cache.
func (t *tree) block(i int) ([]byte, error) {
	if i < 0 || i >= len(t.leaves) {
		return nil, damaged(Place{Node: t.node}, "block %d of %d", i, len(t.leaves))
	}
	if t.data != nil && t.leaf == i {
		return t.data, nil
	}
	get := t.f.block
	if len(t.leaves) > streamed {
		get = t.f.readBlock
	}
	b, err := get(t.leaves[i])
	if err != nil {
		return nil, at(t.node, err)
	}
	if t.table != nil {
		b = slices.Clone(b)
		permute(b, t.table)
	}
	t.leaf, t.data = i, b
	return b, nil
}

// streamed is the number of leaves above which a tree's data does not go through
// the cache.
const streamed = 8

// streamBlock returns the data of leaf i until the next call.
func (t *tree) streamBlock(i int) ([]byte, error) {
	if t.part != nil && t.held == i {
		return t.part, nil
	}
	e, err := t.f.locate(t.leaves[i])
	if err != nil {
		return nil, at(t.node, err)
	}
	n := t.f.format.stored(e.cb)
	if cap(t.run) < n {
		t.run = make([]byte, t.f.format.stored(t.f.format.maxBlock))
	}
	b, err := t.f.readBlockInto(t.run[:n], t.leaves[i], e)
	if err != nil {
		return nil, at(t.node, err)
	}
	if t.table != nil {
		permute(b, t.table)
	}
	t.held, t.part = i, b
	return b, nil
}

// all returns all data, which must not be longer than the file's limit.
func (t *tree) all() ([]byte, error) {
	if t.size > int64(t.f.opt.MaxValue) {
		return nil, damaged(Place{Node: t.node}, "a value of %d bytes: it can only be read as a stream", t.size)
	}
	if len(t.leaves) == 1 {
		b, err := t.block(0)
		return slices.Clone(b), err
	}
	b := make([]byte, t.size)
	n, err := t.ReadAt(b, 0)
	return b[:n], err
}
