package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/ncruces/go-sqlite3"

	"expost/internal/mail"
)

// Rollback gives accounts back to the servers they came from. With a back,
// the old server as a target, it first carries to it what arrived here since
// the cutover and the flags that were changed here; without one, that stays here
// only, and is counted. Deletions are not carried: what users removed here is
// still at the source.
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

// giveBack is the part of a rollback in which the account is frozen.
func (e *Engine) giveBack(ctx context.Context, id mail.AccountID, row *accountRow, site Site, back Target, m *Move) error {
	if back != nil { // most of it while users work
		if err := e.carryBack(ctx, *row, back, m); err != nil {
			return fmt.Errorf("carrying mail to the old server: %w", err)
		}
	}
	waiting, cancel := context.WithTimeout(ctx, freezeTime)
	defer cancel()
	thaw, err := site.Freeze(waiting, id)
	if err != nil {
		return fmt.Errorf("freezing the account: %w", err)
	}
	defer thaw()
	began := time.Now()
	if err := e.carryBack(ctx, *row, back, m); err != nil {
		return fmt.Errorf("carrying mail to the old server: %w", err)
	}
	if err := site.SetHost(ctx, row.user.Target, row.host); err != nil {
		return fmt.Errorf("flipping the mailHost: %w", err)
	}
	m.After, m.Done, m.Gap = row.host, true, time.Since(began)
	row.stage, row.gap = StageCopying, m.Gap.Milliseconds()
	return nil
}

// carryBack takes what the target has and the ledger does not claim to the old
// server; without one it counts.
func (e *Engine) carryBack(ctx context.Context, row accountRow, back Target, m *Move) (err error) {
	c := &carry{Engine: e, row: row, move: m}
	if c.dst, err = e.target.Open(ctx, row.user); err != nil {
		return fmt.Errorf("opening %s: %w", row.user.Target, err)
	}
	defer func() { err = errors.Join(err, c.dst.Close()) }()
	if back != nil {
		if c.old, err = back.Open(ctx, row.user); err != nil {
			return fmt.Errorf("opening %s at the old server: %w", row.user.Source, err)
		}
		c.back = back
		defer func() { err = errors.Join(err, c.old.Close()) }()
	}
	m.Left = 0
	folders, err := c.dst.Folders(ctx)
	if err != nil {
		return err
	}
	rows, err := e.ledger.folders(ctx, row.id)
	if err != nil {
		return err
	}
	byTarget := make(map[string]*folderRow, len(rows))
	for i := range rows {
		byTarget[rows[i].target] = &rows[i]
	}
	for _, f := range folders {
		if f.NoItems {
			continue
		}
		if err := c.folder(ctx, f, byTarget[f.Name]); err != nil {
			return fmt.Errorf("folder %q: %w", f.Name, err)
		}
	}
	return nil
}

// carry takes mail of one account to the old server.
type carry struct {
	*Engine
	row  accountRow
	move *Move
	dst  TargetAccount
	back Target
	old  TargetAccount // nil: only count
}

// folder takes what is new, and the flags of what is not.
func (c *carry) folder(ctx context.Context, f Folder, known *folderRow) error {
	claimed := map[mail.UID]row{}
	if known != nil {
		for r, err := range c.ledger.allRows(ctx, known.id) {
			if err != nil {
				return err
			}
			if r.state.placed() {
				claimed[r.UID] = r
			}
		}
	}
	before, err := c.ledger.carriedRows(ctx, c.row.id, f)
	if err != nil {
		return err
	}
	foreign := mail.UID(1) // messages below were here before the migration
	if known != nil && known.base > 0 {
		foreign = known.base
	}
	var fresh, flags []Item
	err = c.dst.Items(ctx, f.Name, func(it Item) error {
		r, ok := claimed[it.UID]
		switch done, tried := before[it.UID]; {
		case ok && (r.Flags != it.Flags || r.Keywords != it.Keywords):
			if uid, err := strconv.ParseUint(r.Key, 10, 32); err == nil {
				flags = append(flags, Item{UID: mail.UID(uid), Flags: it.Flags, Keywords: it.Keywords})
			}
		case !ok && it.UID >= foreign && !(tried && done):
			fresh = append(fresh, it)
		}
		return nil
	})
	if err != nil || len(fresh)+len(flags) == 0 {
		return err
	}
	if c.old == nil {
		c.move.Left += len(fresh)
		return nil
	}
	name := f.Name
	if known != nil {
		name = known.Name
	}
	if len(flags) > 0 {
		if err := c.old.Update(ctx, name, flags); err != nil {
			return fmt.Errorf("setting flags at the old server: %w", err)
		}
	}
	return c.messages(ctx, f, name, fresh, before)
}

// messages appends messages at the old server. Each is written down before it
// is sent; one that may have been sent is looked for first.
func (c *carry) messages(ctx context.Context, f Folder, name string, items []Item, before map[mail.UID]bool) error {
	if len(items) == 0 {
		return nil
	}
	old, err := c.old.Prepare(ctx, Folder{Name: name, Subscribed: true})
	if err != nil {
		return fmt.Errorf("making the folder %q at the old server: %w", name, err)
	}
	for _, it := range items {
		if err := c.ledger.setCarried(ctx, c.row.id, f, it.UID, false); err != nil {
			return err
		}
		var uids mail.UIDSet
		uids.Add(it.UID)
		err := c.dst.Read(ctx, f.Name, uids, func(_ mail.UID, r io.Reader) error {
			body, err := c.back.Spool(ctx, r)
			if err != nil {
				return err
			}
			defer body.Close()
			_, tried := before[it.UID]
			if finder, ok := c.old.(Finder); ok && tried {
				if found, err := finder.Find(ctx, name, body); err != nil || found {
					return err
				}
			}
			msgs := []Message{{Item: it, Body: body}}
			msgs[0].UID = old.State.UIDNext
			if err := c.old.Append(ctx, name, msgs); err != nil {
				return err
			}
			return msgs[0].Err
		})
		if err != nil {
			return fmt.Errorf("message %d: %w", it.UID, err)
		}
		if err := c.ledger.setCarried(ctx, c.row.id, f, it.UID, true); err != nil {
			return err
		}
		c.move.Carried++
	}
	return nil
}

// Finder is a TargetAccount that can look for a message by its header.
type Finder interface {
	// Find tells whether the folder has a message like the one in body.
	Find(ctx context.Context, folder string, body Spooled) (bool, error)
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

// carriedRows returns which messages of a target's folder were taken to the
// old server (true), or may have been (false).
func (l *Ledger) carriedRows(ctx context.Context, account int64, f Folder) (map[mail.UID]bool, error) {
	out := map[mail.UID]bool{}
	err := l.view(ctx, func() error {
		return l.query(`SELECT uid, done FROM carried WHERE account = ? AND folder = ? AND validity = ?`, func(s *sqlite3.Stmt) error {
			out[mail.UID(s.ColumnInt64(0))] = s.ColumnBool(1)
			return nil
		}, account, f.Name, int64(f.State.UIDValidity))
	})
	return out, err
}

// setCarried writes down that a message is about to be taken, or was taken.
func (l *Ledger) setCarried(ctx context.Context, account int64, f Folder, uid mail.UID, done bool) error {
	return l.update(ctx, func() error {
		return l.exec(`INSERT OR REPLACE INTO carried (account, folder, validity, uid, done) VALUES (?, ?, ?, ?, ?)`,
			account, f.Name, int64(f.State.UIDValidity), int64(uid), done)
	})
}
