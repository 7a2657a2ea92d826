package ldapserver

import (
	"context"

	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/ldapwire"
)

// modifyDN is the modify DN operation (RFC 4511 §4.9).
func (c *conn) modifyDN(ctx context.Context, r *ldapwire.ModifyDNRequest) error {
	d, ok := c.srv.cfg.Directory.(directory.Renamer)
	if !ok {
		return ldap.Errorf(ldap.UnwillingToPerform, "this directory does not rename entries")
	}
	return d.Rename(ctx, c.who, directory.Rename{DN: r.DN, NewRDN: r.NewRDN, DeleteOld: r.DeleteOldRDN, Superior: r.NewSuperior})
}
