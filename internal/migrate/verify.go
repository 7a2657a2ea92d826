package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"

	"expost/internal/mail"
)

// Verification is what Verify found out about one account.
type Verification struct {
	User     User      `json:"-"`
	Source   string    `json:"source"`
	Target   string    `json:"target"`
	Folders  int       `json:"folders"`
	Items    int       `json:"equal"`            // compared and found equal
	Remade   int       `json:"equal_in_content"` // of Items: with other bytes, because a side makes MIME anew
	Moved    int       `json:"moved"`            // compared at the cutover, not any more
	Newer    int       `json:"not_copied"`       // at the source since the last pass
	Aside    int       `json:"set_aside"`        // at the source only
	Problems []Problem `json:"differences"`
	Error    string    `json:"error,omitempty"` // why it could not be verified to its end
}

// Problem is one difference. Where Item is empty it is one of the folder.
type Problem struct {
	Folder string `json:"folder"`
	Item   string `json:"item,omitempty"`
	What   string `json:"what"`
}

// maxProblems bounds the problems that are kept of one account.
const maxProblems = 1000

// Verify fetches both sides of the accounts again and compares: bytes, UIDs,
// flags, keywords, internal dates, folders, subscriptions, roles. An item that
// is not at the target as it should be counts as seen again: the next run
// copies it.
func (e *Engine) Verify(ctx context.Context, users []User) ([]Verification, error) {
	e.opt.Progress.Accounts(len(users))
	if err := e.ledger.enter(ctx, users); err != nil {
		return nil, err
	}
	out := make([]Verification, len(users))
	turns := byTarget(users)
	err := each(ctx, e.opt.Workers, len(turns), func(ctx context.Context, n int) error {
		for _, i := range turns[n] {
			out[i] = Verification{User: users[i], Source: users[i].Source, Target: string(users[i].Target), Problems: []Problem{}}
			v := &verifier{Engine: e, user: users[i], out: &out[i]}
			err := v.account(ctx)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				out[i].Error = err.Error()
			}
			if err := e.noteVerified(ctx, users[i], &out[i]); err != nil {
				return err
			}
			e.opt.Progress.Done(users[i], Result{User: users[i], Err: err})
		}
		return nil
	})
	return out, err
}

// noteVerified adds a verification to the chain.
func (e *Engine) noteVerified(ctx context.Context, u User, v *Verification) error {
	row, err := e.ledger.account(ctx, u)
	if err != nil {
		return err
	}
	digest, err := e.ledger.digest(ctx, row.id)
	if err != nil {
		return err
	}
	short := *v
	short.Problems = short.Problems[:min(len(short.Problems), 10)]
	return e.ledger.addEvent(ctx, row.id, "verify", struct {
		Verification
		Differences int    `json:"number_of_differences"`
		Items       string `json:"items_sha256"`
	}{short, len(v.Problems), digest})
}

// verifier compares one account.
type verifier struct {
	*Engine
	user User
	src  SourceAccount
	dst  TargetAccount
	out  *Verification

	moved bool // the account lives at the target
}

// problem records a difference.
func (v *verifier) problem(folder, item, format string, args ...any) {
	if len(v.out.Problems) < maxProblems {
		v.out.Problems = append(v.out.Problems, Problem{folder, item, fmt.Sprintf(format, args...)})
	}
}

