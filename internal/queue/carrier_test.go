package queue

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/netip"
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
	server.ErrorLog = log.New(io.Discard, "", 0)
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

// names is a Resolver for one domain with two hosts.
type names struct{}

func (names) LookupMX(context.Context, string) ([]*net.MX, error) {
	return []*net.MX{{Host: "a.x.example.", Pref: 1}, {Host: "b.x.example.", Pref: 2}}, nil
}

func (names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if host == "a.x.example." {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}
	return []netip.Addr{netip.MustParseAddr("127.0.0.2")}, nil
}

// mailbox is a server's session that takes mail, or puts it off.
type mailbox struct {
	nobody
	refusal error
	got     chan<- string
}

func (m *mailbox) Mail(string, *smtp.MailOptions) error { return m.refusal }
func (m *mailbox) Rcpt(to string, _ *smtp.RcptOptions) error {
	m.got <- to
	return nil
}
func (m *mailbox) Data(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

// TestSecondHost has a domain whose first host puts all mail off, or ends the
// session: the second one gets it in the same try.
func TestSecondHost(t *testing.T) {
	t.Parallel()
	for name, refusal := range map[string]error{
		"puts off": &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 3, 1}, Message: "disk full"},
		"ends":     &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 3, 2}, Message: "going down"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			port := first.Addr().(*net.TCPAddr).Port
			second, err := net.Listen("tcp", fmt.Sprintf("127.0.0.2:%d", port))
			if err != nil {
				t.Skip(err) // no such address here, or another has the port
			}
			got := make(chan string, 10)
			for ln, refusal := range map[net.Listener]error{first: refusal, second: nil} {
				server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &mailbox{refusal: refusal, got: got}, nil }))
				server.ErrorLog = log.New(io.Discard, "", 0)
				go func() { _ = server.Serve(ln) }()
				t.Cleanup(func() { server.Close() })
			}
			b := newBench(t, func(c *Config) {
				c.Carrier = &Remote{Router: &route.Router{Table: &route.Table{}, Resolver: names{}, Port: uint16(port)}, LocalName: "mail.example.org"}
			})
			b.run(t) // the clock stands still: there is one try
			b.enqueue(t, "me@example.org", "u@x.example")
			if to := wait(t, got); to != "u@x.example" {
				t.Errorf("got %s", to)
			}
			b.until(t, 0, func() bool { return b.empty(t) })
		})
	}
}
