package imapserver

import (
	"context"
	"encoding/base64"
	"strings"
)

// authenticateCommand is AUTHENTICATE (RFC 9051 §6.2.2) with SASL-IR (RFC 4959).
func authenticateCommand() command {
	return command{
		name: "AUTHENTICATE", in: notAuthenticated,
		caps: []capability{
			{name: "SASL-IR", in: notAuthenticated},
			{name: "AUTH=PLAIN", in: notAuthenticated, when: (*conn).plaintextOK},
			{name: "AUTH=LOGIN", in: notAuthenticated, when: (*conn).plaintextOK},
		},
		run: func(ctx context.Context, c *conn) (reply, error) {
			c.dec.SP()
			mechanism := c.dec.Keyword()
			initial, given := "", c.dec.TrySP()
			if given {
				initial = c.dec.Rest()
			}
			if err := c.dec.Err(); err != nil {
				return reply{}, err
			}
			switch mechanism {
			case "PLAIN":
				return c.authPlain(ctx, initial, given)
			case "LOGIN":
				return c.authLogin(ctx, initial, given)
			}
			return reply{}, no("CANNOT", "unknown authentication mechanism")
		},
	}
}

// authPlain is PLAIN (RFC 4616).
func (c *conn) authPlain(ctx context.Context, initial string, given bool) (reply, error) {
	message, err := c.sasl("", initial, given)
	if err != nil {
		return reply{}, err
	}
	authorize, rest, ok1 := strings.Cut(message, "\x00")
	login, password, ok2 := strings.Cut(rest, "\x00")
	if !ok1 || !ok2 || login == "" {
		return reply{}, bad("the PLAIN message is malformed")
	}
	if authorize != "" && authorize != login {
		return reply{}, no("AUTHORIZATIONFAILED", "logging in for somebody else is not allowed")
	}
	return c.login(ctx, login, password)
}

// authLogin is LOGIN, which old Outlooks use (draft-murchison-sasl-login).
func (c *conn) authLogin(ctx context.Context, initial string, given bool) (reply, error) {
	login, err := c.sasl("VXNlcm5hbWU6", initial, given)
	if err != nil {
		return reply{}, err
	}
	password, err := c.sasl("UGFzc3dvcmQ6", "", false)
	if err != nil {
		return reply{}, err
	}
	return c.login(ctx, login, password)
}

// sasl returns the client's next message: the initial response where it was
// given, else what it answers to a challenge (in base64 already).
func (c *conn) sasl(challenge, initial string, given bool) (string, error) {
	coded := initial
	if !given {
		if !c.plaintextOK() {
			return "", no("PRIVACYREQUIRED", "a password may not be sent in clear text here; use TLS")
		}
		c.out.Line("+ ", challenge)
		if err := c.out.Flush(); err != nil {
			return "", err
		}
		if err := c.dec.Next(c.in); err != nil {
			return "", err
		}
		if coded = c.dec.Rest(); c.dec.Err() != nil {
			return "", c.dec.Err()
		}
	}
	switch coded {
	case "*":
		return "", bad("authentication was cancelled")
	case "=":
		return "", nil
	}
	raw, err := base64.StdEncoding.DecodeString(coded)
	if err != nil {
		return "", bad("the answer is not base64")
	}
	return string(raw), nil
}
