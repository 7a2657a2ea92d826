package delivery

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"expost/internal/directory"
	"expost/internal/mail"
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
	Sender  *directory.Account // who is logged in; nil: nobody
	Own     bool               // the mail is this host's own, as reports are
	Null    bool               // the mail has the null sender: it is a report
}

// Route is what a recipient address stands for.
type Route struct {
	Targets []Target
	Remote  []RemoteTarget
	Skipped []mail.Address // forwards that lead out of this server, while a mailbox here keeps the mail
}

// Target is a mailbox that gets the mail.
type Target struct {
	Account *directory.Account
	Mailbox string // the detail of a sub-address; empty: INBOX
}

// RemoteTarget is an address whose mail leaves this host.
type RemoteTarget struct {
	Address mail.Address
	Host    string // mailHost; empty: by the domain
	Forward bool   // somebody here forwards to it
}

// Resolve returns what an address stands for, or an *Error that says why its
// mail is refused.
func (a *Agent) Resolve(ctx context.Context, q Query) (*Route, error) {
	addr, err := a.canonical(q)
	if err != nil {
		return nil, err
	}
	acct, detail, err := a.find(ctx, addr)
	if err != nil {
		return nil, err
	}
	if acct == nil && a.cfg.SRS != nil && srs.IsRewritten(addr) && a.domains[mail.DomainKey(addr.Domain())] {
		return a.resolveRewritten(q, addr)
	}
	if acct == nil && a.cfg.Remote != nil && (q.Sender != nil || q.Own) && !a.domains[mail.DomainKey(addr.Domain())] {
		return &Route{Remote: []RemoteTarget{{Address: addr}}}, nil
	}
	if acct == nil {
		return nil, a.unknown(q, addr)
	}
	r := &resolution{agent: a, seen: map[mail.AccountID]bool{}, route: &Route{}}
	if err := r.add(ctx, acct, detail, 0); err != nil {
		return nil, err
	}
	return r.route, nil
}

// resolveRewritten returns the way back of an address that mail was forwarded
// under. Only reports take it.
func (a *Agent) resolveRewritten(q Query, addr mail.Address) (*Route, error) {
	back, err := a.cfg.SRS.Reverse(addr)
	if err != nil {
		return nil, &Error{Status: "5.1.1", Err: mail.WrapError(mail.KindNotExist, err, "%s leads nowhere (any more)", addr)}
	}
	if !q.Null || a.cfg.Remote == nil {
		return nil, refuse("5.7.1", mail.KindPermission, "%s is for reports about mail that was forwarded, and nothing else", addr)
	}
	return &Route{Remote: []RemoteTarget{{Address: back}}}, nil
}

// canonical gives "postmaster" and a local address literal the first of our domains.
func (a *Agent) canonical(q Query) (mail.Address, error) {
	addr := q.Address
	if strings.EqualFold(string(addr), "postmaster") {
		return mail.Address(string(addr) + "@" + a.firstDomain()), nil
	}
	domain := addr.Domain()
	if !strings.HasPrefix(domain, "[") {
		return addr, nil
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

// find returns the account that an address names, and the detail where it is a
// sub-address; nil where there is none. An address of an account is ours
// whatever its domain; the other forms need one of our domains.
func (a *Agent) find(ctx context.Context, addr mail.Address) (*directory.Account, string, error) {
	acct, err := a.lookup(ctx, addr)
	if acct != nil || err != nil || !a.domains[mail.DomainKey(addr.Domain())] {
		return acct, "", err
	}
	for _, f := range a.fallbacks(addr) {
		if acct, err := a.lookup(ctx, f.addr); acct != nil || err != nil {
			return acct, f.detail, err
		}
	}
	return nil, "", nil
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
	return nil, &Error{Status: "4.3.0", Err: mail.WrapError(mail.KindTemporary, err, "the directory does not answer, try again later")}
}

type fallback struct {
	addr   mail.Address
	detail string
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
			out = append(out, fallback{mail.Address(name + "@" + domain), detail})
		}
	}
	if strings.EqualFold(local, "postmaster") && a.cfg.Postmaster != "" {
		out = append(out, fallback{addr: a.cfg.Postmaster})
	}
	if a.cfg.CatchAll == "" {
		return out
	}
	for _, prefix := range dashPrefixes(local) {
		out = append(out, fallback{addr: mail.Address(prefix + "-" + a.cfg.CatchAll + "@" + domain)})
	}
	return append(out, fallback{addr: mail.Address(a.cfg.CatchAll + "@" + domain)})
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
	seen  map[mail.AccountID]bool
	route *Route
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
	if !r.agent.hosts[acct.Host] && r.agent.cfg.Remote != nil {
		return r.addRemote(acct, RemoteTarget{Address: acct.Address, Host: acct.Host})
	}
	if !r.agent.hosts[acct.Host] {
		return refuse("4.4.4", mail.KindTemporary, "the mailbox %s is on %s, and this server does not pass mail on to it", acct.Address, acct.Host)
	}
	keeps := !hasMode(acct, "nolocal", "nombox", "forwardonly")
	if keeps || len(acct.Forward) == 0 || hasMode(acct, "noforward") {
		if err := r.room(acct); err != nil {
			return err
		}
		r.route.Targets = append(r.route.Targets, Target{Account: acct, Mailbox: detail})
		keeps = true
	}
	if hasMode(acct, "noforward") {
		return nil
	}
	return r.forward(ctx, acct, keeps, depth)
}

// room tells whether the recipient may stand for one more mailbox.
func (r *resolution) room(acct *directory.Account) error {
	if len(r.route.Targets)+len(r.route.Remote) >= maxTargets {
		return refuse("5.4.6", mail.KindInvalid, "%s stands for more than %d mailboxes", acct.Address, maxTargets)
	}
	return nil
}

// addRemote puts an address elsewhere into the route, for the sake of acct.
func (r *resolution) addRemote(acct *directory.Account, t RemoteTarget) error {
	if err := r.room(acct); err != nil {
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
	acct, detail, err := r.agent.find(ctx, addr)
	if err != nil {
		return err
	}
	if acct == nil && r.agent.cfg.Remote != nil && !r.agent.domains[mail.DomainKey(addr.Domain())] {
		return r.addRemote(from, RemoteTarget{Address: addr, Forward: true})
	}
	if acct == nil {
		return refuse("4.4.4", mail.KindTemporary, "the mail of %s is forwarded to where this server cannot send", from.Address)
	}
	return r.add(ctx, acct, detail, depth+1)
}

// hasMode tells whether the account has one of the deliveryModes.
func hasMode(acct *directory.Account, modes ...string) bool {
	return slices.ContainsFunc(acct.Modes, func(m string) bool {
		return slices.ContainsFunc(modes, func(want string) bool { return strings.EqualFold(m, want) })
	})
}
