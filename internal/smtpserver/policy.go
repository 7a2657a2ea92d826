package smtpserver

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"expost/internal/delivery"
	"expost/internal/dnsbl"
	"expost/internal/ratelimit"
)

// Demand is what a name must be.
type Demand string

// The demands. The empty one is none.
const (
	DemandName  Demand = "name"  // HELO: a full host name or an address literal; reverse DNS: there is a name
	DemandMatch Demand = "match" // HELO: a name that resolves; reverse DNS: a name that leads back (FCrDNS)
)

// Policy is what hosts must do that hand in mail without a login. Those on
// loopback and in Relay need not. The zero Policy asks nothing.
type Policy struct {
	Relay      []netip.Prefix // these may send anywhere without a login
	GreetDelay time.Duration  // who speaks before the greeting, which comes so late, is turned away
	ReverseDNS Demand
	Helo       Demand
	Lists      dnsbl.Checker
	DNS        Resolver      // nil: nothing is looked up
	LookupTime time.Duration // for what is known of a client by DNS: 10 s

	HostConnections *ratelimit.Limiter // of one address
	HostMessages    *ratelimit.Limiter // of one address
	RecipientMails  *ratelimit.Limiter // from strangers, for one recipient

	// Recipients of mail that users send (User, UserDay), a host in Relay (RelayHost),
	// or any of them under one address or domain. What is more is held.
	User, UserDay, RelayHost, Sender, SenderDomain *ratelimit.Limiter
}

// Resolver asks DNS about clients.
type Resolver interface {
	LookupAddr(ctx context.Context, addr string) ([]string, error)
	LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error)
}

// clientFacts are what DNS says of a client.
type clientFacts struct {
	name   string // that leads back to its address; empty: none does
	ptr    bool   // it has a name
	failed bool   // DNS does not answer now
	lists  dnsbl.Verdict
}

// trusted tells whether the client need not prove anything.
func (c *conn) trusted() bool {
	return c.cfg.Mode != Receive || c.remote.IsLoopback() || c.relays()
}

// relays tells whether the client may send anywhere without a login.
func (c *conn) relays() bool {
	return c.cfg.Mode == Receive && slices.ContainsFunc(c.cfg.Policy.Relay, func(p netip.Prefix) bool { return p.Contains(c.remote) })
}

// lookUp begins to find out about the client, beside the greeting.
func (c *conn) lookUp(ctx context.Context) {
	p := &c.cfg.Policy
	if p.DNS == nil || c.trusted() || p.ReverseDNS == "" && len(p.Lists.Lists) == 0 && c.cfg.Filters == nil {
		return
	}
	limit := p.LookupTime
	if limit == 0 {
		limit = 10 * time.Second
	}
	c.lookup = make(chan clientFacts, 1)
	remote := c.remote
	go func(out chan<- clientFacts) {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		lists := make(chan dnsbl.Verdict, 1)
		go func() { lists <- p.Lists.Check(ctx, remote) }()
		f := p.reverse(ctx, remote)
		f.lists = <-lists
		out <- f
	}(c.lookup)
}

// reverse looks the client's name up, and whether it leads back (RFC 8601 §2.7.3).
func (p *Policy) reverse(ctx context.Context, ip netip.Addr) clientFacts {
	f := clientFacts{}
	names, err := p.DNS.LookupAddr(ctx, ip.String())
	if err != nil || len(names) == 0 {
		f.failed = err != nil && !notFound(err)
		return f
	}
	f.ptr = true
	for _, name := range names[:min(len(names), 5)] {
		addrs, err := p.DNS.LookupIPAddr(ctx, name)
		if err != nil {
			f.failed = f.failed || !notFound(err)
			continue
		}
		for _, a := range addrs {
			if found, ok := netip.AddrFromSlice(a.IP); ok && found.Unmap() == ip.Unmap() {
				f.name, f.failed = strings.TrimSuffix(name, "."), false
				return f
			}
		}
	}
	return f
}

func notFound(err error) bool {
	e, ok := errors.AsType[*net.DNSError](err)
	return ok && e.IsNotFound
}

// known waits for what is known of the client.
func (c *conn) known() *clientFacts {
	if c.lookup != nil {
		f := <-c.lookup
		c.facts, c.lookup = &f, nil
		c.name = f.name
	}
	return c.facts
}

