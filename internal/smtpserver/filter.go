package smtpserver

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"slices"
	"strings"

	"expost/internal/delivery"
	"expost/internal/mail"
	"expost/internal/milter"
)

// filterMail asks the content filters about a new message.
func (c *conn) filterMail(ctx context.Context, env *delivery.Envelope, params []param) reply {
	if c.cfg.Filters == nil {
		return none
	}
	if c.filters == nil {
		c.filters = c.cfg.Filters.Session()
	}
	c.discard = ""
	c.known()
	e := milter.Envelope{ID: env.ID, From: mail.QuotedAddress(env.From), Login: string(env.SignedInAs), Method: c.method}
	for _, p := range params {
		e.Args = append(e.Args, p.text())
	}
	return c.verdict(c.filters.Mail(ctx, c.filterClient(env), e))
}

// filterClient is the client as filters are told of it.
func (c *conn) filterClient(env *delivery.Envelope) milter.Client {
	m := milter.Client{
		Address: c.remote, Port: portOf(c.wire.raw.RemoteAddr()), Name: c.name,
		Local: c.local, LocalPort: portOf(c.wire.raw.LocalAddr()),
		Helo: c.helo, Protocol: env.Protocol(), Service: c.cfg.Mode.String(),
	}
	if c.tls != nil {
		m.TLSVersion, m.Cipher, m.CipherBits = strings.Replace(tls.VersionName(c.tls.Version), " ", "v", 1), tls.CipherSuiteName(c.tls.CipherSuite), 0
		m.CipherBits = cipherBits(m.Cipher)
	}
	return m
}

func portOf(a net.Addr) uint16 {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return 0
	}
	return tcp.AddrPort().Port()
}

// cipherBits returns the length of a cipher's key.
func cipherBits(name string) int {
	if strings.Contains(name, "AES_128") {
		return 128
	}
	return 256
}

// filterRcpt asks about a recipient.
func (c *conn) filterRcpt(to *delivery.Recipient, params []param) reply {
	if c.filters == nil {
		return none
	}
	var args []string
	for _, p := range params {
		args = append(args, p.text())
	}
	return c.verdict(c.filters.Rcpt(mail.QuotedAddress(to.Address), args))
}

// verdict is what the filters say, as a reply; none where they let it pass.
func (c *conn) verdict(v milter.Verdict) reply {
	switch v.Action {
	case milter.Refuse:
		return reply{code: v.Code, status: v.Status, text: v.Text}
	case milter.Discard:
		c.discard = v.Filter
	}
	return none
}

func (c *conn) abortFilters() {
	if c.filters != nil {
		c.filters.Abort()
	}
}

func (c *conn) closeFilters() {
	if c.filters != nil {
		c.filters.Close()
	}
}

// filter shows the filters a message and returns what they made of it, or the
// reply that ends it.
func (c *conn) filter(ctx context.Context, env *delivery.Envelope, msg *delivery.Spooled) (*delivery.Spooled, reply, error) {
	if c.filters == nil {
		return msg, none, nil
	}
	accepted := reply{code: 250, status: "2.6.0", text: "accepted as " + env.ID}
	if c.discard != "" {
		c.filters.Abort()
		return msg, accepted, nil
	}
	text, err := msg.Text()
	if err != nil {
		return msg, none, err
	}
	defer func() {
		if err := text.Close(); err != nil {
			c.log.Warn("closing a spooled message", slog.String("id", env.ID), slog.Any("error", err))
		}
	}()
	out := c.filters.Message(ctx, text, text.Size())
	if r := c.verdict(out.Verdict); r.refused() {
		return msg, r, nil
	}
	if c.discard != "" {
		return msg, accepted, nil
	}
	if err := c.readdress(ctx, env, &out); err != nil {
		return msg, none, err
	}
	if out.Text == nil {
		return msg, none, nil
	}
	changed, err := c.cfg.Delivery.Rewrite(ctx, env, msg, out.Text)
	if err != nil {
		return msg, none, err
	}
	if err := msg.Close(); err != nil {
		c.log.Warn("dropping a spooled message", slog.String("id", env.ID), slog.Any("error", err))
	}
	return changed, none, nil
}

// readdress changes the envelope as the filters want it. A recipient that they
// take away stays in it and gets nothing, so that the replies have their places.
func (c *conn) readdress(ctx context.Context, env *delivery.Envelope, out *milter.Outcome) error {
	if out.Hold != "" {
		env.Hold = out.Hold
	}
	if out.From != nil {
		env.From = mail.Address(*out.From)
	}
	for _, gone := range out.Deleted {
		i := slices.IndexFunc(env.Recipients, func(r delivery.Recipient) bool {
			return mail.QuotedAddress(r.Address) == gone || r.Address.Key() == mail.Address(gone).Key()
		})
		if i >= 0 {
			env.Recipients[i].Route = &delivery.Route{}
		}
	}
	for _, added := range out.Added {
		if err := c.cfg.Delivery.Add(ctx, env, mail.Address(added)); err != nil {
			return err
		}
	}
	return nil
}

// answerAll gives one reply for all recipients.
func (c *conn) answerAll(ctx context.Context, env *delivery.Envelope, msg *delivery.Spooled, r reply) reply {
	replies := make([]reply, len(env.Recipients))
	for i := range replies {
		replies[i] = r
		c.logResult(ctx, env, i, msg, r)
	}
	if env.PerReply {
		return c.each(env, replies)
	}
	return r
}
