// Package preflight looks at what stands outside of this server and has to be
// in order before the world's mail is pointed at it: DNS, ports, the certificate,
// and what blocklists say. It changes nothing.
package preflight

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// Level says how bad a finding is.
type Level string

// The levels of findings.
const (
	OK   Level = "ok"
	Warn Level = "warning" // mail flows, somebody may be unhappy
	Fail Level = "missing" // do not switch before it is mended
)

// Finding is one thing that was looked at.
type Finding struct {
	Level Level  `json:"level"`
	About string `json:"about"` // a domain, a host, a port
	What  string `json:"what"`
	Do    string `json:"do,omitempty"` // what to do about it
}

// Resolver asks DNS, as *net.Resolver does.
type Resolver interface {
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupTXT(ctx context.Context, name string) ([]string, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	LookupAddr(ctx context.Context, addr string) ([]string, error)
}

// Port is a port that the world has to reach.
type Port struct {
	Name   string
	Number int
	TLS    bool // from the first byte
}

// Config says what to look at.
type Config struct {
	Hostname  string
	Domains   []string
	Ports     []Port
	Selectors map[string][]string // of the DKIM keys that sign now, by domain
	Lists     []string            // DNS blocklists: zen.spamhaus.org
	Roots     *x509.CertPool
	Resolver  Resolver
	Dial      func(ctx context.Context, network, address string) (net.Conn, error) // net.Dialer's where nil
	Now       time.Time
}

// timeLimit bounds one question.
const timeLimit = 10 * time.Second

// Check looks at everything and returns what it found, the worst first.
func Check(ctx context.Context, cfg Config) []Finding {
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{}).DialContext
	}
	c := &checker{cfg: cfg, found: make(chan Finding)}
	var group errgroup.Group
	group.Go(func() error { c.host(ctx); return nil })
	for _, d := range cfg.Domains {
		group.Go(func() error { c.domain(ctx, d); return nil })
	}
	for _, p := range cfg.Ports {
		group.Go(func() error { c.port(ctx, p); return nil })
	}
	go func() {
		group.Wait() // it returns no error
		close(c.found)
	}()
	var out []Finding
	for f := range c.found {
		out = append(out, f)
	}
	rank := map[Level]int{Fail: 0, Warn: 1, OK: 2}
	slices.SortStableFunc(out, func(x, y Finding) int {
		return cmp.Or(cmp.Compare(rank[x.Level], rank[y.Level]), cmp.Compare(x.About, y.About), cmp.Compare(x.What, y.What))
	})
	return out
}

// checker is a Check on its way.
type checker struct {
	cfg   Config
	found chan Finding
}

func (c *checker) ok(about, format string, args ...any) {
	c.found <- Finding{Level: OK, About: about, What: fmt.Sprintf(format, args...)}
}

func (c *checker) bad(level Level, about, what, do string, args ...any) {
	c.found <- Finding{Level: level, About: about, What: what, Do: fmt.Sprintf(do, args...)}
}

// addresses looks a host up.
func (c *checker) addresses(ctx context.Context, host string) []netip.Addr {
	ctx, cancel := context.WithTimeout(ctx, timeLimit)
	defer cancel()
	addrs, err := c.cfg.Resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil // what has no address is missing, for whatever reason
	}
	return addrs
}

// host looks at this host's name, its addresses, and what they are called.
func (c *checker) host(ctx context.Context) {
	host := c.cfg.Hostname
	addrs := c.addresses(ctx, host)
	if len(addrs) == 0 {
		c.bad(Fail, host, "has no address", "publish A and AAAA records of %s, or set hostname to a name that has them", host)
		return
	}
	for _, a := range addrs {
		a = a.Unmap()
		if a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() {
			c.bad(Warn, host, "has the address "+a.String()+", which the world cannot reach", "publish the public address of %s", host)
			continue
		}
		c.ok(host, "has the address %s", a)
		c.reverse(ctx, host, a)
		for _, list := range c.cfg.Lists {
			c.blocklist(ctx, list, a)
		}
	}
}

