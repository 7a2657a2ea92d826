package migrate

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"expost/internal/mail"
)

// Report is what the ledger knows of a migration.
type Report struct {
	Ledger   string          `json:"ledger"`
	Made     time.Time       `json:"made"`
	Total    Sums            `json:"total"`
	Chain    ChainReport     `json:"chain"`
	Accounts []AccountReport `json:"accounts"`
}

// ChainReport is what a Report says of the ledger's chain of events.
type ChainReport struct {
	Head   string `json:"head"` // the last hash
	Events int    `json:"events"`
	Broken string `json:"broken,omitempty"` // where it does not hold
}

// Sums are counts as reports show them. Source is what the source holds:
// Copied + There + Aside + Waiting.
type Sums struct {
	Source   int   `json:"source"`
	Copied   int   `json:"copied"`
	There    int   `json:"already_there"`
	Aside    int   `json:"set_aside"`
	Waiting  int   `json:"waiting"`
	Verified int   `json:"verified"`
	Gone     int   `json:"removed_at_source"`
	Bytes    int64 `json:"bytes"`
}

// AccountReport is one account of a Report.
type AccountReport struct {
	Source  string         `json:"source"`
	Target  string         `json:"target"`
	State   string         `json:"state"` // new, running, done, failed
	Stage   Stage          `json:"stage,omitempty"`
	Moved   *time.Time     `json:"moved,omitempty"`    // when the mailHost was flipped
	Gap     float64        `json:"frozen_s,omitempty"` // how long it was frozen for that
	Error   string         `json:"error,omitempty"`
	Damage  []string       `json:"damage,omitempty"` // of the source, as all passes found it
	Passes  int            `json:"passes"`
	Seconds int64          `json:"seconds"` // of the last pass
	Sums    Sums           `json:"sums"`
	Folders []FolderReport `json:"folders,omitempty"`
}

// FolderReport is one folder of a Report.
type FolderReport struct {
	Name     string        `json:"name"`
	Target   string        `json:"target"`
	Sums     Sums          `json:"sums"`
	KeepsUID bool          `json:"keeps_uids"`
	Note     string        `json:"note,omitempty"` // why UIDs are not kept, or what is wrong
	Aside    []AsideReport `json:"aside,omitempty"`
}

// AsideReport is an item that was set aside.
type AsideReport struct {
	Item   string `json:"item"`
	Reason string `json:"reason"`
	File   string `json:"file,omitempty"` // where the bytes are, if there were any
}

// sums returns c as reports show it.
func (c Counts) sums() Sums {
	return Sums{
		Source: c.Items(), Copied: c.Copied, There: c.There, Aside: c.Aside, Waiting: c.Seen,
		Verified: c.Verified, Gone: c.Gone, Bytes: c.Bytes,
	}
}

// Report reads the ledger.
func (l *Ledger) Report(ctx context.Context) (Report, error) {
	out := Report{Ledger: l.path, Made: l.now().UTC().Truncate(time.Second)}
	accounts, err := l.accounts(ctx)
	if err != nil {
		return out, err
	}
	var total Counts
	for _, a := range accounts {
		ar := AccountReport{
			Source: a.user.Source, Target: string(a.user.Target), State: a.state, Error: a.error,
			Passes: a.pass, Seconds: max(0, a.seconds), Stage: a.stage, Gap: float64(a.gap) / 1000,
		}
		if a.moved != 0 {
			moved := time.Unix(a.moved, 0).UTC()
			ar.Moved = &moved
		}
		folders, err := l.folders(ctx, a.id)
		if err != nil {
			return out, err
		}
		var sum Counts
		for _, f := range folders {
			c, err := l.counts(ctx, f.id)
			if err != nil {
				return out, err
			}
			sum.plus(c)
			fr, err := l.folderReport(ctx, a.id, f, c)
			if err != nil {
				return out, err
			}
			ar.Folders = append(ar.Folders, fr)
		}
		ar.Sums = sum.sums()
		total.plus(sum)
		out.Accounts = append(out.Accounts, ar)
	}
	out.Total = total.sums()
	places := make(map[int64]int, len(accounts)) // in out.Accounts, by id
	for i, a := range accounts {
		places[a.id] = i
	}
	out.Chain.Head, err = l.Chain(ctx, func(e Event) error {
		out.Chain.Events++
		i, known := places[e.Account]
		var s AccountSummary
		if !known || e.What != "pass" || json.Unmarshal(e.Text, &s) != nil {
			return nil
		}
		for _, d := range s.Damage {
			if a := &out.Accounts[i]; !slices.Contains(a.Damage, d) {
				a.Damage = append(a.Damage, d)
			}
		}
		return nil
	})
	if mail.KindOf(err) == mail.KindCorrupt {
		out.Chain.Broken, err = err.Error(), nil
	}
	return out, err
}

