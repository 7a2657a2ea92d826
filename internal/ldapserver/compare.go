package ldapserver

import (
	"context"

	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/ldapwire"
)

// compare is the compare operation (RFC 4511 §4.10), made of searches of the
// one entry, so that it tells no more than they do.
func (o *operation) compare(ctx context.Context, r *ldapwire.CompareRequest) error {
	c := o.c
	desc, ok := c.srv.cfg.Schema.Describe(r.Attr)
	if !ok {
		return ldap.Errorf(ldap.UndefinedAttributeType, "%s: attribute type undefined", r.Attr)
	}
	filter := &ldap.Filter{Op: ldap.FilterEqual, Attr: r.Attr, Value: r.Value}
	if _, ok := c.srv.cfg.Schema.Assert(desc.Type, filter); !ok {
		return ldap.Errorf(ldap.InvalidAttributeSyntax, "%s: value invalid per syntax", r.Attr)
	}
	if err := c.assert(ctx, o.who, r.DN, o.controls.assert); err != nil {
		return err
	}
	if d, ok := c.srv.cfg.Directory.(directory.Comparer); ok && !c.srv.special.has(r.DN) {
		same, err := d.Compare(ctx, o.who, r.DN, r.Attr, r.Value)
		switch {
		case err != nil:
			return err
		case !same:
			return ldap.Errorf(ldap.CompareFalse, "")
		}
		return ldap.Errorf(ldap.CompareTrue, "")
	}
	exists, err := c.find(ctx, o.who, r.DN, &ldap.Filter{Op: ldap.FilterPresent, Attr: "objectClass"}, r.Attr)
	switch {
	case err != nil:
		return err
	case exists == nil:
		return ldap.Errorf(ldap.NoSuchObject, "")
	case len(exists.Attributes) == 0:
		return ldap.Errorf(ldap.NoSuchAttribute, "")
	}
	same, err := c.find(ctx, o.who, r.DN, filter, "1.1")
	switch {
	case err != nil:
		return err
	case same == nil:
		return ldap.Errorf(ldap.CompareFalse, "")
	}
	return ldap.Errorf(ldap.CompareTrue, "")
}

// assert refuses what is asked of an entry that a filter is not true for (RFC
// 4528 §3); a nil filter is true.
func (c *conn) assert(ctx context.Context, who directory.Identity, dn ldap.DN, f *ldap.Filter) error {
	if f == nil {
		return nil
	}
	e, err := c.find(ctx, who, dn, f, "1.1")
	if err == nil && e == nil {
		return ldap.Errorf(ldap.AssertionFailed, "the assertion is not true")
	}
	return err
}

// find returns the entry of a DN if it matches, with one attribute, else nil.
func (c *conn) find(ctx context.Context, who directory.Identity, dn ldap.DN, filter *ldap.Filter, attr string) (*ldap.Entry, error) {
	var found *ldap.Entry
	req := &ldap.SearchRequest{Base: dn, Scope: ldap.ScopeBase, Filter: filter, Attributes: []string{attr}}
	err := c.searchAny(ctx, who, req, func(e *ldap.Entry) error {
		found = e
		return nil
	})
	return found, err
}
