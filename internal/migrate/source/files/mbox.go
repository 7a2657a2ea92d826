package files

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"expost/internal/mail"
	"expost/internal/migrate"
)

// mbox is an mbox file of any dialect: mboxo and mboxrd (quoted ">From "),
// mboxcl and mboxcl2 (Content-Length). Items are known by what they hold, so
// that a file which grew, or whose flags changed, is recognised.
type mbox struct {
	path  string
	spans map[string]span
}

// span is where a message lies in the file, without its From_ line and the
// empty line behind it.
type span struct {
	from, to int64
	unquote  bool // ">From " stands for "From "
}

// mboxFolder returns the folder of an mbox file.
func mboxFolder(path, name, key string) found {
	if strings.EqualFold(name, "mbox") {
		name = mail.Inbox
	}
	return found{folder(name, key), &mbox{path: path}}
}

// scan implements box. It reads the whole file.
func (m *mbox) scan() (migrate.State, []migrate.Item, error) {
	f, err := os.Open(m.path)
	if err != nil {
		return migrate.State{}, nil, err
	}
	defer f.Close()
	s := newMboxScanner(f)
	m.spans = map[string]span{}
	var items []migrate.Item
	for {
		msg, err := s.next()
		if err == io.EOF {
			return migrate.State{Messages: len(items), Bytes: -1}, items, nil
		}
		if err != nil {
			return migrate.State{}, nil, fmt.Errorf("reading %s: %w", m.path, err)
		}
		if msg.internal {
			continue
		}
		key := hex.EncodeToString(msg.sum[:16])
		for n := 2; ; n++ { // the same message twice is two items
			if _, taken := m.spans[key]; !taken {
				break
			}
			key = fmt.Sprintf("%x-%d", msg.sum[:16], n)
		}
		m.spans[key] = msg.span
		items = append(items, migrate.Item{
			Key: key, Size: msg.to - msg.from, Flags: msg.flags, Keywords: mail.NewKeywords(msg.words...), Date: msg.date,
		})
	}
}

// open implements box.
func (m *mbox) open(it migrate.Item) (io.ReadCloser, error) {
	if m.spans == nil {
		if _, _, err := m.scan(); err != nil {
			return nil, err
		}
	}
	s, ok := m.spans[it.Key]
	if !ok {
		return nil, fmt.Errorf("message %s of %s: %w", it.Key, m.path, fs.ErrNotExist)
	}
	f, err := os.Open(m.path)
	if err != nil {
		return nil, err
	}
	return &mboxReader{
		f: f, unquote: s.unquote, header: true,
		r: bufio.NewReaderSize(io.NewSectionReader(f, s.from, s.to-s.from), 64<<10),
	}, nil
}

// mboxMessage is one message of an mbox file.
type mboxMessage struct {
	span
	date     mail.Date
	flags    mail.Flags
	words    []string
	length   int64 // Content-Length; -1 where there is none
	internal bool  // what c-client keeps in the file for itself
	sum      [sha256.Size]byte
}

// maxLine is how much of a line is looked at; longer ones come in pieces.
const maxLine = 64 << 10

// mboxScanner finds the messages of an mbox file.
type mboxScanner struct {
	f      io.ReaderAt
	r      *bufio.Reader
	at     int64 // of what r reads next
	line   []byte
	begins bool   // line begins a line, not a piece of one
	from   []byte // the From_ line of the message that is next; nil before the first
	err    error
}

func newMboxScanner(f *os.File) *mboxScanner {
	return &mboxScanner{f: f, r: bufio.NewReaderSize(f, maxLine), begins: true}
}

// read reads the next line, or piece of one, into line, false at the end.
func (s *mboxScanner) read() bool {
	if s.err != nil {
		return false
	}
	s.begins = len(s.line) == 0 || s.line[len(s.line)-1] == '\n'
	s.line, s.err = s.r.ReadSlice('\n')
	if s.err == bufio.ErrBufferFull {
		s.err = nil
	}
	s.at += int64(len(s.line))
	return len(s.line) > 0
}

