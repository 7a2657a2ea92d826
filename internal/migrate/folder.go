package migrate

import (
	"context"
	"errors"
	"hash/maphash"
	"io"
	"slices"
	"sync/atomic"

	"expost/internal/mail"
)

// folderWalk is a folder's part of a pass.
type folderWalk struct {
	*folderRow
	seed   maphash.Seed
	keys   []uint64     // of the items the scan yielded, hashed
	items  int          // that the ledger has of the folder behind the scan; -1: not counted
	listed bool         // because the source did not tell of all changes
	steps  atomic.Int64 // items that progress was told of

	// The writer's.
	wasSettled bool                  // before something was appended
	next       mail.UID              // the next UID at the target
	claims     map[Hash][]*claim     // messages at the target that no row claims
	alike      map[Identity][]*claim // some of the same, by their headers
	carried    map[mail.UID]carried  // messages at the target that a rollback carried to the source
}

// hash is a short stand-in for a key.
func (w *folderWalk) hash(key string) uint64 { return maphash.String(w.seed, key) }

// walkFolder reads one folder and sends the jobs that bring the target level.
func (p *pass) walkFolder(ctx context.Context, f *folderRow) error {
	w := &folderWalk{folderRow: f, seed: maphash.MakeSeed(), items: -1}
	begin := &job{do: func(ctx context.Context, wr *writer) error { return wr.begin(ctx, w) }}
	if err := p.send(ctx, begin); err != nil || f.NoItems {
		return err
	}
	since := State{}
	if f.settled && f.honest() {
		since = f.since
	}
	compare := func(items []Item) error { return p.compare(ctx, w, items) }
	scanned, err := p.src.Scan(ctx, f.Folder, since, compare)
	if err != nil {
		return err
	}
	believed, err := p.believe(ctx, w, scanned)
	if err != nil {
		return err
	}
	if !believed {
		p.opt.Log.Warn("the source does not tell all that changed: listing the folder", "source", p.user.Source, "folder", f.Name)
		if err := p.settle(ctx); err != nil { // what the first scan has found is not to be copied twice
			return err
		}
		w.keys, w.listed, w.items = nil, true, -1
		if scanned, err = p.src.Scan(ctx, f.Folder, State{}, compare); err != nil {
			return err
		}
	}
	if scanned.Has != nil {
		if err := p.retryAside(ctx, w, scanned.Has); err != nil {
			return err
		}
	}
	return p.send(ctx, &job{do: func(ctx context.Context, wr *writer) error { return wr.end(ctx, w, scanned) }})
}

// honest tells whether the source's HIGHESTMODSEQ can be what it should: it
// never falls, and mail that comes raises it.
func (f *folderRow) honest() bool {
	return f.State.ModSeq == 0 || f.State.ModSeq > f.since.ModSeq || f.State.ModSeq == f.since.ModSeq && f.State.UIDNext <= f.since.UIDNext
}

// believe tells whether what a scan said of changes makes up the number of
// items that the source says it holds.
func (p *pass) believe(ctx context.Context, w *folderWalk, s Scanned) (bool, error) {
	if s.Has == nil || p.row.stage == StageMoved {
		return true, nil
	}
	c, err := p.ledger.counts(ctx, w.id)
	if err != nil {
		return false, err
	}
	if w.items = c.Items(); w.items == s.State.Messages {
		return true, nil
	}
	if s.Vanished != nil {
		rows, err := p.ledger.vanished(ctx, w.id, s.Vanished)
		return c.Items()-len(rows) == s.State.Messages, err
	}
	n := 0
	err = p.ledger.keys(ctx, w.id, func(key string) {
		if s.Has(key) {
			n++
		}
	})
	return n == s.State.Messages, err
}

