package smtpserver

import (
	"encoding/base64"
	"strings"
	"testing"

	"expost/internal/delivery/deliverytest"
	"expost/internal/listener"
	"expost/internal/mail"
)

// TestRelaying asks, without a login, for mail to be passed on or to be written
// to where no mailbox is. Every one is refused for good.
func TestRelaying(t *testing.T) {
	t.Parallel()
	n := newNode(t, Config{Limits: Limits{Errors: 1000}})
	c := newClient(t, n)
	c.expect("220")
	c.send("EHLO example.org")
	c.expect("250")
	for _, from := range []string{"<a@b.example>", "<ann@example.org>", "<>", "<a@b.example> AUTH=ann@example.org"} {
		c.send("MAIL FROM:" + from)
		c.expect("250")
		for _, to := range []string{
			"<x@gmail.example>",
			"x@gmail.example",
			"<x@gmail.example> <ann@example.org>",
			"<x@gmail.example>,<ann@example.org>",
			"<x@gmail.example,ann@example.org>",
			"<ann@example.org,x@gmail.example>",
			"<x@gmail.example ann@example.org>",
			"<ann@example.org@gmail.example>",
			"<x@gmail.example@example.org>",
			"<x%gmail.example@example.org>",
			"<x%gmail.example@[127.0.0.1]>",
			"<gmail.example!x@example.org>",
			"<example.org!gmail.example!x>",
			"<@example.org:x@gmail.example>",
			"<@example.org,@mail.example.org:x@gmail.example>",
			"<@gmail.example:nobody@example.org>",
			`<"x@gmail.example">`,
			`<"x@gmail.example"@example.org>`,
			`<"x%gmail.example"@example.org>`,
			`<"@gmail.example:x"@example.org>`,
			`<"ann@example.org"@gmail.example>`,
			`<"ann@example.org>"@gmail.example>`,
			`<ann@example.org\>@gmail.example>`,
			"<x@example.org.gmail.example>",
			"<x@gmail.example.>",
			"<x@sub.example.org>",
			"<x@example.org\x00.gmail.example>",
			"<x@[192.0.2.1]>",
			"<x@[IPv6:2001:db8::1]>",
			"<x@[127.0.0.1>",
			"<x@127.0.0.1>",
			"<x@localhost>",
			"<x@>",
			"<@gmail.example>",
			"<x>",
			"<postmaster@gmail.example>",
			"<|/bin/sh@example.org>",
			`<"|/bin/sh"@example.org>`,
			"</etc/passwd@example.org>",
			"<../ann@example.org>",
			"<ann/../bob@example.org>",
			"<:include:/etc/passwd@example.org>",
			"<ann@example.org> ORCPT=rfc822;x@gmail.example ORCPT=rfc822;y@gmail.example",
			"<ann@example.org> RELAY=yes",
			"<ann@example.org><x@gmail.example>",
			"<<x@gmail.example>>",
			"<x＠gmail.example>",
		} {
			c.send("RCPT TO:" + to)
			if got := c.reply(); !strings.HasPrefix(got, "5") {
				t.Errorf("MAIL FROM:%s RCPT TO:%s: %q", from, to, got)
			}
		}
		c.send("DATA")
		c.expect("554 5.5.1 no valid recipients")
		c.send("RSET")
		c.expect("250")
	}
	c.send("AUTH PLAIN " + plain("ann@example.org"))
	c.expect("502 5.5.1 users log in on the submission port")
}

