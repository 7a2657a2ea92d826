package delivery

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"expost/internal/directory"
	"expost/internal/mail"
	"expost/internal/moderation"
	"expost/internal/route"
	"expost/internal/srs"
)

// Limits of resolution.
const (
	maxForwardDepth = 10  // a forwards to b forwards to c …
	maxTargets      = 500 // mailboxes that one recipient may stand for
	maxDashes       = 4   // of a local part that are looked at for a catch-all, as in qmail-ldap
)

// Query asks what a recipient address stands for.
type Query struct {
	Address mail.Address       // as the client wrote it; "postmaster" may stand without a domain
	Local   netip.Addr         // the address the client connected to
	From    mail.Address       // the reverse-path
	Sender  *directory.Account // who is logged in; nil: nobody
	Foreign bool               // nobody vouches for From: the client is another host
	Own     bool               // the mail is this host's own, as reports are
	Relay   bool               // the client may send anywhere without a login
	Helo    string             // what the client calls itself; empty: not told
	Client  netip.Addr         // its address

	mailbox   bool             // the forwards of an account that keeps its mail are not followed
	decided   mail.Address     // the list whose decision on the message is known
	decidedBy moderation.Stage // and whose decision it was
}

// Route is what a recipient address stands for.
type Route struct {
	Targets  []Target
	Remote   []RemoteTarget
	Lists    []*ListRoute
	Replies  []*directory.Account // who answer by themselves (deliveryMode reply)
	Decision *Decision            // the mail decides on a message that is held
	Skipped  []mail.Address       // forwards that lead out of this server, while a mailbox here keeps the mail
}

// Target is a mailbox that gets the mail.
type Target struct {
	Account *directory.Account
	Mailbox string             // the detail of a sub-address; empty: INBOX
	Sender  *directory.Account // who is logged in and sends it; nil: nobody
}

// RemoteTarget is an address whose mail leaves this host.
type RemoteTarget struct {
	Address mail.Address
	Host    string       // mailHost; empty: by the domain
	Forward bool         // somebody here forwards to it
	By      mail.Address // the account that does; empty: a list
}

// Resolve returns what an address stands for, or an *Error that says why its
// mail is refused.
func (a *Agent) Resolve(ctx context.Context, q Query) (*Route, error) {
	addr, err := a.canonical(q)
	if err != nil {
		return nil, err
	}
	f, err := a.find(ctx, addr)
	if err != nil {
		return nil, err
	}
	ours := a.domains[mail.DomainKey(addr.Domain())]
	if f.isNothing() && (ours || q.Sender != nil) {
		if f, err = a.findLegacy(ctx, q, addr); err != nil {
			return nil, err
		}
	}
	r := newResolution(a, &q)
	switch {
	case f.decision != nil:
		r.route.Decision = f.decision
		return r.route, nil
	case f.account != nil:
		err = r.add(ctx, f.account, f.detail, 0)
	case f.list != nil:
		err = r.addList(ctx, f.list, 0)
	case f.outside != "" && a.cfg.Remote != nil:
		r.route.Remote = []RemoteTarget{{Address: f.outside}}
	case ours && a.cfg.SRS != nil && srs.IsRewritten(addr):
		return a.resolveRewritten(q, addr)
	case !ours && a.cfg.Remote != nil && (q.Sender != nil || q.Own || q.Relay):
		r.route.Remote = []RemoteTarget{{Address: addr}}
	default:
		err = a.unknown(q, addr)
	}
	if err != nil {
		return nil, err
	}
	return r.route, nil
}

// resolveRewritten returns the way back of an address that mail was forwarded
// under. Only reports take it.
func (a *Agent) resolveRewritten(q Query, addr mail.Address) (*Route, error) {
	back, err := a.cfg.SRS.Reverse(addr)
	if err != nil {
		return nil, refuse("5.1.1", mail.KindNotExist, "%s", mail.PublicText(err))
	}
	if q.From != "" || a.cfg.Remote == nil {
		return nil, refuse("5.7.1", mail.KindPermission, "%s is for reports about mail that was forwarded, and nothing else", addr)
	}
	return &Route{Remote: []RemoteTarget{{Address: back}}}, nil
}

