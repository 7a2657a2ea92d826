package ldif

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"expost/internal/codepage"
	"expost/internal/ldap"
)

// Options say how a Reader reads.
type Options struct {
	File    string        // for errors
	Lenient bool          // repair what is broken, and report it
	Report  func(Issue)   // repairs of a lenient reader; nil: nobody listens
	Page    codepage.Page // of 8-bit values that are not UTF-8; zero: windows-1252

	MaxLine   int // bytes of a logical line; 0: 32 MiB
	MaxRecord int // bytes of a record, 64 added for each value; 0: 128 MiB
}

// Reader reads records one by one; memory holds one record at a time.
type Reader struct {
	lines   lineReader
	opts    Options
	pending *line // a line read ahead
	text    []byte
	begun   bool // something but comments was read
	between bool // the record that was read is behind us, its blank line too
	part    bool // a part of a modify record is open
}

// NewReader returns a Reader of r, which may be UTF-8, UTF-16 or, for a
// lenient Reader, text in a code page.
func NewReader(r io.Reader, opts Options) *Reader {
	if opts.Report == nil {
		opts.Report = func(Issue) {}
	}
	if opts.Page.Encoding == nil {
		opts.Page = codepage.Windows1252
	}
	if opts.MaxLine == 0 {
		opts.MaxLine = 32 << 20
	}
	if opts.MaxRecord == 0 {
		opts.MaxRecord = 128 << 20
	}
	br, _ := codepage.NewUnicodeReader(r)
	return &Reader{opts: opts, lines: lineReader{r: br, max: opts.MaxLine, lenient: opts.Lenient, report: opts.Report}}
}

// Next returns the next record, io.EOF behind the last, or an *Error for a
// record that cannot be read, after which it goes on with the next one. Any
// other error is the input's.
func (r *Reader) Next() (*Record, error) {
	rec, err := r.next()
	if e, ok := errors.AsType[*Error](err); ok {
		if e.File == "" {
			e.File = r.opts.File
		}
		if r.between {
			return nil, e
		}
		if skip := r.skipRecord(); skip != nil && skip != io.EOF {
			return nil, skip
		}
		return nil, e
	}
	return rec, err
}

// next reads a record up to and including the blank line behind it.
func (r *Reader) next() (*Record, error) {
	first, err := r.firstLine()
	if err != nil {
		return nil, err
	}
	r.between, r.part = false, false
	v, err := r.parse(first)
	if err != nil {
		return nil, err
	}
	if !equalFold(v.Desc, "dn") {
		return r.orphan(v)
	}
	rec := &Record{Line: v.Line, DN: string(v.Data), Truncated: first.eof}
	if err := r.body(rec); err != nil {
		return nil, err
	}
	return rec, nil
}

// orphan handles attributes that no "dn:" stands before.
func (r *Reader) orphan(v Value) (*Record, error) {
	if !r.opts.Lenient {
		return nil, &Error{Line: v.Line, Text: fmt.Sprintf("a record must begin with \"dn:\", this one begins with %q", v.Desc+":")}
	}
	rec := &Record{Line: v.Line, Values: []Value{v}}
	r.opts.Report(Issue{Line: v.Line, Attr: v.Desc, What: "attributes without a \"dn:\" before them", Did: "read as a record without a name"})
	return rec, r.body(rec)
}

// firstLine skips blank lines, comments and the version, and returns the
// first line of a record.
func (r *Reader) firstLine() (line, error) {
	for {
		ln, err := r.line()
		if err != nil {
			return line{}, err
		}
		switch {
		case isBlank(ln.text), ln.text[0] == '#', ln.text[0] == '-' && len(ln.text) == 1 && r.opts.Lenient:
			continue
		case !r.begun && hasPrefixFold(ln.text, "version:"):
			r.begun = true
			if v := strings.TrimSpace(string(ln.text[len("version:"):])); v != "1" {
				return line{}, &Error{Line: ln.num, Text: fmt.Sprintf("LDIF version %q is not known; only version 1 is", v)}
			}
			continue
		case r.opts.Lenient && r.isFence(ln):
			continue
		}
		r.begun = true
		return ln, nil
	}
}

// isFence reports a line that is no LDIF at all, such as the "```" of a text
// that was copied from a page.
func (r *Reader) isFence(ln line) bool {
	if bytes.IndexByte(ln.text, ':') >= 0 {
		return false
	}
	r.opts.Report(Issue{Line: ln.num, What: fmt.Sprintf("a line without a colon: %q", clip(ln.text)), Did: "the line was left out"})
	return true
}

