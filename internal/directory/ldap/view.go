package ldap

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/ldapclient"
	"expost/internal/schema"
)

// Bounds of what is sorted here, and of pages under way.
const (
	maxSorted      = 100_000  // entries of one answer
	maxSortedBytes = 64 << 20 // of all answers that are kept
	maxCursors     = 32       // pages under way
	listTime       = time.Minute
	cursorTime     = 5 * time.Minute
)

// SearchView implements directory.Viewer. Answers are sorted here, since not
// every server does that, and few as address books ask for it; a sorted answer is
// kept for a minute, for the windows and pages that follow. Pages that are not
// sorted are the server's, on a connection that is kept for them.
func (d *Directory) SearchView(ctx context.Context, who directory.Identity, req *ldap.SearchRequest, v directory.View, yield func(*ldap.Entry) error) (directory.Viewed, error) {
	controls, err := d.restrict(who, false)
	if err != nil {
		return directory.Viewed{}, err
	}
	r := d.request(req)
	if v.Subentries != nil {
		controls = append(controls, ldapclient.Subentries(*v.Subentries))
	}
	viewed := directory.Viewed{}
	switch {
	case len(v.Sort) > 0:
		viewed, err = d.sorted(ctx, who, &r, controls, v, yield)
	case v.Page != nil:
		viewed.Cookie, err = d.page(ctx, searchKey(who, &r, v), &r, controls, v.Page, yield)
	default:
		err = d.search(ctx, &r, controls, yield)
	}
	return viewed, d.failed(ctx, err)
}

// searchKey names a search and who makes it.
func searchKey(who directory.Identity, r *ldap.SearchRequest, v directory.View) string {
	subentries := "-"
	if v.Subentries != nil {
		subentries = fmt.Sprint(*v.Subentries)
	}
	return fmt.Sprintf("%t %q %q %d %d %s %q %t %s %+v", who.Root, who.DN, r.Base, r.Scope, r.Deref, r.Filter, r.Attributes, r.TypesOnly, subentries, v.Sort)
}

// cursor is where a client is in the pages of a search.
type cursor struct {
	key    string
	conn   *ldapclient.Conn
	cookie []byte // the server's
	at     time.Time
}

// cursors are those under way, by the cookies that clients have.
type cursors struct {
	mu     sync.Mutex
	known  map[string]*cursor
	closed bool
}

// take returns a cursor, which is the caller's own then; nil: there is none.
func (c *cursors) take(cookie []byte, now time.Time) *cursor {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.prune(now, maxCursors)
	found := c.known[string(cookie)]
	delete(c.known, string(cookie))
	return found
}

// put keeps a cursor and returns its cookie.
func (c *cursors) put(cur *cursor) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		_ = cur.conn.Close()
		return nil
	}
	c.prune(cur.at, maxCursors-1)
	cookie := make([]byte, 16)
	rand.Read(cookie)
	c.known[string(cookie)] = cur
	return cookie
}

// prune ends what is old, and what is more than most. It is called with mu held.
func (c *cursors) prune(now time.Time, most int) {
	for cookie, cur := range c.known {
		if now.Sub(cur.at) > cursorTime {
			_ = cur.conn.Close()
			delete(c.known, cookie)
		}
	}
	for len(c.known) > most {
		oldest := ""
		for cookie, cur := range c.known {
			if oldest == "" || cur.at.Before(c.known[oldest].at) {
				oldest = cookie
			}
		}
		_ = c.known[oldest].conn.Close()
		delete(c.known, oldest)
	}
}

func (c *cursors) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.prune(time.Time{}, 0)
}

func errCookie() error {
	return ldap.Errorf(ldap.UnwillingToPerform, "paged results cookie is invalid")
}

// page sends the next page of a search that is not sorted.
func (d *Directory) page(ctx context.Context, key string, r *ldap.SearchRequest, controls []ldapclient.Control, p *directory.Page, yield func(*ldap.Entry) error) ([]byte, error) {
	cur := &cursor{key: key}
	if len(p.Cookie) > 0 {
		if cur = d.cursors.take(p.Cookie, d.opt.Now()); cur == nil || cur.key != key {
			if cur != nil {
				_ = cur.conn.Close()
			}
			return nil, errCookie()
		}
	} else {
		var err error
		if cur.conn, err = d.pool.Hold(ctx); err != nil {
			return nil, err
		}
	}
	var err error
	if cur.cookie, err = cur.conn.SearchPage(ctx, r, p.Size, cur.cookie, controls, yield); err != nil || len(cur.cookie) == 0 {
		_ = cur.conn.Close()
		return nil, err
	}
	cur.at = d.opt.Now()
	return d.cursors.put(cur), nil
}

