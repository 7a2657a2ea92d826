package delivery

import (
	"context"
	"strings"

	"expost/internal/directory"
	"expost/internal/mail"
	"expost/internal/moderation"
)

// Limits of lists.
const (
	maxMembers   = 50_000 // of a list, those of the lists in it included
	maxListDepth = 10     // lists in lists
)

// ListRoute is a list among the recipients, and where its mail goes.
type ListRoute struct {
	List    *directory.List
	Hold    Hold // what must come before the members get the mail; HoldNot: nothing
	Members *Route
	Failed  []Failure // members that do not get the mail
}

// Failure is a recipient that has no place, and why.
type Failure struct {
	Address mail.Address
	Err     error
}

// addList puts a list into the route, if the sender may write to it.
func (r *resolution) addList(ctx context.Context, l *directory.List, depth int) error {
	key := dnKey(l)
	if r.lists[key] {
		return nil
	}
	r.lists[key] = true
	if depth > maxListDepth {
		return refuse("5.4.6", mail.KindInvalid, "%s is a list in more than %d lists", l.Name, maxListDepth)
	}
	if err := r.mayWrite(ctx, l); err != nil {
		return err
	}
	hold, err := r.holdFor(ctx, l)
	if err != nil {
		return err
	}
	lr := &ListRoute{List: l, Hold: hold, Members: &Route{}}
	if hold == HoldNot {
		sub := &resolution{
			agent: r.agent, query: r.query, seen: map[mail.AccountID]bool{}, lists: r.lists,
			top: r.top, route: lr.Members, limit: maxMembers,
		}
		before := len(r.top.Lists)
		if err := sub.expand(ctx, lr, l, depth); err != nil {
			return err
		}
		if len(lr.Members.Targets)+len(lr.Members.Remote)+len(lr.Failed) == 0 && len(r.top.Lists) == before {
			return refuse("5.2.4", mail.KindNotExist, "the list %s has no members", nameOf(l))
		}
	}
	r.top.Lists = append(r.top.Lists, lr)
	return nil
}

func dnKey(l *directory.List) string { return strings.ToLower(l.DN.String()) }

// nameOf names a list in replies.
func nameOf(l *directory.List) string {
	if l.Address != "" {
		return string(l.Address)
	}
	return l.Name
}

// mayWrite tells whether the sender may write to a list.
func (r *resolution) mayWrite(ctx context.Context, l *directory.List) error {
	if !l.Restricted() || r.query.decided != "" && l.Address == r.query.decided {
		return nil
	}
	denied := refuse("5.7.1", mail.KindPermission, "%s takes no mail from %s", nameOf(l), orNull(r.query.From))
	if l.SignedIn && r.query.Sender == nil {
		author, err := r.author(ctx)
		if err != nil {
			return err
		}
		if author == nil || !r.vouched(ctx) {
			return refuse("5.7.1", mail.KindPermission, "%s takes mail only from those who log in here", nameOf(l))
		}
	}
	if !l.MembersOnly && l.Senders.IsEmpty() {
		return nil
	}
	if r.query.From == "" && r.query.Sender == nil {
		return denied
	}
	acct, err := r.author(ctx)
	if err != nil {
		return err
	}
	if acct != nil && r.query.Sender == nil && !r.vouched(ctx) {
		return refuse("5.7.1", mail.KindPermission, "%s takes mail from %s only through this server, logged in", nameOf(l), r.query.From)
	}
	audiences := []*directory.Audience{&l.Senders}
	if l.MembersOnly {
		audiences = append(audiences, &l.Members)
	}
	for _, who := range audiences {
		ok, err := who.Has(ctx, r.agent.directory, r.query.From, acct)
		if err != nil {
			return errDirectory(err)
		}
		if ok {
			return nil
		}
	}
	return denied
}

func orNull(addr mail.Address) string {
	if addr == "" {
		return "<>"
	}
	return string(addr)
}

// vouched tells whether the client would not say a sender of ours who is not: it
// is no foreign host, or one that is trusted, or the host of some of our mailboxes.
func (r *resolution) vouched(ctx context.Context) bool {
	q := r.query
	if !q.Foreign {
		return true
	}
	return q.Client.IsValid() && (r.agent.trusts(q.Client) || r.agent.isMailHost(ctx, &Client{Helo: q.Helo, Address: q.Client}))
}

