package delivery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"time"

	"expost/internal/directory"
	"expost/internal/dsn"
	"expost/internal/mail"
	"expost/internal/maillog"
	"expost/internal/queue"
)

// dispatch is the delivery of one message: as it came, and once more for each
// list among its recipients, whose members get it with the list's header. A
// mailbox that it reaches in several ways gets it once.
type dispatch struct {
	agent   *Agent
	env     *Envelope
	done    map[place]bool // what has the message from an earlier try
	outcome map[place]error
	failed  []listFailures
}

// consignment is a message in one form, and where it goes in that form.
type consignment struct {
	env    *Envelope
	msg    *Spooled
	list   *directory.List // whose form it is; nil: as it came
	routes []consigned
}

// consigned is a route with the recipient it is of.
type consigned struct {
	*Route
	recipient *Recipient
}

// routesOf returns the routes of an envelope but for those that are left out.
func routesOf(env *Envelope, without map[int]error) []consigned {
	var list []consigned
	for i := range env.Recipients {
		if without[i] != nil {
			continue
		}
		list = append(list, consigned{env.Recipients[i].Route, &env.Recipients[i]})
	}
	return list
}

// knows tells whether a place is dealt with already, and takes note of it.
func (d *dispatch) knows(p place) bool {
	if _, ok := d.outcome[p]; ok {
		return true
	}
	d.outcome[p] = nil
	return d.done[p]
}

// once does what belongs to a place, unless that was done.
func (d *dispatch) once(p place, do func() error) {
	if !d.knows(p) {
		d.outcome[p] = do()
	}
}

// send delivers a consignment to the mailboxes here and elsewhere.
func (d *dispatch) send(ctx context.Context, c *consignment) {
	var todo []Target
	for _, r := range c.routes {
		for _, t := range r.Targets {
			if !d.knows(t.place()) {
				todo = append(todo, t)
			}
		}
	}
	for i, err := range d.agent.deliverAll(ctx, todo, c.msg.in, d.env.Junk || c.msg.junk) {
		d.outcome[todo[i].place()] = err
	}
	d.relay(ctx, c)
}

// place names a list among those that have a message: no account has such an ID.
func (l *ListRoute) place() place {
	return place{mail.AccountID(dnKey(l.List)), "\x00list"}
}

// list sends the message to the members of a list, or holds it. No member is the
// reason to send it to all others again: the failure of those that cannot have it
// for good, or whose mailbox is full, is reported, and the mail of those whose
// mailbox does not work now waits for it in the queue. Where it cannot wait there,
// the failure is the list's, and the message comes again for those that do not have it.
func (d *dispatch) list(ctx context.Context, s *Spooled, r *Recipient, l *ListRoute) {
	if l.Hold != HoldNot {
		d.once(l.place(), func() error { return d.agent.hold(ctx, d.env, s, r, l) })
		return
	}
	if d.knows(l.place()) {
		return
	}
	c, err := d.agent.forList(ctx, d.env, s, r, l)
	if err != nil {
		d.outcome[l.place()] = err
		return
	}
	d.send(ctx, c)
	failures := listFailures{list: l.List, from: c.env.From, failed: l.Failed}
	if len(l.List.Bounces) == 0 && !wantsFailure(r.Notify) {
		failures.from = ""
	}
	late := latecomers{}
	for p, addr := range l.Members.each() {
		err := d.outcome[p]
		switch {
		case err == nil && p.mailbox != "" && p.mailbox[0] == 0, d.done[p]: // elsewhere; or an earlier time
		case err == nil:
			d.agent.note(&queue.Envelope{Message: d.env.ID, From: d.env.From, Origin: string(d.env.SignedInAs)}, s,
				maillog.Record{Event: maillog.Delivered, To: string(addr), Reason: "as a member of " + nameOf(l.List)})
		case Permanent(err) || mail.KindOf(err) == mail.KindQuota:
			failures.failed = append(failures.failed, Failure{addr, err})
		case p.mailbox == "" || p.mailbox[0] != 0:
			late.places = append(late.places, p)
			late.recipients = append(late.recipients, queue.Recipient{Address: d.agent.detailed(addr, p.mailbox), Host: queue.LocalMailbox, Notify: c.routes[0].recipient.Notify})
			late.reason = err
		default:
			d.outcome[l.place()] = err
		}
	}
	if err := d.postpone(ctx, c, &late); err != nil {
		d.outcome[l.place()] = err
	}
	if len(failures.failed) > 0 {
		d.failed = append(d.failed, failures)
	}
	if err := c.msg.Close(); err != nil {
		d.agent.log.Warn("dropping a spooled message", slog.String("id", d.env.ID), slog.Any("error", err))
	}
}

