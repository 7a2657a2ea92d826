package test

import (
	"io"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-smtp"
)

// swaks sends a message with the real tool and returns its transcript.
func (s *server) swaks(service string, args ...string) (string, error) {
	args = append([]string{"--server", s.addr[service], "--helo", "client.linuxforu.com", "--timeout", "20"}, args...)
	out, err := exec.Command("swaks", args...).CombinedOutput()
	return string(out), err
}

func TestSwaksDeliversToTwoUsers(t *testing.T) {
	t.Parallel()
	needs(t, "swaks")
	s := newServer(t)
	s.start()
	s.addAccounts("ajay@linuxforu.com", "biswajit@linuxforu.com")
	out, err := s.swaks("smtp", "--from", "anup@example.org", "--to", "ajay@linuxforu.com,biswajit@linuxforu.com",
		"--header", "Subject: Minutes", "--body", "See you on Monday.")
	if err != nil {
		t.Fatalf("swaks: %v\n%s", err, out)
	}
	for _, user := range []string{"ajay@linuxforu.com", "biswajit@linuxforu.com"} {
		c := s.imap(user, nil)
		if _, err := c.Select("INBOX", nil).Wait(); err != nil {
			t.Fatal(err)
		}
		section := &imap.FetchItemBodySection{Peek: true}
		msgs, err := c.Fetch(imap.SeqSetNum(1), &imap.FetchOptions{Envelope: true, BodySection: []*imap.FetchItemBodySection{section}}).Collect()
		if err != nil || len(msgs) != 1 {
			t.Fatalf("%s: %d messages, %v", user, len(msgs), err)
		}
		if got := msgs[0].Envelope.Subject; got != "Minutes" {
			t.Errorf("%s: subject %q", user, got)
		}
		body := string(msgs[0].FindBodySection(section))
		for _, want := range []string{"Return-Path: <anup@example.org>\r\n", "Received: from client.linuxforu.com", "See you on Monday."} {
			if !strings.Contains(body, want) {
				t.Errorf("%s: the message has no %q:\n%s", user, want, body)
			}
		}
	}
}

func TestSubmissionWithTLS(t *testing.T) {
	t.Parallel()
	needs(t, "swaks")
	s := newServer(t)
	s.start()
	s.addAccounts("ajay@linuxforu.com", "biswajit@linuxforu.com")
	for _, tt := range []struct {
		name, service string
		args          []string
		want          string // "" for success
	}{
		{"STARTTLS", "submission", []string{"--tls", "--auth", "PLAIN"}, ""},
		{"implicit TLS", "submissions", []string{"--tls-on-connect", "--auth", "LOGIN"}, ""},
		{"no login", "submission", []string{"--tls"}, "530"},
		{"another's address", "submissions", []string{"--tls-on-connect", "--auth", "PLAIN", "--from", "biswajit@linuxforu.com"}, "553"},
		{"relaying", "smtp", []string{"--from", "x@example.org", "--to", "y@example.net"}, "550"},
	} {
		args := append([]string{"--from", "ajay@linuxforu.com", "--to", "biswajit@linuxforu.com"}, tt.args...)
		if slices.Contains(tt.args, "--auth") {
			args = append(args, "--auth-user", "ajay@linuxforu.com", "--auth-password", password)
		}
		out, err := s.swaks(tt.service, args...)
		if tt.want == "" && err != nil {
			t.Errorf("%s: %v\n%s", tt.name, err, out)
		}
		if tt.want != "" && (err == nil || !strings.Contains(out, "<** "+tt.want) && !strings.Contains(out, "<~* "+tt.want)) {
			t.Errorf("%s: want a refusal with %s, got %v\n%s", tt.name, tt.want, err, out)
		}
	}
}

// idler returns a client that idles in INBOX and a channel that has the
// message count each time it is told one.
func idler(t testing.TB, s *server, addr string) <-chan uint32 {
	t.Helper()
	told := make(chan uint32, 1000)
	c := s.imap(addr, &imapclient.Options{UnilateralDataHandler: &imapclient.UnilateralDataHandler{
		Mailbox: func(d *imapclient.UnilateralDataMailbox) {
			if d.NumMessages != nil {
				told <- *d.NumMessages
			}
		},
	}})
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	idle, err := c.Idle()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { idle.Close() })
	return told
}

func TestIdleClientIsTold(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.start()
	s.addAccounts("ajay@linuxforu.com")
	told := idler(t, s, "ajay@linuxforu.com")
	c, err := smtp.Dial(s.addr["smtp"])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for n := range uint32(5) {
		if err := c.SendMail("anup@example.org", []string{"ajay@linuxforu.com"}, strings.NewReader(text("idle"))); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-told:
			if got != n+1 {
				t.Fatalf("told %d messages, want %d", got, n+1)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("the idle client was not told")
		}
	}
}

// BenchmarkIdle measures from the 250 to what the idle client is told.
func BenchmarkIdle(b *testing.B) {
	s := newServer(b)
	s.start()
	s.addAccounts("ajay@linuxforu.com")
	told := idler(b, s, "ajay@linuxforu.com")
	c, err := smtp.Dial(s.addr["smtp"])
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	var times []time.Duration
	for b.Loop() {
		if err := c.SendMail("anup@example.org", []string{"ajay@linuxforu.com"}, strings.NewReader(text("idle"))); err != nil {
			b.Fatal(err)
		}
		accepted := time.Now()
		<-told
		times = append(times, time.Since(accepted))
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds()), "µs-after-250/p50")
	b.ReportMetric(float64(times[len(times)*95/100].Microseconds()), "µs-after-250/p95")
}

func TestSmuggledMessageIsNotDelivered(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.start()
	s.addAccounts("ajay@linuxforu.com")
	for _, end := range []string{"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r.\r\n"} {
		conn, err := net.Dial("tcp", s.addr["smtp"])
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(30 * time.Second))
		io.WriteString(conn, "EHLO x\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<ajay@linuxforu.com>\r\nDATA\r\n")
		io.WriteString(conn, "Subject: outer\r\n\r\nbody"+end+"MAIL FROM:<boss@linuxforu.com>\r\nRCPT TO:<ajay@linuxforu.com>\r\nDATA\r\nSubject: smuggled\r\n\r\nPay.\r\n.\r\nQUIT\r\n")
		if _, err := io.ReadAll(conn); err != nil {
			t.Errorf("%q: %v", end, err)
		}
		conn.Close()
	}
	c := s.imap("ajay@linuxforu.com", nil)
	data, err := c.Select("INBOX", nil).Wait()
	if err != nil {
		t.Fatal(err)
	}
	if data.NumMessages == 0 {
		return
	}
	msgs, err := c.Fetch(imap.SeqSet{{Start: 1, Stop: 0}}, &imap.FetchOptions{Envelope: true}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range msgs {
		if m.Envelope.Subject == "smuggled" {
			t.Error("a smuggled message was delivered")
		}
	}
}
