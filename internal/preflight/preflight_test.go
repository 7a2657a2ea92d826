package preflight

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"expost/internal/certificate"
)

// zone is a fake DNS: lines "name type value".
type zone map[string][]string

var errNothing = errors.New("no such record")

func (z zone) find(name, kind string) ([]string, error) {
	if v := z[strings.TrimSuffix(name, ".")+" "+kind]; v != nil {
		return v, nil
	}
	return nil, errNothing
}

func (z zone) LookupTXT(_ context.Context, name string) ([]string, error) { return z.find(name, "TXT") }
func (z zone) LookupAddr(_ context.Context, addr string) ([]string, error) {
	return z.find(addr, "PTR")
}
func (z zone) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	v, err := z.find(name, "MX")
	var out []*net.MX
	for i, h := range v {
		out = append(out, &net.MX{Host: h, Pref: uint16(10 * i)})
	}
	return out, err
}
func (z zone) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	v, err := z.find(host, "A")
	var out []netip.Addr
	for _, a := range v {
		out = append(out, netip.MustParseAddr(a))
	}
	return out, err
}

func perfect() zone {
	return zone{
		"mail.example.org A": {"192.0.2.7"}, "192.0.2.7 PTR": {"mail.example.org."}, "example.org MX": {"mail.example.org."},
		"example.org TXT": {"v=spf1 mx -all", "something else"}, "_dmarc.example.org TXT": {"v=DMARC1; p=none"},
		"k1._domainkey.example.org TXT": {"v=DKIM1; p=abc"}, "autodiscover.example.org A": {"192.0.2.7"}, "autoconfig.example.org A": {"192.0.2.7"},
	}
}

// world is a Config whose host shows a certificate for these names.
func world(t *testing.T, z zone, names ...string) Config {
	t.Helper()
	certs, err := certificate.SelfSigned(t.TempDir(), names, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", certs.Config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	roots := x509.NewCertPool()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				conn.(*tls.Conn).HandshakeContext(t.Context())
				conn.Close()
			}()
		}
	}()
	conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	roots.AddCert(conn.ConnectionState().PeerCertificates[0])
	conn.Close()
	return Config{
		Hostname: "mail.example.org", Domains: []string{"example.org"}, Selectors: map[string][]string{"example.org": {"k1"}}, Lists: []string{"list.example"},
		Ports: []Port{{"imaps", 993, true}}, Resolver: z, Roots: roots, Now: time.Now(),
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if _, port, _ := net.SplitHostPort(address); port != strconv.Itoa(993) {
				return nil, errors.New("connection refused")
			}
			return (&net.Dialer{}).DialContext(ctx, network, l.Addr().String())
		},
	}
}

func TestAllInOrder(t *testing.T) {
	t.Parallel()
	cfg := world(t, perfect(), "mail.example.org", "autodiscover.example.org", "autoconfig.example.org")
	for _, f := range Check(t.Context(), cfg) {
		if f.Level != OK {
			t.Errorf("%+v", f)
		}
	}
}

func TestMissing(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		change func(zone, *Config)
		level  Level
		want   string
	}{
		"no address":    {func(z zone, _ *Config) { delete(z, "mail.example.org A") }, Fail, "has no address"},
		"private":       {func(z zone, _ *Config) { z["mail.example.org A"] = []string{"10.0.0.1"} }, Warn, "cannot reach"},
		"no PTR":        {func(z zone, _ *Config) { z["192.0.2.7 PTR"] = []string{"dsl-7.example.net."} }, Fail, "not mail.example.org"},
		"old MX":        {func(z zone, _ *Config) { z["example.org MX"] = []string{"exchange.example.org."} }, Warn, "still goes to exchange"},
		"second MX":     {func(z zone, _ *Config) { z["example.org MX"] = []string{"exchange.example.org.", "mail.example.org."} }, Warn, "first"},
		"no MX":         {func(z zone, _ *Config) { delete(z, "example.org MX") }, Fail, "no MX"},
		"no SPF":        {func(z zone, _ *Config) { delete(z, "example.org TXT") }, Warn, "no SPF"},
		"two SPF":       {func(z zone, _ *Config) { z["example.org TXT"] = []string{"v=spf1 a", "v=spf1 mx"} }, Fail, "several SPF"},
		"no DMARC":      {func(z zone, _ *Config) { delete(z, "_dmarc.example.org TXT") }, Warn, "no DMARC"},
		"no DKIM":       {func(z zone, _ *Config) { delete(z, "k1._domainkey.example.org TXT") }, Fail, "not published"},
		"autodiscover":  {func(z zone, _ *Config) { delete(z, "autodiscover.example.org A") }, Warn, "is not there"},
		"blocklist":     {func(z zone, _ *Config) { z["7.2.0.192.list.example A"] = []string{"127.0.0.2"} }, Fail, "blocklist"},
		"port":          {func(_ zone, c *Config) { c.Ports = []Port{{"smtp", 25, false}} }, Fail, "cannot be reached"},
		"not trusted":   {func(_ zone, c *Config) { c.Roots = x509.NewCertPool() }, Fail, "not trusted"},
		"expired":       {func(_ zone, c *Config) { c.Now = c.Now.AddDate(50, 0, 0) }, Fail, "has expired"},
		"another name":  {func(z zone, c *Config) { c.Hostname = "mx.example.org" }, Fail, "does not name mx.example.org"},
		"another name2": {func(z zone, c *Config) { c.Domains = []string{"example.org", "example.com"} }, Warn, "does not name autodiscover.example.com"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			z := perfect()
			cfg := world(t, z, "mail.example.org", "autodiscover.example.org", "autoconfig.example.org")
			c.change(z, &cfg)
			found := Check(t.Context(), cfg)
			for _, f := range found {
				if f.Level == c.level && strings.Contains(f.What, c.want) && f.Do != "" {
					return
				}
			}
			t.Errorf("nothing says %s %q: %+v", c.level, c.want, found)
		})
	}
}

func TestReversed(t *testing.T) {
	t.Parallel()
	if got := reversed(netip.MustParseAddr("2001:db8::1")); got != "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2" {
		t.Errorf("reversed is %s", got)
	}
}
