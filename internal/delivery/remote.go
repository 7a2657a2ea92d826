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

// relay hands a message over that leaves this host, once for all recipients
// that get it from the same sender.
func (d *dispatch) relay(ctx context.Context, c *consignment) {
	a, env := d.agent, c.env
	var hosted, forwarded, plain parcel
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
			case t.Forward && a.rewrites(env.From):
				to = &forwarded
			}
			to.places = append(to.places, p)
			to.recipients = append(to.recipients, r.recipient.remote(t))
		}
	}
	out := env.outgoing()
	a.handOver(ctx, &hosted, out, c.msg, d.outcome)
	plain.send(d.outcome, func() error {
		out.Recipients = plain.recipients
		return a.enqueue(ctx, out, c.msg, a.signingDomain(c), "")
	})
	forwarded.send(d.outcome, func() error {
		out.Recipients, out.From = forwarded.recipients, a.cfg.SRS.Forward(env.From)
		return a.enqueue(ctx, out, c.msg, a.cfg.SRS.Domain(), "")
	})
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
// forwards to is not one that the sender asked to hear of (RFC 3461 §5.2.7.2).
func (r *Recipient) remote(t RemoteTarget) queue.Recipient {
	out := queue.Recipient{Address: t.Address, Host: t.Host, Notify: r.Notify, Original: r.Original}
	if t.Forward && r.Notify != "NEVER" {
		out.Notify = ""
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
