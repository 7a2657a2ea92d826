package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"expost/internal/peertest"
)

// TestAddressListOverLDAP takes an address list from one directory to another,
// and out of it into a file.
func TestAddressListOverLDAP(t *testing.T) {
	t.Parallel()
	url := peertest.StartSlapd(t, peertest.SlapdConfig{Suffix: "dc=linuxforu,dc=com", RootDN: "cn=manager,dc=linuxforu,dc=com", Password: "pass"}).URL
	s := newServer(t)
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("addressbook.csv", addressBook)
	write("pw", "pass\n")
	target := []string{"--base", "ou=addressbook,dc=linuxforu,dc=com", "--containers", "--to", url, "--to-bind-dn", "cn=manager,dc=linuxforu,dc=com", "--to-bind-password-file", "pw"}
	if out := s.run(append([]string{"gal", "convert", "addressbook.csv"}, target...)...); out != "5 added, 0 changed, 0 as they were, 0 refused\n" {
		t.Errorf("into slapd: %s", out)
	}
	if out := s.run(append([]string{"gal", "convert", "addressbook.csv"}, target...)...); out != "0 added, 0 changed, 5 as they were, 0 refused\n" {
		t.Errorf("into slapd again: %s", out)
	}
	s.start()
	source := url + "/ou=addressbook,dc=linuxforu,dc=com??sub?(mail=*)"
	if out := s.run("gal", "import", source, "--accounts", "--source", "old"); !strings.Contains(out, "3 mailboxes made") {
		t.Errorf("out of slapd: %s", out)
	}
	if out := s.run("account", "list"); strings.Count(out, "@linuxforu.com") < 3 {
		t.Errorf("accounts:\n%s", out)
	}
	csv := s.run("gal", "convert", "ldap://"+s.addr["ldap"]+"/ou=addressbook,dc=linuxforu,dc=com", "--to", "csv")
	for _, want := range []string{"biswajit@linuxforu.com", "911124650722 5311", "anup@linuxforu.com"} {
		if !strings.Contains(csv, want) {
			t.Errorf("no %q in what came out:\n%s", want, csv)
		}
	}
	if _, errs, err := s.try(t.Context(), "", "gal", "convert", "ldap://192.0.2.1", "--bind-dn", "cn=x", "--bind-password-file", "pw"); err == nil || !strings.Contains(errs, "in clear text") {
		t.Errorf("a password in clear text: %v, %s", err, errs)
	}
}
