package queue

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"expost/internal/route"
	"expost/internal/smtpclient"
)

// certificate returns a certificate for a name that is its own authority.
func certificate(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// nobody is a session that gets no mail.
type nobody struct{ smtp.Session }

func (nobody) Logout() error { return nil }
func (nobody) Reset()        {}

// TestRelayCertificate has a relay whose certificate another authority than the
// system's must vouch for.
func TestRelayCertificate(t *testing.T) {
	t.Parallel()
	cert, roots := certificate(t, "exchange.example.org")
	_, others := certificate(t, "exchange.example.org")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return nobody{}, nil }))
	server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
	go func() { _ = server.Serve(ln) }()
	t.Cleanup(func() { server.Close() })
	for name, test := range map[string]struct {
		policy smtpclient.TLSPolicy
		roots  *x509.CertPool
		cert   string
		want   string
	}{
		"good":                     {smtpclient.TLSVerify, roots, "exchange.example.org", ""},
		"of another authority":     {smtpclient.TLSVerify, others, "exchange.example.org", "unknown authority"},
		"of an unknown authority":  {smtpclient.TLSVerify, nil, "exchange.example.org", "unknown authority"},
		"of another name":          {smtpclient.TLSVerify, roots, "mail.example.org", "mail.example.org"},
		"of no name, as it is":     {smtpclient.TLSVerify, roots, "", "127.0.0.1"},
		"any, where nobody looks":  {smtpclient.TLSMust, others, "", ""},
		"any, where it may be had": {smtpclient.TLSMay, others, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			relay, err := route.ParseRelay(ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			relay.TLS, relay.Roots, relay.CertName = test.policy, test.roots, test.cert
			carrier := &Remote{Router: &route.Router{Table: &route.Table{Hosts: map[string]*route.Relay{"exchange": relay}}}, LocalName: "mail.example.org"}
			s, err := carrier.Dial(t.Context(), relay.Hop())
			switch {
			case test.want != "":
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v, want %q", err, test.want)
				}
			case err != nil:
				t.Error(err)
			case !s.Secure():
				t.Error("the session is in clear text")
			}
			if err == nil {
				s.Close()
			}
		})
	}
}
