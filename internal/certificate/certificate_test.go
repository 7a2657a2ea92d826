package certificate

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// shown returns the certificate that a client is shown, checked for host.
func shown(t *testing.T, s *Source, roots *x509.CertPool, host string) (*x509.Certificate, error) {
	t.Helper()
	client, server := net.Pipe()
	defer client.Close()
	go tls.Server(server, s.Config()).Handshake()
	c := tls.Client(client, &tls.Config{RootCAs: roots, ServerName: host})
	if err := c.Handshake(); err != nil {
		return nil, err
	}
	return c.ConnectionState().PeerCertificates[0], nil
}

func TestSelfSignedIsMadeOnceAndTrusted(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "tls")
	now := time.Now()
	first, err := SelfSigned(dir, []string{"mail.linuxforu.com"}, now)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(filepath.Join(dir, "cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	for _, host := range []string{"mail.linuxforu.com", "localhost", "127.0.0.1"} {
		if _, err := shown(t, first, roots, host); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if _, err := shown(t, first, roots, "mail.example.org"); err == nil {
		t.Error("a host that is not in the certificate is taken")
	}
	if fi, err := os.Stat(filepath.Join(dir, "key.pem")); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("key.pem: %v, %v; want mode 0600", fi.Mode(), err)
	}
	if _, err := SelfSigned(dir, []string{"other.example.org"}, now); err != nil {
		t.Fatal(err)
	}
	if again, err := os.ReadFile(filepath.Join(dir, "cert.pem")); err != nil || string(again) != string(pem) {
		t.Errorf("a second start made another certificate: %v", err)
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	one, two := filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "two")
	for _, dir := range []string{one, two} {
		if _, err := SelfSigned(dir, []string{"mail.linuxforu.com"}, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Load(filepath.Join(one, "cert.pem"), filepath.Join(one, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	before := s.current.Load().Leaf.SerialNumber
	if err := os.WriteFile(filepath.Join(one, "cert.pem"), []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(); err == nil {
		t.Error("a broken certificate is taken")
	}
	if s.current.Load().Leaf.SerialNumber.Cmp(before) != 0 {
		t.Error("the old certificate is gone after a failed reload")
	}
	for _, name := range []string{"cert.pem", "key.pem"} {
		b, err := os.ReadFile(filepath.Join(two, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(one, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	if s.current.Load().Leaf.SerialNumber.Cmp(before) == 0 {
		t.Error("the certificate was not read again")
	}
}
