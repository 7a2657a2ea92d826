package smtpserver

import (
	"strings"
	"testing"
	"time"

	"expost/internal/delivery"
	"expost/internal/listener"
)

func TestTimingParameters(t *testing.T) {
	t.Parallel()
	out := &remote{}
	n := newRelay(t, out, Config{Mode: Submission, PlaintextAuth: listener.PlaintextLoopback})
	c := newClient(t, n)
	c.expect("220")
	c.send("EHLO laptop")
	c.expect("250")
	c.login("ann@example.org")
	later := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	for _, test := range []struct{ params, want string }{
		{"BY=120;R", "250"}, {"BY=-5;nt", "250"}, {"BY=0;R", "501"}, {"BY=5", "501"}, {"BY=9999999999;N", "501"},
		{"MT-PRIORITY=4", "250"}, {"MT-PRIORITY=10", "501"}, {"MT-PRIORITY=x", "501"},
		{"HOLDFOR=3600", "250"}, {"HOLDFOR=-1", "501"}, {"HOLDFOR=99999999", "554"},
		{"HOLDUNTIL=" + later.Format(time.RFC3339), "250"}, {"HOLDUNTIL=tomorrow", "501"}, {"HOLDFOR=60 HOLDUNTIL=" + later.Format(time.RFC3339), "501"},
		{"REQUIRETLS", "555"}, // only over TLS
	} {
		c.send("MAIL FROM:<ann@example.org> " + test.params)
		if got := c.reply(); !strings.HasPrefix(got, test.want) {
			t.Errorf("%s: got %q, want %s", test.params, got, test.want)
		}
		c.send("RSET")
		c.expect("250")
	}
	start := time.Now()
	c.send("MAIL FROM:<ann@example.org> BY=120;RT MT-PRIORITY=3 HOLDFOR=60")
	c.expect("250")
	c.send("RCPT TO:<bob@example.org>\r\nRCPT TO:<x@far.example>")
	c.expect("250")
	c.expect("250")
	c.send("DATA")
	c.expect("354")
	c.send("Subject: later\r\n\r\n.")
	c.expect("250")
	if len(out.sent) != 1 {
		t.Fatalf("%d messages are in the queue", len(out.sent))
	}
	env := out.sent[0]
	if !env.By.Return || !env.By.Trace || env.By.Time.Sub(start).Round(time.Minute) != 2*time.Minute || env.Priority != 3 ||
		env.NotBefore.Sub(start).Round(time.Minute) != time.Minute || len(env.Recipients) != 2 || env.Recipients[0].Host != "local:" {
		t.Errorf("the queue has %+v", env)
	}
}

func TestStrangersDoNotGoFirst(t *testing.T) {
	t.Parallel()
	n := newNode(t, Config{})
	c := n.from(t, "192.0.2.1")
	c.expect("220")
	c.send("EHLO a.example")
	if line := c.reply(); strings.Contains(line, "FUTURERELEASE") {
		t.Errorf("EHLO: %s", line)
	}
	c.send("MAIL FROM:<x@y.example> HOLDFOR=5")
	c.expect("555")
	cn := &conn{cfg: &Config{Mode: Receive}}
	env := &delivery.Envelope{}
	if r, known := cn.timingParam(env, param{"MT-PRIORITY", "9"}, time.Now()); !known || r.refused() || env.Priority != 0 {
		t.Errorf("a stranger's priority is %d, %+v", env.Priority, r)
	}
}
