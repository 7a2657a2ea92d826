package ldapserver

import (
	"context"
	"errors"
	"time"

	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/ldapwire"
)

// search is the search operation (RFC 4511 §4.5). Entries go out as they are
// found; a client that reads slowly slows the search down.
func (o *operation) search(ctx context.Context, r *ldap.SearchRequest) error {
	if limit := int(o.c.srv.cfg.Limits.SearchTime / time.Second); r.TimeLimit == 0 || r.TimeLimit > limit {
		r.TimeLimit = limit
	}
	if err := o.c.assert(ctx, o.who, r.Base, o.controls.assert); err != nil {
		return err
	}
	if o.controls.sync != nil {
		return o.synchronize(ctx, r)
	}
	if err := o.sendReferences(ctx, r); err != nil {
		return err
	}
	r.Transient = true // what is sent is encoded at once
	if o.controls.values == nil {
		r.Encode = ldapwire.AppendPacked
	}
	send := func(e *ldap.Entry) error {
		if o.abandoned.Load() {
			return context.Canceled
		}
		if o.controls.values != nil {
			e = o.c.srv.withMatching(e, o.controls.values)
		}
		o.entries++
		return o.c.out.put(false, func(b []byte) []byte {
			return ldapwire.AppendEntry(b, o.m.ID, e, r.TypesOnly, nil)
		})
	}
	if v := &o.controls.view; o.controls.page || v.Sort != nil || v.Window != nil || v.Subentries != nil {
		return o.searchView(ctx, r, send)
	}
	return o.c.searchAny(ctx, o.who, r, send)
}

// searchView is a search with controls about the order and parts of its
// answer, and adds the controls that belong to the answer.
func (o *operation) searchView(ctx context.Context, r *ldap.SearchRequest, send func(*ldap.Entry) error) error {
	v := &o.controls.view
	if v.Window != nil && v.Sort == nil {
		o.respond(ldapwire.VLVResponse{Code: ldap.SortControlMissing}.Control())
		return ldap.Errorf(ldap.SortControlMissing, "sort control is required with VLV")
	}
	viewed, err := o.viewed(ctx, r, send)
	sorted := ldapwire.SortResult{}
	if wrong, ok := errors.AsType[*directory.SortError](err); ok {
		sorted = ldapwire.SortResult{Code: wrong.Err.Code, Attr: wrong.Attr}
		switch {
		case o.controls.sortCritical:
			err = ldap.Errorf(ldap.UnavailableCriticalExt, "%s", wrong.Err.Text)
		case v.Window == nil: // RFC 2891 §2: unsorted is better than nothing
			v.Sort = nil
			viewed, err = o.viewed(ctx, r, send)
		}
	}
	if v.Sort != nil || sorted.Code != ldap.Success {
		o.respond(sorted.Control())
	}
	if v.Window != nil {
		o.respond(ldapwire.VLVResponse{Target: viewed.Target, Count: viewed.Count, Code: resultOf(err).Code}.Control())
	}
	if o.controls.page {
		o.respond(ldapwire.PagedControl{Cookie: viewed.Cookie}.Control())
	}
	return err
}

// viewed searches where the view may matter. A page of no entries is how a
// client gives the rest of its pages up.
func (o *operation) viewed(ctx context.Context, r *ldap.SearchRequest, send func(*ldap.Entry) error) (directory.Viewed, error) {
	d, ok := o.c.srv.cfg.Directory.(directory.Viewer)
	switch {
	case o.controls.page && o.controls.view.Page == nil:
		return directory.Viewed{}, nil
	case !ok || o.c.srv.special.entry(o.c, r) != nil:
		return directory.Viewed{}, o.c.searchAny(ctx, o.who, r, send)
	}
	o.c.rebase(r)
	return d.SearchView(ctx, o.who, r, o.controls.view, send)
}

// searchAny searches the directory and the entries that the server itself has.
func (c *conn) searchAny(ctx context.Context, who directory.Identity, r *ldap.SearchRequest, yield func(*ldap.Entry) error) error {
	if special := c.srv.special.entry(c, r); special != nil {
		return c.srv.special.search(special, r, yield)
	}
	c.rebase(r)
	return c.srv.cfg.Directory.Search(ctx, who, r, yield)
}

// rebase makes a search from the root one of the whole tree, as clients that
// know no base expect.
func (c *conn) rebase(r *ldap.SearchRequest) {
	if len(r.Base) == 0 {
		r.Base = c.srv.cfg.Directory.Suffix()
	}
}
