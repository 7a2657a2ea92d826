package imapserver_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"expost/internal/peertest"
)

// run runs a program with a home of its own and returns what it says.
func run(t *testing.T, home string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Dir, cmd.Env = home, append(os.Environ(), "HOME="+home, "TERM=xterm", "USER=root", "LC_ALL=C.UTF-8")
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// write makes a file.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// bodies returns the messages below a Maildir's mailbox, sorted, with LF ends,
// each with its flags.
func bodies(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	for _, sub := range []string{"new", "cur"} {
		files, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(filepath.Join(dir, sub, f.Name()))
			if err != nil {
				t.Fatal(err)
			}
			_, flags, _ := strings.Cut(f.Name(), ":2,")
			out = append(out, flags+"|"+strings.ReplaceAll(string(b), "\r\n", "\n"))
		}
	}
	slices.Sort(out)
	return out
}

// TestMbsync synchronises in both directions over several rounds.
func TestMbsync(t *testing.T) {
	t.Parallel()
	mbsync, home := peertest.Lookup(t, "mbsync"), t.TempDir()
	s := newSite(t, nil)
	host, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(home, "rc"), fmt.Sprintf(`IMAPAccount a
Host %s
Port %s
User ajay
Pass secret
SSLType None

IMAPStore far
Account a

MaildirStore near
Path %s/mail/
Inbox %s/mail/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Expunge Both
Sync All
SyncState *
`, host, port, home, home))
	write(t, filepath.Join(home, "mail", ".keep"), "")
	p := s.login(t)
	p.must(`CREATE "Entw&APw-rfe/tief"`)
	for i := range 50 {
		msg := fmt.Sprintf("Subject: %d\r\nMessage-ID: <%d@x>\r\n\r\n%s\r\n", i, i, strings.Repeat("text ", i))
		box := []string{"INBOX", `"Entw&APw-rfe/tief"`, "Archive"}[i%3]
		p.must(fmt.Sprintf("APPEND %s (%s) {%d+}\r\n%s", box, []string{"", `\Seen`, `\Flagged \Answered`}[i%3], len(msg), msg))
	}
	sync := func() { run(t, home, mbsync, "-c", filepath.Join(home, "rc"), "-a") }
	sync()
	inbox := bodies(t, filepath.Join(home, "mail", "INBOX"))
	if len(inbox) != 17 || !strings.HasPrefix(inbox[0], "|Subject: ") {
		t.Fatalf("INBOX has %d messages, first %.60q", len(inbox), inbox[0])
	}
	if deep := bodies(t, filepath.Join(home, "mail", "Entw&APw-rfe", "tief")); len(deep) != 17 || !strings.HasPrefix(deep[0], "S|") {
		t.Fatalf("the deep one has %d messages, first %.60q", len(deep), deep[0])
	}
	// A change on each side, then both are told.
	write(t, filepath.Join(home, "mail", "INBOX", "cur", "1.new.host:2,FS"), "Subject: from near\nMessage-ID: <near@x>\n\nhello\n")
	p.must("SELECT INBOX")
	p.must(`STORE 1:3 +FLAGS.SILENT (\Deleted)`)
	p.must("EXPUNGE")
	p.must(`STORE 1 +FLAGS.SILENT (\Draft \Seen)`)
	sync()
	inbox = bodies(t, filepath.Join(home, "mail", "INBOX"))
	if len(inbox) != 15 || !slices.ContainsFunc(inbox, func(b string) bool { return strings.HasPrefix(b, "DS|") }) {
		t.Errorf("after the second round INBOX has %d messages", len(inbox))
	}
	if got := p.must("UID SEARCH HEADER Message-ID near@x SEEN FLAGGED"); !slices.Contains(got, "* SEARCH 18") {
		t.Errorf("the message from near: %q", got)
	}
	// A third round has nothing to do.
	before := p.must("STATUS INBOX (UIDNEXT HIGHESTMODSEQ)")
	sync()
	if after := p.must("STATUS INBOX (UIDNEXT HIGHESTMODSEQ)"); !slices.Equal(before, after) {
		t.Errorf("the third round changed %q to %q", before, after)
	}
}

