package ldapserver

import (
	"expost/internal/ldap"
	"expost/internal/ldapwire"
)

// extended is the extended operation (RFC 4511 §4.12), but for StartTLS.
func (c *conn) extended(r *ldapwire.ExtendedRequest) ldapwire.Op {
	if r.Name == ldapwire.OIDWhoAmI {
		return c.whoAmI(r)
	}
	return response(ldapwire.TagExtendedResponse, ldapwire.Result{Code: ldap.ProtocolError, Text: "unsupported extended operation"})
}

// whoAmI answers with the authorization identity (RFC 4532).
func (c *conn) whoAmI(r *ldapwire.ExtendedRequest) ldapwire.Op {
	if r.Value != nil {
		return response(ldapwire.TagExtendedResponse, ldapwire.Result{Code: ldap.ProtocolError, Text: "no request data expected"})
	}
	id := []byte{}
	if !c.anonymous() {
		id = append([]byte("dn:"), c.who.DN.String()...)
	}
	return &ldapwire.ExtendedResponse{Value: id}
}