// list is a sorted answer. It is immutable.
type list struct {
	key     string
	id      [8]byte // of cookies
	entries []*ldap.Entry
	first   [][]byte // of each entry, its first key; nil: it has none
	order   []sortKey
	size    int
	at      time.Time
}

// lists are those that are kept, the latest in front.
type lists struct {
	mu   sync.Mutex
	kept []*list
}

func (l *lists) get(key string, now time.Time) *list {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = slices.DeleteFunc(l.kept, func(old *list) bool { return now.Sub(old.at) > listTime })
	if i := slices.IndexFunc(l.kept, func(old *list) bool { return old.key == key }); i >= 0 {
		return l.kept[i]
	}
	return nil
}

func (l *lists) put(fresh *list) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = slices.Insert(slices.DeleteFunc(l.kept, func(old *list) bool { return old.key == fresh.key }), 0, fresh)
	size := 0
	for i, old := range l.kept {
		if size += old.size; size > maxSortedBytes && i > 0 {
			clear(l.kept[i:])
			l.kept = l.kept[:i]
			return
		}
	}
}

// sortKey is a key made ready.
type sortKey struct {
	attr    string
	rule    *schema.MatchingRule
	reverse bool
}

// least returns the normal form of an entry's least value; nil: it has none.
func (k *sortKey) least(e *ldap.Entry) []byte {
	var best []byte
	for _, a := range e.Attributes {
		name, _, _ := strings.Cut(a.Desc, ";")
		if !strings.EqualFold(name, k.attr) {
			continue
		}
		for _, v := range a.Values {
			if norm, ok := k.rule.Normalize([]byte{}, v); ok && (best == nil || k.rule.Compare(norm, best) < 0) {
				best = norm
			}
		}
	}
	return best
}

// compare orders two least values; one that is not there stands behind.
func (k *sortKey) compare(a, b []byte) int {
	return k.rule.CompareLeast(a, b, k.reverse)
}

// order makes sort keys ready. What our schema does not know is compared as text
// without regard to case.
func (d *Directory) order(keys []directory.SortKey) ([]sortKey, error) {
	var order []sortKey
	for _, k := range keys {
		name, _, _ := strings.Cut(k.Attr, ";")
		rule, ok := d.schema.Rule("caseIgnoreOrderingMatch"), true
		if t := d.schema.Attribute(name); t != nil {
			name = t.Name()
			rule, ok = d.schema.Ordering(t, k.Rule)
		} else if k.Rule != "" {
			rule = d.schema.Rule(k.Rule)
			ok = rule != nil
		}
		if !ok {
			return nil, &directory.SortError{Attr: k.Attr, Err: ldap.Errorf(ldap.InappropriateMatching, "%s: values cannot be ordered by %q", k.Attr, k.Rule)}
		}
		order = append(order, sortKey{name, rule, k.Reverse})
	}
	return order, nil
}

// sorted sends what a view wants of a sorted answer.
func (d *Directory) sorted(ctx context.Context, who directory.Identity, r *ldap.SearchRequest, controls []ldapclient.Control, v directory.View, yield func(*ldap.Entry) error) (directory.Viewed, error) {
	key := searchKey(who, r, v)
	parts := v.Window != nil || v.Page != nil
	var l *list
	if parts {
		l = d.lists.get(key, d.opt.Now())
	}
	if l == nil {
		if v.Page != nil && len(v.Page.Cookie) > 0 {
			return directory.Viewed{}, errCookie()
		}
		var err error
		if l, err = d.gather(ctx, r, controls, v.Sort); err != nil {
			return directory.Viewed{}, err
		}
		if l.key = key; parts {
			d.lists.put(l)
		}
	}
	sent := 0
	send := func(entries []*ldap.Entry) error {
		for _, e := range entries {
			if r.SizeLimit > 0 && sent == r.SizeLimit {
				return ldap.Errorf(ldap.SizeLimitExceeded, "")
			}
			sent++
			if err := yield(e); err != nil {
				return err
			}
		}
		return nil
	}
	switch {
	case v.Window != nil:
		return l.window(v.Window, send)
	case v.Page != nil:
		return l.page(v.Page, send)
	}
	return directory.Viewed{}, send(l.entries)
}

