package pst

import "iter"

// node is a node of the file or a subnode of one ([MS-PST] 2.2.1.1).
type node struct {
	f         *File
	nid       uint32
	top       uint32 // the node of the file it belongs to, for errors
	data, sub uint64

	index map[uint32]*node // of subnodes, once one was looked for
}

func (f *File) openNode(nid uint32) (*node, error) {
	e, ok, err := f.dir.node(nid)
	if err != nil {
		return nil, at(nid, err)
	}
	if !ok {
		return nil, damaged(Place{Node: nid}, "there is no such node")
	}
	return f.nodeOf(e), nil
}

func (f *File) nodeOf(e nodeEntry) *node {
	return &node{f: f, nid: e.nid, top: e.nid, data: e.data, sub: e.sub}
}

// tree opens the node's data.
func (n *node) tree() (*tree, error) { return n.f.openTree(n.top, n.data) }

// subnode finds a subnode. An error is of a part of their list that cannot be
// read and might have held it.
func (n *node) subnode(nid uint32) (*node, bool, error) {
	var broken error
	if n.index == nil {
		n.index = make(map[uint32]*node)
		for s, err := range n.subnodes() {
			if err != nil {
				broken = err
			} else if n.index[s.nid] == nil {
				n.index[s.nid] = s
			}
		}
	}
	if s := n.index[nid]; s != nil {
		return s, true, nil
	}
	return nil, false, broken
}

// subnodes yields the subnodes: the entries of an SLBLOCK, or of those that an
// SIBLOCK lists ([MS-PST] 2.2.2.8.3.3).
func (n *node) subnodes() iter.Seq2[*node, error] {
	return func(yield func(*node, error) bool) {
		if n.sub&^1 != 0 {
			n.walkSubnodes(n.sub, -1, yield)
		}
	}
}

// walkSubnodes yields what is below a block; level is what it must be, or -1.
func (n *node) walkSubnodes(bid uint64, level int, yield func(*node, error) bool) bool {
	b, err := n.f.block(bid)
	if err != nil {
		return yield(nil, at(n.top, err))
	}
	size := n.f.format.idSize()
	head := 8
	if !n.f.format.wide {
		head = 4
	}
	if len(b) < head || b[0] != 2 || b[1] > 1 || level >= 0 && int(b[1]) != level {
		return yield(nil, damaged(Place{Node: n.top, Block: bid}, "not a list of subnodes: %x", b[:min(8, len(b))]))
	}
	width := 3 * size // SLENTRY: nid, bidData, bidSub
	if b[1] == 1 {
		width = 2 * size // SIENTRY: nid, bid
	}
	count := min(int(le.Uint16(b[2:])), (len(b)-head)/width)
	seen := make(map[uint64]bool) // lists: a hostile one names the same again and again
	for i := range count {
		e := b[head+i*width:]
		if b[1] == 1 {
			list := n.f.format.id(e[size:])
			if !seen[list] && !n.walkSubnodes(list, 0, yield) {
				return false
			}
			seen[list] = true
			continue
		}
		s := &node{f: n.f, nid: le.Uint32(e), top: n.top, data: n.f.format.id(e[size:]), sub: n.f.format.id(e[2*size:])}
		if !yield(s, nil) {
			return false
		}
	}
	return true
}
