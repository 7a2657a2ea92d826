package ldapserver

import (
	"context"

	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/ldapwire"
)

// mover is a directory that can rename entries and move subtrees. superior is
// nil where the entry stays below its parent.
type mover interface {
	ModifyDN(ctx context.Context, who directory.Identity, dn ldap.DN, rdn ldap.RDN, deleteOld bool, superior ldap.DN) error
}

// modifyDN is the modify DN operation (RFC 4511 §4.9).
func (c *conn) modifyDN(ctx context.Context, r *ldapwire.ModifyDNRequest) error {
	d, ok := c.srv.cfg.Directory.(mover)
	if !ok {
		return ldap.Errorf(ldap.UnwillingToPerform, "this directory does not rename entries")
	}
	return d.ModifyDN(ctx, c.who, r.DN, r.NewRDN, r.DeleteOldRDN, r.NewSuperior)
}
