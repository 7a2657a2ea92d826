package delivery

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"expost/internal/mail"
	"expost/internal/maillog"
	"expost/internal/queue"
	"expost/internal/route"
	"expost/internal/smtpclient"
	"expost/internal/store"
)

// Times of handing mail to the host of a mailbox while the sender waits.
const (
	hostedDial    = 5 * time.Second // for the connection, TLS and EHLO
	hostedTotal   = 2 * time.Minute // with the message
	hostedIdle    = 10 * time.Second
	hostedPause   = 30 * time.Second // a host that did not answer is left to the queue for so long
	maxHostedIdle = 8                // sessions kept for one host
)

// Hosts are the other hosts of mailboxes (mailHost) and the sessions to them.
// Mail goes there while its sender still waits for the reply, so that a refusal
// is the sender's to see, and nothing is queued that need not be. It is safe for
// concurrent use.
type Hosts struct {
	carrier queue.Carrier
	table   *route.Table

	mu   sync.Mutex
	idle map[string][]*hostSession
	away map[string]time.Time // until when
}

// hostSession is a session that lasts until its end is called, which may be
// done while it is used.
type hostSession struct {
	queue.Session
	end   context.CancelFunc
	since time.Time // idle
}

// Close ends the session.
func (s *hostSession) Close() {
	s.Session.Close()
	s.end()
}

// NewHosts returns Hosts that are reached through carrier.
func NewHosts(carrier queue.Carrier, table *route.Table) *Hosts {
	return &Hosts{carrier: carrier, table: table, idle: map[string][]*hostSession{}, away: map[string]time.Time{}}
}

// Close ends the idle sessions.
func (h *Hosts) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for hop, list := range h.idle {
		for _, s := range list {
			s.Close()
		}
		delete(h.idle, hop)
	}
}

// take returns a session to a hop, and whether it was used before.
func (h *Hosts) take(ctx context.Context, hop string) (s *hostSession, used bool, err error) {
	h.mu.Lock()
	now := time.Now()
	for list := h.idle[hop]; len(list) > 0; list = h.idle[hop] {
		last := list[len(list)-1]
		h.idle[hop] = list[:len(list)-1]
		if now.Sub(last.since) < hostedIdle && last.Usable() {
			h.mu.Unlock()
			return last, true, nil
		}
		last.Close()
	}
	delete(h.idle, hop)
	away := now.Before(h.away[hop])
	h.mu.Unlock()
	if away {
		return nil, false, errAway
	}
	s, err = h.dial(ctx, hop)
	return s, false, err
}

var errAway = errors.New("the host did not answer a moment ago")

