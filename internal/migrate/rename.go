package migrate

import (
	"context"
	"fmt"

	"expost/internal/mail"
)

// followRenames finds folders that the source has renamed since the last pass
// and renames them at the target, which then has nothing to copy. It returns
// the target's folders.
//
// A folder that is listed for the first time is what became of one that is not
// listed any more if it has the same UIDVALIDITY, and no other folder has or had
// it: servers that give several folders one value say nothing with it. The target
// is renamed before the ledger says so. Crash between the two: the folder is found
// at the target under its new name.
func (p *pass) followRenames(ctx context.Context, listed, targets []Folder) ([]Folder, error) {
	known, err := p.ledger.folders(ctx, p.row.id)
	if err != nil {
		return nil, err
	}
	for _, m := range renamed(known, listed) {
		name := namesAt(p.dst)(m.now.Name)
		if p.row.stage != StageMoved && name != m.row.target { // else the name there is its user's
			if m.row.target, err = p.renameTarget(ctx, m.row, name, targets); err != nil {
				return nil, fmt.Errorf("renaming the target's folder %q: %w", m.row.target, err)
			}
			if targets, err = p.dst.Folders(ctx); err != nil {
				return nil, fmt.Errorf("listing the target's folders: %w", err)
			}
		}
		p.opt.Log.Info("a folder was renamed", "source", p.user.Source, "from", m.row.Name, "to", m.now.Name, "target", m.row.target)
		m.row.Key, m.row.Name, m.row.settled = m.now.Key, m.now.Name, false
		if err := p.ledger.rename(ctx, m.row); err != nil {
			return nil, err
		}
	}
	return targets, nil
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

// renamed pairs the folders of the ledger that are not listed any more with
// those that are listed for the first time, in their order.
func renamed(known []folderRow, listed []Folder) []rename {
	owners := map[mail.UIDValidity]map[string]bool{} // keys of the folders that have or had it
	own := func(v mail.UIDValidity, key string) {
		if owners[v] == nil {
			owners[v] = map[string]bool{}
		}
		owners[v][key] = true
	}
	there, rows := map[string]bool{}, map[string]*folderRow{}
	for _, f := range listed {
		there[f.Key] = true
		own(f.State.UIDValidity, f.Key)
	}
	for i := range known {
		rows[known[i].Key] = &known[i]
		own(known[i].State.UIDValidity, known[i].Key)
	}
	var out []rename
	for _, f := range listed {
		v := f.State.UIDValidity
		if rows[f.Key] != nil || f.NoItems || v == 0 || len(owners[v]) != 2 {
			continue
		}
		for key := range owners[v] {
			r := rows[key]
			if r != nil && !there[key] && r.adopted != 0 && !r.NoItems && r.Name != mail.Inbox && f.State.UIDNext >= r.since.UIDNext {
				out = append(out, rename{r, f})
			}
		}
	}
	return out
}

// rename writes down the key and the names of a folder.
func (l *Ledger) rename(ctx context.Context, f *folderRow) error {
	return l.update(ctx, func() error {
		return l.exec(`UPDATE folder SET key = ?, name = ?, target = ?, settled = 0 WHERE id = ?`, f.Key, f.Name, f.target, f.id)
	})
}
