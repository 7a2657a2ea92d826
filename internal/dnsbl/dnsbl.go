// Package dnsbl asks DNS lists about the address of a client: block lists (RFC
// 5782) of those that send spam, and lists of those that are known to be good.
//
// All lists are asked at once, within one time limit. A list that does not
// answer says nothing; answers are cached by the resolver.
package dnsbl

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Resolver asks DNS.
type Resolver interface {
	LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error)
	LookupTXT(ctx context.Context, name string) ([]string, error)
}

// Action is what becomes of mail from a listed client.
type Action string

// The actions, in order of weight. The empty one is Reject.
const (
	Junk     Action = "junk"     // it goes into the mailbox for junk
	TempFail Action = "tempfail" // its sender tries again
	Reject   Action = "reject"
)

// List is one list.
type List struct {
	Zone   string // "zen.spamhaus.org"
	Allow  bool   // it lists the good: its word ends the matter
	Action Action
	Codes  []netip.Prefix // answers that count; empty: 127.0.0.0/8, without the 127.255.255.0/24 by which lists report errors
}

// Checker asks lists. It is safe for concurrent use.
type Checker struct {
	Lists    []List
	Resolver Resolver
	Timeout  time.Duration // for all of them: 5 s
}

// Verdict is what the lists say.
type Verdict struct {
	Allowed bool
	Listed  bool
	Action  Action
	Zone    string // whose word it is
	Text    string // the list's reason, for the client; may be empty
}

// Check asks the lists about an address. Who is on a list of the good is
// allowed, whatever the others say; of several block lists the strictest counts.
func (c *Checker) Check(ctx context.Context, ip netip.Addr) Verdict {
	if len(c.Lists) == 0 || !ip.IsValid() {
		return Verdict{}
	}
	timeout := c.Timeout
	if timeout == 0 {
		timeout = 5 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	name := Reverse(ip)
	found := make([]bool, len(c.Lists))
	var wg sync.WaitGroup
	for i := range c.Lists {
		wg.Go(func() { found[i] = c.ask(ctx, &c.Lists[i], name) })
	}
	wg.Wait()
	v := Verdict{}
	for i, l := range c.Lists {
		switch {
		case !found[i]:
		case l.Allow:
			return Verdict{Allowed: true, Zone: l.Zone}
		case !v.Listed || weight(l.Action) > weight(v.Action):
			v = Verdict{Listed: true, Action: l.Action, Zone: l.Zone}
		}
	}
	if v.Listed {
		if v.Action == "" {
			v.Action = Reject
		}
		if texts, err := c.Resolver.LookupTXT(ctx, name+"."+v.Zone); err == nil && len(texts) > 0 {
			v.Text = texts[0]
		}
	}
	return v
}

func weight(a Action) int {
	switch a {
	case Junk:
		return 1
	case TempFail:
		return 2
	}
	return 3
}

// ask tells whether a list has a name.
func (c *Checker) ask(ctx context.Context, l *List, name string) bool {
	answers, err := c.Resolver.LookupIPAddr(ctx, name+"."+l.Zone)
	if err != nil {
		return false
	}
	for _, a := range answers {
		ip, _ := netip.AddrFromSlice(a.IP)
		if l.counts(ip.Unmap()) {
			return true
		}
	}
	return false
}

func (l *List) counts(answer netip.Addr) bool {
	if len(l.Codes) == 0 {
		b := answer.As16()
		return answer.Is4() && answer.IsLoopback() && !(b[13] == 255 && b[14] == 255)
	}
	for _, p := range l.Codes {
		if p.Contains(answer) {
			return true
		}
	}
	return false
}

// Reverse returns an address as lists have it (RFC 5782 §2.1, §2.4): bytes, or
// the hexadecimal digits of IPv6, the last first.
func Reverse(ip netip.Addr) string {
	ip = ip.Unmap()
	b := ip.AsSlice()
	var parts []string
	for i := len(b) - 1; i >= 0; i-- {
		if ip.Is4() {
			parts = append(parts, strconv.Itoa(int(b[i])))
		} else {
			parts = append(parts, strconv.FormatUint(uint64(b[i]&15), 16), strconv.FormatUint(uint64(b[i]>>4), 16))
		}
	}
	return strings.Join(parts, ".")
}