// reverse looks at the name of an address: many servers refuse mail where it is
// not the sending host's.
func (c *checker) reverse(ctx context.Context, host string, a netip.Addr) {
	ctx, cancel := context.WithTimeout(ctx, timeLimit)
	defer cancel()
	names, err := c.cfg.Resolver.LookupAddr(ctx, a.String())
	if err == nil && slices.ContainsFunc(names, func(n string) bool { return sameHost(n, host) }) {
		c.ok(a.String(), "is called %s", host)
		return
	}
	c.bad(Fail, a.String(), fmt.Sprintf("is called %q, not %s", strings.Join(names, ", "), host),
		"have the provider of the address set its reverse record (PTR) to %s: large providers refuse mail without", host)
}

// blocklist asks a DNS blocklist (RFC 5782) for an address.
func (c *checker) blocklist(ctx context.Context, list string, a netip.Addr) {
	name := reversed(a) + "." + list
	for _, answer := range c.addresses(ctx, name) {
		if b := answer.Unmap().As4(); answer.Unmap().Is4() && b[0] == 127 && b[1] == 0 {
			c.bad(Fail, a.String(), "is on the blocklist "+list+" ("+answer.String()+")", "ask %s to take it off, or send from another address", list)
			return
		}
	}
	c.ok(a.String(), "is not on the blocklist %s", list)
}

// reversed writes an address as blocklists want it.
func reversed(a netip.Addr) string {
	var parts []string
	if a.Is4() {
		for _, b := range a.As4() {
			parts = append(parts, strconv.Itoa(int(b)))
		}
	} else {
		for _, b := range a.As16() {
			parts = append(parts, strconv.FormatInt(int64(b>>4), 16), strconv.FormatInt(int64(b&15), 16))
		}
	}
	slices.Reverse(parts)
	return strings.Join(parts, ".")
}

// sameHost compares two names of hosts.
func sameHost(a, b string) bool {
	return strings.EqualFold(strings.TrimSuffix(a, "."), strings.TrimSuffix(b, "."))
}

// domain looks at the records of a mail domain.
func (c *checker) domain(ctx context.Context, d string) {
	lookup, cancel := context.WithTimeout(ctx, timeLimit)
	defer cancel()
	mx, err := c.cfg.Resolver.LookupMX(lookup, d)
	switch here := slices.IndexFunc(mx, func(m *net.MX) bool { return sameHost(m.Host, c.cfg.Hostname) }); {
	case err != nil || len(mx) == 0:
		c.bad(Fail, d, "has no MX record", "when all else is in order, publish: %s. IN MX 10 %s.", d, c.cfg.Hostname)
	case here < 0:
		c.bad(Warn, d, "its mail still goes to "+strings.TrimSuffix(mx[0].Host, "."), "when all else is in order, publish: %s. IN MX 10 %s.", d, c.cfg.Hostname)
	case here > 0 && mx[0].Pref < mx[here].Pref:
		c.bad(Warn, d, "its mail goes to "+strings.TrimSuffix(mx[0].Host, ".")+" first", "give this server the lowest preference, or remove the other MX record")
	default:
		c.ok(d, "its mail comes here")
	}
	c.texts(ctx, d)
	for _, name := range []string{"autodiscover." + d, "autoconfig." + d} {
		if len(c.addresses(ctx, name)) == 0 {
			c.bad(Warn, name, "is not there: mail programs do not find this server by themselves", "publish: %s. IN CNAME %s.", name, c.cfg.Hostname)
		} else {
			c.ok(name, "is there")
		}
	}
}

