package imapwire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Decoder reads commands. Call Next, decode, ask Err, act, call Finish.
// Strings it returns are the caller's own.
type Decoder struct {
	r     *bufio.Reader
	lim   Limits
	ask   func() error // invites a synchronizing literal
	line  []byte       // the current line without its line end
	off   int          // what of line is decoded
	base  int64        // bytes of the command before line
	eol   int          // bytes of the line end behind line
	spill []byte       // a line that is larger than the reader's buffer
	held  int64        // bytes of literals kept so far
	bytes int          // bytes of lines read so far
	depth int
	err   error
	lit   *literalReader // a literal that is being streamed
	tag   string         // of a command whose first line is too long
	lost  error          // of the reader: there will be no more commands
}

// NewDecoder returns a Decoder with limits. ask, called before a synchronizing
// literal is read, sends the continuation request and returns an error where
// that cannot be done.
func NewDecoder(lim Limits, ask func() error) *Decoder {
	return &Decoder{lim: lim.withDefaults(), ask: ask}
}

// Next reads the first line of the next command from r. An error is one of r;
// a line that is too long is skipped and left in Err.
func (d *Decoder) Next(r *bufio.Reader) error {
	*d = Decoder{r: r, lim: d.lim, ask: d.ask}
	return d.readLine()
}

// Err returns the first failure: a *SyntaxError, a *TooBigError, or an error
// of the reader.
func (d *Decoder) Err() error { return d.err }

// Lost returns the error of the reader, if there was one: no command follows.
func (d *Decoder) Lost() error { return d.lost }

// lose notes an error of the reader.
func (d *Decoder) lose(err error) {
	d.lost = err
	if d.err == nil {
		d.err = err
	}
}

// Pos returns how many bytes of the command are decoded.
func (d *Decoder) Pos() int64 { return d.base + int64(d.off) }

// Fail makes a syntax error at the present place, unless there is one already.
func (d *Decoder) Fail(text string) {
	if d.err == nil {
		d.err = &SyntaxError{d.Pos(), text}
	}
}

// tooBig makes a limit error at the present place.
func (d *Decoder) tooBig(text string) {
	if d.err == nil {
		d.err = &TooBigError{d.Pos(), text}
	}
}

// readLine reads up to the next line feed.
func (d *Decoder) readLine() error {
	d.base += int64(d.off + d.eol)
	d.off, d.eol, d.line = 0, 0, nil
	b, err := d.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		b, err = d.readLong(b)
	}
	if err != nil {
		if errors.Is(err, io.EOF) && len(b) > 0 {
			err = io.ErrUnexpectedEOF
		}
		d.lose(err)
		return err
	}
	d.bytes += len(b)
	if d.bytes > d.lim.Line {
		d.keepTag(b)
		d.tooBig("command line is longer than " + strconv.Itoa(d.lim.Line) + " bytes")
	}
	d.line = bytes.TrimSuffix(b[:len(b)-1], []byte{'\r'})
	d.eol = len(b) - len(d.line)
	return nil
}

