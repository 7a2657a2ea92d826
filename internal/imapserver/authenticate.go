package imapserver

import (
	"context"
	"encoding/base64"

	"expost/internal/listener"
	"expost/internal/login"
	"expost/internal/mail"
	"expost/internal/sasl"
)

// authenticateCommand is AUTHENTICATE (RFC 9051 §6.2.2) with SASL-IR (RFC 4959).
func authenticateCommand() command {
	caps := []capability{{name: "SASL-IR", in: notAuthenticated}}
	for _, name := range []string{sasl.External, sasl.ScramSHA256Plus, sasl.ScramSHA256, sasl.Plain, sasl.Login} {
		caps = append(caps, capability{name: "AUTH=" + name, in: notAuthenticated, when: func(c *conn) bool {
			return c.srv.cfg.Login.Offers(c.client(), name)
		}})
	}
	return command{
		name: "AUTHENTICATE", in: notAuthenticated, caps: caps,
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
			return c.authenticate(ctx, mechanism, initial, given)
		},
	}
}

// client describes the connection to the door.
func (c *conn) client() login.Client {
	client := login.Client{
		Protocol: "imap", Addr: listener.AddrOf(c.raw.RemoteAddr()), TLS: listener.TLSState(c.uncompressed()), Plaintext: c.plaintextOK(),
	}
	return client.For(c.origin)
}

// authenticate carries out a SASL exchange.
func (c *conn) authenticate(ctx context.Context, mechanism, initial string, given bool) (reply, error) {
	x, err := c.srv.cfg.Login.Start(ctx, c.client(), mechanism)
	if err != nil {
		if !c.plaintextOK() && c.srv.cfg.Login.Knows(mechanism) {
			return reply{}, errPrivacy()
		}
		return reply{}, no("CANNOT", "unknown authentication mechanism")
	}
	defer func() { x.Entry.Leave() }() // unless it becomes the session's
	var response []byte
	if given {
		if response, err = decodeSASL(initial); err != nil {
			return reply{}, err
		}
	}
	for {
		challenge, done, err := x.Next(response)
		if err != nil {
			return reply{}, c.loginFailed(err)
		}
		if done && challenge == nil {
			e := x.Entry
			x.Entry = nil
			return c.enter(ctx, e)
		}
		if response, err = c.challenge(challenge); err != nil {
			return reply{}, err
		}
		if done { // the challenge was additional data, and the answer says that it has come
			e := x.Entry
			x.Entry = nil
			return c.enter(ctx, e)
		}
	}
}

// challenge sends a challenge and returns the client's answer.
func (c *conn) challenge(text []byte) ([]byte, error) {
	c.out.Line("+ ", base64.StdEncoding.EncodeToString(text))
	if err := c.out.Flush(); err != nil {
		return nil, err
	}
	if err := c.dec.Next(c.in); err != nil {
		return nil, err
	}
	coded := c.dec.Rest()
	if c.dec.Err() != nil {
		return nil, c.dec.Err()
	}
	return decodeSASL(coded)
}

// decodeSASL reads a client's message; "=" is an empty one.
func decodeSASL(coded string) ([]byte, error) {
	switch coded {
	case "*":
		return nil, bad("authentication was cancelled")
	case "=":
		return []byte{}, nil
	}
	raw, err := base64.StdEncoding.AppendDecode([]byte{}, []byte(coded))
	if err != nil {
		return nil, bad("the answer is not base64")
	}
	return raw, nil
}

// errPrivacy refuses to take a password in clear text.
func errPrivacy() error {
	return no("PRIVACYREQUIRED", "a password may not be sent in clear text here; use TLS")
}

// loginFailed is the answer to a login that was not let in.
func (c *conn) loginFailed(err error) error {
	switch mail.KindOf(err) {
	case mail.KindAuth:
		return c.countLogin()
	case mail.KindInvalid:
		return bad(mail.PublicText(err))
	case mail.KindPermission:
		return no("AUTHORIZATIONFAILED", mail.PublicText(err))
	}
	// The door has logged the cause, which may be the network's, and not of this connection.
	return no(code(mail.KindOf(err)), mail.PublicText(err))
}
