package imap

import (
	"context"
	"sync"
	"time"

	"expost/internal/migrate"
)

// quiet is until when a server wants a login to be left alone. Exchange reckons for
// the login, not for the mailbox: users that come by the password of an
// administrator share one quiet, a user with a password of its own has its own. It
// is safe for concurrent use.
type quiet struct {
	mu    sync.Mutex
	until time.Time // monotonic: the clock may be set meanwhile
}

// quietOf returns that of a user.
func (s *Source) quietOf(u migrate.User) *quiet {
	if u.Password != "" {
		return &quiet{}
	}
	return s.quiet
}

// ask keeps that the server asks to be left alone from now on for d.
func (q *quiet) ask(d time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if until := time.Now().Add(d); until.After(q.until) {
		q.until = until
	}
}

// wait waits until the server may be asked again.
func (q *quiet) wait(ctx context.Context) error {
	for {
		q.mu.Lock()
		d := time.Until(q.until)
		q.mu.Unlock()
		if d <= 0 {
			return ctx.Err()
		}
		if err := wait(ctx, d); err != nil {
			return err
		}
	}
}

// rest keeps to what a server asks for.
func (a *account) rest(ctx context.Context, d time.Duration) error {
	a.cfg.Log.Info("the source asks to wait", "source", a.user.Source, "for", d)
	if a.onWait != nil {
		a.onWait(d)
	}
	a.quiet.ask(d)
	return a.quiet.wait(ctx)
}
