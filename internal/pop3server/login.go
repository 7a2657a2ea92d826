package pop3server

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"expost/internal/mail"
)

// capa lists what we can do now (RFC 2449 §5).
func (c *conn) capa(string) (*reply, error) {
	caps := []string{"TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "EXPIRE NEVER", "LOGIN-DELAY 0", "UTF8 USER", "LANG", "IMPLEMENTATION Expost"}
	if c.state == authorization {
		if c.srv.cfg.TLSConfig != nil && !c.secure() {
			caps = append(caps, "STLS")
		}
		if c.passwordOK() {
			caps = append(caps, "USER", "SASL PLAIN LOGIN")
		}
	}
	c.say(ok("capabilities follow"))
	for _, name := range caps {
		if _, err := c.w.WriteString(name + "\r\n"); err != nil {
			return nil, err
		}
	}
	_, err := c.w.WriteString(".\r\n")
	return nil, err
}

// stls starts TLS (RFC 2595 §4). What the client sent in clear text behind the
// command is dropped with the old reader.
func (c *conn) stls(string) (*reply, error) {
	if c.srv.cfg.TLSConfig == nil || c.secure() {
		return new(refused("", "TLS is not available now")), nil
	}
	if c.r.Buffered() > 0 {
		return nil, errors.New("commands were sent behind STLS")
	}
	c.say(ok("begin TLS"))
	if err := c.flush(); err != nil {
		return nil, err
	}
	tc := tls.Server(c.nc, c.srv.cfg.TLSConfig)
	_ = c.nc.SetDeadline(time.Now().Add(c.srv.cfg.Limits.LoginTime))
	if err := tc.HandshakeContext(c.ctx); err != nil {
		return nil, err
	}
	_ = c.nc.SetDeadline(time.Time{})
	c.nc, c.user = tc, ""
	c.r.Reset(tc)
	c.w.Reset(tc)
	return nil, nil
}

// userName takes the login name (RFC 1939 §7 USER).
func (c *conn) userName(arg string) (*reply, error) {
	if !c.passwordOK() {
		return new(refused("", "a password may not be sent in clear text here; use STLS")), nil
	}
	if arg == "" {
		return new(refused("", "USER needs a name")), nil
	}
	c.user = arg
	return new(ok("send PASS")), nil
}

// pass takes the password (RFC 1939 §7 PASS): everything behind the space.
func (c *conn) pass(arg string) (*reply, error) {
	if c.user == "" {
		return new(refused("", "USER first")), nil
	}
	login := c.user
	c.user = ""
	return c.login(login, arg)
}

// auth is AUTH (RFC 5034) with PLAIN (RFC 4616) and LOGIN.
func (c *conn) auth(arg string) (*reply, error) {
	if !c.passwordOK() {
		return new(refused("", "a password may not be sent in clear text here; use STLS")), nil
	}
	mechanism, initial, given := strings.Cut(arg, " ")
	switch strings.ToUpper(mechanism) {
	case "PLAIN":
		text, rep, err := c.sasl("", initial, given)
		if rep != nil || err != nil {
			return rep, err
		}
		parts := strings.Split(text, "\x00")
		if len(parts) != 3 || parts[1] == "" || parts[0] != "" && parts[0] != parts[1] {
			return new(refused("AUTH", "the PLAIN message is malformed")), nil
		}
		return c.login(parts[1], parts[2])
	case "LOGIN":
		login, rep, err := c.sasl("VXNlcm5hbWU6", initial, given)
		if rep != nil || err != nil {
			return rep, err
		}
		password, rep, err := c.sasl("UGFzc3dvcmQ6", "", false)
		if rep != nil || err != nil {
			return rep, err
		}
		return c.login(login, password)
	}
	return new(refused("", "unknown authentication mechanism")), nil
}

// sasl returns the client's next message, decoded.
func (c *conn) sasl(challenge, initial string, given bool) (string, *reply, error) {
	coded := initial
	if !given {
		if _, err := c.w.WriteString("+ " + challenge + "\r\n"); err != nil {
			return "", nil, err
		}
		line, err := c.readLine()
		if err != nil {
			return "", nil, err
		}
		coded = line
	}
	if coded == "*" {
		return "", new(refused("AUTH", "cancelled")), nil
	}
	if coded == "=" {
		coded = ""
	}
	b, err := base64.StdEncoding.DecodeString(coded)
	if err != nil {
		return "", new(refused("AUTH", "the message is not base64")), nil
	}
	return string(b), nil, nil
}

// login checks the password and opens the maildrop.
func (c *conn) login(login, password string) (*reply, error) {
	acct, err := c.srv.cfg.Directory.Login(c.ctx, login, password)
	if err == nil && !c.srv.servedHere(acct.Host) {
		return new(refused("SYS/PERM", "this mailbox is on %s", acct.Host)), nil
	}
	if err != nil {
		c.log.Info("login refused", "login", login, "err", err)
		if c.logins++; mail.KindOf(err) == mail.KindAuth && c.logins >= c.srv.cfg.Limits.Logins {
			c.say(failure(err))
			c.quit = true
			return nil, nil
		}
		return new(failure(err)), nil
	}
	if !c.srv.lock(acct.ID) {
		return new(refused("IN-USE", "another POP3 session has this mailbox")), nil
	}
	drop, err := openMaildrop(c.ctx, c.srv.cfg.Store, acct.ID)
	if err != nil {
		c.srv.unlock(acct.ID)
		c.log.Error("opening the mailbox", "account", acct.ID, "err", err)
		return new(failure(err)), nil
	}
	c.drop, c.state = drop, transaction
	c.trust()
	c.log.Info("login", "account", acct.ID, "tls", c.secure())
	count, size := drop.total()
	return new(ok("%d messages (%d bytes)", count, size)), nil
}

// utf8Mode is UTF8 (RFC 6856 §2): the client takes UTF-8 in messages and names.
func (c *conn) utf8Mode(string) (*reply, error) {
	c.utf8 = true
	return new(ok("UTF8 enabled")), nil
}

// lang is LANG (RFC 6856 §3). Our replies are in English only.
func (c *conn) lang(arg string) (*reply, error) {
	switch strings.ToLower(arg) {
	case "":
		c.say(ok("languages follow"))
		_, err := c.w.WriteString("en English\r\ni-default Default language\r\n.\r\n")
		return nil, err
	case "*", "en", "i-default":
		return new(ok("en Replies are in English")), nil
	}
	return new(refused("", "only English is spoken here")), nil
}
