package test

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"expost/internal/peertest"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-msgauth/dkim"
)

// peerFile writes a file of a peer's folder.
func peerFile(t testing.TB, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// rspamd starts rspamd without rules of its own, so that only its test patterns count.
func rspamd(t testing.TB) (addr string) {
	needs(t, "rspamd")
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	addr = peertest.FreeAddress(t)
	tld := peerFile(t, dir, "tld.txt", "com\norg\n")
	conf := peerFile(t, dir, "rspamd.conf", fmt.Sprintf(`
options {
  url_tld = %q;
  tempdir = %q;
  hs_cache_dir = %q;
  filters = "";
  enable_test_patterns = true;
  control_socket = "%s/control.sock mode=0600";
  dns { nameserver = ["127.0.0.1:9"]; timeout = 0.1s; retransmits = 1; }
}
logging { type = "console"; level = "warning"; }
lua = "/usr/share/rspamd/rules/rspamd.lua";
actions { reject = 15; "add header" = 6; }
worker "rspamd_proxy" {
  bind_socket = %q;
  milter = yes;
  count = 1;
  upstream "local" { default = yes; self_scan = yes; }
}
`, tld, dir, dir, dir, addr))
	peertest.Start(t, "tcp", addr, "rspamd", "-i", "-f", "-c", conf)
	return addr
}

// clamav starts clamd with a database of one signature, and its milter.
func clamav(t testing.TB) (addr string) {
	needs(t, "clamd", "clamav-milter")
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "db"), 0o755); err != nil {
		t.Fatal(err)
	}
	sum := md5.Sum([]byte(eicar))
	peerFile(t, dir, "db/eicar.hdb", fmt.Sprintf("%x:%d:Eicar-Test-Signature\n", sum, len(eicar)))
	peerFile(t, dir, "db/eicar.ndb", "Eicar-Test-Text:0:*:"+hex.EncodeToString([]byte(eicar[27:62]))+"\n")
	sock := filepath.Join(dir, "clamd.sock")
	conf := peerFile(t, dir, "clamd.conf", "Foreground yes\nUser root\nDatabaseDirectory "+dir+"/db\nLocalSocket "+sock+"\n")
	peertest.Start(t, "unix", sock, "clamd", "-c", conf)
	addr = peertest.FreeAddress(t)
	_, port, _ := net.SplitHostPort(addr)
	conf = peerFile(t, dir, "milter.conf", "Foreground yes\nUser root\nMilterSocket inet:"+port+"@127.0.0.1\nClamdSocket unix:"+sock+
		"\nOnInfected Reject\nRejectMsg infected with %v\nAddHeader Replace\n")
	peertest.Start(t, "tcp", addr, "clamav-milter", "-c", conf)
	return addr
}

// eicar is the test virus of the European Institute for Computer Antivirus Research.
const eicar = `X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*`

// gtube is what rspamd acts on; its first letter says how: X refuses, Y marks.
const gtube = `JS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X`

// header returns the header of the only message of a mailbox.
func (s *server) header(user, mailbox string) string {
	s.t.Helper()
	c := s.imap(user, nil)
	if _, err := c.Select(mailbox, nil).Wait(); err != nil {
		s.t.Fatal(err)
	}
	part := &imap.FetchItemBodySection{Specifier: imap.PartSpecifierNone, Peek: true}
	list, err := c.Fetch(imap.SeqSetNum(1), &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{part}}).Collect()
	if err != nil || len(list) != 1 {
		s.t.Fatalf("%s of %s has %d messages: %v", mailbox, user, len(list), err)
	}
	return string(list[0].FindBodySection(part))
}

// count returns how many messages a mailbox has now.
func (s *server) count(user, mailbox string) uint32 {
	s.t.Helper()
	box, err := s.imap(user, nil).Select(mailbox, nil).Wait()
	if err != nil {
		s.t.Fatal(err)
	}
	return box.NumMessages
}

