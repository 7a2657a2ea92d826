package embedded

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

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
}

// commit returns what the batch changed.
func (b *batch) commit() commit {
	return commit{ids: slices.AppendSeq(slices.Collect(maps.Keys(b.changes.put)), maps.Keys(b.changes.removed)), moved: b.moved}
}

func newBatch(s *snapshot, suffix ldap.DN, f *facts) *batch {
	return &batch{
		snapshot: *s, suffixDN: suffix, edit: &edit{}, facts: f,
		changes: changes{names: map[uint32]string{}, put: map[uint32]*node{}, removed: map[uint32]bool{}},
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
	var before keys
	if old != nil {
		n.id = old.id
		before = b.keysOf(old)
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
	b.reindex(n.id, before, b.keysOf(n))
	b.changes.put[n.id] = n
}

// drop removes an entry.
func (b *batch) drop(n *node) {
	b.reindex(n.id, b.keysOf(n), keys{})
	b.nodes.set(b.edit, n.id, nil)
	b.count--
	if n.parent == 0 {
		b.suffix = 0
	}
	delete(b.changes.put, n.id)
	b.changes.removed[n.id] = true
}

// keys is all that the indexes hold of one entry, sorted.
type keys struct {
	items []item
	terms []uint32
}

// keysOf returns the keys of an entry.
func (b *batch) keysOf(n *node) keys {
	k := keys{items: b.treeItems(n, b.suffixDN)}
	b.facts.of(n, b.dict, func(attr uint32, key []byte) { k.items = append(k.items, item{string(key), attr, n.id}) })
	k.terms = slices.Clone(b.facts.terms)
	slices.SortFunc(k.items, item.compare)
	slices.Sort(k.terms)
	return k
}

// reindex brings the indexes from an entry's keys before a change to those
// after it, and touches nothing that stays: a group keeps most of its members.
func (b *batch) reindex(id uint32, before, after keys) {
	gone, come := difference(before.items, after.items, item.compare)
	for _, it := range gone {
		b.index.remove(b.edit, it)
	}
	for _, it := range come {
		b.index.insert(b.edit, it)
	}
	left, entered := difference(before.terms, after.terms, cmp.Compare[uint32])
	for _, t := range left {
		b.terms.set(b.edit, t, b.terms.get(t).remove(b.edit, id))
	}
	for _, t := range entered {
		b.terms.set(b.edit, t, b.terms.get(t).add(b.edit, id))
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
