package gal

import (
	_ "embed"
	"slices"
	"strings"
	"sync"

	"golang.org/x/text/unicode/norm"
)

// headers.tsv holds, a line each, what a program calls its columns in a
// language, in the order of its export: program, language, field=Header|Header…
//
//go:embed headers.tsv
var headersTSV string

// profile is one program's header row in one language.
type profile struct {
	program, language string
	columns           []profileColumn
}

// profileColumn is a column of a profile.
type profileColumn struct {
	field Field
	names []string // normalised
	text  string   // the first name as written
}

// headerTable is headers.tsv, parsed once.
type headerTable struct {
	profiles []profile
	known    map[string]Field // a header in any language: the field it means first
}

// headers returns the parsed table.
var headers = sync.OnceValue(func() *headerTable {
	t := &headerTable{known: map[string]Field{}}
	for l := range strings.Lines(headersTSV) {
		cells := strings.Split(strings.TrimRight(l, "\n"), "\t")
		p := profile{program: cells[0], language: cells[1]}
		for _, c := range cells[2:] {
			f, names, _ := strings.Cut(c, "=")
			col := profileColumn{field: Field(f)}
			for _, n := range strings.Split(names, "|") {
				if col.text == "" {
					col.text = n
				}
				n = normalHeader(n)
				col.names = append(col.names, n)
				if _, has := t.known[n]; !has {
					t.known[n] = col.field
				}
			}
			p.columns = append(p.columns, col)
		}
		t.profiles = append(t.profiles, p)
	}
	return t
})

// normalHeader returns a header cell in the form in which they are compared:
// without case, without blanks around and doubled ones inside. Japanese Windows
// wrote some with a blank at the end.
func normalHeader(s string) string {
	s = norm.NFKC.String(strings.Trim(s, "\uFEFF\x00"))
	return strings.ToLower(strings.Join(strings.Fields(strings.TrimSuffix(strings.TrimSpace(s), ":")), " "))
}

// mapping says which column of a file holds which field.
type mapping struct {
	program, language string
	fields            []Field  // by column; "" where it is not known
	names             []string // the header row, as it stands in the file
	matched           int      // columns that are known
}

// mapHeader finds the program and the language whose header row this is, and
// the field of each column. A header that stands twice (French "Titre", for
// the title before the name and for the job) is told apart by its place.
func mapHeader(row []string) mapping {
	cells := make([]string, len(row))
	for i, c := range row {
		cells[i] = normalHeader(c)
	}
	t := headers()
	best, bestScore := -1, 0
	for i, p := range t.profiles {
		if score := p.score(cells); score > bestScore {
			best, bestScore = i, score
		}
	}
	m := mapping{fields: make([]Field, len(row)), names: row}
	if best >= 0 {
		p := t.profiles[best]
		m.program, m.language = p.program, p.language
		p.assign(cells, m.fields)
	}
	for i, c := range cells {
		if m.fields[i] == "" {
			m.fields[i] = t.known[c]
		}
		if m.fields[i] != "" {
			m.matched++
		}
	}
	return m
}

// score is the number of cells the profile explains, in order twice.
func (p *profile) score(cells []string) int {
	score := 0
	for _, c := range cells {
		if c != "" && slices.ContainsFunc(p.columns, func(col profileColumn) bool { return slices.Contains(col.names, c) }) {
			score++
		}
	}
	if score > 0 {
		score += len(p.align(cells))
	}
	return score
}

// pair joins a cell of the file with a column of a profile.
type pair struct{ cell, column int }

// align returns the longest common subsequence of the cells and the profile's
// columns, the earliest columns first.
func (p *profile) align(cells []string) []pair {
	n, m := len(cells), len(p.columns)
	length := make([][]int16, n+1)
	for i := range length {
		length[i] = make([]int16, m+1)
	}
	same := func(i, j int) bool { return cells[i] != "" && slices.Contains(p.columns[j].names, cells[i]) }
	for i := n - 1; i >= 0; i-- {
		for j := m - 1; j >= 0; j-- {
			length[i][j] = max(length[i+1][j], length[i][j+1])
			if same(i, j) {
				length[i][j] = max(length[i][j], length[i+1][j+1]+1)
			}
		}
	}
	var out []pair
	for i, j := 0, 0; i < n && j < m; {
		switch {
		case same(i, j) && length[i][j] == length[i+1][j+1]+1:
			out = append(out, pair{i, j})
			i, j = i+1, j+1
		case length[i+1][j] > length[i][j+1]:
			i++
		default:
			j++
		}
	}
	return out
}

// assign gives each cell the field of its column: first those that stand in
// the profile's order, then the rest by name.
func (p *profile) assign(cells []string, out []Field) {
	used := make([]bool, len(p.columns))
	for _, pr := range p.align(cells) {
		out[pr.cell] = p.columns[pr.column].field
		used[pr.column] = true
	}
	for i, c := range cells {
		for j, col := range p.columns {
			if out[i] == "" && c != "" && !used[j] && slices.Contains(col.names, c) {
				out[i] = col.field
				used[j] = true
			}
		}
	}
	p.lonelyName(cells, out)
}

// lonelyName corrects the list that has one column for the name: where a
// language calls the full name and a part of it alike ("Nom", "Nombre",
// "Имя"), it is the full name.
func (p *profile) lonelyName(cells []string, out []Field) {
	first, last := slices.Index(out, FirstName), slices.Index(out, LastName)
	if (first >= 0) == (last >= 0) || slices.Contains(out, FullName) {
		return
	}
	i := max(first, last)
	for _, col := range p.columns {
		if col.field == FullName && slices.Contains(col.names, cells[i]) {
			out[i] = FullName
		}
	}
}

// headerRow returns the header row that a program writes in English.
func headerRow(program string) ([]Field, []string) {
	for _, p := range headers().profiles {
		if p.program != program || p.language != "en" {
			continue
		}
		var fields []Field
		var names []string
		for _, c := range p.columns {
			if program == "outlook" && (c.field == FullName || c.field == WorkAddress || c.field == HomeAddress) {
				continue // newer Outlooks read these and do not write them
			}
			fields, names = append(fields, c.field), append(names, c.text)
		}
		return fields, names
	}
	return nil, nil
}
