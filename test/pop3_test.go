package test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"expost/internal/peertest"
)

// TestPOP3Clients lets fetchmail and mpop leave mail on the server, over a
// restart of it, and fetch it away.
func TestPOP3Clients(t *testing.T) {
	t.Parallel()
	needs(t, "fetchmail", "mpop")
	s := newServer(t)
	s.configure("pop3 = \"\"\npop3s = \"\"", "pop3 = \""+peertest.FreeAddress(t)+"\"\npop3s = \""+peertest.FreeAddress(t)+"\"")
	s.start()
	s.addAccounts("ajay@linuxforu.com")
	c := s.imap("ajay@linuxforu.com", nil)
	for i := range 25 {
		if _, err := appendText(c, "INBOX", fmt.Sprintf("From: a@b\r\nSubject: %d\r\nMessage-ID: <%d@x>\r\n\r\n.dots\r\n..\r\ntext\r\n", i, i)); err != nil {
			t.Fatal(err)
		}
	}
	home := t.TempDir()
	_, port, _ := net.SplitHostPort(s.addr["pop3"])
	rc := filepath.Join(home, "fetchmailrc")
	spool := filepath.Join(home, "fetched")
	writeText(t, rc, fmt.Sprintf("poll localhost service %s proto pop3 uidl user \"ajay@linuxforu.com\" password %q keep no rewrite sslproto '' mda \"cat >> %s\"\n", port, password, spool))
	fetchmail := func() (string, error) {
		return client(t, "", []string{"HOME=" + home, "FETCHMAILHOME=" + home}, "fetchmail", "-f", rc, "--nodetach", "--nosyslog")
	}
	fetched := func() int {
		b, err := os.ReadFile(spool)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(string(b), "\n.dots\n..\ntext\n") != strings.Count(string(b), "Message-ID:") {
			t.Errorf("bodies are not as they were:\n%.500s", b)
		}
		return strings.Count(string(b), "Message-ID:")
	}
	if out, err := fetchmail(); err != nil || fetched() != 25 {
		t.Fatalf("fetchmail: %v, %d messages\n%s", err, fetched(), out)
	}
	s.stop()
	s.start()
	if out, _ := fetchmail(); fetched() != 25 || !strings.Contains(out, "25 seen") {
		t.Errorf("fetchmail finds news where there are none: %d messages\n%s", fetched(), out)
	}
	c = s.imap("ajay@linuxforu.com", nil)
	if _, err := appendText(c, "INBOX", "Subject: new\r\nMessage-ID: <new@x>\r\n\r\n.dots\r\n..\r\ntext\r\n"); err != nil {
		t.Fatal(err)
	}
	if out, err := fetchmail(); err != nil || fetched() != 26 {
		t.Errorf("fetchmail: %v, %d messages, want 26\n%s", err, fetched(), out)
	}
	mbox := filepath.Join(home, "mbox")
	out, err := client(t, "", nil, "mpop", "--host=localhost", "--port="+port, "--tls=off", "--user=ajay@linuxforu.com", "--auth=plain", "--passwordeval=echo '"+password+"'",
		"--keep=off", "--delivery=mbox,"+mbox, "--uidls-file="+filepath.Join(home, "uidls"), "--pipelining=on")
	if err != nil {
		t.Fatalf("mpop: %v\n%s", err, out)
	}
	if b, err := os.ReadFile(mbox); err != nil || strings.Count(string(b), "Message-ID:") != 26 {
		t.Errorf("mpop: %v, %d messages", err, strings.Count(string(b), "Message-ID:"))
	}
	if box, err := c.Select("INBOX", nil).Wait(); err != nil || box.NumMessages != 0 {
		t.Errorf("behind mpop: %v, %d messages", err, box.NumMessages)
	}
}
