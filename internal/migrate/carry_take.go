package migrate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"expost/internal/mail"
)

// taking is the part of a round that writes to the old server.
type taking struct {
	*carry
	organizer Organizer              // nil: the old server's mailbox is one that only takes mail
	there     map[string]State       // the old server's folders, by name
	lost      map[Hash][]*lost       // copied messages that are gone from where they were here
	seen      map[string][]*sighting // what was found in the old server's folders
}

// sighting is a message of the old server that may be one that was sent.
type sighting struct {
	uid  mail.UID
	hash Hash
	id   Identity
	used bool // it is
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
		if err := t.resolve(ctx, g); err != nil {
			return fmt.Errorf("folder %q: %w", g.Name, err)
		}
		t.lose(g)
	}
	for _, g := range changes {
		if g.absent {
			continue
		}
		if err := t.folder(ctx, g); err != nil {
			if ctx.Err() != nil || passing(err) && mail.KindOf(err) != mail.KindConflict {
				return fmt.Errorf("folder %q: %w", g.Name, err)
			}
			t.refuse("folder %q: %v", g.Name, err)
		}
	}
	if len(t.refused) > 0 { // what was not carried may be what is gone elsewhere
		return nil
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

// role returns what a folder is for, here or at the old server.
func (g *found) role() mail.SpecialUse {
	if g.row != nil && g.Use == mail.UseNone {
		return g.row.Use
	}
	return g.Use
}

// renames finds folders that have another name here now, renames them at the old
// server, and returns the changes without those that this explains. A name that
// another folder gives up is waited for; where they go in a circle, one of them has
// a name of its own for the moment.
func (t *taking) renames(ctx context.Context, changes []*found) ([]*found, error) {
	if t.organizer == nil {
		return changes, nil
	}
	waiting := slices.DeleteFunc(pairRenames(changes), func(p renamedFolder) bool { return !t.locate(p.was.row) })
	explained := map[*found]bool{}
	for len(waiting) > 0 {
		i := unblocked(len(waiting), func(i int) (string, string) { return waiting[i].was.row.Name, waiting[i].now.Name })
		if i < 0 {
			if err := t.stepAside(ctx, waiting[0].was.row); err != nil {
				return nil, err
			}
			continue
		}
		was, now := waiting[i].was, waiting[i].now
		waiting = slices.Delete(waiting, i, i+1)
		ok, err := t.rename(ctx, was.row, now.Name)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		explained[was], now.row = true, was.row
		if err := t.compare(ctx, now); err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(changes, func(g *found) bool { return explained[g] }), nil
}

// renamedFolder is a folder here and what it was before.
type renamedFolder struct{ was, now *found }

// pairRenames finds folders that have another name now, those above others first.
func pairRenames(changes []*found) []renamedFolder {
	var out []renamedFolder
	paired := map[*found]bool{}
	for _, g := range changes {
		if g.row != nil || g.absent || g.NoItems {
			continue
		}
		for _, h := range changes {
			if h.absent && h.row != nil && !paired[h] && sameFolder(g, h) {
				paired[h] = true
				out = append(out, renamedFolder{h, g})
				break
			}
		}
	}
	slices.SortFunc(out, func(x, y renamedFolder) int { return strings.Compare(x.now.Name, y.now.Name) })
	return out
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

// rename renames the folder of a row at the old server, unless that was done, or
// a folder above has taken it along, and writes that down. Where the old server has
// another folder of that name, or none of this, it is not done.
func (t *taking) rename(ctx context.Context, r *folderRow, name string) (ok bool, err error) {
	if !t.locate(r) {
		return false, nil
	}
	if r.Name != name {
		if _, taken := t.there[name]; taken {
			return false, nil
		}
		if err := t.organizer.Rename(ctx, r.Name, name); err != nil {
			return false, fmt.Errorf("renaming %q at the old server to %q: %w", r.Name, name, err)
		}
		t.renamed[name] = true
		if err := t.list(ctx); err != nil {
			return false, err
		}
	}
	was := r.target
	r.Name, r.target, r.settled = name, name, false
	return true, t.ledger.renamedHere(ctx, t.row.id, r, was)
}

// stepAside gives the folder of a row a name at the old server that nobody wants.
func (t *taking) stepAside(ctx context.Context, r *folderRow) error {
	was := r.Name
	if t.locate(r) && r.Name != was { // a folder above has taken it along
		return nil
	}
	name := uniqueName(was, func(n string) bool { _, taken := t.there[n]; return taken })
	if err := t.organizer.Rename(ctx, was, name); err != nil {
		return fmt.Errorf("renaming %q at the old server to %q: %w", was, name, err)
	}
	r.Name = name
	if err := t.ledger.putFolder(ctx, t.row.id, r); err != nil {
		return err
	}
	return t.list(ctx)
}

// locate finds the folder of a row at the old server: under its name, or, where
// that is another one's by now, by its UIDVALIDITY.
func (t *taking) locate(r *folderRow) bool {
	if s, ok := t.there[r.Name]; ok && s.UIDValidity == r.State.UIDValidity {
		return true
	}
	var names []string
	for name, s := range t.there {
		if s.UIDValidity == r.State.UIDValidity {
			names = append(names, name)
		}
	}
	if len(names) != 1 {
		return false
	}
	r.Name = names[0]
	return true
}

// resolve finds out what became of messages that may be at the old server, because
// an earlier command was interrupted when it sent them.
func (t *taking) resolve(ctx context.Context, g *found) error {
	finder, ok := t.old.(Finder)
	name := g.nameThere()
	if _, there := t.there[name]; !ok || !there {
		return nil
	}
	var open []carried
	from := mail.UID(0)
	for _, c := range g.before {
		if !c.done {
			open = append(open, c)
			if from == 0 || c.there < from {
				from = c.there
			}
		}
	}
	if len(open) == 0 {
		return nil
	}
	slices.SortFunc(open, func(x, y carried) int { return cmp.Compare(x.here, y.here) })
	settled, err := t.settled(ctx, finder, name, from, g, open)
	if err != nil || len(settled) == 0 {
		return err
	}
	if err := t.ledger.setCarried(ctx, t.row.id, g.Name, g.State.UIDValidity, settled); err != nil {
		return err
	}
	return t.compare(ctx, g)
}

// settled looks for messages that may be at the old server until no more of them
// turn up: it may still carry out what a connection sent that has died since.
func (t *taking) settled(ctx context.Context, finder Finder, name string, from mail.UID, g *found, open []carried) ([]carried, error) {
	pause := 2 * time.Second
	if len(t.opt.Delays) > 0 {
		pause = t.opt.Delays[0]
	}
	for before := -1; ; {
		if err := t.look(ctx, finder, name, from, g); err != nil {
			return nil, err
		}
		out := t.settle(name, slices.Clone(open))
		if len(out) == len(open) || len(t.seen[name]) == before {
			return out, nil
		}
		before = len(t.seen[name])
		if !sleep(ctx, pause) {
			return nil, ctx.Err()
		}
	}
}

// look looks at what is in a folder of the old server from a UID on. What is known
// to have been carried there from g is no news.
func (t *taking) look(ctx context.Context, finder Finder, name string, from mail.UID, g *found) error {
	known := map[mail.UID]bool{}
	for _, c := range g.before {
		known[c.there] = known[c.there] || c.done
	}
	t.seen[name] = nil
	err := finder.Since(ctx, name, from, func(uid mail.UID, hash Hash, id Identity) error {
		t.seen[name] = append(t.seen[name], &sighting{uid, hash, id, known[uid]})
		return nil
	})
	if err != nil {
		return fmt.Errorf("looking for what was sent before: %w", err)
	}
	return nil
}

// settle pairs messages that may be in a folder of the old server with what was
// seen there: by their bytes first, then, because a server may make messages anew,
// by their headers. It returns those that are there.
func (t *taking) settle(name string, open []carried) []carried {
	var out []carried
	for _, same := range []func(carried, *sighting) bool{
		func(c carried, s *sighting) bool { return s.hash == c.hash },
		func(c carried, s *sighting) bool { return s.id == c.id && c.id != Identity{} },
	} {
		open = slices.DeleteFunc(open, func(c carried) bool {
			for _, s := range t.seen[name] {
				if !s.used && s.uid >= c.there && same(c, s) {
					s.used = true
					c.there, c.done = s.uid, true
					out = append(out, c)
					return true
				}
			}
			return false
		})
	}
	return out
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
	for _, it := range items {
		uids.Add(it.UID)
		byUID[it.UID] = it
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
	open := slices.Clone(b.sent)
	for _, list := range b.moves {
		for _, m := range list {
			open = append(open, m.carried)
		}
	}
	for i := range open {
		open[i].there, open[i].done = b.to.State.UIDNext, false
	}
	if err := b.write(ctx, open); err != nil {
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
	if bytes, ok := body.(*Bytes); ok {
		c.id = bytes.Identity
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
		moved := make([]carried, 0, len(list))
		for _, m := range list {
			if m.there = got[m.was]; m.there == 0 {
				m.there = b.to.State.UIDNext
				moved = append(moved, m.carried)
			} else {
				b.done = append(b.done, m.carried)
			}
			b.removed[place{from, m.was}] = true
		}
		if finder, ok := b.old.(Finder); ok && len(moved) > 0 { // the server does not say which UIDs they have
			if err := b.look(ctx, finder, b.to.Name, b.to.State.UIDNext, b.from); err != nil {
				return err
			}
			b.done = append(b.done, b.settle(b.to.Name, moved)...)
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
	guarded := t.opt.Removals == RemoveGuarded && g.role() != mail.UseTrash && g.role() != mail.UseJunk
	if n, had := uids.Len(), t.there[name].Messages; guarded && n >= guardMin && 2*n > had {
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
	if _, there := t.there[name]; !g.absent || !there || t.organizer == nil || t.here[name] {
		return nil
	}
	if err := t.organizer.Discard(ctx, name); err != nil && mail.KindOf(err) != mail.KindConflict {
		return fmt.Errorf("removing it at the old server: %w", err)
	}
	return nil
}
