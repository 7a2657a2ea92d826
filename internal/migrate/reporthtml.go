package migrate

import (
	_ "embed"
	"encoding/csv"
	"fmt"
	"html/template"
	"io"
	"strconv"
	"strings"
	"time"
)

// reportPage is the page of a report.
//
//go:embed report.html
var reportPage string

// WriteHTML writes the report as one page that needs nothing else: for the
// management, an auditor, or a printer.
func (r Report) WriteHTML(w io.Writer) error {
	t, err := template.New("report").Funcs(template.FuncMap{
		"size": sizeText,
		"date": func(t time.Time) string { return t.Format("2006-01-02 15:04:05 MST") },
		"per":  func(n, of int) string { return percent(n, of) },
	}).Parse(reportPage)
	if err != nil {
		return fmt.Errorf("making the page: %w", err)
	}
	return t.Execute(w, r)
}

// percent returns n of of, "100 %" only where it is all.
func percent(n, of int) string {
	switch {
	case of == 0:
		return "–"
	case n == of:
		return "100 %"
	}
	return fmt.Sprintf("%.1f %%", min(99.9, 100*float64(n)/float64(of)))
}

// Moved returns how many accounts have moved.
func (r Report) Moved() int {
	return r.count(func(a *AccountReport) bool { return a.Stage == StageMoved })
}

// Failed returns how many accounts have something wrong.
func (r Report) Failed() int { return r.count(func(a *AccountReport) bool { return a.Error != "" }) }

func (r Report) count(is func(*AccountReport) bool) (n int) {
	for i := range r.Accounts {
		if is(&r.Accounts[i]) {
			n++
		}
	}
	return n
}

// Remarkable tells whether there is more to say of the account than its sums.
func (a AccountReport) Remarkable() bool {
	if a.Error != "" || len(a.Damage) > 0 {
		return true
	}
	for _, f := range a.Folders {
		if f.Note != "" || len(f.Aside) > 0 {
			return true
		}
	}
	return false
}

// Place says where the account lives, for people.
func (a AccountReport) Place() string {
	switch a.Stage {
	case StageMoved:
		return "moved"
	case StageCutting, StageReturning:
		return "interrupted: run the command again"
	}
	return "at the source"
}

// WriteCSV writes the report for spreadsheets: a row for each account, folder
// and item that was set aside, of the kind that the first column says.
func (r Report) WriteCSV(w io.Writer) error {
	out := csv.NewWriter(w)
	write := func(cells ...string) {
		for i, c := range cells { // what a spreadsheet would take for a formula
			if c != "" && strings.ContainsRune("=+-@\t\r", rune(c[0])) {
				cells[i] = "'" + c
			}
		}
		out.Write(cells) // an error stays until Flush
	}
	write("kind", "source", "target", "folder", "item", "state", "place", "at_source", "copied", "already_there", "set_aside", "waiting",
		"verified", "removed_at_source", "bytes", "frozen_seconds", "note", "file")
	sums := func(s Sums) []string {
		cells := make([]string, 0, 8)
		for _, n := range []int{s.Source, s.Copied, s.There, s.Aside, s.Waiting, s.Verified, s.Gone} {
			cells = append(cells, strconv.Itoa(n))
		}
		return append(cells, strconv.FormatInt(s.Bytes, 10))
	}
	for _, a := range r.Accounts {
		gap := ""
		if a.Moved != nil {
			gap = strconv.FormatFloat(a.Gap, 'f', 3, 64)
		}
		write(append(append([]string{"account", a.Source, a.Target, "", "", a.State, a.Place()}, sums(a.Sums)...), gap, a.Error, "")...)
		for _, d := range a.Damage {
			write("damage", a.Source, a.Target, "", "", "", "", "", "", "", "", "", "", "", "", "", d, "")
		}
		for _, f := range a.Folders {
			write(append(append([]string{"folder", a.Source, a.Target, f.Name, "", "", ""}, sums(f.Sums)...), "", f.Note, "")...)
			for _, it := range f.Aside {
				write("aside", a.Source, a.Target, f.Name, it.Item, "", "", "", "", "", "", "", "", "", "", "", it.Reason, it.File)
			}
		}
	}
	out.Flush()
	return out.Error()
}
