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
	old, err := imapclient.DialInsecure(d.imap, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := old.Login("ajay", password).Wait(); err != nil {
		t.Fatal(err)
	}
	for i := range 9 {
		if _, err := appendText(old, "INBOX", fmt.Sprintf("Subject: %d\r\nMessage-ID: <%d@x>\r\n\r\ntext\r\n", i, i)); err != nil {
			t.Fatal(err)
		}
	}
	list := func() []string {
		out, err := client(t, "", nil, "curl", "-sS", "--url", "pop3://"+s.addr["pop3"]+"/", "-X", "UIDL", "-u", "ajay@linuxforu.com:"+password)
		if err != nil {
			t.Fatal(out, err)
		}
		return strings.Fields(out)
	}
	before := list() // by proxy, which learns the password
	plan := fmt.Sprintf("[source]\nkind = \"imap\"\naddress = %q\ntls = \"none\"\nlogin = \"{local}\"\npassword-file = \"old.password\"\n[[user]]\nsource = \"ajay@linuxforu.com\"\n", d.imap)
	for name, text := range map[string]string{"migration.toml": plan, "old.password": password} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out := s.run("migrate", "cutover", "-f", "migration.toml")
	if !strings.Contains(out, "the ids of 9 messages for POP3 follow the rule") {
		t.Errorf("cutover says %s", out)
	}
	if after := list(); len(before) != 18 || !slices.Equal(before, after) {
		t.Errorf("unique ids were %v, are %v", before, after)
	}
}

// TestUniqueIDsAreTakenOver moves a mailbox from Dovecot and lets mpop, which
// leaves mail on the server, find nothing new.
func TestUniqueIDsAreTakenOver(t *testing.T) {
	t.Parallel()
	needs(t, "mpop", "curl")
	d := newDovecot(t, map[string]string{"ajay": password, "anup": password})
	s := front(t, d, dovecotHost(d))
	old, err := imapclient.DialInsecure(d.imap, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := old.Login("ajay", password).Wait(); err != nil {
		t.Fatal(err)
	}
	var messages []string
	for i := range 12 {
		messages = append(messages, fmt.Sprintf("Subject: %d\r\nMessage-ID: <%d@x>\r\n\r\ntext\r\n", i, i))
	}
	messages[5] = "Subject: =?utf-8?q?caf=C3=A9?=\r\nFrom: a@b\r\nDate: Wed, 1 Oct 2003 12:00:00 +0200\r\n\r\nno Message-ID\r\n"
	for _, m := range messages {
		if _, err := appendText(old, "INBOX", m); err != nil {
			t.Fatal(err)
		}
	}
	list := func() string {
		out, err := client(t, "", nil, "curl", "-sS", "--url", "pop3://"+s.addr["pop3"]+"/", "-X", "UIDL", "-u", "ajay@linuxforu.com:"+password)
		if err != nil {
			t.Fatal(out, err)
		}
		return out
	}
	before := list() // by proxy
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
	for line := range strings.Lines(list()) {
		if _, id, _ := strings.Cut(strings.TrimSpace(line), " "); known[id] {
			same++
		} else {
			fresh++
		}
	}
	if same != 11 || fresh != 1 {
		t.Errorf("%d messages have their old id, %d another, want 11 and 1\n%s\n%s", same, fresh, before, list())
	}
	s.run("account", "uidl", "ajay@linuxforu.com", "--format", "UID%u-%v")
	if got := list(); !strings.HasPrefix(got, "1 UID1-") {
		t.Errorf("by a rule: %s", got)
	}
}
