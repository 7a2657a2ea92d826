package gal

import (
	"sync"

	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"expost/internal/codepage"
)

// table is a CSV being read.
type table struct {
	*reader
	scan    *scanner
	m       mapping
	headed  bool             // the first row held names
	entry   func(*row) error // makes a recipient of a row
	unnamed map[int]bool     // columns reported as not known
}

// row is one row of a table, in UTF-8.
type row struct {
	line  int
	cells []string
	lines []int // of the cells
}

// get returns a cell, "" where the row is short.
func (r *row) get(i int) string {
	if i < 0 || i >= len(r.cells) {
		return ""
	}
	return r.cells[i]
}

// filled returns the number of cells that hold something.
func (r *row) filled() int {
	n := 0
	for _, c := range r.cells {
		if c != "" {
			n++
		}
	}
	return n
}

// readCSV reads a CSV of any program.
func (rd *reader) readCSV(br *bufio.Reader, sample []byte) error {
	t := &table{reader: rd, unnamed: map[int]bool{}}
	t.scan = &scanner{r: br, delim: rd.opts.Delimiter, report: func(line int, what, did string) { rd.issue(line, Warning, "", what, did) }}
	head, err := t.prologue(sample)
	if err != nil {
		return err
	}
	if t.scan.delim == 0 {
		t.scan.delim = t.chooseDelimiter(head)
	}
	rd.src.Delimiter = delimiterName(t.scan.delim)
	if rd.opts.Page == "" && rd.src.Page != "utf-16le" && rd.src.Page != "utf-16be" {
		rd.pageByHeader(head, t.scan.delim)
	}
	return t.rows()
}

// delimiterName returns a delimiter as a person would type it.
func delimiterName(d byte) string {
	if d == '\t' {
		return "tab"
	}
	return fmt.Sprintf("%q", string(d))
}

// prologue skips what stands before the header, "sep=;" of Excel and "#TYPE"
// of PowerShell, and returns the header's line from the sample.
func (t *table) prologue(sample []byte) ([]byte, error) {
	for {
		n := lineLength(sample)
		l := bytes.TrimSpace(sample[:n])
		sep, isSep := bytes.CutPrefix(bytes.ToLower(l), []byte("sep="))
		switch {
		case len(l) == 0 && n > 0, bytes.HasPrefix(l, []byte("#TYPE ")), bytes.HasPrefix(l, []byte("```")):
		case isSep && len(sep) == 1:
			if t.scan.delim == 0 {
				t.scan.delim = sep[0]
			}
		default:
			return l, nil
		}
		if n == 0 {
			return nil, errors.New("the file is empty")
		}
		if _, err := t.scan.r.Discard(n); err != nil {
			return nil, err
		}
		t.scan.line++
		sample = sample[n:]
	}
}

// delimiters are those that are tried, the likelier first.
const delimiters = ",;\t|"

// chooseDelimiter returns the delimiter under which most cells of the header
// are known, else the one that makes most cells.
func (t *table) chooseDelimiter(head []byte) byte {
	best, known, most := byte(','), -1, 0
	for _, d := range []byte(delimiters) {
		cells := splitLine(head, d)
		m := mapHeader(t.decodeAll(cells))
		if score := m.matched + attributeHeader(m.names); score > known || score == known && len(cells) > most {
			best, known, most = d, score, len(cells)
		}
	}
	return best
}

// splitLine splits one line.
func splitLine(line []byte, delim byte) [][]byte {
	s := scanner{r: bufio.NewReader(bytes.NewReader(line)), delim: delim, report: func(int, string, string) {}}
	cells, err := s.row()
	if err != nil {
		return nil
	}
	var out [][]byte
	for _, c := range cells {
		out = append(out, s.bytes(c))
	}
	return out
}

// decodeAll returns cells in UTF-8, without a report.
func (t *table) decodeAll(cells [][]byte) []string {
	var out []string
	for _, c := range cells {
		s, _ := t.page.String(c)
		out = append(out, s)
	}
	return out
}

// pageByHeader lets the header settle the code page: names of columns that
// are known in one code page only are better evidence than any statistics.
func (rd *reader) pageByHeader(head []byte, delim byte) {
	if !bytes.ContainsFunc(head, func(r rune) bool { return r >= 0x80 }) {
		return
	}
	best, page := -1, rd.page
	try := []string{rd.page.Name, "65001", "1252", "1250", "1251", "932", "936", "949", "950", "1254", "1256", "1253", "1257", "850", "852", "866"}
	for _, name := range try {
		p, err := codepage.Lookup(name)
		if err != nil {
			continue
		}
		if _, ok := p.String(head); !ok {
			continue
		}
		matched := 0
		for _, c := range splitLine(head, delim) {
			s, _ := p.String(c)
			if headers().known[normalHeader(s)] != "" {
				matched++
			}
		}
		if matched > best {
			best, page = matched, p
		}
	}
	rd.page, rd.src.Page = page, page.Name
}

