package delivery

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"expost/internal/mail"
	"expost/internal/queue"
)

// place names a remote target among those that have a message: no account has
// such an ID.
func (t *RemoteTarget) place() place {
	return place{mail.AccountID(t.Address.Key()), "\x00" + t.Host}
}

// relay hands a message over that leaves this host, once for all recipients,
// and puts what became of it into outcome.
func (a *Agent) relay(ctx context.Context, env *Envelope, s *Spooled, done map[place]bool, outcome map[place]error) {
	out := queue.Envelope{From: env.From, Origin: string(env.SignedInAs), UTF8: env.UTF8, Return: env.Return, EnvID: env.EnvID}
	var places []place
	for _, r := range env.Recipients {
		for _, t := range r.Route.Remote {
			p := t.place()
			if _, ok := outcome[p]; ok {
				continue
			}
			outcome[p] = nil
			if !done[p] {
				places = append(places, p)
				out.Recipients = append(out.Recipients, r.remote(t))
			}
		}
	}
	if len(places) == 0 {
		return
	}
	err := a.enqueue(ctx, out, s)
	for _, p := range places {
		outcome[p] = err
	}
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

// enqueue hands the message over as it came, but for the Return-Path.
func (a *Agent) enqueue(ctx context.Context, env queue.Envelope, s *Spooled) error {
	body, err := s.in.Open()
	if err != nil {
		return fmt.Errorf("opening the message: %w", err)
	}
	_, err = a.cfg.Remote.Enqueue(ctx, env, body.Section(s.path, body.Size()))
	return errors.Join(err, body.Close())
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