// next returns the next message, io.EOF behind the last.
func (s *mboxScanner) next() (mboxMessage, error) {
	for s.from == nil { // before the first; what is no From_ line there belongs to nothing
		if !s.read() {
			return mboxMessage{}, s.end()
		}
		line := bytes.TrimPrefix(s.line, []byte("\xef\xbb\xbf"))
		if s.begins && bytes.HasPrefix(line, []byte("From ")) {
			s.from = bytes.Clone(line)
		}
	}
	m := mboxMessage{span: span{from: s.at, unquote: true}, length: -1}
	m.date, _ = fromDate(s.from)
	s.from = nil
	sum := sha256.New()
	if err := s.header(&m, sum); err != nil && err != io.EOF {
		return m, err
	}
	if s.from == nil {
		if err := s.body(&m, sum); err != nil && err != io.EOF {
			return m, err
		}
	}
	sum.Sum(m.sum[:0])
	return m, nil
}

// end returns why read ended.
func (s *mboxScanner) end() error {
	if s.err == nil {
		return io.EOF
	}
	return s.err
}

// header reads the header with the fields that mbox files keep flags in. They
// are no part of the message.
func (s *mboxScanner) header(m *mboxMessage, sum hash.Hash) error {
	var head []byte // for the date, where the From_ line has none
	marks := false
	for {
		before := s.at
		if !s.read() {
			m.to = before
			return s.end()
		}
		if s.begins {
			if s.separates(true) && before == m.from {
				m.to, s.from = before, bytes.Clone(s.line)
				return nil
			}
			marks = m.mark(s.line, marks)
		}
		if !marks {
			sum.Write(s.line)
			if len(head) < headSize {
				head = append(head, s.line...)
			}
		}
		m.to = s.at
		if s.begins && len(bytes.TrimRight(s.line, "\r\n")) == 0 {
			break
		}
	}
	if m.date == (mail.Date{}) {
		m.date, _ = migrate.HeaderDate(head)
	}
	return nil
}

// mark takes what a field says of flags, and tells whether it is one that only
// mbox files have. A folded line belongs to the field before.
func (m *mboxMessage) mark(line []byte, before bool) bool {
	if len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
		return before
	}
	name, value, ok := strings.Cut(strings.TrimRight(string(line[:min(len(line), 1000)]), "\r\n"), ":")
	if !ok {
		return false
	}
	value = strings.TrimSpace(value)
	switch strings.ToLower(name) {
	case "status", "x-status":
		for _, c := range value {
			m.flags |= statusFlag(c)
		}
	case "x-keywords", "x-mozilla-keys":
		for w := range strings.FieldsSeq(value) {
			if isAtom(w) {
				m.words = append(m.words, w)
			}
		}
	case "x-mozilla-status":
		n, err := strconv.ParseUint(value, 16, 32)
		if err != nil {
			return false
		}
		m.mozilla(n)
	case "content-length":
		if n, err := strconv.ParseInt(value, 10, 64); err == nil {
			m.length = n
		}
	case "x-imap":
		m.internal = true
	case "x-uid", "x-imapbase", "x-mozilla-status2":
	default:
		return false
	}
	return true
}

// statusFlag returns the flag of a letter of Status or X-Status.
func statusFlag(c rune) mail.Flags {
	switch c {
	case 'R':
		return mail.Seen
	case 'A':
		return mail.Answered
	case 'F':
		return mail.Flagged
	case 'T':
		return mail.Draft
	case 'D':
		return mail.Deleted
	}
	return 0
}

// mozilla takes the bits of X-Mozilla-Status.
func (m *mboxMessage) mozilla(bits uint64) {
	for _, b := range []struct {
		bit  uint64
		flag mail.Flags
	}{{1, mail.Seen}, {2, mail.Answered}, {4, mail.Flagged}, {8, mail.Deleted}} {
		if bits&b.bit != 0 {
			m.flags |= b.flag
		}
	}
	if bits&0x1000 != 0 {
		m.words = append(m.words, "$Forwarded")
	}
}