// TestCurl lists, searches, fetches, appends and stores with curl.
func TestCurl(t *testing.T) {
	t.Parallel()
	curl, home := peertest.Lookup(t, "curl"), t.TempDir()
	s := newSite(t, nil)
	write(t, filepath.Join(home, "m.eml"), "Subject: by curl\r\n\r\nhello\r\n")
	url := "imap://" + s.addr
	ask := func(args ...string) string {
		return run(t, home, append([]string{curl, "-sS", "--user", "ajay:secret"}, args...)...)
	}
	ask("-T", "m.eml", url+"/INBOX")
	if got := ask(url); !strings.Contains(got, `* LIST (\HasNoChildren \Sent) "/" Sent`) {
		t.Errorf("LIST: %s", got)
	}
	if got := ask(url + "/INBOX?SUBJECT%20curl"); strings.TrimSpace(got) != "* SEARCH 1" {
		t.Errorf("SEARCH: %q", got)
	}
	if got := ask(url + "/INBOX;UID=1"); got != "Subject: by curl\r\n\r\nhello\r\n" {
		t.Errorf("FETCH: %q", got)
	}
	if got := ask(url+"/INBOX", "-X", `STORE 1 +FLAGS (\Deleted)`); !strings.Contains(got, `\Deleted`) {
		t.Errorf("STORE: %q", got)
	}
	if got := ask(url+"/INBOX", "-X", "EXPUNGE"); !strings.Contains(got, "* 1 EXPUNGE") {
		t.Errorf("EXPUNGE: %q", got)
	}
}

// TestMutt lets mutt copy a mailbox in batch mode.
func TestMutt(t *testing.T) {
	t.Parallel()
	mutt, script, home := peertest.Lookup(t, "mutt"), peertest.Lookup(t, "script"), t.TempDir()
	s := newSite(t, nil)
	for i := range 3 {
		s.deliver(t, "INBOX", fmt.Sprintf("From: a@example.org\r\nSubject: number %d\r\nMessage-ID: <%d@x>\r\n\r\nhello %d\r\n", i, i, i))
	}
	write(t, filepath.Join(home, ".muttrc"), `set ssl_starttls=no
set ssl_force_tls=no
set copy=no
set confirmappend=no
set confirmcreate=no
set delete=yes
set move=no
set quit=yes
set mbox_type=Maildir
set imap_user=ajay
set imap_pass=secret
push "<jump>1<enter><copy-message>out<enter><jump>2<enter><copy-message>out<enter><jump>3<enter><copy-message>out<enter><jump>1<enter><delete-message><quit>"
`)
	out := run(t, home, script, "-qefc", mutt+" -f imap://"+s.addr+"/INBOX", "/dev/null") // mutt wants a terminal
	if got := bodies(t, filepath.Join(home, "out")); len(got) != 3 || !strings.Contains(got[0], "hello") {
		t.Errorf("mutt copied %q\n%s", got, out)
	}
	if got := s.login(t).must("STATUS INBOX (MESSAGES)"); got[0] != "* STATUS INBOX (MESSAGES 2)" {
		t.Errorf("after mutt: %q", got)
	}
}

// TestDoveadm lets Dovecot read everything through its imapc storage.
func TestDoveadm(t *testing.T) {
	t.Parallel()
	doveadm, home := peertest.Lookup(t, "doveadm"), t.TempDir()
	if os.Getuid() != 0 {
		t.Skip("doveadm needs root")
	}
	s := newSite(t, nil)
	p := s.login(t)
	p.must(`CREATE "Entw&APw-rfe"`)
	for i := range 20 {
		msg := fmt.Sprintf("Subject: %d\r\nMessage-ID: <%d@x>\r\n\r\ntext\r\n", i, i)
		p.must(fmt.Sprintf("APPEND %s (%s) {%d+}\r\n%s", []string{"INBOX", `"Entw&APw-rfe"`}[i%2], []string{`\Seen`, "key"}[i%2], len(msg), msg))
	}
	host, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(home, "dovecot.conf"), fmt.Sprintf(`base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/log
ssl = no
mail_uid = nobody
mail_gid = nogroup
first_valid_uid = 1
mail_home = %[1]s/home
mail_location = maildir:%[1]s/Maildir
imapc_host = %[2]s
imapc_port = %[3]s
imapc_user = ajay
imapc_password = secret
imapc_features = fetch-headers fetch-bodystructure delay-login
namespace inbox {
  inbox = yes
  separator = /
}
`, home, host, port))
	if err := os.Chmod(filepath.Dir(home), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(home, 65534, 65534); err != nil { // Dovecot does not touch mail as root
		t.Fatal(err)
	}
	run(t, home, doveadm, "-c", filepath.Join(home, "dovecot.conf"), "backup", "-R", "imapc:")
	if got := bodies(t, filepath.Join(home, "Maildir")); len(got) != 10 || !strings.HasPrefix(got[0], "S|Subject: ") {
		t.Errorf("doveadm copied %d messages to INBOX: %.80q", len(got), got)
	}
	if got := bodies(t, filepath.Join(home, "Maildir", ".Entw&APw-rfe")); len(got) != 10 {
		t.Errorf("doveadm copied %d messages to the other mailbox", len(got))
	}
}
