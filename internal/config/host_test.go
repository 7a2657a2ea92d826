package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"expost/internal/smtpclient"
)

// TestHostRelays has hosts that say where their mail goes, and how it is secured.
func TestHostRelays(t *testing.T) {
	t.Parallel()
	c, err := Load(write(t, `
[[host]]
name = "plain.example.org"
[[host]]
name = "Exchange.example.org"
smtp-tls = "verify"
certificate-name = "EX01"
[[host]]
name = "second.example.org"
smtp = "lmtp:127.0.0.1:24"
`))
	if err != nil {
		t.Fatal(err)
	}
	relays, err := c.HostRelays()
	if err != nil || len(relays) != 2 {
		t.Fatalf("%v: %v", relays, err)
	}
	if r := relays["exchange.example.org"]; r.Hop() != "[exchange.example.org]:25" || r.TLS != smtpclient.TLSVerify || r.CertName != "EX01" {
		t.Errorf("exchange: %+v", r)
	}
	if r := relays["second.example.org"]; r.Hop() != "lmtp:[127.0.0.1]:24" || r.TLS != "" {
		t.Errorf("second: %+v", r)
	}
}

// TestRelayAuthorities reads the certificates that relays are checked against.
func TestRelayAuthorities(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"[queue.smarthost]\nhost = \"relay.example.net\"\nca = \"" + file + "\"\n",
		"[[queue.route]]\ndomain = \"example.net\"\nhost = \"relay.example.net\"\nca = \"" + file + "\"\n",
	} {
		c, err := Load(write(t, text))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Queue.Table(); err == nil || !strings.Contains(err.Error(), "holds no certificate") {
			t.Errorf("%s: %v", text, err)
		}
	}
	c, err := Load(write(t, "[[host]]\nname = \"x\"\nsmtp-tls = \"must\"\nca = \""+file+"\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.HostRelays(); err == nil || !strings.Contains(err.Error(), "host x") {
		t.Errorf("host: %v", err)
	}
	if _, err := Load(write(t, "[[host]]\nname = \"x\"\nsmtp-tls = \"perhaps\"\n")); err == nil || !strings.Contains(err.Error(), "smtp-tls") {
		t.Errorf("a policy that is none: %v", err)
	}
}
