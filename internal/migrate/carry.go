package migrate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"expost/internal/mail"
)

// carry makes one account of the old server what its user has made of the one
// here since the cutover. What was copied is known by its row: its UID at the
// old server, the hash of its bytes, its flags. So, in this order,
//
//   - a folder that was renamed here is renamed there, new ones are made, and
//     subscriptions follow;
//   - flags that were changed here are set there;
//   - a message here that no row claims is moved there, if its bytes are those of a
//     copied message that is no longer where it was copied to; else it is appended;
//   - a copied message that is gone from here is removed there, but never half of a
//     folder or more at once unless Removals says so;
//   - a folder that was removed here, and is empty there, is removed there.
//
// What came to the old server itself since the cutover is no row's, and stays.
// Every step may be repeated. A crash (kill -9, power loss) leaves:
//
//	before a message is sent    The ledger says that it may be there, in this folder,
//	                            from this UID on. The next command looks for its
//	                            bytes there, or for its header, until no more turn up:
//	                            the server may still be at what was sent.
//	a message was appended      As before: it is found.
//	copied, but not removed     (a server without MOVE) It is found in the new
//	                            folder, and removed from the old one as gone from here.
//	a folder was renamed        It is found by its UIDVALIDITY.
//	anything else               It is done again, and changes nothing.
//
// A folder here is known by its name and UIDVALIDITY, a message at the old server
// by its folder, the UIDVALIDITY of that, and its UID, as clients know it.
type carry struct {
	*Engine
	row  accountRow
	move *Move
	dst  TargetAccount
	back Target
	old  TargetAccount // nil: only count

	here    map[string]bool       // names of the folders here
	states  map[string]seenFolder // the folders here, as the round before found them
	gone    map[string]bool       // folders that the round before found gone, by goneKey
	left    map[string]int        // messages that would be carried, by folder here
	marked  map[place]marks       // flags set at the old server
	removed map[place]bool        // messages moved away or removed there
	renamed map[string]bool       // folders of the old server
	refused []string              // what could not be carried
}

// seenFolder is what a round compares to know whether it has to look at a folder.
type seenFolder struct {
	State
	subscribed bool
}

// marks are the flags and keywords of a message.
type marks struct {
	flags    mail.Flags
	keywords mail.Keywords
}

// place is where a message is at the old server.
type place struct {
	folder string
	uid    mail.UID
}

// Organizer is a TargetAccount that can do to folders and messages what users do.
type Organizer interface {
	// Move moves messages to another folder, those that are missing aside, and
	// returns the UIDs that they got, as far as the server says.
	Move(ctx context.Context, from string, uids mail.UIDSet, to string) (map[mail.UID]mail.UID, error)
	Renamer
	Discarder
}

// Finder is a TargetAccount that can look for what came into a folder lately.
type Finder interface {
	// Since calls fn with the messages of a folder from a UID on.
	Since(ctx context.Context, folder string, from mail.UID, fn func(uid mail.UID, hash Hash, id Identity) error) error
}

// openCarry opens both sides. Without a back it only counts.
func (e *Engine) openCarry(ctx context.Context, row accountRow, back Target, m *Move) (*carry, error) {
	c := &carry{
		Engine: e, row: row, move: m, back: back,
		states: map[string]seenFolder{}, gone: map[string]bool{}, left: map[string]int{}, marked: map[place]marks{}, removed: map[place]bool{}, renamed: map[string]bool{},
	}
	var err error
	if c.dst, err = e.target.Open(ctx, row.user); err != nil {
		return nil, fmt.Errorf("opening %s: %w", row.user.Target, err)
	}
	if back == nil {
		return c, nil
	}
	if c.old, err = back.Open(ctx, row.user); err != nil {
		return nil, errors.Join(fmt.Errorf("opening %s at the old server: %w", row.user.Source, err), c.dst.Close())
	}
	return c, nil
}

func (c *carry) close() error {
	if c.old == nil {
		return c.dst.Close()
	}
	return errors.Join(c.old.Close(), c.dst.Close())
}

// found is what a round finds in one of the target's folders.
type found struct {
	Folder
	row    *folderRow           // nil: the folder is not one that was copied
	absent bool                 // the folder is not there any more
	fresh  []Item               // messages that no row claims and that were not carried
	flags  []Item               // flags that were changed; UIDs are those of the old server
	gone   []row                // copied messages that are not there any more
	before map[mail.UID]carried // messages that were carried, or may have been
}

// round carries what has changed since the round before.
func (c *carry) round(ctx context.Context) error {
	c.refused = nil
	changes, err := c.survey(ctx)
	if err != nil {
		return err
	}
	if c.old == nil {
		c.move.Left = 0
		for _, n := range c.left {
			c.move.Left += n
		}
		return nil
	}
	if len(changes) == 0 { // as at most ends of a rollback, with the account frozen
		return nil
	}
	t := &taking{carry: c, lost: map[Hash][]*lost{}, seen: map[string][]*sighting{}}
	t.organizer, _ = c.old.(Organizer)
	if err := t.list(ctx); err != nil {
		return err
	}
	if err := t.take(ctx, changes); err != nil {
		return err
	}
	if len(c.refused) > 0 {
		return mail.Errorf(mail.KindConflict, "%s", strings.Join(c.refused, "; "))
	}
	return nil
}