// body reads the lines behind "dn:".
func (r *Reader) body(rec *Record) error {
	size := 0
	for {
		ln, err := r.line()
		if err == io.EOF {
			return r.ended(rec)
		}
		if err != nil {
			return err
		}
		if isBlank(ln.text) {
			joined, err := r.joinSplit(rec)
			if err != nil {
				return err
			}
			if !joined {
				r.between = true
				return r.check(rec)
			}
			continue
		}
		if r.aside(rec, ln) {
			continue
		}
		if size += len(ln.text) + 64; size > r.opts.MaxRecord {
			return &Error{Line: ln.num, Text: "the record is longer than the limit"}
		}
		if done, err := r.bodyLine(rec, ln); done || err != nil {
			return err
		}
	}
}

// aside handles the lines of a record that hold no value: comments, the "-"
// behind a part of a modify record, and what is no LDIF.
func (r *Reader) aside(rec *Record, ln line) bool {
	switch {
	case ln.text[0] == '#':
		return true
	case len(ln.text) == 1 && ln.text[0] == '-' && rec.Change == Modify:
		r.part = false
		return true
	case r.opts.Lenient && bytes.IndexByte(ln.text, ':') < 0:
		r.cutLine(rec, ln)
		return true
	}
	return false
}

// bodyLine reads a line with a value. done means that it belongs to the next
// record already.
func (r *Reader) bodyLine(rec *Record, ln line) (done bool, err error) {
	v, err := r.parse(ln)
	if err != nil {
		if !r.opts.Lenient {
			return false, err
		}
		what := asText(err)
		if ln.eof {
			rec.Truncated, what = true, "the file ends inside this line"
		}
		r.opts.Report(Issue{Line: ln.num, Attr: v.Desc, What: what, Did: "the line was left out"})
		return false, nil
	}
	if equalFold(v.Desc, "dn") && len(rec.Values)+len(rec.Mods) > 0 {
		if !r.opts.Lenient {
			return false, &Error{Line: v.Line, Text: "a second \"dn:\" in one record: a blank line is missing"}
		}
		r.opts.Report(Issue{Line: v.Line, What: "no blank line before this record", Did: "a new record begins"})
		r.unread(ln)
		r.between = true
		return true, r.check(rec)
	}
	return false, r.accept(rec, v, ln)
}

// cutLine handles a line without a colon inside a record.
func (r *Reader) cutLine(rec *Record, ln line) {
	did := "the line was left out"
	if ln.eof {
		rec.Truncated = true
		r.opts.Report(Issue{Line: ln.num, What: "the file ends inside this line", Did: did})
		return
	}
	r.opts.Report(Issue{Line: ln.num, What: fmt.Sprintf("a line without a colon: %q", clip(ln.text)), Did: did})
}

