package embedded

import (
	"cmp"
	"slices"
	"strings"
)

// edit marks the pages, chunks and sets that the writer made since the last
// snapshot was published. Those it may change in place; all others belong to
// snapshots that somebody may be reading, and are copied first.
type edit struct{ _ byte }

// item is one place of the sorted index: entry id has a value of attr whose
// normal form is key.
type item struct {
	key  string
	attr uint32
	id   uint32
}

func (a item) compare(b item) int {
	if a.attr != b.attr {
		return cmp.Compare(a.attr, b.attr)
	}
	if c := strings.Compare(a.key, b.key); c != 0 {
		return c
	}
	return cmp.Compare(a.id, b.id)
}

// index is a persistent B+ tree of items. Pages that a deletion leaves small
// are not joined: the tree is built afresh at every start.
type index struct{ root *page }

// page is a leaf with items, or an inner page: kids[i] holds the items from
// items[i] on, and kids[0] those before items[1].
type page struct {
	edit  *edit
	items []item
	kids  []*page
	size  int // items in all the leaves of an inner page
}

// count returns the number of items in p and the pages below it.
func (p *page) count() int {
	if p.kids == nil {
		return len(p.items)
	}
	return p.size
}

// recount sets the size of an inner page.
func (p *page) recount() {
	p.size = 0
	for _, kid := range p.kids {
		p.size += kid.count()
	}
}

// pageSize is how many items or kids a page holds before it is split; pages that
// are made of many items at once are filled to pageFill.
const (
	pageSize = 96
	pageFill = pageSize * 4 / 5
)

// mutable returns p, or a copy that e may change.
func (p *page) mutable(e *edit) *page {
	if p.edit == e {
		return p
	}
	c := &page{edit: e, items: append(make([]item, 0, len(p.items)+8), p.items...), size: p.size}
	if p.kids != nil {
		c.kids = append(make([]*page, 0, len(p.kids)+8), p.kids...)
	}
	return c
}

// kid returns the place of the kid that holds it.
func (p *page) kid(it item) int {
	i, found := slices.BinarySearchFunc(p.items[1:], it, item.compare)
	if found {
		i++
	}
	return i
}

// insert puts an item into the index, unless it is there.
func (x *index) insert(e *edit, it item) {
	if x.root == nil {
		x.root = &page{edit: e}
	}
	left, right := x.root.insert(e, it)
	if right != nil {
		left = &page{edit: e, items: []item{left.items[0], right.items[0]}, kids: []*page{left, right}}
		left.recount()
	}
	x.root = left
}

// insertAll puts sorted items into the index. Each page is found once.
func (x *index) insertAll(e *edit, items []item) {
	if len(items) == 0 {
		return
	}
	if x.root == nil {
		*x = buildIndex(items)
		return
	}
	pages := x.root.insertAll(e, items)
	for len(pages) > 1 {
		pages = group(e, pages)
	}
	x.root = pages[0]
}

// insertAll returns the pages that p has become.
func (p *page) insertAll(e *edit, items []item) []*page {
	if p.kids == nil {
		return leaves(e, merge(p.items, items))
	}
	var kids []*page
	for i, kid := range p.kids {
		n := len(items)
		if i+1 < len(p.kids) {
			n, _ = slices.BinarySearchFunc(items, p.items[i+1], item.compare)
		}
		if n == 0 {
			kids = append(kids, kid)
			continue
		}
		kids = append(kids, kid.insertAll(e, items[:n])...)
		items = items[n:]
	}
	return group(e, kids)
}

// leaves cuts items into leaves; those that come twice go.
func leaves(e *edit, items []item) []*page {
	items = slices.Compact(items)
	if len(items) <= pageSize {
		return []*page{{edit: e, items: items}}
	}
	n := (len(items) + pageFill - 1) / pageFill
	pages := make([]*page, 0, n)
	for i := range n {
		pages = append(pages, &page{edit: e, items: slices.Clone(items[i*len(items)/n : (i+1)*len(items)/n])})
	}
	return pages
}

// group puts pages below as few inner pages as can hold them.
func group(e *edit, kids []*page) []*page {
	n := 1
	if len(kids) > pageSize {
		n = (len(kids) + pageFill - 1) / pageFill
	}
	pages := make([]*page, 0, n)
	for i := range n {
		p := &page{edit: e, kids: slices.Clone(kids[i*len(kids)/n : (i+1)*len(kids)/n])}
		for _, kid := range p.kids {
			p.items = append(p.items, kid.items[0])
		}
		p.recount()
		pages = append(pages, p)
	}
	return pages
}

// insert returns the changed page, and what was split off it.
func (p *page) insert(e *edit, it item) (left, right *page) {
	p = p.mutable(e)
	if p.kids == nil {
		if i, found := slices.BinarySearchFunc(p.items, it, item.compare); !found {
			p.items = slices.Insert(p.items, i, it)
		}
	} else {
		i := p.kid(it)
		p.size -= p.kids[i].count()
		kid, split := p.kids[i].insert(e, it)
		p.kids[i] = kid
		p.size += kid.count()
		if split != nil {
			p.size += split.count()
			p.kids = slices.Insert(p.kids, i+1, split)
			p.items = slices.Insert(p.items, i+1, split.items[0])
		}
	}
	return p, p.split(e)
}

