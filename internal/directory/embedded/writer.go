package embedded

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"expost/internal/ldap"
)

// maxBatch is how many changes share one commit at most.
const maxBatch = 512

// request is a change on its way to the writer.
type request struct {
	apply func(*batch) error
	done  chan error
}

// change hands a change to the writer and waits until it is durable and
// published. Changes that wait at the same time share a commit.
func (d *Directory) change(ctx context.Context, apply func(*batch) error) error {
	r := &request{apply, make(chan error, 1)}
	select {
	case d.requests <- r:
	case <-ctx.Done():
		return ldap.Errorf(ldap.Other, "change canceled")
	case <-d.closing:
		return ldap.Errorf(ldap.Unavailable, "the directory is closed")
	}
	return <-r.done // it may be durable from here on: wait for the answer
}

// write is the writer: the one goroutine that makes snapshots.
func (d *Directory) write() {
	for {
		select {
		case r := <-d.requests:
			d.commit(d.gather(r))
		case <-d.closing:
			return
		}
	}
}

// gather takes the requests that wait already.
func (d *Directory) gather(first *request) []*request {
	batch := []*request{first}
	for len(batch) < maxBatch {
		select {
		case r := <-d.requests:
			batch = append(batch, r)
		default:
			return batch
		}
	}
	return batch
}

// commit applies requests to a copy of the tree, makes them durable together,
// publishes the copy, and answers. A request that is refused changes nothing;
// when the disk refuses, nothing is published.
func (d *Directory) commit(requests []*request) {
	b := newBatch(d.snap.Load(), d.suffix, d.facts)
	results := make([]error, len(requests))
	for i, r := range requests {
		results[i] = r.apply(b)
	}
	if err := d.store(b); err != nil {
		d.opt.Logger.Error("the directory could not be written", "dir", d.opt.Dir, "err", err)
		for i, result := range results {
			if result == nil {
				results[i] = ldap.Errorf(ldap.Unavailable, "the directory could not be written: see the server's log")
			}
		}
	}
	for i, r := range requests {
		r.done <- results[i]
	}
}

// store makes a batch durable and publishes it.
func (d *Directory) store(b *batch) error {
	if len(b.changes.put) == 0 && len(b.changes.removed) == 0 {
		return nil
	}
	b.reindex()
	if err := d.disk.commit(b.changes); err != nil {
		return fmt.Errorf("writing %d entries: %w", len(b.changes.put)+len(b.changes.removed), err)
	}
	b.version++
	b.recent = append(slices.Clone(b.recent[max(0, len(b.recent)-maxRecent+1):]), b.commit())
	d.snap.Store(&b.snapshot)
	d.announce()
	return nil
}

// batch is a snapshot in the making. Of the snapshot it started from it changes
// copies only.
type batch struct {
	snapshot
	suffixDN ldap.DN
	edit     *edit
	changes  changes
	moved    bool // an entry with others below it has another DN
	facts    *facts

	before map[uint32]keys // of the entries that changed, as the indexes have them still
}

// commit returns what the batch changed.
func (b *batch) commit() commit {
	return commit{ids: slices.AppendSeq(slices.Collect(maps.Keys(b.changes.put)), maps.Keys(b.changes.removed)), moved: b.moved}
}

func newBatch(s *snapshot, suffix ldap.DN, f *facts) *batch {
	return &batch{
		snapshot: *s, suffixDN: suffix, edit: &edit{}, facts: f,
		changes: changes{names: map[uint32]string{}, put: map[uint32]*node{}, removed: map[uint32]bool{}},
		before:  map[uint32]keys{},
	}
}

// pack makes the stored form of an entry, numbering descriptions that are new.
func (b *batch) pack(e *ldap.Entry) []byte {
	var fresh []string
	for _, a := range e.Attributes {
		if _, ok := b.dict.byName[a.Desc]; !ok && !slices.Contains(fresh, a.Desc) {
			b.changes.names[uint32(len(b.dict.descs)+len(fresh))] = a.Desc
			fresh = append(fresh, a.Desc)
		}
	}
	if fresh != nil {
		b.dict = newDictionary(b.dict.rights, b.dict.index, append(b.dict.names(), fresh...))
	}
	return pack(e.DN[0], e.Attributes, b.dict)
}

// put stores an entry: a new one where old is nil.
func (b *batch) put(old *node, parent uint32, e *ldap.Entry) {
	n := &node{parent: parent}
	var before []item
	if old != nil {
		n.id = old.id
		before = b.ownItems(old)
		b.remember(old)
	} else {
		b.lastID++
		n.id = b.lastID
		b.count++
		if parent == 0 {
			b.suffix = n.id
		}
	}
	n.data = b.pack(e)
	n.attrs = rdnLength(n.data)
	b.nodes.set(b.edit, n.id, n)
	b.place(before, b.ownItems(n))
	if old == nil {
		b.before[n.id] = keys{}
	}
	b.changes.put[n.id] = n
}