// texts looks at SPF, DKIM and DMARC of a domain.
func (c *checker) texts(ctx context.Context, d string) {
	records := func(name, prefix string) []string {
		ctx, cancel := context.WithTimeout(ctx, timeLimit)
		defer cancel()
		texts, err := c.cfg.Resolver.LookupTXT(ctx, name)
		if err != nil {
			return nil
		}
		return slices.DeleteFunc(texts, func(t string) bool { return !strings.HasPrefix(strings.ToLower(t), prefix) })
	}
	switch spf := records(d, "v=spf1"); {
	case len(spf) == 0:
		c.bad(Warn, d, "has no SPF record", `publish: %s. IN TXT "v=spf1 mx -all"`, d)
	case len(spf) > 1:
		c.bad(Fail, d, "has several SPF records, which counts as an error", "leave one")
	default:
		c.ok(d, "SPF: %s", spf[0])
	}
	for _, s := range c.cfg.Selectors[d] {
		if name := s + "._domainkey." + d; len(records(name, "")) == 0 {
			c.bad(Fail, name, "is not published, and mail is signed with that key", "publish what \"expost dkim\" prints for %s", d)
		} else {
			c.ok(name, "is published")
		}
	}
	if dmarc := records("_dmarc."+d, "v=dmarc1"); len(dmarc) == 0 {
		c.bad(Warn, d, "has no DMARC record", `publish: _dmarc.%s. IN TXT "v=DMARC1; p=none; rua=mailto:postmaster@%s"`, d, d)
	} else {
		c.ok(d, "DMARC: %s", dmarc[0])
	}
}

// port connects to a port of the hostname, as clients will.
func (c *checker) port(ctx context.Context, p Port) {
	ctx, cancel := context.WithTimeout(ctx, timeLimit)
	defer cancel()
	address := net.JoinHostPort(c.cfg.Hostname, strconv.Itoa(p.Number))
	conn, err := c.cfg.Dial(ctx, "tcp", address)
	if err != nil {
		c.bad(Fail, address, "cannot be reached from here ("+p.Name+"): "+err.Error(), "let the server listen there (listen.%s), and open it in the firewall; some providers block port 25", p.Name)
		return
	}
	defer conn.Close()
	if !p.TLS {
		c.ok(address, "answers (%s)", p.Name)
		return
	}
	c.certificate(ctx, address, conn)
}

// soon is how long before its end a certificate is worth a word.
const soon = 14 * 24 * time.Hour

// certificate looks at what the port shows: its names, its time, who signed it.
func (c *checker) certificate(ctx context.Context, address string, conn net.Conn) {
	tc := tls.Client(conn, &tls.Config{ServerName: c.cfg.Hostname, InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}) // what is wrong with it is said below
	if err := tc.HandshakeContext(ctx); err != nil {
		c.bad(Fail, address, "does not speak TLS: "+err.Error(), "look at the server's log")
		return
	}
	chain := tc.ConnectionState().PeerCertificates
	leaf, between := chain[0], x509.NewCertPool()
	for _, cert := range chain[1:] {
		between.AddCert(cert)
	}
	names := []string{c.cfg.Hostname}
	for _, d := range c.cfg.Domains {
		names = append(names, "autodiscover."+d, "autoconfig."+d)
	}
	for i, name := range names {
		if err := leaf.VerifyHostname(name); err != nil {
			level := Warn
			if i == 0 {
				level = Fail
			}
			c.bad(level, address, "its certificate does not name "+name, "get one that does")
		}
	}
	if left := leaf.NotAfter.Sub(c.cfg.Now); left < 0 {
		c.bad(Fail, address, "its certificate has expired on "+leaf.NotAfter.Format(time.DateOnly), "get a new one")
	} else if left < soon {
		c.bad(Warn, address, "its certificate expires on "+leaf.NotAfter.Format(time.DateOnly), "get a new one in time")
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: c.cfg.Roots, Intermediates: between, CurrentTime: c.cfg.Now}); err != nil {
		c.bad(Fail, address, "its certificate is not trusted: "+err.Error(), "set tls.cert and tls.key to one that a public authority has signed, the intermediate certificates in the same file")
		return
	}
	c.ok(address, "shows a trusted certificate until %s", leaf.NotAfter.Format(time.DateOnly))
}
