// Package fulltext says what text a message holds for those who search it, and
// packs the texts of many messages so that they can be searched quickly.
//
// A search for a substring needs either lists of the places of every three
// characters, or the text itself. Measured with 10,000 messages of 69 MB of
// text on one core: SQLite's FTS5 with trigrams takes 19 to 34 s to build and
// is larger than the text (76 MB without places, which then must be looked up
// in the messages; 222 MB with them). Folding the text and compressing it with
// S2 takes 0.2 s beside the parsing, 40 MB, and 30 ms to unpack all of it. So
// the index is the folded text itself, in blocks of a few messages; beside each
// block stands a filter of its four-byte sequences, which tells for most blocks
// that what is looked for is not in them. The answer is exact, in every script
// and for needles of any length.
package fulltext

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"expost/internal/message"
)

// Fold returns a text without the differences that a search ignores: case (by
// full case folding, so that "STRASSE" is "straße"), how a character is composed
// and which of its compatible forms it has (NFKC: full and half width, ligatures,
// Arabic presentation forms), whether a space may break, and characters that are
// not seen.
func Fold(s string) []byte { return AppendFolded(nil, []byte(s)) }

// AppendFolded appends s as Fold makes it. The result is valid UTF-8.
func AppendFolded(dst, s []byte) []byte {
	dst = slices.Grow(dst, len(s))
	for len(s) > 0 {
		n := asciiLen(s)
		if n < len(s) && n > 0 {
			n-- // what follows may combine with it
		}
		at := len(dst)
		dst = append(dst, s[:n]...)
		lower(dst[at:])
		if s = s[n:]; len(s) == 0 {
			break
		}
		j := 1 // a run of characters beyond ASCII, and the one before it
		for j < len(s) && s[j] >= utf8.RuneSelf {
			j++
		}
		dst = appendFoldedRunes(dst, norm.NFKC.Bytes(s[:j]))
		s = s[j:]
	}
	return dst
}

// AppendFoldedString is AppendFolded of a string, which it does not copy where
// it is ASCII.
func AppendFoldedString(dst []byte, s string) []byte {
	at := len(dst)
	dst = append(dst, s...)
	if asciiLen(dst[at:]) < len(s) {
		return AppendFolded(dst[:at], []byte(s))
	}
	lower(dst[at:])
	return dst
}

// The bytes of a word, all the same.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// asciiLen returns how many bytes at the start of s are ASCII.
func asciiLen(s []byte) int {
	i := 0
	for ; i+8 <= len(s); i += 8 {
		if x := binary.LittleEndian.Uint64(s[i:]) & highs; x != 0 {
			return i + bits.TrailingZeros64(x)/8
		}
	}
	for i < len(s) && s[i] < utf8.RuneSelf {
		i++
	}
	return i
}

