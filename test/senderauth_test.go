package test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"

	"expost/internal/resolver/resolvertest"
)

// texts returns the messages of a mailbox, once there are n.
func (s *server) texts(user, box string, n int) []string {
	s.t.Helper()
	c := s.imap(user, nil)
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(20 * time.Millisecond) {
		data, err := c.Select(box, nil).Wait()
		if err != nil {
			s.t.Fatal(err)
		}
		if int(data.NumMessages) == n {
			break
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s of %s has %d messages, want %d\n%s", box, user, data.NumMessages, n, s.log)
		}
	}
	if n == 0 {
		return nil
	}
	section := &imap.FetchItemBodySection{Peek: true}
	msgs, err := c.Fetch(imap.SeqSet{{Start: 1, Stop: 0}}, &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{section}}).Collect()
	if err != nil {
		s.t.Fatal(err)
	}
	var list []string
	for _, m := range msgs {
		list = append(list, string(m.FindBodySection(section)))
	}
	return list
}

// configured writes a server's configuration: the usual one with what replaces
// parts of it, and more sections.
func (s *server) configured(more string, replace ...string) {
	s.t.Helper()
	text := strings.NewReplacer(replace...).Replace(configText) + more
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// write writes a file and returns its path.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// opendkim runs the filter over a message, as a configuration says, and returns
// what it says.
func opendkim(t *testing.T, conf, message string) string {
	t.Helper()
	dir := t.TempDir()
	out, err := exec.Command("opendkim", "-x", write(t, dir, "conf", "Syslog no\nRequireSafeKeys no\n"+conf), "-v", "-t", write(t, dir, "message", message)).CombinedOutput()
	if err != nil {
		t.Fatalf("opendkim: %v\n%s", err, out)
	}
	return string(out)
}

// world is two servers, and a DNS that knows them and others.
type world struct {
	t          *testing.T
	dns        *resolvertest.Server
	near, far  *server
	nearTXT    map[string]string // the DKIM records of the near server
	bankKey    string            // a file
	bankRecord string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, near: newServer(t), far: newServer(t), nearTXT: map[string]string{}}
	w.makeBank()
	w.dns = resolvertest.Serve(t,
		`linuxforu.com. TXT "v=spf1 ip4:127.0.0.1 -all"`, `_dmarc.linuxforu.com. TXT "v=DMARC1; p=reject"`,
		`bank.example. TXT "v=spf1 ip4:192.0.2.1 -all"`, `_dmarc.bank.example. TXT "v=DMARC1; p=quarantine; sp=reject"`,
		`evil.example. TXT "v=spf1 +all"`, `plain.example. TXT "v=spf1 ip4:192.0.2.1 -all"`,
		`origin.example. TXT "v=spf1 ip4:192.0.2.1 -all"`, `_dmarc.origin.example. TXT "v=DMARC1; p=none"`,
		resolvertest.TXT("s1._domainkey.bank.example.", w.bankRecord),
	)
	dns := "[dns]\nserver = \"" + w.dns.Addr + "\"\n"
	w.far.configured(dns+"[mailauth]\ntrusted = []\n", "mail.linuxforu.com", "mail.far.example", `["linuxforu.com"]`, `["far.example", "origin.example"]`)
	w.far.start()
	w.near.configured(dns + fmt.Sprintf("[[queue.route]]\ndomain = \"far.example\"\nhost = %q\n[[queue.route]]\ndomain = \"origin.example\"\nhost = %q\n", w.far.addr["smtp"], w.far.addr["smtp"]))
	w.near.start()
	w.far.addAccounts("anup@far.example", "x@origin.example")
	w.near.addAccounts("ajay@linuxforu.com", "biswajit@linuxforu.com")
	var keys []struct{ Name, Record string }
	if err := json.Unmarshal([]byte(w.near.run("dkim", "add", "linuxforu.com", "--json")), &keys); err != nil || len(keys) != 2 {
		t.Fatalf("%v, %v", keys, err)
	}
	for _, k := range keys {
		w.dns.Add(t, resolvertest.TXT(k.Name, k.Record))
		w.nearTXT[strings.TrimSuffix(k.Name, ".")] = k.Record
	}
	return w
}

