package smtpserver

import (
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"strings"

	"expost/internal/gate"
	"expost/internal/listener"
	"expost/internal/login"
	"expost/internal/mail"
)

// passwordsAllowed tells whether a password may come over this connection.
func (c *conn) passwordsAllowed() bool {
	return c.cfg.PlaintextAuth.Allows(c.remote, c.tls != nil)
}

// who describes the connection to the door.
func (c *conn) who() login.Client {
	client := login.Client{Protocol: "submission", Addr: c.remote, TLS: c.tls, Plaintext: c.passwordsAllowed()}
	return client.For(c.origin)
}

// believed tells whether the client is a proxy that may say whom it speaks for.
func (c *conn) believed() bool {
	return c.cfg.Mode == Submission && c.account == nil && c.cfg.Login.Believes(listener.AddrOf(c.wire.raw.RemoteAddr()))
}

// xclient is XCLIENT, as Postfix has it: a proxy says whom it speaks for. The
// session begins anew.
func (c *conn) xclient(arg string) reply {
	origin := c.origin
	switch {
	case !c.believed():
		return reply{code: 550, status: "5.7.1", text: "you are no proxy that is known here"}
	case c.env != nil:
		return reply{code: 503, status: "5.5.1", text: "not within a mail transaction"}
	case !origin.XClient(arg):
		return reply{code: 501, status: "5.5.4", text: "XCLIENT makes no sense"}
	}
	c.origin, c.helo, c.esmtp = origin, "", false
	if origin.Addr.IsValid() {
		c.remote = origin.Addr
		c.log = c.cfg.Logger.With(slog.String("client", c.remote.String()))
	}
	return reply{code: 220, text: c.cfg.Hostname + " " + c.protocol() + " Expost"}
}

// auth is AUTH (RFC 4954) with the mechanisms of package sasl.
func (c *conn) auth(ctx context.Context, arg string) reply {
	switch {
	case c.cfg.Mode != Submission:
		return reply{code: 502, status: "5.5.1", text: "users log in on the submission port"}
	case c.helo == "":
		return reply{code: 503, status: "5.5.1", text: "EHLO first"}
	case c.account != nil:
		return reply{code: 503, status: "5.5.1", text: "you are logged in already"}
	case c.env != nil:
		return reply{code: 503, status: "5.5.1", text: "not within a mail transaction"}
	}
	name, initial, _ := strings.Cut(arg, " ")
	c.method = strings.ToUpper(name)
	x, err := c.cfg.Login.Start(ctx, c.who(), name)
	switch {
	case err != nil && !c.passwordsAllowed():
		return reply{code: 538, status: "5.7.11", text: "passwords need TLS here"}
	case err != nil:
		return reply{code: 504, status: "5.5.4", text: mail.PublicText(err)}
	}
	defer func() { x.Entry.Leave() }() // unless it becomes the session's
	return c.converse(x, initial)
}

// converse exchanges challenges and responses until the mechanism is done.
func (c *conn) converse(x *login.Exchange, initial string) reply {
	var response []byte
	var err error
	switch initial {
	case "":
	case "=":
		response = []byte{}
	default:
		if response, err = base64.StdEncoding.AppendDecode([]byte{}, []byte(initial)); err != nil {
			return reply{code: 501, status: "5.5.2", text: "that is not base64"}
		}
	}
	for {
		challenge, done, err := x.Next(response)
		if err != nil {
			return c.loginFailed(err)
		}
		if done && challenge == nil {
			return c.enter(x)
		}
		c.write(reply{code: 334, text: base64.StdEncoding.EncodeToString(challenge)})
		c.wire.expectCommand()
		line, err := c.wire.readLine(authLine, c.strict)
		switch {
		case err == errLineTooLong:
			return reply{code: 500, status: "5.5.6", text: "line too long"}
		case err != nil:
			return c.broken(err)
		case string(line) == "*":
			return reply{code: 501, status: "5.7.0", text: "given up"}
		}
		if response, err = base64.StdEncoding.AppendDecode([]byte{}, line); err != nil {
			return reply{code: 501, status: "5.5.2", text: "that is not base64"}
		}
		if done { // the challenge was additional data, and the answer says that it has come
			return c.enter(x)
		}
	}
}

// enter begins the session of somebody who was let in.
func (c *conn) enter(x *login.Exchange) reply {
	e := x.Entry
	c.entry, c.account, x.Entry = e, e.Account, nil
	context.AfterFunc(e.Inside, func() {
		if errors.Is(context.Cause(e.Inside), gate.ErrFrozen) {
			c.Stop()
		}
	})
	c.trust()
	if e.Far != nil {
		return c.splice(e)
	}
	c.wire.traced = e.Trace
	return reply{code: 235, status: "2.7.0", text: "logged in"}
}

// loginFailed is the reply to a login that did not succeed.
func (c *conn) loginFailed(err error) reply {
	switch mail.KindOf(err) {
	case mail.KindTemporary, mail.KindUnavailable:
		return reply{code: 454, status: "4.7.0", text: mail.PublicText(err)}
	case mail.KindInvalid:
		return reply{code: 501, status: "5.5.2", text: mail.PublicText(err)}
	}
	r := reply{code: 535, status: "5.7.8", text: "wrong login or password"}
	if mail.KindOf(err) == mail.KindPermission {
		r.text = mail.PublicText(err)
	}
	if c.logins++; c.logins >= c.cfg.Limits.Logins {
		return r.closing()
	}
	return r
}
