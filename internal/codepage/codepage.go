// Package codepage turns the text of old exports into UTF-8: it knows the
// Windows code pages by number and by name, finds the Unicode forms by their
// first bytes, and guesses the code page of a text that does not say.
package codepage

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// Page is a code page with the name that people know it by.
type Page struct {
	Name     string // "windows-1252", "utf-8"
	Encoding encoding.Encoding
}

// UTF8 is what everything becomes.
var UTF8 = Page{Name: "utf-8", Encoding: unicode.UTF8}

// Windows1252 is the code page of a Western Windows, the last resort.
var Windows1252 = Page{Name: "windows-1252", Encoding: charmap.Windows1252}

// pages returns the ANSI code pages of Windows by number.
func pages() map[string]Page {
	return map[string]Page{
		"874": {"windows-874", charmap.Windows874}, "932": {"shift_jis", japanese.ShiftJIS},
		"936": {"gbk", simplifiedchinese.GBK}, "949": {"euc-kr", korean.EUCKR}, "950": {"big5", traditionalchinese.Big5},
		"437": {"cp437", charmap.CodePage437}, "850": {"cp850", charmap.CodePage850}, "852": {"cp852", charmap.CodePage852},
		"866": {"cp866", charmap.CodePage866}, "54936": {"gb18030", simplifiedchinese.GB18030},
		"1250": {"windows-1250", charmap.Windows1250}, "1251": {"windows-1251", charmap.Windows1251}, "1252": Windows1252,
		"1253": {"windows-1253", charmap.Windows1253}, "1254": {"windows-1254", charmap.Windows1254},
		"1255": {"windows-1255", charmap.Windows1255}, "1256": {"windows-1256", charmap.Windows1256},
		"1257": {"windows-1257", charmap.Windows1257}, "1258": {"windows-1258", charmap.Windows1258},
		"65001": UTF8,
		"1200":  {"utf-16le", unicode.UTF16(unicode.LittleEndian, unicode.UseBOM)},
		"1201":  {"utf-16be", unicode.UTF16(unicode.BigEndian, unicode.UseBOM)},
	}
}

// Lookup returns a code page by its number or name: "1252", "cp1252",
// "windows-1252", "shift_jis", "utf-8", "iso-8859-2".
func Lookup(name string) (Page, error) {
	n := strings.ToLower(strings.TrimSpace(name))
	known := pages()
	for _, prefix := range []string{"", "windows-", "windows", "cp", "ms"} {
		if p, ok := known[strings.TrimPrefix(n, prefix)]; ok {
			return p, nil
		}
	}
	if n == "utf8" || n == "utf-8" {
		return UTF8, nil
	}
	if e, err := ianaindex.IANA.Encoding(n); err == nil && e != nil {
		return Page{Name: n, Encoding: e}, nil
	}
	return Page{}, fmt.Errorf("code page %q is not known: give a number such as 1252 or a name such as shift_jis", name)
}

// String returns b in UTF-8, and false where b does not fit the code page;
// then what does not fit became U+FFFD.
func (p Page) String(b []byte) (string, bool) {
	if p.Encoding == nil || p.Name == UTF8.Name {
		return strings.ToValidUTF8(string(b), "\uFFFD"), utf8.Valid(b)
	}
	out, err := p.Encoding.NewDecoder().Bytes(b)
	if err != nil {
		return strings.ToValidUTF8(string(b), "\uFFFD"), false
	}
	s := string(out)
	return s, !strings.ContainsRune(s, utf8.RuneError)
}

// NewUnicodeReader returns r without a byte order mark and, where it is
// UTF-16 (with a mark, or plainly so from its first characters), as UTF-8.
// The name is "utf-8" or "utf-16le" or "utf-16be", and empty where nothing
// at the start of r tells.
func NewUnicodeReader(r io.Reader) (*bufio.Reader, string) {
	br := bufio.NewReaderSize(r, sampleSize)
	head, _ := br.Peek(4)
	utf16 := func(e unicode.Endianness, name string) (*bufio.Reader, string) {
		d := unicode.UTF16(e, unicode.UseBOM).NewDecoder()
		return bufio.NewReaderSize(transform.NewReader(br, d), sampleSize), name
	}
	switch {
	case len(head) >= 3 && head[0] == 0xEF && head[1] == 0xBB && head[2] == 0xBF:
		_, _ = br.Discard(3) // cannot fail: the bytes were peeked
		return br, "utf-8"
	case len(head) >= 2 && head[0] == 0xFF && head[1] == 0xFE:
		return utf16(unicode.LittleEndian, "utf-16le")
	case len(head) >= 2 && head[0] == 0xFE && head[1] == 0xFF:
		return utf16(unicode.BigEndian, "utf-16be")
	case len(head) == 4 && head[0] != 0 && head[1] == 0 && head[2] != 0 && head[3] == 0:
		return utf16(unicode.LittleEndian, "utf-16le")
	case len(head) == 4 && head[0] == 0 && head[1] != 0 && head[2] == 0 && head[3] != 0:
		return utf16(unicode.BigEndian, "utf-16be")
	}
	return br, ""
}

// sampleSize is how much of a file is looked at before it is read.
const sampleSize = 256 << 10