// account compares everything of one account.
func (v *verifier) account(ctx context.Context) (err error) {
	if v.dst, err = v.target.Open(ctx, v.user); err != nil {
		return fmt.Errorf("opening the target account %s: %w", v.user.Target, err)
	}
	defer func() { err = errors.Join(err, v.dst.Close()) }()
	if v.src, err = v.openSource(ctx, v.user); err != nil {
		return fmt.Errorf("opening the source account %s: %w", v.user.Source, err)
	}
	defer v.src.Close()
	folders, err := v.src.Folders(ctx)
	if err != nil {
		return fmt.Errorf("listing the source's folders: %w", err)
	}
	targets, err := v.dst.Folders(ctx)
	if err != nil {
		return fmt.Errorf("listing the target's folders: %w", err)
	}
	account, err := v.ledger.account(ctx, v.user)
	if err != nil {
		return err
	}
	v.moved = account.stage == StageMoved
	rows, err := v.ledger.folders(ctx, account.id)
	if err != nil {
		return err
	}
	items := 0
	for _, f := range folders {
		items += max(0, f.State.Messages)
	}
	v.opt.Progress.Start(v.user, items)
	for _, f := range folders {
		if v.excluded(f.Name) {
			continue
		}
		i := slices.IndexFunc(rows, func(r folderRow) bool { return r.Key == f.Key })
		if i < 0 {
			v.problem(f.Name, "", "new at the source since the last pass: run again")
			continue
		}
		t := slices.IndexFunc(targets, func(t Folder) bool { return t.Name == rows[i].target })
		if v.moved && t < 0 { // its user may have removed it
			continue
		}
		if t < 0 {
			v.problem(f.Name, "", "missing at the target: run again")
			continue
		}
		if _, without := v.dst.(Roleless); without {
			f.Use = mail.UseNone
		}
		if taken := slices.ContainsFunc(targets, func(t Folder) bool { return t.Use == f.Use }); !taken && f.Use != mail.UseNone && !v.moved {
			v.problem(f.Name, "", "the role %s is missing at the target", f.Use)
		}
		if err := v.folder(ctx, f, rows[i], targets[t]); err != nil {
			return fmt.Errorf("folder %q: %w", f.Name, err)
		}
	}
	return nil
}

// folder compares one folder.
func (v *verifier) folder(ctx context.Context, f Folder, r folderRow, t Folder) error {
	v.out.Folders++
	if r.adopted == 0 && !f.NoItems { // no pass has made it yet
		v.out.Newer += max(0, f.State.Messages)
		return nil
	}
	if f.Subscribed != t.Subscribed && !v.moved {
		v.problem(f.Name, "", "subscribed at the source: %t, at the target: %t", f.Subscribed, t.Subscribed)
	}
	if f.NoItems {
		return nil
	}
	if r.keeps() && f.State.UIDValidity != t.State.UIDValidity && !v.moved {
		v.problem(f.Name, "", "UIDVALIDITY at the source %d, at the target %d", f.State.UIDValidity, t.State.UIDValidity)
	}
	held := map[mail.UID]Item{}
	if err := v.dst.Items(ctx, t.Name, func(it Item) error { held[it.UID] = it; return nil }); err != nil {
		return err
	}
	_, err := v.src.Scan(ctx, f, State{}, func(items []Item) error { return v.batch(ctx, f, r, t, items, held) })
	return err
}

// batch compares some items of a folder.
func (v *verifier) batch(ctx context.Context, f Folder, r folderRow, t Folder, items []Item, held map[mail.UID]Item) error {
	rows, err := v.ledger.rows(ctx, r.id, items)
	if err != nil {
		return err
	}
	c := comparison{verifier: v, folder: f, keeps: r.keeps(), rows: rows, held: held}
	var both []Item
	var uids mail.UIDSet
	for _, it := range items {
		switch row, ok := rows[it.Key]; {
		case !ok || row.state == Seen:
			v.out.Newer++
		case v.moved && row.state.placed(): // what its user does with it is no difference any more
			v.out.Moved++
		case row.state == Aside:
			v.out.Aside++
		case row.state.placed():
			if _, there := held[row.UID]; !there {
				row.UID = it.UID
				c.lose(row, "missing at the target")
				continue
			}
			both = append(both, it)
			uids.Add(row.UID)
		}
	}
	if err := c.hash(ctx, t.Name, uids, both); err != nil {
		return err
	}
	v.opt.Progress.Step(v.user, len(items), 0)
	return v.ledger.putRows(ctx, r.id, c.done)
}

// comparison is the comparison of one batch.
type comparison struct {
	*verifier
	folder Folder
	keeps  bool
	rows   map[string]row
	held   map[mail.UID]Item
	done   []row // to be written
}

