package embedded

import (
	"cmp"
	"context"
	"slices"

	"expost/internal/directory"
	"expost/internal/directory/access"
	"expost/internal/ldap"
)

// Rename implements directory.Renamer. What stands below the entry moves with
// it, whatever its size: children know their parent by number.
func (d *Directory) Rename(ctx context.Context, who directory.Identity, r directory.Rename) error {
	apply, err := d.prepareRename(who, r)
	if err != nil {
		return err
	}
	return d.change(ctx, apply)
}

func (d *Directory) prepareRename(who directory.Identity, r directory.Rename) (func(*batch) error, error) {
	if err := cmp.Or(d.checkDN(renamed(r)), d.checkDN(r.DN), d.checkWriter(who)); err != nil {
		return nil, err
	}
	if r.Superior.IsUnder(r.DN, d.schema) {
		return nil, ldap.Errorf(ldap.UnwillingToPerform, "cannot place an entry below itself")
	}
	return func(b *batch) error { return d.rename(b, who, r, renamed(r)) }, nil
}

// renamed returns the DN that an entry is to have.
func renamed(r directory.Rename) ldap.DN {
	superior := r.DN.Parent()
	if r.Superior != nil {
		superior = r.Superior
	}
	return superior.Child(r.NewRDN...)
}

// rename applies a Rename whose new DN is known.
func (d *Directory) rename(b *batch, who directory.Identity, r directory.Rename, dn ldap.DN) error {
	n, err := b.existing(r.DN)
	if err != nil {
		return err
	}
	if n.parent == 0 {
		return ldap.Errorf(ldap.UnwillingToPerform, "the suffix entry cannot be renamed")
	}
	parent, err := b.parentOf(dn)
	if err != nil {
		return err
	}
	if err := b.mayRemove(who, n, access.Write); err != nil {
		return err
	}
	if err := b.mayChangeBelow(b.asker(who), parent, access.AddTo); err != nil {
		return err
	}
	if b.isUnder(b.nodes.get(parent), n.id) {
		return ldap.Errorf(ldap.UnwillingToPerform, "an entry cannot be moved below itself")
	}
	if !dn.Equal(r.DN, d.schema) {
		if _, err := b.free(parent, dn); err != nil {
			return err
		}
	}
	e := b.entry(n, b.suffixDN)
	if r.DeleteOld {
		d.dropOldRDN(e, r.NewRDN)
	}
	e.DN = dn
	if e, err = d.schema.Canonical(e, true); err != nil { // adds the values of the new RDN
		return err
	}
	if err := d.checkModified(e, n, b); err != nil {
		return err
	}
	d.stamp(e, d.nameOf(who), d.opt.Now().UTC())
	b.moved = b.moved || b.hasChildren(n.id)
	b.put(n, parent, e)
	return nil
}

// dropOldRDN takes the values of the entry's RDN away that are not in the new one.
func (d *Directory) dropOldRDN(e *ldap.Entry, keep ldap.RDN) {
	for _, ava := range e.DN[0] {
		t := d.schema.Attribute(ava.Type)
		if t == nil {
			continue
		}
		stays := slices.ContainsFunc(keep, func(k ldap.AVA) bool { return d.schema.NormalizeAVA(k) == d.schema.NormalizeAVA(ava) })
		a := e.Attribute(t.Name())
		if stays || a == nil {
			continue
		}
		left := slices.DeleteFunc(slices.Clone(a.Values), func(v []byte) bool {
			return d.schema.HasValue(t, [][]byte{v}, []byte(ava.Value))
		})
		if len(left) == 0 {
			removeAttribute(e, a.Desc)
		} else {
			a.Values = left
		}
	}
}