// canonical gives "postmaster" and a local address literal the first of our
// domains, and an address in an alias domain the domain it stands for.
func (a *Agent) canonical(q Query) (mail.Address, error) {
	addr := q.Address
	if strings.EqualFold(string(addr), "postmaster") {
		return mail.Address(string(addr) + "@" + a.firstDomain()), nil
	}
	domain := addr.Domain()
	if !strings.HasPrefix(domain, "[") {
		return a.unalias(addr), nil
	}
	ip, err := parseLiteral(domain)
	if err != nil {
		return "", refuse("5.1.3", mail.KindInvalid, "%s is not an address literal", domain)
	}
	if ip == q.Local.Unmap() || slices.Contains(a.cfg.Addresses, ip) {
		return mail.Address(addr.Local() + "@" + a.firstDomain()), nil
	}
	return addr, nil
}

// unalias returns an address with the domain that its own stands for.
func (a *Agent) unalias(addr mail.Address) mail.Address {
	if to, ok := a.aliases[mail.DomainKey(addr.Domain())]; ok {
		return mail.Address(addr.Local() + "@" + to)
	}
	return addr
}

func (a *Agent) firstDomain() string {
	if len(a.cfg.Domains) > 0 {
		return a.cfg.Domains[0]
	}
	return a.cfg.Hostname
}

// parseLiteral reads "[192.0.2.1]" and "[IPv6:2001:db8::1]" (RFC 5321 §4.1.3).
func parseLiteral(s string) (netip.Addr, error) {
	s = strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	if len(s) > 5 && strings.EqualFold(s[:5], "IPv6:") {
		s = s[5:]
	}
	ip, err := netip.ParseAddr(s)
	return ip.Unmap(), err
}

// found is what an address names.
type found struct {
	account  *directory.Account
	detail   string // of a sub-address
	list     *directory.List
	decision *Decision
	outside  mail.Address // a contact's, elsewhere
}

func (f *found) isNothing() bool {
	return f.account == nil && f.list == nil && f.decision == nil && f.outside == ""
}

// find returns what an address names. An address of an account or a list is
// ours whatever its domain; the other forms need one of our domains.
func (a *Agent) find(ctx context.Context, addr mail.Address) (found, error) {
	f, err := a.findExact(ctx, addr)
	if !f.isNothing() || err != nil || !a.domains[mail.DomainKey(addr.Domain())] {
		return f, err
	}
	if f.decision = a.decisionOf(addr); f.decision != nil {
		return f, nil
	}
	for _, b := range a.fallbacks(addr) {
		f, err := a.findExact(ctx, b.addr)
		if f.list != nil && b.catchAll {
			continue // of a list it is for the answers of moderators, not for mail to its members
		}
		if !f.isNothing() || err != nil {
			f.detail = b.detail
			return f, err
		}
	}
	return found{}, nil
}

// findExact returns the account or list that has the address.
func (a *Agent) findExact(ctx context.Context, addr mail.Address) (found, error) {
	acct, err := a.lookup(ctx, addr)
	if acct != nil || err != nil {
		return found{account: acct}, err
	}
	list, err := directory.ListByAddress(ctx, a.directory, addr)
	switch mail.KindOf(err) {
	case mail.KindNotExist:
		return found{}, nil
	case mail.KindConflict:
		return found{}, &Error{Status: "4.3.5", Err: mail.WrapError(mail.KindTemporary, err, "several groups have the address %s", addr)}
	}
	if err != nil {
		return found{}, errDirectory(err)
	}
	return found{list: list}, nil
}

// lookup is Directory.Resolve with nil for an address that nobody has.
func (a *Agent) lookup(ctx context.Context, addr mail.Address) (*directory.Account, error) {
	acct, err := a.directory.Resolve(ctx, addr)
	switch {
	case err == nil:
		return acct, nil
	case mail.KindOf(err) == mail.KindNotExist:
		return nil, nil
	}
	return nil, errDirectory(err)
}

