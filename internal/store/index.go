package store

import (
	"iter"
	"slices"
	"sort"

	"expost/internal/mail"
)

// nodeCap is the number of chunks of a full node: a change copies one node and
// the list of nodes, 64 + 61 pointers for 500,000 messages.
const nodeCap = 64

// index is the messages of a mailbox: nodes of chunks of messages, with the
// number of messages before each. It is immutable; a changed one shares the
// nodes and chunks that did not change.
type index struct {
	nodes  []*node
	before []int // messages before nodes[i]
	n      int
}

type node struct {
	chunks []*chunk
	before []int // messages of the node before chunks[i]
	n      int
	unseen int
}

func newNode(chunks []*chunk) *node {
	nd := &node{chunks: chunks, before: make([]int, len(chunks))}
	for i, c := range chunks {
		nd.before[i] = nd.n
		nd.n += c.n
		nd.unseen += c.unseen
	}
	return nd
}

// newIndex returns the index of chunks in order of key.
func newIndex(chunks []*chunk) *index {
	var nodes []*node
	for part := range slices.Chunk(chunks, nodeCap) {
		nodes = append(nodes, newNode(slices.Clip(part)))
	}
	return indexOf(nodes)
}

func indexOf(nodes []*node) *index {
	ix := &index{nodes: nodes, before: make([]int, len(nodes))}
	for i, nd := range nodes {
		ix.before[i] = ix.n
		ix.n += nd.n
	}
	return ix
}

// chunkEdit puts a chunk under its key, or removes the key where chunk is nil.
type chunkEdit struct {
	key   mail.UID
	chunk *chunk
}

// apply returns the index with edits, which ascend by key, applied.
func (ix *index) apply(edits []chunkEdit) *index {
	if len(edits) == 0 {
		return ix
	}
	nodes := make([]*node, 0, len(ix.nodes)+1)
	for i, nd := range ix.nodes {
		n := len(edits)
		if i+1 < len(ix.nodes) {
			end := ix.nodes[i+1].chunks[0].key
			n = sort.Search(len(edits), func(j int) bool { return edits[j].key >= end })
		}
		if n == 0 {
			nodes = append(nodes, nd)
			continue
		}
		nodes = appendNodes(nodes, mergeChunks(nd.chunks, edits[:n]))
		edits = edits[n:]
	}
	if len(ix.nodes) == 0 {
		nodes = appendNodes(nodes, mergeChunks(nil, edits))
	}
	return indexOf(nodes)
}

// appendNodes appends chunks as nodes, which are full but the last.
func appendNodes(nodes []*node, chunks []*chunk) []*node {
	for part := range slices.Chunk(chunks, nodeCap) {
		nodes = append(nodes, newNode(slices.Clip(part)))
	}
	return nodes
}

// mergeChunks returns chunks with edits applied; both ascend by key.
func mergeChunks(chunks []*chunk, edits []chunkEdit) []*chunk {
	merged := make([]*chunk, 0, len(chunks)+len(edits))
	for _, e := range edits {
		for len(chunks) > 0 && chunks[0].key < e.key {
			merged, chunks = append(merged, chunks[0]), chunks[1:]
		}
		if len(chunks) > 0 && chunks[0].key == e.key {
			chunks = chunks[1:]
		}
		if e.chunk != nil {
			merged = append(merged, e.chunk)
		}
	}
	return append(merged, chunks...)
}

// last returns the last chunk, or nil.
func (ix *index) last() *chunk {
	if len(ix.nodes) == 0 {
		return nil
	}
	nd := ix.nodes[len(ix.nodes)-1]
	return nd.chunks[len(nd.chunks)-1]
}

// place is where a message stands in an index.
type place struct{ node, chunk, message int }

// at returns the place of position pos, 0 <= pos < n.
func (ix *index) at(pos int) place {
	i := sort.Search(len(ix.before), func(i int) bool { return ix.before[i] > pos }) - 1
	nd := ix.nodes[i]
	pos -= ix.before[i]
	j := sort.Search(len(nd.before), func(j int) bool { return nd.before[j] > pos }) - 1
	return place{i, j, pos - nd.before[j]}
}

// position returns the number of messages below uid, and whether uid is there.
func (ix *index) position(uid mail.UID) (int, bool) {
	i := sort.Search(len(ix.nodes), func(i int) bool { return ix.nodes[i].chunks[0].first > uid }) - 1
	if i < 0 {
		return 0, false
	}
	nd := ix.nodes[i]
	j := sort.Search(len(nd.chunks), func(j int) bool { return nd.chunks[j].first > uid }) - 1
	k, ok := nd.chunks[j].find(uid)
	return ix.before[i] + nd.before[j] + k, ok
}

// chunks yields every chunk in order.
func (ix *index) chunks() iter.Seq[*chunk] {
	return func(yield func(*chunk) bool) {
		for _, nd := range ix.nodes {
			for _, c := range nd.chunks {
				if !yield(c) {
					return
				}
			}
		}
	}
}

// touched yields, in order, the chunks that may hold a UID of set.
func (ix *index) touched(set mail.UIDSet) iter.Seq[*chunk] {
	return func(yield func(*chunk) bool) {
		for _, c := range ix.touchedAfter(set) {
			if !yield(c) {
				return
			}
		}
	}
}

// touchedAfter is touched, each chunk with the one before it, or nil.
func (ix *index) touchedAfter(set mail.UIDSet) iter.Seq2[*chunk, *chunk] {
	return func(yield func(*chunk, *chunk) bool) {
		var before *chunk
		for _, nd := range ix.nodes {
			set = dropBelow(set, nd.chunks[0].first)
			if len(set) == 0 {
				return
			}
			if last := nd.chunks[len(nd.chunks)-1]; set[0].First > last.last {
				before = last
				continue
			}
			for _, c := range nd.chunks {
				set = dropBelow(set, c.first)
				if len(set) == 0 {
					return
				}
				if set[0].First <= c.last && !yield(before, c) {
					return
				}
				before = c
			}
		}
	}
}

// dropBelow returns set without the ranges that end below uid.
func dropBelow(set mail.UIDSet, uid mail.UID) mail.UIDSet {
	for len(set) > 0 && set[0].Last < uid {
		set = set[1:]
	}
	return set
}

// uids returns the UIDs of all messages as a set.
func (ix *index) uids() mail.UIDSet {
	var set mail.UIDSet
	for c := range ix.chunks() {
		if int(c.last-c.first)+1 == c.n {
			set.AddRange(c.first, c.last)
			continue
		}
		for _, m := range c.messages() {
			set.Add(m.UID)
		}
	}
	return set
}
