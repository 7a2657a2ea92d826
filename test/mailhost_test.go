package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"expost/internal/resolver/resolvertest"
)

// TestMailHost has two servers of one domain, each with some of its mailboxes.
func TestMailHost(t *testing.T) {
	t.Parallel()
	needs(t, "swaks")
	dns := resolvertest.Serve(t, `linuxforu.com. MX 10 mail.linuxforu.com.`, `mail.linuxforu.com. A 127.0.0.1`, `second.linuxforu.com. A 127.0.0.1`)
	first, second := newServer(t), newServer(t)
	common := "[dns]\nserver = \"" + dns.Addr + "\"\n"
	second.configured(common, "mail.linuxforu.com", "second.linuxforu.com", "[listen]\n", "[listen]\nlmtp = \"127.0.0.1:0\"\n")
	first.configured(common, "[listen]\n", "[listen]\nlmtp = \"127.0.0.1:0\"\n")
	second.start()
	first.start()
	at := map[string]*server{"ajay": first, "biswajit": second, "cyrus": second, "small": second}
	hosts := map[string]string{"biswajit": second.addr["smtp"], "cyrus": "lmtp:" + second.addr["lmtp"], "small": second.addr["smtp"], "round": second.addr["smtp"]}
	for _, name := range []string{"ajay", "biswajit", "cyrus", "small", "round"} {
		for _, s := range []*server{first, second} {
			s.addAccounts(name + "@linuxforu.com")
			switch {
			case name == "round" && s == second, name == "ajay" && s == second:
				s.run("account", "set", name+"@linuxforu.com", "--mail-host", first.addr["smtp"])
			case s == first && hosts[name] != "":
				s.run("account", "set", name+"@linuxforu.com", "--mail-host", hosts[name])
			}
		}
	}
	second.run("account", "set", "small@linuxforu.com", "--status", "disabled")
	send := func(s *server, to string) (string, error) {
		return s.swaks("smtp", "--from", "x@far.example", "--to", to+"@linuxforu.com")
	}
	for name, home := range at {
		if name == "small" {
			continue
		}
		for _, s := range []*server{first, second} {
			if out, err := send(s, name); err != nil {
				t.Fatalf("to %s: %v\n%s", name, err, out)
			}
		}
		home.texts(name+"@linuxforu.com", "INBOX", 2)
		if queued := first.run("queue", "list") + second.run("queue", "list"); queued != "" {
			t.Errorf("mail for %s was queued and not handed over: %s", name, queued)
		}
	}
	if out, err := send(first, "small"); err == nil || !strings.Contains(out, "550 5.2.1") || !strings.Contains(out, "is disabled") {
		t.Errorf("the other host's refusal does not reach the sender: %v\n%s", err, out)
	}
	for _, s := range []*server{first, second} {
		if out, err := send(s, "round"); err == nil || !strings.Contains(out, " 5.4.6 ") {
			t.Errorf("a loop is not refused: %v\n%s", err, out)
		}
	}
	for _, s := range []*server{first, second} {
		if queued := s.run("queue", "list"); queued != "" {
			t.Errorf("the loop left %s", queued)
		}
	}

	second.stop()
	if out, err := send(first, "biswajit"); err != nil {
		t.Fatalf("while the host is down: %v\n%s", err, out)
	}
	if queued := first.run("queue", "list"); !strings.Contains(queued, "biswajit@linuxforu.com") {
		t.Errorf("the queue has %q", queued)
	}
	second.configured(common, "mail.linuxforu.com", "second.linuxforu.com", "[listen]\n", fmt.Sprintf("[listen]\nlmtp = %q\n", second.addr["lmtp"]),
		`smtp = "127.0.0.1:0"`, fmt.Sprintf("smtp = %q", second.addr["smtp"]))
	second.start()
	first.run("queue", "retry", "--all")
	second.texts("biswajit@linuxforu.com", "INBOX", 3)
}

// TestMailHostVerdict has one server check senders for the other, which knows
// that its mail comes from there.
func TestMailHostVerdict(t *testing.T) {
	t.Parallel()
	needs(t, "swaks")
	dns := resolvertest.Serve(t, `mail.linuxforu.com. A 127.0.0.1`, `second.linuxforu.com. A 127.0.0.1`, `client.linuxforu.com. A 192.0.2.7`,
		`far.example. TXT "v=spf1 ip4:192.0.2.1 -all"`, `honest.example. TXT "v=spf1 ip4:127.0.0.1 -all"`)
	first, second := newServer(t), newServer(t)
	common := "[dns]\nserver = \"" + dns.Addr + "\"\n[mailauth]\ntrusted = []\n"
	second.configured(common, "mail.linuxforu.com", "second.linuxforu.com")
	first.configured(common)
	second.start()
	first.start()
	for _, s := range []*server{first, second} {
		s.addAccounts("ajay@linuxforu.com", "biswajit@linuxforu.com")
	}
	first.run("account", "set", "biswajit@linuxforu.com", "--mail-host", second.addr["smtp"])
	second.run("account", "set", "ajay@linuxforu.com", "--mail-host", "mail.linuxforu.com:"+first.addr["smtp"][len("127.0.0.1:"):])
	send := func(s *server, from, helo string) {
		t.Helper()
		if out, err := s.swaks("smtp", "--from", from, "--to", "biswajit@linuxforu.com", "--helo", helo); err != nil {
			t.Fatalf("swaks: %v\n%s", err, out)
		}
	}
	send(first, "x@honest.example", "client.linuxforu.com")
	text := second.texts("biswajit@linuxforu.com", "INBOX", 1)[0]
	if strings.Count(text, "Authentication-Results:") != 1 || !strings.Contains(text, "Authentication-Results: mail.linuxforu.com") {
		t.Errorf("not checked once, by the first server:\n%s", text)
	}
	send(first, "x@far.example", "client.linuxforu.com")
	second.texts("biswajit@linuxforu.com", "Junk", 1)
	second.texts("biswajit@linuxforu.com", "INBOX", 1)
	send(second, "x@far.example", "mail.linuxforu.com") // says the first server's name, from its address
	second.texts("biswajit@linuxforu.com", "INBOX", 2)
	send(second, "x@far.example", "client.linuxforu.com")
	second.texts("biswajit@linuxforu.com", "Junk", 2)
	var story string
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(story, second.addr["smtp"][len("127.0.0.1:"):]) && time.Now().Before(deadline); <-time.After(50 * time.Millisecond) {
		story = first.run("log", "find", "--from", "x@honest.example")
	}
	if !strings.Contains(story, "sent") || !strings.Contains(story, "biswajit@linuxforu.com") {
		t.Errorf("the mail log does not tell where the message went:\n%s", story)
	}
}