// lose takes back that an item is at the target.
func (c *comparison) lose(r row, format string, args ...any) {
	c.problem(c.folder.Name, r.Key, format, args...)
	r.state, r.verified = Seen, false
	c.done = append(c.done, r)
}

// hash reads both sides of items and compares them.
func (c *comparison) hash(ctx context.Context, target string, uids mail.UIDSet, items []Item) error {
	hashes := make(map[mail.UID]Hash, len(items))
	err := c.dst.Read(ctx, target, uids, func(uid mail.UID, r io.Reader) error {
		h, _, err := hashOf(r)
		hashes[uid] = h
		return err
	})
	if err != nil || len(items) == 0 {
		return err
	}
	return c.src.Fetch(ctx, c.folder, items, func(it Item, r io.Reader, err error) error {
		row := c.rows[it.Key]
		switch {
		case isGone(err):
			return nil
		case err != nil:
			c.problem(c.folder.Name, it.Key, "the source gives no bytes to compare: %v", err)
			return nil
		}
		b, at, err := readerAt(ctx, r, filepath.Dir(c.ledger.Path()))
		if err != nil {
			return err
		}
		defer b.Close()
		h, same := b.Hash(), ""
		if h != hashes[row.UID] {
			if same, err = c.remade(ctx, target, row, b, at); err != nil {
				return err
			}
		}
		c.compare(it, row, h, hashes[row.UID], same)
		return nil
	})
}

// remade compares the content of a message whose bytes are not the target's,
// and says what is different, "" where nothing is, or where the target's is a
// mended copy of it.
func (c *comparison) remade(ctx context.Context, target string, row row, original *Bytes, at io.ReaderAt) (differs string, err error) {
	source, err := CanonicalOf(at, original.Size)
	if err != nil {
		return "", err
	}
	var uids mail.UIDSet
	uids.Add(row.UID)
	differs = "everything: the message is not there"
	err = c.dst.Read(ctx, target, uids, func(_ mail.UID, r io.Reader) error {
		b, at, err := readerAt(ctx, r, filepath.Dir(c.ledger.Path()))
		if err != nil {
			return err
		}
		defer b.Close()
		there, err := CanonicalOf(at, b.Size)
		if differs = source.Differs(there); err == nil && there.mendedOf(original.Hash()) {
			differs = ""
		}
		return err
	})
	return differs, err
}

// compare compares one item of the source with its message at the target.
// differs says what is different in the content, where the bytes are.
func (c *comparison) compare(it Item, r row, source, target Hash, differs string) {
	t := c.held[r.UID]
	problems := len(c.out.Problems)
	switch {
	case differs != "" && r.linked():
		wrong := r // the next pass removes it
		wrong.Key, wrong.state, wrong.reason = doubtedKey+r.Key, Stale, doubted
		c.done = append(c.done, wrong)
		r.reason, r.UID = doubted, it.UID
		c.lose(r, "%s: different: %s", doubted, differs)
		return
	case differs != "" && source == r.hash:
		r.UID = it.UID
		c.lose(r, "the bytes at the target are not those that were copied: %s", differs)
		return
	case differs != "":
		c.problem(c.folder.Name, it.Key, "the source gives another message than at the first time; different: %s", differs)
	case source != target:
		c.out.Remade++
	}
	if c.keeps && it.UID != r.UID {
		c.problem(c.folder.Name, it.Key, "UID at the source %d, at the target %d", it.UID, r.UID)
	}
	if it.Flags != t.Flags || it.Keywords != t.Keywords {
		c.problem(c.folder.Name, it.Key, "flags at the source (%s), at the target (%s)", flagText(it), flagText(t))
	}
	if it.Date != (mail.Date{}) && it.Date.Unix != t.Date.Unix && r.state == Copied { // what was there before keeps its date
		c.problem(c.folder.Name, it.Key, "internal date at the source %s, at the target %s", dateText(it.Date), dateText(t.Date))
	}
	if len(c.out.Problems) > problems {
		return
	}
	c.out.Items++
	r.verified = true
	c.done = append(c.done, r)
}

// dateText writes a date as people read it.
func dateText(d mail.Date) string { return d.Time().Format(time.RFC3339) }