func errDirectory(err error) error {
	return &Error{Status: "4.3.0", Err: mail.WrapError(mail.KindTemporary, err, "the directory does not answer, try again later")}
}

type fallback struct {
	addr     mail.Address
	detail   string
	catchAll bool
}

// fallbacks lists the addresses to try where nobody has addr itself: the
// sub-address without its detail, postmaster's account, and the catch-all
// addresses of qmail-ldap from the nearest to the widest: for a-b@d these are
// a-b-catchall@d, a-catchall@d, catchall@d.
func (a *Agent) fallbacks(addr mail.Address) []fallback {
	local, domain := addr.Local(), addr.Domain()
	var out []fallback
	if sep := a.cfg.Separator; sep != "" {
		if name, detail, ok := strings.Cut(local, sep); ok && name != "" {
			out = append(out, fallback{addr: mail.Address(name + "@" + domain), detail: detail})
		}
	}
	if strings.EqualFold(local, "postmaster") && a.cfg.Postmaster != "" {
		out = append(out, fallback{addr: a.cfg.Postmaster})
	}
	if a.cfg.CatchAll == "" {
		return out
	}
	for _, prefix := range dashPrefixes(local) {
		out = append(out, fallback{addr: mail.Address(prefix + "-" + a.cfg.CatchAll + "@" + domain), catchAll: true})
	}
	return append(out, fallback{addr: mail.Address(a.cfg.CatchAll + "@" + domain), catchAll: true})
}

// dashPrefixes returns "a-b-c", "a-b", "a" for "a-b-c".
func dashPrefixes(local string) []string {
	var out []string
	for i, dashes := 0, 0; i < len(local) && dashes < maxDashes; i++ {
		if local[i] == '-' {
			dashes++
			out = append(out, local[:i])
		}
	}
	out = append(out, local)
	slices.Reverse(out)
	return slices.DeleteFunc(out, func(s string) bool { return s == "" })
}

// unknown says why an address that no account has is refused.
func (a *Agent) unknown(q Query, addr mail.Address) error {
	if a.domains[mail.DomainKey(addr.Domain())] {
		if strings.EqualFold(addr.Local(), "postmaster") {
			return refuse("4.3.5", mail.KindTemporary, "postmaster has no mailbox here yet")
		}
		return refuse("5.1.1", mail.KindNotExist, "there is no mailbox %s here", q.Address)
	}
	if q.Sender != nil {
		return refuse("5.4.4", mail.KindPermission, "%s is outside this server, and sending mail to the outside is not set up here", q.Address)
	}
	return refuse("5.7.1", mail.KindPermission, "relaying denied")
}

// resolution collects the targets of one recipient.
type resolution struct {
	agent *Agent
	query *Query
	seen  map[mail.AccountID]bool
	lists map[string]bool // by DN, shared by all of a recipient
	top   *Route          // where lists go that are sent to by themselves
	route *Route
	limit int
}

func newResolution(a *Agent, q *Query) *resolution {
	r := &resolution{agent: a, query: q, seen: map[mail.AccountID]bool{}, lists: map[string]bool{}, route: &Route{}, limit: maxTargets}
	r.top = r.route
	return r
}

// add puts an account and those it forwards to into the route.
func (r *resolution) add(ctx context.Context, acct *directory.Account, detail string, depth int) error {
	if r.seen[acct.ID] {
		return nil
	}
	r.seen[acct.ID] = true
	switch acct.Status {
	case directory.StatusDisabled:
		return refuse("5.2.1", mail.KindPermission, "the mailbox %s is disabled", acct.Address)
	case directory.StatusDeleted:
		return refuse("5.1.1", mail.KindNotExist, "there is no mailbox %s here", acct.Address)
	}
	if !r.agent.hosts[acct.Host] {
		return r.addHosted(acct, depth == 0 && r.route == r.top)
	}
	replies := hasMode(acct, "reply") && acct.Reply != ""
	if replies {
		r.route.Replies = append(r.route.Replies, acct)
	}
	keeps := !hasMode(acct, "nolocal", "nombox", "forwardonly")
	if keeps || !replies && (len(acct.Forward) == 0 || hasMode(acct, "noforward")) { // mail does not vanish
		if err := r.room(string(acct.Address)); err != nil {
			return err
		}
		r.route.Targets = append(r.route.Targets, Target{Account: acct, Mailbox: detail, Sender: r.query.Sender})
		keeps = true
	}
	if hasMode(acct, "noforward") || keeps && r.query.mailbox {
		return nil
	}
	return r.forward(ctx, acct, keeps, depth)
}