// author returns the account the mail is from, as far as is known before the
// message; nil: none here.
func (r *resolution) author(ctx context.Context) (*directory.Account, error) {
	if r.query.Sender != nil || r.query.From == "" {
		return r.query.Sender, nil
	}
	return r.agent.lookup(ctx, r.agent.unalias(r.query.From))
}

// holdFor tells what must come before the members get the mail. A moderator who
// is logged in need not be asked.
func (r *resolution) holdFor(ctx context.Context, l *directory.List) (Hold, error) {
	decided := r.query.decided != "" && l.Address == r.query.decided
	if decided && r.query.decidedBy == moderation.Moderate || r.agent.cfg.Moderation == nil || l.Address == "" {
		return HoldNot, nil
	}
	moderated := !l.Moderators.IsEmpty()
	if moderated && r.query.Sender != nil {
		ok, err := l.Moderators.Has(ctx, r.agent.directory, r.query.Sender.Address, r.query.Sender)
		if err != nil {
			return HoldNot, errDirectory(err)
		}
		moderated = !ok
	}
	switch {
	case r.query.Own && (moderated || l.Confirm): // nobody is asked about a question, or a report
		return HoldNot, refuse("5.7.1", mail.KindPermission, "%s takes no mail of this server's own", nameOf(l))
	case l.Confirm && r.query.Sender == nil && !decided:
		if r.query.From == "" {
			return HoldNot, refuse("5.7.1", mail.KindPermission, "%s asks its senders to confirm, and this mail has none", nameOf(l))
		}
		return HoldConfirm, nil
	case moderated:
		return HoldModerate, nil
	}
	return HoldNot, nil
}

// expand puts the members of a list into the route.
func (r *resolution) expand(ctx context.Context, lr *ListRoute, l *directory.List, depth int) error {
	var failed error
	err := l.Members.Expand(ctx, r.agent.directory, func(m directory.Member) error {
		err := r.addMember(ctx, lr, m, depth+1)
		switch {
		case err == nil:
		case Permanent(err) && len(r.route.Targets)+len(r.route.Remote) < r.limit:
			lr.Failed = append(lr.Failed, Failure{memberName(m), err})
		default:
			failed = err
			return err
		}
		return nil
	})
	if err != nil && failed == nil {
		return errDirectory(err)
	}
	return err
}

func memberName(m directory.Member) mail.Address {
	if m.Address == "" && m.List != nil {
		return mail.Address(m.List.Name)
	}
	return m.Address
}

// addMember puts one member of a list into the route. A list in a list that has
// rules of its own gets the mail as a list of its own.
func (r *resolution) addMember(ctx context.Context, lr *ListRoute, m directory.Member, depth int) error {
	l := m.List
	if l == nil {
		f, err := r.agent.find(ctx, r.agent.unalias(m.Address))
		switch {
		case err != nil:
			return err
		case f.account != nil:
			return r.add(ctx, f.account, f.detail, 0)
		case f.list == nil:
			return r.addOutside(lr, m.Address)
		}
		l = f.list
	}
	if l.Restricted() || l.Confirm || !l.Moderators.IsEmpty() || len(l.Bounces) > 0 {
		return r.addList(ctx, l, depth)
	}
	if key := dnKey(l); !r.lists[key] {
		r.lists[key] = true
		if depth > maxListDepth {
			return refuse("5.4.6", mail.KindInvalid, "%s is a list in more than %d lists", l.Name, maxListDepth)
		}
		return r.expand(ctx, lr, l, depth)
	}
	return nil
}

// addOutside puts a member elsewhere into the route.
func (r *resolution) addOutside(lr *ListRoute, addr mail.Address) error {
	if r.agent.domains[mail.DomainKey(addr.Domain())] {
		return refuse("5.1.1", mail.KindNotExist, "there is no mailbox %s here", addr)
	}
	if r.agent.cfg.Remote == nil {
		return refuse("5.4.4", mail.KindPermission, "%s is outside this server, and sending mail to the outside is not set up here", addr)
	}
	return r.addRemote(nameOf(lr.List), RemoteTarget{Address: addr, Forward: true})
}
