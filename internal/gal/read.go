package gal

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"unicode/utf8"

	"expost/internal/codepage"
)

// Format is a file format of an address list.
type Format string

// The formats. FormatCSV stands for every CSV that has a header row of names;
// which program wrote it is told by the names.
const (
	FormatAuto   Format = "auto"
	FormatCSV    Format = "csv"
	FormatLDIF   Format = "ldif"
	FormatVCard  Format = "vcard"
	FormatOAB    Format = "oab"  // offline address book
	FormatPST    Format = "pst"  // PAB, and contacts of a PST or OST
	FormatServer Format = "ldap" // a directory server
)

// Options say how a list is read. The zero value finds everything out.
type Options struct {
	File      string   // for reports
	Format    Format   // "" and FormatAuto: by content
	Page      string   // code page, "1252" or "shift_jis"; "": by content
	Delimiter byte     // of a CSV; 0: by content
	Columns   []string // names of a CSV's columns, where its first row has none or they are not known; "-" skips one
	Folder    fs.FS    // where the file lies, for address books of several files; nil: nobody knows
	Report    Reporter // nil: nobody listens
}

// Source says what a list turned out to be.
type Source struct {
	Format     Format `json:"format"`
	Program    string `json:"program,omitempty"`  // "wab", "outlook", "mozilla", "csvde", "exchange 5.5"…
	Language   string `json:"language,omitempty"` // of a CSV's header
	Page       string `json:"codepage"`
	Delimiter  string `json:"delimiter,omitempty"`
	Recipients int    `json:"recipients"`
}

// String returns the source in words.
func (s Source) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d entries", s.Recipients)
	switch s.Format {
	case FormatLDIF:
		b.WriteString(" of LDIF")
	case FormatVCard:
		b.WriteString(" of vCard")
	case FormatOAB:
		b.WriteString(" of an offline address book")
	case FormatPST:
		b.WriteString(" of " + s.Program)
	case FormatServer:
		b.WriteString(" of " + s.Program)
	default:
		fmt.Fprintf(&b, " of CSV (%s", programName(s.Program))
		if s.Language != "" && s.Language != "en" {
			b.WriteString(", " + s.Language)
		}
		fmt.Fprintf(&b, ", delimiter %s)", s.Delimiter)
	}
	if s.Page != "" {
		b.WriteString(", " + s.Page)
	}
	return b.String()
}

// programName returns what people call a program of headers.tsv.
func programName(p string) string {
	switch p {
	case "wab":
		return "Outlook Express"
	case "outlook", "outlook-compact":
		return "Outlook"
	case "mozilla":
		return "Mozilla"
	case "", "generic":
		return "of no certain program"
	}
	return p
}

// reader is one Read under way.
type reader struct {
	opts  Options
	page  codepage.Page
	src   Source
	yield func(*Recipient) error
}

// Read reads a list and calls yield with each entry as it comes; memory does
// not grow with the list. An error of yield ends it. An error says what about
// the file is wrong, where, and what to do.
func Read(r io.Reader, opts Options, yield func(*Recipient) error) (Source, error) {
	if opts.Report == nil {
		opts.Report = func(Issue) {}
	}
	rd := &reader{opts: opts, yield: yield}
	raw := bufio.NewReader(r)
	auto := opts.Format == FormatAuto || opts.Format == ""
	switch start, _ := raw.Peek(12); {
	case opts.Format == FormatOAB || auto && isOAB(start):
		err := rd.end(rd.readOAB(raw))
		return rd.src, err
	case opts.Format == FormatPST || auto && isPST(start):
		err := rd.end(rd.readPST())
		return rd.src, err
	}
	br, name := codepage.NewUnicodeReader(raw)
	sample, err := br.Peek(sniffSize)
	if err != nil && err != io.EOF && !errors.Is(err, bufio.ErrBufferFull) {
		return rd.src, rd.wrap(err)
	}
	if err := refuse(sample); err != nil {
		return rd.src, rd.wrap(err)
	}
	rd.src.Format = opts.Format
	if opts.Format == FormatAuto || opts.Format == "" {
		rd.src.Format = sniff(sample)
	}
	if err := rd.choosePage(name, sample); err != nil {
		return rd.src, err
	}
	switch rd.src.Format {
	case FormatLDIF:
		err = rd.readLDIF(br)
	case FormatVCard:
		err = rd.readVCard(br)
	case FormatCSV:
		err = rd.readCSV(br, sample)
	default:
		err = fmt.Errorf("format %q is not known: auto, csv, ldif, vcard, oab and pst are", opts.Format)
	}
	return rd.src, rd.end(err)
}

// end says what about the file is wrong once it was read.
func (rd *reader) end(err error) error {
	if err == nil && rd.src.Recipients == 0 {
		err = errors.New("nobody is in this file")
	}
	return rd.wrap(err)
}

// sniffSize is how much of a file is looked at to find its format.
const sniffSize = 128 << 10

// wrap puts the file's name before an error.
func (rd *reader) wrap(err error) error {
	if err == nil || rd.opts.File == "" || strings.HasPrefix(err.Error(), rd.opts.File) {
		return err
	}
	if rest, ok := strings.CutPrefix(err.Error(), "line "); ok {
		if n, text, ok := strings.Cut(rest, ": "); ok {
			return fmt.Errorf("%s:%s: %s", rd.opts.File, n, text)
		}
	}
	return fmt.Errorf("%s: %w", rd.opts.File, err)
}

