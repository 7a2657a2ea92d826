package smtpserver

import (
	"context"
	"encoding/base64"
	"log/slog"
	"strings"

	"github.com/emersion/go-sasl"

	"expost/internal/mail"
)

// passwordsAllowed tells whether a password may come over this connection.
func (c *conn) passwordsAllowed() bool {
	return c.cfg.PlaintextAuth.Allows(c.remote, c.tls != nil)
}

// auth is AUTH (RFC 4954) with PLAIN (RFC 4616) and LOGIN.
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
	case !c.passwordsAllowed():
		return reply{code: 538, status: "5.7.11", text: "passwords need TLS here"}
	}
	name, initial, _ := strings.Cut(arg, " ")
	c.method = strings.ToUpper(name)
	mech := c.mechanism(ctx, c.method)
	if mech == nil {
		return reply{code: 504, status: "5.5.4", text: "the mechanisms are PLAIN and LOGIN"}
	}
	return c.converse(mech, initial)
}

// mechanism returns the server side of a SASL mechanism, nil for one that is not offered.
func (c *conn) mechanism(ctx context.Context, name string) sasl.Server {
	login := func(user, password string) error {
		acct, err := c.cfg.Directory.Login(ctx, user, password)
		if err != nil {
			c.log.Info("login refused", slog.String("login", user), slog.Any("error", err))
			return err
		}
		c.account = acct
		c.trust()
		return nil
	}
	switch name {
	case sasl.Plain:
		return sasl.NewPlainServer(func(identity, user, password string) error {
			if identity != "" && identity != user {
				return mail.Errorf(mail.KindAuth, "nobody may act for another here")
			}
			return login(user, password)
		})
	case sasl.Login:
		return &loginServer{authenticate: login}
	}
	return nil
}

// converse exchanges challenges and responses until the mechanism is done.
func (c *conn) converse(mech sasl.Server, initial string) reply {
	var response []byte
	var err error
	switch initial {
	case "":
	case "=":
		response = []byte{}
	default:
		if response, err = base64.StdEncoding.DecodeString(initial); err != nil {
			return reply{code: 501, status: "5.5.2", text: "that is not base64"}
		}
	}
	for {
		challenge, done, err := mech.Next(response)
		if err != nil {
			return c.loginFailed(err)
		}
		if done {
			return reply{code: 235, status: "2.7.0", text: "logged in"}
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
	}
}

// loginFailed is the reply to a login that did not succeed.
func (c *conn) loginFailed(err error) reply {
	switch mail.KindOf(err) {
	case mail.KindTemporary, mail.KindUnavailable:
		return reply{code: 454, status: "4.7.0", text: "logins cannot be checked now, try again later"}
	}
	r := reply{code: 535, status: "5.7.8", text: "wrong login or password"}
	if c.logins++; c.logins >= c.cfg.Limits.Logins {
		return r.closing()
	}
	return r
}

// loginServer is the server side of LOGIN (draft-murchison-sasl-login). The
// prompts are the ones that Outlook wants to see.
type loginServer struct {
	authenticate func(user, password string) error
	user         *string
}

// Next takes the user name, then the password.
func (l *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	switch {
	case response == nil:
		return []byte("Username:"), false, nil
	case l.user == nil:
		l.user = new(string(response))
		return []byte("Password:"), false, nil
	}
	return nil, true, l.authenticate(*l.user, string(response))
}
