package migrate

import "context"

// CutoverOne is a cutover without the goroutines of Cutover, so that a test can
// panic in it.
func CutoverOne(ctx context.Context, e *Engine, u User, site Site) error {
	stop := e.startSpoolers(ctx)
	defer stop()
	if err := e.ledger.enter(ctx, []User{u}); err != nil {
		return err
	}
	row, err := e.ledger.account(ctx, u)
	if err != nil {
		return err
	}
	return e.cutover(ctx, row, site, &Move{})
}

// enterAccount makes an account's row, and fails behind it with err.
func (l *Ledger) enterAccount(name string, err error) func() error {
	return func() error {
		if werr := l.exec(`INSERT INTO account (source, target) VALUES (?, ?)`, name, name+"@example.org"); werr != nil {
			return werr
		}
		return err
	}
}

// Note writes an account in a write that may wait.
func (l *Ledger) Note(ctx context.Context, name string, err error) error {
	return l.note(ctx, l.enterAccount(name, err))
}

// Update writes an account in a write that is on disk when it returns.
func (l *Ledger) Update(ctx context.Context, name string, err error) error {
	return l.update(ctx, l.enterAccount(name, err))
}
