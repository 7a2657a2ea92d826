package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"expost/internal/mail"
)

// write puts text into expost.toml of a fresh folder.
func write(t *testing.T, text string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "expost.toml")
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestLoadFillsInWhatFollows(t *testing.T) {
	t.Parallel()
	p := write(t, `
data = "d"
hostname = "mail.linuxforu.com"
domains = ["LinuxForU.com", "xn--mller-kva.example"]
[listen]
imap = "127.0.0.1:1143"
imaps = ["127.0.0.1:1993", "[::1]:1993"]
smtp = ""
`)
	c, err := Load(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ what, got, want string }{
		{"data", c.Data, filepath.Join(filepath.Dir(p), "d")},
		{"domain", c.Domains[0], "linuxforu.com"},
		{"IDN domain", c.Domains[1], "müller.example"},
		{"suffix", c.Directory.Suffix, "dc=linuxforu,dc=com"},
		{"root-dn", c.Directory.RootDN, "cn=manager,dc=linuxforu,dc=com"},
		{"postmaster", c.SMTP.Postmaster, "postmaster@linuxforu.com"},
		{"plaintext-auth", c.TLS.PlaintextAuth, "loopback"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s = %q, want %q", tt.what, tt.got, tt.want)
		}
	}
	if !slices.Equal(c.Listen.IMAP, Addresses{"127.0.0.1:1143"}) {
		t.Errorf("imap = %v", c.Listen.IMAP)
	}
	if !slices.Equal(c.Listen.IMAPS, Addresses{"127.0.0.1:1993", "[::1]:1993"}) {
		t.Errorf("imaps = %v", c.Listen.IMAPS)
	}
	if len(c.Listen.SMTP) != 0 {
		t.Errorf("smtp = %v, want none", c.Listen.SMTP)
	}
	if !slices.Equal(c.Listen.LDAP, Addresses{":389"}) {
		t.Errorf("ldap = %v, want the default", c.Listen.LDAP)
	}
}

func TestLoadWithoutFile(t *testing.T) {
	t.Parallel()
	c, err := Load("")
	if err != nil {
		t.Fatal(err)
	}
	if c.Data != "expost-data" || len(c.Domains) != 1 || c.Directory.Suffix == "" {
		t.Errorf("defaults: %+v", c)
	}
}

func TestLoadNamesThePlace(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, text, want string }{
		{"unknown key", "data = \"x\"\n[listen]\nimpa = \":143\"\n", `:3: unknown key "listen.impa"`},
		{"broken TOML", "data = \n", "expost.toml:1:"},
		{"wrong type", "domains = 3\n", "expost.toml:1:"},
		{"plaintext", "[tls]\nplaintext-auth = \"maybe\"\n", "tls.plaintext-auth"},
		{"half a pair", "[tls]\ncert = \"c.pem\"\n", "cert and key must be given together"},
		{"suffix", "[directory]\nsuffix = \"linuxforu\"\n", "directory.suffix"},
		{"anonymous", "[directory]\nanonymous = [\"=\"]\n", "directory.anonymous"},
		{"kind", "[directory]\nkind = \"nis\"\n", "directory.kind"},
		{"access", "[[directory.access]]\nsubtree = \"dc=x\"\nby = [\"users reed\"]\n", `rule 1: "reed" is no level`},
		{"external without servers", "[directory]\nkind = \"ldap\"\n", "directory.ldap: servers is missing"},
		{"external scheme", "[directory]\nkind = \"ldap\"\n[directory.ldap]\nservers = [\"http://x\"]\n", "neither ldap:// nor ldaps://"},
		{"external type", "[directory]\nkind = \"ldap\"\n[directory.ldap]\nservers = [\"ldap://x\"]\ntype = \"nis\"\n", "neither openldap nor ad"},
		{"copy", "[directory.copy]\nserver = \"nis://x\"\n", "directory.copy"},
		{"copy without password", "[directory.copy]\nserver = \"ldap://x\"\nbind-dn = \"cn=x\"\n", "must be given together"},
		{"access for nobody", "[[directory.access]]\nattributes = [\"cn\"]\n", "by is missing"},
		{"access twice", "[[directory.access]]\nsubtree = \"dc=x\"\none = \"dc=x\"\nby = [\"* read\"]\n", "one of dn, subtree"},
		{"address", "[listen]\nimap = \"143\"\n", "listen.imap"},
		{"level", "[log]\nlevel = \"loud\"\n", "log.level"},
		{"limit", "[smtp]\nmax-message = -1\n", "max-message"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Load(write(t, tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want one with %q", err, tt.want)
			}
			if mail.KindOf(err) != mail.KindInvalid {
				t.Errorf("kind %v", mail.KindOf(err))
			}
		})
	}
}

func TestLoadMissingFile(t *testing.T) {
	t.Parallel()
	if _, err := Load(filepath.Join(t.TempDir(), "none.toml")); err == nil || !strings.Contains(err.Error(), "none.toml") {
		t.Fatalf("error %v does not name the file", err)
	}
}
