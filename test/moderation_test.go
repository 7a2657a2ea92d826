package test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// addEntries adds entries to the directory with the manager's password.
func (s *server) addEntries(ldif string) {
	s.t.Helper()
	cmd := exec.Command("ldapadd", "-x", "-H", "ldap://"+s.addr["ldap"], "-D", "cn=manager,dc=linuxforu,dc=com", "-y", s.passwordFile())
	cmd.Stdin = strings.NewReader(ldif)
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("ldapadd: %v\n%s", err, out)
	}
}

// passwordFile returns a file that holds the manager's password and nothing more.
func (s *server) passwordFile() string {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, "data", "root-password"))
	if err == nil {
		err = os.WriteFile(filepath.Join(s.dir, "manager"), bytes.TrimSpace(b), 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return filepath.Join(s.dir, "manager")
}

const newsLDIF = `dn: cn=news,ou=people,dc=linuxforu,dc=com
objectClass: groupOfNames
objectClass: expostGroup
cn: news
mail: news@linuxforu.com
member: uid=ajay@linuxforu.com,ou=people,dc=linuxforu,dc=com
member: uid=biswajit@linuxforu.com,ou=people,dc=linuxforu,dc=com
dnmoderator: uid=biswajit@linuxforu.com,ou=people,dc=linuxforu,dc=com
`

// TestModeratedList decides on mail to a list by reply and by command, across
// a crash.
func TestModeratedList(t *testing.T) {
	t.Parallel()
	needs(t, "swaks", "ldapadd")
	s := newServer(t)
	s.start()
	s.addAccounts("ajay@linuxforu.com", "biswajit@linuxforu.com")
	s.addEntries(newsLDIF)
	for _, subject := range []string{"one", "two", "three"} {
		if out, err := s.swaks("smtp", "--from", "x@far.example", "--to", "news@linuxforu.com", "--h-Subject", subject); err != nil {
			t.Fatalf("swaks: %v\n%s", err, out)
		}
	}
	s.kill()
	s.start()
	questions := s.texts("biswajit@linuxforu.com", "INBOX", 3)
	_, reply, ok := strings.Cut(questions[0], "Reply-To: <")
	reply, _, _ = strings.Cut(reply, ">")
	if !ok || !strings.HasPrefix(reply, "news-approve-") {
		t.Fatalf("no address to reply to in\n%s", questions[0])
	}
	args := []string{"--tls-on-connect", "--auth", "PLAIN", "--auth-user", "biswajit@linuxforu.com", "--auth-password", password, "--from", "biswajit@linuxforu.com"}
	if out, err := s.swaks("submissions", append(args, "--to", reply)...); err != nil {
		t.Fatalf("swaks: %v\n%s", err, out)
	}
	first := s.texts("ajay@linuxforu.com", "INBOX", 1)[0]
	if !strings.Contains(first, "Subject: one\r\n") || !strings.Contains(first, "List-Id: <news.linuxforu.com>\r\n") {
		t.Errorf("%s", first)
	}
	var held []struct{ Token, Subject string }
	if err := json.Unmarshal([]byte(s.run("moderation", "list", "--json")), &held); err != nil || len(held) != 2 || held[0].Subject != "two" {
		t.Fatalf("%v, %v", held, err)
	}
	if out := s.run("moderation", "show", held[0].Token[:8]); !strings.Contains(out, "Subject: two") {
		t.Errorf("show: %s", out)
	}
	s.run("moderation", "approve", held[0].Token[:8])
	s.run("moderation", "reject", held[1].Token)
	s.texts("ajay@linuxforu.com", "INBOX", 2)
	if out := s.run("moderation", "list"); out != "" {
		t.Errorf("%s waits", out)
	}
	if out := s.run("queue", "list"); !strings.Contains(out, "x@far.example") {
		t.Errorf("the refused message was not returned: %s", out)
	}
}
