package embedded

import (
	"context"
	"encoding/hex"
	"slices"
	"strings"

	"expost/internal/directory"
	"expost/internal/ldap"
)

// grave is a deleted entry that copies may have still.
type grave struct {
	csn string // of the deletion
	id  directory.UUID
}

// maxGraves is how many deletions are remembered at least, of twice as many at
// most. A copy that is further behind is brought up to date by telling it what
// is there.
const maxGraves = 10_000

// bury remembers a deletion.
func (b *batch) bury(csn string, n *node) {
	id, ok := b.uuid(n)
	if !ok {
		return
	}
	g := grave{csn, id}
	if b.changes.graves == nil { // what there is belongs to snapshots that are published
		b.graves = slices.Clone(b.graves)
	}
	b.changes.graves = append(b.changes.graves, g)
	if b.graves = append(b.graves, g); len(b.graves) >= 2*maxGraves {
		over := len(b.graves) - maxGraves
		b.horizon = b.graves[over-1].csn
		b.graves = slices.Clone(b.graves[over:])
	}
}

// attribute returns the first value of a description, as text.
func (s *snapshot) attribute(n *node, name string) string {
	desc, ok := s.dict.byName[name]
	if !ok {
		return ""
	}
	text := ""
	n.values(desc, func(v []byte) bool {
		text = string(v)
		return false
	})
	return text
}

func (s *snapshot) uuid(n *node) (directory.UUID, bool) {
	return parseUUID(s.attribute(n, "entryUUID"))
}

// parseUUID reads the text form of a UUID.
func parseUUID(text string) (id directory.UUID, ok bool) {
	n, err := hex.Decode(id[:], []byte(strings.ReplaceAll(text, "-", "")))
	return id, err == nil && n == len(id)
}

// last returns the CSN of the last change.
func (s *snapshot) lastCSN() string {
	csn := s.horizon
	if n := len(s.graves); n > 0 {
		csn = s.graves[n-1].csn
	}
	attr := uint32(s.dict.schema.Attribute("entryCSN").ID)
	if it, ok := s.index.before(item{attr: attr + 1}); ok && it.attr == attr && it.key > csn {
		csn = it.key
	}
	return csn
}

// Sync implements directory.Synchronizer. Cookies are those of OpenLDAP,
// "rid=…,csn=…", which its servers look into.
func (d *Directory) Sync(ctx context.Context, who directory.Identity, req *ldap.SearchRequest, cookie []byte, persist bool, h directory.SyncHandler) error {
	y := &synchronization{d: d, ctx: ctx, who: who, req: req, h: h}
	since := y.readCookie(cookie)
	changed := d.published()
	snap, err := y.look()
	if err != nil {
		return err
	}
	if err := y.refresh(snap, since); err != nil || !persist {
		return err
	}
	for at := snap.lastCSN(); ; {
		select {
		case <-changed:
		case <-ctx.Done():
			return ldap.Errorf(ldap.Other, "search canceled")
		case <-d.closing:
			return ldap.Errorf(ldap.Unavailable, "the directory is closed")
		}
		changed = d.published()
		if snap, err = y.look(); err != nil {
			return err
		}
		if at < snap.horizon {
			return ldap.Errorf(ldap.SyncRefreshRequired, "more was deleted than is remembered")
		}
		if err := y.follow(snap, at); err != nil {
			return err
		}
		at = snap.lastCSN()
	}
}

// published returns a channel that is closed at the next change.
func (d *Directory) published() <-chan struct{} { return *d.next.Load() }

// announce wakes those who wait for a change.
func (d *Directory) announce() {
	next := make(chan struct{})
	close(*d.next.Swap(&next))
}

// synchronization is one copy being kept up to date.
type synchronization struct {
	d    *Directory
	ctx  context.Context
	who  directory.Identity
	req  *ldap.SearchRequest
	h    directory.SyncHandler
	rid  string
	q    *query
	base *node
}

// readCookie returns the CSN of a cookie, "" for a new copy.
func (y *synchronization) readCookie(cookie []byte) string {
	csn := ""
	for field := range strings.SplitSeq(string(cookie), ",") {
		key, value, _ := strings.Cut(field, "=")
		switch key {
		case "rid":
			y.rid = value
		case "csn":
			csn, _, _ = strings.Cut(value, ";") // ours is the only server
		}
	}
	return csn
}

// cookie returns the cookie of a CSN.
func (y *synchronization) cookie(csn string) []byte {
	rid := y.rid
	if rid == "" {
		rid = "000"
	}
	return []byte("rid=" + rid + ",csn=" + csn)
}

