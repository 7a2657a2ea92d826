package embedded

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"slices"
	"sort"
	"sync"

	"expost/internal/directory"
	"expost/internal/ldap"
)

// SearchView implements directory.Viewer.
func (d *Directory) SearchView(ctx context.Context, who directory.Identity, req *ldap.SearchRequest, v directory.View, yield func(*ldap.Entry) error) (directory.Viewed, error) {
	q, base, err := d.newQuery(ctx, who, req, yield)
	if err != nil {
		return directory.Viewed{}, err
	}
	q.only = v.Subentries != nil && *v.Subentries
	if v.Subentries != nil && req.Scope == ldap.ScopeBase && q.subentries.contains(base.id) != q.only {
		return directory.Viewed{}, nil
	}
	var p *place
	if v.Page != nil {
		if p, err = readCookie(v.Page.Cookie, q.identity(base, v.Sort)); err != nil {
			return directory.Viewed{}, err
		}
		q.sent = p.sent
	}
	if len(v.Sort) == 0 {
		if p == nil {
			return directory.Viewed{}, q.each(base, q.send)
		}
		q.ordered, q.first = true, p.last+1
		cookie, err := q.page(p, v.Page.Size, nil, func(visit func(*node) error) error { return q.each(base, visit) })
		return directory.Viewed{Cookie: cookie}, err
	}
	l, err := d.list(q, base, v)
	if err != nil {
		return directory.Viewed{}, err
	}
	switch {
	case v.Window != nil:
		return q.window(l, v.Window)
	case p != nil:
		rest, err := l.behind(p)
		if err != nil {
			return directory.Viewed{}, err
		}
		cookie, err := q.page(p, v.Page.Size, l.order, func(visit func(*node) error) error { return q.listed(rest, visit) })
		return directory.Viewed{Cookie: cookie}, err
	}
	return directory.Viewed{}, q.listed(l.ids, q.send)
}

// listed visits the entries of a list.
func (q *query) listed(ids []uint32, visit func(*node) error) error {
	for _, id := range ids {
		if err := visit(q.snap.nodes.get(id)); err != nil {
			return err
		}
	}
	return nil
}

// list is the sorted result of a search. It is immutable.
type list struct {
	snap  *snapshot
	order *order
	ids   []uint32
}

// list returns the sorted result of q. Those that are looked at in parts are
// kept, and brought up to date when the directory has changed.
func (d *Directory) list(q *query, base *node, v directory.View) (*list, error) {
	o, err := q.snap.newOrder(v.Sort, q.who)
	if err != nil {
		return nil, err
	}
	if v.Window == nil && v.Page == nil || q.condition.isAboutPlace() {
		return q.sort(base, o)
	}
	key := q.identity(base, v.Sort)
	old := d.lists.get(key, q.snap.version)
	if old != nil && old.snap == q.snap {
		return &list{old.snap, o, old.ids}, nil
	}
	l, ok := (*list)(nil), false
	if old != nil {
		l, ok = q.advance(old, base, o)
	}
	if !ok {
		if l, err = q.sort(base, o); err != nil {
			return nil, err
		}
	}
	d.lists.put(key, l)
	return l, nil
}

// isAboutPlace tells whether the DN of an entry, or what stands below it, may
// decide a condition.
func (c *condition) isAboutPlace() bool {
	return c.dn || c.typ != nil && isComputed(c.typ) || slices.ContainsFunc(c.subs, (*condition).isAboutPlace)
}