// lower makes the letters of ASCII text small.
func lower(b []byte) {
	for ; len(b) >= 8; b = b[8:] {
		x := binary.LittleEndian.Uint64(b)
		fromA := x + (0x80-'A')*ones  // the high bit: 'A' or above
		beyond := x + (0x7f-'Z')*ones // the high bit: above 'Z'
		binary.LittleEndian.PutUint64(b, x|(fromA&^beyond&highs)>>2)
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
}

// appendFoldedRunes appends the characters of s, each as the first of those
// that differ from it in case only.
func appendFoldedRunes(dst, s []byte) []byte {
	for len(s) > 0 {
		r, n := utf8.DecodeRune(s)
		s = s[n:]
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		switch {
		case least >= 'A' && least <= 'Z': // of which a character beyond ASCII may be a form
			least += 'a' - 'A'
		case least == 'ß':
			dst = append(dst, "ss"...)
			continue
		case least == 'İ':
			least = 'i'
		case unseen(least):
			continue
		}
		dst = utf8.AppendRune(dst, least)
	}
	return dst
}

// unseen tells whether a character only says where a line may or may not break.
func unseen(r rune) bool {
	switch r {
	case '\u00ad', '\u200b', '\u2060', '\ufeff': // soft hyphen, zero width space, word joiner, byte order mark
		return true
	}
	return false
}

// Folder folds a text that comes in pieces as if it came at once.
type Folder struct {
	carry []byte // the end of what came, which the next piece may continue
}

// Append appends what of the text is settled now that p has come.
func (f *Folder) Append(dst, p []byte) []byte {
	f.carry = append(f.carry, p...)
	end := settled(f.carry)
	dst = AppendFolded(dst, f.carry[:end])
	f.carry = append(f.carry[:0], f.carry[end:]...)
	return dst
}

// Flush appends the end of the text.
func (f *Folder) Flush(dst []byte) []byte {
	dst = AppendFolded(dst, f.carry)
	f.carry = f.carry[:0]
	return dst
}

// Reset forgets the text.
func (f *Folder) Reset() { f.carry = f.carry[:0] }

// Folded text is UTF-8, so that these bytes are not in it.
const (
	endField  = 0xff
	endHeader = 0xfe
)

// Text is the folded text of a message: the fields of its header, each "name:
// value", then the decoded text of its parts with the names of attachments.
type Text []byte

// split returns the header and the body.
func (t Text) split() (header, body []byte) {
	i := bytes.IndexByte(t, endHeader)
	if i < 0 {
		return t, nil
	}
	return t[:i], t[i+1:]
}

// Where a Needle is looked for.
type Where uint8

const (
	InBody  Where = iota // in the text of the parts
	InText               // there or in a field of the header with its name
	InField              // in the value of the fields of one name
)

// Needle is what is looked for. An empty text of InField is in every field.
type Needle struct {
	Where Where
	Field string // of InField, in any case
	Text  []byte // folded
}

// Find tells whether the needle is in the text.
func (t Text) Find(n *Needle) bool {
	header, body := t.split()
	switch n.Where {
	case InBody:
		return bytes.Contains(body, n.Text)
	case InText:
		return bytes.Contains(body, n.Text) || bytes.Contains(header, n.Text)
	}
	name := append(Fold(n.Field), ": "...)
	for len(header) > 0 {
		field, rest, _ := bytes.Cut(header, []byte{endField})
		if bytes.HasPrefix(field, name) && bytes.Contains(field[len(name):], n.Text) {
			return true
		}
		header = rest
	}
	return false
}

// Builder collects the Text of a message. It is the text writer of a
// message.Parser.
type Builder struct {
	max    int
	header bool // fields have ended
	over   bool // there is more text than max
	text   []byte
	folder Folder
}

var _ message.FieldWriter = (*Builder)(nil)

// errTooLong ends a text that is longer than it may be.
type errTooLong struct{}

func (errTooLong) Error() string { return "the text is too long" }

// NewBuilder returns a Builder of texts of at most max bytes.
func NewBuilder(max int) *Builder { return &Builder{max: max} }

// Reset makes the Builder ready for another message.
func (b *Builder) Reset() {
	b.text = b.text[:0]
	b.folder.Reset()
	b.header, b.over = false, false
}

// WriteField takes a field of the header.
func (b *Builder) WriteField(name, value string) {
	if b.header || b.over {
		return // the outermost header comes first
	}
	b.text = AppendFoldedString(b.text, name)
	b.text = append(b.text, ": "...)
	b.text = AppendFoldedString(b.text, value)
	b.text = append(b.text, endField)
	b.over = len(b.text) > b.max
}

// Write takes a piece of the body's text.
func (b *Builder) Write(p []byte) (int, error) {
	b.endHeader()
	if b.over = b.over || len(b.text)+len(p) > b.max; b.over {
		return 0, errTooLong{}
	}
	b.text = b.folder.Append(b.text, p)
	return len(p), nil
}

func (b *Builder) endHeader() {
	if !b.header {
		b.header = true
		b.text = append(b.text, endHeader)
	}
}

// Text returns the text, valid until Reset; false where it is too long.
func (b *Builder) Text() (Text, bool) {
	b.endHeader()
	b.text = b.folder.Flush(b.text)
	return Text(b.text), !b.over && len(b.text) <= b.max
}

// maxRun is from where on a run of characters beyond ASCII is cut inside.
const maxRun = 1 << 10

// settled returns how much of s folds as it is, whatever follows.
func settled(s []byte) int {
	i := len(s)
	for i > 0 && s[i-1] >= utf8.RuneSelf {
		i--
	}
	if len(s)-i > maxRun {
		if last := norm.NFKC.LastBoundary(s); last > i {
			return last
		}
	}
	return max(i-1, 0)
}