// look takes the present snapshot.
func (y *synchronization) look() (*snapshot, error) {
	q, base, err := y.d.newQuery(y.ctx, y.who, y.req, nil)
	if err != nil {
		return nil, err
	}
	q.deadline = q.deadline.AddDate(1000, 0, 0)
	y.q, y.base = q, base
	return q.snap, nil
}

// refresh brings a copy that knows all up to since up to date.
func (y *synchronization) refresh(s *snapshot, since string) error {
	last := s.lastCSN()
	if since > last {
		since = "" // of another directory
	}
	if since == "" || since < s.horizon {
		return y.tellAll(s, since, last)
	}
	if err := y.each(s, since, func(n *node, id directory.UUID, found bool) error {
		if found {
			return y.h.Entry(directory.SyncAdd, id, y.q.entry(n), nil)
		}
		return y.h.Entry(directory.SyncDelete, id, nil, nil)
	}, func(g grave) error { return y.h.Entry(directory.SyncDelete, g.id, nil, nil) }); err != nil {
		return err
	}
	return y.h.Refreshed(false, y.cookie(last))
}

// tellAll tells what is there: what changed after since as entries, the rest by
// its UUIDs.
func (y *synchronization) tellAll(s *snapshot, since, last string) error {
	var same []directory.UUID
	err := y.q.each(y.base, func(n *node) error {
		id, ok := s.uuid(n)
		switch {
		case !ok:
			return nil
		case since == "" || s.attribute(n, "entryCSN") > since:
			return y.h.Entry(directory.SyncAdd, id, y.q.entry(n), nil)
		}
		same = append(same, id)
		return nil
	})
	if err == nil {
		err = y.tellPresent(same)
	}
	if err != nil {
		return err
	}
	return y.h.Refreshed(true, y.cookie(last))
}

// setSize is how many UUIDs go in one message.
const setSize = 500

func (y *synchronization) tellPresent(ids []directory.UUID) error {
	for part := range slices.Chunk(ids, setSize) {
		if err := y.h.Set(part, false); err != nil {
			return err
		}
	}
	return nil
}

func (s *snapshot) gravesAfter(since string) []grave {
	i, found := slices.BinarySearchFunc(s.graves, since, func(g grave, csn string) int { return strings.Compare(g.csn, csn) })
	if found {
		i++
	}
	return s.graves[i:]
}

// follow tells what changed after since, one by one.
func (y *synchronization) follow(s *snapshot, since string) error {
	return y.each(s, since, func(n *node, id directory.UUID, found bool) error {
		cookie := y.cookie(s.attribute(n, "entryCSN"))
		if found {
			return y.h.Entry(directory.SyncModify, id, y.q.entry(n), cookie)
		}
		return y.h.Entry(directory.SyncDelete, id, nil, cookie)
	}, func(g grave) error { return y.h.Entry(directory.SyncDelete, g.id, nil, y.cookie(g.csn)) })
}

// each visits what changed after since in the order of the changes, with
// whether the search finds it, and buried with what was deleted.
func (y *synchronization) each(s *snapshot, since string, visit func(n *node, id directory.UUID, found bool) error, buried func(grave) error) error {
	graves := s.gravesAfter(since)
	attr := uint32(s.dict.schema.Attribute("entryCSN").ID)
	var err error
	s.index.between(item{attr: attr, key: since + "\x00"}, item{attr: attr + 1}, func(it item) bool {
		for len(graves) > 0 && graves[0].csn < it.key && err == nil {
			err = buried(graves[0])
			graves = graves[1:]
		}
		if n := s.nodes.get(it.id); err == nil {
			if id, ok := s.uuid(n); ok {
				err = visit(n, id, y.isFound(n))
			}
		}
		return err == nil
	})
	for ; len(graves) > 0 && err == nil; graves = graves[1:] {
		err = buried(graves[0])
	}
	return err
}

// isFound tells whether the search finds an entry.
func (y *synchronization) isFound(n *node) bool {
	if y.req.Scope == ldap.ScopeBase {
		return n.id == y.base.id && y.q.isFound(n, y.base)
	}
	return y.q.isFound(n, y.base)
}

// Restore implements directory.Restorer.
func (d *Directory) Restore(ctx context.Context, entries []*ldap.Entry) []error {
	errs := make([]error, len(entries))
	ready := make([]*ldap.Entry, len(entries))
	for i, e := range entries {
		if ready[i], errs[i] = d.readyToRestore(ctx, e); errs[i] != nil {
			ready[i] = nil
		}
	}
	err := d.change(ctx, func(b *batch) error {
		for i, e := range ready {
			if e != nil {
				errs[i] = d.restore(b, e)
			}
		}
		return nil
	})
	for i := range errs {
		if errs[i] == nil {
			errs[i] = err
		}
	}
	return errs
}

