package migrate

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"expost/internal/mail"
)

// Removals says what happens at the target to copies of items that vanished
// at the source.
type Removals uint8

// The ways to treat vanished items.
const (
	RemoveGuarded Removals = iota // removed, but never half of a folder or more at once (of guardMin or more)
	RemoveAll                     // removed
	RemoveNone                    // kept
)

// guardMin is the number of vanished items from which RemoveGuarded looks.
const guardMin = 10

// Options of a run. Zero values mean the defaults named beside them.
type Options struct {
	Workers  int // accounts at once: 8
	Removals Removals
	Progress Progress         // nobody is told
	Log      *slog.Logger     // nothing is logged
	Delays   []time.Duration  // before an account is tried again after a lost source: 2 s, 10 s, 60 s
	Pace     Pace             // its Workers are those above
	Turns    *Turns           // shared with other runs; its own
	Host     string           // the source, in Turns
	Exclude  []string         // names of folders that are left out, with "*" and "?", without regard to case
	Now      func() time.Time // the clock, which somebody may set at any time; time.Now
}

// withDefaults returns o with its zero fields set.
func (o Options) withDefaults() Options {
	if o.Workers <= 0 {
		o.Workers = 8
	}
	if o.Progress == nil {
		o.Progress = silent{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Turns == nil {
		o.Turns = NewTurns()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Delays == nil {
		o.Delays = []time.Duration{2 * time.Second, 10 * time.Second, time.Minute}
	}
	return o
}

// Engine carries out passes. Its methods are not for concurrent use.
type Engine struct {
	source  Source
	target  Target
	ledger  *Ledger
	aside   aside
	opt     Options
	spools  chan *job // for the spoolers of the present run
	pacer   *pacer
	quiet   time.Time // an earlier run was asked to leave the source alone until then
	buffers sync.Pool // of *bytes.Buffer
	login   sharedLogin
}

// NewEngine returns an engine that copies from source to target and keeps its
// memory in ledger.
func NewEngine(source Source, target Target, ledger *Ledger, opt Options) *Engine {
	opt = opt.withDefaults()
	opt.Pace.Workers = opt.Workers
	ledger.now = opt.Now
	return &Engine{
		source: source, target: target, ledger: ledger, opt: opt, pacer: newPacer(opt), aside: aside{ledger.Path() + ".aside"},
		buffers: sync.Pool{New: func() any { return new(bytes.Buffer) }},
	}
}

// Result is what a pass did with one account.
type Result struct {
	User    User
	Copied  int      // sent to the target
	There   int      // found at the target
	Updated int      // flags changed
	Moved   int      // moved or copied at the source to another folder, and at the target
	Removed int      // vanished at the source and removed at the target
	Aside   int      // set aside
	Bytes   int64    // of Copied
	Damage  []string // parts of the source that could not be read; what was read of them was copied
	Err     error    // why the pass did not end, or what was left out
}

// spoolersPerCore is more than one, because making a large message ready ends
// with a wait for the disk.
const spoolersPerCore = 2

// Run carries out one pass over the accounts, several at a time. What goes
// wrong with one account or item is in the results and the ledger and stops
// nothing else; the error is that of the ledger, or of ctx.
func (e *Engine) Run(ctx context.Context, users []User) ([]Result, error) {
	e.opt.Progress.Accounts(len(users))
	if err := e.ledger.enter(ctx, users); err != nil {
		return nil, err
	}
	if err := e.recall(ctx); err != nil {
		return nil, err
	}
	stop := e.startSpoolers(ctx)
	results := make([]Result, len(users))
	turns := byTarget(users)
	err := each(ctx, e.opt.Workers, len(turns), func(ctx context.Context, n int) error {
		for _, i := range turns[n] {
			var err error
			if results[i], err = e.account(ctx, users[i]); err != nil {
				return err
			}
		}
		return nil
	})
	return results, errors.Join(err, stop())
}

// startSpoolers starts what makes messages ready for the target.
func (e *Engine) startSpoolers(ctx context.Context) (stop func() error) {
	spools := make(chan *job)
	e.spools = spools
	var spoolers errgroup.Group
	for range spoolersPerCore * runtime.GOMAXPROCS(0) {
		spoolers.Go(func() error {
			for j := range spools {
				j.spool(ctx, e.target)
			}
			return nil
		})
	}
	return func() error {
		close(spools)
		return spoolers.Wait()
	}
}

// each calls fn with 0..n-1, at most workers at a time, until one fails.
func each(ctx context.Context, workers, n int, fn func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(workers)
	for i := range n {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return fn(ctx, i)
		})
	}
	return group.Wait()
}

// byTarget groups the indexes of users that have one target, because an
// account is written by one pass at a time.
func byTarget(users []User) [][]int {
	var turns [][]int
	at := map[string]int{}
	for i, u := range users {
		n, ok := at[u.Target.Key()]
		if !ok {
			n = len(turns)
			at[u.Target.Key()] = n
			turns = append(turns, nil)
		}
		turns[n] = append(turns[n], i)
	}
	return turns
}

// account carries out a pass over one account, trying again where the source
// was lost. The error is one that ends the run.
func (e *Engine) account(ctx context.Context, u User) (res Result, err error) {
	res = Result{User: u}
	row, err := e.ledger.account(ctx, u)
	if err != nil {
		return res, err
	}
	if err := e.pacer.enter(ctx); err != nil {
		return res, err
	}
	defer func() { e.pacer.leave(res.Err == nil) }()
	if err := e.patience(ctx, row); err != nil {
		return res, err
	}
	if row.stage == StageCutting || row.stage == StageReturning {
		row.stage = StageMoved // whichever it is, nothing that users did at the target may be undone
	}
	row.pass++
	if err := e.ledger.begin(ctx, row); err != nil {
		return res, err
	}
	res.Err = e.attempts(ctx, row, &res)
	row.state, row.error = "done", ""
	if res.Err != nil {
		row.state, row.error = "failed", res.Err.Error()
		if ctx.Err() != nil {
			row.error = "stopped: the same command goes on"
		}
	}
	e.opt.Progress.Done(u, res)
	return res, errors.Join(e.ledger.finish(context.WithoutCancel(ctx), row, res.summary()), ctx.Err())
}

// attempts passes over an account until it ends or no further attempt makes
// sense. A folder at which the source is lost time after time is left out.
func (e *Engine) attempts(ctx context.Context, row accountRow, res *Result) error {
	lost := map[string]error{} // folders to leave out
	for attempt := 0; ; attempt++ {
		before := *res
		err := e.pass(ctx, row, res, lost)
		if err == nil || ctx.Err() != nil || !passing(err) {
			return err
		}
		if res.Copied > before.Copied || res.There > before.There || res.Moved > before.Moved {
			attempt = 0 // it got somewhere
		}
		if attempt >= len(e.opt.Delays) {
			fe, ok := errors.AsType[*folderError](err)
			if !ok || lost[fe.key] != nil {
				return err
			}
			lost[fe.key] = err
			attempt = -1
			continue
		}
		e.pacer.slower()
		e.opt.Log.Warn("trying the account again", "source", row.user.Source, "after", e.opt.Delays[attempt], "error", err)
		if !sleep(ctx, e.opt.Delays[attempt]) {
			return err
		}
	}
}

// passing tells whether an error may pass by itself.
func passing(err error) bool {
	switch mail.KindOf(err) {
	case mail.KindTemporary, mail.KindUnavailable, mail.KindConflict:
		return true
	}
	return false
}

// sleep waits, and returns false where ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Progress is told how a run goes, from many goroutines.
type Progress interface {
	// Accounts tells how many accounts there are, first of all.
	Accounts(n int)
	// Start tells how many items there are to look at in an account. It is called
	// again, and counting starts again, where the account is tried again.
	Start(u User, items int)
	// Step tells that n more items are settled, for which bytes were copied.
	Step(u User, n int, bytes int64)
	// Done tells that the account's pass has ended.
	Done(u User, r Result)
}

// silent is the Progress of nobody.
type silent struct{}

func (silent) Accounts(int)          {}
func (silent) Start(User, int)       {}
func (silent) Step(User, int, int64) {}
func (silent) Done(User, Result)     {}
