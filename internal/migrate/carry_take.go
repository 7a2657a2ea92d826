package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/ncruces/go-sqlite3"

	"expost/internal/mail"
)

// taking is the part of a round that writes to the old server.
type taking struct {
	*carry
	organizer Organizer        // nil: the old server's mailbox is one that only takes mail
	there     map[string]State // the old server's folders, by name
	lost      map[Hash][]*lost // copied messages that are gone from where they were here
}

// lost is a copied message that is gone from where it was here.
type lost struct {
	place
	found bool // elsewhere here
}

// list asks the old server for its folders.
func (t *taking) list(ctx context.Context) error {
	folders, err := t.old.Folders(ctx)
	if err != nil {
		return fmt.Errorf("listing the old server's folders: %w", err)
	}
	t.there = make(map[string]State, len(folders))
	for _, f := range folders {
		t.there[f.Name] = f.State
	}
	return nil
}

// take carries the changes of all folders.
func (t *taking) take(ctx context.Context, changes []*found) error {
	changes, err := t.renames(ctx, changes)
	if err != nil {
		return err
	}
	for _, g := range changes {
		t.lose(g)
	}
	for _, g := range changes {
		if g.absent {
			continue
		}
		if err := t.folder(ctx, g); err != nil {
			return fmt.Errorf("folder %q: %w", g.Name, err)
		}
	}
	for _, g := range slices.Backward(changes) { // folders below others first
		if err := t.removals(ctx, g); err != nil {
			return fmt.Errorf("folder %q: %w", g.Name, err)
		}
	}
	return nil
}

// nameThere returns the name of a folder at the old server.
func (g *found) nameThere() string {
	if g.row != nil {
		return g.row.Name
	}
	return g.Name
}

// renames finds folders that have another name here now, renames them at the old
// server, and returns the changes without those that this explains.
func (t *taking) renames(ctx context.Context, changes []*found) ([]*found, error) {
	if t.organizer == nil {
		return changes, nil
	}
	explained := map[*found]bool{}
	for _, g := range changes {
		if g.row != nil || g.NoItems {
			continue
		}
		for _, h := range changes {
			if !h.absent || explained[h] || !sameFolder(g, h) {
				continue
			}
			if err := t.rename(ctx, h.row, g); err != nil {
				return nil, err
			}
			if h.row.Name == g.Name {
				explained[h] = true
				g.row = h.row
				if err := t.compare(ctx, g); err != nil {
					return nil, err
				}
				break
			}
		}
	}
	return slices.DeleteFunc(changes, func(g *found) bool { return explained[g] }), nil
}

// sameFolder tells whether g, a folder with a new name, is what became of h. It
// has the same UIDVALIDITY, and messages of h under their UIDs.
func sameFolder(g, h *found) bool {
	if g.State.UIDValidity != h.row.adopted || g.State.UIDNext <= h.row.top {
		return false
	}
	held := make(map[mail.UID]Item, len(g.fresh))
	for _, it := range g.fresh {
		held[it.UID] = it
	}
	same := 0
	for _, r := range h.gone {
		if it, ok := held[r.UID]; ok && it.Size == r.Size && it.Date == r.Date {
			same++
		}
	}
	return same > 0 && 2*same >= len(h.gone)
}

// rename renames the folder of a row at the old server to the name that g has
// here, unless a folder above has taken it along, and writes that down.
func (t *taking) rename(ctx context.Context, r *folderRow, g *found) error {
	if _, taken := t.there[g.Name]; !taken {
		if _, ok := t.there[r.Name]; !ok {
			return nil
		}
		if err := t.organizer.Rename(ctx, r.Name, g.Name); err != nil {
			return fmt.Errorf("renaming %q at the old server to %q: %w", r.Name, g.Name, err)
		}
		t.renamed[g.Name] = true
		if err := t.list(ctx); err != nil {
			return err
		}
	} else if t.there[g.Name].UIDValidity != r.State.UIDValidity {
		return nil // the old server has another folder of that name
	}
	was := r.target
	r.Name, r.target, r.settled = g.Name, g.Name, false
	return t.ledger.renamedHere(ctx, t.row.id, r, was)
}