// readyToRestore checks as much of an entry as needs no batch.
func (d *Directory) readyToRestore(ctx context.Context, e *ldap.Entry) (*ldap.Entry, error) {
	kept := &ldap.Entry{DN: e.DN}
	for _, a := range e.Attributes {
		t := d.schema.Attribute(baseOf(a.Desc))
		switch {
		case t != nil && (isComputed(t) || t.Name() == "entryCSN" || t.Usage > 1): // made here
		case t == nil && isServerState(a.Desc):
		default:
			kept.Attributes = append(kept.Attributes, a)
		}
	}
	entry, err := d.schema.Canonical(kept, true)
	if err != nil {
		return nil, err
	}
	class, err := d.schema.CheckEntry(entry)
	if err != nil {
		return nil, err
	}
	if a := entry.Attribute("structuralObjectClass"); a != nil {
		a.Values = [][]byte{[]byte(class.Name())}
	} else {
		entry.Attributes = append(entry.Attributes, ldap.NewAttribute("structuralObjectClass", class.Name()))
	}
	return entry, d.hashPasswords(ctx, entry.Attributes)
}

// isServerState tells attributes that servers keep for themselves and that are
// nothing to a copy.
func isServerState(desc string) bool {
	name := strings.ToLower(baseOf(desc))
	switch name {
	case "contextcsn", "numsubordinates", "authtimestamp", "entryttl", "dynamicsubtrees":
		return true
	}
	return strings.HasPrefix(name, "pwd") // of password policies
}

// restore puts an entry in as it is.
func (d *Directory) restore(b *batch, e *ldap.Entry) error {
	parent, err := b.parentOf(e.DN)
	if err != nil {
		return err
	}
	old, _ := b.find(e.DN, b.suffixDN)
	if same := b.byUUID(e.Value("entryUUID")); same != nil && same != old {
		if old != nil {
			return ldap.Errorf(ldap.EntryAlreadyExists, "%q is there with another entryUUID", e.DN)
		}
		if b.isUnder(b.nodes.get(parent), same.id) || same.parent == 0 {
			return ldap.Errorf(ldap.UnwillingToPerform, "an entry cannot be moved below itself")
		}
		old = same
		b.moved = b.moved || b.hasChildren(old.id)
	}
	id := uint32(0)
	if old != nil {
		id = old.id
	}
	if err := b.checkOwner(e, id); err != nil {
		return err
	}
	now := d.opt.Now().UTC()
	for name, value := range map[string]string{"entryUUID": newUUID(), "creatorsName": d.opt.RootDN.String(), "modifiersName": d.opt.RootDN.String(),
		"createTimestamp": now.Format(timestamp), "modifyTimestamp": now.Format(timestamp)} {
		if e.Attribute(name) == nil {
			e.Attributes = append(e.Attributes, ldap.NewAttribute(name, value))
		}
	}
	e.Attributes = append(e.Attributes, ldap.NewAttribute("entryCSN", d.csn.next(now)))
	b.put(old, parent, e)
	return nil
}

// byUUID returns the entry of a UUID, or nil.
func (b *batch) byUUID(text string) *node {
	id, ok := b.index.one(b.uuidAttr(), strings.ToLower(text))
	if !ok {
		return nil
	}
	return b.nodes.get(id)
}

// Forget implements directory.Restorer.
func (d *Directory) Forget(ctx context.Context, ids []directory.UUID) error {
	return d.change(ctx, func(b *batch) error {
		var list []*node
		for _, id := range ids {
			if n := b.byUUID(id.String()); n != nil {
				list = append(list, n)
			}
		}
		// Those that stand deeper go first.
		slices.SortStableFunc(list, func(x, y *node) int { return b.depth(y) - b.depth(x) })
		var err error
		for _, n := range list {
			if b.hasChildren(n.id) {
				err = ldap.Errorf(ldap.NotAllowedOnNonLeaf, "entries below %q are there still", b.dn(n, b.suffixDN))
				continue
			}
			b.bury(d.csn.next(d.opt.Now()), n)
			b.drop(n)
		}
		return err
	})
}

func (s *snapshot) depth(n *node) int {
	depth := 0
	for ; n.parent != 0; n = s.nodes.get(n.parent) {
		depth++
	}
	return depth
}

// Held implements directory.Restorer.
func (d *Directory) Held(ctx context.Context, yield func(directory.UUID) bool) error {
	s := d.snap.Load()
	s.nodes.walk(0, func(n *node) bool {
		id, ok := s.uuid(n)
		return ctx.Err() == nil && (!ok || yield(id))
	})
	return ctx.Err()
}
