package migrate

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"

	"expost/internal/mail"
)

// claim is a message at the target that no row claims, or only a stale one.
type claim struct {
	uid mail.UID
	key string // of the stale row, or ""
}

// keeps tells whether messages get the source's UIDs.
func (f *folderRow) keeps() bool { return f.State.UIDValidity != 0 && f.merged == "" }

// asTarget returns the folder as the target is to have it.
func (f *folderRow) asTarget() Folder {
	t := f.Folder
	t.Key, t.Name, t.State = f.target, f.target, State{UIDValidity: f.State.UIDValidity}
	return t
}

// begin makes the target's folder ready.
func (w *writer) begin(ctx context.Context, f *folderWalk) error {
	w.current = f
	t, err := w.dst.Prepare(ctx, f.asTarget())
	if err != nil {
		return fmt.Errorf("making the target's folder %q: %w", f.target, err)
	}
	if f.adopted == 0 {
		f.adopted, f.base = t.State.UIDValidity, t.State.UIDNext
		if f.keeps() && f.adopted != f.State.UIDValidity {
			f.merged = "the mailbox had mail before"
		}
	} else if f.keeps() && f.adopted != f.State.UIDValidity {
		f.merged = "the source changed UIDVALIDITY"
	}
	f.next = t.State.UIDNext
	if f.NoItems {
		f.settled = true
		return w.ledger.putFolder(ctx, w.row.id, f.folderRow)
	}
	if err := w.ledger.putFolder(ctx, w.row.id, f.folderRow); err != nil || t.State.Messages == 0 {
		return err
	}
	c, err := w.ledger.counts(ctx, f.id)
	if err != nil {
		return err
	}
	if f.settled && t.State.Messages <= c.Placed() {
		return nil
	}
	return w.loadClaims(ctx, f)
}

// loadClaims finds the messages of the target's folder that no row claims.
func (w *writer) loadClaims(ctx context.Context, f *folderWalk) error {
	f.claims = map[Hash][]claim{}
	claimed := map[mail.UID]bool{}
	for r, err := range w.ledger.allRows(ctx, f.id) {
		if err != nil {
			return err
		}
		if r.state == Stale {
			f.claims[r.hash] = append(f.claims[r.hash], claim{r.UID, r.Key})
		}
		if r.state == Stale || r.state.placed() {
			claimed[r.UID] = true
		}
	}
	known, err := w.ledger.unclaimed(ctx, f.id)
	if err != nil {
		return err
	}
	var unread mail.UIDSet
	err = w.dst.Items(ctx, f.target, func(it Item) error {
		if h, ok := known[it.UID]; ok && !claimed[it.UID] {
			f.claims[h] = append(f.claims[h], claim{uid: it.UID})
		} else if !claimed[it.UID] {
			unread.Add(it.UID)
		}
		return nil
	})
	if err != nil || len(unread) == 0 {
		return err
	}
	hashes := map[mail.UID]Hash{}
	err = w.dst.Read(ctx, f.target, unread, func(uid mail.UID, r io.Reader) error {
		h, _, err := hashOf(r)
		hashes[uid] = h
		f.claims[h] = append(f.claims[h], claim{uid: uid})
		return err
	})
	if err != nil {
		return fmt.Errorf("reading what the target's folder %q holds: %w", f.target, err)
	}
	return w.ledger.putUnclaimed(ctx, f.id, hashes)
}

// hashOf reads r to its end.
func hashOf(r io.Reader) (h Hash, size int64, err error) {
	sum := sha256.New()
	size, err = io.Copy(sum, r)
	sum.Sum(h[:0])
	return h, size, err
}

// claim gives an item the message with its bytes that the target has already,
// if there is one.
func (w *writer) claim(j *job) bool {
	f := j.folder
	list := f.claims[j.hash]
	if len(list) == 0 {
		return false
	}
	i := max(0, slices.IndexFunc(list, func(c claim) bool { return c.uid == j.item.UID }))
	c := list[i]
	f.claims[j.hash] = slices.Delete(list, i, i+1)
	r := row{Item: j.item, state: Copied, hash: j.hash}
	if c.uid < f.base && c.key == "" {
		r.state = There
	}
	if f.keeps() && c.uid != r.UID {
		f.merged = fmt.Sprintf("UID %d of the source was at the target already, as %d", r.UID, c.uid)
	}
	r.UID, r.Size = c.uid, j.body.size
	w.claimed = append(w.claimed, r)
	if c.key != "" {
		w.stale = append(w.stale, c.key)
	}
	return true
}
