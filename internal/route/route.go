// Package route says where mail for a domain goes: the next hop, by the table of
// the configuration, and the hosts of that hop, by DNS (RFC 5321 §5).
//
// A hop has a name, by which mail is sorted, retried and shown: the domain
// ("example.org") where DNS says its hosts, and "[host]:port" where the
// configuration or a mailHost does; "lmtp:[host]:port" speaks LMTP.
package route

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/idna"

	"expost/internal/mail"
	"expost/internal/smtpclient"
)

// Resolver asks DNS. *net.Resolver is one; names come with a final dot.
type Resolver interface {
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Relay is a host that the configuration names.
type Relay struct {
	Host     string // a name, or an IP address without brackets
	Port     uint16 // 0: 25
	LMTP     bool
	TLS      smtpclient.TLSPolicy
	Login    string
	Password string
	Roots    *x509.CertPool // that its certificate must lead to, where it counts; nil: the system's
	CertName string         // the name the certificate has; empty: Host
}

// Hop returns the name of the hop.
func (r *Relay) Hop() string {
	port := r.Port
	if port == 0 {
		port = 25
	}
	hop := "[" + strings.ToLower(strings.TrimSuffix(r.Host, ".")) + "]:" + strconv.Itoa(int(port))
	if r.LMTP {
		hop = "lmtp:" + hop
	}
	return hop
}

// ParseRelay reads "host", "host:port", "[address]:port", with "lmtp:" before
// it where the host speaks LMTP (its port is 24 where none is given).
func ParseRelay(s string) (*Relay, error) {
	rest, lmtp := strings.CutPrefix(s, "lmtp:")
	r := &Relay{Host: rest, LMTP: lmtp, Port: 25}
	if lmtp {
		r.Port = 24
	}
	if _, err := netip.ParseAddr(rest); err == nil {
		return r, nil
	}
	if host, port, err := net.SplitHostPort(rest); err == nil {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return nil, mail.Errorf(mail.KindInvalid, "%q is no host: the port must be a number from 1 to 65535", s)
		}
		r.Host, r.Port = host, uint16(n)
	}
	r.Host = strings.TrimSuffix(strings.TrimPrefix(r.Host, "["), "]")
	if r.Host == "" || strings.ContainsAny(r.Host, " \t/@[]\"\\<>") {
		return nil, mail.Errorf(mail.KindInvalid, "%q is no host: write name, name:port or [address]:port", s)
	}
	return r, nil
}

// Table is the configuration of routes. Do not change it while it is used.
type Table struct {
	Default *Relay            // of every domain without a route of its own; nil: DNS
	Domains map[string]*Relay // by mail.DomainKey; ".example.org" is for what is below; nil: DNS in spite of Default
	Relays  map[string]*Relay // further hosts by the name of their hop: how a mailHost is spoken to
	Hosts   map[string]*Relay // where the mail of a mailHost goes that takes it elsewhere than on its own port 25
}

// Hop returns the name of the hop for a domain, or for a host that is known
// already (mailHost) where one is given.
func (t *Table) Hop(domain, host string) (string, error) {
	if r := t.Hosts[strings.ToLower(host)]; r != nil {
		return r.Hop(), nil
	}
	if host != "" {
		r, err := ParseRelay(host)
		if err != nil {
			return "", err
		}
		return r.Hop(), nil
	}
	if r := t.relay(mail.DomainKey(domain)); r != nil {
		return r.Hop(), nil
	}
	if strings.HasPrefix(domain, "[") {
		return strings.ToLower(domain), nil
	}
	name, err := idna.Lookup.ToASCII(strings.TrimSuffix(domain, "."))
	if err != nil { // names with an underscore and the like are tried as they are
		name = strings.ToLower(strings.TrimSuffix(domain, "."))
	}
	return name, nil
}

// relay returns the route of a domain; nil: DNS.
func (t *Table) relay(domain string) *Relay {
	if r, ok := t.Domains[domain]; ok {
		return r
	}
	for rest := domain; ; {
		i := strings.IndexByte(rest, '.')
		if i < 0 {
			return t.Default
		}
		rest = rest[i+1:]
		if r, ok := t.Domains["."+rest]; ok {
			return r
		}
	}
}

