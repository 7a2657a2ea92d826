package embedded

import (
	"context"
	"errors"
	"time"

	"expost/internal/directory"
	"expost/internal/directory/access"
	"expost/internal/ldap"
)

// Search implements directory.Directory.
func (d *Directory) Search(ctx context.Context, who directory.Identity, req *ldap.SearchRequest, yield func(*ldap.Entry) error) error {
	q, base, err := d.newQuery(ctx, who, req, yield)
	if err != nil {
		return err
	}
	return q.each(base, q.send)
}

// newQuery makes a search ready.
func (d *Directory) newQuery(ctx context.Context, who directory.Identity, req *ldap.SearchRequest, yield func(*ldap.Entry) error) (*query, *node, error) {
	s := d.snap.Load()
	q := &query{
		snap: s, who: s.subject(who, s.dict.rights, d.suffix), req: req, yield: yield, ctx: ctx, now: d.opt.Now,
		matcher:   matcher{snap: s, suffix: d.suffix},
		selection: s.newSelection(req),
		ready:     &d.ready,
	}
	if req.TimeLimit > 0 {
		q.deadline = d.opt.Now().Add(time.Duration(req.TimeLimit) * time.Second)
	}
	base, err := q.base(d.suffix)
	if err != nil {
		return nil, nil, err
	}
	filter := req.Filter
	if filter == nil {
		filter = &ldap.Filter{Op: ldap.FilterAnd} // RFC 4526: true
	}
	q.condition = s.compile(filter, q.who)
	q.subentries = s.ofClass("subentry")
	q.derefs = (req.Deref == directory.DerefSearching || req.Deref == directory.DerefAlways) && s.ofClass("alias").len() > 0
	return q, base, nil
}

// query is one search.
type query struct {
	snap      *snapshot
	who       *subject
	req       *ldap.SearchRequest
	yield     func(*ldap.Entry) error
	ctx       context.Context
	now       func() time.Time
	deadline  time.Time
	condition *condition
	matcher   matcher
	selection selection
	ready     *readyCache

	subentries *postings // which entries are subentries (RFC 3672)
	only       bool      // and nothing else is wanted
	ordered    bool      // visit entries in the order of their ids
	first      uint32    // with ordered: from this one on

	derefs       bool // follow aliases below the base
	looked, sent int
	parentID     uint32  // whose DN is
	parentDN     ldap.DN // this
	again        again
}

// again is what entries of a transient search are made in, one after the other.
type again struct {
	entry ldap.Entry
	dn    ldap.DN
	rdn   ldap.RDN
}

// base finds the entry that the search starts from. An empty base stands for
// the suffix, as address book clients expect.
func (q *query) base(suffix ldap.DN) (*node, error) {
	dn := q.req.Base
	if len(dn) == 0 && q.req.Scope != ldap.ScopeBase {
		dn = suffix
	}
	base, nearest, err := q.findBase(dn, suffix)
	if err != nil {
		return nil, err
	}
	if base != nil && !q.who.maySearchFrom(base) || base == nil && nearest != nil && !q.who.discloses(nearest) {
		text := "no search access to the base"
		if q.who.anonymous {
			text = "this part of the directory needs a login"
		}
		return nil, ldap.Errorf(ldap.InsufficientAccessRights, "%s", text)
	}
	if base == nil {
		err := &ldap.Error{Code: ldap.NoSuchObject, Text: "no such object"}
		if nearest != nil {
			err.Matched = q.snap.dn(nearest, suffix)
		}
		return nil, err
	}
	return base, nil
}

// each calls visit with the entries that are found, until it returns an error.
func (q *query) each(base *node, visit func(*node) error) error {
	if q.derefs && q.req.Scope != ldap.ScopeBase {
		return q.eachBehindAliases(base, visit)
	}
	return q.scan(base, visit)
}

