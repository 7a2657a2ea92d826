package migrate

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"expost/internal/mail"
)

// departure is a folder of which something vanished at the source. It is
// settled behind all folders of the pass, because what was moved is copied from
// the place that it has left.
type departure struct {
	*folderWalk
	scanned Scanned
	has     func(key string) bool // what the source still holds
	deleted bool                  // the folder itself is gone
}

// finish settles the departures of a pass.
func (w *writer) finish(ctx context.Context) error {
	if len(w.departures) == 0 {
		return nil
	}
	if err := w.ledger.settle(ctx); err != nil { // what stays must be known before anything goes
		return err
	}
	for _, d := range w.departures {
		if d.deleted && d.adopted != 0 {
			if err := w.loadClaims(ctx, d.folderWalk); err != nil {
				return err
			}
		}
		complete, err := w.vanished(ctx, d)
		if err != nil {
			return err
		}
		switch {
		case !d.deleted:
			d.settled, d.since = complete, d.scanned.State
		case complete && w.opt.Removals != RemoveNone:
			if err := w.deleteFolder(ctx, d.folderRow); err != nil {
				return err
			}
		}
		if err := w.ledger.putFolder(ctx, w.row.id, d.folderRow); err != nil {
			return err
		}
	}
	w.departures = nil
	return nil
}

// vanished deals with the rows of items that the source has no more. It
// returns false where it left some for a person to decide.
func (w *writer) vanished(ctx context.Context, d *departure) (complete bool, err error) {
	d.error = ""
	all := w.ledger.allRows(ctx, d.id)
	if keys := d.scanned.Vanished; keys != nil {
		told, err := w.ledger.vanished(ctx, d.id, keys)
		if err != nil {
			return false, err
		}
		all = func(yield func(row, error) bool) {
			for _, r := range told {
				if !yield(r, nil) {
					return
				}
			}
		}
	}
	var rows []row
	n := 0
	for r, err := range all {
		if err != nil {
			return false, err
		}
		if r.state == Gone || d.has(r.Key) {
			continue
		}
		if r.state == Seen {
			if c := d.orphan(&r); c != nil {
				c.used = true
				r.state, r.UID = Copied, c.uid
			}
		}
		if r.removable() {
			n++
		}
		rows = append(rows, r)
	}
	if w.opt.Removals != RemoveGuarded || n < guardMin {
		return true, w.remove(ctx, d.folderWalk, rows)
	}
	c, err := w.ledger.counts(ctx, d.id)
	if err != nil {
		return false, err
	}
	if 2*n <= c.Placed() {
		return true, w.remove(ctx, d.folderWalk, rows)
	}
	elsewhere, lost, err := w.elsewhere(ctx, rows)
	if err != nil {
		return false, err
	}
	if n = len(lost); n < guardMin || 2*n <= c.Placed() {
		return true, w.remove(ctx, d.folderWalk, rows)
	}
	d.error = fmt.Sprintf("%d of %d messages vanished at the source at once: they were left at the target; look at the source, then run again with --removals all (or none)", n, c.Placed())
	return false, w.remove(ctx, d.folderWalk, elsewhere)
}

// removable tells whether the target has a copy of the item that a pass made.
func (r *row) removable() bool { return r.state == Copied || r.state == Stale }

// elsewhere splits rows that vanished into those whose bytes another folder of
// the account still has, because they were moved, and those that are lost.
func (w *writer) elsewhere(ctx context.Context, rows []row) (elsewhere, lost []row, err error) {
	leaving := map[int64]*departure{}
	for _, d := range w.departures {
		leaving[d.id] = d
	}
	found, err := w.ledger.sameDate(ctx, w.row.id, items(rows))
	if err != nil {
		return nil, nil, err
	}
next:
	for _, r := range rows {
		for _, o := range found[r.Key] {
			l := leaving[o.folder]
			if o.hash == r.hash && o.state.placed() && (l == nil || l.has(o.Key)) {
				elsewhere = append(elsewhere, r)
				continue next
			}
		}
		if r.removable() {
			lost = append(lost, r)
		} else {
			elsewhere = append(elsewhere, r)
		}
	}
	return elsewhere, lost, nil
}

// remove removes copies of vanished items at the target and writes it down.
func (w *writer) remove(ctx context.Context, f *folderWalk, rows []row) error {
	var uids mail.UIDSet
	for _, r := range rows {
		if r.removable() {
			uids.Add(r.UID)
		}
	}
	why := "removed at the source"
	switch {
	case w.opt.Removals == RemoveNone:
		why = "removed at the source, kept at the target"
	case len(uids) > 0:
		if err := w.dst.Remove(ctx, f.target, uids); err != nil {
			return fmt.Errorf("removing from the target's folder %q: %w", f.target, err)
		}
		w.res.Removed += uids.Len()
	}
	for i := range rows {
		if rows[i].state == There {
			rows[i].reason = "removed at the source, kept at the target, where it was before"
		} else {
			rows[i].reason = why
		}
		rows[i].state = Gone
	}
	return w.ledger.putRows(ctx, f.id, rows)
}

// deleteFolder deletes the target's folder of one that the source deleted, where
// a pass made it and nothing is left in it. Its row stays as proof.
func (w *writer) deleteFolder(ctx context.Context, f *folderRow) error {
	if d, ok := w.dst.(Discarder); ok && f.made && f.target != mail.Inbox {
		err := d.Discard(ctx, f.target)
		if mail.KindOf(err) == mail.KindConflict { // it has mail, or folders, of its user's own
			return nil
		}
		if err != nil {
			return fmt.Errorf("deleting the target's folder %q: %w", f.target, err)
		}
	}
	f.adopted, f.merged, f.base, f.top, f.settled, f.made = 0, "", 0, 0, false, false
	return nil
}

// errThere ends the look at a folder that the source does not list.
var errThere = errors.New("it is there")

// deleted tells whether a folder that the source does not list any more is gone:
// the source has to say so itself.
func (p *pass) deleted(ctx context.Context, f *folderRow) (bool, error) {
	_, err := p.src.Scan(ctx, f.Folder, State{}, func([]Item) error { return errThere })
	switch {
	case mail.KindOf(err) == mail.KindNotExist:
		return true, nil
	case ctx.Err() != nil || passing(err) && mail.KindOf(err) != mail.KindConflict:
		return false, err
	}
	return false, nil
}

// walkDeleted finds the folders that were deleted at the source, those below
// others first, and lets the writer settle what vanished.
func (p *pass) walkDeleted(ctx context.Context, missing []*folderRow) error {
	for _, f := range missing {
		if f.error == leftOut || p.row.stage == StageMoved || f.adopted != 0 && p.originals[f.id] == "" {
			continue
		}
		c, err := p.ledger.counts(ctx, f.id)
		if err != nil {
			return err
		}
		if f.adopted == 0 && c.Items() == 0 {
			continue
		}
		gone, err := p.deleted(ctx, f)
		if err != nil {
			return &folderError{f.Key, f.Name, err}
		}
		if !gone {
			continue
		}
		d := &departure{folderWalk: &folderWalk{folderRow: f}, has: func(string) bool { return false }, deleted: true}
		if err := p.send(ctx, &job{do: func(_ context.Context, w *writer) error { w.departures = append(w.departures, d); return nil }}); err != nil {
			return err
		}
	}
	return p.send(ctx, &job{do: func(ctx context.Context, w *writer) error { return w.finish(ctx) }})
}

// deeper orders folders so that those below others come first.
func deeper(x, y *folderRow) int {
	return strings.Count(y.target, mail.Delimiter) - strings.Count(x.target, mail.Delimiter)
}