// rows reads the header and then the rest.
func (t *table) rows() error {
	first, err := t.next()
	if err != nil {
		return t.noRow(err)
	}
	again, err := t.header(first)
	if err != nil {
		return err
	}
	r := first
	if !again {
		if r, err = t.next(); err == io.EOF {
			return errors.New("there is a header row and nobody below it")
		}
	}
	for ; err == nil; r, err = t.next() {
		if err := t.entry(r); err != nil {
			return err
		}
	}
	if err == io.EOF {
		return nil
	}
	return err
}

// noRow explains a file without any row.
func (t *table) noRow(err error) error {
	if err == io.EOF {
		return errors.New("the file holds no row")
	}
	return err
}

// next returns the next row in UTF-8.
func (t *table) next() (*row, error) {
	cells, err := t.scan.row()
	if err != nil {
		return nil, err
	}
	if len(cells) == 1 && len(t.m.fields) > 1 {
		cells = t.otherDelimiter(cells)
	}
	r := &row{line: cells[0].line, cells: make([]string, len(cells)), lines: make([]int, len(cells))}
	for i, c := range cells {
		r.cells[i] = strings.TrimSpace(t.text(t.scan.bytes(c), c.line, t.column(i)))
		r.lines[i] = c.line
	}
	return r, nil
}

// otherDelimiter splits a row that is a single cell again, with another
// delimiter: lists that were glued together by hand have both.
func (t *table) otherDelimiter(cells []cell) []cell {
	b := t.scan.bytes(cells[0])
	for _, d := range []byte(delimiters) {
		if d == t.scan.delim || cells[0].quoted || bytes.Count(b, []byte{d}) < 2 {
			continue
		}
		t.issue(cells[0].line, Warning, "", fmt.Sprintf("the row has no %s", delimiterName(t.scan.delim)), "split at "+delimiterName(d))
		var out []cell
		start := cells[0].start
		for i := start; i <= cells[0].end; i++ {
			if i == cells[0].end || t.scan.text[i] == d {
				out = append(out, cell{start: start, end: i, line: cells[0].line})
				start = i + 1
			}
		}
		return out
	}
	return cells
}

// column returns the name of a column, for reports.
func (t *table) column(i int) string {
	if i < len(t.m.names) && t.headed && t.m.names[i] != "" {
		return strings.TrimSpace(t.m.names[i])
	}
	return fmt.Sprintf("column %d", i+1)
}

// header finds out what the columns are. again means that the row is an
// entry already.
func (t *table) header(r *row) (again bool, err error) {
	if len(t.opts.Columns) > 0 {
		return t.givenColumns(r)
	}
	t.entry = t.contact
	if n := attributeHeader(r.cells); n > 0 {
		t.headed = true
		t.m = mapping{names: r.cells, fields: make([]Field, len(r.cells))}
		return false, t.attributeTable(r)
	}
	t.m = mapHeader(r.cells)
	switch {
	case t.m.matched > 0 && !looksLikeData(r.cells):
		t.headed = true
		t.src.Program, t.src.Language = t.m.program, t.m.language
		if !t.hasUse() {
			return false, fmt.Errorf("line %d: no column of names and none of addresses among %d columns (%s): give the columns with --columns, for example --columns %s",
				r.line, len(r.cells), quoteList(r.cells), exampleColumns(len(r.cells)))
		}
		t.reportUnknown(r)
		return false, nil
	case looksLikeData(r.cells):
		return true, t.headless(r)
	}
	return false, fmt.Errorf("line %d: none of its %d columns is known (%s): if the delimiter is not %s give it with --delimiter, if the text is garbled give its --codepage, "+
		"or name the columns with --columns, for example --columns %s", r.line, len(r.cells), quoteList(r.cells), delimiterName(t.scan.delim), exampleColumns(len(r.cells)))
}

// hasUse tells whether a column holds a name or an address.
func (t *table) hasUse() bool {
	return slices.ContainsFunc(t.m.fields, func(f Field) bool {
		return f == Email || f == FullName || f == FirstName || f == LastName
	})
}

// exampleColumns makes up a value for --columns.
func exampleColumns(n int) string {
	return strings.Join([]string{"fullName", "email", "workPhone", "-"}[:min(max(n, 1), 4)], ",")
}

// quoteList returns the first few cells, quoted.
func quoteList(cells []string) string {
	var q []string
	for i, c := range cells {
		if i == 4 {
			q = append(q, "…")
			break
		}
		q = append(q, fmt.Sprintf("%q", clip(c)))
	}
	return strings.Join(q, ", ")
}