// joinSplit looks behind a blank line. Where the record has only a name and
// what follows has none, a page break tore them apart.
func (r *Reader) joinSplit(rec *Record) (bool, error) {
	if !r.opts.Lenient || rec.Change != Content || len(rec.Values) > 0 || rec.DN == "" {
		return false, nil
	}
	ln, err := r.firstLine()
	if err == io.EOF {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	r.unread(ln)
	if hasPrefixFold(ln.text, "dn:") {
		return false, nil
	}
	r.opts.Report(Issue{Line: ln.num, What: fmt.Sprintf("the record of line %d is torn apart by a blank line", rec.Line), Did: "joined"})
	return true, nil
}

// accept puts a value where it belongs in rec.
func (r *Reader) accept(rec *Record, v Value, ln line) error {
	rec.Truncated = rec.Truncated || ln.eof
	name := lower(v.Desc)
	head := len(rec.Values) == 0 && len(rec.Mods) == 0
	switch {
	case head && rec.Change == Content && name == "control":
		c, err := parseControl(v)
		rec.Controls = append(rec.Controls, c)
		return err
	case head && rec.Change == Content && name == "changetype":
		return setChange(rec, v)
	case rec.Change == Content || rec.Change == Add:
		rec.Values = append(rec.Values, v)
		return nil
	case rec.Change == Modify:
		return r.modLine(rec, v)
	case rec.Change == Delete:
		return &Error{Line: v.Line, Text: "a delete record has no attributes"}
	}
	return renameLine(rec, name, v)
}

// setChange reads "changetype:".
func setChange(rec *Record, v Value) error {
	switch c := ChangeType(lower(strings.TrimSpace(string(v.Data)))); c {
	case Add, Delete, Modify, ModRDN, ModDN:
		rec.Change = c
		return nil
	}
	rec.Change = unknownType
	return &Error{Line: v.Line, Text: fmt.Sprintf("changetype %q is not known: add, delete, modify, modrdn and moddn are", v.Data)}
}

// modLine reads a line of a modify record: "add: attr" opens a part, then
// come its values. A "-" between the parts was skipped already.
func (r *Reader) modLine(rec *Record, v Value) error {
	ops := map[string]ldap.ChangeOp{"add": ldap.ChangeAdd, "delete": ldap.ChangeDelete,
		"replace": ldap.ChangeReplace, "increment": ldap.ChangeIncrement}
	if n := len(rec.Mods); r.part && equalFold(v.Desc, rec.Mods[n-1].Desc) {
		rec.Mods[n-1].Values = append(rec.Mods[n-1].Values, v)
		return nil
	}
	op, ok := ops[lower(v.Desc)]
	if !ok {
		return &Error{Line: v.Line, Text: fmt.Sprintf("%q stands where \"add:\", \"delete:\", \"replace:\" or \"increment:\" must", v.Desc+":")}
	}
	r.part = true
	rec.Mods = append(rec.Mods, Mod{Op: op, Desc: strings.TrimSpace(string(v.Data)), Line: v.Line})
	return nil
}

// renameLine reads a line of a modrdn or moddn record.
func renameLine(rec *Record, name string, v Value) error {
	switch name {
	case "newrdn":
		rec.NewRDN = string(v.Data)
	case "deleteoldrdn":
		n, err := strconv.Atoi(strings.TrimSpace(string(v.Data)))
		if err != nil || n < 0 || n > 1 {
			return &Error{Line: v.Line, Text: fmt.Sprintf("deleteoldrdn is 0 or 1, not %q", v.Data)}
		}
		rec.DeleteOldRDN = n == 1
	case "newsuperior":
		rec.NewSuperior, rec.HasSuperior = string(v.Data), true
	default:
		return &Error{Line: v.Line, Text: fmt.Sprintf("%q has no place in a %s record", v.Desc+":", rec.Change)}
	}
	return nil
}

// parseControl reads "control: OID [true|false] [: value]".
func parseControl(v Value) (Control, error) {
	spec, value, has := strings.Cut(string(v.Data), ":")
	fields := strings.Fields(spec)
	if len(fields) == 0 || len(fields) > 2 {
		return Control{}, &Error{Line: v.Line, Text: "a control needs an OID"}
	}
	c := Control{OID: fields[0], Line: v.Line}
	if len(fields) == 2 {
		crit, err := strconv.ParseBool(lower(fields[1]))
		if err != nil {
			return c, &Error{Line: v.Line, Text: fmt.Sprintf("criticality %q is neither true nor false", fields[1])}
		}
		c.Critical = crit
	}
	if !has {
		return c, nil
	}
	if enc, ok := strings.CutPrefix(value, ":"); ok {
		b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(enc))
		if err != nil {
			return c, &Error{Line: v.Line, Text: "the control's value is not base64"}
		}
		c.Value = b
		return c, nil
	}
	c.Value = []byte(strings.TrimLeft(value, " "))
	return c, nil
}

// ended closes the record that the end of the file closed.
func (r *Reader) ended(rec *Record) error {
	r.between = true
	if rec.Truncated {
		r.opts.Report(Issue{Line: r.lines.num, What: "the file does not end with a line end", Did: "the last record may be cut; look at it"})
	}
	return r.check(rec)
}

// check refuses a record that lacks what its change type needs.
func (r *Reader) check(rec *Record) error {
	switch rec.Change {
	case ModRDN, ModDN:
		if rec.NewRDN == "" {
			return &Error{Line: rec.Line, Text: fmt.Sprintf("a %s record without \"newrdn:\"", rec.Change)}
		}
	case Content:
		if len(rec.Values) == 0 && !r.opts.Lenient {
			return &Error{Line: rec.Line, Text: "a record without attributes"}
		}
	}
	return nil
}