// find returns what is known of a hop that names its host.
func (t *Table) find(hop string) *Relay {
	for _, r := range t.all() {
		if r != nil && r.Hop() == hop {
			return r
		}
	}
	return nil
}

func (t *Table) all() []*Relay {
	list := []*Relay{t.Default}
	for _, r := range t.Domains {
		list = append(list, r)
	}
	for _, r := range t.Relays {
		list = append(list, r)
	}
	for _, r := range t.Hosts {
		list = append(list, r)
	}
	return list
}

// Host is one host of a hop.
type Host struct {
	Name  string // without the final dot; an address literal where there is no name
	Addrs []netip.AddrPort
	Relay *Relay // how to speak to it; never nil
}

// Error says why a hop has no hosts. Status is an enhanced status code.
type Error struct {
	Status string // "5.1.2"
	Err    error
}

// Error returns the cause.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// EnhancedStatus returns Status.
func (e *Error) EnhancedStatus() string { return e.Status }

// Permanent tells whether it will be so at the next try.
func (e *Error) Permanent() bool { return e.Status[0] == '5' }

func fail(status, format string, args ...any) error {
	return &Error{Status: status, Err: fmt.Errorf(format, args...)}
}

// Router finds the hosts of hops. It is safe for concurrent use.
type Router struct {
	Table    *Table
	Resolver Resolver
	Port     uint16        // of hosts that DNS names; 0: 25. For tests
	Timeout  time.Duration // of all questions for one hop; 0: 60 s
	Self     func(host string, addr netip.Addr) bool
	Shuffle  func(n int, swap func(i, j int)) // of hosts of one preference; nil: at random
}

// maxHosts is how many hosts of one hop are tried.
const maxHosts = 10