// readLong gathers a line that does not fit the reader's buffer. What exceeds
// the limit is dropped, except for an end that may announce a literal.
func (d *Decoder) readLong(b []byte) ([]byte, error) {
	d.spill = append(d.spill[:0], b...)
	for {
		b, err := d.r.ReadSlice('\n')
		if room := d.lim.Line + 32 - len(d.spill) - d.bytes; len(b) > room {
			d.keepTag(d.spill)
			d.tooBig("command line is longer than " + strconv.Itoa(d.lim.Line) + " bytes")
			b = append(d.spill[:0], b[max(0, len(b)-32):]...)
			d.spill = b
		} else {
			d.spill = append(d.spill, b...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return d.spill, err
		}
	}
}

// maxKeptTag is how long a tag may be that is answered to where its line is too long.
const maxKeptTag = 64

// keepTag keeps the tag of a line that is too long, for the answer.
func (d *Decoder) keepTag(line []byte) {
	if d.err != nil || d.base > 0 {
		return
	}
	end := slices.IndexFunc(line, func(c byte) bool { return !tagChar(c) })
	if end > 0 && end <= maxKeptTag && line[end] == ' ' {
		d.tag = string(line[:end])
	}
}

// Finish skips what is left of the command, so that Next finds the following
// one: the rest of the line, and non-synchronizing literals that it announces.
func (d *Decoder) Finish() error {
	if d.lit != nil {
		if err := d.CloseLiteral(); err != nil {
			return err
		}
	}
	for skipped := int64(0); ; {
		n, ok := announced(d.line[min(d.off, len(d.line)):])
		if !ok {
			return nil
		}
		if skipped += n + 1; skipped > d.lim.Skip || n > d.lim.Skip {
			return ErrFlood
		}
		if _, err := io.CopyN(io.Discard, d.r, n); err != nil {
			d.lose(err)
			return err
		}
		d.bytes = 0
		if err := d.readLine(); err != nil {
			return err
		}
	}
}

// announced tells whether a line ends in the announcement of a literal that
// follows without being asked for (RFC 7888 §4).
func announced(line []byte) (int64, bool) {
	if !bytes.HasSuffix(line, []byte("+}")) {
		return 0, false
	}
	open := bytes.LastIndexByte(line, '{')
	if open < 0 {
		return 0, false
	}
	n, err := strconv.ParseInt(string(line[open+1:len(line)-2]), 10, 63)
	return n, err == nil && n >= 0
}

// peek returns the next byte of the line, or 0 at its end.
func (d *Decoder) peek() byte {
	if d.err != nil || d.off >= len(d.line) {
		return 0
	}
	return d.line[d.off]
}

// Try takes c where it is next.
func (d *Decoder) Try(c byte) bool {
	if d.err == nil && d.off < len(d.line) && d.line[d.off] == c {
		d.off++
		return true
	}
	return false
}

// Expect takes c, which must be next.
func (d *Decoder) Expect(c byte) {
	if !d.Try(c) {
		d.Fail("expected " + strconv.QuoteRune(rune(c)))
	}
}

// SP takes one space, which must be next. More than one is forgiven, as other
// servers do.
func (d *Decoder) SP() {
	if !d.TrySP() {
		d.Fail("expected a space")
	}
}

// TrySP takes a space where one is next.
func (d *Decoder) TrySP() bool {
	if !d.Try(' ') {
		return false
	}
	for d.Try(' ') {
	}
	return true
}

// End demands that the command is over.
func (d *Decoder) End() {
	for d.Try(' ') {
	}
	if d.err == nil && d.off < len(d.line) {
		d.Fail("expected the end of the command")
	}
}

// AtEnd tells whether the line is over.
func (d *Decoder) AtEnd() bool { return d.err != nil || d.off >= len(d.line) }

// atomChar tells whether c is an ATOM-CHAR (RFC 9051 §9).
func atomChar(c byte) bool {
	if c <= ' ' || c >= 0x7f {
		return false
	}
	switch c {
	case '(', ')', '{', '%', '*', '"', '\\', ']':
		return false
	}
	return true
}

// take returns the longest prefix of what is left whose bytes satisfy ok.
func (d *Decoder) take(ok func(byte) bool) []byte {
	if d.err != nil {
		return nil
	}
	start := d.off
	for d.off < len(d.line) && ok(d.line[d.off]) {
		d.off++
	}
	return d.line[start:d.off]
}

// tagChar tells whether c may be in a tag.
func tagChar(c byte) bool { return c != '+' && (c == ']' || atomChar(c)) }

// Tag reads a command's tag. It is known even where the line is too long.
func (d *Decoder) Tag() string {
	if d.tag != "" {
		return d.tag
	}
	b := d.take(tagChar)
	if len(b) == 0 {
		d.Fail("expected a tag")
	}
	return string(b)
}

// Atom reads an atom.
func (d *Decoder) Atom() string {
	b := d.take(atomChar)
	if len(b) == 0 {
		d.Fail("expected an atom")
	}
	return string(b)
}

// Keyword reads an atom and returns it in upper case.
func (d *Decoder) Keyword() string { return strings.ToUpper(d.Atom()) }

// TryKeyword takes word (upper case) where it is next, in any case, and ends
// there.
func (d *Decoder) TryKeyword(word string) bool {
	if d.err != nil || len(d.line)-d.off < len(word) || !strings.EqualFold(string(d.line[d.off:d.off+len(word)]), word) {
		return false
	}
	if end := d.off + len(word); end < len(d.line) && atomChar(d.line[end]) {
		return false
	}
	d.off += len(word)
	return true
}

// astringChar tells whether c is an ASTRING-CHAR.
func astringChar(c byte) bool { return c == ']' || atomChar(c) }

// AString reads an astring: an atom or a string.
func (d *Decoder) AString() string {
	switch c := d.peek(); {
	case c == '"' || c == '{' || c == '~':
		if c != '~' || d.off+1 < len(d.line) && d.line[d.off+1] == '{' {
			return d.String()
		}
	}
	b := d.take(astringChar)
	if len(b) == 0 {
		d.Fail("expected a string")
	}
	return string(b)
}

// String reads a quoted string or a literal.
func (d *Decoder) String() string {
	switch d.peek() {
	case '"':
		return d.quoted()
	case '{', '~':
		return d.literal()
	}
	d.Fail("expected a string")
	return ""
}

// NString reads a string or NIL; ok is false for NIL.
func (d *Decoder) NString() (s string, ok bool) {
	if d.TryKeyword("NIL") {
		return "", false
	}
	return d.String(), true
}

// quoted reads a quoted string. 8-bit bytes are let through (RFC 9051 §4.3).
func (d *Decoder) quoted() string {
	rest := d.line[d.off+1:]
	end := bytes.IndexByte(rest, '"')
	if end >= 0 && bytes.IndexByte(rest[:end], '\\') < 0 {
		if bytes.IndexByte(rest[:end], 0) >= 0 {
			d.Fail("a quoted string holds NUL")
			return ""
		}
		d.off += end + 2
		return string(rest[:end])
	}
	var b []byte
	for i := 0; i < len(rest); i++ {
		switch c := rest[i]; c {
		case '"':
			d.off += i + 2
			return string(b)
		case 0:
			d.Fail("a quoted string holds NUL")
			return ""
		case '\\':
			if i++; i < len(rest) {
				b = append(b, rest[i])
			}
		default:
			b = append(b, c)
		}
	}
	d.Fail("a quoted string does not end")
	return ""
}

// Number reads a number of at most 63 bits.
func (d *Decoder) Number() int64 {
	b := d.take(func(c byte) bool { return c >= '0' && c <= '9' })
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		d.Fail("expected a number")
	}
	return n
}

