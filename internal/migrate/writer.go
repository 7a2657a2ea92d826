package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"expost/internal/mail"
)

// What one batch may hold.
const (
	batchItems = 1000
	batchBytes = 8 << 20
)

// writer carries out the jobs of a pass at the target, in order.
type writer struct {
	*pass
	current *folderWalk
	batch   []*job // of the current folder, ready to be appended
	bytes   int64
	claimed []row    // of the current folder, found at the target
	stale   []string // keys of the stale rows that claimed takes over

	departures []*departure // what is to be settled at the end of the pass
}

// run carries out jobs until there are no more.
func (w *writer) run(ctx context.Context) error {
	defer func() {
		for _, j := range w.batch {
			w.drop(j)
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case j, ok := <-w.jobs:
			if !ok {
				return w.flush(ctx)
			}
			if err := w.carryOut(ctx, j); err != nil {
				return err
			}
		}
	}
}

// carryOut does one job.
func (w *writer) carryOut(ctx context.Context, j *job) error {
	if j.do != nil {
		if err := w.flush(ctx); err != nil {
			return err
		}
		return j.do(ctx, w)
	}
	<-j.ready
	switch {
	case j.err != nil:
		defer w.drop(j)
		return w.refused(ctx, j)
	case w.claim(j):
		w.drop(j)
	default:
		w.batch = append(w.batch, j)
		if j.body != nil {
			w.bytes += j.body.size
		}
	}
	if len(w.batch) >= batchItems || w.bytes >= batchBytes || len(w.claimed) >= batchItems {
		return w.flush(ctx)
	}
	return nil
}

// refused settles an item that the source did not give or the target does not
// take.
func (w *writer) refused(ctx context.Context, j *job) error {
	r := row{Item: j.item, state: Aside, reason: j.err.Error()}
	_, bySource := errors.AsType[*ItemError](j.err)
	kind := mail.KindOf(j.err)
	switch {
	case isGone(j.err):
		r.state = Gone
	case !bySource && kind != mail.KindTooBig && kind != mail.KindInvalid:
		return fmt.Errorf("making item %s of %q ready: %w", j.item.Key, j.folder.Name, j.err)
	default:
		if j.body != nil {
			r.Size = j.body.size
			if err := w.aside.put(w.row.id, j.folder.id, j.item.Key, j.body.open); err != nil {
				return err
			}
		}
		w.res.Aside++
		w.opt.Log.Warn("an item was set aside", "source", w.user.Source, "folder", j.folder.Name, "item", j.item.Key, "reason", r.reason)
	}
	w.step(j.folder, 1, 0)
	return w.ledger.putRows(ctx, j.folder.id, []row{r})
}

// flush appends the batch and writes what the target has now into the ledger.
func (w *writer) flush(ctx context.Context) error {
	if len(w.batch)+len(w.claimed) == 0 {
		return nil
	}
	f, rows := w.current, w.claimed
	if len(w.batch) > 0 {
		if err := w.unsettle(ctx, f); err != nil {
			return err
		}
		appended, err := w.append(ctx, f)
		if err != nil {
			return fmt.Errorf("writing to the target's folder %q: %w", f.target, err)
		}
		rows = append(rows, appended...)
	}
	if len(w.claimed) > 0 && w.row.stage != StageMoved {
		if err := w.dst.Update(ctx, f.target, items(w.claimed)); err != nil {
			return fmt.Errorf("setting flags in the target's folder %q: %w", f.target, err)
		}
	}
	for _, r := range rows {
		if r.state.placed() {
			f.top = max(f.top, r.UID)
		}
	}
	if err := w.ledger.land(ctx, w.row.id, f.folderRow, rows, w.stale); err != nil {
		return err
	}
	w.landed(f, rows)
	return nil
}

// unsettle writes down, before something is appended to a folder, what the
// folder was before, and that the pass has not come to its end there: the next one
// looks for what no row claims.
func (w *writer) unsettle(ctx context.Context, f *folderWalk) error {
	if f.settled {
		f.settled, f.wasSettled = false, true
		if err := w.ledger.putFolder(ctx, w.row.id, f.folderRow); err != nil {
			return err
		}
	}
	return w.ledger.settle(ctx)
}

// items returns the items of rows.
func items(rows []row) []Item {
	out := make([]Item, len(rows))
	for i, r := range rows {
		out[i] = r.Item
	}
	return out
}

// landed counts what flush wrote and empties the batch.
func (w *writer) landed(f *folderWalk, rows []row) {
	bytes := int64(0)
	for _, r := range rows {
		if !r.linked() {
			bytes += r.Size
		}
	}
	for _, j := range w.batch {
		if j.body == nil {
			w.res.Moved++
		} else {
			w.res.Copied++
		}
	}
	w.res.There += len(w.claimed)
	w.res.Bytes += w.bytes
	w.step(f, len(rows), bytes)
	for _, j := range w.batch {
		w.drop(j)
	}
	w.batch, w.claimed, w.stale, w.bytes = w.batch[:0], nil, nil, 0
}