// greet lets the client wait for the greeting, and finds out whether it does.
func (c *conn) greet(ctx context.Context) reply {
	p := &c.cfg.Policy
	if !c.trusted() && !p.HostConnections.Take(c.hostKey(), 1, time.Now()) {
		c.log.Info("connection refused", slog.String("reason", "too many connections in a short time"))
		return reply{code: 421, status: "4.7.0", text: "too many connections from your address in a short time, try again later"}.closing()
	}
	c.lookUp(ctx)
	if p.GreetDelay <= 0 || c.trusted() || c.tls != nil {
		return none
	}
	if early, err := c.wire.early(p.GreetDelay); err != nil {
		return none.closing()
	} else if early {
		c.log.Info("connection refused", slog.String("reason", "the client spoke before the greeting"))
		return reply{code: 554, status: "5.5.1", text: "you spoke before the greeting (RFC 5321 4.3.1)"}.closing()
	}
	return none
}

// hostKey names the client for limits: its address, or the /64 of an IPv6 one.
func (c *conn) hostKey() string {
	if c.remote.Is4() {
		return c.remote.String()
	}
	p, err := c.remote.Prefix(64)
	if err != nil {
		return c.remote.String()
	}
	return p.String()
}

// early tells whether the client sends something within d.
func (w *wire) early(d time.Duration) (bool, error) {
	if err := w.raw.SetReadDeadline(time.Now().Add(d)); err != nil {
		return false, err
	}
	w.mu.Lock()
	stop := w.stop
	w.mu.Unlock()
	if stop {
		return false, errStopping
	}
	var b [1]byte
	n, err := w.raw.Read(b[:])
	if n > 0 {
		return true, nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return false, w.raw.SetReadDeadline(time.Time{})
	}
	return false, err
}

// checkHello judges the name a client gives itself. One that says it is we
// lies.
func (c *conn) checkHello(ctx context.Context, name string) reply {
	if c.trusted() {
		return none
	}
	p := &c.cfg.Policy
	if strings.EqualFold(strings.TrimSuffix(name, "."), c.cfg.Hostname) || name == "["+c.local.String()+"]" || name == "[IPv6:"+c.local.String()+"]" {
		return reply{code: 550, status: "5.7.1", text: "that is my name, not yours"}
	}
	if p.Helo == "" || strings.HasPrefix(name, "[") && strings.HasSuffix(name, "]") {
		return none
	}
	if !strings.Contains(strings.Trim(name, "."), ".") || strings.ContainsAny(name, "_/\\@:;,()<> ") {
		return reply{code: 550, status: "5.5.2", text: "HELO needs your full host name (RFC 5321 4.1.1.1)"}
	}
	if p.Helo != DemandMatch || p.DNS == nil {
		return none
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	addrs, err := p.DNS.LookupIPAddr(ctx, name)
	switch {
	case err != nil && !notFound(err):
		return reply{code: 450, status: "4.4.3", text: "your host name cannot be looked up now"}
	case err != nil || len(addrs) == 0:
		return reply{code: 550, status: "5.7.1", text: "your host name is not in DNS"}
	}
	return none
}

// checkClient judges the client, when it names a recipient: so the log has whom
// it wanted to reach, and postmaster can be written to by those refused (RFC 5321 §4.5.1).
func (c *conn) checkClient(to *delivery.Recipient) reply {
	if c.trusted() {
		return none
	}
	f := c.known()
	if f == nil || strings.EqualFold(strings.SplitN(string(to.Address), "@", 2)[0], "postmaster") || f.lists.Allowed {
		return none
	}
	if f.lists.Listed {
		text := "your address " + c.remote.String() + " is on the block list " + f.lists.Zone
		if f.lists.Text != "" {
			text += ": " + f.lists.Text
		}
		switch f.lists.Action {
		case dnsbl.Reject:
			return reply{code: 554, status: "5.7.1", text: text}
		case dnsbl.TempFail:
			return reply{code: 450, status: "4.7.1", text: text}
		}
		c.env.Junk = true
	}
	demand := c.cfg.Policy.ReverseDNS
	switch {
	case demand == "", demand == DemandName && f.ptr, demand == DemandMatch && f.name != "":
		return none
	case f.failed:
		return reply{code: 450, status: "4.7.25", text: "the name of your address cannot be looked up now"}
	}
	return reply{code: 550, status: "5.7.25", text: "your address has no name in DNS that leads back to it"}
}

// checkRate judges how much the client sends.
func (c *conn) checkRate() reply {
	if c.trusted() || c.cfg.Policy.HostMessages.Take(c.hostKey(), 1, time.Now()) {
		return none
	}
	return reply{code: 450, status: "4.7.1", text: "too many messages from your address in a short time, try again later"}
}

// checkRecipientRate judges how much a recipient gets from strangers.
func (c *conn) checkRecipientRate(to *delivery.Recipient) reply {
	if c.trusted() || c.cfg.Policy.RecipientMails.Take(to.Address.Key(), 1, time.Now()) {
		return none
	}
	return reply{code: 452, status: "4.2.1", text: "this recipient gets too many messages at the moment, try again later"}
}
