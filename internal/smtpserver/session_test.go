package smtpserver

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"strings"
	"testing"

	"expost/internal/directory"
	"expost/internal/listener"
	"expost/internal/mail"
)

func TestImplicitTLS(t *testing.T) {
	t.Parallel()
	n := newNode(t, Config{Mode: Submission})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- n.server.Serve(ctx, tls.NewListener(ln, testTLS(t))) }()
	n.addr = ln.Addr().String()
	nc := n.dial(t)
	tc := tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
	c := &client{t, tc, bufio.NewReader(tc)}
	c.expect("220")
	c.send("EHLO laptop")
	c.expect("250 AUTH=PLAIN LOGIN")
	c.login("ann@example.org")
	c.send("MAIL FROM:<ann@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA")
	c.expect("250")
	c.expect("250")
	c.expect("354")
	c.send(".")
	c.expect("250")
	plainText := newClient(t, n)
	plainText.send("EHLO laptop")
	plainText.closed()
	cancel()
	c.expect("421 4.3.2")
	c.closed()
	if err := <-stopped; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if msgs := n.messages(t, "bob", mail.Inbox); len(msgs) != 1 || !strings.Contains(string(msgs[0]), " with ESMTPSA id ") {
		t.Errorf("bob has %q", msgs)
	}
}

// panics is a directory that panics over one address.
type panics struct{ directory.Directory }

func (p panics) Resolve(ctx context.Context, addr mail.Address) (*directory.Account, error) {
	if addr.Local() == "panic" {
		panic("over an address")
	}
	return p.Directory.Resolve(ctx, addr)
}

func TestPanicEndsOneSession(t *testing.T) {
	t.Parallel()
	n := newNodeWith(t, Config{}, newStore(t, plainEngine), func(d directory.Directory) directory.Directory { return panics{d} })
	other, c := begin(t, n), begin(t, n)
	c.send("RCPT TO:<panic@example.org>")
	c.expect("421 4.3.0 internal error")
	c.closed()
	other.send("DATA")
	other.expect("354")
	other.send(".")
	other.expect("250")
	if log := n.log.String(); !strings.Contains(log, "over an address") || !strings.Contains(log, "goroutine") {
		t.Errorf("log:\n%s", log)
	}
}

func TestMailLog(t *testing.T) {
	t.Parallel()
	n := newNode(t, Config{Mode: Submission, PlaintextAuth: listener.PlaintextAlways})
	c := newClient(t, n)
	c.expect("220")
	c.send("EHLO laptop")
	c.expect("250")
	c.send("AUTH PLAIN AGFubkBleGFtcGxlLm9yZwBodW50ZXIy") // ann, hunter2
	c.expect("535")
	c.login("ann@example.org")
	c.send("MAIL FROM:<ann@example.org>")
	c.expect("250")
	c.send("RCPT TO:<nobody@example.org>")
	c.expect("550")
	for _, to := range []string{"ann", "bob"} {
		c.send("RCPT TO:<" + to + "@example.org>")
		c.expect("250")
	}
	c.send("DATA")
	c.expect("354")
	c.send("Message-ID: <m@laptop>\r\nSubject: private subject\r\n\r\nprivate text\r\n.")
	c.expect("250")
	log := n.log.String()
	var lines []string
	for l := range strings.Lines(log) {
		if strings.Contains(l, "ann@example.org") && strings.Contains(l, "result=") {
			lines = append(lines, l)
		}
	}
	if len(lines) != 3 {
		t.Fatalf("log:\n%s", log)
	}
	for i, want := range [][]string{
		{"msg=refused", "client=127.0.0.1", "to=nobody@example.org", `result="550 5.1.1"`, "helo=laptop"},
		{"msg=delivered", "to=ann@example.org", `result="250 2.6.0"`, "delay=", "with=ESMTPA", "size=", "message-id=<m@laptop>", "login=ann@example.org"},
		{"msg=delivered", "to=bob@example.org"},
	} {
		for _, w := range append(want, "id=", "from=ann@example.org") {
			if !strings.Contains(lines[i], w) {
				t.Errorf("line %d has no %s: %s", i, w, lines[i])
			}
		}
	}
	for _, secret := range []string{"hunter2", "correct horse", "AGFub", "private"} {
		if strings.Contains(log, secret) {
			t.Errorf("%q is in the log:\n%s", secret, log)
		}
	}
}

func TestServeReportsALostListener(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	n := newNode(t, Config{})
	if err := n.server.Serve(t.Context(), ln); err == nil {
		t.Error("Serve on a closed listener is no error")
	}
}