// gather finds and sorts all entries.
func (d *Directory) gather(ctx context.Context, r *ldap.SearchRequest, controls []ldapclient.Control, keys []directory.SortKey) (*list, error) {
	l := &list{at: d.opt.Now()}
	rand.Read(l.id[:])
	var err error
	if l.order, err = d.order(keys); err != nil {
		return nil, err
	}
	all := *r
	all.SizeLimit, all.TypesOnly = 0, false
	hidden := l.ask(&all)
	type row struct {
		e    *ldap.Entry
		keys [][]byte
	}
	var rows []row
	full := ldap.Errorf(ldap.AdminLimitExceeded, "more than %d entries, or %d MiB, cannot be sorted here: search for fewer", maxSorted, maxSortedBytes>>20)
	err = d.search(ctx, &all, controls, func(e *ldap.Entry) error {
		one := row{e: e}
		for i := range l.order {
			one.keys = append(one.keys, l.order[i].least(e))
		}
		e.Attributes = slices.DeleteFunc(e.Attributes, func(a ldap.Attribute) bool {
			return slices.ContainsFunc(hidden, func(name string) bool { return strings.EqualFold(name, a.Desc) })
		})
		if l.size += sizeOf(e); len(rows) == maxSorted || l.size > maxSortedBytes {
			return full
		}
		rows = append(rows, one)
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		for i := range l.order {
			if c := l.order[i].compare(a.keys[i], b.keys[i]); c != 0 {
				return c
			}
		}
		return 0
	})
	for _, one := range rows {
		l.entries, l.first = append(l.entries, one.e), append(l.first, one.keys[0])
	}
	return l, nil
}

// ask makes a request ask for the attributes that are sorted by as well, and
// returns those that nobody else has asked for.
func (l *list) ask(r *ldap.SearchRequest) (hidden []string) {
	if len(r.Attributes) == 0 || slices.Contains(r.Attributes, "*") {
		return nil
	}
	r.Attributes = slices.DeleteFunc(slices.Clone(r.Attributes), func(name string) bool { return name == "1.1" })
	for _, k := range l.order {
		if !slices.ContainsFunc(r.Attributes, func(name string) bool { return strings.EqualFold(name, k.attr) }) {
			r.Attributes = append(r.Attributes, k.attr)
			hidden = append(hidden, k.attr)
		}
	}
	return hidden
}

// sizeOf estimates what an entry takes in memory.
func sizeOf(e *ldap.Entry) int {
	n := 200 + 64*len(e.DN)
	for _, a := range e.Attributes {
		n += 48 + len(a.Desc)
		for _, v := range a.Values {
			n += 24 + len(v)
		}
	}
	return n
}

// page sends the next page.
func (l *list) page(p *directory.Page, send func([]*ldap.Entry) error) (directory.Viewed, error) {
	from := 0
	if len(p.Cookie) > 0 {
		at, found := bytes.CutPrefix(p.Cookie, l.id[:])
		if _, err := fmt.Sscanf(string(at), "%d", &from); !found || err != nil || from < 0 || from > len(l.entries) {
			return directory.Viewed{}, errCookie()
		}
	}
	to := min(from+p.Size, len(l.entries))
	err := send(l.entries[from:to])
	if err != nil || to == len(l.entries) {
		return directory.Viewed{}, err
	}
	return directory.Viewed{Cookie: fmt.Appendf(slices.Clone(l.id[:]), "%d", to)}, nil
}

// window sends the entries around a target.
func (l *list) window(w *directory.Window, send func([]*ldap.Entry) error) (directory.Viewed, error) {
	count := len(l.entries)
	var target int
	if w.ByValue {
		k := &l.order[0]
		value, ok := k.rule.Normalize([]byte{}, w.Value)
		if !ok {
			return directory.Viewed{Count: count}, ldap.Errorf(ldap.InvalidAttributeSyntax, "%s: value invalid per syntax", k.attr)
		}
		target = 1 + sort.Search(count, func(i int) bool { return k.compare(l.first[i], value) >= 0 })
	} else {
		var err error
		if target, err = w.Target(count); err != nil {
			return directory.Viewed{Count: count}, err
		}
	}
	v := directory.Viewed{Target: target, Count: count}
	first, last := w.Bounds(target, count)
	if first > last {
		return v, nil
	}
	return v, send(l.entries[first-1 : last])
}

// failed returns the error of a search as clients are told it.
func (d *Directory) failed(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ldap.Errorf(ldap.Other, "search canceled")
	}
	return d.unavailable(err)
}