// scan is each where aliases are entries as others.
func (q *query) scan(base *node, visit func(*node) error) error {
	if q.req.Scope == ldap.ScopeBase {
		return q.look(base, visit)
	}
	var err error
	look := func(id uint32) bool {
		if n := q.snap.nodes.get(id); n != nil && q.inScope(n, base) && q.subentries.contains(id) == q.only {
			err = q.look(n, visit)
		}
		return err == nil
	}
	src := q.source(base)
	if src.inOrder {
		src.walk(q.first, look)
		return err
	}
	marks := newIDMarks(q.snap.lastID)
	if !q.ordered {
		src.walk(q.first, func(id uint32) bool { return !marks.mark(id) || look(id) })
		return err
	}
	src.walk(q.first, func(id uint32) bool {
		marks.mark(id)
		return true
	})
	marks.from(q.first, look)
	return err
}

// source returns the smallest set of entries that all that is found is in.
func (q *query) source(base *node) source {
	best := q.snap.everything()
	best.size = best.size/2 + enough // looking at all in order costs less than looking one up
	if q.req.Scope == ldap.ScopeOne {
		if src := q.snap.childrenOf(base.id); src.size < best.size {
			best = src
		}
	}
	if src, ok := q.snap.candidates(q.condition); ok && src.size < best.size {
		best = src
	}
	return best
}

// enough is a number of entries that are sooner looked at than reduced.
const enough = 32

// inScope tells whether an entry is in the scope of a search that is not of
// the base alone.
func (q *query) inScope(n, base *node) bool {
	if q.req.Scope == ldap.ScopeOne {
		return n.parent == base.id
	}
	return base.id == q.snap.suffix || q.snap.isUnder(n, base.id)
}

// look visits an entry if the filter is true for it.
func (q *query) look(n *node, visit func(*node) error) error {
	if q.looked++; q.looked%256 == 0 {
		if err := q.checkTime(); err != nil {
			return err
		}
	}
	q.matcher.grants = q.who.reading(n)
	if g := q.matcher.grants; g != nil && g.entry&access.Read == 0 || q.matcher.eval(q.condition, n) != yes {
		return nil
	}
	return visit(n)
}

// send yields an entry, up to the size limit.
func (q *query) send(n *node) error {
	if q.req.SizeLimit > 0 && q.sent == q.req.SizeLimit {
		return ldap.Errorf(ldap.SizeLimitExceeded, "")
	}
	q.sent++
	return q.yield(q.entry(n))
}

// checkTime ends a search that was given up or takes too long.
func (q *query) checkTime() error {
	if err := q.ctx.Err(); errors.Is(err, context.DeadlineExceeded) {
		return ldap.Errorf(ldap.TimeLimitExceeded, "")
	} else if err != nil {
		return ldap.Errorf(ldap.Other, "search canceled")
	}
	if !q.deadline.IsZero() && q.now().After(q.deadline) {
		return ldap.Errorf(ldap.TimeLimitExceeded, "")
	}
	return nil
}

// entry returns what was asked for of an entry.
func (q *query) entry(n *node) *ldap.Entry {
	if q.req.Transient {
		if q.req.Encode != nil {
			if encoded := q.encoded(n); encoded != nil {
				q.again.entry = ldap.Entry{DN: q.dn(n), Encoded: encoded}
				return &q.again.entry
			}
		}
		q.again.entry = ldap.Entry{DN: q.dn(n), Attributes: q.selection.of(q.snap, n, q.who.reading(n), q.matcher.suffix)}
		return &q.again.entry
	}
	return &ldap.Entry{DN: q.dn(n), Attributes: q.selection.of(q.snap, n, q.who.reading(n), q.matcher.suffix)}
}

// dn is snapshot.dn with the parent remembered: results are mostly siblings.
func (q *query) dn(n *node) ldap.DN {
	if n.parent == 0 {
		return q.matcher.suffix
	}
	if q.parentID != n.parent {
		q.parentID, q.parentDN = n.parent, q.snap.dn(q.snap.nodes.get(n.parent), q.matcher.suffix)
	}
	if r := n.ready.Load(); q.req.Transient && r != nil {
		q.again.dn = append(append(q.again.dn[:0], r.rdn), q.parentDN...)
		return q.again.dn
	}
	if q.req.Transient {
		q.again.rdn = n.appendRDN(q.again.rdn)
		q.again.dn = append(append(q.again.dn[:0], q.again.rdn), q.parentDN...)
		return q.again.dn
	}
	dn := make(ldap.DN, 0, 1+len(q.parentDN))
	return append(append(dn, n.rdn()), q.parentDN...)
}
