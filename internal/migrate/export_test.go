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
