package main

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"expost/internal/migrate"
)

// progress shows how a migration goes: bars on a terminal, now and then a line
// elsewhere.
type progress struct {
	out      io.Writer
	bars     *mpb.Progress // nil without a terminal
	total    *mpb.Bar
	accounts int
	start    time.Time

	mu     sync.Mutex
	active map[migrate.User]*share
	done   int // accounts
	items  int
	bytes  int64
	spoken time.Time // when the last line was written

	line atomic.Pointer[string] // what the bar of the total says; its goroutine may not wait for mu
}

// share is what is known of one account.
type share struct {
	items, of int
	bar       *mpb.Bar
}

var _ migrate.Progress = (*progress)(nil)

// lineEvery is the time between lines where there is no terminal.
const lineEvery = 10 * time.Second

// newProgress returns a progress that shows nothing yet. Close it.
func newProgress(a *app) *progress {
	now := time.Now()
	p := &progress{out: a.stderr, start: now, spoken: now, active: map[migrate.User]*share{}}
	if !a.terminal || a.json {
		return p
	}
	width := a.width
	if width <= 0 {
		width = 80
	}
	p.bars = mpb.New(mpb.WithOutput(a.stderr), mpb.WithAutoRefresh(), mpb.WithWidth(min(width/3, 50)))
	return p
}

// Accounts implements migrate.Progress.
func (p *progress) Accounts(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.accounts = n
	if p.bars == nil {
		return
	}
	p.total = p.bars.AddBar(int64(n*1000),
		mpb.BarPriority(1<<20), mpb.BarRemoveOnComplete(),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string {
			if line := p.line.Load(); line != nil {
				return *line
			}
			return ""
		})))
}

// Start implements migrate.Progress.
func (p *progress) Start(u migrate.User, items int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.active[u]
	if s == nil {
		s = &share{}
		p.active[u] = s
	}
	s.items, s.of = 0, items
	if p.bars == nil || items == 0 {
		return
	}
	if s.bar == nil {
		s.bar = p.bars.AddBar(int64(items), mpb.BarRemoveOnComplete(),
			mpb.PrependDecorators(decor.Name(string(u.Target), decor.WC{W: 30, C: decor.DindentRight}), decor.CountersNoUnit("%d/%d", decor.WC{W: 16})),
			mpb.AppendDecorators(decor.Percentage(decor.WC{W: 5})))
	}
	s.bar.SetTotal(int64(items), false)
	s.bar.SetCurrent(0)
}

// Step implements migrate.Progress.
func (p *progress) Step(u migrate.User, n int, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.items += n
	p.bytes += bytes
	if s := p.active[u]; s != nil {
		s.items += n
		if s.bar != nil {
			s.bar.IncrBy(n)
		}
	}
	p.show()
}

// Done implements migrate.Progress.
func (p *progress) Done(u migrate.User, _ migrate.Result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done++
	if s := p.active[u]; s != nil && s.bar != nil {
		s.bar.Abort(true)
	}
	delete(p.active, u)
	p.show()
}

// Write writes a line of the log, above the bars where there are any.
func (p *progress) Write(line []byte) (int, error) {
	if p.bars != nil {
		return p.bars.Write(line)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(line)
}

// Close takes the bars away.
func (p *progress) Close() {
	if p.bars == nil {
		return
	}
	if p.total != nil {
		p.total.Abort(true)
	}
	p.bars.Wait()
}

// fraction returns what part of everything is done, 0 to 1. p.mu is held.
func (p *progress) fraction() float64 {
	done := float64(p.done)
	for _, s := range p.active {
		if s.of > 0 {
			done += min(1, float64(s.items)/float64(s.of))
		}
	}
	return done / float64(max(1, p.accounts))
}

// show moves the bar of the total, or writes a line when it is time to. p.mu
// is held.
func (p *progress) show() {
	now := time.Now()
	if p.total == nil && now.Sub(p.spoken) < lineEvery {
		return
	}
	p.spoken = now
	line := p.text(now)
	if p.total == nil {
		fmt.Fprintln(p.out, line)
		return
	}
	p.line.Store(&line)
	p.total.SetCurrent(int64(p.fraction() * float64(p.accounts) * 1000))
}

// text says how far it is and guesses the time that is left from the part that
// is done. p.mu is held.
func (p *progress) text(now time.Time) string {
	passed := now.Sub(p.start)
	seconds := max(0.001, passed.Seconds())
	left := "remaining time not known yet"
	if part := p.fraction(); part >= 0.005 {
		left = time.Duration(float64(passed)*(1-part)/part).Round(time.Second).String() + " left"
	}
	return fmt.Sprintf("%d of %d accounts, %d messages, %.0f/s, %.1f MB/s, %s",
		p.done, p.accounts, p.items, float64(p.items)/seconds, float64(p.bytes)/seconds/1e6, left)
}
