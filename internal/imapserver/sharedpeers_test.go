package imapserver_test

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"expost/internal/peertest"
)

// TestMbsyncShared keeps a shared mailbox in step with a Maildir, both ways: two
// people each have their own copy and their own \Seen.
func TestMbsyncShared(t *testing.T) {
	t.Parallel()
	mbsync := peertest.Lookup(t, "mbsync")
	s := newSite(t, nil)
	host, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	s.grant(t, "example.org/info", "INBOX", "group:staff@example.org", "lrswite")
	s.grant(t, "example.org/info", "Archive", "group:staff@example.org", "lrs")
	const inbox = "Shared/info@example.org/INBOX"
	homes := map[string]string{"bishal": t.TempDir(), "chitra": t.TempDir()}
	sync := func(user string) string {
		t.Helper()
		home := homes[user]
		write(t, filepath.Join(home, "rc"), fmt.Sprintf(`IMAPAccount a
Host %s
Port %s
User %s
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
Patterns "Shared/*"
Create Near
Expunge Both
Sync All
SyncState *
`, host, port, user, home, home))
		write(t, filepath.Join(home, "mail", ".keep"), "")
		return run(t, home, mbsync, "-c", filepath.Join(home, "rc"), "-a")
	}
	box := func(user string) []string { return bodies(t, filepath.Join(homes[user], "mail", inbox)) }

	p := s.as(t, "bishal")
	for n := range 3 {
		text := fmt.Sprintf("Subject: %d\r\n\r\nx\r\n", n)
		p.must(fmt.Sprintf("APPEND %s {%d+}\r\n%s", inbox, len(text), text))
	}
	sync("bishal")
	sync("chitra")
	for user := range homes {
		if got := box(user); len(got) != 3 || strings.HasPrefix(got[0], "S") {
			t.Fatalf("%s has %q", user, got)
		}
		bodies(t, filepath.Join(homes[user], "mail", "Shared/info@example.org/Archive"))
	}

	// What bishal has read, only he has read; what he flags, all see.
	p.must("SELECT " + inbox)
	p.must(`STORE 1 +FLAGS (\Seen \Flagged)`)
	// What he puts into his Maildir goes to all.
	write(t, filepath.Join(homes["bishal"], "mail", inbox, "cur", "1.1.x:2,S"), "Subject: 3\n\nfrom bishal\n")
	sync("bishal")
	sync("chitra")
	want := map[string]string{
		"bishal": "FS|Subject: 0|, S|Subject: 3|, |Subject: 1|, |Subject: 2|",
		"chitra": "F|Subject: 0|, |Subject: 1|, |Subject: 2|, |Subject: 3|",
	}
	for user := range homes {
		var got []string
		for _, line := range box(user) {
			flags, rest, _ := strings.Cut(line, "|")
			subject, _, _ := strings.Cut(rest[strings.Index(rest, "Subject:"):], "\n")
			got = append(got, flags+"|"+subject+"|")
		}
		if !sameSet(strings.Join(got, ", "), want[user]) {
			t.Errorf("%s has %q, want %q", user, got, want[user])
		}
	}
}

// sameSet compares two lists without regard to their order.
func sameSet(a, b string) bool {
	count := map[string]int{}
	for _, s := range strings.Split(a, ", ") {
		count[s]++
	}
	for _, s := range strings.Split(b, ", ") {
		count[s]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}