// sort finds and sorts all entries.
func (q *query) sort(base *node, o *order) (*list, error) {
	found, count := newIDMarks(q.snap.lastID), 0
	err := q.each(base, func(n *node) error {
		found.mark(n.id)
		count++
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &list{q.snap, o, o.sort(q.snap, found, count)}, nil
}

// advance returns what an older list has become. It is false where finding
// everything again costs less.
func (q *query) advance(old *list, base *node, o *order) (*list, bool) {
	changed, ok := q.snap.changedSince(old.snap.version)
	if !ok || old.snap.dict != q.snap.dict || len(changed) > 64+len(old.ids)/64 {
		return nil, false
	}
	before := &list{old.snap, o, slices.Clone(old.ids)}
	for _, id := range changed {
		if n := old.snap.nodes.get(id); n != nil {
			if i, found := before.find(n); found {
				before.ids = slices.Delete(before.ids, i, i+1)
			}
		}
	}
	l := &list{q.snap, o, before.ids} // what is left has not changed
	for _, id := range changed {
		n := q.snap.nodes.get(id)
		if n == nil || !q.isFound(n, base) {
			continue
		}
		i, _ := l.find(n)
		l.ids = slices.Insert(l.ids, i, id)
	}
	return l, true
}

// isFound tells whether the search finds an entry.
func (q *query) isFound(n, base *node) bool {
	found := false
	if q.inScope(n, base) && q.subentries.contains(n.id) == q.only {
		_ = q.look(n, func(*node) error { // the time limit is for more than one entry
			found = true
			return nil
		})
	}
	return found
}

// find returns the place of an entry in the list, or where it would be.
func (l *list) find(n *node) (int, bool) {
	return slices.BinarySearchFunc(l.ids, n, func(id uint32, n *node) int { return l.order.compare(l.snap.nodes.get(id), n) })
}

// behind returns the part of the list behind a place.
func (l *list) behind(p *place) ([]uint32, error) {
	if p.last == 0 {
		return l.ids, nil
	}
	keys, ok := l.order.unpack(p.keys)
	if !ok {
		return nil, errCookie()
	}
	i := sort.Search(len(l.ids), func(i int) bool { return l.order.compareWith(l.snap.nodes.get(l.ids[i]), keys, p.last) > 0 })
	return l.ids[i:], nil
}

// window sends the entries around a target.
func (q *query) window(l *list, w *directory.Window) (directory.Viewed, error) {
	count := len(l.ids)
	target, err := l.target(w)
	if err != nil {
		return directory.Viewed{Count: count}, err
	}
	first, last := w.Bounds(target, count)
	v := directory.Viewed{Target: target, Count: count}
	if first > last {
		return v, nil
	}
	return v, q.listed(l.ids[first-1:last], q.send)
}

// target returns the place of a window's target, from 1 on; one behind the end
// where every key is before its value.
func (l *list) target(w *directory.Window) (int, error) {
	count := len(l.ids)
	if !w.ByValue {
		return w.Target(count)
	}
	k := &l.order.keys[0]
	value, ok := k.rule.Normalize(nil, w.Value)
	if !ok {
		return 0, ldap.Errorf(ldap.InvalidAttributeSyntax, "%s: value invalid per syntax", k.typ.Name())
	}
	value = notNil(value)
	return 1 + sort.Search(count, func(i int) bool {
		return k.compare(l.order.key(0, k, l.snap.nodes.get(l.ids[i])), value) >= 0
	}), nil
}

// place is where a page ends.
type place struct {
	search uint64 // which search it is of
	last   uint32 // the last entry sent; 0: none yet
	keys   []byte // of a sorted search: those of the last entry, packed
	sent   int    // in all pages
}

// identity names what a search finds, and in which order.
func (q *query) identity(base *node, sort []directory.SortKey) string {
	return fmt.Sprintf("%d %d %s %t %s %+v", base.id, q.req.Scope, q.who.identity(), q.only, q.req.Filter, sort)
}

// readCookie returns the place that a cookie tells.
func readCookie(cookie []byte, identity string) (*place, error) {
	h := fnv.New64a()
	_, _ = h.Write([]byte(identity)) // never fails
	p := &place{search: h.Sum64()}
	if len(cookie) == 0 {
		return p, nil
	}
	if len(cookie) < 16 || binary.BigEndian.Uint64(cookie) != p.search {
		return nil, errCookie()
	}
	p.last = binary.BigEndian.Uint32(cookie[8:])
	p.sent = int(binary.BigEndian.Uint32(cookie[12:]))
	p.keys = cookie[16:]
	return p, nil
}

// errCookie refuses a cookie that is not of the search.
func errCookie() error {
	return ldap.Errorf(ldap.UnwillingToPerform, "paged results cookie is invalid")
}

// cookie returns p in the form that clients hand back.
func (p *place) cookie() []byte {
	b := binary.BigEndian.AppendUint64(nil, p.search)
	b = binary.BigEndian.AppendUint32(b, p.last)
	b = binary.BigEndian.AppendUint32(b, uint32(p.sent))
	return append(b, p.keys...)
}

// page sends up to size entries of those that each visits, and returns the
// cookie for the rest, if there is one. o is nil where they are not sorted.
func (q *query) page(p *place, size int, o *order, each func(visit func(*node) error) error) ([]byte, error) {
	var last *node
	n := 0
	full := fmt.Errorf("the page is full")
	err := each(func(e *node) error {
		if n == size {
			return full
		}
		if err := q.send(e); err != nil {
			return err
		}
		n++
		last = e
		return nil
	})
	if err == full {
		p.last, p.sent = last.id, q.sent
		if o != nil {
			p.keys = o.pack(last)
		}
		return p.cookie(), nil
	}
	return nil, err
}

// listCache keeps the lists that clients look at in parts.
type listCache struct {
	mu    sync.Mutex
	lists []cachedList // the one used last in front
}

type cachedList struct {
	key string
	*list
}

// Bounds of a listCache.
const (
	maxLists   = 32
	maxListIDs = 4 << 20 // in all lists
)

// get returns a list, or nil. Lists that are too old to be brought up to date
// are dropped, since they keep their snapshot in memory.
func (c *listCache) get(key string, version uint64) *list {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lists = slices.DeleteFunc(c.lists, func(l cachedList) bool { return l.snap.version+maxRecent < version })
	i := slices.IndexFunc(c.lists, func(l cachedList) bool { return l.key == key })
	if i < 0 {
		return nil
	}
	found := c.lists[i]
	c.lists = slices.Insert(slices.Delete(c.lists, i, i+1), 0, found)
	return found.list
}

// put keeps a list instead of an older one of the key.
func (c *listCache) put(key string, l *list) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lists = slices.DeleteFunc(c.lists, func(l cachedList) bool { return l.key == key })
	c.lists = slices.Insert(c.lists, 0, cachedList{key, l})
	ids := 0
	for i, l := range c.lists {
		if ids += len(l.ids); i > 0 && (i >= maxLists || ids > maxListIDs) {
			clear(c.lists[i:])
			c.lists = c.lists[:i]
			break
		}
	}
}
