package delivery

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"expost/internal/mail"
	"expost/internal/queue"
)

// place names a remote target among those that have a message: no account has
// such an ID.
func (t *RemoteTarget) place() place {
	return place{mail.AccountID(t.Address.Key()), "\x00" + t.Host}
}

// relay hands a message over that leaves this host: once for all recipients that
// get it from the same sender, and once for each account that forwards it.
func (d *dispatch) relay(ctx context.Context, c *consignment) {
	a := d.agent
	var hosted, plain parcel
	forwarded := map[mail.Address]*parcel{} // by the account; empty: a list
	for _, r := range c.routes {
		for _, t := range r.Remote {
			p := t.place()
			if d.knows(p) {
				continue
			}
			to := &plain
			switch {
			case t.Host != "":
				to = &hosted
			case t.Forward:
				if forwarded[t.By] == nil {
					forwarded[t.By] = &parcel{}
				}
				to = forwarded[t.By]
			}
			to.places = append(to.places, p)
			to.recipients = append(to.recipients, r.recipient.remote(t))
		}
	}
	a.handOver(ctx, &hosted, c.env.outgoing(), c.msg, d.outcome)
	plain.send(d.outcome, func() error {
		out := c.env.outgoing()
		out.Recipients = plain.recipients
		return a.enqueue(ctx, out, c.msg, a.signingDomain(c), "")
	})
	for by, p := range forwarded {
		p.send(d.outcome, func() error { return a.forward(ctx, c, by, p.recipients) })
	}
}

// forward hands a message over that an account, or a list, sends on. The sender
// is one of ours where it was not, and what the account sends on says so, so that
// it is noticed where it comes back.
func (a *Agent) forward(ctx context.Context, c *consignment, by mail.Address, to []queue.Recipient) error {
	out := c.env.outgoing()
	out.Recipients = to
	domain := a.signingDomain(c)
	if a.rewrites(out.From) {
		out.From, domain = a.cfg.SRS.Forward(out.From), a.cfg.SRS.Domain()
	}
	prefix := ""
	if by != "" {
		prefix = "Delivered-To: " + mail.QuotedAddress(by) + "\r\n"
	}
	return a.enqueue(ctx, out, c.msg, domain, prefix)
}

// loops returns the recipients, by their places in the envelope, to whom the
// message comes back that they have forwarded before.
func (a *Agent) loops(env *Envelope, s *Spooled) (map[int]error, error) {
	var head map[string][]string
	found := map[int]error{}
	for i := range env.Recipients {
		for _, t := range env.Recipients[i].Route.Remote {
			if t.By == "" {
				continue
			}
			if head == nil {
				var err error
				if head, err = s.fields(); err != nil {
					return nil, err
				}
			}
			by := mail.QuotedAddress(t.By)
			if slices.ContainsFunc(head["delivered-to"], func(v string) bool { return strings.EqualFold(v, by) }) {
				found[i] = refuse("5.4.6", mail.KindInvalid, "%s has forwarded this message already: it goes round in a loop", t.By)
			}
		}
	}
	return found, nil
}

// parcel is what leaves this host in one transaction of the queue.
type parcel struct {
	places     []place
	recipients []queue.Recipient
}

// send calls enqueue, where there is something to send, and notes its outcome.
func (p *parcel) send(outcome map[place]error, enqueue func() error) {
	if len(p.places) == 0 {
		return
	}
	err := enqueue()
	for _, p := range p.places {
		outcome[p] = err
	}
}

// rewrites tells whether mail of this sender is forwarded under an address of
// ours: whose it is may send from here only.
func (a *Agent) rewrites(from mail.Address) bool {
	return a.cfg.SRS != nil && from != "" && !a.domains[mail.DomainKey(from.Domain())]
}

// signingDomain returns the domain that answers for a message which leaves: that
// of the list, or that of its author where the author is ours; empty: nobody
// here does.
func (a *Agent) signingDomain(c *consignment) string {
	if c.list != nil {
		return c.list.Address.Domain()
	}
	if c.env.Foreign || c.env.PerReply {
		return ""
	}
	from := c.msg.in.Message().Envelope.From
	if len(from) != 1 || !a.domains[mail.DomainKey(from[0].Host)] {
		return ""
	}
	return from[0].Host
}

// remote returns a recipient as the queue has it. One that somebody here
// forwards to is not one of whose success the sender asked to hear: he heard that
// the mail went on (RFC 3461 §5.2.7.2).
func (r *Recipient) remote(t RemoteTarget) queue.Recipient {
	out := queue.Recipient{Address: t.Address, Host: t.Host, Notify: r.Notify, Original: r.Original}
	if t.Forward && r.Notify != "" {
		words := slices.DeleteFunc(strings.Split(r.Notify, ","), func(w string) bool { return w == "SUCCESS" })
		if out.Notify = strings.Join(words, ","); out.Notify == "" {
			out.Notify = "NEVER"
		}
	}
	return out
}

// enqueue hands the message over as it came, but for the Return-Path, and
// signed where domain has keys; prefix is further fields.
func (a *Agent) enqueue(ctx context.Context, env queue.Envelope, s *Spooled, domain, prefix string) error {
	body, err := s.in.Open()
	if err != nil {
		return fmt.Errorf("opening the message: %w", err)
	}
	signature := a.sign(domain, body.Section(s.path, body.Size()))
	_, err = a.cfg.Remote.Enqueue(ctx, env, io.MultiReader(bytes.NewReader(signature), strings.NewReader(prefix), body.Section(s.path, body.Size())))
	return errors.Join(err, body.Close())
}

// sign returns the DKIM-Signature fields of a domain. Keys that cannot be used
// are no reason to keep the mail back: it goes unsigned, and the log says so.
func (a *Agent) sign(domain string, text io.Reader) []byte {
	if a.cfg.Keys == nil || domain == "" {
		return nil
	}
	fields, err := a.cfg.Keys.Sign(domain, text)
	if err != nil {
		a.log.Error("mail goes out unsigned", slog.String("domain", domain), slog.Any("error", err))
		return nil
	}
	return fields
}

// Inject delivers a message of this host's own, with the null sender, to one
// address: here, or through Remote.
func (a *Agent) Inject(ctx context.Context, to mail.Address, r io.Reader) error {
	route, err := a.Resolve(ctx, Query{Address: to, Own: true})
	if err != nil {
		return err
	}
	env := &Envelope{
		ID: rand.Text()[:16], Received: time.Now(), Client: Client{Helo: a.cfg.Hostname, Address: netip.IPv6Loopback()},
		Recipients: []Recipient{{Address: to, Route: route}},
	}
	msg, err := a.Spool(ctx, env, r)
	if err != nil {
		return err
	}
	return errors.Join(Reply(a.Deliver(ctx, env, msg)), msg.Close())
}