// latecomers are members of a list whose mailboxes do not work now.
type latecomers struct {
	parcel
	reason error
}

// memberPause is how long the mail of a list waits for a mailbox that does not work.
const memberPause = time.Minute

// postpone puts the mail of latecomers into the queue. An error means that it is
// not there.
func (d *dispatch) postpone(ctx context.Context, c *consignment, late *latecomers) error {
	if len(late.places) == 0 {
		return nil
	}
	if d.agent.cfg.Remote == nil {
		return late.reason
	}
	d.agent.log.Warn("mailboxes of members of a list do not work; their mail waits in the queue", slog.String("id", d.env.ID),
		slog.String("list", nameOf(c.list)), slog.Int("members", len(late.places)), slog.Any("error", late.reason))
	late.send(d.outcome, func() error {
		out := c.env.outgoing()
		out.Recipients, out.NotBefore = late.recipients, time.Now().Add(memberPause)
		return d.agent.enqueue(ctx, out, c.msg, "", "")
	})
	return d.outcome[late.places[0]]
}

// detailed returns an address with the detail of a sub-address.
func (a *Agent) detailed(addr mail.Address, detail string) mail.Address {
	if detail == "" || a.cfg.Separator == "" {
		return addr
	}
	return mail.Address(addr.Local() + a.cfg.Separator + detail + "@" + addr.Domain())
}

// wantsFailure tells whether NOTIFY lets a sender hear of failure (RFC 3461 §4.1).
func wantsFailure(notify string) bool {
	return notify == "" || strings.Contains(notify, "FAILURE")
}

// each yields the places of mailboxes here and elsewhere with their addresses.
func (r *Route) each() iter.Seq2[place, mail.Address] {
	return func(yield func(place, mail.Address) bool) {
		for i := range r.Targets {
			if t := &r.Targets[i]; !yield(t.place(), t.Account.Address) {
				return
			}
		}
		for i := range r.Remote {
			if t := &r.Remote[i]; !yield(t.place(), t.Address) {
				return
			}
		}
	}
}

// maxListLoops is how many lists a message may have gone through.
const maxListLoops = 20

// forList makes the message in the form in which members of a list get it.
func (a *Agent) forList(ctx context.Context, env *Envelope, s *Spooled, r *Recipient, l *ListRoute) (*consignment, error) {
	head, err := s.fields()
	if err != nil {
		return nil, err
	}
	self := word(nameOf(l.List))
	visited := head["x-list-member-of"]
	for _, v := range visited {
		if strings.EqualFold(v, self) {
			return nil, refuse("5.4.6", mail.KindInvalid, "the message has been on the list %s before: it goes round in a loop", self)
		}
	}
	if len(visited) >= maxListLoops {
		return nil, refuse("5.4.6", mail.KindInvalid, "the message has been on more than %d lists", maxListLoops)
	}
	sub := *env
	sub.Recipients = nil
	if len(l.List.Bounces) > 0 && env.From != "" {
		sub.From = l.List.Bounces[0]
	}
	prefix := sub.returnPath() + listHeader(l.List, head)
	body, err := s.in.Open()
	if err != nil {
		return nil, fmt.Errorf("opening the message: %w", err)
	}
	in, err := a.store.Spool(ctx, []byte(prefix), body.Section(s.path, body.Size()), 0)
	if err = errors.Join(err, body.Close()); err != nil {
		return nil, fmt.Errorf("making the message of the list %s: %w", self, err)
	}
	msg := &Spooled{in: in, key: s.key, messageID: s.messageID, path: int64(len(sub.returnPath())), trace: int64(len(prefix)), passes: s.passes, junk: s.junk, flag: s.flag}
	to := &Recipient{Address: l.List.Address, Notify: "FAILURE"} // of their delay or success the sender did not ask to hear
	if len(l.List.Bounces) == 0 && (!wantsFailure(r.Notify) || a.silent(env, s)) {
		to.Notify = "NEVER"
	}
	return &consignment{env: &sub, msg: msg, list: l.List, routes: []consigned{{l.Members, to}}}, nil
}

