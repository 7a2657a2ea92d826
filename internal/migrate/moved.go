package migrate

import (
	"context"
	"fmt"

	"expost/internal/mail"
)

// Messages that were moved or copied from folder to folder at the source are
// recognised without their bytes: the source says that they are the same
// (EMAILID), or they have the Message-ID, Date, From, To and Subject, the
// internal date and the announced size of one that the target has, and of no
// other with other bytes. They are then copied within the target. So are all that a
// changed UIDVALIDITY gave other UIDs recognised in their own folder; they take the
// copies of their stale rows over. Whatever leaves a doubt is fetched.

// twin is a message of the target that has the bytes of an item.
type twin struct {
	row    placedRow
	stored Spooled
}

// linkedFrom begins the reason of rows whose bytes were never fetched.
const linkedFrom = "taken for item "

// linked tells whether the row's hash is that of another item, and was not
// taken from this one's bytes.
func (r *row) linked() bool { return r.state == Copied && r.reason != "" }

// doubted is the reason of a row whose item was taken for another by mistake.
const doubted = "it is not the message that it was taken for"

// doubtedKey begins the key of the row of such a copy, which no source's key does.
const doubtedKey = "\x01doubted\x01"

// recognise finds twins of the items that are to be copied, by key. No account
// has any in its first pass.
func (p *pass) recognise(ctx context.Context, w *folderWalk, items []Item, rows map[string]row) (map[string]*twin, error) {
	if p.row.pass < 2 || p.row.stage == StageMoved || len(items) == 0 {
		return nil, nil
	}
	found, err := p.ledger.sameDate(ctx, p.row.id, items)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	var alike []Item
	for _, it := range items {
		list := found[it.Key][:0]
		for _, r := range found[it.Key] {
			if it.Size > 0 && r.saidSize() == it.Size && r.likeness != (Identity{}) && p.originals[r.folder] != "" && rows[it.Key].reason != doubted {
				list = append(list, r)
			}
		}
		if found[it.Key] = list; len(list) > 0 {
			alike = append(alike, it)
		}
	}
	likeness, err := p.likenesses(ctx, w, alike)
	if err != nil {
		return nil, err
	}
	chosen := map[int64]map[mail.UID]Hash{}
	twins := map[string]*twin{}
	for key, l := range likeness {
		if r, ok := only(found[key], l); ok {
			if chosen[r.folder] == nil {
				chosen[r.folder] = map[mail.UID]Hash{}
			}
			chosen[r.folder][r.UID] = r.hash
			twins[key] = &twin{row: r}
		}
	}
	return twins, p.store(ctx, twins, chosen)
}

// likenesses returns what items are recognised by.
func (p *pass) likenesses(ctx context.Context, w *folderWalk, items []Item) (map[string]Identity, error) {
	out := make(map[string]Identity, len(items))
	var unsaid []Item
	for _, it := range items {
		if it.Email != "" {
			out[it.Key] = likenessOfEmail(it.Email)
		} else {
			unsaid = append(unsaid, it)
		}
	}
	headers, ok := p.src.(HeaderReader)
	if !ok || len(unsaid) == 0 {
		return out, nil
	}
	err := headers.Headers(ctx, w.Folder, unsaid, func(it Item, header []byte) error {
		out[it.Key] = likenessOf(header)
		return nil
	})
	return out, err
}

// only returns a row of a likeness, unless there are some with different bytes.
func only(rows []placedRow, l Identity) (out placedRow, ok bool) {
	for _, r := range rows {
		switch {
		case r.likeness != l:
		case !ok:
			out, ok = r, true
		case r.hash != out.hash:
			return placedRow{}, false
		}
	}
	return out, ok
}

// store makes twins ready to be appended. What the target has lost is no twin.
func (p *pass) store(ctx context.Context, twins map[string]*twin, chosen map[int64]map[mail.UID]Hash) error {
	stored := map[int64]map[mail.UID]Spooled{}
	for folder, hashes := range chosen {
		var err error
		if stored[folder], err = p.dst.Stored(ctx, p.originals[folder], hashes); err != nil {
			return fmt.Errorf("looking for moved messages in the target's folder %q: %w", p.originals[folder], err)
		}
	}
	for key, t := range twins {
		if t.stored = stored[t.row.folder][t.row.UID]; t.stored == nil {
			delete(twins, key)
		}
	}
	return nil
}

// job returns the job that gives an item its twin's bytes.
func (t *twin) job(w *folderWalk, it Item, from string) *job {
	j := &job{
		folder: w, item: it, spooled: t.stored, hash: t.row.hash, likeness: t.row.likeness, size: t.row.Size, ready: make(chan struct{}),
		reason: fmt.Sprintf("%s%s of %q", linkedFrom, t.row.Key, from),
	}
	close(j.ready)
	return j
}