// drop removes an entry.
func (b *batch) drop(n *node) {
	b.place(b.ownItems(n), nil)
	b.remember(n)
	b.nodes.set(b.edit, n.id, nil)
	b.count--
	if n.parent == 0 {
		b.suffix = 0
	}
	delete(b.changes.put, n.id)
	b.changes.removed[n.id] = true
}

// ownItems returns the items by which an entry is found while the batch is made:
// its place in the tree, what mail knows it by, and its UUID.
func (b *batch) ownItems(n *node) []item {
	items := b.treeItems(n, b.suffixDN)
	if id := b.attribute(n, "entryUUID"); id != "" {
		items = append(items, item{strings.ToLower(id), b.uuidAttr(), n.id})
	}
	slices.SortFunc(items, item.compare)
	return items
}

func (b *batch) uuidAttr() uint32 { return uint32(b.dict.schema.Attribute("entryUUID").ID) }

// place brings the index from some items to others at once.
func (b *batch) place(before, after []item) {
	gone, come := difference(before, after, item.compare)
	for _, it := range gone {
		b.index.remove(b.edit, it)
	}
	for _, it := range come {
		b.index.insert(b.edit, it)
	}
}

// remember keeps the keys of an entry that is about to change for the first
// time.
func (b *batch) remember(n *node) {
	if _, ok := b.before[n.id]; !ok {
		b.before[n.id] = b.keysOf(n)
	}
}

// keys is all that the other indexes hold of one entry, sorted.
type keys struct {
	items []item
	terms []uint32
}

// keysOf returns the keys of an entry.
func (b *batch) keysOf(n *node) keys {
	var k keys
	uuid := b.uuidAttr() // is of ownItems
	b.facts.of(n, b.dict, func(attr uint32, key []byte) {
		if attr != uuid {
			k.items = append(k.items, item{string(key), attr, n.id})
		}
	})
	k.terms = slices.Clone(b.facts.terms)
	slices.SortFunc(k.items, item.compare)
	slices.Sort(k.terms)
	return k
}

// reindex brings the indexes up to date with all that the batch changed, and
// touches nothing that stays: a group keeps most of its members. Items and terms
// are changed in their order, which finds each page once.
func (b *batch) reindex() {
	var gone, come []item
	var left, entered []uint64 // term and id
	for id, before := range b.before {
		var after keys
		if n := b.nodes.get(id); n != nil {
			after = b.keysOf(n)
		}
		out, in := difference(before.items, after.items, item.compare)
		gone, come = append(gone, out...), append(come, in...)
		lost, new := difference(before.terms, after.terms, cmp.Compare[uint32])
		for _, t := range lost {
			left = append(left, uint64(t)<<32|uint64(id))
		}
		for _, t := range new {
			entered = append(entered, uint64(t)<<32|uint64(id))
		}
	}
	slices.SortFunc(gone, item.compare)
	slices.SortFunc(come, item.compare)
	slices.Sort(left)
	slices.Sort(entered)
	for _, it := range gone {
		b.index.remove(b.edit, it)
	}
	if len(come) >= pageSize {
		b.index.insertAll(b.edit, come)
	} else {
		for _, it := range come {
			b.index.insert(b.edit, it)
		}
	}
	b.changeTerms(left, (*postings).remove)
	b.changeTerms(entered, (*postings).add)
	clear(b.before)
}

// changeTerms adds ids to terms, or takes them away. pairs are sorted.
func (b *batch) changeTerms(pairs []uint64, change func(p *postings, e *edit, id uint32) *postings) {
	for len(pairs) > 0 {
		term := uint32(pairs[0] >> 32)
		p := b.terms.get(term)
		for len(pairs) > 0 && uint32(pairs[0]>>32) == term {
			p = change(p, b.edit, uint32(pairs[0]))
			pairs = pairs[1:]
		}
		b.terms.set(b.edit, term, p)
	}
}

// difference returns what is only in a and what is only in b, both sorted.
func difference[T any](a, b []T, compare func(T, T) int) (onlyA, onlyB []T) {
	for len(a) > 0 && len(b) > 0 {
		switch c := compare(a[0], b[0]); {
		case c < 0:
			onlyA, a = append(onlyA, a[0]), a[1:]
		case c > 0:
			onlyB, b = append(onlyB, b[0]), b[1:]
		default:
			a, b = a[1:], b[1:]
		}
	}
	return append(onlyA, a...), append(onlyB, b...)
}

// rdnLength returns where the attributes start in a packed entry.
func rdnLength(data []byte) int {
	r := reader{b: data}
	for range 2 * r.count() {
		r.bytes()
	}
	return len(data) - len(r.b)
}