// TestContentFilters has rspamd, clamav-milter and opendkim filter mail.
func TestContentFilters(t *testing.T) {
	t.Parallel()
	needs(t, "swaks", "opendkim", "openssl")
	dir := t.TempDir()
	key := filepath.Join(dir, "key.pem")
	if out, err := exec.Command("openssl", "genrsa", "-out", key, "2048").CombinedOutput(); err != nil {
		t.Fatalf("making a key: %v\n%s", err, out)
	}
	public, err := exec.Command("openssl", "rsa", "-in", key, "-pubout", "-outform", "PEM").Output()
	if err != nil {
		t.Fatal(err)
	}
	signer := peertest.FreeAddress(t)
	_, port, _ := net.SplitHostPort(signer)
	peertest.Start(t, "tcp", signer, "opendkim", "-f", "-x", peerFile(t, dir, "opendkim.conf", "Syslog no\nMode s\nDomain linuxforu.com\nSelector test\nKeyFile "+key+
		"\nSocket inet:"+port+"@127.0.0.1\nMacroList daemon_name|mail.linuxforu.com\nRequireSafeKeys no\nUserID root\nPidFile "+dir+"/pid\n"))
	s := newServer(t)
	peerFile(t, s.dir, "expost.toml", configText+fmt.Sprintf(`
[[milter]]
name = "clamav"
socket = "inet:%s"
[[milter]]
name = "rspamd"
socket = "%s"
services = ["smtp"]
[[milter]]
name = "opendkim"
socket = "inet:%s@127.0.0.1"
services = ["submission"]
`, clamav(t), rspamd(t), port))
	s.start()
	s.addAccounts("ajay@linuxforu.com", "anup@linuxforu.com", "junk@linuxforu.com")

	from := []string{"--from", "x@example.org", "--to"}
	for _, test := range []struct{ name, body, want string }{
		{"rspamd refuses GTUBE", "X" + gtube, "<** 5"},
		{"clamav refuses EICAR", eicar, "<** 550 5.7.1 infected with Eicar-Test"},
	} {
		out, err := s.swaks("smtp", append(from, "ajay@linuxforu.com", "--body", test.body)...)
		if err == nil || !strings.Contains(out, test.want) {
			t.Errorf("%s: %v\n%s", test.name, err, out)
		}
	}
	attached := append(from, "ajay@linuxforu.com", "--attach-type", "application/octet-stream", "--attach", "@"+peerFile(t, dir, "eicar.com", eicar))
	if out, err := s.swaks("smtp", attached...); err == nil || !strings.Contains(out, "infected with Eicar-Test") {
		t.Errorf("clamav lets an attachment through: %v\n%s", err, out)
	}
	if out, err := s.swaks("smtp", append(from, "ajay@linuxforu.com", "--body", "hello")...); err != nil {
		t.Fatalf("a good message is refused: %v\n%s", err, out)
	}
	s.messages("ajay@linuxforu.com", 1)
	if h := s.header("ajay@linuxforu.com", "INBOX"); !strings.Contains(h, "X-Virus-Status: Clean") {
		t.Errorf("clamav's field is missing:\n%s", h)
	}
	if out, err := s.swaks("smtp", append(from, "junk@linuxforu.com", "--body", "Y"+gtube)...); err != nil {
		t.Fatalf("a message to be marked is refused: %v\n%s", err, out)
	}
	if n := s.count("junk@linuxforu.com", "INBOX"); n != 0 {
		t.Errorf("the INBOX has %d messages:\n%s", n, s.header("junk@linuxforu.com", "INBOX"))
	}
	if h := s.header("junk@linuxforu.com", "Junk"); !strings.Contains(h, "X-Spam: Yes") {
		t.Errorf("rspamd's field is missing:\n%s", h)
	}
	login := []string{"--tls-on-connect", "--auth", "PLAIN", "--auth-user", "ajay@linuxforu.com", "--auth-password", password, "--from", "ajay@linuxforu.com"}
	if out, err := s.swaks("submissions", append(login, "--to", "anup@linuxforu.com", "--body", "signed\n\n.\n  twice \n")...); err != nil {
		t.Fatalf("swaks: %v\n%s", err, out)
	}
	s.messages("anup@linuxforu.com", 1)
	signed := s.header("anup@linuxforu.com", "INBOX")
	found, err := dkim.VerifyWithOptions(strings.NewReader(signed), &dkim.VerifyOptions{LookupTXT: func(string) ([]string, error) {
		return []string{"v=DKIM1; k=rsa; p=" + pemBody(public)}, nil
	}})
	if err != nil || len(found) != 1 || found[0].Err != nil || found[0].Domain != "linuxforu.com" {
		t.Errorf("opendkim's signature: %v, %+v\n%s", err, found, signed)
	}
}

