package embedded

import (
	"context"

	"expost/internal/directory"
	"expost/internal/ldap"
)

// Update implements directory.Updater. What it asserts and reads is of the
// writer's own batch, so no other change comes between.
func (d *Directory) Update(ctx context.Context, who directory.Identity, u directory.Update) (directory.Updated, error) {
	apply, before, after, err := d.prepare(ctx, who, u)
	if err != nil {
		return directory.Updated{}, err
	}
	var read directory.Updated
	err = d.change(ctx, func(b *batch) error {
		if n, _ := b.find(before, d.suffix); n != nil && before != nil {
			if err := d.assert(b, who, n, u.Assert); err != nil {
				return err
			}
			read.Before = d.read(b, who, n, u.ReadBefore)
		}
		if err := apply(b); err != nil {
			return err
		}
		if n, _ := b.find(after, d.suffix); n != nil && after != nil {
			read.After = d.read(b, who, n, u.ReadAfter)
		}
		return nil
	})
	if err != nil {
		return directory.Updated{}, err
	}
	return read, nil
}

// prepare returns what makes a change, and the DNs of the entry before and
// after it; nil where there is none.
func (d *Directory) prepare(ctx context.Context, who directory.Identity, u directory.Update) (apply func(*batch) error, before, after ldap.DN, err error) {
	switch {
	case u.Add != nil:
		apply, err = d.prepareAdd(ctx, who, u.Add)
		return apply, nil, u.Add.DN, err
	case u.Modify != nil:
		apply, err = d.prepareModify(ctx, who, u.Modify.DN, u.Modify.Changes)
		return apply, u.Modify.DN, u.Modify.DN, err
	case u.Rename != nil:
		apply, err = d.prepareRename(who, *u.Rename)
		return apply, u.Rename.DN, renamed(*u.Rename), err
	}
	apply, err = d.prepareDelete(who, u.Delete)
	return apply, u.Delete, nil, err
}

// assert refuses a change of an entry that a filter is not true for.
func (d *Directory) assert(b *batch, who directory.Identity, n *node, f *ldap.Filter) error {
	if f == nil {
		return nil
	}
	m := matcher{snap: &b.snapshot, suffix: d.suffix}
	if m.eval(b.compile(f, b.asker(who)), n) != yes {
		return ldap.Errorf(ldap.AssertionFailed, "the assertion is not true")
	}
	return nil
}

// read returns the attributes of an entry that who asks for and may read.
func (d *Directory) read(b *batch, who directory.Identity, n *node, attributes []string) *ldap.Entry {
	if attributes == nil {
		return nil
	}
	sel := b.newSelection(&ldap.SearchRequest{Attributes: attributes})
	return &ldap.Entry{DN: b.dn(n, d.suffix), Attributes: sel.of(&b.snapshot, n, b.asker(who).reading(n), d.suffix)}
}
