package smtpserver

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"expost/internal/delivery"
	"expost/internal/mail"
)

// rcpt is RCPT (RFC 5321 §4.1.1.3).
func (c *conn) rcpt(ctx context.Context, arg string) reply {
	if c.env == nil {
		return reply{code: 503, status: "5.5.1", text: "MAIL first"}
	}
	if len(c.env.Recipients) >= c.cfg.Limits.Recipients {
		return reply{code: 452, status: "4.5.3", text: "at most " + strconv.Itoa(c.cfg.Limits.Recipients) + " recipients, send the rest in another transaction"}
	}
	path, rest, err := parsePath(arg, "TO:")
	if err != nil {
		return reply{code: 501, status: "5.5.4", text: err.Error()}
	}
	params, err := parseParams(rest)
	if err != nil {
		return reply{code: 501, status: "5.5.4", text: err.Error()}
	}
	var to delivery.Recipient
	for _, p := range params {
		if r := rcptParam(&to, p); r.refused() {
			return r
		}
	}
	r := c.recipient(ctx, &to, path)
	for _, check := range []func() reply{
		func() reply { return c.checkClient(&to) },
		func() reply { return c.checkRecipientRate(&to) },
		func() reply { return c.filterRcpt(&to, params) },
	} {
		if r.refused() {
			break
		}
		if v := check(); v.refused() {
			r = v
		}
	}
	if r.refused() {
		c.logRefused(path, r)
		return r
	}
	c.env.Recipients = append(c.env.Recipients, to)
	return r
}

// rcptParam puts a parameter of RCPT into the recipient.
func rcptParam(to *delivery.Recipient, p param) reply {
	var err error
	switch p.key {
	case "NOTIFY":
		to.Notify, err = parseNotify(p.value)
	case "ORCPT":
		to.Original, err = parseORCPT(p.value)
	default:
		return reply{code: 555, status: "5.5.4", text: "parameter " + p.key + " is not known"}
	}
	if err != nil {
		return reply{code: 501, status: "5.5.4", text: err.Error()}
	}
	return none
}

// recipient finds out where the mail for path goes, and whether there is room.
func (c *conn) recipient(ctx context.Context, to *delivery.Recipient, path string) reply {
	if strings.EqualFold(path, "postmaster") { // RFC 5321 §4.5.1
		to.Address = mail.Address(path)
	} else {
		addr, err := parseAddress(path, c.env.UTF8)
		if errors.Is(err, errNeedsUTF8) {
			return reply{code: 553, status: "5.6.7", text: err.Error()}
		}
		if err != nil {
			return reply{code: 501, status: "5.1.3", text: mail.PublicText(err)}
		}
		to.Address = addr
	}
	route, err := c.cfg.Delivery.Resolve(ctx, delivery.Query{
		Address: to.Address, Local: c.local, From: c.env.From, Sender: c.account, Foreign: c.env.Foreign, Helo: c.helo, Client: c.remote, Relay: c.relays(),
	})
	if err == nil {
		to.Route = route
		err = c.cfg.Delivery.Room(ctx, route, c.env.Size)
	}
	if err != nil {
		return c.failure(err)
	}
	return reply{code: 250, status: "2.1.5", text: "ok"}
}
