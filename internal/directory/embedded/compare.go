package embedded

import (
	"context"

	"expost/internal/directory"
	"expost/internal/directory/access"
	"expost/internal/ldap"
)

// Compare implements directory.Comparer.
func (d *Directory) Compare(_ context.Context, who directory.Identity, dn ldap.DN, attr string, value []byte) (bool, error) {
	s := d.snap.Load()
	asker := s.subject(who, s.dict.rights, d.suffix)
	n, nearest := s.find(dn, d.suffix)
	if n == nil {
		err := &ldap.Error{Code: ldap.NoSuchObject}
		if nearest != nil && asker.discloses(nearest) {
			err.Matched = s.dn(nearest, d.suffix)
		}
		return false, err
	}
	desc, ok := s.dict.schema.Describe(attr)
	if !ok {
		return false, ldap.Errorf(ldap.UndefinedAttributeType, "%s: attribute type undefined", attr)
	}
	g := asker.grants(n)
	switch {
	case g == nil || g.mayValue(access.Compare, desc.Type, value):
	case asker.discloses(n):
		return false, ldap.Errorf(ldap.InsufficientAccessRights, "")
	default:
		return false, ldap.Errorf(ldap.NoSuchObject, "")
	}
	// What may be compared was looked at; the rest is as if the root asked.
	c := s.compileItem(&ldap.Filter{Op: ldap.FilterEqual, Attr: attr, Value: value}, &subject{snap: s, root: true})
	if c.undefined {
		return false, ldap.Errorf(ldap.InappropriateMatching, "%s: inappropriate matching request", attr)
	}
	for id := range n.attributes { // a subtype that may not be compared is not there
		if t := s.dict.descs[id].Type; c.descs.has(id) && t != desc.Type && !g.may(access.Compare, t) {
			c.descs.put(id, false)
		}
	}
	m := matcher{snap: s, suffix: d.suffix}
	if !isComputed(desc.Type) && !m.item(&condition{op: ldap.FilterPresent, typ: c.typ, descs: c.descs}, n) {
		return false, ldap.Errorf(ldap.NoSuchAttribute, "")
	}
	return m.item(c, n), nil
}