// TestSpoofing logs in as ann, or fails to, and sends as somebody else.
func TestSpoofing(t *testing.T) {
	t.Parallel()
	n := newNode(t, Config{Mode: Submission, PlaintextAuth: listener.PlaintextAlways, Limits: Limits{Errors: 1000, Logins: 1000}})
	c := newClient(t, n)
	c.expect("220")
	c.send("EHLO laptop")
	c.expect("250")
	encode := func(identity, user, password string) string {
		return base64.StdEncoding.EncodeToString([]byte(identity + "\x00" + user + "\x00" + password))
	}
	for name, response := range map[string]string{
		"wrong password":            encode("", "ann@example.org", "x"),
		"no password":               encode("", "ann@example.org", ""),
		"password and a NUL":        encode("", "ann@example.org", deliverytest.Password+"\x00"),
		"no such user":              encode("", "nobody@example.org", deliverytest.Password),
		"no user":                   encode("", "", deliverytest.Password),
		"for another":               encode("bob@example.org", "ann@example.org", deliverytest.Password),
		"an account without access": plain("bob@example.org"),
		"a disabled account":        plain("dan@example.org"),
		"a deleted account":         plain("eve@example.org"),
		"nothing":                   "=",
		"no base64":                 "%%%",
		"cut base64":                "AGFu",
	} {
		c.send("AUTH PLAIN " + response)
		if got := c.reply(); !strings.HasPrefix(got, "5") {
			t.Errorf("%s: %q", name, got)
		}
		c.send("MAIL FROM:<ann@example.org>")
		c.expect("530 5.7.0")
	}
	c.login("ann@example.org")
	for _, from := range []string{
		"<bob@example.org>",
		"<admin@example.org>",
		"<postmaster@example.org>",
		"<postmaster>",
		"<ann@gmail.example>",
		"<ann@example.org.gmail.example>",
		"<ann@sub.example.org>",
		"<bob+ann@example.org>",
		"<bob@example.org+ann@example.org>",
		"<@example.org:bob@example.org>",
		`<"ann@example.org"@gmail.example>`,
		`<"ann@example.org>"@gmail.example>`,
		`<"ann "@example.org>`,
		`<"bob"@example.org>`,
		"<bob@example.org> AUTH=ann@example.org",
		"<ann@example.org><bob@example.org>",
		"<ann@example.org@gmail.example>",
		"<ann@[127.0.0.1]>",
	} {
		c.send("MAIL FROM:" + from)
		if got := c.reply(); !strings.HasPrefix(got, "5") {
			t.Errorf("MAIL FROM:%s: %q", from, got)
		}
	}
	c.send("MAIL FROM:<ann+x@example.org>")
	c.expect("250")
	c.send("AUTH PLAIN " + plain("ann@example.org"))
	c.expect("503")
}

// TestSmuggling puts a second transaction behind everything that some server
// somewhere takes for the end of a message.
func TestSmuggling(t *testing.T) {
	t.Parallel()
	ends := []string{
		"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r", "\n.\r", "\r.\n", "\r\r\n.\r\r\n", "\r\n.\r\r\n", "\r\n.\x00\r\n",
		"\r\n\x00.\r\n", "\r\n.\r\x00\n", "\n\n.\n\n", "\n\r.\n\r", "\r\n..\r\n", "\r\n. \r\n", "\r\n .\r\n", "\r\n.\t\r\n", "\n.\n\r\n",
		"\x85.\x85", "\u2028.\u2028", "\x0b.\x0b", "\x0c.\x0c", "\r\n.=0D=0A",
	}
	for _, policy := range []BareNewline{BareMend, BareReject} {
		for _, end := range ends {
			t.Run(string(policy)+" "+base64.RawURLEncoding.EncodeToString([]byte(end)), func(t *testing.T) {
				t.Parallel()
				n := newNode(t, Config{BareNewline: policy})
				c := begin(t, n)
				c.send("DATA")
				c.expect("354")
				c.send("Subject: outer\r\n\r\ntext" + end + "MAIL FROM:<boss@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\nSubject: inner\r\n\r\nsmuggled\r\n.")
				got := c.reply()
				want := 1
				if policy == BareReject && strings.ContainsAny(strings.ReplaceAll(end, "\r\n", ""), "\r\n") {
					want = 0
					if !strings.HasPrefix(got, "550 5.5.2") {
						t.Errorf("got %q", got)
					}
					c.closed()
				} else if !strings.HasPrefix(got, "250 2.6.0") {
					t.Errorf("got %q", got)
				}
				ann, bob := n.messages(t, "ann", mail.Inbox), n.messages(t, "bob", mail.Inbox)
				if len(ann) != want || len(bob) != 0 {
					t.Fatalf("ann has %d messages, want %d; bob %d", len(ann), want, len(bob))
				}
				if want == 1 && strings.ContainsAny(strings.ReplaceAll(string(ann[0]), "\r\n", ""), "\r\n") {
					t.Errorf("a bare line end is kept in %q", ann[0])
				}
			})
		}
	}
}
