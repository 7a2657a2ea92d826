package ldapserver

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/ldapwire"
)

// refers tells whether there are referral objects (RFC 3296).
func (o *operation) refers() bool {
	d, ok := o.c.srv.cfg.Directory.(directory.Referrer)
	return ok && d.HasReferrals()
}

// escapeDN returns a DN as it stands in a URL (RFC 4516 §2).
func escapeDN(dn ldap.DN) string { return strings.ReplaceAll(url.PathEscape(dn.String()), "%2C", ",") }

// target returns the DN that an operation is about, and whether it is about one.
func (o *operation) target() (ldap.DN, bool) {
	switch r := o.m.Op.(type) {
	case *ldapwire.SearchRequest:
		return r.Base, len(r.Base) > 0
	case *ldapwire.CompareRequest:
		return r.DN, true
	case *ldapwire.AddRequest:
		return r.DN, true
	case *ldapwire.ModifyRequest:
		return r.DN, true
	case *ldapwire.DeleteRequest:
		return r.DN, true
	case *ldapwire.ModifyDNRequest:
		return r.DN, true
	}
	return nil, false
}

// refer answers an operation at or below a referral object with where to ask.
// Changes of a copy go to the server that it is a copy of.
func (o *operation) refer(ctx context.Context) error {
	dn, ok := o.target()
	if !ok {
		return nil
	}
	if to := o.c.srv.cfg.ChangesAt; to != "" && o.isChange() && !o.controls.manage {
		return &ldap.Error{Code: ldap.Referral, Text: "changes are made at the server that this is a copy of", Referral: []string{to + "/" + escapeDN(dn)}}
	}
	if !o.refers() {
		return nil
	}
	scope := ""
	if r, ok := o.m.Op.(*ldapwire.SearchRequest); ok {
		scope = scopeName(r.Scope)
	}
	above := dn
	if o.controls.manage { // the object itself is an entry then
		above = dn.Parent()
	}
	for ; len(above) >= len(o.c.srv.cfg.Directory.Suffix()); above = above.Parent() {
		e := o.referralAt(ctx, above)
		if e == nil {
			continue
		}
		return &ldap.Error{Code: ldap.Referral, Matched: e.DN, Referral: urlsOf(e, dn[:len(dn)-len(above)], scope)}
	}
	return nil
}

func (o *operation) isChange() bool {
	switch o.m.Op.(type) {
	case *ldapwire.AddRequest, *ldapwire.ModifyRequest, *ldapwire.DeleteRequest, *ldapwire.ModifyDNRequest:
		return true
	}
	return false
}

// referralAt returns the referral object of a DN, or nil.
func (o *operation) referralAt(ctx context.Context, dn ldap.DN) *ldap.Entry {
	var found *ldap.Entry
	req := &ldap.SearchRequest{Base: dn, Scope: ldap.ScopeBase, Filter: isReferral(), Attributes: []string{"ref"}}
	_ = o.c.srv.cfg.Directory.Search(ctx, directory.Local(), req, func(e *ldap.Entry) error { // that it is not there is no error here
		found = e
		return nil
	})
	return found
}

func isReferral() *ldap.Filter {
	return &ldap.Filter{Op: ldap.FilterEqual, Attr: "objectClass", Value: []byte("referral")}
}

func scopeName(s ldap.Scope) string {
	return [...]string{"base", "one", "sub"}[s]
}

// urlsOf returns the URLs of a referral object for an entry that stands below it
// by the RDNs below, with the scope to search there.
func urlsOf(e *ldap.Entry, below ldap.DN, scope string) []string {
	if len(below) == 0 && scope == "" {
		return e.Values("ref")
	}
	var urls []string
	for _, ref := range e.Values("ref") {
		u, err := url.Parse(ref)
		if err != nil || u.Scheme != "ldap" && u.Scheme != "ldaps" {
			urls = append(urls, ref)
			continue
		}
		dn := e.DN
		if len(u.Path) > 1 {
			if dn, err = ldap.ParseDN(u.Path[1:]); err != nil {
				dn = e.DN
			}
		}
		text := u.Scheme + "://" + u.Host + "/" + escapeDN(slices.Concat(below, dn))
		if scope != "" {
			text += "??" + scope
		}
		urls = append(urls, text)
	}
	return urls
}

// sendReferences sends the continuation references of a search, and keeps the
// referral objects out of the rest of its answer.
func (o *operation) sendReferences(ctx context.Context, r *ldap.SearchRequest) error {
	if r.Scope == ldap.ScopeBase || o.controls.manage || !o.refers() || o.c.srv.special.entry(o.c, r) != nil {
		return nil
	}
	o.c.rebase(r)
	scope := "sub"
	if r.Scope == ldap.ScopeOne {
		scope = "base" // RFC 4511 §4.5.3.1
	}
	req := &ldap.SearchRequest{Base: r.Base, Scope: r.Scope, Filter: isReferral(), Attributes: []string{"ref"}}
	var send []*ldapwire.SearchReference
	err := o.c.srv.cfg.Directory.Search(ctx, directory.Local(), req, func(e *ldap.Entry) error {
		send = append(send, &ldapwire.SearchReference{URLs: urlsOf(e, nil, scope)})
		return nil
	})
	if err != nil {
		return nil // the search itself says why
	}
	for _, ref := range send {
		if err := o.c.send(o.m.ID, ref); err != nil {
			return err
		}
	}
	filter := r.Filter
	if filter == nil {
		filter = &ldap.Filter{Op: ldap.FilterAnd}
	}
	r.Filter = &ldap.Filter{Op: ldap.FilterAnd, Subs: []*ldap.Filter{filter, {Op: ldap.FilterNot, Subs: []*ldap.Filter{isReferral()}}}}
	return nil
}
