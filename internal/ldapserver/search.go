package ldapserver

import (
	"context"
	"time"

	"expost/internal/ldap"
	"expost/internal/ldapwire"
)

// search is the search operation (RFC 4511 §4.5). Entries go out as they are
// found; a client that reads slowly slows the search down.
func (o *operation) search(ctx context.Context, r *ldap.SearchRequest) error {
	if limit := int(o.c.srv.cfg.Limits.SearchTime / time.Second); r.TimeLimit == 0 || r.TimeLimit > limit {
		r.TimeLimit = limit
	}
	return o.c.searchAny(ctx, r, func(e *ldap.Entry) error {
		if o.abandoned.Load() {
			return context.Canceled
		}
		o.entries++
		return o.c.out.put(false, func(b []byte) []byte {
			return ldapwire.AppendEntry(b, o.m.ID, e, r.TypesOnly, nil)
		})
	})
}

// searchAny searches the directory and the entries that the server itself has.
// An empty base means the root DSE with the scope base, else, as clients that
// know no base expect, the whole tree.
func (c *conn) searchAny(ctx context.Context, r *ldap.SearchRequest, yield func(*ldap.Entry) error) error {
	if special := c.srv.special.entry(c, r); special != nil {
		return c.srv.special.search(special, r, yield)
	}
	if len(r.Base) == 0 {
		r.Base = c.srv.cfg.Directory.Suffix()
	}
	return c.srv.cfg.Directory.Search(ctx, c.who, r, yield)
}
