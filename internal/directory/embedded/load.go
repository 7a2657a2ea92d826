package embedded

import (
	"fmt"
	"runtime"
	"slices"
	"sync"

	"expost/internal/ldap"
)

// load reads the whole tree into memory.
func load(d *disk, r *rights, x *indexing, suffix ldap.DN) (*snapshot, error) {
	names, err := d.names()
	if err != nil {
		return nil, fmt.Errorf("reading attribute names: %w", err)
	}
	snap := &snapshot{dict: newDictionary(r, x, names)}
	if snap.lastID, err = d.lastID(); err != nil {
		return nil, fmt.Errorf("reading the last entry's number: %w", err)
	}
	if snap.graves, err = d.buried(); err != nil {
		return nil, fmt.Errorf("reading what was deleted: %w", err)
	}
	if snap.horizon, err = d.meta("horizon", ""); err != nil {
		return nil, err
	}
	if over := len(snap.graves) - maxGraves; over > 0 {
		snap.horizon, snap.graves = snap.graves[over-1].csn, snap.graves[over:]
	}
	var room arena
	e := &edit{}
	err = d.entries(func(id, parent uint32, data []byte) error {
		n, err := newNode(id, parent, room.copy(data), snap.dict)
		if err != nil {
			return fmt.Errorf("entry %d: %w", id, err)
		}
		snap.nodes.set(e, id, n)
		snap.count++
		if parent == 0 {
			snap.suffix = id
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading entries: %w", err)
	}
	snap.buildIndexes(e, suffix)
	return snap, nil
}

// arena takes many small values into few allocations. An entry that is changed
// later leaves its old place unused until the next start.
type arena struct{ free []byte }

const arenaBlock = 1 << 18

func (a *arena) copy(b []byte) []byte {
	if len(b) > arenaBlock/4 {
		return slices.Clone(b)
	}
	if len(a.free) < len(b) {
		a.free = make([]byte, arenaBlock)
	}
	c := a.free[:len(b):len(b)]
	a.free = a.free[len(b):]
	copy(c, b)
	return c
}

// keyArena makes strings of many small keys with few allocations: they are
// gathered as bytes, and cut from one string when it is full.
type keyArena struct {
	buf   []byte
	items []item
	cuts  []int // where the key of each pending item ends
}

func (a *keyArena) add(it item, key []byte) {
	a.buf = append(a.buf, key...)
	a.cuts = append(a.cuts, len(a.buf))
	a.items = append(a.items, it)
	if len(a.buf) >= arenaBlock {
		a.flush()
	}
}

// flush gives the pending items their keys.
func (a *keyArena) flush() {
	text, start := string(a.buf), 0
	first := len(a.items) - len(a.cuts)
	for i, end := range a.cuts {
		a.items[first+i].key = text[start:end]
		start = end
	}
	a.buf, a.cuts = a.buf[:0], a.cuts[:0]
}

// buildIndexes makes the sorted index and the terms of all nodes, on all cores.
func (s *snapshot) buildIndexes(e *edit, suffix ldap.DN) {
	workers := runtime.GOMAXPROCS(0)
	parts := make([]part, workers)
	var wg sync.WaitGroup
	// Terms are kept in sets of 65,536 ids, so workers take ranges of that size.
	const stride = 1 << 16
	for w := range workers {
		wg.Go(func() {
			p := &parts[w]
			p.terms = make([]*postings, maxTerms)
			p.gather(s, e, suffix, uint32(w*stride), uint32(workers*stride), stride)
		})
	}
	wg.Wait()
	s.mergeTerms(e, parts)
	var lists [][]item
	for _, p := range parts {
		lists = append(lists, p.keys.items)
	}
	s.index = buildIndex(mergeSorted(lists))
}

// part is what one worker gathers.
type part struct {
	keys  keyArena
	terms []*postings
}

// sampled is after how many entries a worker knows how much room it needs.
const sampled = 1024

// gather takes every step-th range of ids, from first on.
func (p *part) gather(s *snapshot, e *edit, suffix ldap.DN, first, step, stride uint32) {
	f := newFacts(s.dict.schema, s.dict.index)
	seen, share := 0, s.count*int(stride)/int(step)
	for ; first <= s.lastID; first += step {
		for id := first; id < first+stride && id <= s.lastID; id++ {
			n := s.nodes.get(id)
			if n == nil {
				continue
			}
			f.of(n, s.dict, func(attr uint32, key []byte) { p.keys.add(item{attr: attr, id: id}, key) })
			for _, t := range f.terms {
				p.terms[t] = p.terms[t].add(e, id)
			}
			for _, it := range s.treeItems(n, suffix) {
				p.keys.add(it, []byte(it.key))
			}
			if seen++; seen == sampled && share > seen { // room for all, by what these have
				p.keys.items = slices.Grow(p.keys.items, len(p.keys.items)*(share-seen)/seen)
			}
		}
	}
	p.keys.flush()
	slices.SortFunc(p.keys.items, item.compare)
	p.keys.items = slices.Compact(p.keys.items)
}

// mergeTerms joins the sets of the workers; no two have one for the same range.
func (s *snapshot) mergeTerms(e *edit, parts []part) {
	for t := range maxTerms {
		var all *postings
		for _, p := range parts {
			switch set := p.terms[t]; {
			case set == nil:
			case all == nil:
				all = set
			default:
				all.count += set.count
				all.sets = append(all.sets, set.sets...)
			}
		}
		if all != nil {
			slices.SortFunc(all.sets, func(a, b *idSet) int { return int(a.high) - int(b.high) })
			for _, set := range all.sets {
				set.low = slices.Clip(slices.Clone(set.low))
			}
			s.terms.set(e, uint32(t), all)
		}
	}
}

// mergeSorted joins sorted lists.
func mergeSorted(lists [][]item) []item {
	for len(lists) > 1 {
		var next [][]item
		for pair := range slices.Chunk(lists, 2) {
			if len(pair) == 1 {
				next = append(next, pair[0])
				continue
			}
			next = append(next, merge(pair[0], pair[1]))
		}
		lists = next
	}
	return lists[0]
}

func merge(a, b []item) []item {
	if len(a) == 0 || len(b) == 0 {
		return append(a, b...)
	}
	out := make([]item, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if a[0].compare(b[0]) <= 0 {
			out, a = append(out, a[0]), a[1:]
		} else {
			out, b = append(out, b[0]), b[1:]
		}
	}
	return append(append(out, a...), b...)
}
