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
	"expost/internal/listener"
	"expost/internal/login"
	"expost/internal/mail"
	"expost/internal/sasl"
)

// mechanisms returns the SASL mechanisms that this connection may use. LOGIN is
// not one of LDAP's. EXTERNAL is offered for any certificate that TLS finds
// good, since here its subject may be the DN of an entry.
func (c *conn) mechanisms() []string {
	list := slices.DeleteFunc(c.srv.cfg.Login.Mechanisms(c.client()), func(m string) bool { return m == sasl.Login || m == sasl.External })
	if c.certificate() != nil {
		list = append(list, sasl.External)
	}
	return list
}

// client describes the connection to the door.
func (c *conn) client() login.Client {
	client := login.Client{Protocol: "ldap", Addr: c.remote, Plaintext: c.passwordsAllowed()}
	if c.secure {
		client.TLS = listener.TLSState(c.nc)
	}
	return client
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
	c.who, c.traced = directory.Identity{}, nil
	who, data, err := c.authenticate(ctx, r)
	switch {
	case err != nil && ldap.CodeOf(err) == ldap.SASLBindInProgress:
	case err != nil:
		c.log.Info("bind refused", slog.String("remote", c.remote.String()), slog.String("name", r.Name), slog.Any("error", err))
	default:
		c.who = who
	}
	c.in.SetLimit(c.messageLimit())
	return &ldapwire.BindResponse{Result: c.result(ctx, err), Credentials: data}
}

// authenticate returns who a bind request makes of the client, and what a SASL
// mechanism says to it.
func (c *conn) authenticate(ctx context.Context, r *ldapwire.BindRequest) (who directory.Identity, data []byte, err error) {
	exchange := c.exchange
	c.exchange = nil
	switch {
	case r.Version == 2 && !c.srv.cfg.AllowV2:
		return who, nil, ldap.Errorf(ldap.ProtocolError, "historical protocol version requested, use LDAPv3 instead")
	case r.Version != 2 && r.Version != 3:
		return who, nil, ldap.Errorf(ldap.ProtocolError, "requested protocol version not supported")
	case r.Auth == ldapwire.AuthSASL && strings.EqualFold(r.Mechanism, sasl.External):
		who, err = c.bindExternal(ctx, r)
		return who, nil, err
	case r.Auth == ldapwire.AuthSASL:
		return c.bindSASL(ctx, r, exchange)
	case r.Auth != ldapwire.AuthSimple:
		return who, nil, ldap.Errorf(ldap.AuthMethodNotSupported, "unknown authentication method")
	case len(r.Password) > 0 && r.Name != "":
		who, err = c.checkPassword(ctx, r.Name, r.Password)
		return who, nil, err
	case r.Name != "": // RFC 4513 §5.1.2
		return who, nil, ldap.Errorf(ldap.UnwillingToPerform, "unauthenticated bind (DN with no password) disallowed")
	case len(r.Password) > 0:
		return who, nil, ldap.Errorf(ldap.InvalidCredentials, "")
	}
	return who, nil, nil // anonymous, RFC 4513 §5.1.1
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
		return directory.Identity{}, errConfidentiality()
	}
	if strings.Contains(name, "=") {
		dn, err := ldap.ParseDN(name)
		if err != nil {
			return directory.Identity{}, ldap.Errorf(ldap.InvalidDNSyntax, "invalid DN")
		}
		who, e, err := c.srv.cfg.Login.Bind(directory.WithPeer(ctx, c.peer), c.client(), dn, password, c.srv.cfg.Directory.Bind)
		if e != nil {
			c.traced = e.Trace
		}
		return who, err
	}
	e, err := c.srv.cfg.Login.Password(ctx, c.client(), name[strings.LastIndexByte(name, '\\')+1:], string(password))
	if err != nil {
		return directory.Identity{}, err
	}
	e.Leave()
	c.traced = e.Trace
	return directory.Identity{DN: e.Account.DN}, nil
}

// exchange is a SASL exchange that takes several bind requests.
type exchange struct {
	mechanism string
	*login.Exchange
}

