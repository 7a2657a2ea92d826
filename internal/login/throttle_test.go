package login

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"expost/internal/mail"
)

// clock is a clock that a Throttle's waits move.
type clock struct {
	now  time.Time
	wait time.Duration // of the last try
}

func (c *clock) throttle(log *strings.Builder) *Throttle {
	c.now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return NewThrottle(ThrottleConfig{
		Now:     func() time.Time { return c.now },
		Sleep:   func(_ context.Context, d time.Duration) error { c.wait += d; c.now = c.now.Add(d); return nil },
		Entries: 1000, Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		Log: slog.New(slog.NewTextHandler(log, nil)),
	})
}

// try makes a try and returns how long it waited; negative: it was refused.
func (c *clock) try(t *testing.T, th *Throttle, account, from string, password string) time.Duration {
	t.Helper()
	c.wait = 0
	y, err := th.Begin(t.Context(), account, netip.MustParseAddr(from))
	if err != nil {
		if mail.KindOf(err) != mail.KindTemporary {
			t.Fatalf("refused with %v", err)
		}
		return -1
	}
	if password == "right" {
		y.Succeeded()
	} else {
		d := Door{}
		y.Failed(d.fingerprint(account, password))
	}
	return c.wait
}

func TestDelaysGrow(t *testing.T) {
	t.Parallel()
	var c clock
	var log strings.Builder
	th := c.throttle(&log)
	var waits []time.Duration
	for i := range 12 {
		waits = append(waits, c.try(t, th, "ajay", fmt.Sprintf("192.0.2.%d", i), fmt.Sprint("guess", i)))
	}
	// Five are free; what the sixth waits for was set by the fifth try's failure.
	want := []time.Duration{0, 0, 0, 0, 0, 0, 1, 2, 4, 8, -1, -1}
	for i, w := range want {
		got := waits[i]
		if w < 0 && got >= 0 || w == 0 && got != 0 || w > 0 && (got < w*time.Second*8/10 || got > w*time.Second) {
			t.Errorf("try %d waited %v, want about %v s (all: %v)", i, got, w, waits)
		}
	}
	if n := strings.Count(log.String(), "logins are delayed"); n != 1 || !strings.Contains(log.String(), "login=ajay") {
		t.Errorf("the log says %q", log.String())
	}
	c.now = c.now.Add(2 * time.Hour)
	if w := c.try(t, th, "ajay", "192.0.2.77", "guess"); w != 0 {
		t.Errorf("two hours later a try waits %v", w)
	}
}

func TestKnownAddressIsNotLockedOut(t *testing.T) {
	t.Parallel()
	var c clock
	th := c.throttle(new(strings.Builder))
	const home = "2001:db8:1:2::aaaa"
	if w := c.try(t, th, "ajay", home, "right"); w != 0 {
		t.Fatalf("the first login waits %v", w)
	}
	for i := range 5000 { // a thousand machines guess
		c.try(t, th, "ajay", fmt.Sprintf("203.0.%d.%d", i%250, i%200), fmt.Sprint("guess", i))
	}
	if w := c.try(t, th, "ajay", "198.51.100.1", "guess"); w >= 0 {
		t.Errorf("an unknown address waits %v and is not refused", w)
	}
	if w := c.try(t, th, "ajay", "2001:db8:1:2::bbbb", "right"); w != 0 { // the same /64
		t.Errorf("the owner waits %v at home", w)
	}
	// Guesses from the same network cost its owner seconds, not more.
	for i := range 100 {
		if w := c.try(t, th, "ajay", home, fmt.Sprint("inside", i)); w < 0 || w > knownDelay {
			t.Fatalf("guess %d at home waits %v", i, w)
		}
	}
	if w := c.try(t, th, "ajay", home, "right"); w < 0 || w > knownDelay {
		t.Errorf("the owner waits %v at home, beside a guesser", w)
	}
	c.now = c.now.Add(31 * 24 * time.Hour)
	th.mu.Lock()
	known := th.pairs[pair{"ajay", network(netip.MustParseAddr(home))}]
	old := c.now.Sub(known.login) >= th.cfg.Remember
	th.mu.Unlock()
	if !old {
		t.Error("an address is known for ever")
	}
}

func TestAddressesAreThrottled(t *testing.T) {
	t.Parallel()
	var c clock
	th := c.throttle(new(strings.Builder))
	spray := func(prefix string) (refused int) {
		for i := range 40 {
			if c.try(t, th, fmt.Sprint("user", i), fmt.Sprintf("%s%x", prefix, i+1), "Summer2026") < 0 {
				refused++
			}
		}
		return refused
	}
	if n := spray("2001:db8:9:9::"); n == 0 {
		t.Error("one password for many accounts from one /64 is never refused")
	}
	if n := c.try(t, th, "other", "2001:db8:9:a::1", "x"); n != 0 {
		t.Errorf("the neighbour waits %v", n)
	}
	for i := range 40 { // webmail
		if w := c.try(t, th, fmt.Sprint("web", i), "10.1.2.3", "Summer2026"); w != 0 {
			t.Fatalf("a trusted network waits %v", w)
		}
	}
}

