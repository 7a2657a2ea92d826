package test

import (
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
)

// TestTraceShowsTheDialogue watches an account whose client was there before, and
// comes by every protocol.
func TestTraceShowsTheDialogue(t *testing.T) {
	t.Parallel()
	needs(t, "curl", "swaks", "ldapsearch")
	s := newServer(t)
	s.configure("pop3 = \"\"\npop3s = \"\"", "pop3 = \"127.0.0.1:0\"\npop3s = \"\"")
	s.start()
	s.addAccounts("ajay@linuxforu.com", "anup@linuxforu.com")
	before, other := s.imap("ajay@linuxforu.com", nil), s.imap("anup@linuxforu.com", nil)
	watch := exec.Command(program, "trace", "ajay@linuxforu.com", "--config", s.config)
	watch.Dir = s.dir
	out := new(syncBuffer)
	watch.Stdout, watch.Stderr = out, out
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	shows := func(what string) {
		t.Helper()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for deadline := time.After(20 * time.Second); !strings.Contains(out.String(), what); {
			select {
			case <-tick.C:
			case <-deadline:
				t.Fatalf("%q is not shown:\n%s", what, out)
			}
		}
	}
	shows("Watching ajay@linuxforu.com")
	if _, err := appendText(before, "INBOX", "Subject: x\r\n\r\nhidden treasure\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := before.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	if got, err := before.Fetch(imap.SeqSetNum(1), &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{{}}}).Collect(); err != nil || len(got) != 1 {
		t.Fatal(err, len(got))
	}
	if err := other.Noop().Wait(); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{" APPEND ", "C: T", " SELECT ", "S: * 1 EXISTS", "FETCH 1 (BODY[])", "BODY[] {31}"} {
		shows(what)
	}
	host, port, _ := net.SplitHostPort(s.addr["submission"])
	if o, err := client(t, "", nil, "swaks", "--server", host, "--port", port, "--tls", "--auth", "PLAIN", "--auth-user", "ajay@linuxforu.com", "--auth-password", password,
		"--from", "ajay@linuxforu.com", "--to", "ajay@linuxforu.com", "--body", "hidden treasure"); err != nil {
		t.Fatalf("%v\n%s", err, o)
	}
	shows("C: MAIL FROM:<ajay@linuxforu.com>")
	shows("bytes>")
	if o, err := client(t, "", nil, "curl", "-sS", "--url", "pop3://"+s.addr["pop3"]+"/1", "-u", "ajay:"+password); err != nil {
		t.Fatalf("%v\n%s", err, o)
	}
	shows("C: RETR 1")
	if o, err := client(t, "", nil, "ldapsearch", "-x", "-H", "ldap://"+s.addr["ldap"], "-D", "ajay@linuxforu.com", "-w", password, "-b", "dc=linuxforu,dc=com", "(cn=treasurer)"); err != nil {
		t.Fatalf("%v\n%s", err, o)
	}
	shows(`request="search"`)
	if _, err := client(t, "", nil, "curl", "-sS", "--url", "imap://"+s.addr["imap"], "-u", "ajay@linuxforu.com:opensesame"); err == nil {
		t.Fatal("a wrong password is let in")
	}
	shows("-- login refused by ")
	if err := watch.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := watch.Wait(); err != nil {
		t.Errorf("Ctrl-C: %v", err)
	}
	for _, secret := range []string{"hidden treasure", password, "opensesame", "anup"} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("%q is shown:\n%s", secret, out)
		}
	}
}
