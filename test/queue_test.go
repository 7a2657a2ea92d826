package test

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// messages waits until INBOX of a user has n messages.
func (s *server) messages(user string, n uint32) {
	s.t.Helper()
	c := s.imap(user, nil)
	var got uint32
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); <-time.After(20 * time.Millisecond) {
		box, err := c.Select("INBOX", nil).Wait()
		if err != nil {
			s.t.Fatal(err)
		}
		if got = box.NumMessages; got == n {
			return
		}
	}
	s.t.Fatalf("%s has %d messages, want %d\n%s", user, got, n, s.log)
}

// TestTwoServers has mail go from one server to another and reports come back:
// submitted, forwarded, and for an account whose mailHost is the other server.
func TestTwoServers(t *testing.T) {
	t.Parallel()
	needs(t, "swaks")
	far := newServer(t)
	config := strings.Replace(configText, `domains = ["linuxforu.com"]`, `domains = ["far.example", "linuxforu.com"]`, 1)
	if err := os.WriteFile(far.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	far.start()
	far.addAccounts("anup@far.example", "moved@linuxforu.com")
	s := newServer(t)
	if err := os.WriteFile(s.config, []byte(configText+"[queue.smarthost]\nhost = \""+far.addr["smtp"]+"\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start()
	s.addAccounts("ajay@linuxforu.com", "biswajit@linuxforu.com", "moved@linuxforu.com")
	s.run("account", "set", "biswajit@linuxforu.com", "--forward", "anup@far.example")
	s.run("account", "set", "moved@linuxforu.com", "--mail-host", far.addr["smtp"])

	send := func(service string, args ...string) {
		t.Helper()
		if out, err := s.swaks(service, args...); err != nil {
			t.Fatalf("swaks: %v\n%s", err, out)
		}
	}
	login := []string{"--tls-on-connect", "--auth", "PLAIN", "--auth-user", "ajay@linuxforu.com", "--auth-password", password, "--from", "ajay@linuxforu.com"}
	send("submissions", append(login, "--to", "anup@far.example")...)
	far.messages("anup@far.example", 1)
	send("smtp", "--from", "x@example.org", "--to", "biswajit@linuxforu.com")
	far.messages("anup@far.example", 2)
	s.messages("biswajit@linuxforu.com", 1)
	send("smtp", "--from", "x@example.org", "--to", "moved@linuxforu.com")
	far.messages("moved@linuxforu.com", 1)

	send("submissions", append(login, "--to", "nobody@far.example")...)
	s.messages("ajay@linuxforu.com", 1) // the report
	if out, err := s.swaks("smtp", "--from", "x@example.org", "--to", "anup@far.example"); err == nil || !strings.Contains(out, "<** 550") {
		t.Errorf("a stranger's mail was relayed: %v\n%s", err, out)
	}

	story := s.run("log", "find", "--from", "ajay@linuxforu.com", "--to", "nobody@far.example")
	for _, want := range []string{"accepted ", "login ajay@linuxforu.com", "queued ", "failed ", "550 5.1.1", "reported ", "to ajay@linuxforu.com  of its end", "TLS"} {
		if !strings.Contains(story, want) {
			t.Errorf("the story has no %q:\n%s", want, story)
		}
	}
	if id := regexp.MustCompile(`queue ([0-9A-Z]+)`).FindStringSubmatch(story); id == nil || s.run("log", "find", "--id", id[1]) != story {
		t.Errorf("the story by its queue id, %v, is another one than\n%s", id, story)
	}
	if got := s.run("log", "find", "--to", "nobody@far.example", "--until", "1h"); got != "" {
		t.Errorf("an hour ago there was\n%s", got)
	}
	if got := s.run("log", "find", "--to", "biswajit@linuxforu.com", "--json"); !strings.Contains(got, `"event": "delivered"`) || !strings.Contains(got, `"event": "sent"`) {
		t.Errorf("the story of a forward, as JSON: %s", got)
	}

	far.stop()
	send("submissions", append(login, "--to", "anup@far.example")...)
	if out := s.run("queue", "list"); !strings.Contains(out, "anup@far.example (ready)") {
		t.Errorf("queue list: %s", out)
	}
	id, _, _ := strings.Cut(s.run("queue", "list"), " ")
	for _, step := range []struct{ do, want string }{{"hold", "1 held"}, {"show", "held"}, {"release", "1 released"}, {"drop", "1 dropped"}} {
		if out := s.run("queue", step.do, id); !strings.Contains(out, step.want) {
			t.Errorf("queue %s: %s", step.do, out)
		}
	}
	if out := s.run("queue", "list"); out != "" {
		t.Errorf("the queue has %s", out)
	}
}
