package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAnotherServersDirectory has a server whose people another one keeps: mail
// arrives, people log in, and while the other is away mail is deferred.
func TestAnotherServersDirectory(t *testing.T) {
	t.Parallel()
	needs(t, "swaks")
	far := newServer(t)
	far.start()
	far.addAccounts("ajay@linuxforu.com", "anup@linuxforu.com")
	s := newServer(t)
	text := strings.Replace(configText, "[directory]\n", fmt.Sprintf(`[directory]
kind = "ldap"
[directory.ldap]
servers = ["ldap://%s"]
bind-dn = "cn=manager,dc=linuxforu,dc=com"
password-file = %q
[directory-end]
`, far.addr["ldap"], filepath.Join(far.dir, "data", "root-password")), 1)
	text = strings.Replace(text, "[directory-end]\nanonymous = [\"ou=addressbook,dc=linuxforu,dc=com\"]\n", "", 1)
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start()
	if out, err := s.swaks("smtp", "--from", "x@example.org", "--to", "ajay@linuxforu.com"); err != nil {
		t.Fatalf("swaks: %v\n%s", err, out)
	}
	s.messages("ajay@linuxforu.com", 1)
	if out := s.run("account", "list"); !strings.Contains(out, "anup@linuxforu.com") {
		t.Errorf("account list: %s", out)
	}
	if out, err := s.swaks("smtp", "--from", "x@example.org", "--to", "nobody@linuxforu.com"); err == nil || !strings.Contains(out, " 550 ") {
		t.Errorf("to nobody: %v\n%s", err, out)
	}
	far.stop()
	far.cmd = nil
	if out, err := s.swaks("smtp", "--from", "x@example.org", "--to", "anup@linuxforu.com"); err == nil || !strings.Contains(out, " 451 ") {
		t.Errorf("while the directory is away: %v\n%s", err, out)
	}
	if out, err := s.swaks("smtp", "--from", "x@example.org", "--to", "ajay@linuxforu.com"); err != nil {
		t.Errorf("to whom it knew a moment ago: %v\n%s", err, out)
	}
	if out := s.run("account", "show", "ajay@linuxforu.com"); !strings.Contains(out, "messages          2") {
		t.Errorf("account show: %s", out)
	}
}