func TestForgottenPhoneCountsOnce(t *testing.T) {
	t.Parallel()
	var c clock
	th := c.throttle(new(strings.Builder))
	for i := range 100 {
		if w := c.try(t, th, "ajay", "192.0.2.1", "the old password"); w != 0 {
			t.Fatalf("try %d with the same password waits %v", i, w)
		}
	}
	for i := range 30 { // without a fingerprint (SCRAM) every failure counts
		c.try(t, th, "anup", "192.0.2.2", "")
		_ = i
	}
	if w := c.try(t, th, "anup", "192.0.2.3", "right"); w >= 0 {
		t.Errorf("failed proofs do not count: waits %v", w)
	}
}

// Of guesses at the same time from many addresses only a few go on.
func TestParallelTriesTakeTurns(t *testing.T) {
	t.Parallel()
	c := clock{}
	th := c.throttle(new(strings.Builder))
	var under []*Try
	for i := range 1000 {
		try, _, ended, err := th.turn("ajay", netip.AddrFrom4([4]byte{192, 0, byte(i / 250), byte(i % 250)}))
		if err != nil {
			t.Fatal(err)
		}
		if ended == nil {
			under = append(under, try)
		}
	}
	if len(under) != th.cfg.AccountFree {
		t.Fatalf("%d of 1000 tries at once are let at the account", len(under))
	}
	for i, y := range under {
		y.Failed(uint64(i + 1))
	}
	if _, wait, _, err := th.turn("ajay", netip.MustParseAddr("192.0.2.1")); err != nil || wait != 0 {
		t.Errorf("the next try: %v %v", wait, err)
	}
	if _, wait, _, err := th.turn("ajay", netip.MustParseAddr("192.0.2.1")); err != nil || wait == 0 {
		t.Errorf("the one behind it waits %v, %v", wait, err)
	}
}

// A program that opens many connections at once, of an account that nobody knows
// yet, is let in at once.
func TestManyRightLoginsAtOnce(t *testing.T) {
	t.Parallel()
	th := NewThrottle(ThrottleConfig{Sleep: func(context.Context, time.Duration) error { return errors.New("a delay") }})
	var group sync.WaitGroup
	for range 200 {
		group.Go(func() {
			y, err := th.Begin(t.Context(), "ajay", netip.MustParseAddr("192.0.2.1"))
			if err != nil {
				t.Error(err)
				return
			}
			runtime.Gosched()
			y.Succeeded()
		})
	}
	group.Wait()
	if r := th.accounts["ajay"]; r.under != 0 || r.failures != 0 {
		t.Errorf("left behind: %+v", r)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	var c clock
	th := c.throttle(new(strings.Builder))
	for i := range 9 {
		c.try(t, th, "victim", "192.0.2.1", fmt.Sprint("guess", i))
	}
	for i := range 20_000 {
		from := netip.AddrFrom4([4]byte{198, byte(i >> 16), byte(i >> 8), byte(i)}).String()
		password := "wrong"
		if i%2 == 0 {
			password = "right"
		}
		c.try(t, th, fmt.Sprint("account", i), from, password)
	}
	if len(th.accounts) > 1000 || len(th.addresses) > 1000 || len(th.pairs) > 1000 {
		t.Errorf("%d accounts, %d addresses, %d pairs are remembered, want 1000 at most", len(th.accounts), len(th.addresses), len(th.pairs))
	}
	if th.accounts["victim"] == nil {
		t.Error("the account under attack was forgotten before those with one failure")
	}
}

func TestSessions(t *testing.T) {
	t.Parallel()
	s := &Sessions{PerAccount: 3, PerAddress: 2, Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	a, b, web := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("10.0.0.1")
	enter := func(from netip.Addr, want bool) func() {
		t.Helper()
		leave, err := s.enter("example.org/ajay", from)
		if (err == nil) != want || err != nil && mail.KindOf(err) != mail.KindTemporary {
			t.Errorf("entering from %v: %v", from, err)
		}
		return leave
	}
	one := enter(a, true)
	enter(a, true)
	enter(a, false)
	three := enter(b, true)
	enter(web, false)
	three()
	three() // once is enough
	enter(web, true)
	enter(b, false)
	one()
	enter(a, true)
	if _, err := s.enter("example.org/anup", a); err != nil {
		t.Errorf("another account: %v", err)
	}
}
