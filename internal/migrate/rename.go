package migrate

import (
	"context"
	"fmt"
	"slices"

	"expost/internal/mail"
)

// followRenames finds folders that the source has renamed since the last pass
// and renames them at the target, which then has nothing to copy. It returns
// the target's folders.
//
// A listed folder is what became of one of the ledger that had another name if it
// has its UIDVALIDITY, and no other folder has or had that: servers that give
// several folders one value say nothing with it. The target is renamed before the
// ledger says so. Crash between the two: the folder is found at the target under
// its new name.
func (p *pass) followRenames(ctx context.Context, listed, targets []Folder) ([]Folder, error) {
	known, err := p.ledger.folders(ctx, p.row.id)
	if err != nil {
		return nil, err
	}
	moved := renamed(known, listed)
	if len(moved) == 0 {
		return targets, nil
	}
	if p.row.stage != StageMoved { // else the names there are their user's
		if targets, err = p.renameTargets(ctx, moved, targets); err != nil {
			return nil, err
		}
	}
	rows := make([]*folderRow, len(moved))
	for i, m := range moved {
		p.opt.Log.Info("a folder was renamed", "source", p.user.Source, "from", m.row.Name, "to", m.now.Name, "target", m.row.target)
		m.row.Key, m.row.Name, m.row.settled = m.now.Key, m.now.Name, false
		rows[i] = m.row
	}
	return targets, p.ledger.rename(ctx, p.row.id, rows)
}

// renameTargets renames folders at the target. A name that another of them gives
// up is waited for; where they go in a circle, one of them has a name of its own
// for the moment.
func (p *pass) renameTargets(ctx context.Context, moved []rename, targets []Folder) (_ []Folder, err error) {
	name := namesAt(p.dst)
	queue := slices.DeleteFunc(slices.Clone(moved), func(m rename) bool { return m.row.target == name(m.now.Name) })
	for len(queue) > 0 {
		i := unblocked(len(queue), func(i int) (string, string) { return queue[i].row.target, name(queue[i].now.Name) })
		to, done := "", i >= 0
		if done {
			to = name(queue[i].now.Name)
		} else {
			i, to = 0, uniqueName(queue[0].row.target, func(n string) bool { return hasFolder(targets, n) })
		}
		r := queue[i].row
		if r.target, err = p.renameTarget(ctx, r, to, targets); err != nil {
			return nil, fmt.Errorf("renaming the target's folder %q: %w", r.target, err)
		}
		if done || r.target != to { // or it cannot be renamed
			queue = slices.Delete(queue, i, i+1)
		}
		if err := p.ledger.putFolder(ctx, p.row.id, r); err != nil {
			return nil, err
		}
		if targets, err = p.dst.Folders(ctx); err != nil {
			return nil, fmt.Errorf("listing the target's folders: %w", err)
		}
	}
	return targets, nil
}

// unblocked returns which of n renamings can be made, because none of the others
// has its new name to give up still; -1 where they go in a circle.
func unblocked(n int, names func(i int) (from, to string)) int {
	for i := range n {
		_, to := names(i)
		blocked := false
		for j := range n {
			from, _ := names(j)
			blocked = blocked || j != i && from == to
		}
		if !blocked {
			return i
		}
	}
	return -1
}

// hasFolder tells whether there is a folder of that name.
func hasFolder(folders []Folder, name string) bool {
	return slices.ContainsFunc(folders, func(f Folder) bool { return f.Name == name })
}

// renameTarget renames the folder of a row at the target, where that can be
// done, and returns the name that it has then.
func (p *pass) renameTarget(ctx context.Context, r *folderRow, name string, targets []Folder) (string, error) {
	for _, t := range targets {
		if t.Name == name && t.State.UIDValidity == r.adopted { // with a folder above it, or before a crash
			return name, nil
		}
	}
	o, ok := p.dst.(Renamer)
	if !ok || r.adopted == 0 {
		return r.target, nil
	}
	switch err := o.Rename(ctx, r.target, name); mail.KindOf(err) {
	case mail.KindExist, mail.KindNotExist, mail.KindInvalid:
		p.opt.Log.Warn("the target's folder keeps its name", "target", p.user.Target, "folder", r.target, "not", name, "because", err)
		return r.target, nil
	default:
		return name, err
	}
}

// rename is a folder of the ledger and what it is called now.
type rename struct {
	row *folderRow
	now Folder
}

// renamed pairs the folders of the ledger with those that have another name at the
// source now, in their order. The name that one of them had may be another's now.
func renamed(known []folderRow, listed []Folder) []rename {
	owners := map[mail.UIDValidity][]*folderRow{}
	for i := range known {
		v := known[i].State.UIDValidity
		owners[v] = append(owners[v], &known[i])
	}
	listedBy := map[mail.UIDValidity]int{}
	for _, f := range listed {
		listedBy[f.State.UIDValidity]++
	}
	var out []rename
	for _, f := range listed {
		v := f.State.UIDValidity
		if f.NoItems || v == 0 || len(owners[v]) != 1 || listedBy[v] != 1 {
			continue
		}
		if r := owners[v][0]; r.Key != f.Key && !r.NoItems && r.Name != mail.Inbox && f.State.UIDNext >= r.since.UIDNext {
			out = append(out, rename{r, f})
		}
	}
	return out
}

// rename writes down the keys and the names of folders. A folder of the ledger
// whose key is another's now, and that is not at the source any more, gets a key that
// no source's folder has.
func (l *Ledger) rename(ctx context.Context, account int64, rows []*folderRow) error {
	return l.update(ctx, func() error {
		for _, f := range rows { // they may have changed their keys among themselves
			if err := l.exec(`UPDATE folder SET key = ? WHERE id = ?`, fmt.Sprintf("\x02%d", f.id), f.id); err != nil {
				return err
			}
		}
		for _, f := range rows {
			if err := l.exec(`UPDATE folder SET key = char(2) || id || char(2) || key WHERE account = ? AND key = ?`, account, f.Key); err != nil {
				return err
			}
			if err := l.exec(`UPDATE folder SET key = ?, name = ?, target = ?, settled = 0 WHERE id = ?`, f.Key, f.Name, f.target, f.id); err != nil {
				return err
			}
		}
		return nil
	})
}