// lose notes what is gone from a folder. Where the old server's folder is not
// the one that was copied, nothing can be said of its messages.
func (t *taking) lose(g *found) {
	if len(g.gone)+len(g.flags) == 0 {
		return
	}
	name := g.nameThere()
	state, ok := t.there[name]
	if !ok || g.row != nil && state.UIDValidity != g.row.State.UIDValidity {
		g.flags, g.gone = nil, nil
		if ok && t.renamed[name] { // as Courier does
			t.opt.Log.Warn("the old server gave a renamed folder another UIDVALIDITY: flags and removals were not carried", "target", t.row.user.Target, "folder", name)
		} else if ok {
			t.refuse("folder %q: the old server has given it another UIDVALIDITY, so flags and removals cannot be carried", name)
		}
		return
	}
	for _, r := range g.gone {
		if at := (place{name, keyUID(r)}); at.uid != 0 && !t.removed[at] {
			t.lost[r.hash] = append(t.lost[r.hash], &lost{place: at})
		}
	}
}

// folder carries one folder, its removals aside.
func (t *taking) folder(ctx context.Context, g *found) error {
	name := g.nameThere()
	_, there := t.there[name]
	f := Folder{Name: name, Subscribed: g.Subscribed, Use: g.Use, NoItems: g.NoItems}
	if !there && g.row == nil && g.Use != mail.UseNone && g.State.UIDNext <= 1 {
		return nil // every account here starts with it
	}
	if !there || len(g.fresh) > 0 || g.row == nil || g.row.Subscribed != g.Subscribed {
		var err error
		if f, err = t.old.Prepare(ctx, f); err != nil {
			return fmt.Errorf("making it at the old server: %w", err)
		}
		t.there[name] = f.State
	}
	if err := t.flags(ctx, g); err != nil {
		return err
	}
	return t.messages(ctx, g, f)
}

// flags sets changed flags.
func (t *taking) flags(ctx context.Context, g *found) error {
	if len(g.flags) == 0 {
		return nil
	}
	name := g.nameThere()
	todo := slices.DeleteFunc(g.flags, func(it Item) bool {
		was, ok := t.marked[place{name, it.UID}]
		return it.UID == 0 || ok && was == marks{it.Flags, it.Keywords}
	})
	if len(todo) == 0 {
		return nil
	}
	if err := t.old.Update(ctx, name, todo); err != nil {
		return fmt.Errorf("setting flags at the old server: %w", err)
	}
	for _, it := range todo {
		t.marked[place{name, it.UID}] = marks{it.Flags, it.Keywords}
	}
	t.move.Updated += len(todo)
	return nil
}

// messages carries a folder's new messages, a batch at a time.
func (t *taking) messages(ctx context.Context, g *found, f Folder) error {
	for items := g.fresh; len(items) > 0; {
		n, size := 0, int64(0)
		for n < len(items) && n < batchItems && (n == 0 || size+items[n].Size <= batchBytes) {
			size += items[n].Size
			n++
		}
		b := &taken{taking: t, from: g, to: &f, moves: map[string][]moved{}}
		if err := b.carry(ctx, items[:n]); err != nil {
			return err
		}
		items = items[n:]
	}
	return nil
}

// taken is a batch of new messages of one folder.
type taken struct {
	*taking
	from  *found
	to    *Folder // at the old server
	msgs  []Message
	sent  []carried          // of msgs
	moves map[string][]moved // messages that are moved, by the folder of the old server that they are in
	done  []carried
}

// moved is a message that is moved at the old server.
type moved struct {
	carried
	was mail.UID // in the folder that it comes from
}

