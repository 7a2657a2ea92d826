package delivery

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"slices"
	"time"

	"expost/internal/mail"
	"expost/internal/queue"
	"expost/internal/smtpclient"
)

// outgoing is the envelope as the queue has it, without recipients.
func (e *Envelope) outgoing() queue.Envelope {
	return queue.Envelope{
		Message: e.ID, From: e.From, Origin: string(e.SignedInAs), UTF8: e.UTF8, Return: e.Return, EnvID: e.EnvID,
		RequireTLS: e.RequireTLS, By: e.By, Priority: e.Priority, NotBefore: e.NotBefore, Hold: e.Hold,
	}
}

// park puts a message into the queue that is not to be delivered yet: for
// recipients here too, whom [Local] serves when its time has come.
func (a *Agent) park(ctx context.Context, env *Envelope, s *Spooled) []error {
	out := env.outgoing()
	for _, r := range env.Recipients {
		switch {
		case len(r.Route.Targets) > 0, len(r.Route.Lists) > 0, r.Route.Decision != nil, slices.ContainsFunc(r.Route.Remote, func(t RemoteTarget) bool { return t.Forward }):
			out.Recipients = append(out.Recipients, queue.Recipient{Address: r.Address, Host: queue.Local, Notify: r.Notify, Original: r.Original})
		default:
			for _, t := range r.Route.Remote {
				out.Recipients = append(out.Recipients, r.remote(t))
			}
		}
	}
	var err error
	switch {
	case len(out.Recipients) == 0:
	case a.cfg.Remote == nil:
		err = refuse("4.3.5", mail.KindTemporary, "there is no queue here that could hold the message")
	default:
		err = a.enqueue(ctx, out, s, a.signingDomain(&consignment{env: env, msg: s}), "")
	}
	results := make([]error, len(env.Recipients))
	for i := range results {
		results[i] = err
	}
	return results
}

// Local carries mail of the queue whose recipients are here, and leaves the rest
// to Next.
type Local struct {
	Agent func() *Agent
	Next  queue.Carrier
}

var _ queue.Carrier = Local{}

// Dial implements [queue.Carrier].
func (l Local) Dial(ctx context.Context, hop string) (queue.Session, error) {
	if !queue.IsLocal(hop) {
		return l.Next.Dial(ctx, hop)
	}
	return local{ctx, l.Agent(), hop == queue.LocalMailbox}, nil
}

// local is a session to this host itself.
type local struct {
	ctx     context.Context
	agent   *Agent
	mailbox bool // forwards are not followed
}

// Send delivers to the mailboxes of the recipients.
func (l local) Send(m *smtpclient.Message) ([]smtpclient.Reply, error) {
	a := l.agent
	env := &Envelope{
		ID: rand.Text()[:16], From: m.From, Received: time.Now(), Client: Client{Helo: a.cfg.Hostname, Address: netip.IPv6Loopback()},
		Return: m.Return, EnvID: m.EnvID, RequireTLS: m.RequireTLS, UTF8: m.UTF8,
	}
	replies := make([]smtpclient.Reply, len(m.Recipients))
	index := []int{}
	for i, r := range m.Recipients {
		route, err := a.Resolve(l.ctx, Query{Address: r.Address, From: m.From, Relay: true, mailbox: l.mailbox})
		if err != nil {
			replies[i] = replyOf(err)
			continue
		}
		index = append(index, i)
		env.Recipients = append(env.Recipients, Recipient{Address: r.Address, Notify: r.Notify, Original: r.Original, Route: route})
	}
	if len(index) == 0 {
		return replies, nil
	}
	env.PerReply = true
	for i, err := range l.deliver(env, m) {
		replies[index[i]] = replyOf(err)
	}
	return replies, nil
}

// deliver spools the message and delivers it.
func (l local) deliver(env *Envelope, m *smtpclient.Message) []error {
	r, stop := pipe(m.Body)
	defer stop()
	msg, err := l.agent.Spool(l.ctx, env, bufio.NewReaderSize(r, 32<<10))
	results := make([]error, len(env.Recipients))
	if err == nil {
		results = l.agent.Deliver(l.ctx, env, msg)
		err = msg.Close()
	}
	for i := range results {
		results[i] = errors.Join(results[i], err)
	}
	return results
}

// replyOf is what became of a recipient as the queue wants it.
func replyOf(err error) smtpclient.Reply {
	r := smtpclient.Reply{Code: 250, Status: "2.1.5", Text: "delivered here"}
	if err == nil {
		return r
	}
	r = smtpclient.Reply{Code: 451, Status: "4.3.0", Text: mail.PublicText(err)}
	if Permanent(err) {
		r.Code, r.Status = 550, "5.3.0"
	}
	if e, ok := errors.AsType[*Error](err); ok {
		r.Status = e.Status
	}
	return r
}

// Usable implements [queue.Session].
func (l local) Usable() bool { return true }

// Remote implements [queue.Session].
func (l local) Remote() string { return l.agent.cfg.Hostname }

// Has implements [queue.Session]: reports of success are made here.
func (l local) Has(extension string) bool { return extension == "DSN" || extension == "DELIVERBY" }

// Limit implements [queue.Session].
func (l local) Limit(string) int { return 0 }

// Secure implements [queue.Session].
func (l local) Secure() bool { return true }

// Next implements [queue.Session]: there is no other.
func (l local) Next(context.Context) queue.Session { return nil }

// Close implements [queue.Session].
func (l local) Close() {}