// issue reports.
func (rd *reader) issue(line int, s Severity, column, what, did string) {
	rd.opts.Report(Issue{File: rd.opts.File, Line: line, Column: column, Severity: s, What: what, Did: did})
}

// emit hands a recipient on, unless nothing about it says who it is.
func (rd *reader) emit(r *Recipient) error {
	r.Origin.File = rd.opts.File
	if cleanText(r.Name()) == "" {
		rd.issue(r.Origin.Line, Error, "", "this entry has neither a name nor an address", "left out")
		return nil
	}
	rd.src.Recipients++
	return rd.yield(r)
}

// choosePage settles the code page of a file that is not Unicode. That of a
// CSV may be corrected when its header is read.
func (rd *reader) choosePage(unicodeName string, sample []byte) error {
	if rd.opts.Page != "" && unicodeName == "" {
		p, err := codepage.Lookup(rd.opts.Page)
		if err != nil {
			return err
		}
		rd.page, rd.src.Page = p, p.Name
		return nil
	}
	if unicodeName != "" {
		rd.page, rd.src.Page = codepage.UTF8, unicodeName
		return nil
	}
	rd.page, _ = codepage.Detect(sample)
	rd.src.Page = rd.page.Name
	return nil
}

// text returns bytes of the file as UTF-8. Those that do not fit the code
// page are read as Windows-1252 where UTF-8 was assumed because nothing before
// them said otherwise.
func (rd *reader) text(b []byte, line int, column string) string {
	s, ok := rd.page.String(b)
	if ok {
		return s
	}
	if rd.page.Name == codepage.UTF8.Name && !mostlyUTF8(b) {
		page, _ := codepage.Detect(b)
		s, _ = page.String(b)
		rd.issue(line, Warning, column, fmt.Sprintf("the value is not %s", rd.page.Name),
			fmt.Sprintf("read as %s: %q; give the right one with --codepage", page.Name, clip(s)))
		return s
	}
	rd.issue(line, Warning, column, fmt.Sprintf("the value holds bytes that %s does not have", rd.page.Name),
		fmt.Sprintf("they became U+FFFD: %q; give the right code page with --codepage", clip(s)))
	return s
}

// mostlyUTF8 tells UTF-8 with damage from text in another code page.
func mostlyUTF8(b []byte) bool {
	good, bad := 0, 0
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		switch {
		case n > 1:
			good++
		case r == utf8.RuneError:
			bad++
		}
		b = b[n:]
	}
	return good > bad
}

// clip shortens text for a message.
func clip(s string) string {
	const most = 60
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	return string(r[:most]) + "…"
}

// refuse returns an error for a file that is no text at all.
func refuse(sample []byte) error {
	for _, k := range []struct{ magic, what string }{
		{"PK\x03\x04", "this is a ZIP archive or an Excel workbook (.xlsx), not text: in Excel save it as \"CSV UTF-8\""},
		{"\xD0\xCF\x11\xE0", "this is an Office document of the old kind (.xls, .msg), not text: in Excel save it as CSV"},
		{"\x9C\xCB\xCB\x8D", "this is a Windows Address Book (.wab), not text: export it from Outlook Express with File > Export > Address Book as CSV"},
		{"%PDF", "this is a PDF document, not an address list"},
		{"\x1F\x8B", "this is a gzip archive: unpack it first"},
	} {
		if bytes.HasPrefix(sample, []byte(k.magic)) {
			return errors.New(k.what)
		}
	}
	switch text := bytes.TrimSpace(sample); {
	case len(text) == 0:
		return errors.New("the file is empty")
	case text[0] == '{' || text[0] == '[' || bytes.HasPrefix(text, []byte("<?xml")) || bytes.HasPrefix(bytes.ToLower(text), []byte("<!doctype")) || bytes.HasPrefix(bytes.ToLower(text), []byte("<html")):
		return errors.New("this is JSON, XML or HTML, not an address list: export it as CSV, LDIF or vCard")
	}
	bad := 0
	for _, c := range sample {
		if c == 0 || c < 0x20 && c != '\t' && c != '\n' && c != '\r' && c != '\f' && c != 0x1A && c != 0x0B {
			bad++
		}
	}
	if bad > 4 && bad*200 > len(sample) {
		return fmt.Errorf("this is not text (%d control characters among the first %d bytes): an address list is a CSV, LDIF or vCard file", bad, len(sample))
	}
	return nil
}

// sniff tells the format by content.
func sniff(sample []byte) Format {
	for l := range bytes.Lines(sample) {
		t := bytes.ToLower(bytes.TrimSpace(l))
		switch {
		case len(t) == 0 || t[0] == '#' && !bytes.HasPrefix(t, []byte("#type")) || bytes.HasPrefix(t, []byte("```")):
			continue
		case bytes.HasPrefix(t, []byte("begin:vcard")):
			return FormatVCard
		case bytes.HasPrefix(t, []byte("dn:")), bytes.HasPrefix(t, []byte("version:")) && bytes.Contains(bytes.ToLower(sample), []byte("\ndn:")):
			return FormatLDIF
		}
		break
	}
	low := bytes.ToLower(sample)
	for _, nl := range []string{"\n", "\r"} {
		if bytes.Contains(low, []byte(nl+"begin:vcard")) {
			return FormatVCard
		}
		if bytes.Contains(low, []byte(nl+"dn: ")) || bytes.Contains(low, []byte(nl+"dn:: ")) {
			return FormatLDIF
		}
	}
	return FormatCSV
}
