package pst

import "slices"

// The client signatures of heaps ([MS-PST] 2.3.1.2).
const (
	clientPC  = 0xBC
	clientTC  = 0x7C
	clientBTH = 0xB5
)

// heap is a heap on a node ([MS-PST] 2.3.1).
type heap struct {
	node *node
	tree *tree
	root uint32 // hidUserRoot

	// table mends the blocks of a node that are not encoded as the header says:
	// ExMerge has written files of which some are, some are not. Only heaps show
	// it, so what belongs to one is taken to be as it is.
	table *[256]byte
}

// openHeap opens the heap on a node, which must be the client's.
func openHeap(n *node, client byte) (*heap, error) {
	t, err := n.tree()
	if err != nil {
		return nil, err
	}
	h := &heap{node: n, tree: t}
	b, err := h.block(0)
	if err != nil {
		return nil, err
	}
	if len(b) < 12 || b[2] != 0xEC {
		return nil, damaged(h.place(), "no heap is there: it begins with %x", b[:min(12, len(b))])
	}
	if b[3] != client {
		return nil, damaged(h.place(), "the heap is of kind %#x, should be %#x", b[3], client)
	}
	h.root = le.Uint32(b[4:])
	return h, nil
}

func (h *heap) place() Place { return Place{Node: h.node.top, Block: h.node.data} }

// block returns block i of the heap.
func (h *heap) block(i int) ([]byte, error) {
	b, err := h.tree.block(i)
	if err != nil || h.node.f.header.crypt == cryptCyclic || plausible(b, i) {
		return b, err
	}
	for _, t := range []*[256]byte{&cryptI, &cryptR} {
		other := slices.Clone(b)
		permute(other, t)
		if plausible(other, i) {
			if i == 0 {
				h.table = t
			}
			h.node.f.report(damaged(Place{}, "some blocks are not encoded as the header says"))
			return other, nil
		}
	}
	return b, nil
}

// plausible tells whether a block has the page map of a heap's block, and the
// signature of its first.
func plausible(b []byte, i int) bool {
	if len(b) < 6 || i == 0 && (len(b) < 12 || b[2] != 0xEC) {
		return false
	}
	m := int(le.Uint16(b))
	return m+4 <= len(b) && m+6+2*int(le.Uint16(b[m:])) <= len(b)
}

// get returns an allocation of the heap, which must not be changed. HID 0 is
// empty.
func (h *heap) get(hid uint32) ([]byte, error) {
	if hid == 0 {
		return nil, nil
	}
	bits := h.node.f.format.hidBits
	index, block := int(hid>>5&(1<<bits-1)), int(hid>>(5+bits))
	if hid&0x1F != 0 || index == 0 {
		return nil, damaged(h.place(), "%#x is no place in a heap", hid)
	}
	b, err := h.block(block)
	if err != nil {
		return nil, err
	}
	if len(b) < 2 {
		return nil, damaged(h.place(), "heap block %d has %d bytes", block, len(b))
	}
	// HNPAGEMAP ([MS-PST] 2.3.1.5): cAlloc, cFree, rgibAlloc.
	m := int(le.Uint16(b))
	if m+4 > len(b) || m+4+2*index+2 > len(b) || index > int(le.Uint16(b[m:])) {
		return nil, damaged(h.place(), "heap block %d has no allocation %d", block, index)
	}
	from, to := int(le.Uint16(b[m+4+2*index-2:])), int(le.Uint16(b[m+4+2*index:]))
	if from > to || to > len(b) {
		return nil, damaged(h.place(), "allocation %d of heap block %d is from %d to %d", index, block, from, to)
	}
	return b[from:to], nil
}

// open returns the stream of an HNID: an allocation of the heap or a subnode's
// data ([MS-PST] 2.3.3.2).
func (h *heap) open(hnid uint32) (stream, error) {
	if hnid&0x1F == 0 {
		b, err := h.get(hnid)
		return newMemory(b), err
	}
	s, ok, err := h.node.subnode(hnid)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, damaged(h.place(), "subnode %#x is not there", hnid)
	}
	t, err := s.tree()
	if err != nil {
		return nil, err
	}
	t.table = h.table
	return t, nil
}

// value returns the bytes of an HNID, a copy.
func (h *heap) value(hnid uint32) ([]byte, error) {
	s, err := h.open(hnid)
	if err != nil {
		return nil, err
	}
	return s.all()
}