// dial opens a session, within hostedDial; the session itself lasts as long as
// its deadline.
func (h *Hosts) dial(ctx context.Context, hop string) (*hostSession, error) {
	type opened struct {
		s   queue.Session
		err error
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // a session outlives the message it was opened for
	done := make(chan opened, 1)
	go func() {
		s, err := h.carrier.Dial(ctx, hop)
		done <- opened{s, err}
	}()
	patience := time.NewTimer(hostedDial)
	defer patience.Stop()
	select {
	case o := <-done:
		if o.err != nil {
			cancel()
			h.pause(hop)
			return nil, o.err
		}
		return &hostSession{Session: o.s, end: cancel}, nil
	case <-patience.C:
	}
	cancel()
	h.pause(hop)
	go func() { // what is opened too late is closed
		if o := <-done; o.err == nil {
			o.s.Close()
		}
	}()
	return nil, errors.New("the host does not answer in time")
}

func (h *Hosts) pause(hop string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	for old, until := range h.away {
		if now.After(until) {
			delete(h.away, old)
		}
	}
	h.away[hop] = now.Add(hostedPause)
}

// give keeps a session for the next message, or ends it.
func (h *Hosts) give(hop string, s *hostSession) {
	if s.Usable() {
		h.mu.Lock()
		if len(h.idle[hop]) < maxHostedIdle {
			s.since = time.Now()
			h.idle[hop] = append(h.idle[hop], s)
			h.mu.Unlock()
			return
		}
		h.mu.Unlock()
	}
	s.Close()
}

// send sends a message to a hop and returns the replies for its recipients. A
// session that was used before and ended before any answer is replaced.
func (h *Hosts) send(ctx context.Context, hop string, m *smtpclient.Message) (replies []smtpclient.Reply, dsn bool, err error) {
	for {
		s, used, err := h.take(ctx, hop)
		if err != nil {
			return nil, false, err
		}
		cut := time.AfterFunc(hostedTotal, s.end)
		replies, err := s.Send(m)
		inTime := cut.Stop()
		if err == nil && inTime {
			dsn := s.Has("DSN")
			h.give(hop, s)
			return replies, dsn, nil
		}
		s.Close()
		if !used || !errors.Is(err, smtpclient.ErrUnheard) {
			return replies, false, err
		}
	}
}

// outgoing is a spooled message on its way over SMTP.
type outgoing struct {
	prefix string // fields before it
	body   *store.Body
	from   int64
}

// spamFlag tells the host of a mailbox what was found out about a message here.
const spamFlag = "X-Spam-Flag: YES\r\n"

// WriteTo writes the message without its Return-Path.
func (o outgoing) WriteTo(w io.Writer) (int64, error) {
	n, err := io.WriteString(w, o.prefix)
	if err != nil {
		return int64(n), err
	}
	m, err := io.Copy(w, o.body.Section(o.from, o.body.Size()))
	return int64(n) + m, err
}

// traits is what a message asks of the host that takes it.
type traits struct {
	eightBit   bool // it has bytes above 127
	utf8Header bool // its header has
	line       int  // bytes of the header's line
	body       bool
}

// Write looks at the next bytes of the message.
func (t *traits) Write(p []byte) (int, error) {
	rest := p
	for !t.body && len(rest) > 0 {
		c := rest[0]
		rest = rest[1:]
		switch {
		case c >= 0x80:
			t.eightBit, t.utf8Header = true, true
			t.line++
		case c == '\n':
			t.body = t.line == 0
			t.line = 0
		case c != '\r':
			t.line++
		}
	}
	for i := 0; i < len(rest) && !t.eightBit; i++ {
		t.eightBit = rest[i] >= 0x80
	}
	return len(p), nil
}

// maxPasses is how often a message may have been here before it goes to the
// host of a mailbox: once by way of a list or a forward elsewhere, but not again
// and again because that host holds the mailbox for ours.
const maxPasses = 2

// handOver sends mail to the hosts of its mailboxes at once. What a host refuses
// for good is the outcome; what it does not take now goes into the queue.
func (a *Agent) handOver(ctx context.Context, p *parcel, env queue.Envelope, s *Spooled, outcome map[place]error) {
	recipients := p.recipients
	if s.passes >= maxPasses {
		for i, p := range p.places {
			outcome[p] = refuse("5.4.6", mail.KindInvalid, "mail for %s goes round in a loop between this host and that of the mailbox", recipients[i].Address)
		}
		return
	}
	byHop := map[string]*parcel{}
	for i, r := range p.recipients {
		hop := ""
		if a.cfg.MailHosts != nil {
			if name, err := a.cfg.MailHosts.table.Hop(r.Address.Domain(), r.Host); err == nil {
				hop = name
			}
		}
		if byHop[hop] == nil {
			byHop[hop] = &parcel{}
		}
		byHop[hop].places = append(byHop[hop].places, p.places[i])
		byHop[hop].recipients = append(byHop[hop].recipients, r)
	}
	for hop, p := range byHop {
		rest := p
		if hop != "" {
			rest = a.handTo(ctx, hop, p, &env, s, outcome)
		}
		rest.send(outcome, func() error {
			env.Recipients = rest.recipients
			return a.enqueue(ctx, env, s, "", s.hostPrefix())
		})
	}
}

// handTo sends mail to one host and returns the part that it does not take now.
func (a *Agent) handTo(ctx context.Context, hop string, p *parcel, env *queue.Envelope, s *Spooled, outcome map[place]error) *parcel {
	body, err := s.in.Open()
	if err != nil {
		return p
	}
	defer body.Close()
	out := outgoing{s.hostPrefix(), body, s.path}
	var seen traits
	if _, err := out.WriteTo(&seen); err != nil {
		return p
	}
	m := &smtpclient.Message{
		From: env.From, Body: out, Size: int64(len(out.prefix)) + body.Size() - s.path, Return: env.Return, EnvID: env.EnvID,
		EightBit: seen.eightBit, UTF8: env.UTF8 && seen.utf8Header, RequireTLS: env.RequireTLS,
	}
	for _, r := range p.recipients {
		m.Recipients = append(m.Recipients, smtpclient.Recipient{Address: r.Address, Notify: r.Notify, Original: r.Original})
	}
	replies, dsn, err := a.cfg.MailHosts.send(ctx, hop, m)
	rest := &parcel{}
	for i, r := range p.recipients {
		reply := smtpclient.Reply{}
		if i < len(replies) {
			reply = replies[i]
		}
		switch {
		case reply.Delivered() && (dsn || r.Notify == "" || r.Notify == "NEVER"):
			a.note(env, s, maillog.Record{Event: maillog.Sent, To: string(r.Address), Remote: hop, Result: reply.Status, Reason: reply.Text})
		case reply.Delivered():
			a.note(env, s, maillog.Record{Event: maillog.Sent, To: string(r.Address), Remote: hop, Result: reply.Status, Reason: reply.Text})
			s.relayed = append(s.relayed, r)
		case reply.Permanent():
			outcome[p.places[i]] = refusedBy(hop, reply)
		default:
			rest.places = append(rest.places, p.places[i])
			rest.recipients = append(rest.recipients, r)
		}
	}
	if len(rest.places) > 0 {
		a.log.Warn("the host of a mailbox does not take mail now; it is queued", slog.String("hop", hop), slog.Int("recipients", len(rest.places)), slog.Any("error", err))
	}
	return rest
}

// note writes a line of the mail log about a message.
func (a *Agent) note(env *queue.Envelope, s *Spooled, r maillog.Record) {
	if a.cfg.MailLog == nil {
		return
	}
	r.ID, r.From, r.Login, r.Size, r.MessageID = env.Message, string(env.From), env.Origin, s.Size(), s.messageID
	a.cfg.MailLog.Add(&r)
}

// hostPrefix returns what is put before a message for the host of a mailbox.
func (s *Spooled) hostPrefix() string {
	if s.flag && !s.junk {
		return spamFlag
	}
	return ""
}

// refusedBy is another host's refusal as ours.
func refusedBy(hop string, r smtpclient.Reply) error {
	status := r.Status
	if len(status) < 5 || status[0] != '5' {
		status = "5.0.0"
	}
	kind := mail.KindPermission
	switch r.Code {
	case 550:
		if status == "5.1.1" {
			kind = mail.KindNotExist
		}
	case 552:
		kind = mail.KindTooBig
	}
	return refuse(status, kind, "%s said: %s", hop, r.Text)
}