// split cuts the upper half off a page that has become too large.
func (p *page) split(e *edit) *page {
	if len(p.items) <= pageSize {
		return nil
	}
	half := len(p.items) / 2
	upper := &page{edit: e, items: slices.Clone(p.items[half:])}
	clear(p.items[half:])
	p.items = p.items[:half]
	if p.kids != nil {
		upper.kids = slices.Clone(p.kids[half:])
		clear(p.kids[half:])
		p.kids = p.kids[:half]
		upper.recount()
		p.recount()
	}
	return upper
}

// remove takes an item out of the index, if it is there.
func (x *index) remove(e *edit, it item) {
	if x.root != nil {
		x.root = x.root.remove(e, it)
	}
}

// remove returns the changed page, or nil where nothing is left of it.
func (p *page) remove(e *edit, it item) *page {
	p = p.mutable(e)
	if p.kids == nil {
		if i, found := slices.BinarySearchFunc(p.items, it, item.compare); found {
			p.items = slices.Delete(p.items, i, i+1)
		}
	} else {
		i := p.kid(it)
		p.size -= p.kids[i].count()
		if p.kids[i] = p.kids[i].remove(e, it); p.kids[i] == nil {
			p.kids = slices.Delete(p.kids, i, i+1)
			p.items = slices.Delete(p.items, i, i+1)
		} else {
			p.size += p.kids[i].count()
		}
	}
	if len(p.items) == 0 {
		return nil
	}
	return p
}

// before returns the last item before a place.
func (x *index) before(it item) (last item, ok bool) {
	for p := x.root; p != nil; {
		if p.kids == nil {
			i, _ := slices.BinarySearchFunc(p.items, it, item.compare)
			if i == 0 {
				return last, ok
			}
			return p.items[i-1], true
		}
		i := p.kid(it)
		if i > 0 {
			last, ok = p.kids[i-1].greatest()
		}
		p = p.kids[i]
	}
	return last, ok
}

// greatest returns the last item of a page and those below it.
func (p *page) greatest() (item, bool) {
	for p.kids != nil {
		p = p.kids[len(p.kids)-1]
	}
	return p.items[len(p.items)-1], len(p.items) > 0
}

// ascend calls yield with the items from one on, until it returns false.
func (x *index) ascend(from item, yield func(item) bool) {
	if x.root != nil {
		x.root.ascend(from, yield)
	}
}

func (p *page) ascend(from item, yield func(item) bool) bool {
	if p.kids == nil {
		i, _ := slices.BinarySearchFunc(p.items, from, item.compare)
		for _, it := range p.items[i:] {
			if !yield(it) {
				return false
			}
		}
		return true
	}
	for _, kid := range p.kids[p.kid(from):] {
		if !kid.ascend(from, yield) {
			return false
		}
	}
	return true
}

// between calls yield with the items from one on and before another, until it
// returns false; then between returns false.
func (x *index) between(from, to item, yield func(item) bool) bool {
	goOn := true
	x.ascend(from, func(it item) bool {
		if it.compare(to) >= 0 {
			return false
		}
		goOn = yield(it)
		return goOn
	})
	return goOn
}

// rank returns how many items stand before a place.
func (x *index) rank(it item) int {
	n := 0
	for p := x.root; p != nil; {
		if p.kids == nil {
			i, _ := slices.BinarySearchFunc(p.items, it, item.compare)
			return n + i
		}
		i := p.kid(it)
		for _, kid := range p.kids[:i] {
			n += kid.count()
		}
		p = p.kids[i]
	}
	return n
}

// prefix calls yield with the items of an attribute whose keys start with prefix.
func (x *index) prefix(attr uint32, prefix string, yield func(item) bool) {
	x.ascend(item{attr: attr, key: prefix}, func(it item) bool {
		return it.attr == attr && strings.HasPrefix(it.key, prefix) && yield(it)
	})
}

// equal calls yield with the items of an attribute that have the key.
func (x *index) equal(attr uint32, key string, yield func(item) bool) {
	x.ascend(item{attr: attr, key: key}, func(it item) bool {
		return it.attr == attr && it.key == key && yield(it)
	})
}

// one returns the entry of an attribute's key where exactly one has it.
func (x *index) one(attr uint32, key string) (id uint32, ok bool) {
	n := 0
	x.equal(attr, key, func(it item) bool {
		id = it.id
		n++
		return n < 2
	})
	return id, n == 1
}

// buildIndex makes an index of sorted items, its pages four fifths full.
func buildIndex(items []item) index {
	if len(items) == 0 {
		return index{}
	}
	var level []*page
	for chunk := range slices.Chunk(items, pageFill) {
		level = append(level, &page{items: slices.Clone(chunk)})
	}
	for len(level) > 1 {
		var upper []*page
		for kids := range slices.Chunk(level, pageFill) {
			p := &page{kids: slices.Clone(kids)}
			for _, kid := range kids {
				p.items = append(p.items, kid.items[0])
			}
			p.recount()
			upper = append(upper, p)
		}
		level = upper
	}
	return index{level[0]}
}
