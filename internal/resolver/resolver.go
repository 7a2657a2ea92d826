// Package resolver asks DNS: with a time limit on each question, names checked
// before they are sent, and a cache. Its methods are those of *net.Resolver.
// Names are absolute: the search list of the machine is not used.
//
// An answer is kept for a fixed time, because the lifetime of a record is not
// told by net.Resolver: a positive one for Options.Keep, a negative one for a
// fifth of that, a failure not at all.
package resolver

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Options of a Resolver. Zero means the default named beside a field.
type Options struct {
	Server  string        // "host:port" to ask; empty: the machine's resolvers
	Timeout time.Duration // of a question: 5 s
	Keep    time.Duration // of an answer: 5 min
	Entries int           // answers kept: 20,000
}

// Resolver is safe for concurrent use.
type Resolver struct {
	net     *net.Resolver
	opt     Options
	mu      sync.Mutex
	answers map[question]answer
}

type question struct{ kind, name string }

// answer is what is known until a time; value is of the type its kind has.
type answer struct {
	value any
	err   error
	until time.Time
}

// New returns a Resolver with an empty cache.
func New(opt Options) *Resolver {
	if opt.Timeout == 0 {
		opt.Timeout = 5 * time.Second
	}
	if opt.Keep == 0 {
		opt.Keep = 5 * time.Minute
	}
	if opt.Entries == 0 {
		opt.Entries = 20000
	}
	r := &Resolver{net: net.DefaultResolver, opt: opt, answers: map[question]answer{}}
	if opt.Server != "" {
		r.net = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, opt.Server)
		}}
	}
	return r
}

// LookupTXT returns the texts of a name, the strings of each joined.
func (r *Resolver) LookupTXT(ctx context.Context, name string) ([]string, error) {
	return ask(ctx, r, question{"TXT", name}, r.net.LookupTXT)
}

// LookupMX returns the mail exchangers of a name, best first.
func (r *Resolver) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	return ask(ctx, r, question{"MX", name}, r.net.LookupMX)
}

// LookupIPAddr returns the addresses of a host.
func (r *Resolver) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	return ask(ctx, r, question{"IP", host}, r.net.LookupIPAddr)
}

// LookupNetIP returns the addresses of a host; network is "ip".
func (r *Resolver) LookupNetIP(ctx context.Context, _, host string) ([]netip.Addr, error) {
	found, err := r.LookupIPAddr(ctx, host)
	if err != nil {
		return nil, err
	}
	var list []netip.Addr
	for _, a := range found {
		if ip, ok := netip.AddrFromSlice(a.IP); ok {
			list = append(list, ip.Unmap())
		}
	}
	return list, nil
}

// LookupAddr returns the names of an address.
func (r *Resolver) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	if net.ParseIP(addr) == nil {
		return nil, notFound(addr)
	}
	return cached(ctx, r, question{"PTR", addr}, func(ctx context.Context) ([]string, error) { return r.net.LookupAddr(ctx, addr) })
}

// ask checks the name and looks it up as an absolute one.
func ask[T any](ctx context.Context, r *Resolver, q question, lookup func(context.Context, string) (T, error)) (T, error) {
	q.name = strings.ToLower(strings.TrimSuffix(q.name, "."))
	if !valid(q.name) {
		var none T
		return none, notFound(q.name)
	}
	return cached(ctx, r, q, func(ctx context.Context) (T, error) { return lookup(ctx, q.name+".") })
}

// cached returns the kept answer, or asks for it.
func cached[T any](ctx context.Context, r *Resolver, q question, lookup func(context.Context) (T, error)) (T, error) {
	now := time.Now()
	r.mu.Lock()
	a, ok := r.answers[q]
	r.mu.Unlock()
	if ok && now.Before(a.until) {
		value, _ := a.value.(T)
		return value, a.err
	}
	ctx, cancel := context.WithTimeout(ctx, r.opt.Timeout)
	defer cancel()
	value, err := lookup(ctx)
	err = known(q.name, err)
	switch {
	case err == nil:
		r.keep(q, answer{value: value, until: now.Add(r.opt.Keep)})
	case NotFound(err):
		r.keep(q, answer{value: value, err: err, until: now.Add(r.opt.Keep / 5)})
	}
	return value, err
}

// keep remembers an answer. A full cache forgets any tenth of what it holds.
func (r *Resolver) keep(q question, a answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.answers) >= r.opt.Entries {
		n := max(1, r.opt.Entries/10)
		for old := range r.answers {
			if delete(r.answers, old); n == 1 {
				break
			}
			n--
		}
	}
	r.answers[q] = a
}

// NotFound tells whether err says that there is no such record, which will be
// so at the next question too.
func NotFound(err error) bool {
	e, ok := errors.AsType[*net.DNSError](err)
	return ok && e.IsNotFound
}

// known returns err as a *net.DNSError that is either NotFound or temporary.
func known(name string, err error) error {
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*net.DNSError](err)
	if !ok {
		return &net.DNSError{Err: err.Error(), Name: name, IsTemporary: true}
	}
	if !e.IsNotFound {
		e.IsTemporary = true
	}
	return e
}

func notFound(name string) error {
	return &net.DNSError{Err: "no such name", Name: name, IsNotFound: true}
}

// valid tells whether a name may be asked for (RFC 1035 §2.3.4): labels of 1 to
// 63 printable bytes, 253 in all. The underscore is allowed.
func valid(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for i := range len(label) {
			if label[i] <= ' ' || label[i] >= 0x7f {
				return false
			}
		}
	}
	return true
}
