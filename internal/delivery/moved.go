package delivery

import (
	"context"
	"errors"

	"expost/internal/gate"
	"expost/internal/mail"
	"expost/internal/queue"
	"expost/internal/smtpclient"
)

// Moved is a queue's Carrier that knows of accounts that move: mail that was
// queued for the old server of an account, and whose turn comes when the account
// lives here, is delivered here. Each such recipient is inside the account's
// gate while its mail is sent away, so that a cutover's last pass finds what was
// sent before it, and what comes after it is not sent.
type Moved struct {
	queue.Carrier
	Agent func() *Agent
	Gate  *gate.Gate
}

var _ queue.Carrier = (*Moved)(nil)

// Dial implements queue.Carrier.
func (c *Moved) Dial(ctx context.Context, hop string) (queue.Session, error) {
	s, err := c.Carrier.Dial(ctx, hop)
	if err != nil {
		return nil, err
	}
	return &movedSession{s, c, ctx}, nil
}

// movedSession is a session to where accounts may have moved from.
type movedSession struct {
	queue.Session
	carrier *Moved
	ctx     context.Context
}

// Next implements queue.Session.
func (s *movedSession) Next(ctx context.Context) queue.Session {
	next := s.Session.Next(ctx)
	if next == nil {
		return nil
	}
	return &movedSession{next, s.carrier, s.ctx}
}

// Send implements queue.Session.
func (s *movedSession) Send(m *smtpclient.Message) ([]smtpclient.Reply, error) {
	replies := make([]smtpclient.Reply, len(m.Recipients))
	away := *m
	away.Recipients = nil
	var at []int // where the recipients of away stand in m
	for i, r := range m.Recipients {
		here, leave, err := s.carrier.enter(s.ctx, r.Address)
		switch {
		case err != nil:
			replies[i] = replyOf(err)
		case here:
			one := *m
			one.Recipients = []smtpclient.Recipient{r}
			got, err := local{ctx: s.ctx, agent: s.carrier.Agent()}.Send(&one)
			if err != nil {
				return replies, err
			}
			replies[i] = got[0]
		default:
			defer leave()
			away.Recipients, at = append(away.Recipients, r), append(at, i)
		}
	}
	if len(at) == 0 {
		return replies, nil
	}
	sent, err := s.Session.Send(&away)
	for n, i := range at {
		if n < len(sent) {
			replies[i] = sent[n]
		}
	}
	if len(at) < len(replies) && errors.Is(err, smtpclient.ErrUnheard) {
		err = errors.New(err.Error()) // some have it
	}
	return replies, err
}

// enter goes into the account of an address, where it is one, and tells whether
// it lives here; where it does, or there is none, there is nothing to leave.
func (c *Moved) enter(ctx context.Context, addr mail.Address) (here bool, leave func(), err error) {
	nothing := func() {}
	agent := c.Agent()
	acct, err := agent.directory.Resolve(ctx, addr)
	if mail.KindOf(err) == mail.KindNotExist {
		return false, nothing, nil
	}
	if err != nil {
		return false, nothing, err
	}
	_, leave, err = c.Gate.Enter(ctx, acct.ID)
	if err != nil {
		return false, nothing, err
	}
	if acct, err = agent.directory.Resolve(ctx, addr); err != nil || agent.hosts[acct.Host] {
		leave()
		return err == nil, nothing, err
	}
	return false, leave, nil
}