// maxRenumber bounds how often a batch is numbered again because mail came in
// at the target meanwhile.
const maxRenumber = 10

// append numbers the batch and appends it.
func (w *writer) append(ctx context.Context, f *folderWalk) ([]row, error) {
	for try := 0; ; try++ {
		rows := w.number(f)
		msgs := make([]Message, len(rows))
		for i, r := range rows {
			msgs[i] = Message{Item: r.Item, Body: w.batch[i].spooled}
		}
		err := w.dst.Append(ctx, f.target, msgs)
		if err == nil {
			return rows, w.appended(f, rows, msgs)
		}
		if mail.KindOf(err) != mail.KindConflict || try == maxRenumber {
			return nil, err
		}
		t, err := w.dst.Prepare(ctx, f.asTarget())
		if err != nil {
			return nil, err
		}
		f.next = t.State.UIDNext
	}
}

// appended takes over what the target did with the messages: the UIDs that it
// gave, and what it refused.
func (w *writer) appended(f *folderWalk, rows []row, msgs []Message) error {
	for i, m := range msgs {
		r := &rows[i]
		if m.Err == nil {
			r.UID = m.UID
			f.next = max(f.next, m.UID+1)
			continue
		}
		r.UID, r.state, r.reason = w.batch[i].item.UID, Aside, "the target refuses the message: "+m.Err.Error()
		w.res.Aside++
		if w.batch[i].body == nil {
			w.res.Moved--
		} else {
			w.res.Copied--
			w.res.Bytes -= r.Size
		}
		w.opt.Log.Warn("an item was set aside", "source", w.user.Source, "folder", f.Name, "item", r.Key, "reason", r.reason)
		if o, ok := m.Body.(interface{ Open() (io.Reader, error) }); ok {
			if err := w.aside.put(w.row.id, f.id, r.Key, o.Open); err != nil {
				return err
			}
		}
	}
	return nil
}

// number gives each item of the batch its UID at the target.
func (w *writer) number(f *folderWalk) []row {
	next := f.next
	rows := make([]row, len(w.batch))
	for i, j := range w.batch {
		it := j.item
		if f.keeps() && it.UID < next {
			w.unkeep(f, fmt.Sprintf("UID %d of the source was taken or passed at the target when its turn came", it.UID))
		}
		if !f.keeps() {
			it.UID = next
		}
		next = it.UID + 1
		rows[i] = row{Item: it, state: Copied, hash: j.hash, likeness: j.likeness, reason: j.reason}
		rows[i].setSize(j.bytes())
	}
	return rows
}

// update sets changed flags at the target.
func (w *writer) update(ctx context.Context, f *folderWalk, changed []Item) error {
	if err := w.dst.Update(ctx, f.target, changed); err != nil {
		return fmt.Errorf("setting flags in the target's folder %q: %w", f.target, err)
	}
	w.res.Updated += len(changed)
	return w.ledger.setFlags(ctx, f.id, changed)
}

// end settles a folder after its scan: UIDNEXT, the state to start from the
// next time. One of which something vanished is settled at the end of the pass.
func (w *writer) end(ctx context.Context, f *folderWalk, s Scanned) error {
	if s.State.UIDNext == 0 { // Courier says it in STATUS only
		s.State.UIDNext = f.State.UIDNext
	}
	if f.keeps() && s.State.UIDNext > f.next && w.row.stage != StageMoved {
		target := f.asTarget()
		target.State.UIDNext = s.State.UIDNext
		if _, err := w.dst.Prepare(ctx, target); err != nil {
			return fmt.Errorf("raising UIDNEXT of the target's folder %q: %w", f.target, err)
		}
	}
	if err := w.renew(ctx, f); err != nil {
		return err
	}
	if rest := max(0, f.State.Messages) - int(f.steps.Load()); rest > 0 {
		w.step(f, rest, 0)
	}
	if f.listed || (f.settled || f.wasSettled) && (f.since.ModSeq == 0 || !f.honest()) {
		s.State.ModSeq = 0 // what it says is not asked for again
	}
	has, there := s.Has, s.State.Messages
	if has == nil {
		slices.Sort(f.keys)
		there = len(f.keys)
		has = func(key string) bool { _, ok := slices.BinarySearch(f.keys, f.hash(key)); return ok }
	}
	if f.items < 0 {
		c, err := w.ledger.counts(ctx, f.id)
		if err != nil {
			return err
		}
		f.items = c.Items()
	}
	if f.items != there && w.row.stage != StageMoved {
		w.departures = append(w.departures, &departure{folderWalk: f, scanned: s, has: has})
		return nil
	}
	f.settled, f.since = true, s.State
	return w.ledger.putFolder(ctx, w.row.id, f.folderRow)
}