// Hosts returns the hosts of a hop, in the order they are to be tried. The
// error is an *Error.
func (r *Router) Hosts(ctx context.Context, hop string) ([]Host, error) {
	timeout := r.Timeout
	if timeout == 0 {
		timeout = time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if strings.HasPrefix(hop, "lmtp:") || strings.HasPrefix(hop, "[") && strings.Contains(hop, "]:") {
		return r.relayHosts(ctx, hop)
	}
	if strings.HasPrefix(hop, "[") {
		return r.literal(hop)
	}
	return r.domainHosts(ctx, hop)
}

// relayHosts finds a host that is named by the hop.
func (r *Router) relayHosts(ctx context.Context, hop string) ([]Host, error) {
	relay := r.Table.find(hop)
	if relay == nil {
		var err error
		if relay, err = ParseRelay(hop); err != nil {
			return nil, fail("5.4.4", "%w", err)
		}
	}
	addrs, err := r.addresses(ctx, relay.Host)
	if isNotFound(err) || err == nil && len(addrs) == 0 {
		// A relay is named by the administrator: a wrong name will be mended.
		return nil, fail("4.4.4", "the host %s has no address", relay.Host)
	}
	if err != nil {
		return nil, fail("4.4.3", "looking up the host %s: %w", relay.Host, err)
	}
	return []Host{{Name: relay.Host, Addrs: withPort(addrs, relay.Port), Relay: relay}}, nil
}

// literal is a domain like [192.0.2.1] or [IPv6:2001:db8::1] (RFC 5321 §4.1.3).
func (r *Router) literal(domain string) ([]Host, error) {
	text := strings.TrimSuffix(strings.TrimPrefix(domain, "["), "]")
	if len(text) > 5 && strings.EqualFold(text[:5], "ipv6:") {
		text = text[5:]
	}
	ip, err := netip.ParseAddr(text)
	if err != nil || ip.Zone() != "" {
		return nil, fail("5.1.2", "%s is not an address literal", domain)
	}
	if r.Self != nil && r.Self("", ip.Unmap()) {
		return nil, fail("5.4.6", "the mail for %s comes back to this host", domain)
	}
	return []Host{{Name: domain, Addrs: withPort([]netip.Addr{ip.Unmap()}, r.port()), Relay: &Relay{}}}, nil
}

func (r *Router) port() uint16 {
	if r.Port == 0 {
		return 25
	}
	return r.Port
}

func withPort(addrs []netip.Addr, port uint16) []netip.AddrPort {
	var list []netip.AddrPort
	for _, a := range addrs {
		list = append(list, netip.AddrPortFrom(a, port))
	}
	return list
}

// domainHosts asks DNS for the hosts of a domain: its MX records, or where it
// has none the domain itself (RFC 5321 §5.1).
func (r *Router) domainHosts(ctx context.Context, domain string) ([]Host, error) {
	records, err := r.Resolver.LookupMX(ctx, domain+".")
	switch {
	case len(records) > 0: // with an error: some of the records were no names
	case err == nil, isNotFound(err):
		records = []*net.MX{{Host: domain + "."}}
	default:
		return nil, fail("4.4.3", "looking up the mail hosts of %s: %w", domain, err)
	}
	if len(records) == 1 && records[0].Host == "." { // RFC 7505
		return nil, fail("5.1.10", "the domain %s does not take mail (it has a null MX)", domain)
	}
	return r.resolve(ctx, domain, r.order(records))
}

// order sorts records by preference, those of the same one at random, and
// leaves out a null MX among others.
func (r *Router) order(records []*net.MX) []*net.MX {
	list := slices.DeleteFunc(slices.Clone(records), func(mx *net.MX) bool { return strings.Trim(mx.Host, ".") == "" })
	shuffle := r.Shuffle
	if shuffle == nil {
		shuffle = rand.Shuffle
	}
	shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	slices.SortStableFunc(list, func(a, b *net.MX) int { return int(a.Pref) - int(b.Pref) })
	return list
}

// resolve finds the addresses of the hosts. Where one is this host, it and
// those of the same or a worse preference are left out (RFC 5321 §5.1).
func (r *Router) resolve(ctx context.Context, domain string, records []*net.MX) ([]Host, error) {
	var hosts []Host
	var failed error
	for _, mx := range records {
		name := strings.TrimSuffix(strings.ToLower(mx.Host), ".")
		addrs, err := r.addresses(ctx, name)
		if r.isSelf(name, addrs) {
			hosts = slices.DeleteFunc(hosts, func(h Host) bool { return prefOf(records, h.Name) >= mx.Pref })
			if len(hosts) == 0 {
				return nil, fail("5.4.6", "the mail for %s comes back to this host", domain)
			}
			return hosts, nil
		}
		if err != nil && !isNotFound(err) {
			failed = err
		}
		if len(addrs) == 0 || len(hosts) == maxHosts {
			continue
		}
		hosts = append(hosts, Host{Name: name, Addrs: withPort(addrs, r.port()), Relay: &Relay{}})
	}
	switch {
	case len(hosts) > 0:
		return hosts, nil
	case failed != nil:
		return nil, fail("4.4.3", "looking up the mail hosts of %s: %w", domain, failed)
	}
	return nil, fail("5.1.2", "the domain %s does not exist, or has no host that takes mail", domain)
}

// prefOf returns the preference of a host.
func prefOf(records []*net.MX, name string) uint16 {
	for _, mx := range records {
		if strings.TrimSuffix(strings.ToLower(mx.Host), ".") == name {
			return mx.Pref
		}
	}
	return 0
}

func (r *Router) isSelf(name string, addrs []netip.Addr) bool {
	if r.Self == nil {
		return false
	}
	if r.Self(name, netip.Addr{}) {
		return true
	}
	return slices.ContainsFunc(addrs, func(a netip.Addr) bool { return r.Self("", a) })
}

// addresses returns the addresses of a host, IPv6 first and then by turns, so
// that a family that does not work costs one attempt and not all (RFC 8305 §4).
func (r *Router) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip.Unmap()}, nil
	}
	name := host
	if strings.Contains(host, ".") {
		name += "." // never below a search domain
	}
	found, err := r.Resolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return nil, err
	}
	var six, four, list []netip.Addr
	for _, a := range found {
		if a = a.Unmap(); a.Is4() {
			four = append(four, a)
		} else {
			six = append(six, a)
		}
	}
	for len(six) > 0 || len(four) > 0 {
		if len(six) > 0 {
			list, six = append(list, six[0]), six[1:]
		}
		if len(four) > 0 {
			list, four = append(list, four[0]), four[1:]
		}
	}
	return list, nil
}

// isNotFound tells whether DNS says that there is no such thing.
func isNotFound(err error) bool {
	e, ok := errors.AsType[*net.DNSError](err)
	return ok && e.IsNotFound
}
