package route

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
)

// zone is a Resolver of a fixed list. A value "timeout" is a server that fails.
type zone struct {
	mx map[string]string // "10 a. 20 b."
	ip map[string]string // "192.0.2.1 2001:db8::1"
}

func (z zone) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	text, ok := z.mx[name]
	if !ok || text == "timeout" {
		return nil, &net.DNSError{Name: name, IsNotFound: !ok, IsTimeout: ok}
	}
	var list []*net.MX
	for f := strings.Fields(text); len(f) > 0; f = f[2:] {
		var pref uint16
		if _, err := fmt.Sscan(f[0], &pref); err != nil {
			return nil, err
		}
		list = append(list, &net.MX{Pref: pref, Host: f[1]})
	}
	return list, nil
}

func (z zone) LookupNetIP(_ context.Context, _, name string) ([]netip.Addr, error) {
	text, ok := z.ip[name]
	if !ok || text == "timeout" {
		return nil, &net.DNSError{Name: name, IsNotFound: !ok, IsTimeout: ok}
	}
	var list []netip.Addr
	for _, f := range strings.Fields(text) {
		list = append(list, netip.MustParseAddr(f))
	}
	return list, nil
}

func TestHosts(t *testing.T) {
	t.Parallel()
	z := zone{
		mx: map[string]string{
			"two.example.": "20 b.example. 10 a.example.", "null.example.": "0 .", "dead.example.": "timeout",
			"half.example.": "10 gone.example. 20 b.example.", "slow.example.": "10 slow.example.", "lost.example.": "10 gone.example.",
			"us.example.": "10 me.example. 20 b.example.", "backup.example.": "10 a.example. 20 me.example. 30 b.example.",
			"mixed.example.": "10 . 20 b.example.", "both.example.": "10 six.example.",
		},
		ip: map[string]string{
			"a.example.": "192.0.2.1", "b.example.": "192.0.2.2 192.0.2.3", "plain.example.": "192.0.2.9", "slow.example.": "timeout",
			"me.example.": "192.0.2.100", "six.example.": "192.0.2.6 192.0.2.7 2001:db8::6 2001:db8::7", "localhost": "127.0.0.1",
		},
	}
	smart, err := ParseRelay("lmtp:localhost:2424")
	if err != nil {
		t.Fatal(err)
	}
	r := &Router{Table: &Table{Default: smart}, Resolver: z, Shuffle: func(int, func(i, j int)) {},
		Self: func(host string, addr netip.Addr) bool { return host == "me.example" || addr.String() == "192.0.2.100" }}
	for hop, want := range map[string]string{
		"two.example":            "a.example 192.0.2.1:25 b.example 192.0.2.2:25 192.0.2.3:25",
		"plain.example":          "plain.example 192.0.2.9:25",
		"half.example":           "b.example 192.0.2.2:25 192.0.2.3:25",
		"mixed.example":          "b.example 192.0.2.2:25 192.0.2.3:25",
		"both.example":           "six.example [2001:db8::6]:25 192.0.2.6:25 [2001:db8::7]:25 192.0.2.7:25",
		"backup.example":         "a.example 192.0.2.1:25",
		"null.example":           "5.1.10",
		"dead.example":           "4.4.3",
		"slow.example":           "4.4.3",
		"lost.example":           "5.1.2",
		"nowhere.example":        "5.1.2",
		"us.example":             "5.4.6",
		"[192.0.2.5]":            "[192.0.2.5] 192.0.2.5:25",
		"[ipv6:2001:db8::5]":     "[ipv6:2001:db8::5] [2001:db8::5]:25",
		"[192.0.2.100]":          "5.4.6",
		"[300.1.1.1]":            "5.1.2",
		"[localhost]:26":         "localhost 127.0.0.1:26",
		"lmtp:[localhost]:2424":  "localhost 127.0.0.1:2424 lmtp",
		"[gone.example]:25":      "4.4.4",
		"[2001:db8::1]:25":       "2001:db8::1 [2001:db8::1]:25",
		"lmtp:[slow.example]:24": "4.4.3",
	} {
		hosts, err := r.Hosts(t.Context(), hop)
		var got []string
		for _, h := range hosts {
			got = append(got, h.Name)
			for _, a := range h.Addrs {
				got = append(got, a.String())
			}
			if h.Relay.LMTP {
				got = append(got, "lmtp")
			}
		}
		if e, ok := errors.AsType[*Error](err); ok {
			got = append(got, e.Status)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: got %q, %v; want %q", hop, got, err, want)
		}
	}
}

func TestHop(t *testing.T) {
	t.Parallel()
	table := &Table{Domains: map[string]*Relay{
		"partner.example": {Host: "mx.partner.example", Port: 2525}, ".inside.example": {Host: "192.0.2.1"}, "direct.inside.example": nil,
	}}
	for _, test := range []struct{ domain, host, want string }{
		{"Example.ORG", "", "example.org"},
		{"bücher.example", "", "xn--bcher-kva.example"},
		{"with_underscore.example", "", "with_underscore.example"},
		{"partner.example", "", "[mx.partner.example]:2525"},
		{"a.inside.example", "", "[192.0.2.1]:25"},
		{"inside.example", "", "inside.example"},
		{"direct.inside.example", "", "direct.inside.example"},
		{"[192.0.2.1]", "", "[192.0.2.1]"},
		{"example.org", "Old.example.org", "[old.example.org]:25"},
		{"example.org", "lmtp:old.example.org", "lmtp:[old.example.org]:24"},
		{"example.org", "[2001:db8::1]:26", "[2001:db8::1]:26"},
	} {
		got, err := table.Hop(test.domain, test.host)
		if err != nil || got != test.want {
			t.Errorf("%s, %s: got %s, %v; want %s", test.domain, test.host, got, err, test.want)
		}
	}
	for _, host := range []string{"a b", "a:0", "a:70000", "a/b", "[]:25"} {
		if got, err := table.Hop("example.org", host); err == nil {
			t.Errorf("%s: got %s", host, got)
		}
	}
}
