package migrate

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"expost/internal/mail"
)

// Preview is what a run would find.
type Preview struct {
	User    User            `json:"-"`
	Source  string          `json:"source"`
	Target  string          `json:"target"`
	Items   int             `json:"items"`
	Bytes   int64           `json:"bytes"` // -1: the source does not say
	Folders []FolderPreview `json:"folders"`
	Notes   []string        `json:"notes,omitempty"`
	Problem string          `json:"error,omitempty"` // why the account cannot be moved
}

// FolderPreview is one folder of a Preview.
type FolderPreview struct {
	Name     string          `json:"name"`
	Target   string          `json:"target"`
	Use      mail.SpecialUse `json:"role,omitempty"`
	Items    int             `json:"items"`
	Bytes    int64           `json:"bytes"`
	KeepsUID bool            `json:"keeps_uids"`
	Note     string          `json:"note,omitempty"`
	TooLarge []LargeItem     `json:"too_large,omitempty"` // for the target
}

// LargeItem is a message that the target does not take: a run sets it aside.
type LargeItem struct {
	Item string `json:"item"` // its Key
	Size int64  `json:"bytes"`
}

// Preview looks at both sides of the accounts and changes neither. It keeps
// what it finds of the source's folders in the ledger.
func (e *Engine) Preview(ctx context.Context, users []User) ([]Preview, error) {
	e.opt.Progress.Accounts(len(users))
	if err := e.ledger.enter(ctx, users); err != nil {
		return nil, err
	}
	out := make([]Preview, len(users))
	err := each(ctx, e.opt.Workers, len(users), func(ctx context.Context, i int) error {
		u := users[i]
		out[i] = Preview{User: u, Source: u.Source, Target: string(u.Target)}
		if err := e.preview(ctx, u, &out[i]); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			out[i].Problem = err.Error()
		}
		e.opt.Progress.Done(u, Result{User: u})
		return nil
	})
	return out, err
}

// preview looks at one account.
func (e *Engine) preview(ctx context.Context, u User, p *Preview) error {
	dst, terr := e.look(ctx, u)
	src, err := e.openSource(ctx, u)
	if err != nil {
		return errors.Join(fmt.Errorf("opening the source account %s: %w", u.Source, err), terr)
	}
	defer src.Close()
	folders, err := src.Folders(ctx)
	if err != nil {
		return fmt.Errorf("listing the source's folders: %w", err)
	}
	account, err := e.ledger.account(ctx, u)
	if err != nil {
		return err
	}
	for i := range folders {
		if m, ok := src.(Measurer); ok && !folders[i].NoItems {
			s := &folders[i].State
			if s.Messages, s.Bytes, err = m.Measure(ctx, folders[i]); err != nil {
				s.Bytes = -1
				p.Notes = append(p.Notes, err.Error())
			}
		}
	}
	rows, _, err := e.ledger.sync(ctx, account.id, folders, dst.named)
	if err != nil {
		return err
	}
	for _, r := range rows {
		fp := previewFolder(r, dst.folders)
		if fp.TooLarge, err = tooLarge(ctx, src, r.Folder, dst.limit); err != nil {
			p.Notes = append(p.Notes, fmt.Sprintf("looking for messages of %q that are too large: %v", r.Name, err))
		}
		p.Folders = append(p.Folders, fp)
		p.Items += fp.Items
		if p.Bytes >= 0 && fp.Bytes >= 0 {
			p.Bytes += fp.Bytes
		} else {
			p.Bytes = -1
		}
	}
	return terr
}

// targetLook is what a target account is like.
type targetLook struct {
	folders []Folder
	named   func(string) string // the name that it can hold
	limit   int64               // bytes of a message; 0: any
}

// look looks at a target account.
func (e *Engine) look(ctx context.Context, u User) (targetLook, error) {
	out := targetLook{named: targetName}
	open := e.target.Open
	if l, ok := e.target.(Looker); ok {
		open = l.Look
	}
	dst, err := open(ctx, u)
	if err != nil {
		return out, fmt.Errorf("opening the target account %s: %w", u.Target, err)
	}
	var lerr error
	for _, side := range []any{e.target, dst} {
		if l, ok := side.(Limiter); ok && out.limit == 0 && lerr == nil {
			out.limit, lerr = l.Limit(ctx)
		}
	}
	if dst == nil {
		return out, lerr
	}
	out.named = namesAt(dst)
	out.folders, err = dst.Folders(ctx)
	return out, errors.Join(lerr, err, dst.Close())
}

// tooLarge finds the messages of a folder that the target does not take.
func tooLarge(ctx context.Context, src SourceAccount, f Folder, limit int64) ([]LargeItem, error) {
	if limit <= 0 || f.NoItems || f.State.Messages == 0 || f.State.Bytes >= 0 && f.State.Bytes <= limit {
		return nil, nil
	}
	var out []LargeItem
	take := func(items []Item) error {
		for _, it := range items {
			if it.Size > limit {
				out = append(out, LargeItem{it.Key, it.Size})
			}
		}
		return nil
	}
	if l, ok := src.(LargeFinder); ok {
		items, err := l.Larger(ctx, f, limit)
		if err != nil {
			return nil, err
		}
		err = take(items)
		return out, err
	}
	_, err := src.Scan(ctx, f, State{}, take)
	return out, err
}

// previewFolder says what will become of a folder.
func previewFolder(r *folderRow, targets []Folder) FolderPreview {
	fp := FolderPreview{
		Name: r.Name, Target: r.target, Use: r.Use, Items: max(0, r.State.Messages), Bytes: r.State.Bytes,
		KeepsUID: r.keeps(),
	}
	if r.NoItems {
		fp.Bytes, fp.KeepsUID, fp.Note = 0, false, "holds only other folders"
		return fp
	}
	if r.Name != r.target {
		fp.Note = "the name is changed to one that a mailbox can have"
	}
	i := slices.IndexFunc(targets, func(t Folder) bool { return t.Name == r.target })
	if r.adopted == 0 && i >= 0 && targets[i].State.Messages > 0 && targets[i].State.UIDValidity != r.State.UIDValidity {
		fp.KeepsUID = false
		fp.Note = fmt.Sprintf("the target's mailbox holds %d messages already: new ones are added behind them, with new UIDs", targets[i].State.Messages)
	}
	return fp
}