// refuse notes what cannot be carried; the rest goes on.
func (c *carry) refuse(format string, args ...any) {
	c.refused = append(c.refused, fmt.Sprintf(format, args...))
}

// survey compares the target's folders with the ledger, those that are as the
// round before found them aside.
func (c *carry) survey(ctx context.Context) ([]*found, error) {
	folders, err := c.dst.Folders(ctx)
	if err != nil {
		return nil, err
	}
	known, err := c.ledger.folders(ctx, c.row.id)
	if err != nil {
		return nil, err
	}
	rows := make(map[string]*folderRow, len(known)) // by goneKey
	for i := range known {
		if r := &known[i]; r.present && !r.NoItems && r.error != leftOut {
			rows[goneKey(r.target, r.adopted)] = r
		}
	}
	carried, err := c.ledger.carriedFolders(ctx, c.row.id)
	if err != nil {
		return nil, err
	}
	var out []*found
	c.here = map[string]bool{}
	for _, f := range folders {
		c.here[f.Name] = true
		key := goneKey(f.Name, f.State.UIDValidity)
		g := &found{Folder: f, row: rows[key]}
		delete(rows, key)
		delete(carried, key)
		now := seenFolder{f.State, f.Subscribed}
		if was, ok := c.states[f.Name]; ok && was == now && f.State.ModSeq != 0 {
			continue
		}
		if !f.NoItems {
			if err := c.compare(ctx, g); err != nil {
				return nil, fmt.Errorf("folder %q: %w", f.Name, err)
			}
		}
		c.states[f.Name], c.left[f.Name] = now, len(g.fresh)
		out = append(out, g)
	}
	for key, r := range rows {
		carried[key] = Folder{Name: r.target, State: State{UIDValidity: r.adopted}}
	}
	for _, key := range slices.Sorted(maps.Keys(carried)) {
		if c.gone[key] {
			continue
		}
		g := &found{Folder: carried[key], row: rows[key], absent: true}
		if err := c.compare(ctx, g); err != nil {
			return nil, fmt.Errorf("folder %q: %w", g.Name, err)
		}
		c.gone[key] = true
		out = append(out, g)
	}
	return out, nil
}

// goneKey names a folder here, also one that has another name by now or is gone.
func goneKey(name string, v mail.UIDValidity) string { return fmt.Sprintf("%s\x00%d", name, v) }

// compare finds what is new, changed and gone in a folder.
func (c *carry) compare(ctx context.Context, g *found) (err error) {
	claimed := map[mail.UID]row{}
	foreign := mail.UID(1) // messages below were here before the migration
	if g.row != nil {
		foreign = max(foreign, g.row.base)
		for r, err := range c.ledger.allRows(ctx, g.row.id) {
			if err != nil {
				return err
			}
			if r.state.placed() && r.UID != 0 {
				claimed[r.UID] = r
			}
		}
	}
	g.fresh, g.flags, g.gone = nil, nil, nil
	if g.before, err = c.ledger.carriedRows(ctx, c.row.id, g.Name, g.State.UIDValidity); err != nil {
		return err
	}
	for uid, r := range g.before {
		if _, ok := claimed[uid]; !ok && r.done && r.there != 0 {
			claimed[uid] = r.row(uid)
		}
	}
	if !g.absent {
		err = c.dst.Items(ctx, g.Name, func(it Item) error {
			r, ok := claimed[it.UID]
			switch {
			case ok:
				if g.row != nil && g.row.adopted == g.row.State.UIDValidity {
					c.number(g.row.Name, keyUID(r), it.UID)
				}
				if r.Flags != it.Flags || r.Keywords != it.Keywords {
					g.flags = append(g.flags, Item{UID: keyUID(r), Flags: it.Flags, Keywords: it.Keywords})
				}
				delete(claimed, it.UID)
			case it.UID >= foreign && !g.before[it.UID].done:
				g.fresh = append(g.fresh, it)
			}
			return nil
		})
	}
	for _, uid := range slices.Sorted(maps.Keys(claimed)) {
		g.gone = append(g.gone, claimed[uid])
	}
	return err
}

// number notes a folder in which a message has another UID at the old server than
// here, under the same UIDVALIDITY: clients may take it for another message.
func (c *carry) number(folder string, there, here mail.UID) {
	if there != 0 && there != here && !slices.Contains(c.move.Renumbered, folder) {
		c.move.Renumbered = append(c.move.Renumbered, folder)
	}
}

// keyUID returns the UID of a copied message at the old server, or 0.
func keyUID(r row) mail.UID {
	uid, err := strconv.ParseUint(r.Key, 10, 32)
	if err != nil {
		return 0
	}
	return mail.UID(uid)
}
