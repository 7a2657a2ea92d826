package embedded

import (
	"sync"

	"expost/internal/ldap"
)

// ready are the attributes of an entry as they were last encoded. They are those
// of a node, which is never changed: another one takes its place. They belong to one
// list of attributes under one dictionary, and to one outcome of the access rules.
type ready struct {
	list      *listID
	by        *grants
	typesOnly bool
	encoded   []byte
	rdn       ldap.RDN
}

// is tells whether r is what a search returns to somebody with these grants.
func (r *ready) is(sel *selection, g *grants) bool {
	return r != nil && r.list == sel.list && r.by == g && r.typesOnly == sel.typesOnly
}

// listID stands for a list of attributes that a dictionary remembers.
type listID struct{ _ byte }

// Bounds of what is kept ready.
const (
	maxReady      = 32 << 20 // bytes
	maxReadyEntry = 8 << 10  // bytes of one entry
	maxReadySent  = 1000     // entries of one search, so that a dump puts nothing else out
	readyOverhead = 256      // bytes that an entry takes besides
)

// readyCache bounds the memory of what is kept ready: the oldest goes first.
type readyCache struct {
	mu    sync.Mutex
	queue []queued
	first int // of queue
	bytes int
}

type queued struct {
	n *node
	r *ready
}

// put keeps r with its node.
func (c *readyCache) put(n *node, r *ready) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n.ready.Store(r)
	c.queue = append(c.queue, queued{n, r})
	c.bytes += r.size()
	for c.bytes > maxReady {
		old := c.queue[c.first]
		old.n.ready.CompareAndSwap(old.r, nil)
		c.queue[c.first] = queued{}
		c.bytes -= old.r.size()
		c.first++
	}
	if c.first > len(c.queue)/2 {
		kept := copy(c.queue, c.queue[c.first:])
		clear(c.queue[kept:])
		c.queue, c.first = c.queue[:kept], 0
	}
}

func (r *ready) size() int { return cap(r.encoded) + readyOverhead }

// encoded returns the attributes of an entry as BER, or nil where they are not made
// that way. They are valid until the next call, and not to be changed.
func (q *query) encoded(n *node) []byte {
	g := q.who.reading(n)
	sel := &q.selection
	if r := n.ready.Load(); r.is(sel, g) {
		return r.encoded
	}
	b := sel.encode(q.req, q.snap, n, g)
	if b != nil && sel.list != nil && q.sent <= maxReadySent && len(b) <= maxReadyEntry {
		q.ready.put(n, &ready{list: sel.list, by: g, typesOnly: sel.typesOnly, encoded: append(make([]byte, 0, len(b)), b...), rdn: n.rdn()})
	}
	return b
}
