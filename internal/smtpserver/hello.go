package smtpserver

import (
	"context"
	"log/slog"
	"strconv"
	"strings"

	"expost/internal/delivery"
)

// hello is HELO, EHLO (RFC 5321 §4.1.1.1) and LHLO (RFC 2033 §4.1).
func (c *conn) hello(ctx context.Context, verb, arg string) reply {
	c.idle++
	if (verb == "LHLO") != (c.cfg.Mode == LMTP) {
		return reply{code: 500, status: "5.5.1", text: "this is " + c.protocol()}
	}
	if arg == "" || len(arg) > 255 {
		return reply{code: 501, status: "5.5.4", text: verb + " needs your host name"}
	}
	if r := c.checkHello(ctx, arg); r.refused() {
		c.log.Info("HELO refused", slog.String("helo", arg), slog.String("reason", r.text))
		return r
	}
	c.helo, c.esmtp, c.env = arg, verb != "HELO", nil
	if !c.esmtp {
		return reply{code: 250, text: c.cfg.Hostname}
	}
	lines := append([]string{c.cfg.Hostname}, c.extensions()...)
	return reply{code: 250, more: lines[:len(lines)-1], text: lines[len(lines)-1]}
}

// extensions lists what may be used now.
func (c *conn) extensions() []string {
	l := []string{
		"PIPELINING",
		"SIZE " + strconv.FormatInt(c.cfg.Limits.MessageSize, 10),
		"8BITMIME",
		"SMTPUTF8",
		"CHUNKING",
		"ENHANCEDSTATUSCODES",
		"DSN",
		"LIMITS RCPTMAX=" + strconv.Itoa(c.cfg.Limits.Recipients),
	}
	l = append(l, c.timing()...)
	if c.cfg.TLSConfig != nil && c.tls == nil {
		l = append(l, "STARTTLS")
	}
	if c.believed() {
		l = append(l, "XCLIENT ADDR TTL")
	}
	if c.cfg.Mode == Submission && c.account == nil {
		if list := c.cfg.Login.Mechanisms(c.who()); len(list) > 0 {
			l = append(l, "AUTH "+strings.Join(list, " "))
		}
		if c.passwordsAllowed() {
			l = append(l, "AUTH=PLAIN LOGIN") // for Outlook Express 4
		}
	}
	return l
}

// client describes the session for an envelope.
func (c *conn) client() delivery.Client {
	return delivery.Client{Helo: c.helo, Address: c.remote, ESMTP: c.esmtp, LMTP: c.cfg.Mode == LMTP, TLS: c.tls}
}
