package migrate

import (
	"fmt"
	"io"
)

// printer writes lines until an error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

// plural returns "1 message", "2 messages".
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// sizeText writes a number of bytes as people read it.
func sizeText(n int64) string {
	switch {
	case n < 0:
		return "size not known"
	case n < 1e6:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	case n < 1e9:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.2f GB", float64(n)/1e9)
}

// WritePreviews writes what a plan found, for people.
func WritePreviews(w io.Writer, previews []Preview) error {
	p := &printer{w: w}
	items, bytes := 0, int64(0)
	for _, a := range previews {
		p.line("%s -> %s: %s in %s, %s", a.Source, a.Target, plural(a.Items, "message"), plural(len(a.Folders), "folder"), sizeText(a.Bytes))
		if a.Problem != "" {
			p.line("  ! %s", a.Problem)
		}
		for _, note := range a.Notes {
			p.line("  ! %s", note)
		}
		for _, f := range a.Folders {
			role := ""
			if f.Use != "" {
				role = "\\" + string(f.Use)
			}
			p.line("  %-36s %8d  %10s  %s", f.Name, f.Items, sizeText(f.Bytes), role)
			if f.Note != "" {
				p.line("      %s", f.Note)
			}
			writeTooLarge(p, f.TooLarge)
		}
		items += a.Items
		if bytes >= 0 && a.Bytes >= 0 {
			bytes += a.Bytes
		} else {
			bytes = -1
		}
	}
	p.line("in all: %s in %s, %s", plural(items, "message"), plural(len(previews), "account"), sizeText(bytes))
	return p.err
}

// namedLarge is how many large messages of a folder a text names.
const namedLarge = 10

// writeTooLarge names the messages that a run will set aside.
func writeTooLarge(p *printer, items []LargeItem) {
	if len(items) == 0 {
		return
	}
	p.line("      ! %s larger than the target takes: set aside by a run, unless the limit is raised there", plural(len(items), "message"))
	for _, it := range items[:min(len(items), namedLarge)] {
		p.line("        item %s, %s", it.Item, sizeText(it.Size))
	}
	if more := len(items) - namedLarge; more > 0 {
		p.line("        and %d more (--json names them all)", more)
	}
}

// AccountSummary is a Result for programs.
type AccountSummary struct {
	Source  string   `json:"source"`
	Target  string   `json:"target"`
	Copied  int      `json:"copied"`
	There   int      `json:"already_there"`
	Moved   int      `json:"moved"`
	Updated int      `json:"flags_changed"`
	Removed int      `json:"removed"`
	Aside   int      `json:"set_aside"`
	Bytes   int64    `json:"bytes"`
	Error   string   `json:"error,omitempty"`
	Damage  []string `json:"damage,omitempty"`
}

// Summary returns results for programs.
func Summary(results []Result) []AccountSummary {
	out := make([]AccountSummary, len(results))
	for i := range results {
		out[i] = results[i].summary()
	}
	return out
}

// summary returns a result for programs.
func (r *Result) summary() AccountSummary {
	s := AccountSummary{
		Source: r.User.Source, Target: string(r.User.Target), Copied: r.Copied, There: r.There,
		Moved: r.Moved, Updated: r.Updated, Removed: r.Removed, Aside: r.Aside, Bytes: r.Bytes, Damage: r.Damage,
	}
	if r.Err != nil {
		s.Error = r.Err.Error()
	}
	return s
}

// String writes a result for people.
func (r Result) String() string {
	text := fmt.Sprintf("%d copied", r.Copied)
	for _, part := range []struct {
		n    int
		what string
	}{{r.There, "already there"}, {r.Moved, "moved from folder to folder"}, {r.Updated, "with changed flags"}, {r.Removed, "removed"}, {r.Aside, "set aside"}} {
		if part.n > 0 {
			text += fmt.Sprintf(", %d %s", part.n, part.what)
		}
	}
	return text
}

// WriteSummary writes results for people.
func WriteSummary(w io.Writer, results []Result) error {
	p := &printer{w: w}
	var total Result
	for _, r := range results {
		p.line("%s -> %s: %s", r.User.Source, r.User.Target, r)
		if r.Err != nil {
			p.line("  ! %v", r.Err)
		}
		writeDamage(p, r.Damage)
		total.Copied += r.Copied
		total.There += r.There
		total.Moved += r.Moved
		total.Updated += r.Updated
		total.Removed += r.Removed
		total.Aside += r.Aside
		total.Bytes += r.Bytes
	}
	p.line("in all: %s (%s) in %s", total, sizeText(total.Bytes), plural(len(results), "account"))
	return p.err
}

// shownDamage is how many lines of it are shown to people; programs get all.
const shownDamage = 20

func writeDamage(p *printer, damage []string) {
	for i, d := range damage {
		if i == shownDamage {
			p.line("  ! and %d more (--json has them all)", len(damage)-i)
			break
		}
		p.line("  ! damaged: %s", d)
	}
}

// WriteVerifications writes what a verification found, for people.
func WriteVerifications(w io.Writer, all []Verification) error {
	p := &printer{w: w}
	equal, problems := 0, 0
	for _, v := range all {
		text := fmt.Sprintf("%s in %s equal", plural(v.Items, "message"), plural(v.Folders, "folder"))
		if v.Moved > 0 {
			text += fmt.Sprintf(", %d not compared: the mailbox has moved, and its user works with it", v.Moved)
		}
		if v.Newer > 0 {
			text += fmt.Sprintf(", %d not copied yet (run again)", v.Newer)
		}
		if v.Aside > 0 {
			text += fmt.Sprintf(", %d set aside (see report)", v.Aside)
		}
		p.line("%s -> %s: %s", v.User.Source, v.User.Target, text)
		if v.Error != "" {
			p.line("  ! %s", v.Error)
		}
		for _, pr := range v.Problems {
			if pr.Item == "" {
				p.line("  ! %s: %s", pr.Folder, pr.What)
			} else {
				p.line("  ! %s, item %s: %s", pr.Folder, pr.Item, pr.What)
			}
		}
		equal += v.Items
		problems += len(v.Problems)
	}
	p.line("in all: %s equal, %s in %s", plural(equal, "message"), plural(problems, "difference"), plural(len(all), "account"))
	return p.err
}

// WriteStatus writes one line for each account.
func (r Report) WriteStatus(w io.Writer) error {
	p := &printer{w: w}
	for _, a := range r.Accounts {
		state := a.State
		if a.Stage != StageCopying {
			state = a.Place()
		}
		what := a.Sums.String()
		if a.Passes == 0 && a.Error == "" && a.Sums.Source == 0 {
			what = "no pass has looked at it yet"
		}
		p.line("%-8s %s -> %s: %s", state, a.Source, a.Target, what)
		if a.Error != "" {
			p.line("  ! %s", a.Error)
		}
	}
	p.line("%s: %s", plural(len(r.Accounts), "account"), r.Total)
	return p.err
}
