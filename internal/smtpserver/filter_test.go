package smtpserver

import (
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"

	protocol "github.com/emersion/go-milter"

	"expost/internal/mail"
	"expost/internal/milter"
)

// changer is a content filter that does what the subject's first word says.
type changer struct {
	protocol.NoOpMilter
	subject string
}

func (c *changer) RcptTo(to string, _ *protocol.Modifier) (protocol.Response, error) {
	if to == "bob@example.org" {
		return protocol.RespReject, nil
	}
	return protocol.RespContinue, nil
}

func (c *changer) Header(name, value string, _ *protocol.Modifier) (protocol.Response, error) {
	if strings.EqualFold(name, "subject") {
		c.subject = value
	}
	return protocol.RespContinue, nil
}

func (c *changer) Body(m *protocol.Modifier) (protocol.Response, error) {
	switch c.subject {
	case "change":
		err := errors.Join(m.DeleteRecipient("ann@example.org"), m.AddRecipient("admin@example.org"), m.ChangeFrom("new@b.example"),
			m.AddHeader("X-Filtered", "yes"), m.ReplaceBody([]byte("other text\n")))
		return protocol.RespAccept, err
	case "junk":
		return protocol.RespAccept, m.AddHeader("X-Spam", "Yes")
	case "hold":
		return protocol.RespAccept, m.Quarantine("looks odd")
	case "discard":
		return protocol.RespDiscard, nil
	case "reject":
		return protocol.RespReject, nil
	}
	return protocol.RespAccept, nil
}

// filters starts a changer and returns a chain of it.
func filters(t *testing.T) *milter.Chain {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	all := protocol.OptAddHeader | protocol.OptChangeBody | protocol.OptAddRcpt | protocol.OptRemoveRcpt | protocol.OptChangeFrom | protocol.OptQuarantine
	s := &protocol.Server{NewMilter: func() protocol.Milter { return &changer{} }, Actions: all}
	go s.Serve(ln)
	t.Cleanup(func() { s.Close() })
	return milter.New([]milter.Filter{{Name: "changer", Network: "tcp", Address: ln.Addr().String()}}, "mail.example.org", "test", slog.New(slog.DiscardHandler))
}

func TestFilters(t *testing.T) {
	t.Parallel()
	out := &remote{}
	n := newRelay(t, out, Config{Filters: filters(t)})
	for _, mode := range []string{"EHLO c.example", "LHLO c.example"} {
		if mode[0] == 'L' {
			n = newRelay(t, out, Config{Mode: LMTP, Filters: filters(t)})
		}
		c := newClient(t, n)
		c.expect("220")
		c.send(mode)
		c.expect("250")
		for _, test := range []struct{ subject, want string }{
			{"plain", "250"}, {"change", "250"}, {"junk", "250"}, {"hold", "250"}, {"discard", "250"}, {"reject", "550 5.7.1"},
		} {
			c.send("MAIL FROM:<a@b.example>")
			c.expect("250")
			c.send("RCPT TO:<bob@example.org>")
			c.expect("550 5.7.1")
			c.send("RCPT TO:<ann@example.org>")
			c.expect("250")
			c.send("DATA")
			c.expect("354")
			c.send("Subject: " + test.subject + "\r\n\r\ntext\r\n.")
			if got := c.reply(); !strings.HasPrefix(got, test.want) {
				t.Errorf("%s %s: %s", mode, test.subject, got)
			}
		}
		if got := len(n.messages(t, "ann", mail.Inbox)); got != 1 {
			t.Errorf("%s: ann has %d messages, want the plain one", mode, got)
		}
		if got := n.messages(t, "ann", "Junk"); len(got) != 1 || !strings.Contains(string(got[0]), "X-Spam: Yes") {
			t.Errorf("%s: Junk has %q", mode, got)
		}
		got := n.messages(t, "admin", mail.Inbox)
		if len(got) != 1 {
			t.Fatalf("%s: admin has %d messages, want the changed one", mode, len(got))
		}
		for _, want := range []string{"Return-Path: <new@b.example>", "X-Filtered: yes\r\n\r\nother text\r\n"} {
			if !strings.Contains(string(got[0]), want) {
				t.Errorf("%s: the changed message has no %q: %q", mode, want, got[0])
			}
		}
	}
	if len(out.sent) != 2 || out.sent[0].Hold != "looks odd" || out.sent[0].Recipients[0].Address != "ann@example.org" {
		t.Errorf("the queue has %+v", out.sent)
	}
}
