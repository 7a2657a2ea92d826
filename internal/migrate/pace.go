package migrate

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"expost/internal/mail"
)

// Pace says how hard a run may work. The zero Pace has no limits but Workers.
type Pace struct {
	Workers   int    // accounts at once, at most
	Bandwidth int64  // bytes a second from the source, all accounts together; 0: no limit
	Window    Window // when it works; outside it waits
}

// Window is a time of each day, from and to as minutes since midnight; it may
// go over midnight. The zero Window is always.
type Window struct{ From, To int }

// ParseWindow reads "22:00-06:00"; "" is always.
func ParseWindow(s string) (Window, error) {
	if s == "" {
		return Window{}, nil
	}
	from, to, ok := strings.Cut(s, "-")
	f, ferr := time.Parse("15:04", strings.TrimSpace(from))
	t, terr := time.Parse("15:04", strings.TrimSpace(to))
	if !ok || ferr != nil || terr != nil || f.Equal(t) {
		return Window{}, mail.Errorf(mail.KindInvalid, "%q is no time of the day like 22:00-06:00", s)
	}
	return Window{f.Hour()*60 + f.Minute(), t.Hour()*60 + t.Minute()}, nil
}

// Closed returns how long the window is closed at a time, 0 where it is open.
func (w Window) Closed(now time.Time) time.Duration {
	if w == (Window{}) {
		return 0
	}
	minute := now.Hour()*60 + now.Minute()
	open := minute >= w.From && minute < w.To
	if w.From > w.To {
		open = minute >= w.From || minute < w.To
	}
	if open {
		return 0
	}
	left := w.From - minute
	if left <= 0 {
		left += 24 * 60
	}
	return time.Duration(left)*time.Minute - time.Duration(now.Second())*time.Second
}

// ParseRate reads "10M", "500k" bytes a second; "" is 0, no limit.
func ParseRate(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	unit := int64(1)
	number := strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(strings.TrimSpace(s)), "/s"), "b")
	for suffix, n := range map[string]int64{"k": 1e3, "m": 1e6, "g": 1e9} {
		if rest, ok := strings.CutSuffix(number, suffix); ok {
			number, unit = rest, n
		}
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || n <= 0 {
		return 0, mail.Errorf(mail.KindInvalid, "%q is no number of bytes a second like 10M or 500k", s)
	}
	return int64(n * float64(unit)), nil
}

// Turns are shared by the runs of one process, so that runs with several plans
// do not together ask more of a source than one may. It is safe for concurrent use.
type Turns struct {
	mu     sync.Mutex
	change *sync.Cond
	hosts  map[string]*hostTurns
}

// hostTurns are those at one source.
type hostTurns struct {
	active int       // accounts
	due    time.Time // when the bytes that were taken are paid for
}

// NewTurns returns Turns of which nobody has taken any.
func NewTurns() *Turns {
	t := &Turns{hosts: map[string]*hostTurns{}}
	t.change = sync.NewCond(&t.mu)
	return t
}

// host returns the turns at a source.
func (t *Turns) host(name string) *hostTurns {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hosts[name] == nil {
		t.hosts[name] = &hostTurns{}
	}
	return t.hosts[name]
}

// pacer holds a run to its Pace. How many accounts it lets in at once follows
// the source: half as many after it asked to be left alone or was lost, one more
// after each account that went well.
type pacer struct {
	pace  Pace
	now   func() time.Time
	turns *Turns
	host  *hostTurns // under turns.mu
	limit float64    // accounts at once, now; under turns.mu
}

// newPacer returns the pacer of a run.
func newPacer(opt Options) *pacer {
	return &pacer{pace: opt.Pace, now: opt.Now, turns: opt.Turns, host: opt.Turns.host(opt.Host), limit: float64(opt.Pace.Workers)}
}

// enter waits for an account's turn.
func (p *pacer) enter(ctx context.Context) error {
	t := p.turns
	stop := context.AfterFunc(ctx, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.change.Broadcast()
	})
	defer stop()
	t.mu.Lock()
	for ctx.Err() == nil && p.host.active >= max(1, int(p.limit)) {
		t.change.Wait()
	}
	if err := ctx.Err(); err != nil {
		t.mu.Unlock()
		return err
	}
	p.host.active++
	t.mu.Unlock()
	if err := p.open(ctx); err != nil {
		p.leave(true)
		return err
	}
	return nil
}

