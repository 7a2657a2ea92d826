package migrate

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestWindow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		window, now string
		want        time.Duration
	}{
		{"", "12:00", 0}, {"22:00-06:00", "23:00", 0}, {"22:00-06:00", "05:59", 0}, {"22:00-06:00", "06:00", 16 * time.Hour},
		{"22:00-06:00", "21:59", time.Minute}, {"08:00-17:30", "17:30", 14*time.Hour + 30*time.Minute}, {"08:00-17:30", "08:00", 0},
	} {
		w, err := ParseWindow(c.window)
		if err != nil {
			t.Fatal(err)
		}
		now, err := time.Parse("15:04", c.now)
		if err != nil {
			t.Fatal(err)
		}
		if got := w.Closed(now); got != c.want {
			t.Errorf("%s at %s is closed for %s, want %s", c.window, c.now, got, c.want)
		}
	}
	for _, bad := range []string{"22:00", "25:00-06:00", "06:00-06:00", "x-y"} {
		if _, err := ParseWindow(bad); err == nil {
			t.Errorf("%q is taken for a window", bad)
		}
	}
}

func TestRate(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"": 0, "500k": 500e3, "10M": 10e6, "1.5 MB/s": 15e5, "1g": 1e9, "800": 800} {
		if got, err := ParseRate(text); err != nil || got != want {
			t.Errorf("%q is %d, want %d: %v", text, got, want, err)
		}
	}
	for _, bad := range []string{"fast", "-1", "0"} {
		if _, err := ParseRate(bad); err == nil {
			t.Errorf("%q is taken for a rate", bad)
		}
	}
}

// TestWindowWaits also sets the clock while it waits.
func TestWindowWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clock := time.Date(2003, 5, 5, 12, 0, 0, 0, time.UTC)
		began := time.Now()
		jump := time.Duration(0)
		now := func() time.Time { return clock.Add(time.Since(began) + jump) }
		w, err := ParseWindow("22:00-06:00")
		if err != nil {
			t.Fatal(err)
		}
		p := newPacer(Options{Pace: Pace{Workers: 1, Window: w}, Now: now, Turns: NewTurns()})
		time.AfterFunc(time.Hour, func() { jump = 9 * time.Hour }) // somebody sets the clock to 22:00
		if err := p.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(began); waited < time.Hour || waited > time.Hour+look {
			t.Errorf("it waited %s", waited)
		}
		p.leave(true)
	})
}

func TestBandwidth(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(Options{Pace: Pace{Workers: 1, Bandwidth: 1000}, Now: time.Now, Turns: NewTurns()})
		began := time.Now()
		for range 100 {
			if err := p.take(t.Context(), 100); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took < 9*time.Second || took > 11*time.Second {
			t.Errorf("10,000 bytes at 1,000 a second took %s", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := p.take(ctx, 100000); !errors.Is(err, context.Canceled) {
			t.Errorf("a run that is stopped: %v", err)
		}
	})
}

func TestConcurrencyAdapts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(Options{Pace: Pace{Workers: 8}, Now: time.Now, Turns: NewTurns()})
		for range 8 {
			if err := p.enter(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		p.slower()
		p.slower() // 2 at once
		var entered atomic.Int64
		for range 3 {
			go func() {
				if p.enter(t.Context()) == nil {
					entered.Add(1)
				}
			}()
		}
		for range 6 {
			p.leave(false)
		}
		synctest.Wait()
		if entered.Load() != 0 {
			t.Errorf("%d came in where 2 are at work already", entered.Load())
		}
		p.leave(true) // it went well: 3 at once
		synctest.Wait()
		if entered.Load() != 2 {
			t.Errorf("%d came in, want 2", entered.Load())
		}
		p.leave(true)
		synctest.Wait()
		if entered.Load() != 3 {
			t.Errorf("%d came in, want 3", entered.Load())
		}
		if p.limit != 4 {
			t.Errorf("the limit is %v, want 4", p.limit)
		}
	})
}

func TestMatchName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"sync issues/*", "sync issues/conflicts", true}, {"sync issues/*", "sync issues", false}, {"*", "", true}, {"a?c", "aüc", true},
		{"a?c", "ac", false}, {"*issues", "sync issues", true}, {"contacts/{*}", "contacts/{06967759-274d}", true}, {"files", "files and more", false},
	} {
		if got := matchName(c.pattern, c.name); got != c.want {
			t.Errorf("%q matches %q: %t", c.pattern, c.name, got)
		}
	}
}

// TestTurnsAreShared has two runs at one source, and one at another: they wait for
// one another at the one, for accounts and for bytes.
func TestTurnsAreShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		turns := NewTurns()
		run := func(host string, workers int) *pacer {
			return newPacer(Options{Pace: Pace{Workers: workers, Bandwidth: 1000}, Now: time.Now, Turns: turns, Host: host})
		}
		first, second, elsewhere := run("a", 2), run("a", 3), run("b", 1)
		var entered atomic.Int64
		enter := func(p *pacer, n int) {
			for range n {
				go func() {
					if p.enter(t.Context()) == nil {
						entered.Add(1)
					}
				}()
			}
			synctest.Wait()
		}
		enter(first, 2)
		enter(second, 2)
		enter(elsewhere, 1)
		if n := entered.Load(); n != 4 { // two and one at a, one at b
			t.Errorf("%d are at work, want 4", n)
		}
		first.leave(true)
		synctest.Wait()
		if n := entered.Load(); n != 5 {
			t.Errorf("%d have come in, want 5", n)
		}
		began := time.Now()
		for _, p := range []*pacer{first, second, first, second, elsewhere} {
			if err := p.take(t.Context(), 1000); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took < 3*time.Second || took > 5*time.Second {
			t.Errorf("4,000 bytes of two runs at 1,000 a second took %s", took)
		}
	})
}
