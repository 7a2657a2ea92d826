package delivery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"expost/internal/directory"
	"expost/internal/mail"
	"expost/internal/queue"
	"expost/internal/store"
)

// Spooled is a received message that is in no mailbox yet.
type Spooled struct {
	in        *store.Incoming
	key       contentKey
	messageID string
	path      int64 // bytes of the Return-Path field at the beginning
	trace     int64 // bytes of all trace fields
	junk      bool  // its header says that it is spam
	flag      bool  // it is for the Junk mailbox for another reason
	passes    int   // how often it has been on this host before

	relayed []queue.Recipient // handed to hosts that give no reports themselves
}

// Size returns the bytes of the message, trace fields included.
func (s *Spooled) Size() int64 { return s.in.Size() }

// MessageID returns the Message-ID field as it stands in the message.
func (s *Spooled) MessageID() string { return s.messageID }

// Close drops what no mailbox has taken over.
func (s *Spooled) Close() error { return s.in.Close() }

// counter counts what is read.
type counter struct {
	io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}

// Spool reads a message to its end, checks its sender where the envelope says
// so, puts the trace fields before it and mends its header. Close what it
// returns. Where it fails, r may not have been read to its end; an *Error says
// that the message is refused.
func (a *Agent) Spool(ctx context.Context, env *Envelope, r io.Reader) (*Spooled, error) {
	if a.checks(ctx, env) {
		draft, err := NewDraft(a.cfg.Scratch, r)
		if err != nil {
			return nil, fmt.Errorf("receiving message %s: %w", env.ID, err)
		}
		defer draft.Close()
		if err := a.checkSender(ctx, env, draft); err != nil {
			return nil, err
		}
		r = draft.Reader()
	}
	src := &counter{Reader: r}
	h := a.headers.Get().(*header)
	defer a.headers.Put(h)
	h.reset(src, a.unfinished.seed, a.cfg.MaxReceived)
	h.hostname = a.cfg.Hostname
	if env.Foreign || env.Submitted {
		h.authserv = a.cfg.Hostname
	}
	if env.Submitted {
		h.submit(env.Received.Format(dateLayout), "<"+env.ID+"@"+a.cfg.Hostname+">")
		if env.SignedInAs != "" {
			h.check = func(by *authors) ([]byte, error) { return a.checkAuthors(ctx, env, by) }
		}
	}
	trace := env.trace(a.cfg.Hostname)
	in, err := a.store.Spool(ctx, trace, h, 0)
	if refused, ok := errors.AsType[*Error](err); ok {
		return nil, refused
	}
	if err != nil {
		return nil, fmt.Errorf("receiving message %s: %w", env.ID, err)
	}
	return &Spooled{
		in:        in,
		key:       contentKey{from: env.From, sum: h.sum.Sum64(), size: src.n},
		messageID: h.messageID,
		path:      int64(len(env.returnPath())),
		trace:     int64(len(trace)),
		junk:      h.junk,
		passes:    h.passes,
	}, nil
}

// Deliver puts a message into every mailbox of every recipient and returns what
// became of each, in the order of the envelope: nil, or why its mail is not (or
// not everywhere) delivered. All that succeeded is on disk.
func (a *Agent) Deliver(ctx context.Context, env *Envelope, s *Spooled) []error {
	if env.Hold != "" || !env.NotBefore.IsZero() {
		return a.park(ctx, env, s)
	}
	now := time.Now()
	done := a.unfinished.done(s.key, now)
	s.flag = env.Junk
	d := &dispatch{agent: a, env: env, done: done, outcome: map[place]error{}}
	loops, err := a.loops(env, s)
	if err != nil {
		return slices.Repeat([]error{err}, len(env.Recipients))
	}
	d.send(ctx, &consignment{env: env, msg: s, routes: routesOf(env, loops)})
	for i := range env.Recipients {
		if loops[i] != nil {
			continue
		}
		for _, l := range env.Recipients[i].Route.Lists {
			d.list(ctx, s, &env.Recipients[i], l)
		}
		if dec := env.Recipients[i].Route.Decision; dec != nil {
			d.once(dec.place(), func() error { return a.decide(ctx, s, dec) })
		}
	}
	results := make([]error, len(env.Recipients))
	for i, r := range env.Recipients {
		results[i] = loops[i]
		for _, p := range r.Route.places() {
			if err := d.outcome[p]; err != nil && (results[i] == nil || Permanent(results[i])) {
				results[i] = err
			}
		}
		a.noteSkipped(env, &r)
	}
	a.returnFailed(ctx, env, s, results)
	accepted := Reply(results) == nil
	if !accepted || len(done) > 0 {
		a.unfinished.set(s.key, reached(env, results, d.outcome), now)
	}
	if accepted || env.PerReply {
		a.report(ctx, env, s, results)
		d.reportLists(ctx, s)
		a.answer(ctx, env, s, results)
	}
	return results
}