// pemBody returns the base64 of a PEM block.
func pemBody(b []byte) string {
	var out []string
	for line := range bytes.Lines(b) {
		if !bytes.HasPrefix(line, []byte("-")) {
			out = append(out, strings.TrimSpace(string(line)))
		}
	}
	return strings.Join(out, "")
}

// TestFilterAway has mail meet a filter that is not there.
func TestFilterAway(t *testing.T) {
	t.Parallel()
	needs(t, "swaks")
	for _, test := range []struct{ def, want string }{
		{"tempfail", "<** 451 4.7.1"}, {"reject", "<** 554 5.7.1"}, {"accept", "<-  250 2.6.0"}, {"quarantine", "<-  250 2.6.0"},
	} {
		s := newServer(t)
		peerFile(t, s.dir, "expost.toml", configText+fmt.Sprintf("[[milter]]\nsocket = \"inet:127.0.0.1:%s\"\ndefault = %q\n", peertest.FreePort(t), test.def))
		s.start()
		s.addAccounts("ajay@linuxforu.com")
		out, err := s.swaks("smtp", "--from", "x@example.org", "--to", "ajay@linuxforu.com")
		if !strings.Contains(out, test.want) {
			t.Errorf("%s: %v\n%s", test.def, err, out)
		}
		if test.def == "quarantine" {
			if n := s.count("ajay@linuxforu.com", "INBOX"); n != 0 {
				t.Errorf("a message in quarantine was delivered")
			}
			if out := s.run("queue", "list"); !strings.Contains(out, "ajay@linuxforu.com (held)") {
				t.Errorf("the queue has %s", out)
			}
			s.run("queue", "release", "--all")
			s.messages("ajay@linuxforu.com", 1)
		}
		s.stop()
	}
}

// TestSpamassMilter has SpamAssassin, behind its milter, mark a message: it
// replaces the body and adds fields.
func TestSpamassMilter(t *testing.T) {
	t.Parallel()
	needs(t, "swaks", "spamd", "spamass-milter")
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	peerFile(t, dir, "v320.pre", "loadplugin Mail::SpamAssassin::Plugin::Check\n")
	peerFile(t, dir, "local.cf", "use_bayes 0\nskip_rbl_checks 1\ndns_available no\nreport_safe 1\nadd_header spam Flag _YESNOCAPS_\nadd_header all Status \"_YESNO_, score=_SCORE_\"\nreport Spam detection software\nbody GTUBE /"+regexp.QuoteMeta("X"+gtube)+"/\nscore GTUBE 1000\n")
	for _, name := range []string{"v320.pre", "local.cf"} {
		if err := os.Chmod(filepath.Join(dir, name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	port, filter := peertest.FreePort(t), peertest.FreeAddress(t)
	peertest.Start(t, "tcp", "127.0.0.1:"+port, "spamd", "-L", "-x", "-i", "127.0.0.1", "-p", port, "-m", "1", "-C", dir, "--siteconfigpath="+dir, "-u", "nobody", "-H", dir, "-s", "stderr")
	_, number, _ := net.SplitHostPort(filter)
	peertest.Start(t, "tcp", filter, "spamass-milter", "-p", "inet:"+number+"@127.0.0.1", "--", "-d", "127.0.0.1", "-p", port)
	s := newServer(t)
	s.configured("[[milter]]\nsocket = \"" + filter + "\"\n")
	s.start()
	s.addAccounts("ajay@linuxforu.com", "anup@linuxforu.com")
	for to, body := range map[string]string{"ajay": "hello", "anup": "X" + gtube} {
		if out, err := s.swaks("smtp", "--from", "x@example.org", "--to", to+"@linuxforu.com", "--body", body); err != nil {
			t.Fatalf("swaks: %v\n%s", err, out)
		}
	}
	s.messages("ajay@linuxforu.com", 1)
	if h := s.header("ajay@linuxforu.com", "INBOX"); !strings.Contains(h, "X-Spam-Status: No") {
		t.Errorf("a good message:\n%s", h)
	}
	if h := s.header("anup@linuxforu.com", "Junk"); !strings.Contains(h, "X-Spam-Flag: YES") || !strings.Contains(h, "Spam detection software") {
		t.Errorf("a bad message:\n%s", h)
	}
}
