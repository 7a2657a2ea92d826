package test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2/imapclient"
)

// TestCutoverKeepsUniqueIDs cuts a mailbox over while a POP3 client knows its
// messages: by the rule of the old server, which new mail follows too.
func TestCutoverKeepsUniqueIDs(t *testing.T) {
	t.Parallel()
	needs(t, "curl")
	d := newDovecot(t, map[string]string{"ajay": password, "anup": password})
	s := front(t, d, dovecotHost(d)+"learn = true\n")
	d.fill(numbered(9)...)
	before := strings.Fields(s.uniqueIDs(t)) // by proxy, which learns the password
	s.planFor(d, "ajay@linuxforu.com")
	out := s.run("migrate", "cutover", "-f", "migration.toml")
	if !strings.Contains(out, "the ids of 9 messages for POP3 follow the rule") {
		t.Errorf("cutover says %s", out)
	}
	if after := strings.Fields(s.uniqueIDs(t)); len(before) != 18 || !slices.Equal(before, after) {
		t.Errorf("unique ids were %v, are %v", before, after)
	}
}

// TestCutoverMapsUniqueIDs cuts a mailbox over whose POP3 server makes its ids by no
// rule of UIDs: of the names of files, as older servers do. Each message keeps the
// id that it had.
func TestCutoverMapsUniqueIDs(t *testing.T) {
	t.Parallel()
	needs(t, "curl")
	d := newDovecot(t, map[string]string{"ajay": password, "anup": password})
	d.stop()
	conf, err := os.OpenFile(filepath.Join(d.dir, "dovecot.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conf.WriteString("protocol pop3 {\n  pop3_uidl_format = %f\n}\n"); err != nil {
		t.Fatal(err)
	}
	if err := conf.Close(); err != nil {
		t.Fatal(err)
	}
	d.start()
	s := front(t, d, dovecotHost(d)+"learn = true\n")
	messages := numbered(9)
	for i := 7; i < 9; i++ { // two that nothing tells apart but their place
		messages[i] = "Subject: twice\r\nMessage-ID: <twice@x>\r\n\r\ntext\r\n"
	}
	d.fill(messages...)
	before := strings.Fields(s.uniqueIDs(t)) // by proxy, which learns the password
	if len(before) != 18 || !strings.Contains(before[1], ".") {
		t.Fatalf("the old server's ids are %v", before)
	}
	s.planFor(d, "ajay@linuxforu.com")
	out := s.run("migrate", "cutover", "-f", "migration.toml")
	if !strings.Contains(out, "9 of 9 messages keep their ids for POP3") {
		t.Errorf("cutover says %s", out)
	}
	if after := strings.Fields(s.uniqueIDs(t)); !slices.Equal(before, after) {
		t.Errorf("unique ids were %v, are %v", before, after)
	}
	c := s.imap("ajay@linuxforu.com", nil)
	if _, err := appendText(c, "INBOX", "Subject: new\r\nMessage-ID: <new@x>\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	after := strings.Fields(s.uniqueIDs(t))
	if len(after) != 20 || !slices.Equal(before, after[:18]) || slices.Contains(before, after[19]) {
		t.Errorf("with a new message unique ids are %v, were %v", after, before)
	}
}

// numbered returns n messages.
func numbered(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("Subject: %d\r\nMessage-ID: <%d@x>\r\n\r\ntext\r\n", i, i)
	}
	return out
}

// fill appends messages to ajay's INBOX.
func (d *dovecot) fill(messages ...string) {
	d.t.Helper()
	c, err := imapclient.DialInsecure(d.imap, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	defer c.Close()
	if err := c.Login("ajay", password).Wait(); err != nil {
		d.t.Fatal(err)
	}
	for _, m := range messages {
		if _, err := appendText(c, "INBOX", m); err != nil {
			d.t.Fatal(err)
		}
	}
}

// uniqueIDs lists ajay's messages by POP3: number and unique id, a line each.
func (s *server) uniqueIDs(t *testing.T) string {
	t.Helper()
	out, err := client(t, "", nil, "curl", "-sS", "--url", "pop3://"+s.addr["pop3"]+"/", "-X", "UIDL", "-u", "ajay@linuxforu.com:"+password)
	if err != nil {
		t.Fatal(out, err)
	}
	return out
}

// planFor writes a plan that moves one user off a Dovecot.
func (s *server) planFor(d *dovecot, user string) {
	s.t.Helper()
	plan := fmt.Sprintf("[source]\nkind = \"imap\"\naddress = %q\ntls = \"none\"\nlogin = \"{local}\"\npassword-file = \"old.password\"\n[[user]]\nsource = %q\n", d.imap, user)
	for name, text := range map[string]string{"migration.toml": plan, "old.password": password} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
}

// TestUniqueIDsAreTakenOver moves a mailbox from Dovecot and lets mpop, which
// leaves mail on the server, find nothing new.
func TestUniqueIDsAreTakenOver(t *testing.T) {
	t.Parallel()
	needs(t, "mpop", "curl")
	d := newDovecot(t, map[string]string{"ajay": password, "anup": password})
	s := front(t, d, dovecotHost(d))
	messages := numbered(12)
	messages[5] = "Subject: =?utf-8?q?caf=C3=A9?=\r\nFrom: a@b\r\nDate: Wed, 1 Oct 2003 12:00:00 +0200\r\n\r\nno Message-ID\r\n"
	d.fill(messages...)
	before := s.uniqueIDs(t) // by proxy
	// The mailbox moves; the last message of the old one does not, and another has come.
	s.run("account", "set", "ajay@linuxforu.com", "--mail-host", "")
	if out, errs, err := s.try(context.Background(), password+"\n", "account", "passwd", "ajay@linuxforu.com", "--password-stdin"); err != nil {
		t.Fatal(out, errs, err)
	}
	c := s.imap("ajay@linuxforu.com", nil)
	for i := len(messages) - 2; i >= 0; i-- { // in another order
		m := strings.Replace(messages[i], "Subject: =?utf-8?q?caf=C3=A9?=", "Subject: =?iso-8859-1?q?caf=E9?=", 1)
		if _, err := appendText(c, "INBOX", "X-Other: header\r\n"+m); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := appendText(c, "INBOX", "Subject: new\r\nMessage-ID: <new@x>\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	out, errs, err := s.try(context.Background(), password+"\n", "account", "uidl", "ajay@linuxforu.com", "--from", "exchange.linuxforu.com", "--password-stdin")
	if err != nil || !strings.Contains(out, "12 messages there, 11 of them here") || strings.Count(out, "not here: ") != 1 {
		t.Fatalf("%v\n%s%s", err, out, errs)
	}
	known := map[string]bool{}
	for line := range strings.Lines(before) {
		_, id, _ := strings.Cut(strings.TrimSpace(line), " ")
		known[id] = true
	}
	same, fresh := 0, 0
	for line := range strings.Lines(s.uniqueIDs(t)) {
		if _, id, _ := strings.Cut(strings.TrimSpace(line), " "); known[id] {
			same++
		} else {
			fresh++
		}
	}
	if same != 11 || fresh != 1 {
		t.Errorf("%d messages have their old id, %d another, want 11 and 1\n%s\n%s", same, fresh, before, s.uniqueIDs(t))
	}
	s.run("account", "uidl", "ajay@linuxforu.com", "--format", "UID%u-%v")
	if got := s.uniqueIDs(t); !strings.HasPrefix(got, "1 UID1-") {
		t.Errorf("by a rule: %s", got)
	}
}
