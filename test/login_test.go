package test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// configure changes the configuration before the start.
func (s *server) configure(old, replacement string) {
	s.t.Helper()
	b, err := os.ReadFile(s.config)
	if err != nil {
		s.t.Fatal(err)
	}
	if !strings.Contains(string(b), old) {
		s.t.Fatalf("the configuration has no %q", old)
	}
	if err := os.WriteFile(s.config, []byte(strings.Replace(string(b), old, replacement, 1)), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// client runs a program for at most 30 s and returns what it prints.
func client(t *testing.T, stdin string, env []string, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestLoginWithRealClients logs in with the clients and libraries that people
// have: GNU SASL, Cyrus SASL (of ldap-utils), curl and mpop.
func TestLoginWithRealClients(t *testing.T) {
	t.Parallel()
	needs(t, "gsasl", "ldapwhoami", "curl", "mpop")
	s := newServer(t)
	s.configure("pop3 = \"\"\npop3s = \"\"", "pop3 = \"127.0.0.1:0\"\npop3s = \"127.0.0.1:0\"")
	ca := newAuthority(t)
	s.configure("[log]", "[login]\nclient-ca = \""+ca.file+"\"\nclient-names = [\"email\", \"cn\"]\n[log]")
	s.start()
	s.addAccounts("ajay@linuxforu.com")
	cert, key := ca.issue(t, "ajay@linuxforu.com")
	port := func(service string) string {
		_, p, err := net.SplitHostPort(s.addr[service])
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	trust := "--x509-ca-file=" + filepath.Join(s.dir, "data", "tls", "cert.pem")
	gsasl := func(mechanism, protocol, pw string, more ...string) []string {
		return append(append([]string{"--" + protocol, "-m", mechanism, "-a", "ajay@linuxforu.com", "-p", pw}, more...), "localhost", port(map[string]string{"imap": "imap", "smtp": "submission"}[protocol]))
	}
	const finished = "Client authentication finished"
	mpop := func(method string, tls bool) []string {
		args := []string{"--host=localhost", "--user=ajay@linuxforu.com", "--auth=" + method, "--passwordeval=echo 'correct horse'", "--delivery=mbox," + filepath.Join(s.dir, "mpop.mbox"), "--uidls-file=" + filepath.Join(s.dir, "uidls")}
		if tls {
			return append(args, "--port="+port("pop3s"), "--tls=on", "--tls-starttls=off", "--tls-trust-file="+filepath.Join(s.dir, "data", "tls", "cert.pem"))
		}
		return append(args, "--port="+port("pop3"), "--tls=off")
	}
	ldap := func(pw string, more ...string) []string {
		return append([]string{"-Q", "-H", "ldap://" + s.addr["ldap"], "-U", "ajay@linuxforu.com", "-w", pw}, more...)
	}
	for name, tt := range map[string]struct {
		program string
		args    []string
		ok      bool
		printed string
	}{
		"IMAP, SCRAM":             {"gsasl", gsasl("SCRAM-SHA-256", "imap", password, "--no-starttls"), true, finished + " (server trusted)"},
		"IMAP, SCRAM over TLS":    {"gsasl", gsasl("SCRAM-SHA-256", "imap", password, "--starttls", "--no-cb", trust), true, finished + " (server trusted)"},
		"IMAP, SCRAM-PLUS":        {"gsasl", gsasl("SCRAM-SHA-256-PLUS", "imap", password, "--starttls", trust), true, finished + " (server trusted)"},
		"IMAP, SCRAM, wrong":      {"gsasl", gsasl("SCRAM-SHA-256", "imap", "wrong", "--no-starttls"), false, "AUTHENTICATIONFAILED"},
		"IMAP, SCRAM-PLUS, wrong": {"gsasl", gsasl("SCRAM-SHA-256-PLUS", "imap", "wrong", "--starttls", trust), false, "AUTHENTICATIONFAILED"},
		"IMAP, PLAIN":             {"gsasl", gsasl("PLAIN", "imap", password, "--starttls", trust), true, finished},
		"IMAP, LOGIN":             {"gsasl", gsasl("LOGIN", "imap", password, "--starttls", trust), true, finished},
		"IMAP, EXTERNAL":          {"gsasl", []string{"--imap", "-m", "EXTERNAL", "-z", "", "--starttls", trust, "--x509-cert-file=" + cert, "--x509-key-file=" + key, "localhost", port("imap")}, true, finished},
		"IMAP, no certificate":    {"gsasl", []string{"--imap", "-m", "EXTERNAL", "-z", "", "--starttls", trust, "localhost", port("imap")}, false, "unknown authentication mechanism"},
		"SMTP, SCRAM":             {"gsasl", gsasl("SCRAM-SHA-256", "smtp", password, "--no-starttls"), true, finished + " (server trusted)"},
		"SMTP, SCRAM-PLUS":        {"gsasl", gsasl("SCRAM-SHA-256-PLUS", "smtp", password, "--starttls", trust), true, finished + " (server trusted)"},
		"SMTP, SCRAM, wrong":      {"gsasl", gsasl("SCRAM-SHA-256", "smtp", "wrong", "--no-starttls"), false, "535 5.7.8"},
		"POP3, SCRAM":             {"mpop", mpop("scram-sha-256", false), true, ""},
		"POP3, SCRAM over TLS":    {"mpop", mpop("scram-sha-256", true), true, ""},
		"POP3, PLAIN over TLS":    {"mpop", mpop("plain", true), true, ""},
		"POP3, LOGIN over TLS":    {"mpop", mpop("login", true), true, ""},
		"POP3, USER":              {"mpop", mpop("user", false), true, ""},
		"POP3, curl, PLAIN":       {"curl", []string{"-sS", "--url", "pop3://" + s.addr["pop3"], "-u", "ajay@linuxforu.com:" + password, "--login-options", "AUTH=PLAIN"}, true, ""},
		"POP3, curl, EXTERNAL":    {"curl", []string{"-sSk", "--url", "pop3s://" + s.addr["pop3s"], "-u", "ajay@linuxforu.com:", "--login-options", "AUTH=EXTERNAL", "--cert", cert, "--key", key}, true, ""},
		"IMAP, curl, EXTERNAL":    {"curl", []string{"-sSk", "--url", "imaps://" + s.addr["imaps"], "-u", "ajay@linuxforu.com:", "--login-options", "AUTH=EXTERNAL", "--cert", cert, "--key", key}, true, "INBOX"},
		"LDAP, SCRAM":             {"ldapwhoami", ldap(password, "-Y", "SCRAM-SHA-256"), true, "dn:uid=ajay@linuxforu.com,ou=people,dc=linuxforu,dc=com"},
		"LDAP, SCRAM over TLS":    {"ldapwhoami", ldap(password, "-Y", "SCRAM-SHA-256", "-ZZ"), true, "dn:uid=ajay@linuxforu.com,"},
		"LDAP, SCRAM, wrong":      {"ldapwhoami", ldap("wrong", "-Y", "SCRAM-SHA-256"), false, "Invalid credentials"},
		"LDAP, PLAIN over TLS":    {"ldapwhoami", ldap(password, "-Y", "PLAIN", "-ZZ", "-O", "none"), true, "dn:uid=ajay@linuxforu.com,"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := client(t, "\n", []string{"LDAPTLS_REQCERT=never"}, tt.program, tt.args...)
			if tt.program == "gsasl" { // its status does not always tell
				if strings.Contains(out, finished) != tt.ok || !strings.Contains(out, tt.printed) {
					t.Errorf("%v: logged in is not %v, or %q is missing\n%s", err, tt.ok, tt.printed, out)
				}
			} else if (err == nil) != tt.ok || !strings.Contains(out, tt.printed) {
				t.Errorf("%v, want success %v with %q\n%s", err, tt.ok, tt.printed, out)
			}
		})
	}
}

// authority issues client certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Clients"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{cert: cert, key: key, file: filepath.Join(t.TempDir(), "clients.pem")}
	writePEM(t, a.file, "CERTIFICATE", der)
	return a
}

// issue writes a certificate for a mail address and its key.
func (a *authority) issue(t *testing.T, address string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "Somebody"}, EmailAddresses: []string{address},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, k.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePEM(t, cert, "CERTIFICATE", der)
	writePEM(t, key, "PRIVATE KEY", pkcs8)
	return cert, key
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestGuessingIsSlow guesses from one address until it is refused unheard, while
// the owner comes in from another.
func TestGuessingIsSlow(t *testing.T) {
	t.Parallel()
	needs(t, "curl")
	s := newServer(t)
	s.configure("[log]", "[login]\ntrusted-networks = []\nfailures-per-account = 2\npatience = \"1s\"\n[log]")
	s.start()
	s.addAccounts("ajay@linuxforu.com")
	login := func(from, pw string) (string, error) {
		return client(t, "", nil, "curl", "-sSv", "--interface", from, "--url", "imap://"+s.addr["imap"], "-u", "ajay@linuxforu.com:"+pw)
	}
	if out, err := login("127.0.0.1", password); err != nil {
		t.Fatalf("the owner: %v\n%s", err, out)
	}
	refused := ""
	for i := 0; i < 20 && refused == ""; i++ {
		if out, _ := login("127.0.0.2", fmt.Sprint("guess", i)); strings.Contains(out, "too many failed logins: try again in") {
			refused = out
		}
	}
	if refused == "" {
		t.Fatal("20 guesses were all heard")
	}
	if out, err := login("127.0.0.2", password); err == nil {
		t.Errorf("the right password from there is heard at once\n%s", out)
	}
	if out, err := login("127.0.0.1", password); err != nil {
		t.Errorf("the owner is locked out: %v\n%s", err, out)
	}
	if !strings.Contains(s.log.String(), "logins are delayed") {
		t.Errorf("the log tells nothing:\n%s", s.log)
	}
}

func writeText(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
