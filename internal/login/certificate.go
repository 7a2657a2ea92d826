package login

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"strings"

	"expost/internal/directory"
	"expost/internal/mail"
)

// CertName is a part of a client's certificate that names its account.
type CertName string

// The parts.
const (
	CertEmail CertName = "email" // the mail addresses of subjectAltName
	CertUPN   CertName = "upn"   // the user principal name of subjectAltName, as on Microsoft's smart cards
	CertCN    CertName = "cn"    // the subject's commonName
	CertUID   CertName = "uid"   // the subject's uid
)

// certificate returns the client's certificate if TLS found it good, else nil.
func (c Client) certificate() *x509.Certificate {
	if c.TLS == nil || len(c.TLS.VerifiedChains) == 0 {
		return nil
	}
	return c.TLS.VerifiedChains[0][0]
}

// certificate lets the owner of a certificate in: as the account that it names
// first, or as authzid where it names that.
func (d *Door) certificate(ctx context.Context, c Client, authzid string) (*Entry, error) {
	cert := c.certificate()
	k := credentials{mechanism: "EXTERNAL", authzid: authzid}
	if cert == nil || d.finder == nil {
		return nil, mail.Errorf(mail.KindPermission, "no certificate of yours is known here")
	}
	names := d.namesOf(cert)
	k.login = strings.Join(names, " ")
	var first error
	for _, name := range names {
		account, err := d.finder.Lookup(ctx, name)
		switch {
		case mail.KindOf(err) == mail.KindNotExist && err != nil, err == nil && account.Status != directory.StatusActive:
			continue
		case err != nil:
			return nil, err
		}
		if err = d.mayAct(ctx, credentials{authzid: authzid, login: name}, account); err == nil {
			k.login = name
			return d.letIn(ctx, c, k, account)
		}
		first = err
	}
	if first == nil {
		first = mail.Errorf(mail.KindAuth, "the certificate names no account here")
	}
	d.log(c, k, "login refused", first)
	return nil, first
}

// letIn makes the entry of an account that has proved itself without a turn.
func (d *Door) letIn(ctx context.Context, c Client, k credentials, account *directory.Account) (*Entry, error) {
	e := &Entry{Account: account, Inside: ctx}
	err := d.pass(ctx, c, e)
	if err == nil {
		err = d.settle(ctx, c, k, e)
	}
	if err != nil {
		e.Leave()
		return nil, err
	}
	return e, nil
}

// namesOf returns the logins that a certificate names, the preferred ones first.
func (d *Door) namesOf(cert *x509.Certificate) []string {
	var names []string
	for _, part := range d.cfg.CertNames {
		switch part {
		case CertEmail:
			names = append(names, cert.EmailAddresses...)
		case CertUPN:
			names = append(names, principalNames(cert)...)
		case CertCN:
			names = append(names, cert.Subject.CommonName)
		case CertUID:
			names = append(names, subjectValues(cert.Subject, asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 1})...)
		}
	}
	var list []string
	for _, n := range names {
		if n = strings.TrimSpace(n); n != "" && len(n) <= 320 {
			list = append(list, n)
		}
	}
	return list
}

// subjectValues returns the values of an attribute of a subject.
func subjectValues(subject pkix.Name, oid asn1.ObjectIdentifier) []string {
	var list []string
	for _, a := range subject.Names {
		if s, ok := a.Value.(string); ok && a.Type.Equal(oid) {
			list = append(list, s)
		}
	}
	return list
}

// principalNames returns the names of type otherName 1.3.6.1.4.1.311.20.2.3.
func principalNames(cert *x509.Certificate) []string {
	var list []string
	for _, ext := range cert.Extensions {
		if !ext.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}) {
			continue
		}
		var all asn1.RawValue
		if rest, err := asn1.Unmarshal(ext.Value, &all); err != nil || len(rest) > 0 {
			continue
		}
		for rest := all.Bytes; len(rest) > 0; {
			var name asn1.RawValue
			var err error
			if rest, err = asn1.Unmarshal(rest, &name); err != nil {
				break
			}
			if s, ok := principalName(name); ok {
				list = append(list, s)
			}
		}
	}
	return list
}

// principalName reads one GeneralName.
func principalName(name asn1.RawValue) (string, bool) {
	if name.Class != asn1.ClassContextSpecific || name.Tag != 0 {
		return "", false
	}
	var oid asn1.ObjectIdentifier
	rest, err := asn1.Unmarshal(name.Bytes, &oid)
	if err != nil || !oid.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 20, 2, 3}) {
		return "", false
	}
	var explicit asn1.RawValue
	if _, err := asn1.Unmarshal(rest, &explicit); err != nil {
		return "", false
	}
	var text asn1.RawValue
	if _, err := asn1.Unmarshal(explicit.Bytes, &text); err != nil {
		return "", false
	}
	return string(text.Bytes), true
}