// nz32 reads a number of 1 to 2^32-1.
func (d *Decoder) nz32() uint32 {
	at := d.off
	n := d.Number()
	if d.err == nil && (n < 1 || n > 1<<32-1) {
		d.off = at
		d.Fail("expected a number from 1 to 4294967295")
	}
	return uint32(n)
}

// List reads a parenthesized list, calling member for each.
func (d *Decoder) List(member func()) {
	d.Expect('(')
	if d.enter(); d.Try(')') {
		d.leave()
		return
	}
	for n := 1; d.err == nil; n++ {
		if n > d.lim.List {
			d.tooBig("a list has more than " + strconv.Itoa(d.lim.List) + " members")
			return
		}
		member()
		if d.Try(')') {
			break
		}
		d.SP()
		if d.Try(')') {
			break
		}
	}
	d.leave()
}

// enter and leave count the nesting.
func (d *Decoder) enter() {
	if d.depth++; d.depth > d.lim.Depth {
		d.tooBig("a command is nested deeper than " + strconv.Itoa(d.lim.Depth))
	}
}

func (d *Decoder) leave() { d.depth-- }

// Rest returns what is left of the line, as it is.
func (d *Decoder) Rest() string {
	if d.err != nil {
		return ""
	}
	s := string(d.line[d.off:])
	d.off = len(d.line)
	return s
}

// SetLimits changes what the next commands may cost.
func (d *Decoder) SetLimits(lim Limits) { d.lim = lim.withDefaults() }

// Peek returns the next byte without taking it, and 0 at the end of the line.
func (d *Decoder) Peek() byte { return d.peek() }
