package ldapserver

import (
	"context"
	"crypto/rand"

	"expost/internal/ldap"
	"expost/internal/ldapwire"
)

// extended is the extended operation (RFC 4511 §4.12), but for StartTLS.
func (c *conn) extended(ctx context.Context, o *operation, r *ldapwire.ExtendedRequest) ldapwire.Op {
	var value []byte
	var err error
	switch r.Name {
	case ldapwire.OIDWhoAmI:
		value, err = o.whoAmI(r)
	case ldapwire.OIDPasswordModify:
		value, err = o.passwordModify(ctx, r)
	case ldapwire.OIDCancel:
		err = o.cancelOther(r)
	default:
		err = ldap.Errorf(ldap.ProtocolError, "unsupported extended operation")
	}
	return &ldapwire.ExtendedResponse{Result: c.result(ctx, err), Value: value}
}

// whoAmI answers with the authorization identity (RFC 4532).
func (o *operation) whoAmI(r *ldapwire.ExtendedRequest) ([]byte, error) {
	switch {
	case r.Value != nil:
		return nil, ldap.Errorf(ldap.ProtocolError, "no request data expected")
	case len(o.who.DN) == 0:
		return []byte{}, nil
	}
	return append([]byte("dn:"), o.who.DN.String()...), nil
}

// cancelOther is the Cancel operation (RFC 3909): unlike one that is abandoned,
// the operation is answered, and before this.
func (o *operation) cancelOther(r *ldapwire.ExtendedRequest) error {
	id, err := ldapwire.DecodeCancel(r.Value)
	if err != nil {
		return err
	}
	o.c.mu.Lock()
	other := o.c.running[id]
	o.c.mu.Unlock()
	switch {
	case other == nil:
		return ldap.Errorf(ldap.NoSuchOperation, "there is no operation %d", id)
	case other == o, isCancel(other.m.Op):
		return ldap.Errorf(ldap.CannotCancel, "a cancel operation cannot be canceled")
	}
	other.canceled.Store(true)
	other.cancel()
	<-other.done
	if other.code != ldap.Canceled {
		return ldap.Errorf(ldap.TooLate, "the operation was done already")
	}
	return nil
}

func isCancel(op ldapwire.Op) bool {
	r, ok := op.(*ldapwire.ExtendedRequest)
	return ok && r.Name == ldapwire.OIDCancel
}

// passwordModify is the Password Modify operation (RFC 3062). Without a new
// password it makes one, and answers with it.
func (o *operation) passwordModify(ctx context.Context, r *ldapwire.ExtendedRequest) ([]byte, error) {
	p, err := ldapwire.DecodePasswordModify(r.Value)
	switch {
	case err != nil:
		return nil, err
	case !o.c.passwordsAllowed():
		return nil, ldap.Errorf(ldap.ConfidentialityRequired, "confidentiality required: passwords need TLS here")
	case len(o.who.DN) == 0 && !o.who.Root:
		return nil, ldap.Errorf(ldap.StrongerAuthRequired, "modifications require authentication")
	case p.New != nil && len(p.New) == 0:
		return nil, ldap.Errorf(ldap.ConstraintViolation, "the new password is empty")
	}
	dn, err := o.passwordOwner(ctx, p.User)
	if err != nil {
		return nil, err
	}
	d := o.c.srv.cfg.Directory
	if p.Old != nil {
		if _, err := d.Bind(ctx, dn, p.Old); err != nil {
			return nil, ldap.Errorf(ldap.UnwillingToPerform, "unwilling to verify old password")
		}
	}
	var value []byte
	if p.New == nil {
		generated := rand.Text()
		p.New, value = []byte(generated), ldapwire.GeneratedPassword(generated)
	}
	err = d.Modify(ctx, o.who, dn, []ldap.Change{{Op: ldap.ChangeReplace, Attribute: ldap.Attribute{Desc: "userPassword", Values: [][]byte{p.New}}}})
	if err != nil {
		return nil, err
	}
	return value, nil
}

// passwordOwner returns the DN of whose password is to be changed: a DN, a
// login, or who asks.
func (o *operation) passwordOwner(ctx context.Context, user []byte) (ldap.DN, error) {
	if user == nil {
		return o.who.DN, nil
	}
	dn, err := ldap.ParseDN(string(user))
	if err == nil {
		return dn, nil
	}
	account, lookupErr := o.c.srv.cfg.Directory.Lookup(ctx, string(user))
	if lookupErr != nil {
		return nil, err
	}
	return account.DN, nil
}