// body reads up to the next From_ line.
func (s *mboxScanner) body(m *mboxMessage, sum hash.Hash) error {
	end := s.lengthEnds(m)
	empty := true // the line before is empty: that behind the header
	var held []byte
	for {
		before := s.at
		if before == end { // by Content-Length: From_ lines within did not count
			held = nil
		}
		if !s.read() {
			m.to = s.at - int64(len(held))
			return s.end()
		}
		if s.begins && empty && before >= end && s.separates(false) {
			m.to, s.from = before-int64(len(held)), bytes.Clone(s.line)
			return nil
		}
		if s.begins && bytes.HasPrefix(s.line, []byte("From ")) {
			m.unquote = false // nothing in this message was quoted
		}
		sum.Write(held)
		held = held[:0]
		empty = s.begins && len(bytes.TrimRight(s.line, "\r\n")) == 0
		if empty {
			held = append(held, s.line...) // the last one belongs to the next From_ line
			continue
		}
		sum.Write(s.line)
	}
}

// lengthEnds returns where the message ends by its Content-Length, where that
// holds: behind it the file ends or the next From_ line comes. Else 0.
func (s *mboxScanner) lengthEnds(m *mboxMessage) int64 {
	if m.length < 0 {
		return 0
	}
	end := s.at + m.length
	next := make([]byte, 8)
	n, err := s.f.ReadAt(next, end)
	rest := bytes.TrimLeft(next[:n], "\r\n")
	if err == io.EOF && len(rest) == 0 || bytes.HasPrefix(rest, []byte("From ")) {
		return end
	}
	return 0
}

// separates tells whether line, which follows an empty one, is a From_ line:
// it has a date, or a header follows.
func (s *mboxScanner) separates(first bool) bool {
	if !bytes.HasPrefix(s.line, []byte("From ")) {
		return false
	}
	if _, ok := fromDate(s.line); ok || first {
		return ok
	}
	next, _ := s.r.Peek(200)
	return looksLikeHeader(next)
}

// fromDatePattern finds the date in a From_ line: "Mon Jan  1 10:00:00 2009",
// the seconds and a zone (before or behind the year) as they come.
var fromDatePattern = regexp.MustCompile(`\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? +(\w{3}) +(\d{1,2}) +(\d{1,2}:\d{2})(:\d{2})?(?: +([A-Za-z]+|[+-]\d{4}))? +(\d{4})(?: +([+-]\d{4}))?`)

// fromDate reads the date of a From_ line; without a zone it is UTC.
func fromDate(line []byte) (mail.Date, bool) {
	f := fromDatePattern.FindSubmatch(line)
	if f == nil {
		return mail.Date{}, false
	}
	seconds, zone := string(f[4]), "+0000"
	if seconds == "" {
		seconds = ":00"
	}
	for _, z := range []string{string(f[5]), string(f[7])} {
		if z != "" && (z[0] == '+' || z[0] == '-') {
			zone = z
		}
	}
	t, err := time.Parse("Jan 2 15:04:05 2006 -0700", fmt.Sprintf("%s %s %s%s %s %s", f[1], f[2], f[3], seconds, f[6], zone))
	if err != nil {
		return mail.Date{}, false
	}
	return mail.DateOf(t), true
}

// mboxReader gives a message as it was before it was put into the file: without
// the fields that hold flags, and with ">From " unquoted.
type mboxReader struct {
	f       *os.File
	r       *bufio.Reader
	unquote bool
	header  bool
	marks   bool // in a field to be left out
	middle  bool // the last piece did not end a line
	out     []byte
	err     error
}

// Close closes the file.
func (r *mboxReader) Close() error { return r.f.Close() }

// Read reads.
func (r *mboxReader) Read(p []byte) (int, error) {
	for len(r.out) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.fill()
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

// fill reads the next line or piece of one.
func (r *mboxReader) fill() {
	line, err := r.r.ReadSlice('\n')
	if err != bufio.ErrBufferFull {
		r.err = err
	}
	begins := !r.middle
	r.middle = len(line) > 0 && line[len(line)-1] != '\n'
	if r.header {
		if begins {
			r.marks = new(mboxMessage).mark(line, r.marks)
			r.header = len(bytes.TrimRight(line, "\r\n")) > 0
		}
		if r.marks {
			return
		}
	} else if begins && r.unquote && bytes.HasPrefix(bytes.TrimLeft(line, ">"), []byte("From ")) && line[0] == '>' {
		line = line[1:]
	}
	r.out = line
}
