package migrate

import (
	"context"
	"sync"

	"expost/internal/mail"
)

// maxRefusals is how many accounts are tried with a password that the plan has
// for all of them, and that was right for none: directories lock a login at which
// somebody guesses.
const maxRefusals = 3

// sharedLogin is what is known of the password that a plan has for all accounts.
type sharedLogin struct {
	mu      sync.Mutex
	proven  bool // it was right for an account
	refused int  // accounts
}

// openSource opens an account of the source. Until the plan's own password was
// right once, accounts are opened one after the other.
func (e *Engine) openSource(ctx context.Context, u User) (SourceAccount, error) {
	if u.Password != "" {
		return e.source.Open(ctx, u)
	}
	l := &e.login
	l.mu.Lock()
	if l.proven {
		l.mu.Unlock()
		return e.source.Open(ctx, u)
	}
	defer l.mu.Unlock()
	if l.refused >= maxRefusals {
		return nil, mail.Errorf(mail.KindAuth, "not tried: the login of the plan was refused for %d accounts and taken for none, and it might be locked "+
			"(expost migrate preflight says more; with --user one can be tried by itself)", l.refused)
	}
	a, err := e.source.Open(ctx, u)
	switch {
	case err == nil:
		l.proven = true
	case mail.KindOf(err) == mail.KindAuth:
		l.refused++
	}
	return a, err
}
