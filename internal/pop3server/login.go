package pop3server

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"expost/internal/gate"
	"expost/internal/listener"
	"expost/internal/login"
	"expost/internal/mail"
	"expost/internal/proxy"
)

// capa lists what we can do now (RFC 2449 §5).
func (c *conn) capa(string) (*reply, error) {
	caps := []string{"TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "EXPIRE NEVER", "LOGIN-DELAY 0", "UTF8 USER", "LANG", "IMPLEMENTATION Expost"}
	if c.state == authorization {
		if c.srv.cfg.TLSConfig != nil && !c.secure() {
			caps = append(caps, "STLS")
		}
		if c.believed() {
			caps = append(caps, "XCLIENT ADDR TTL")
		}
	}
	if c.passwordOK() { // these are told in both states (RFC 2449 §6)
		caps = append(caps, "USER")
	}
	if list := c.srv.cfg.Login.Mechanisms(c.client()); len(list) > 0 {
		caps = append(caps, "SASL "+strings.Join(list, " "))
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
	if c.utf8 { // RFC 6856 §2.1
		return new(refused("", "STLS goes before UTF8")), nil
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
	c.w.Reset((*connWriter)(c))
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
	if !utf8.ValidString(arg) { // RFC 6856 §2.2
		return new(refused("AUTH", "a name is UTF-8")), nil
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
	if !utf8.ValidString(arg) { // RFC 6856 §2.2
		return new(refused("AUTH", "a password is UTF-8")), nil
	}
	return c.login(login, arg)
}

// client describes the connection to the door.
func (c *conn) client() login.Client {
	client := login.Client{Protocol: "pop3", Addr: listener.AddrOf(c.nc.RemoteAddr()), TLS: listener.TLSState(c.nc), Plaintext: c.passwordOK()}
	return client.For(c.origin)
}

// believed tells whether the client is a proxy that may say whom it speaks for.
func (c *conn) believed() bool {
	return c.srv.cfg.Login.Believes(listener.AddrOf(c.nc.RemoteAddr()))
}

// xclient is XCLIENT, as Dovecot's proxies send it.
func (c *conn) xclient(arg string) (*reply, error) {
	var origin proxy.Origin
	switch {
	case !c.believed():
		return new(refused("", "you are no proxy that is known here")), nil
	case !origin.XClient(arg):
		return new(refused("", "XCLIENT makes no sense")), nil
	}
	c.origin = origin
	return new(ok("welcome, client of a proxy")), nil
}

// auth is AUTH (RFC 5034) with the mechanisms of package sasl. Without an
// argument it lists them, as clients of before RFC 5034 expect.
func (c *conn) auth(arg string) (*reply, error) {
	if arg == "" {
		c.say(ok("mechanisms follow"))
		_, err := io.WriteString(c, strings.Join(append(c.srv.cfg.Login.Mechanisms(c.client()), "."), "\r\n")+"\r\n")
		return nil, err
	}
	mechanism, initial, given := strings.Cut(arg, " ")
	x, err := c.srv.cfg.Login.Start(c.ctx, c.client(), mechanism)
	switch {
	case err != nil && !c.passwordOK() && c.srv.cfg.Login.Knows(mechanism):
		return new(refused("", "a password may not be sent in clear text here; use STLS")), nil
	case err != nil:
		return new(refused("", "unknown authentication mechanism")), nil
	}
	defer func() { x.Entry.Leave() }() // unless it becomes the session's
	var response []byte
	if given {
		var rep *reply
		if response, rep = decodeSASL(initial); rep != nil {
			return rep, nil
		}
	}
	for {
		challenge, done, err := x.Next(response)
		if err != nil {
			return c.loginFailed(err)
		}
		if !done || challenge != nil {
			var rep *reply
			if response, rep, err = c.challenge(challenge); rep != nil || err != nil {
				return rep, err
			}
		}
		if done {
			e := x.Entry
			x.Entry = nil
			return c.enter(e)
		}
	}
}

// challenge sends a challenge and returns the client's answer.
func (c *conn) challenge(text []byte) ([]byte, *reply, error) {
	if _, err := c.w.WriteString("+ " + base64.StdEncoding.EncodeToString(text) + "\r\n"); err != nil {
		return nil, nil, err
	}
	line, err := c.readLine()
	if err != nil {
		return nil, nil, err
	}
	response, rep := decodeSASL(line)
	return response, rep, nil
}

// decodeSASL reads a client's message; "=" is an empty one.
func decodeSASL(coded string) ([]byte, *reply) {
	switch coded {
	case "*":
		return nil, new(refused("AUTH", "cancelled"))
	case "=":
		coded = ""
	}
	b, err := base64.StdEncoding.AppendDecode([]byte{}, []byte(coded))
	if err != nil {
		return nil, new(refused("AUTH", "the message is not base64"))
	}
	return b, nil
}

// login checks a name and a password.
func (c *conn) login(name, password string) (*reply, error) {
	e, err := c.srv.cfg.Login.Password(c.ctx, c.client(), name, password)
	if err != nil {
		return c.loginFailed(err)
	}
	return c.enter(e)
}

// loginFailed answers a login that was not let in.
func (c *conn) loginFailed(err error) (*reply, error) {
	rep := failure(err)
	if k := mail.KindOf(err); k == mail.KindInvalid || k == mail.KindPermission {
		rep.code = "AUTH"
	}
	if mail.KindOf(err) != mail.KindAuth {
		return &rep, nil
	}
	if c.logins++; c.logins >= c.srv.cfg.Limits.Logins {
		c.say(rep)
		c.quit = true
		return nil, nil
	}
	return &rep, nil
}

// enter opens the maildrop of somebody who was let in.
func (c *conn) enter(e *login.Entry) (*reply, error) {
	acct := e.Account
	refuse := func(rep reply) (*reply, error) {
		e.Leave()
		return &rep, nil
	}
	if e.Far != nil {
		return nil, c.splice(e)
	}
	if !c.srv.servedHere(acct.Host) {
		return refuse(refused("SYS/PERM", "this mailbox is on %s", acct.Host))
	}
	if !c.srv.lock(c.ctx, acct.ID, c) {
		return refuse(refused("IN-USE", "another POP3 session has this mailbox"))
	}
	drop, err := openMaildrop(c.ctx, c.srv.cfg.Store, acct.ID)
	if err != nil {
		c.srv.unlock(acct.ID)
		c.log.Error("opening the mailbox", "account", acct.ID, "err", err)
		return refuse(failure(err))
	}
	c.drop, c.state, c.entry = drop, transaction, e
	c.frozen = context.AfterFunc(e.Inside, func() {
		if errors.Is(context.Cause(e.Inside), gate.ErrFrozen) {
			c.Stop()
		}
	})
	c.trust()
	count, size := drop.total()
	return new(ok("%d messages (%d bytes)", count, size)), nil
}

// utf8Mode is UTF8 (RFC 6856 §2): the client takes UTF-8 in messages and names.
func (c *conn) utf8Mode(arg string) (*reply, error) {
	if arg != "" {
		return new(refused("", "UTF8 takes no argument")), nil
	}
	c.utf8 = true
	return new(ok("UTF8 enabled")), nil
}

// lang is LANG (RFC 6856 §3). Our replies are in English only.
func (c *conn) lang(arg string) (*reply, error) {
	arg = strings.ToLower(arg)
	if language, _, _ := strings.Cut(arg, "-"); language == "en" { // en-US and the like (RFC 4647 §3.4)
		arg = language
	}
	switch arg {
	case "":
		c.say(ok("languages follow"))
		_, err := c.w.WriteString("en English\r\ni-default Default language\r\n.\r\n")
		return nil, err
	case "*", "en", "i-default":
		return new(ok("en Replies are in English")), nil
	}
	return new(refused("", "only English is spoken here")), nil
}