func (t *Target) place() place { return place{t.Account.ID, t.Mailbox} }

// places returns where the mail of a route goes. Of a list those count whose
// failure is the sender's to know.
func (r *Route) places() []place {
	var list []place
	for _, t := range r.Targets {
		list = append(list, t.place())
	}
	for _, t := range r.Remote {
		list = append(list, t.place())
	}
	for _, l := range r.Lists {
		list = append(list, l.place())
	}
	if r.Decision != nil {
		list = append(list, r.Decision.place())
	}
	return list
}

// reached returns the places that have the message and for which it will come
// again: those of all recipients over SMTP, where it must come again at all;
// those of the failed recipients over LMTP.
func reached(env *Envelope, results []error, outcome map[place]error) map[place]bool {
	if Reply(results) == nil {
		return nil
	}
	done := map[place]bool{}
	note := func(r *Route) {
		for _, p := range r.places() {
			if err, ok := outcome[p]; ok && err == nil {
				done[p] = true
			}
		}
	}
	for i, r := range env.Recipients {
		if env.PerReply && results[i] == nil {
			continue
		}
		note(r.Route)
		for _, l := range r.Route.Lists {
			note(l.Members)
		}
	}
	return done
}

// deliverAll delivers to all targets, several at once.
func (a *Agent) deliverAll(ctx context.Context, targets []Target, in *store.Incoming, junk bool) []error {
	errs := make([]error, len(targets))
	if len(targets) == 1 {
		errs[0] = a.deliverOne(ctx, &targets[0], in, junk)
		return errs
	}
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(a.cfg.Concurrency, len(targets)) {
		wg.Go(func() {
			for i := range next {
				errs[i] = a.deliverOne(ctx, &targets[i], in, junk)
			}
		})
	}
	for i := range targets {
		next <- i
	}
	close(next)
	wg.Wait()
	return errs
}

// deliverOne puts the message into one mailbox.
func (a *Agent) deliverOne(ctx context.Context, t *Target, in *store.Incoming, junk bool) error {
	if err := checkSize(t.Account, in.Size()); err != nil {
		return err
	}
	leave, err := a.enter(ctx, t.Account)
	if err != nil {
		return err
	}
	defer leave()
	box, err := a.open(ctx, t.Account)
	if err != nil {
		return err
	}
	defer box.Release()
	m, err := mailbox(ctx, box, t.Mailbox, junk)
	if err == nil && t.Mailbox != "" && !box.MayPost(m.ID, a.poster(ctx, t.Sender)) {
		m, err = mailbox(ctx, box, "", junk)
	}
	if err != nil {
		return err
	}
	switch _, err = box.Append(ctx, m.ID, in, store.AppendOptions{}); {
	case err == nil:
		return nil
	case mail.KindOf(err) == mail.KindQuota:
		return full(t.Account)
	}
	return fmt.Errorf("delivering to %q of %q: %w", m.Name, t.Account.ID, err)
}

// enter goes into an account for a delivery, and makes sure that it still lives
// here.
func (a *Agent) enter(ctx context.Context, acct *directory.Account) (leave func(), err error) {
	if a.cfg.Gate == nil {
		return func() {}, nil
	}
	_, leave, err = a.cfg.Gate.Enter(ctx, acct.ID)
	if err != nil {
		return nil, err
	}
	if now, err := a.directory.Resolve(ctx, acct.Address); err == nil && !a.hosts[now.Host] {
		leave()
		return nil, mail.Errorf(mail.KindTemporary, "the mailbox has just moved to another host, try again")
	}
	return leave, nil
}

// noteSkipped logs the forwards of a recipient that lead nowhere yet.
func (a *Agent) noteSkipped(env *Envelope, r *Recipient) {
	for _, addr := range r.Route.Skipped {
		a.log.Warn("forward not followed: sending mail to the outside is not set up",
			slog.String("id", env.ID), slog.String("to", string(r.Address)), slog.String("forward", string(addr)))
	}
}

// Reply reduces the results of all recipients to the one that SMTP can give for
// them; the package comment says why.
func Reply(results []error) error {
	var first error // a temporary one where there is one
	failed, permanent := 0, 0
	for _, err := range results {
		if e, ok := errors.AsType[*Error](err); err == nil || ok && e.Returned {
			continue
		}
		failed++
		if first == nil || Permanent(first) && !Permanent(err) {
			first = err
		}
		if Permanent(err) {
			permanent++
		}
	}
	if permanent == 0 || permanent == len(results) {
		return first
	}
	return &Error{Status: "4.3.0", Err: mail.WrapError(mail.KindTemporary, first,
		"%d of %d recipients could not be served (%s), try again", failed, len(results), mail.PublicText(first))}
}
