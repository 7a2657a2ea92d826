package ldapserver

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/ldapwire"
	"expost/internal/mail"
)

// The SASL mechanisms.
const (
	saslPlain    = "PLAIN"    // RFC 4616
	saslExternal = "EXTERNAL" // RFC 4422 appendix A: by the certificate of TLS
)

// mechanisms returns the SASL mechanisms that this connection may use.
func (c *conn) mechanisms() []string {
	var list []string
	if c.passwordsAllowed() {
		list = append(list, saslPlain)
	}
	if c.certificate() != nil {
		list = append(list, saslExternal)
	}
	return list
}

// certificate returns the client's certificate if the listener's TLS has asked
// for one and found it good, else nil.
func (c *conn) certificate() *x509.Certificate {
	tc, ok := c.nc.(*tls.Conn)
	if !ok || !c.secure {
		return nil
	}
	chains := tc.ConnectionState().VerifiedChains
	if len(chains) == 0 {
		return nil
	}
	return chains[0][0]
}

// bind is the bind operation (RFC 4511 §4.2). Whoever was bound is anonymous
// from here on, unless it succeeds.
func (c *conn) bind(ctx context.Context, r *ldapwire.BindRequest) ldapwire.Op {
	c.who = directory.Identity{}
	who, err := c.authenticate(ctx, r)
	if err != nil {
		c.log.Info("bind refused", slog.String("remote", c.remote.String()), slog.String("name", r.Name), slog.Any("error", err))
	} else {
		c.who = who
	}
	c.in.SetLimit(c.messageLimit())
	return response(ldapwire.TagBindResponse, c.result(ctx, err))
}

// authenticate returns who a bind request makes of the client.
func (c *conn) authenticate(ctx context.Context, r *ldapwire.BindRequest) (directory.Identity, error) {
	switch {
	case r.Version == 2 && !c.srv.cfg.AllowV2:
		return directory.Identity{}, ldap.Errorf(ldap.ProtocolError, "historical protocol version requested, use LDAPv3 instead")
	case r.Version != 2 && r.Version != 3:
		return directory.Identity{}, ldap.Errorf(ldap.ProtocolError, "requested protocol version not supported")
	case r.Auth == ldapwire.AuthSASL:
		return c.bindSASL(ctx, r)
	case r.Auth != ldapwire.AuthSimple:
		return directory.Identity{}, ldap.Errorf(ldap.AuthMethodNotSupported, "unknown authentication method")
	case len(r.Password) > 0 && r.Name != "":
		return c.checkPassword(ctx, r.Name, r.Password)
	case r.Name != "": // RFC 4513 §5.1.2
		return directory.Identity{}, ldap.Errorf(ldap.UnwillingToPerform, "unauthenticated bind (DN with no password) disallowed")
	case len(r.Password) > 0:
		return directory.Identity{}, ldap.Errorf(ldap.InvalidCredentials, "")
	}
	return directory.Identity{}, nil // anonymous, RFC 4513 §5.1.1
}

// passwordsAllowed tells whether a password may come over this connection.
func (c *conn) passwordsAllowed() bool {
	switch {
	case c.secure, c.srv.cfg.PlaintextAuth == PlaintextAlways:
		return true
	case c.srv.cfg.PlaintextAuth == PlaintextLoopback:
		return c.remote.IsLoopback()
	}
	return false
}

// checkPassword returns the identity of a DN or, since many programs have one
// box for all, of a login: a mail address, a uid, Outlook's DOMAIN\user.
func (c *conn) checkPassword(ctx context.Context, name string, password []byte) (directory.Identity, error) {
	if !c.passwordsAllowed() {
		return directory.Identity{}, ldap.Errorf(ldap.ConfidentialityRequired, "confidentiality required: passwords need TLS here")
	}
	if strings.Contains(name, "=") {
		dn, err := ldap.ParseDN(name)
		if err != nil {
			return directory.Identity{}, ldap.Errorf(ldap.InvalidDNSyntax, "invalid DN")
		}
		return c.srv.cfg.Directory.Bind(ctx, dn, password)
	}
	login := name[strings.LastIndexByte(name, '\\')+1:]
	account, err := c.srv.cfg.Directory.Login(ctx, login, string(password))
	if err != nil {
		return directory.Identity{}, err
	}
	return directory.Identity{DN: account.DN}, nil
}

// bindSASL is a bind with a SASL mechanism (RFC 4513 §5.2).
func (c *conn) bindSASL(ctx context.Context, r *ldapwire.BindRequest) (directory.Identity, error) {
	switch strings.ToUpper(r.Mechanism) {
	case saslPlain:
		return c.bindPlain(ctx, r)
	case saslExternal:
		return c.bindExternal(ctx, r)
	}
	return directory.Identity{}, ldap.Errorf(ldap.AuthMethodNotSupported, "no such SASL mechanism: %.32q", r.Mechanism)
}

// bindExternal makes the client who its certificate names: the entry with the
// subject as its DN, or else the account of one of its mail addresses.
func (c *conn) bindExternal(ctx context.Context, r *ldapwire.BindRequest) (directory.Identity, error) {
	cert := c.certificate()
	if cert == nil {
		return directory.Identity{}, ldap.Errorf(ldap.InappropriateAuth, "no certificate of yours is known here")
	}
	who, err := c.authorization(ctx, "dn:"+subjectOf(cert).String())
	for _, addr := range cert.EmailAddresses {
		if err == nil {
			break
		}
		var account *directory.Account
		if account, err = c.srv.cfg.Directory.Resolve(ctx, mail.Address(addr)); err == nil {
			who, err = c.authorization(ctx, "dn:"+account.DN.String())
		}
	}
	if err != nil {
		return directory.Identity{}, ldap.Errorf(ldap.InvalidCredentials, "")
	}
	if id := string(r.Credentials); id != "" {
		asked, err := c.authorization(ctx, id)
		if err != nil || !asked.DN.Equal(who.DN, c.srv.cfg.Schema) {
			return directory.Identity{}, ldap.Errorf(ldap.InappropriateAuth, "nobody may act for another here")
		}
	}
	return who, nil
}

// subjectOf returns the subject of a certificate as a DN of OIDs, which starts
// where the subject ends. It is empty where the subject is none.
func subjectOf(cert *x509.Certificate) ldap.DN {
	var subject pkix.RDNSequence
	if rest, err := asn1.Unmarshal(cert.RawSubject, &subject); err != nil || len(rest) > 0 {
		return nil
	}
	var dn ldap.DN
	for _, set := range slices.Backward(subject) {
		var rdn ldap.RDN
		for _, ava := range set {
			rdn = append(rdn, ldap.AVA{Type: ava.Type.String(), Value: fmt.Sprint(ava.Value)})
		}
		dn = append(dn, rdn)
	}
	return dn
}

// bindPlain is a bind with a login and a password.
func (c *conn) bindPlain(ctx context.Context, r *ldapwire.BindRequest) (directory.Identity, error) {
	parts := bytes.Split(r.Credentials, []byte{0})
	if len(parts) != 3 || len(parts[1]) == 0 || len(parts[2]) == 0 {
		return directory.Identity{}, ldap.Errorf(ldap.InvalidCredentials, "malformed PLAIN credentials")
	}
	authzid, login := string(parts[0]), strings.TrimPrefix(string(parts[1]), "dn:")
	if authzid != "" && authzid != "dn:"+login && authzid != "u:"+login && authzid != login {
		return directory.Identity{}, ldap.Errorf(ldap.InappropriateAuth, "nobody may act for another here")
	}
	return c.checkPassword(ctx, strings.TrimPrefix(login, "u:"), parts[2])
}