// settle waits until the writer has done what it was sent.
func (p *pass) settle(ctx context.Context) error {
	done := make(chan struct{})
	if err := p.send(ctx, &job{do: func(context.Context, *writer) error { close(done); return nil }}); err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// compare decides what is to be done about items that a scan yielded.
func (p *pass) compare(ctx context.Context, w *folderWalk, items []Item) error {
	if err := p.pacer.open(ctx); err != nil {
		return err
	}
	rows, err := p.ledger.rows(ctx, w.id, items)
	if err != nil {
		return err
	}
	var unknown, copying, changed []Item
	for _, it := range items {
		w.keys = append(w.keys, w.hash(it.Key))
		r, ok := rows[it.Key]
		switch {
		case !ok:
			unknown = append(unknown, it)
			copying = append(copying, it)
		case !r.state.placed():
			copying = append(copying, it)
		case p.row.stage == StageMoved: // its flags are its user's now
		case it.Size >= 0 && (it.Flags != r.Flags || it.Keywords != r.Keywords):
			r.Flags, r.Keywords = it.Flags, it.Keywords
			changed = append(changed, r.Item)
		}
	}
	if err := p.ledger.see(ctx, w.id, unknown); err != nil {
		return err
	}
	twins, err := p.recognise(ctx, w, copying, rows)
	if err != nil {
		return err
	}
	if settled := len(items) - len(copying); settled > 0 {
		p.step(w, settled, 0)
	}
	if len(changed) > 0 {
		if err := p.send(ctx, &job{do: func(ctx context.Context, wr *writer) error { return wr.update(ctx, w, changed) }}); err != nil {
			return err
		}
	}
	return p.fetch(ctx, w, copying, twins)
}

// retryAside tries the items that were set aside before, or that verify missed
// at the target, where the scan did not yield them because they have not changed.
func (p *pass) retryAside(ctx context.Context, w *folderWalk, has func(string) bool) error {
	aside, err := p.ledger.inState(ctx, w.id, Aside)
	if err != nil {
		return err
	}
	seen, err := p.ledger.inState(ctx, w.id, Seen)
	if err != nil {
		return err
	}
	var items []Item
	for _, r := range slices.Concat(aside, seen) {
		if has(r.Key) && !slices.Contains(w.keys, w.hash(r.Key)) {
			items = append(items, r.Item)
		}
	}
	return p.fetch(ctx, w, items, nil)
}

// fetch reads items and sends them to the writer by way of the spoolers. Those
// that have a twin at the target are not read; they go to the writer in their
// places all the same.
func (p *pass) fetch(ctx context.Context, w *folderWalk, items []Item, twins map[string]*twin) error {
	next := 0
	copyTwins := func() error { // that stand before the item that is to be sent now
		for ; next < len(items) && twins[items[next].Key] != nil; next++ {
			it := items[next]
			t := twins[it.Key]
			delete(twins, it.Key)
			if err := p.copyTwin(ctx, t.job(w, it, p.originals[t.row.folder])); err != nil {
				return err
			}
		}
		return nil
	}
	defer func() {
		for _, t := range twins { // those that an error has left
			t.stored.Close()
		}
	}()
	unread := slices.DeleteFunc(slices.Clone(items), func(it Item) bool { return twins[it.Key] != nil })
	if len(unread) == 0 {
		return copyTwins()
	}
	err := p.src.Fetch(ctx, w.Folder, unread, func(it Item, r io.Reader, err error) error {
		if err := copyTwins(); err != nil {
			return err
		}
		if err := p.read(ctx, w, it, r, err); err != nil {
			return err
		}
		next++
		return nil
	})
	if err != nil {
		return err
	}
	return copyTwins()
}

// copyTwin sends a job that needs no bytes of the source.
func (p *pass) copyTwin(ctx context.Context, j *job) error {
	if err := p.memory.Acquire(ctx, j.weight()); err != nil {
		j.free()
		return err
	}
	return p.send(ctx, j)
}

// read reads an item and sends it to the writer by way of the spoolers.
func (p *pass) read(ctx context.Context, w *folderWalk, it Item, r io.Reader, err error) error {
	j := &job{folder: w, item: it, ready: make(chan struct{}), err: err}
	if r != nil {
		body, rerr := p.readBody(p.pacer.reader(ctx, r))
		if rerr != nil {
			return rerr
		}
		j.body = body
		if j.item.Date == (mail.Date{}) { // the server gave none that can be read
			j.item.Date, _ = HeaderDate(body.start())
		}
	}
	if err := p.memory.Acquire(ctx, j.weight()); err != nil {
		j.free()
		return err
	}
	if j.err != nil {
		close(j.ready)
		return p.send(ctx, j)
	}
	select {
	case p.spools <- j:
		return p.send(ctx, j)
	case <-ctx.Done():
		close(j.ready)
		p.drop(j)
		return ctx.Err()
	}
}

// step tells progress of settled items.
func (p *pass) step(w *folderWalk, n int, bytes int64) {
	w.steps.Add(int64(n))
	p.opt.Progress.Step(p.user, n, bytes)
}

// isGone tells whether the item is no longer at the source.
func isGone(err error) bool {
	ie, ok := errors.AsType[*ItemError](err)
	return ok && ie.Gone
}
