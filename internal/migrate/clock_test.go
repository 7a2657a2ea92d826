package migrate_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/migratetest"
)

// clock is a clock on the wall, which somebody sets.
type clock struct{ off atomic.Int64 }

func (c *clock) now() time.Time      { return time.Now().Add(time.Duration(c.off.Load())) }
func (c *clock) set(d time.Duration) { c.off.Add(int64(d)) }

// backoff is Exchange's five minutes.
const backoff = 299961 * time.Millisecond

// TestThrottledForFiveMinutes is sent away for five minutes at a login, at a
// listing and at a message, with the connection ended: it comes back when it may,
// not before, and not much later, whatever the clock is set to meanwhile.
func TestThrottledForFiveMinutes(t *testing.T) {
	t.Parallel()
	for name, prefix := range map[string]string{"login": "LOGIN", "listing": "LIST", "opening": "EXAMINE", "message": "UID FETCH"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var until time.Time // guarded by the server, which calls Command for one session at a time
				away, early := 0, 0
				ended := false
				wall := &clock{}
				b := newClockBench(t, wall.now, migratetest.Quirks{Command: func(_ int, line string) string {
					switch {
					case ended: // what follows a BAD of Exchange's is the end of the connection
						ended = false
						return "drop"
					case time.Now().Before(until):
						early++
					case strings.HasPrefix(line, prefix) && away < 3:
						away++
						by := []time.Duration{-24 * time.Hour, 366 * 24 * time.Hour, -365 * 24 * time.Hour}[away-1]
						time.AfterFunc(time.Minute, func() { wall.set(by) })
						until, ended = time.Now().Add(backoff), name == "message"
						return "BAD Request is throttled. Suggested Backoff Time: 299961 milliseconds"
					}
					return ""
				}}, box("INBOX", 1, messages(50, 1, 1)), box("Sent", 2, messages(5, 1, 1)))
				began := time.Now()
				if r := b.run(t); r.Err != nil || r.Copied != 55 || r.Aside != 0 {
					t.Errorf("the pass: %+v", r)
				}
				if took := time.Since(began); away != 3 || took < 3*backoff || took > 3*backoff+time.Minute {
					t.Errorf("%d waits took %s", away, took)
				}
				if early > 0 {
					t.Errorf("%d commands came while the server was to be left alone", early)
				}
				b.check(t, "INBOX", messages(50, 1, 1))
			})
		})
	}
}

// TestThrottlingIsRemembered stops a run while it waits; the next one waits on,
// for what is left, and for minutes at most where the clock was set meanwhile.
func TestThrottlingIsRemembered(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ set, least, most time.Duration }{
		"at once":                   {0, 4*time.Minute - time.Second, 4 * time.Minute},
		"the clock went back a day": {-24 * time.Hour, 15 * time.Minute, 15 * time.Minute},
		"the clock went on a year":  {365 * 24 * time.Hour, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				wall := &clock{}
				ctx, cancel := context.WithCancel(t.Context())
				throttle := true
				b := newClockBench(t, wall.now, migratetest.Quirks{Command: func(_ int, line string) string {
					if strings.Contains(line, "BODY.PEEK") && throttle {
						throttle = false
						time.AfterFunc(time.Minute, cancel)
						return "BAD Request is throttled. Suggested Backoff Time: 299961 milliseconds"
					}
					return ""
				}}, box("INBOX", 1, messages(5, 1, 1)))
				if _, err := b.engine.Run(ctx, []migrate.User{b.user}); err == nil {
					t.Fatal("the run was not stopped")
				}
				wall.set(c.set)
				b.restart()
				began := time.Now()
				if r := b.run(t); r.Err != nil || r.Copied != 5 {
					t.Errorf("the second run: %+v", r)
				}
				if took := time.Since(began); took < c.least-time.Second || took > c.most+time.Second {
					t.Errorf("it waited %s, want %s to %s", took, c.least, c.most)
				}
			})
		})
	}
}

