package migrate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"expost/internal/mail"
)

// Rollback gives accounts back to the servers they came from. With a back, the
// old server as a target, it first makes the old server's mailbox what users have
// made of the one here (see carry); an account of which something cannot be
// carried stays here. Without a back, what came here since the cutover stays here
// only, and is counted.
func (e *Engine) Rollback(ctx context.Context, users []User, site Site, back Target) ([]Move, error) {
	return e.moves(ctx, users, func(ctx context.Context, row accountRow, m *Move) error { return e.rollback(ctx, row, site, back, m) })
}

// rollback gives one account back.
func (e *Engine) rollback(ctx context.Context, row accountRow, site Site, back Target, m *Move) error {
	id, host, err := site.Place(ctx, row.user.Target)
	if err != nil {
		return fmt.Errorf("looking up %s: %w", row.user.Target, err)
	}
	m.Before, m.After = host, host
	switch {
	case row.stage == StageReturning && host != "":
		m.Before, m.After, m.Done, m.Note = "", host, true, "a rollback that was interrupted had flipped it already"
		row.stage = StageCopying
		return errors.Join(e.reconcile(ctx, row), e.land(ctx, row, "rollback", m))
	case row.stage == StageCopying && host != "" && row.moved != 0:
		m.Done, m.Note = true, "it is back already"
		return nil
	case row.stage == StageCopying || host != "":
		return mail.Errorf(mail.KindInvalid, "%s has not been moved by this plan: there is nothing to roll back", row.user.Target)
	}
	row.stage = StageReturning
	if err := e.ledger.setStage(ctx, row); err != nil {
		return err
	}
	err = e.giveBack(ctx, id, &row, site, back, m)
	ctx = context.WithoutCancel(ctx)
	if !m.Done {
		row.stage = StageMoved
		return errors.Join(err, e.ledger.setStage(ctx, row))
	}
	return errors.Join(err, e.reconcile(ctx, row), e.land(ctx, row, "rollback", m))
}

// giveBack carries what is to be carried while the user works, and with the
// account frozen what has changed meanwhile; then it flips the mailHost.
func (e *Engine) giveBack(ctx context.Context, id mail.AccountID, row *accountRow, site Site, back Target, m *Move) (err error) {
	c, err := e.openCarry(ctx, *row, back, m)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := c.round(ctx); err != nil {
		return fmt.Errorf("carrying mail to the old server: %w", err)
	}
	waiting, cancel := context.WithTimeout(ctx, freezeTime)
	defer cancel()
	thaw, err := site.Freeze(waiting, id)
	if err != nil {
		return fmt.Errorf("freezing the account: %w", err)
	}
	defer thaw()
	began := time.Now()
	if err := c.round(ctx); err != nil {
		return fmt.Errorf("carrying mail to the old server: %w", err)
	}
	if err := site.SetHost(ctx, row.user.Target, row.host); err != nil {
		return fmt.Errorf("flipping the mailHost: %w", err)
	}
	m.After, m.Done, m.Gap = row.host, true, time.Since(began)
	row.stage, row.gap = StageCopying, m.Gap.Milliseconds()
	return nil
}

// reconcile brings the ledger level with what users did at the target while
// they worked there, so that the next passes bring the source's state over.
func (e *Engine) reconcile(ctx context.Context, account accountRow) (err error) {
	dst, err := e.target.Open(ctx, account.user)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	rows, err := e.ledger.folders(ctx, account.id)
	if err != nil {
		return err
	}
	for i := range rows {
		f := &rows[i]
		held := map[mail.UID]Item{}
		err := dst.Items(ctx, f.target, func(it Item) error { held[it.UID] = it; return nil })
		if err != nil && mail.KindOf(err) != mail.KindNotExist {
			return err
		}
		var changed []row
		for r, err := range e.ledger.allRows(ctx, f.id) {
			if err != nil {
				return err
			}
			if !r.state.placed() {
				continue
			}
			it, ok := held[r.UID]
			switch {
			case !ok:
				r.state, r.UID, r.verified = Seen, 0, false
			case it.Flags != r.Flags || it.Keywords != r.Keywords:
				r.Flags, r.Keywords = it.Flags, it.Keywords
			default:
				continue
			}
			changed = append(changed, r)
		}
		f.settled, f.since = false, State{Messages: -1}
		if err := e.ledger.putRows(ctx, f.id, changed); err != nil {
			return err
		}
		if err := e.ledger.putFolder(ctx, account.id, f); err != nil {
			return err
		}
	}
	return nil
}
