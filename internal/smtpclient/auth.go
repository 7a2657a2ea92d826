package smtpclient

import (
	"encoding/base64"
	"errors"
	"strings"
)

// errNoAuth is a server that we cannot log in to.
var errNoAuth = errors.New("the server offers neither AUTH PLAIN nor AUTH LOGIN")

// auth logs in (RFC 4954), where a login is given. Passwords go over TLS, or
// over a connection that the policy "never" says is safe by itself.
func (c *Conn) auth() error {
	if c.opt.Login == "" {
		return nil
	}
	if !c.secure && c.opt.TLS != TLSNever {
		return errors.New("the server offers no TLS, and the password is not sent in clear text")
	}
	methods := strings.Fields(strings.ToUpper(c.extensions["AUTH"]))
	for _, m := range methods {
		if m == "PLAIN" {
			return c.authPlain()
		}
	}
	for _, m := range methods {
		if m == "LOGIN" {
			return c.authLogin()
		}
	}
	return errNoAuth
}

// authPlain is RFC 4616.
func (c *Conn) authPlain() error {
	return c.authStep("AUTH PLAIN "+encode("\x00"+c.opt.Login+"\x00"+c.opt.Password), 235)
}

// authLogin is the LOGIN of old servers.
func (c *Conn) authLogin() error {
	if err := c.authStep("AUTH LOGIN", 334); err != nil {
		return err
	}
	if err := c.authStep(encode(c.opt.Login), 334); err != nil {
		return err
	}
	return c.authStep(encode(c.opt.Password), 235)
}

func (c *Conn) authStep(line string, want int) error {
	r, err := c.command(line)
	if err != nil {
		return err
	}
	if r.Code != want {
		return &Error{"AUTH", r}
	}
	return nil
}

func encode(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