// makeBank makes the key with which opendkim signs.
func (w *world) makeBank() {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		w.t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		w.t.Fatal(err)
	}
	w.bankRecord = "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(public)
	w.bankKey = write(w.t, w.t.TempDir(), "bank.pem", string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})))
}

// submit sends as ajay.
func (w *world) submit(args ...string) {
	w.t.Helper()
	out, err := w.near.swaks("submissions", append([]string{"--tls-on-connect", "--auth", "PLAIN", "--auth-user", "ajay@linuxforu.com", "--auth-password", password,
		"--from", "ajay@linuxforu.com"}, args...)...)
	if err != nil {
		w.t.Fatalf("swaks: %v\n%s", err, out)
	}
}

// opendkimDNS writes the DKIM records as opendkim reads them.
func (w *world) opendkimDNS() string {
	var b strings.Builder
	for name, record := range w.nearTXT {
		fmt.Fprintf(&b, "%s %s\n", name, record)
	}
	return "TestDNSData file:" + write(w.t, w.t.TempDir(), "dns", b.String()) + "\nMode v\n"
}

// TestSignedMail has opendkim and the other server verify what one signs, and
// the other verify what opendkim signs.
func TestSignedMail(t *testing.T) {
	t.Parallel()
	needs(t, "swaks", "opendkim")
	w := newWorld(t)
	w.submit("--to", "anup@far.example", "--body", "Signed, dot by dot.\n.\n..x\n  \n\n\n", "--h-Subject", "Grüße   und mehr")
	text := w.far.texts("anup@far.example", "INBOX", 1)[0]
	results, _, _ := strings.Cut(text, "\r\nReceived:")
	for _, want := range []string{"Authentication-Results: mail.far.example;\r\n", "spf=pass smtp.mailfrom=linuxforu.com", "dmarc=pass (p=reject) header.from=linuxforu.com", "header.a=ed25519-sha256", "header.a=rsa-sha256"} {
		if !strings.Contains(results, want) {
			t.Errorf("no %q in\n%s", want, results)
		}
	}
	if n := strings.Count(results, "dkim=pass"); n != 2 {
		t.Errorf("%d signatures passed, want 2\n%s", n, results)
	}
	if out := opendkim(t, w.opendkimDNS(), text); !strings.Contains(out, "succeeded") || strings.Contains(out, "failed") {
		t.Errorf("opendkim does not verify it:\n%s\n%s", out, text)
	}
	if out := opendkim(t, w.opendkimDNS(), strings.Replace(text, "Signed,", "Forged,", 1)); !strings.Contains(out, "failed") {
		t.Errorf("opendkim verifies a changed message:\n%s", out)
	}

	letter := "From: Bank <service@bank.example>\r\nTo: anup@far.example\r\nSubject: Your account\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@bank.example>\r\n\r\nAll is well.\r\n"
	out := opendkim(t, "Mode s\nDomain bank.example\nSelector s1\nKeyFile "+w.bankKey+"\nSignatureAlgorithm rsa-sha256\nCanonicalization relaxed/simple\nInternalHosts 0.0.0.0/0\n", letter)
	_, field, ok := strings.Cut(out, "\nDKIM-Signature: ")
	field, _, _ = strings.Cut(strings.TrimSpace(field), "\nopendkim:")
	if !ok {
		t.Fatalf("opendkim does not sign:\n%s", out)
	}
	signed := "DKIM-Signature: " + strings.ReplaceAll(field, "\n", "\r\n") + "\r\n" + letter
	sent, err := w.far.swaks("smtp", "--from", "bounce@evil.example", "--to", "anup@far.example", "--data", write(t, t.TempDir(), "m", signed))
	if err != nil {
		t.Fatalf("swaks: %v\n%s", err, sent)
	}
	text = w.far.texts("anup@far.example", "INBOX", 2)[1]
	for _, want := range []string{"dkim=pass header.d=bank.example", "spf=pass smtp.mailfrom=evil.example", "dmarc=pass"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// TestForgedSenders has mail in the name of domains that say who may send.
func TestForgedSenders(t *testing.T) {
	t.Parallel()
	needs(t, "swaks")
	w := newWorld(t)
	for _, tt := range []struct {
		name, envelope, from string
		inbox, junk          int
		refused              string
	}{
		{"reject", "x@evil.example", "ajay@linuxforu.com", 0, 0, "550 5.7.26"},
		{"reject, below the domain", "x@evil.example", "ajay@deep.linuxforu.com", 0, 0, "550 5.7.26"},
		{"a policy of its own for what is below", "x@evil.example", "service@www.bank.example", 0, 0, "550 5.7.26"},
		{"quarantine", "x@evil.example", "service@bank.example", 0, 1, ""},
		{"SPF fails and no DMARC", "x@plain.example", "x@plain.example", 0, 2, ""},
		{"SPF fails, DMARC says none", "x@origin.example", "x@origin.example", 1, 2, ""},
		{"its own", "x@evil.example", "x@evil.example", 2, 2, ""},
	} {
		out, err := w.far.swaks("smtp", "--from", tt.envelope, "--to", "anup@far.example", "--h-From", tt.from,
			"--add-header", "Authentication-Results: mail.far.example; spf=pass; dkim=pass header.d=linuxforu.com", "--add-header", "Authentication-Results: other.example; dkim=pass")
		if tt.refused == "" && err != nil || tt.refused != "" && (err == nil || !strings.Contains(out, tt.refused)) {
			t.Errorf("%s: %v\n%s", tt.name, err, out)
		}
		inbox := w.far.texts("anup@far.example", "INBOX", tt.inbox)
		w.far.texts("anup@far.example", "Junk", tt.junk)
		for _, text := range inbox {
			if strings.Count(text, "Authentication-Results: mail.far.example") != 1 || !strings.Contains(text, "Authentication-Results: other.example") {
				t.Errorf("%s: a forged field stands, or another's does not:\n%s", tt.name, text)
			}
		}
	}
}

// TestForwardedMail forwards mail of a domain that lets nobody else send, and
// has its report find the way back.
func TestForwardedMail(t *testing.T) {
	t.Parallel()
	needs(t, "swaks")
	w := newWorld(t)
	w.near.run("account", "set", "biswajit@linuxforu.com", "--forward", "anup@far.example")
	w.near.addAccounts("gone@linuxforu.com")
	w.near.run("account", "set", "gone@linuxforu.com", "--forward", "nobody@far.example")
	send := func(to string) {
		t.Helper()
		if out, err := w.near.swaks("smtp", "--from", "x@origin.example", "--to", to); err != nil {
			t.Fatalf("swaks: %v\n%s", err, out)
		}
	}
	send("biswajit@linuxforu.com")
	text := w.far.texts("anup@far.example", "INBOX", 1)[0]
	for _, want := range []string{"Return-Path: <SRS0=", "=origin.example=x@linuxforu.com>", "spf=pass smtp.mailfrom=linuxforu.com", "header.d=linuxforu.com"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	send("gone@linuxforu.com")
	report := w.far.texts("x@origin.example", "INBOX", 1)[0]
	for _, want := range []string{"Return-Path: <>\r\n", "nobody@far.example", "Status: 5.1.1", "Action: failed"} {
		if !strings.Contains(report, want) {
			t.Errorf("no %q in\n%s", want, report)
		}
	}
	_, srs, _ := strings.Cut(text, "Return-Path: <")
	srs, _, _ = strings.Cut(srs, ">")
	if out, err := w.near.swaks("smtp", "--from", "spam@evil.example", "--to", srs); err == nil || !strings.Contains(out, "550 5.7.1") {
		t.Errorf("a rewritten address takes mail that is no report: %v\n%s", err, out)
	}
	if out, err := w.near.swaks("smtp", "--from", "<>", "--to", strings.Replace(srs, "=x@", "=victim@", 1)); err == nil || !strings.Contains(out, "550 5.1.1") {
		t.Errorf("a forged rewritten address leads out: %v\n%s", err, out)
	}
}
