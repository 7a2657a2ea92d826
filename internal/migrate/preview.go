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
	targets, named, terr := e.targetFolders(ctx, u)
	src, err := e.source.Open(ctx, u)
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
	rows, err := e.ledger.sync(ctx, account.id, folders, named)
	if err != nil {
		return err
	}
	for _, r := range rows {
		fp := previewFolder(r, targets)
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

// targetFolders returns what the target account holds now, and what names it
// can hold.
func (e *Engine) targetFolders(ctx context.Context, u User) ([]Folder, func(string) string, error) {
	open := e.target.Open
	if l, ok := e.target.(Looker); ok {
		open = l.Look
	}
	dst, err := open(ctx, u)
	if err != nil {
		return nil, targetName, fmt.Errorf("opening the target account %s: %w", u.Target, err)
	}
	if dst == nil {
		return nil, targetName, nil
	}
	folders, err := dst.Folders(ctx)
	return folders, namesAt(dst), errors.Join(err, dst.Close())
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
