package test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"expost/internal/migrate/migratetest"
)

// TestCyrusIsServedByProxy puts Expost in front of a Cyrus, where it logs in for its
// users as one of the proxyservers: their passwords are Expost's.
func TestCyrusIsServedByProxy(t *testing.T) {
	t.Parallel()
	needs(t, "curl")
	old := migratetest.StartCyrus(t, false)
	file := filepath.Join(t.TempDir(), "master-password")
	if err := os.WriteFile(file, []byte(old.Password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := front(t, nil, fmt.Sprintf("imap = \"imap://%s\"\npop3 = \"pop3://%s\"\ntls = \"none\"\nlogin = \"{local}\"\nmaster = \"migration\"\nmaster-password-file = %q\n", old.Address, old.POP3, file))
	if out, errs, err := s.try(context.Background(), password+"\n", "account", "passwd", "ajay@linuxforu.com", "--password-stdin"); err != nil {
		t.Fatal(out, errs, err)
	}
	c := dialIMAP(t, s, "127.0.0.1")
	if err := c.Login("ajay@linuxforu.com", password).Wait(); err != nil {
		t.Fatalf("logging in by proxy: %v", err)
	}
	if !c.Caps().Has("X-REPLICATION") && !c.Caps().Has("ANNOTATE-EXPERIMENT-1") { // Cyrus', not ours
		t.Errorf("the capabilities after login are %v", c.Caps())
	}
	for i := range 3 {
		if _, err := appendText(c, "INBOX", fmt.Sprintf("Subject: %d\r\nMessage-ID: <%d@x>\r\n\r\ntext\r\n", i, i)); err != nil {
			t.Fatalf("APPEND: %v", err)
		}
	}
	box, err := c.Select("INBOX", nil).Wait()
	if err != nil || box.NumMessages < 3 {
		t.Fatalf("SELECT: %+v, %v", box, err)
	}
	list := func(addr, login, secret string) string {
		out, err := client(t, "", nil, "curl", "-sS", "--url", "pop3://"+addr+"/", "-X", "UIDL", "-u", login+":"+secret)
		if err != nil {
			t.Fatal(out, err)
		}
		return out
	}
	byProxy, theirs := list(s.addr["pop3"], "ajay@linuxforu.com", password), list(old.POP3, "ajay", old.Password)
	if byProxy != theirs || !strings.HasPrefix(theirs, "1 ") {
		t.Errorf("UIDL by proxy: %q; by itself: %q", byProxy, theirs)
	}
	if want := fmt.Sprintf("1 %d.1", box.UIDValidity); strings.TrimSpace(strings.SplitN(theirs, "\n", 2)[0]) != want {
		t.Errorf("the first unique id is %q, want %q, which is the rule %%v.%%u", theirs, want)
	}
	if err := dialIMAP(t, s, "127.0.0.1").Login("ajay@linuxforu.com", "wrong").Wait(); err == nil {
		t.Error("a wrong password was let in")
	}
}