// givenColumns takes the columns from the options.
func (t *table) givenColumns(r *row) (again bool, err error) {
	t.entry = t.contact
	known := knownFields()
	t.m = mapping{program: "columns given", names: t.opts.Columns}
	for _, c := range t.opts.Columns {
		f := Field(c)
		if c == "-" || c == "" {
			f = label
		} else if !known[f] {
			if f = headers().known[normalHeader(c)]; f == "" {
				return false, fmt.Errorf("column %q is not known: use names such as fullName, firstName, lastName, email, workPhone, department, or - to skip one", c)
			}
		}
		t.m.fields = append(t.m.fields, f)
	}
	t.src.Program = "columns given"
	t.headed = true
	return mapHeader(r.cells).matched == 0 || looksLikeData(r.cells), nil
}

// knownFields returns the fields that a column may hold.
var knownFields = sync.OnceValue(func() map[Field]bool {
	known := map[Field]bool{}
	for _, p := range headers().profiles {
		for _, c := range p.columns {
			known[c.field] = true
		}
	}
	return known
})

// looksLikeData tells a row of an entry from one of names: it holds an
// address.
func looksLikeData(cells []string) bool {
	return slices.ContainsFunc(cells, func(c string) bool {
		at := strings.IndexByte(c, '@')
		return at > 0 && at < len(c)-1 && !strings.Contains(c, " @ ")
	})
}

// reportUnknown reports columns that have no field.
func (t *table) reportUnknown(r *row) {
	for i, f := range t.m.fields {
		if f == "" && r.cells[i] != "" {
			t.issue(r.line, Warning, t.column(i), "this column is not known", "its values go to the description")
		}
	}
}

// headless finds the columns of a list without a header row: those of
// programs that write none, else by what the cells look like.
func (t *table) headless(r *row) error {
	t.src.Program = "no header row"
	mail := slices.IndexFunc(r.cells, func(c string) bool { return strings.Contains(c, "@") })
	t.m = mapping{names: make([]string, len(r.cells)), fields: make([]Field, len(r.cells))}
	switch n := len(r.cells); {
	case mail == 4 && n >= 5:
		fields, _ := headerRow("mozilla")
		if screen := slices.Index(fields, "screenName"); n < 36 || olderMozilla(r) {
			fields = append(slices.Delete(slices.Clone(fields), screen, screen+1), "screenName")
		}
		t.src.Program = "mozilla"
		copy(t.m.fields, fixBirthday(fields))
	case mail == 8 && n >= 14:
		t.src.Program = "palm"
		copy(t.m.fields, []Field{LastName, FirstName, JobTitle, Company, WorkPhone, HomePhone, WorkFax, MobilePhone, Email,
			WorkStreet, WorkCity, WorkState, WorkPostalCode, WorkCountry, "custom1", "custom2", "custom3", "custom4", Notes, label, Categories})
	default:
		t.guessColumns(r, mail)
	}
	t.issue(r.line, Warning, "", "the file has no header row", "columns taken as "+fieldList(t.m.fields)+"; give others with --columns")
	return nil
}

// olderMozilla tells the order of older versions, which wrote the screen name
// last, by a number where newer ones have the screen name, or a street where
// they have the mobile phone.
func olderMozilla(r *row) bool {
	const screen, mobile = 6, 11
	number := func(s string) bool { return s != "" && strings.Trim(s, "0123456789+-() ./") == "" }
	return number(r.get(screen)) || r.get(mobile) != "" && !number(r.get(mobile))
}

// fixBirthday puts the parts of a birthday into the order in which Mozilla
// writes them: year, month, day.
func fixBirthday(fields []Field) []Field {
	out := slices.Clone(fields)
	if i := slices.Index(out, birthMonth); i >= 0 && i+2 < len(out) {
		out[i], out[i+1], out[i+2] = birthYear, birthMonth, birthDay
	}
	return out
}

// guessColumns takes the cells before the address as names: the full name
// where it holds the other two, else first and last name.
func (t *table) guessColumns(r *row, mail int) {
	t.m.fields[mail] = Email
	var names []int
	for i, c := range r.cells {
		if i != mail && c != "" && !strings.ContainsAny(c, "0123456789@") && len(names) < 3 {
			names = append(names, i)
		}
	}
	for _, full := range names {
		var rest []int
		for _, i := range names {
			if i != full && strings.Contains(r.cells[full], r.cells[i]) {
				rest = append(rest, i)
			}
		}
		if len(rest) == 2 {
			t.m.fields[full], t.m.fields[rest[0]], t.m.fields[rest[1]] = FullName, FirstName, LastName
			return
		}
	}
	switch len(names) {
	case 0:
	case 1:
		t.m.fields[names[0]] = FullName
	default:
		t.m.fields[names[0]], t.m.fields[names[1]] = FirstName, LastName
	}
}

// fieldList names fields for a report.
func fieldList(fields []Field) string {
	var out []string
	for _, f := range fields {
		if f == "" {
			f = "-"
		}
		out = append(out, string(f))
	}
	return strings.TrimRight(strings.Join(out, ","), ",-")
}
