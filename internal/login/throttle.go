package login

import (
	"context"
	"log/slog"
	"math"
	"net/netip"
	"slices"
	"sync"
	"time"

	"expost/internal/mail"
)

// ThrottleConfig of a Throttle. A zero field means the default named.
type ThrottleConfig struct {
	AccountFree  int            // failed logins of an account before delays begin: 5
	AddressFree  int            // those from one address (IPv6: one /64): 10
	AccountDelay time.Duration  // the longest delay between two tries of an account: 1 min
	AddressDelay time.Duration  // the longest one between two tries from an address: 5 min
	Forget       time.Duration  // after which half of the failures are forgotten: 15 min
	Patience     time.Duration  // how long a try waits for its turn before it is refused: 15 s
	Remember     time.Duration  // how long an address is known after a login: 30 days
	Entries      int            // accounts, addresses and pairs remembered, each: 50,000
	Trusted      []netip.Prefix // addresses of many people: webmail, proxies; not throttled as addresses

	Now   func() time.Time
	Sleep func(ctx context.Context, d time.Duration) error
	Log   *slog.Logger
}

// knownDelay is the longest delay for an address that has logged in to the
// account lately.
const knownDelay = 5 * time.Second

// Throttle makes guessing passwords slow. Failures are counted by account and by
// address; beyond a few, tries take turns, and each turn is twice as far from the
// one before. Whoever's turn is too far away is refused unheard. An address that
// has logged in to an account lately takes turns only with itself, a short time
// apart, whatever others do: nobody is locked out by a stranger's guesses. The
// same wrong password again counts once, as of a telephone that was not told the
// new one.
//
// All of it is in memory, of bounded size: where there is no room, what matters
// least is forgotten.
type Throttle struct {
	cfg ThrottleConfig

	mu        sync.Mutex
	accounts  map[string]*record
	addresses map[netip.Prefix]*record
	pairs     map[pair]*record // those that have logged in
}

// pair is an account and an address.
type pair struct {
	account string
	address netip.Prefix
}

// record is what is remembered of an account, an address or a pair.
type record struct {
	failures float64 // as of at; half of them are forgotten after Forget
	at       time.Time
	under    int           // tries under way
	ended    chan struct{} // closed when one of them ends; nil: nobody waits for that
	login    time.Time     // of a pair: the last one
	next     time.Time     // before which there is no turn
	last     uint64        // the wrong password tried last, as a fingerprint
	told     bool          // that tries are delayed, to the log
}

