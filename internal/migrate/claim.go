package migrate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"

	"expost/internal/mail"
)

// claim is a message at the target that no row claims, or only a stale one.
type claim struct {
	uid  mail.UID
	key  string // of the stale row, or ""
	date mail.Date
	size int64
	used bool
}

// fingerprint is what a message is recognised by.
type fingerprint struct {
	hash Hash
	id   Identity
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
	t, err := w.prepare(ctx, f)
	if err != nil {
		return fmt.Errorf("making the target's folder %q: %w", f.target, err)
	}
	if f.adopted == 0 {
		if w.row.stage == StageMoved { // what was copied is wherever its user has taken it
			if err := w.ledger.unplace(ctx, f.id); err != nil {
				return err
			}
		}
		f.adopted, f.base = t.State.UIDValidity, t.State.UIDNext
		if f.keeps() && f.adopted != f.State.UIDValidity {
			f.merged = "the mailbox had mail before"
		}
	} else if f.keeps() && f.adopted != f.State.UIDValidity {
		w.unkeep(f, "the source changed UIDVALIDITY")
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

// unkeep notes why a folder keeps the source's UIDs no longer. Where its users
// have not seen it yet, it loses the source's UIDVALIDITY too.
func (w *writer) unkeep(f *folderWalk, why string) {
	f.merged = why
	if _, ok := w.dst.(Renewer); ok && w.row.stage != StageMoved {
		f.renewing, f.adopted = f.adopted, max(f.adopted+1, mail.UIDValidity(w.opt.Now().Unix()))
	}
}

// renew gives the target's folder the UIDVALIDITY that the ledger says.
func (w *writer) renew(ctx context.Context, f *folderWalk) error {
	r, ok := w.dst.(Renewer)
	if f.renewing == 0 || !ok {
		return nil
	}
	if err := w.ledger.renew(ctx, w.row.id, f.folderRow); err != nil {
		return err
	}
	if err := r.Renew(ctx, f.target, f.adopted); err != nil {
		return fmt.Errorf("giving the target's folder %q another UIDVALIDITY: %w", f.target, err)
	}
	f.renewing = 0
	return nil
}

// unplace takes back under which UIDs the target has what was copied from a folder.
func (l *Ledger) unplace(ctx context.Context, folder int64) error {
	return l.note(ctx, func() error {
		return l.exec(`UPDATE item SET uid = 0 WHERE folder = ? AND state IN (2, 3)`, folder)
	})
}

// renew writes down that the target's folder gets another UIDVALIDITY.
func (l *Ledger) renew(ctx context.Context, account int64, f *folderRow) error {
	return l.update(ctx, func() error {
		if err := l.exec(`UPDATE OR REPLACE carried SET validity = ? WHERE account = ? AND folder = ? AND validity = ?`,
			int64(f.adopted), account, f.target, int64(f.renewing)); err != nil {
			return err
		}
		return l.writeFolder(account, f)
	})
}

// prepare makes the target's folder, or, where the account has moved, finds it:
// its subscription and role are its user's then.
func (w *writer) prepare(ctx context.Context, f *folderWalk) (Folder, error) {
	if w.row.stage == StageMoved {
		folders, err := w.dst.Folders(ctx)
		if err != nil {
			return Folder{}, err
		}
		if i := slices.IndexFunc(folders, func(t Folder) bool { return t.Name == f.target }); i >= 0 {
			return folders[i], nil
		}
	}
	return w.dst.Prepare(ctx, f.asTarget())
}

// loadClaims finds the messages of the target's folder that no row claims.
func (w *writer) loadClaims(ctx context.Context, f *folderWalk) error {
	f.claims, f.alike = map[Hash][]*claim{}, map[Identity][]*claim{}
	claimed := map[mail.UID]bool{}
	for r, err := range w.ledger.allRows(ctx, f.id) {
		if err != nil {
			return err
		}
		if r.state == Stale {
			f.offer(fingerprint{hash: r.hash}, &claim{uid: r.UID, key: r.Key, date: r.Date, size: r.Size})
		}
		if r.state == Stale || r.state.placed() {
			claimed[r.UID] = true
		}
	}
	known, err := w.ledger.unclaimed(ctx, f.id)
	if err != nil {
		return err
	}
	if f.carried, err = w.ledger.carriedRows(ctx, w.row.id, f.target, f.adopted); err != nil {
		return err
	}
	var unread mail.UIDSet
	held := map[mail.UID]Item{}
	err = w.dst.Items(ctx, f.target, func(it Item) error {
		if p, ok := known[it.UID]; ok && !claimed[it.UID] {
			f.offer(p, &claim{uid: it.UID, date: it.Date, size: it.Size})
		} else if !claimed[it.UID] {
			unread.Add(it.UID)
			held[it.UID] = it
		}
		return nil
	})
	if err != nil || len(unread) == 0 {
		return err
	}
	found := map[mail.UID]fingerprint{}
	err = w.dst.Read(ctx, f.target, unread, func(uid mail.UID, r io.Reader) error {
		p, err := fingerprintOf(r)
		found[uid] = p
		f.offer(p, &claim{uid: uid, date: held[uid].Date, size: held[uid].Size})
		return err
	})
	if err != nil {
		return fmt.Errorf("reading what the target's folder %q holds: %w", f.target, err)
	}
	return w.ledger.putUnclaimed(ctx, f.id, found)
}

// offer adds a message of the target that items may claim. What this ledger
// copied has the bytes of its item; a header is enough only for what another
// tool copied, and for what a rollback carried to the source, which may have
// made it anew.
func (f *folderWalk) offer(p fingerprint, c *claim) {
	f.claims[p.hash] = append(f.claims[p.hash], c)
	_, carried := f.carried[c.uid]
	if p.id != (Identity{}) && c.key == "" && (c.uid < f.base || carried) {
		f.alike[p.id] = append(f.alike[p.id], c)
	}
}

// identityStart is how much of a message is read for its identity.
const identityStart = 64 << 10

// fingerprintOf reads r to its end.
func fingerprintOf(r io.Reader) (p fingerprint, err error) {
	var start bytes.Buffer
	sum := sha256.New()
	both := io.TeeReader(r, sum)
	if _, err := io.Copy(&start, io.LimitReader(both, identityStart)); err != nil {
		return p, err
	}
	_, err = io.Copy(io.Discard, both)
	sum.Sum(p.hash[:0])
	p.id = IdentityOf(start.Bytes())
	return p, err
}

// hashOf reads r to its end.
func hashOf(r io.Reader) (h Hash, size int64, err error) {
	sum := sha256.New()
	size, err = io.Copy(sum, r)
	sum.Sum(h[:0])
	return h, size, err
}

// claim gives an item the message with its bytes that the target has already,
// if there is one, or else one with its header: the copy of another tool, or
// one that a server has made anew.
func (w *writer) claim(j *job) bool {
	f := j.folder
	c := unused(f.claims[j.hash], j.item.UID)
	r := row{Item: j.item, state: Copied, hash: j.hash, likeness: j.likeness, reason: j.reason}
	if c == nil && j.id != (Identity{}) {
		if c = unused(f.alike[j.id], j.item.UID); c != nil {
			r.state, r.reason = There, "the target has a message with this header"
		}
	}
	if c == nil {
		return false
	}
	c.used = true
	if c.uid < f.base && c.key == "" {
		r.state = There
	}
	if f.keeps() && c.uid != r.UID {
		w.unkeep(f, fmt.Sprintf("UID %d of the source was at the target already, as %d", r.UID, c.uid))
	}
	r.UID = c.uid
	r.setSize(j.bytes())
	w.claimed = append(w.claimed, r)
	if c.key != "" {
		w.stale = append(w.stale, c.key)
	}
	return true
}

// orphan returns the copy of an item that vanished at the source before a pass
// that was interrupted had written down that it had copied it: the message with
// its UID and its date, or where UIDs are not kept its size and its date.
func (f *folderWalk) orphan(r *row) *claim {
	for _, list := range f.claims {
		for _, c := range list {
			if !c.used && c.key == "" && c.uid >= f.base && c.date.Unix == r.Date.Unix && (c.uid == r.UID || !f.keeps() && c.size == r.Size) {
				return c
			}
		}
	}
	return nil
}

// unused returns the claim on a message that nobody has taken, that with the
// UID where there is one.
func unused(list []*claim, uid mail.UID) *claim {
	var out *claim
	for _, c := range list {
		if !c.used && (out == nil || c.uid == uid) {
			out = c
		}
	}
	return out
}
