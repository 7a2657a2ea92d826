package sasl

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"

	_ "crypto/sha256" // the hashes of certificates
	_ "crypto/sha512"
)

// Binding is a TLS channel, to which SCRAM-SHA-256-PLUS ties a login, so that
// nobody in the middle can use it.
type Binding struct {
	state *tls.ConnectionState
	cert  *x509.Certificate // ours; nil: not known
}

// NewBinding returns the Binding of a connection that cfg was used for; nil for
// one without TLS.
func NewBinding(state *tls.ConnectionState, cfg *tls.Config) *Binding {
	if state == nil {
		return nil
	}
	return &Binding{state: state, cert: shown(state, cfg)}
}

// shown returns the certificate that cfg shows to clients that ask for the
// host name of the connection.
func shown(state *tls.ConnectionState, cfg *tls.Config) *x509.Certificate {
	if cfg == nil {
		return nil
	}
	var cert *tls.Certificate
	if cfg.GetCertificate != nil {
		cert, _ = cfg.GetCertificate(&tls.ClientHelloInfo{
			ServerName: state.ServerName, CipherSuites: []uint16{state.CipherSuite}, SupportedVersions: []uint16{state.Version},
			SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256, tls.PSSWithSHA256, tls.PKCS1WithSHA256, tls.Ed25519},
			SupportedCurves:  []tls.CurveID{tls.X25519, tls.CurveP256}, SupportedPoints: []uint8{0},
		})
	}
	if cert == nil && len(cfg.Certificates) > 0 {
		cert = &cfg.Certificates[0]
	}
	switch {
	case cert == nil || len(cert.Certificate) == 0:
		return nil
	case cert.Leaf != nil:
		return cert.Leaf
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		return nil
	}
	return leaf
}

// errBinding is an answer to a kind of binding that this channel has not.
var errBinding = errors.New("no such channel binding here")

// data returns the bytes of a kind of channel binding.
func (b *Binding) data(kind string) ([]byte, error) {
	switch strings.ToLower(kind) {
	case "tls-exporter": // RFC 9266 §2
		return b.state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
	case "tls-server-end-point": // RFC 5929 §4
		if b.cert == nil {
			return nil, errBinding
		}
		h := endPointHash(b.cert.SignatureAlgorithm).New()
		h.Write(b.cert.Raw)
		return h.Sum(nil), nil
	case "tls-unique": // RFC 5929 §3, of TLS 1.2 and older
		if b.state.TLSUnique == nil { //nolint:staticcheck // nil where it is not safe
			return nil, errBinding
		}
		return b.state.TLSUnique, nil //nolint:staticcheck
	}
	return nil, errBinding
}

// endPointHash returns the hash of a certificate's signature, SHA-256 instead of
// the weak ones and where there is none (RFC 5929 §4.1).
func endPointHash(a x509.SignatureAlgorithm) crypto.Hash {
	switch a {
	case x509.SHA384WithRSA, x509.ECDSAWithSHA384, x509.SHA384WithRSAPSS:
		return crypto.SHA384
	case x509.SHA512WithRSA, x509.ECDSAWithSHA512, x509.SHA512WithRSAPSS:
		return crypto.SHA512
	}
	return crypto.SHA256
}