// NewThrottle returns a Throttle that remembers nothing.
func NewThrottle(cfg ThrottleConfig) *Throttle {
	set := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	setInt := func(n *int, value int) {
		if *n == 0 {
			*n = value
		}
	}
	setInt(&cfg.AccountFree, 5)
	setInt(&cfg.AddressFree, 10)
	setInt(&cfg.Entries, 50_000)
	set(&cfg.AccountDelay, time.Minute)
	set(&cfg.AddressDelay, 5*time.Minute)
	set(&cfg.Forget, 15*time.Minute)
	set(&cfg.Patience, 15*time.Second)
	set(&cfg.Remember, 30*24*time.Hour)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Sleep == nil {
		cfg.Sleep = sleep
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Throttle{cfg: cfg, accounts: map[string]*record{}, addresses: map[netip.Prefix]*record{}, pairs: map[pair]*record{}}
}

// sleep waits, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Try is one try to log in. End it with one of its methods.
type Try struct {
	t       *Throttle
	who     pair
	account *record // nil: it does not count for the account
	address *record // nil: nor for the address
	known   *record // the pair's; nil: never logged in
	ended   bool
}

// Begin waits for the turn of a login to an account from an address. Where that
// is too far away it returns mail.KindTemporary at once.
//
// Only so many tries of an account go on at a time as may fail without a delay:
// the others wait until one of them has ended. So a program that opens many
// connections at once is not taken for somebody who guesses.
func (t *Throttle) Begin(ctx context.Context, account string, from netip.Addr) (*Try, error) {
	patience := time.NewTimer(t.cfg.Patience)
	defer patience.Stop()
	try, wait, ended, err := t.turn(account, from)
	for ended != nil {
		select {
		case <-ended:
		case <-patience.C:
			return nil, mail.Errorf(mail.KindTemporary, "too many logins at a time: try again later")
		case <-ctx.Done():
			return nil, mail.WrapError(mail.KindTemporary, ctx.Err(), "the login was given up")
		}
		try, wait, ended, err = t.turn(account, from)
	}
	if err != nil || wait <= 0 {
		return try, err
	}
	if err := t.cfg.Sleep(ctx, wait); err != nil {
		try.Abandon()
		return nil, mail.WrapError(mail.KindTemporary, err, "the login was given up")
	}
	return try, nil
}

// turn finds the turn of a try and how long it is until then. Where too many
// tries are under way it returns a channel to wait for, and no turn.
func (t *Throttle) turn(account string, from netip.Addr) (try *Try, wait time.Duration, ended chan struct{}, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.cfg.Now()
	try = &Try{t: t, who: pair{account, network(from)}}
	if r := t.pairs[try.who]; r != nil && now.Sub(r.login) < t.cfg.Remember {
		try.known = r
	} else {
		try.account = recordOf(t, t.accounts, account, now)
		if from.IsValid() && !t.trusted(from) {
			try.address = recordOf(t, t.addresses, try.who.address, now)
		}
	}
	if ended := t.full(try.account, t.cfg.AccountFree); ended != nil {
		return nil, 0, ended, nil
	}
	if ended := t.full(try.known, t.cfg.AddressFree); ended != nil {
		return nil, 0, ended, nil
	}
	at := now
	for _, r := range try.records() {
		if r.next.After(at) {
			at = r.next
		}
	}
	if wait = at.Sub(now); wait > t.cfg.Patience {
		return nil, 0, nil, mail.Errorf(mail.KindTemporary, "too many failed logins: try again in %s", wait.Round(time.Second))
	}
	t.take(try.account, at, t.cfg.AccountFree, t.cfg.AccountDelay)
	t.take(try.known, at, t.cfg.AddressFree, knownDelay)
	// Tries that go on are not counted against an address, which may be a whole office.
	t.take(try.address, at, t.cfg.AddressFree+underWay(try.address), t.cfg.AddressDelay)
	return try, wait, nil, nil
}

// full returns what is closed when one of a record's tries ends, where no more
// may go on beside them; else nil.
func (t *Throttle) full(r *record, limit int) chan struct{} {
	if r == nil || r.under < limit {
		return nil
	}
	if r.ended == nil {
		r.ended = make(chan struct{})
	}
	return r.ended
}

func underWay(r *record) int {
	if r == nil {
		return 0
	}
	return r.under
}

// take gives a record's turn away and puts off its next one. A record that has
// less than free failures has turns at any time.
func (t *Throttle) take(r *record, at time.Time, free int, longest time.Duration) {
	if r == nil {
		return
	}
	if beyond := t.failures(r, t.cfg.Now()) + float64(r.under) - float64(free); beyond >= 0 {
		r.next = at.Add(time.Duration(min(float64(time.Second)*math.Pow(2, min(beyond, 30)), float64(longest))))
	}
	r.under++
}

// failures returns how many failures of a record are remembered.
func (t *Throttle) failures(r *record, now time.Time) float64 {
	return r.failures * math.Exp2(-float64(now.Sub(r.at))/float64(t.cfg.Forget))
}

// records returns the records that the try counts for.
func (y *Try) records() []*record {
	return slices.DeleteFunc([]*record{y.account, y.address, y.known}, func(r *record) bool { return r == nil })
}

// end ends the try once and calls fn under the lock.
func (y *Try) end(fn func(now time.Time)) {
	t := y.t
	t.mu.Lock()
	defer t.mu.Unlock()
	if y.ended {
		return
	}
	y.ended = true
	for _, r := range y.records() {
		r.under--
		if r.ended != nil {
			close(r.ended)
			r.ended = nil
		}
	}
	if fn != nil {
		fn(t.cfg.Now())
	}
}

// Abandon ends a try of which nobody knows whether it was right.
func (y *Try) Abandon() { y.end(nil) }

// Succeeded ends a try that was right: the address is known from now on.
func (y *Try) Succeeded() {
	y.end(func(now time.Time) {
		r := recordOf(y.t, y.t.pairs, y.who, now)
		*r = record{at: now, login: now, under: r.under, ended: r.ended}
	})
}

// Failed ends a try with a wrong password, of which fingerprint tells it from others.
func (y *Try) Failed(fingerprint uint64) {
	y.end(func(now time.Time) {
		first := y.records()[0]
		if first.last == fingerprint && fingerprint != 0 {
			return
		}
		first.last = fingerprint
		for _, r := range y.records() {
			r.failures = y.t.failures(r, now) + 1
			r.at = now
		}
		y.tell(now)
	})
}

// tell logs that tries begin to be delayed.
func (y *Try) tell(now time.Time) {
	t := y.t
	check := func(r *record, free int, what, value string) {
		if r == nil {
			return
		}
		delayed := t.failures(r, now) >= float64(free)
		if delayed && !r.told {
			t.cfg.Log.Warn("logins are delayed: too many have failed", what, value)
		}
		r.told = delayed
	}
	check(y.account, t.cfg.AccountFree, "login", y.who.account)
	check(y.address, t.cfg.AddressFree, "remote", y.who.address.String())
}

// trusted tells whether an address stands for many people.
func (t *Throttle) trusted(a netip.Addr) bool {
	return slices.ContainsFunc(t.cfg.Trusted, func(p netip.Prefix) bool { return p.Contains(a.Unmap()) })
}

// network returns what addresses are counted by.
func network(a netip.Addr) netip.Prefix {
	if !a.IsValid() {
		return netip.Prefix{}
	}
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// sample is how many records are looked at to find one to forget.
const sample = 16

// recordOf returns a key's record, made where there is none, in the place of
// another one where there is no room: of some, the one with the least failures,
// of those the oldest.
func recordOf[K comparable](t *Throttle, m map[K]*record, key K, now time.Time) *record {
	if r := m[key]; r != nil {
		return r
	}
	if len(m) >= t.cfg.Entries {
		var worst K
		var least *record
		looked := 0
		for k, r := range m {
			if least == nil || r.under <= least.under && (t.failures(r, now) < t.failures(least, now)-0.5 || r.at.Before(least.at)) {
				worst, least = k, r
			}
			if looked++; looked == sample {
				break
			}
		}
		delete(m, worst)
	}
	r := &record{at: now}
	m[key] = r
	return r
}