// bindSASL is one step of a bind with a SASL mechanism (RFC 4513 §5.2). under
// is the exchange under way; a request of another mechanism ends it and begins
// anew (RFC 4513 §5.2.1.2).
func (c *conn) bindSASL(ctx context.Context, r *ldapwire.BindRequest, under *exchange) (who directory.Identity, data []byte, err error) {
	mechanism := strings.ToUpper(r.Mechanism)
	if under == nil || under.mechanism != mechanism {
		if !slices.Contains(c.mechanisms(), mechanism) {
			if !c.passwordsAllowed() && c.srv.cfg.Login.Knows(mechanism) {
				return who, nil, errConfidentiality()
			}
			return who, nil, ldap.Errorf(ldap.AuthMethodNotSupported, "no such SASL mechanism: %.32q", r.Mechanism)
		}
		x, err := c.srv.cfg.Login.Start(ctx, c.client(), mechanism)
		if err != nil {
			return who, nil, ldap.Errorf(ldap.AuthMethodNotSupported, "%s", mail.PublicText(err))
		}
		under = &exchange{mechanism, x}
	}
	if parts := bytes.Split(r.Credentials, []byte{0}); mechanism == sasl.Plain && len(parts) == 3 && bytes.HasPrefix(parts[1], []byte("dn:")) {
		who, err = c.bindPlainDN(ctx, string(parts[0]), string(parts[1]), parts[2])
		return who, nil, err
	}
	response := r.Credentials
	if mechanism == sasl.Plain {
		response = plainLogin(response)
	}
	data, done, err := under.Next(response)
	switch {
	case err != nil:
		return who, nil, bindError(err)
	case !done:
		c.exchange = under
		return who, data, ldap.Errorf(ldap.SASLBindInProgress, "")
	}
	who, c.traced = directory.Identity{DN: under.Entry.Account.DN}, under.Entry.Trace
	under.Entry.Leave()
	return who, data, nil
}

// bindPlainDN is PLAIN with "dn:" and a DN for a login (RFC 4513 §5.2.1.8).
func (c *conn) bindPlainDN(ctx context.Context, authzid, login string, password []byte) (directory.Identity, error) {
	switch {
	case len(password) == 0:
		return directory.Identity{}, ldap.Errorf(ldap.InvalidCredentials, "malformed PLAIN credentials")
	case authzid != "" && authzid != login:
		return directory.Identity{}, ldap.Errorf(ldap.InappropriateAuth, "nobody may act for another here")
	}
	return c.checkPassword(ctx, strings.TrimPrefix(login, "dn:"), password)
}

// plainLogin leaves out the "u:" that some programs put before a login.
func plainLogin(message []byte) []byte {
	parts := bytes.Split(message, []byte{0})
	if len(parts) == 3 {
		parts[1] = bytes.TrimPrefix(parts[1], []byte("u:"))
	}
	return append([]byte{}, bytes.Join(parts, []byte{0})...) // never nil: it is the whole message
}

// bindError gives an error of the door a result code.
func bindError(err error) error {
	switch mail.KindOf(err) {
	case mail.KindInvalid:
		return ldap.Errorf(ldap.InvalidCredentials, "%s", mail.PublicText(err))
	case mail.KindPermission:
		return ldap.Errorf(ldap.InappropriateAuth, "%s", mail.PublicText(err))
	}
	return err
}

// errConfidentiality refuses a password in clear text.
func errConfidentiality() error {
	return ldap.Errorf(ldap.ConfidentialityRequired, "confidentiality required: passwords need TLS here")
}

// bindExternal makes the client who its certificate names: the entry with the
// subject as its DN, or else the account that the door finds it to name.
func (c *conn) bindExternal(ctx context.Context, r *ldapwire.BindRequest) (directory.Identity, error) {
	cert := c.certificate()
	if cert == nil {
		return directory.Identity{}, ldap.Errorf(ldap.InappropriateAuth, "no certificate of yours is known here")
	}
	who, err := c.authorization(ctx, "dn:"+subjectOf(cert).String())
	if err != nil { // or the account that it names
		var x *login.Exchange
		if x, err = c.srv.cfg.Login.Start(ctx, c.client(), sasl.External); err == nil {
			if _, _, err = x.Next([]byte{}); err == nil {
				who, c.traced = directory.Identity{DN: x.Entry.Account.DN}, x.Entry.Trace
				x.Entry.Leave()
			}
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