// leave ends an account's turn, which went well or not.
func (p *pacer) leave(well bool) {
	p.turns.mu.Lock()
	defer p.turns.mu.Unlock()
	p.host.active--
	if well {
		p.limit = min(p.limit+1, float64(p.pace.Workers))
	}
	p.turns.change.Broadcast()
}

// slower is called when the source is at its limits.
func (p *pacer) slower() {
	p.turns.mu.Lock()
	defer p.turns.mu.Unlock()
	p.limit = max(1, p.limit/2)
}

// look is how often a wait looks at the clock again, which may have been set.
const look = time.Minute

// open waits until the window is open.
func (p *pacer) open(ctx context.Context) error {
	for {
		d := p.pace.Window.Closed(p.now())
		if d <= 0 {
			return ctx.Err()
		}
		if !sleep(ctx, min(d, look)) {
			return ctx.Err()
		}
	}
}

// take waits until n more bytes may have come.
func (p *pacer) take(ctx context.Context, n int) error {
	if p.pace.Bandwidth <= 0 || n <= 0 {
		return nil
	}
	const burst = 250 * time.Millisecond
	p.turns.mu.Lock()
	now := time.Now() // it goes on where the clock is set
	if p.host.due.Before(now.Add(-burst)) {
		p.host.due = now.Add(-burst)
	}
	p.host.due = p.host.due.Add(time.Duration(float64(n) / float64(p.pace.Bandwidth) * float64(time.Second)))
	d := p.host.due.Sub(now)
	p.turns.mu.Unlock()
	if d > 0 && !sleep(ctx, d) {
		return ctx.Err()
	}
	return nil
}

// reader returns r held to the bandwidth.
func (p *pacer) reader(ctx context.Context, r io.Reader) io.Reader {
	if p.pace.Bandwidth <= 0 {
		return r
	}
	return pacedReader{ctx, p, r}
}

// pacedReader is a reader held to the bandwidth.
type pacedReader struct {
	ctx context.Context
	p   *pacer
	r   io.Reader
}

// Read implements io.Reader.
func (r pacedReader) Read(b []byte) (int, error) {
	n, err := r.r.Read(b[:min(len(b), 32<<10)])
	if werr := r.p.take(r.ctx, n); werr != nil {
		return n, werr
	}
	return n, err
}

// Throttled is a SourceAccount that says when its server asks to be left alone.
type Throttled interface {
	// OnWait has fn called before each such wait.
	OnWait(fn func(d time.Duration))
}

// remember keeps in the ledger until when a source wants to be left alone, so
// that a run that is started again keeps to it.
func (p *pass) remember(ctx context.Context) {
	t, ok := p.src.(Throttled)
	if !ok {
		return
	}
	t.OnWait(func(d time.Duration) {
		p.pacer.slower()
		if err := p.ledger.setNotBefore(context.WithoutCancel(ctx), p.row.id, p.opt.Now().Add(d)); err != nil {
			p.opt.Log.Warn("keeping how long to leave the source alone", "error", err)
		}
	})
}

// maxPatience bounds how long a run waits because an earlier one was asked to;
// the clock may have been set back since.
const maxPatience = 15 * time.Minute

// patience waits until the source may be asked again. What it asked of one user it
// asked of all that have no password of their own: they come by one login.
func (e *Engine) patience(ctx context.Context, row accountRow) error {
	d := e.patienceFor(row.notBefore)
	if row.user.Password == "" {
		d = max(d, time.Until(e.quiet))
	}
	if d <= 0 {
		return nil
	}
	e.opt.Log.Info("the source asked to be left alone", "source", row.user.Source, "for", d.Round(time.Second))
	if !sleep(ctx, d) {
		return fmt.Errorf("waiting for the source: %w", ctx.Err())
	}
	return nil
}

// patienceFor returns how long the source is to be left alone that asked for it
// until a time of the clock.
func (e *Engine) patienceFor(until int64) time.Duration {
	if until == 0 {
		return 0
	}
	return min(time.Unix(until, 0).Sub(e.opt.Now()), maxPatience)
}

// recall finds what the source asked an earlier run for.
func (e *Engine) recall(ctx context.Context) error {
	until, err := e.ledger.latestNotBefore(ctx)
	e.quiet = time.Now().Add(e.patienceFor(until))
	return err
}