// parse splits a logical line into a value.
func (r *Reader) parse(ln line) (Value, error) {
	i := bytes.IndexByte(ln.text, ':')
	if i <= 0 {
		return Value{}, &Error{Line: ln.num, Text: fmt.Sprintf("no \"attribute: value\" in %q", clip(ln.text))}
	}
	desc := strings.TrimSpace(string(ln.text[:i]))
	if !validDesc(desc, r.opts.Lenient) {
		return Value{}, &Error{Line: ln.num, Text: fmt.Sprintf("%q is not an attribute name", clip(ln.text[:i]))}
	}
	v := Value{Desc: desc, Line: ln.num}
	rest := ln.text[i+1:]
	switch {
	case len(rest) > 0 && rest[0] == '<':
		return v, &Error{Line: ln.num, Text: fmt.Sprintf("%s names a file or URL (%s); it is not read, put the value itself there", desc, clip(rest))}
	case len(rest) > 0 && rest[0] == ':':
		data, err := decodeBase64(rest[1:], r.opts.Lenient)
		if err != nil {
			return v, &Error{Line: ln.num, Text: fmt.Sprintf("the value of %s is not base64: %v", desc, err)}
		}
		v.Data, v.Base64 = data, true
	default:
		data, err := r.plain(v, bytes.TrimLeft(rest, " "))
		if err != nil {
			return v, err
		}
		v.Data = data
	}
	return v, nil
}

// plain returns a copy of a value that stands as text.
func (r *Reader) plain(v Value, b []byte) ([]byte, error) {
	if utf8.Valid(b) {
		return bytes.Clone(b), nil
	}
	if !r.opts.Lenient {
		return nil, &Error{Line: v.Line, Text: fmt.Sprintf("the value of %s is not UTF-8: it needs base64 (\"%s::\")", v.Desc, v.Desc)}
	}
	s, ok := r.opts.Page.String(b)
	did := "read as " + r.opts.Page.Name
	if !ok {
		did += "; characters that do not fit it became U+FFFD"
	}
	r.opts.Report(Issue{Line: v.Line, Attr: v.Desc, What: "the value is not UTF-8", Did: did})
	return []byte(s), nil
}

// decodeBase64 decodes a value; a lenient one may hold blanks and lack its padding.
func decodeBase64(b []byte, lenient bool) ([]byte, error) {
	b = bytes.Trim(b, " ")
	if lenient {
		b = bytes.Map(func(r rune) rune {
			if r == ' ' || r == '\t' || r == '=' {
				return -1
			}
			return r
		}, b)
		return base64.RawStdEncoding.AppendDecode(nil, b)
	}
	return base64.StdEncoding.AppendDecode(nil, b)
}

// validDesc tells whether s is an attribute description: a name or an OID and
// options (RFC 4512 §2.5). Lenient ones may hold underscores.
func validDesc(s string, lenient bool) bool {
	if s == "" || len(s) > 1024 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == ';', c == '.':
		case lenient && (c == '_' || c == ' ' || c == '='): // "member;range=0-1499"
		default:
			return false
		}
	}
	return true
}

// line returns the line that was put back, or the next one.
func (r *Reader) line() (line, error) {
	if r.pending != nil {
		ln := *r.pending
		r.pending = nil
		return ln, nil
	}
	return r.lines.next()
}

// unread puts ln back.
func (r *Reader) unread(ln line) {
	r.text = append(r.text[:0], ln.text...)
	ln.text = r.text
	r.pending = &ln
}

// skipRecord reads to the blank line that ends a record, or to the next "dn:".
func (r *Reader) skipRecord() error {
	for {
		ln, err := r.line()
		if err != nil {
			if _, tooLong := errors.AsType[*Error](err); tooLong {
				if err := r.skipLine(); err != nil {
					return err
				}
				continue
			}
			return err
		}
		if isBlank(ln.text) {
			return nil
		}
		if hasPrefixFold(ln.text, "dn:") {
			r.unread(ln)
			return nil
		}
	}
}

// skipLine reads the rest of a physical line that is too long to keep.
func (r *Reader) skipLine() error {
	for {
		_, err := r.lines.r.ReadSlice('\n')
		if err == nil || !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

// clip shortens text for a message.
func clip(b []byte) string {
	const most = 60
	s := strings.ToValidUTF8(string(b[:min(len(b), most)]), "?")
	if len(b) > most {
		s += "…"
	}
	return s
}

// asText returns an *Error's text without its place.
func asText(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Text
	}
	return err.Error()
}

// hasPrefixFold tells whether b begins with an ASCII prefix in any case.
func hasPrefixFold(b []byte, prefix string) bool {
	return len(b) >= len(prefix) && equalFold(string(b[:len(prefix)]), prefix)
}
