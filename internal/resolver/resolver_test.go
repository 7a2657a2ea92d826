package resolver_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"expost/internal/resolver"
	"expost/internal/resolver/resolvertest"
)

func TestLookups(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 3000)
	srv := resolvertest.Serve(t,
		`example.org. TXT "v=spf1 -all"`,
		`alias.example.org. CNAME example.org.`,
		resolvertest.TXT("long.example.org.", long),
		`example.org. MX 20 b.example.org.`, `example.org. MX 10 a.example.org.`,
		`a.example.org. A 192.0.2.1`, `a.example.org. AAAA 2001:db8::1`,
		`1.2.0.192.in-addr.arpa. PTR a.example.org.`,
	)
	r := resolver.New(resolver.Options{Server: srv.Addr})
	ctx := context.Background()
	for name, want := range map[string]string{"example.org": "v=spf1 -all", "ALIAS.example.org.": "v=spf1 -all", "long.example.org": long} {
		if got, err := r.LookupTXT(ctx, name); err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("TXT %s: %.60q, %v", name, got, err)
		}
	}
	if mx, err := r.LookupMX(ctx, "example.org"); err != nil || len(mx) != 2 || mx[0].Host != "a.example.org." {
		t.Errorf("MX: %v, %v", mx, err)
	}
	if ips, err := r.LookupIPAddr(ctx, "a.example.org"); err != nil || len(ips) != 2 {
		t.Errorf("IP: %v, %v", ips, err)
	}
	if names, err := r.LookupAddr(ctx, "192.0.2.1"); err != nil || len(names) != 1 || names[0] != "a.example.org." {
		t.Errorf("PTR: %v, %v", names, err)
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	srv := resolvertest.Serve(t, `example.org. A 192.0.2.1`)
	r := resolver.New(resolver.Options{Server: srv.Addr, Timeout: 100 * time.Millisecond})
	for name, found := range map[string]bool{
		"none.example.org": false, "example.org": false, // no such name; no such record
		"": false, "a..b": false, strings.Repeat("a", 64) + ".org": false, strings.Repeat("a.", 127) + "org": false,
		"a b.org": false, "bücher.example": false, "x\x00.org": false,
		"x.servfail": true, "x.silent": true,
	} {
		_, err := r.LookupTXT(context.Background(), name)
		e, ok := errors.AsType[*net.DNSError](err)
		if !ok || e.IsNotFound == found || found != (e.IsTemporary || e.IsTimeout) {
			t.Errorf("%q: %#v", name, err)
		}
	}
}

func TestCache(t *testing.T) {
	t.Parallel()
	srv := resolvertest.Serve(t, `example.org. TXT "one"`)
	r := resolver.New(resolver.Options{Server: srv.Addr, Entries: 50})
	ctx := context.Background()
	for range 3 {
		_, _ = r.LookupTXT(ctx, "example.org")
		_, _ = r.LookupTXT(ctx, "none.example.org")
		_, _ = r.LookupTXT(ctx, "x.servfail")
	}
	if n := srv.Asked("example.org."); n != 1 {
		t.Errorf("a record was asked for %d times", n)
	}
	if n := srv.Asked("none.example.org."); n != 1 {
		t.Errorf("a missing record was asked for %d times", n)
	}
	for i := range 200 {
		_, _ = r.LookupTXT(ctx, strings.Repeat("x", i%60+1)+".example.org")
	}
	if got, err := r.LookupTXT(ctx, "example.org"); err != nil || got[0] != "one" {
		t.Errorf("after the cache was full: %q, %v", got, err)
	}
}
