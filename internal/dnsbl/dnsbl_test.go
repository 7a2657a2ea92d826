package dnsbl

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"
)

// zone is a DNS of fixed answers.
type zone map[string]string

func (z zone) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	a, ok := z[host]
	if a == "never" {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if !ok {
		return nil, &net.DNSError{IsNotFound: true}
	}
	return []net.IPAddr{{IP: net.ParseIP(a)}}, nil
}

func (z zone) LookupTXT(_ context.Context, name string) ([]string, error) {
	if t, ok := z["txt "+name]; ok {
		return []string{t}, nil
	}
	return nil, &net.DNSError{IsNotFound: true}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	dns := zone{
		"1.2.0.192.bl.example": "127.0.0.2", "txt 1.2.0.192.bl.example": "see bl.example",
		"2.2.0.192.bl.example": "127.0.0.2", "2.2.0.192.wl.example": "127.0.5.1",
		"3.2.0.192.bl.example":   "127.255.255.254", // an error, not a listing
		"4.2.0.192.bl.example":   "192.0.2.9",       // a domain that was sold
		"5.2.0.192.junk.example": "127.0.0.3",
		"6.2.0.192.bl.example":   "127.0.0.2", "6.2.0.192.junk.example": "127.0.0.3",
		"7.2.0.192.junk.example": "127.0.0.9",
		"8.2.0.192.bl.example":   "never",
		"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.example": "127.0.0.2",
	}
	c := &Checker{Resolver: dns, Timeout: 100 * time.Millisecond, Lists: []List{
		{Zone: "bl.example"}, {Zone: "junk.example", Action: Junk, Codes: []netip.Prefix{netip.MustParsePrefix("127.0.0.3/32")}}, {Zone: "wl.example", Allow: true},
	}}
	for ip, want := range map[string]Verdict{
		"192.0.2.1":        {Listed: true, Action: Reject, Zone: "bl.example", Text: "see bl.example"},
		"::ffff:192.0.2.1": {Listed: true, Action: Reject, Zone: "bl.example", Text: "see bl.example"},
		"192.0.2.2":        {Allowed: true, Zone: "wl.example"},
		"192.0.2.3":        {},
		"192.0.2.4":        {},
		"192.0.2.5":        {Listed: true, Action: Junk, Zone: "junk.example"},
		"192.0.2.6":        {Listed: true, Action: Reject, Zone: "bl.example"},
		"192.0.2.7":        {},
		"192.0.2.8":        {},
		"192.0.2.9":        {},
		"2001:db8::1":      {Listed: true, Action: Reject, Zone: "bl.example"},
	} {
		if got := c.Check(t.Context(), netip.MustParseAddr(ip)); got != want {
			t.Errorf("%s: got %+v, want %+v", ip, got, want)
		}
	}
}