// listHeader returns the fields that a list adds (RFC 2369, RFC 2919), but for
// those that the message has from a list before.
func listHeader(l *directory.List, head map[string][]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "X-List-Member-Of: %s\r\n", word(nameOf(l)))
	if l.Address == "" || len(head["list-id"]) > 0 {
		return b.String()
	}
	id := strings.Map(func(r rune) rune {
		if r < 0x80 && (r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_') {
			return r
		}
		return '-'
	}, strings.ToLower(l.Address.Local()))
	fmt.Fprintf(&b, "List-Id: <%s.%s>\r\n", id, word(l.Address.Domain()))
	if strings.IndexFunc(string(l.Address), func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '<' || r == '>' || r == '%' || r == '?' }) < 0 {
		fmt.Fprintf(&b, "List-Post: <mailto:%s>\r\n", l.Address)
	}
	if len(head["precedence"]) == 0 {
		b.WriteString("Precedence: list\r\n")
	}
	return b.String()
}

// listFailures are the members of a list that do not get a message.
type listFailures struct {
	list   *directory.List
	from   mail.Address // who is told
	failed []Failure
}

// reportLists tells whoever a list's reports go to which members do not get
// the message.
func (d *dispatch) reportLists(ctx context.Context, s *Spooled) {
	for _, f := range d.failed {
		var to []dsn.Recipient
		for _, m := range f.failed {
			d.agent.log.Warn("a member of a list does not get a message", slog.String("id", d.env.ID),
				slog.String("list", nameOf(f.list)), slog.String("to", string(m.Address)), slog.Any("reason", m.Err))
			to = append(to, failedRecipient(m.Address, m.Err))
		}
		if f.from == "" || f.from == d.env.From && d.agent.silent(d.env, s) {
			continue
		}
		if err := d.agent.tell(ctx, d.env, f.from, to, returnedOf(s)); err != nil {
			d.agent.log.Warn("no report on the members of a list could be given", slog.String("id", d.env.ID), slog.Any("error", err))
		}
	}
}

// fields returns the fields of a message's header by their names in lower case,
// each unfolded; of a long header the beginning.
func (s *Spooled) fields() (map[string][]string, error) {
	head, err := s.head()
	if err != nil {
		return nil, err
	}
	fields := map[string][]string{}
	name := ""
	for len(head) > 0 {
		line, rest, _ := bytes.Cut(head, []byte("\n"))
		head = rest
		text := strings.TrimRight(string(line), "\r")
		if text != "" && (text[0] == ' ' || text[0] == '\t') {
			if list := fields[name]; len(list) > 0 {
				list[len(list)-1] += " " + strings.TrimSpace(text)
			}
			continue
		}
		n := fieldName([]byte(text))
		if n == nil {
			break
		}
		name = strings.ToLower(string(n))
		_, value, _ := strings.Cut(text, ":")
		fields[name] = append(fields[name], strings.TrimSpace(value))
	}
	return fields, nil
}
