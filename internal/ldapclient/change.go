package ldapclient

import (
	"context"

	"expost/internal/ldap"
	"expost/internal/ldapwire"
)

// Control is a control of a request.
type Control = ldapwire.Control

// ProxiedAuth makes an operation that of an authorization identity, "dn:…", or
// "" for nobody (RFC 4370).
func ProxiedAuth(id string) Control {
	return Control{OID: ldapwire.OIDProxiedAuth, Critical: true, Value: []byte(id)}
}

// Subentries makes a search find subentries alone, or none of them (RFC 3672).
func Subentries(only bool) Control { return ldapwire.SubentriesControl(only) }

// change carries out an operation that has nothing but a result; one that is
// not success is an *ldap.Error.
func (c *Conn) change(ctx context.Context, op ldapwire.Op, controls []Control) error {
	m, err := c.Do(ctx, op, controls, nil)
	if err != nil {
		return err
	}
	return ResultOf(m)
}

// Add adds an entry.
func (c *Conn) Add(ctx context.Context, e *ldap.Entry, controls ...Control) error {
	return c.change(ctx, &ldapwire.AddRequest{Entry: *e}, controls)
}

// Modify changes an entry.
func (c *Conn) Modify(ctx context.Context, dn ldap.DN, changes []ldap.Change, controls ...Control) error {
	return c.change(ctx, &ldapwire.ModifyRequest{DN: dn, Changes: changes}, controls)
}

// Delete removes an entry.
func (c *Conn) Delete(ctx context.Context, dn ldap.DN, controls ...Control) error {
	return c.change(ctx, &ldapwire.DeleteRequest{DN: dn}, controls)
}

// Rename gives an entry another RDN and, unless superior is nil, another place.
func (c *Conn) Rename(ctx context.Context, dn ldap.DN, rdn ldap.RDN, deleteOld bool, superior ldap.DN, controls ...Control) error {
	return c.change(ctx, &ldapwire.ModifyDNRequest{DN: dn, NewRDN: rdn, DeleteOldRDN: deleteOld, NewSuperior: superior}, controls)
}