// carry carries the messages, each written down before it is sent.
func (b *taken) carry(ctx context.Context, items []Item) (err error) {
	var uids mail.UIDSet
	byUID := make(map[mail.UID]Item, len(items))
	tried := make([]carried, len(items))
	for i, it := range items {
		uids.Add(it.UID)
		byUID[it.UID] = it
		tried[i] = carried{here: it.UID}
	}
	if err := b.write(ctx, tried); err != nil {
		return err
	}
	defer func() {
		for _, m := range b.msgs {
			err = errors.Join(err, m.Body.Close())
		}
	}()
	err = b.dst.Read(ctx, b.from.Name, uids, func(uid mail.UID, r io.Reader) error {
		if err := b.sort(ctx, byUID[uid], r); err != nil {
			return fmt.Errorf("message %d: %w", uid, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := b.moveAll(ctx); err != nil {
		return err
	}
	if err := b.appendAll(ctx); err != nil {
		return err
	}
	return b.write(ctx, b.done)
}

// write writes down what was carried, or is about to be.
func (b *taken) write(ctx context.Context, rows []carried) error {
	return b.ledger.setCarried(ctx, b.row.id, b.from.Name, b.from.State.UIDValidity, rows)
}

// sort decides what becomes of one message.
func (b *taken) sort(ctx context.Context, it Item, r io.Reader) error {
	body, err := b.back.Spool(ctx, r)
	if err != nil {
		if kind := mail.KindOf(err); kind == mail.KindTooBig || kind == mail.KindInvalid {
			b.refuse("folder %q: message %d: %v", b.from.Name, it.UID, err)
			return nil
		}
		return err
	}
	c := carried{here: it.UID, done: true, hash: body.Hash(), marks: marks{it.Flags, it.Keywords}}
	if _, tried := b.from.before[it.UID]; tried {
		if finder, ok := b.old.(Finder); ok {
			there, err := finder.Find(ctx, b.to.Name, body)
			if err != nil || there {
				b.done = append(b.done, c)
				return errors.Join(err, body.Close())
			}
		}
	}
	if l := b.whereLost(c.hash); l != nil {
		l.found = true
		b.moves[l.folder] = append(b.moves[l.folder], moved{c, l.uid})
		return body.Close()
	}
	b.msgs, b.sent = append(b.msgs, Message{Item: it, Body: body}), append(b.sent, c)
	return nil
}

// whereLost returns a message with these bytes that is gone from elsewhere here.
func (b *taken) whereLost(h Hash) *lost {
	if b.organizer == nil {
		return nil
	}
	for _, l := range b.lost[h] {
		if !l.found && l.folder != b.to.Name {
			return l
		}
	}
	return nil
}

// moveAll moves messages to the folder, with the flags that they have here.
func (b *taken) moveAll(ctx context.Context) error {
	for from, list := range b.moves {
		var uids mail.UIDSet
		items := make([]Item, len(list))
		for i, m := range list {
			uids.Add(m.was)
			items[i] = Item{UID: m.was, Flags: m.flags, Keywords: m.keywords}
		}
		if err := b.old.Update(ctx, from, items); err != nil {
			return fmt.Errorf("setting flags at the old server: %w", err)
		}
		got, err := b.organizer.Move(ctx, from, uids, b.to.Name)
		if err != nil {
			return fmt.Errorf("moving messages of %q at the old server: %w", from, err)
		}
		for _, m := range list {
			m.there = got[m.was]
			b.done = append(b.done, m.carried)
			b.removed[place{from, m.was}] = true
		}
		b.move.Moved += len(list)
	}
	return nil
}

// appendAll appends what is new.
func (b *taken) appendAll(ctx context.Context) error {
	if len(b.msgs) == 0 {
		return nil
	}
	for i := range b.msgs {
		b.msgs[i].UID = b.to.State.UIDNext + mail.UID(i)
	}
	if err := b.old.Append(ctx, b.to.Name, b.msgs); err != nil {
		return err
	}
	for i, m := range b.msgs {
		c := b.sent[i]
		if m.Err != nil {
			b.refuse("folder %q: message %d: the old server refuses it: %v", b.from.Name, c.here, m.Err)
			continue
		}
		b.to.State.UIDNext = max(b.to.State.UIDNext, m.UID+1)
		c.there = m.UID
		if b.from.row != nil && b.to.State.UIDValidity == b.from.State.UIDValidity {
			b.number(b.to.Name, c.there, c.here)
		}
		b.done = append(b.done, c)
		b.move.Carried++
	}
	return nil
}

// removals removes from the old server what is gone from a folder here, and not
// elsewhere; then the folder, where it is gone and empty.
func (t *taking) removals(ctx context.Context, g *found) error {
	if t.opt.Removals == RemoveNone {
		return nil
	}
	name := g.nameThere()
	var uids mail.UIDSet
	for _, r := range g.gone {
		for _, l := range t.lost[r.hash] {
			if l.place == (place{name, keyUID(r)}) && !l.found {
				uids.Add(l.uid)
			}
		}
	}
	if n, had := uids.Len(), t.there[name].Messages; t.opt.Removals == RemoveGuarded && n >= guardMin && 2*n > had {
		t.refuse("folder %q: %d messages were removed here, the old server has %d: say --removals all to remove them there too, or --removals none", name, n, had)
		return nil
	}
	if len(uids) > 0 {
		if err := t.old.Remove(ctx, name, uids); err != nil {
			return fmt.Errorf("removing at the old server: %w", err)
		}
		for uid := range uids.All() {
			t.removed[place{name, uid}] = true
		}
		t.move.Removed += uids.Len()
	}
	if _, there := t.there[name]; !g.absent || !there || t.organizer == nil {
		return nil
	}
	if err := t.organizer.Discard(ctx, name); err != nil && mail.KindOf(err) != mail.KindConflict {
		return fmt.Errorf("removing it at the old server: %w", err)
	}
	return nil
}

// carried is a message that a rollback took to the old server.
type carried struct {
	here, there mail.UID // there: 0 where it is not known
	done        bool     // false: it may be there, or not
	hash        Hash
	marks
}

// row is the message as the row of a copied one.
func (c carried) row(uid mail.UID) row {
	key := strconv.FormatUint(uint64(c.there), 10)
	return row{Item: Item{Key: key, UID: uid, Flags: c.flags, Keywords: c.keywords}, state: Copied, hash: c.hash}
}

// carriedRows returns which messages of a folder here were taken to the old
// server, or may have been.
func (l *Ledger) carriedRows(ctx context.Context, account int64, folder string, v mail.UIDValidity) (map[mail.UID]carried, error) {
	out := map[mail.UID]carried{}
	err := l.view(ctx, func() error {
		return l.query(`SELECT uid, there, done, hash, flags FROM carried WHERE account = ? AND folder = ? AND validity = ?`, func(s *sqlite3.Stmt) error {
			c := carried{here: mail.UID(s.ColumnInt64(0)), there: mail.UID(s.ColumnInt64(1)), done: s.ColumnBool(2)}
			copy(c.hash[:], s.ColumnRawBlob(3))
			c.flags, c.keywords = parseFlagText(s.ColumnText(4))
			out[c.here] = c
			return nil
		}, account, folder, int64(v))
	})
	return out, err
}

// setCarried writes down that messages are about to be taken, or were taken.
func (l *Ledger) setCarried(ctx context.Context, account int64, folder string, v mail.UIDValidity, rows []carried) error {
	return l.update(ctx, func() error {
		for _, c := range rows {
			flags := flagText(Item{Flags: c.flags, Keywords: c.keywords})
			if err := l.exec(`INSERT OR REPLACE INTO carried (account, folder, validity, uid, there, done, hash, flags) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
				account, folder, int64(v), int64(c.here), int64(c.there), c.done, c.hash[:], flags); err != nil {
				return err
			}
		}
		return nil
	})
}

// renamedHere writes down that a copied folder has another name, and what was
// carried from it with it.
func (l *Ledger) renamedHere(ctx context.Context, account int64, f *folderRow, was string) error {
	return l.update(ctx, func() error {
		if err := l.exec(`UPDATE OR REPLACE carried SET folder = ? WHERE account = ? AND folder = ? AND validity = ?`,
			f.target, account, was, int64(f.adopted)); err != nil {
			return err
		}
		return l.writeFolder(account, f)
	})
}