// addHosted puts an account into the route whose mailbox is on another host.
// Where the mail comes from that very host for that very mailbox, each of the two
// holds it for the other's, and the mail would go to and fro for ever.
func (r *resolution) addHosted(acct *directory.Account, directly bool) error {
	if r.agent.cfg.Remote == nil {
		return refuse("4.4.4", mail.KindTemporary, "the mailbox %s is on %s, and this server does not pass mail on to it", acct.Address, acct.Host)
	}
	if directly && r.query.Helo != "" && strings.EqualFold(r.query.Helo, hostOf(acct.Host)) {
		return refuse("5.4.6", mail.KindInvalid, "the mailbox %s is on %s for this server, and here for that one: mail for it goes round in a loop", acct.Address, acct.Host)
	}
	return r.addRemote(string(acct.Address), RemoteTarget{Address: acct.Address, Host: acct.Host})
}

// hostOf returns the name in a mailHost, which may have a port and a protocol.
func hostOf(mailHost string) string {
	if relay, err := route.ParseRelay(mailHost); err == nil {
		return relay.Host
	}
	return mailHost
}

// room tells whether the recipient may stand for one more mailbox.
func (r *resolution) room(name string) error {
	if len(r.route.Targets)+len(r.route.Remote) >= r.limit {
		return refuse("5.4.6", mail.KindInvalid, "%s stands for more than %d mailboxes", name, r.limit)
	}
	return nil
}

// addRemote puts an address elsewhere into the route, for the sake of the
// address or list name.
func (r *resolution) addRemote(name string, t RemoteTarget) error {
	if err := r.room(name); err != nil {
		return err
	}
	r.route.Remote = append(r.route.Remote, t)
	return nil
}

// forward follows mailForwardingAddress. Where the account keeps a copy, a
// forward that cannot be followed is noted; else it refuses the recipient.
func (r *resolution) forward(ctx context.Context, acct *directory.Account, keeps bool, depth int) error {
	for _, addr := range acct.Forward {
		err := r.follow(ctx, acct, addr, depth)
		if err == nil {
			continue
		}
		if !keeps {
			return err
		}
		r.route.Skipped = append(r.route.Skipped, addr)
	}
	return nil
}

func (r *resolution) follow(ctx context.Context, from *directory.Account, addr mail.Address, depth int) error {
	if depth >= maxForwardDepth {
		return refuse("5.4.6", mail.KindInvalid, "%s is forwarded more than %d times", from.Address, maxForwardDepth)
	}
	addr = r.agent.unalias(addr)
	f, err := r.agent.find(ctx, addr)
	switch {
	case err != nil:
		return err
	case f.account != nil:
		return r.add(ctx, f.account, f.detail, depth+1)
	case f.list != nil:
		return r.addList(ctx, f.list, depth+1)
	case r.agent.cfg.Remote != nil && !r.agent.domains[mail.DomainKey(addr.Domain())]:
		return r.addRemote(string(from.Address), RemoteTarget{Address: addr, Forward: true, By: from.Address})
	}
	return refuse("4.4.4", mail.KindTemporary, "the mail of %s is forwarded to where this server cannot send", from.Address)
}

// hasMode tells whether the account has one of the deliveryModes.
func hasMode(acct *directory.Account, modes ...string) bool {
	return slices.ContainsFunc(acct.Modes, func(m string) bool {
		return slices.ContainsFunc(modes, func(want string) bool { return strings.EqualFold(m, want) })
	})
}
