package ldapserver

import (
	"context"

	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/ldapwire"
)

// change is the operations that change the tree: add, modify, delete and modify
// DN (RFC 4511 §4.6-4.9).
func (o *operation) change(ctx context.Context) error {
	if o.controls.assert == nil && o.controls.before == nil && o.controls.after == nil {
		return o.plainChange(ctx)
	}
	d, ok := o.c.srv.cfg.Directory.(directory.Updater)
	if !ok {
		return ldap.Errorf(ldap.UnwillingToPerform, "this directory makes no changes under conditions")
	}
	read, err := d.Update(ctx, o.who, o.update())
	if err != nil {
		return err
	}
	if read.Before != nil {
		o.respond(ldapwire.EntryControl(ldapwire.OIDPreRead, read.Before))
	}
	if read.After != nil {
		o.respond(ldapwire.EntryControl(ldapwire.OIDPostRead, read.After))
	}
	return nil
}

// plainChange makes the change without conditions.
func (o *operation) plainChange(ctx context.Context) error {
	d := o.c.srv.cfg.Directory
	switch r := o.m.Op.(type) {
	case *ldapwire.AddRequest:
		return d.Add(ctx, o.who, &r.Entry)
	case *ldapwire.ModifyRequest:
		return d.Modify(ctx, o.who, r.DN, r.Changes)
	case *ldapwire.DeleteRequest:
		return d.Delete(ctx, o.who, r.DN)
	case *ldapwire.ModifyDNRequest:
		renamer, ok := d.(directory.Renamer)
		if !ok {
			return ldap.Errorf(ldap.UnwillingToPerform, "this directory does not rename entries")
		}
		return renamer.Rename(ctx, o.who, rename(r))
	}
	return nil
}

// update returns the change with what the controls ask for.
func (o *operation) update() directory.Update {
	u := directory.Update{Assert: o.controls.assert, ReadBefore: o.controls.before, ReadAfter: o.controls.after}
	switch r := o.m.Op.(type) {
	case *ldapwire.AddRequest:
		u.Add = &r.Entry
	case *ldapwire.ModifyRequest:
		u.Modify = &directory.Modification{DN: r.DN, Changes: r.Changes}
	case *ldapwire.DeleteRequest:
		u.Delete = r.DN
	case *ldapwire.ModifyDNRequest:
		renamed := rename(r)
		u.Rename = &renamed
	}
	return u
}

func rename(r *ldapwire.ModifyDNRequest) directory.Rename {
	return directory.Rename{DN: r.DN, NewRDN: r.NewRDN, DeleteOld: r.DeleteOldRDN, Superior: r.NewSuperior}
}
