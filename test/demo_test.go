package test

import (
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestDemo runs what make demo runs and reads from it as its last page says.
func TestDemo(t *testing.T) {
	t.Parallel()
	needs(t, "curl", "ldapsearch")
	if _, err := os.Stat("../bin/expost"); err != nil {
		t.Skip("bin/expost is not built; run make build")
	}
	dir, base := filepath.Join(t.TempDir(), "demo"), freePorts(t)
	cmd := exec.Command("./demo.sh")
	cmd.Env = append(os.Environ(), "DEMO_DIR="+dir, "DEMO_PORTS="+strconv.Itoa(base))
	out, err := cmd.CombinedOutput()
	t.Cleanup(func() {
		if b, err := os.ReadFile(filepath.Join(dir, "pid")); err == nil {
			if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
				syscall.Kill(pid, syscall.SIGTERM)
			}
		}
	})
	if err != nil {
		t.Fatalf("demo: %v\n%s", err, out)
	}
	if !regexp.MustCompile(`(?m)^S: \* SEARCH \d+`).Match(out) {
		t.Errorf("the message to a colleague was not found:\n%s", out)
	}
	found, err := exec.Command("ldapsearch", "-x", "-LLL", "-H", "ldap://127.0.0.1:"+strconv.Itoa(base+389), "-b", "ou=addressbook,dc=linuxforu,dc=com", "(cn=Bis*)", "mail").CombinedOutput()
	if err != nil || !strings.Contains(string(found), "mail: biswajit@linuxforu.com") {
		t.Errorf("ldapsearch: %v\n%s", err, found)
	}
	m := regexp.MustCompile(`curl --user '(.*?)' '(imap://.*?)'`).FindStringSubmatch(string(out))
	if m == nil {
		t.Fatalf("the demo does not say how to log in:\n%s", out)
	}
	list, err := exec.Command("curl", "-sS", "--user", m[1], m[2]).CombinedOutput()
	if err != nil || !strings.Contains(string(list), "INBOX") || !strings.Contains(string(list), "&") {
		t.Errorf("the mailboxes are not there: %v\n%s", err, list)
	}
}

// freePorts returns a number above which the ports of the demo are free.
func freePorts(t *testing.T) int {
	t.Helper()
	free := func(base int) bool {
		for _, port := range []int{25, 143, 389, 465, 587, 636, 993} {
			l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(base+port)))
			if err != nil {
				return false
			}
			l.Close()
		}
		return true
	}
	for range 100 {
		if base := 12000 + 1000*rand.IntN(18); free(base) { // below the ephemeral ports
			return base
		}
	}
	t.Fatal("no free ports for the demo")
	return 0
}
