package smtpserver

import (
	"context"
	"crypto/rand"
	"errors"
	"strconv"
	"strings"
	"time"

	"expost/internal/delivery"
	"expost/internal/directory"
	"expost/internal/mail"
)

// mail is MAIL (RFC 5321 §4.1.1.2).
func (c *conn) mail(ctx context.Context, arg string) reply {
	switch {
	case c.helo == "":
		return reply{code: 503, status: "5.5.1", text: "EHLO first"}
	case c.env != nil:
		return reply{code: 503, status: "5.5.1", text: "a transaction is open already"}
	case c.cfg.Mode == Submission && c.account == nil && !c.passwordsAllowed():
		return reply{code: 530, status: "5.7.0", text: "STARTTLS first, then log in"}
	case c.cfg.Mode == Submission && c.account == nil:
		return reply{code: 530, status: "5.7.0", text: "log in first"}
	}
	path, rest, err := parsePath(arg, "FROM:")
	if err != nil {
		return reply{code: 501, status: "5.5.4", text: err.Error()}
	}
	params, err := parseParams(rest)
	if err != nil {
		return reply{code: 501, status: "5.5.4", text: err.Error()}
	}
	env := &delivery.Envelope{
		ID: rand.Text()[:16], Client: c.client(),
		Submitted: c.cfg.Mode == Submission, PerReply: c.cfg.Mode == LMTP,
		Foreign: c.cfg.Mode == Receive && c.account == nil && !c.relays(),
	}
	for _, p := range params {
		if r := c.mailParam(env, p); r.refused() {
			return r
		}
	}
	if r := c.sender(ctx, env, path); r.refused() {
		c.logSender(env, r)
		return r
	}
	if r := c.checkRate(); r.refused() {
		c.logSender(env, r)
		return r
	}
	if r := c.filterMail(ctx, env, params); r.refused() {
		c.logSender(env, r)
		return r
	}
	c.env = env
	return reply{code: 250, status: "2.1.0", text: "ok"}
}

// mailParam puts a parameter of MAIL into the envelope.
func (c *conn) mailParam(env *delivery.Envelope, p param) reply {
	value := strings.ToUpper(p.value)
	switch {
	case p.key == "SIZE":
		size, err := strconv.ParseInt(value, 10, 64)
		if err != nil || size < 0 {
			return reply{code: 501, status: "5.5.4", text: "SIZE is a number of bytes"}
		}
		if size > c.cfg.Limits.MessageSize {
			return c.tooBig()
		}
		env.Size = size
	case p.key == "BODY" && (value == "7BIT" || value == "8BITMIME"):
		env.Body = value
	case p.key == "SMTPUTF8" && value == "":
		env.UTF8 = true
	case p.key == "RET" && (value == "FULL" || value == "HDRS"):
		env.Return = value
	case p.key == "ENVID":
		id, err := decodeXtext(p.value)
		if err != nil || id == "" || len(p.value) > 100 {
			return reply{code: 501, status: "5.5.4", text: "ENVID is xtext of at most 100 characters"}
		}
		env.EnvID = id
	case p.key == "AUTH": // RFC 4954 §5; who is logged in counts, not what is said here
		if _, err := decodeXtext(p.value); err != nil || p.value == "" {
			return reply{code: 501, status: "5.5.4", text: "AUTH is xtext"}
		}
	default:
		if r, known := c.timingParam(env, p, time.Now()); known {
			return r
		}
		return reply{code: 555, status: "5.5.4", text: "parameter " + p.key + " is not known, or has not this value"}
	}
	return none
}

// sender puts the reverse-path into the envelope.
func (c *conn) sender(ctx context.Context, env *delivery.Envelope, path string) reply {
	if path != "" {
		from, err := parseAddress(path, env.UTF8)
		if errors.Is(err, errNeedsUTF8) {
			return reply{code: 550, status: "5.6.7", text: err.Error()}
		}
		if err != nil {
			return reply{code: 501, status: "5.1.7", text: mail.PublicText(err)}
		}
		env.From = from
	}
	if c.account == nil {
		return none
	}
	env.SignedInAs = c.account.Address
	if env.From == "" {
		return none
	}
	right, err := c.cfg.Delivery.MaySend(ctx, c.account, env.From)
	if err != nil {
		return c.failure(err)
	}
	if right == directory.SendNot {
		return reply{code: 553, status: "5.7.1", text: "<" + path + "> is not an address of " + string(c.account.Address) + ", nor one that it may send for"}
	}
	return none
}

func (c *conn) tooBig() reply {
	return reply{code: 552, status: "5.3.4", text: "a message may have at most " + strconv.FormatInt(c.cfg.Limits.MessageSize, 10) + " bytes"}
}