// Keep leaves only these accounts in the report, and their sums.
func (r *Report) Keep(users []User) {
	chosen := make(map[[2]string]bool, len(users))
	for _, u := range users {
		chosen[[2]string{u.Source, string(u.Target)}] = true
	}
	r.Total = Sums{}
	r.Accounts = slices.DeleteFunc(r.Accounts, func(a AccountReport) bool { return !chosen[[2]string{a.Source, a.Target}] })
	for _, a := range r.Accounts {
		r.Total.add(a.Sums)
	}
}

// add adds the sums of another.
func (s *Sums) add(o Sums) {
	s.Source += o.Source
	s.Copied += o.Copied
	s.There += o.There
	s.Aside += o.Aside
	s.Waiting += o.Waiting
	s.Verified += o.Verified
	s.Gone += o.Gone
	s.Bytes += o.Bytes
}

// folderReport describes one folder.
func (l *Ledger) folderReport(ctx context.Context, account int64, f folderRow, c Counts) (FolderReport, error) {
	fr := FolderReport{Name: f.Name, Target: f.target, Sums: c.sums(), KeepsUID: f.keeps(), Note: f.error}
	if fr.Note == "" && f.merged != "" {
		fr.Note = "UIDs are not the source's: " + f.merged
	}
	if fr.Note == "" && !f.present {
		fr.Note = "not at the source any more; left at the target"
		if f.adopted == 0 {
			fr.Note = "not at the source any more; removed at the target"
		}
	}
	if c.Aside == 0 {
		return fr, nil
	}
	rows, err := l.inState(ctx, f.id, Aside)
	for _, r := range rows {
		a := AsideReport{Item: r.Key, Reason: r.reason}
		if r.Size > 0 {
			a.File = aside{l.path + ".aside"}.path(account, f.id, r.Key)
		}
		fr.Aside = append(fr.Aside, a)
	}
	return fr, err
}

// WriteText writes the report for people.
func (r Report) WriteText(w io.Writer) error {
	p := &printer{w: w}
	p.line("Migration %s, %s", r.Ledger, r.Made.Format("2006-01-02 15:04 MST"))
	p.line("")
	for _, a := range r.Accounts {
		p.line("%s -> %s: %s, %s, %d passes", a.Source, a.Target, a.State, a.Place(), a.Passes)
		if a.Error != "" {
			p.line("  ! %s", strings.ReplaceAll(a.Error, "\n", "\n    "))
		}
		writeDamage(p, a.Damage)
		for _, f := range a.Folders {
			p.line("  %-40s %s", f.Name, f.Sums)
			if f.Target != f.Name {
				p.line("      at the target: %s", f.Target)
			}
			if f.Note != "" {
				p.line("      ! %s", f.Note)
			}
			for _, it := range f.Aside {
				p.line("      aside: item %s: %s", it.Item, it.Reason)
				if it.File != "" {
					p.line("             bytes in %s", it.File)
				}
			}
		}
		p.line("  %-40s %s", "in all", a.Sums)
		p.line("")
	}
	p.line("%d accounts, %d moved: %s", len(r.Accounts), r.Moved(), r.Total)
	p.line("the ledger's chain has %d events, the last %s", r.Chain.Events, r.Chain.Head)
	if r.Chain.Broken != "" {
		p.line("! %s", r.Chain.Broken)
	}
	return p.err
}

// String writes the sums for people.
func (s Sums) String() string {
	text := fmt.Sprintf("%d at the source = %d copied", s.Source, s.Copied)
	for _, part := range []struct {
		n    int
		what string
	}{{s.There, "already there"}, {s.Aside, "set aside"}, {s.Waiting, "waiting"}} {
		if part.n > 0 {
			text += fmt.Sprintf(" + %d %s", part.n, part.what)
		}
	}
	text += fmt.Sprintf("; %d verified", s.Verified)
	if s.Gone > 0 {
		text += fmt.Sprintf("; %d removed at the source", s.Gone)
	}
	return text
}