// TestThrottlingIsShared throttles one of six users, who all come by the login of
// an administrator: none of them sends anything before the five minutes are over,
// neither by a connection that is open nor by a new one, nor behind a restart. Users
// with logins of their own go on meanwhile.
func TestThrottlingIsShared(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ own, stopped bool }{"one login": {}, "and a restart": {stopped: true}, "logins of their own": {own: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var asked, until time.Time // guarded by the server
				commands, early := 0, 0
				ctx, stop := context.WithCancel(t.Context())
				b := newClockBench(t, time.Now, migratetest.Quirks{Command: func(_ int, line string) string {
					now := time.Now()
					if now.After(asked.Add(15*time.Second)) && now.Before(until) && line != "LOGOUT" { // what was on its way then is not early
						early++
					}
					if commands++; commands < 60 || !asked.IsZero() || !strings.Contains(line, "BODY.PEEK") {
						return ""
					}
					asked, until = now, now.Add(backoff)
					if c.stopped {
						time.AfterFunc(time.Minute, stop)
					}
					return "BAD Request is throttled. Suggested Backoff Time: 299961 milliseconds"
				}}, box("INBOX", 1, messages(900, 1, 1)), box("Sent", 2, messages(50, 1, 1)))
				b.options.Workers, b.options.Pace.Bandwidth = 3, 50_000
				b.engine = b.engineInto(b.spool)
				var users []migrate.User
				for i := range 6 {
					u := migrate.User{Source: fmt.Sprintf("u%d@example.org", i), Target: mail.Address(fmt.Sprintf("u%d@example.org", i))}
					if c.own {
						u.Password = "secret"
					}
					users = append(users, u)
				}
				began := time.Now()
				results, err := b.engine.Run(ctx, users)
				if c.stopped {
					b.restart()
					results, err = b.engine.Run(t.Context(), users)
				}
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range results {
					if r.Err != nil {
						t.Errorf("%s: %+v", r.User.Source, r)
					}
				}
				b.checkSums(t, 6*950, 0)
				if c.own != (early > 0) || asked.IsZero() {
					t.Errorf("%d commands came while the server was to be left alone", early)
				}
				if took := time.Since(began); took > 12*time.Minute {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
}

// TestSourceAwayForAnHour loses the source in the middle of a pass: that pass ends
// and says so; the next one, an hour later, goes on where it was.
func TestSourceAwayForAnHour(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var away atomic.Bool
		bodies := 0
		b := newClockBench(t, time.Now, migratetest.Quirks{
			Connect: func(int) bool { return !away.Load() },
			Fetch: func(_ migratetest.Message, whole bool) (string, bool) {
				if whole {
					bodies++
				}
				return "", whole && (bodies == 500 || away.Load())
			},
			Command: func(int, string) string {
				if bodies == 500 {
					away.Store(true)
				}
				return map[bool]string{true: "drop"}[away.Load()]
			},
		}, box("INBOX", 1, messages(900, 1, 1)), box("Sent", 2, messages(5, 1, 1)))
		began := time.Now()
		first := b.run(t)
		if first.Err == nil || first.Copied == 0 || first.Copied >= 905 {
			t.Errorf("the pass that lost the source: %+v", first)
		}
		if took := time.Since(began); took < time.Minute || took > 10*time.Minute {
			t.Errorf("it tried for %s", took)
		}
		<-time.After(time.Until(began.Add(time.Hour)))
		bodies = 1000
		away.Store(false)
		if r := b.run(t); r.Err != nil || first.Copied+r.Copied+r.Moved != 905 || r.There != 0 {
			t.Errorf("before %+v, an hour later %+v", first, r)
		}
		b.check(t, "INBOX", messages(900, 1, 1))
		b.checkSums(t, 905, 0)
	})
}

// TestClockJumps sets the clock back and on in the middle of everything: nothing
// is lost or doubled, nothing waits for hours, and the ledger stays proof.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	for name, by := range map[string]time.Duration{"back a day": -24 * time.Hour, "on a year": 365 * 24 * time.Hour, "before 1970": -100 * 365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				wall := &clock{}
				commands := 0
				b := newClockBench(t, wall.now, migratetest.Quirks{Command: func(int, string) string {
					if commands++; commands%5 == 0 {
						wall.set(by)
						by = -by // and set right again
					}
					return ""
				}}, box("INBOX", 11, messages(300, 1, 1)), box("Sent", 12, messages(20, 1, 1)))
				began := time.Now()
				if r := b.run(t); r.Err != nil || r.Copied != 320 {
					t.Errorf("the first pass: %+v", r)
				}
				b.server.Change(func(boxes []*migratetest.Box) {
					boxes[0].Messages = append(boxes[0].Messages[10:], messages(5, 301, 1)...)
					boxes[0].UIDNext = 306
				})
				if r := b.run(t); r.Err != nil || r.Copied != 5 || r.Removed != 10 {
					t.Errorf("the second pass: %+v", r)
				}
				s := newSite()
				s.setHost = func(string) error { wall.set(by); return nil }
				if m := b.move(t, s); !m.Done || m.Copied+m.Removed != 0 || m.Gap < 0 || m.Gap > time.Minute {
					t.Errorf("the cutover: %+v", m)
				}
				want := append(messages(300, 1, 1)[10:], messages(5, 301, 1)...)
				b.check(t, "INBOX", want)
				if moves, err := b.engine.Rollback(t.Context(), []migrate.User{b.user}, s.site(), nil); err != nil || !moves[0].Done || moves[0].Gap < 0 {
					t.Errorf("the rollback: %+v, %v", moves, err)
				}
				if r := b.run(t); r.Err != nil || r.Copied+r.There+r.Removed+r.Updated != 0 {
					t.Errorf("the pass behind it: %+v", r)
				}
				report := b.checkSums(t, 315, 0)
				if report.Accounts[0].Seconds < 0 || report.Accounts[0].Gap < 0 {
					t.Errorf("the report says %+v", report.Accounts[0])
				}
				if _, err := b.ledger.Chain(t.Context(), nil); err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took > time.Hour {
					t.Errorf("all this took %s", took)
				}
			})
		})
	}
}
