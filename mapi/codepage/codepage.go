// Package codepage decodes text in the code pages of Windows, which MAPI
// properties, RTF and TNEF name by number.
package codepage

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
	"golang.org/x/text/encoding/unicode"
)

// The code pages that programs name themselves.
const (
	Western = 1252
	UTF16   = 1200
	UTF16BE = 1201
	ASCII   = 20127
	UTF7    = 65000
	UTF8    = 65001
)

type page struct {
	name string // the IANA charset name
	enc  encoding.Encoding
}

var pages = map[int]page{
	437: {"ibm437", charmap.CodePage437}, 850: {"ibm850", charmap.CodePage850}, 852: {"ibm852", charmap.CodePage852},
	855: {"ibm855", charmap.CodePage855}, 858: {"ibm00858", charmap.CodePage858}, 860: {"ibm860", charmap.CodePage860},
	862: {"ibm862", charmap.CodePage862}, 863: {"ibm863", charmap.CodePage863}, 865: {"ibm865", charmap.CodePage865},
	866: {"ibm866", charmap.CodePage866}, 874: {"windows-874", charmap.Windows874},
	932: {"shift_jis", japanese.ShiftJIS}, 936: {"gbk", simplifiedchinese.GBK}, 949: {"euc-kr", korean.EUCKR},
	950: {"big5", traditionalchinese.Big5}, 1361: {"johab", nil},
	UTF16:   {"utf-16le", unicode.UTF16(unicode.LittleEndian, unicode.UseBOM)},
	UTF16BE: {"utf-16be", unicode.UTF16(unicode.BigEndian, unicode.UseBOM)},
	1250:    {"windows-1250", charmap.Windows1250}, 1251: {"windows-1251", charmap.Windows1251},
	1252: {"windows-1252", charmap.Windows1252}, 1253: {"windows-1253", charmap.Windows1253},
	1254: {"windows-1254", charmap.Windows1254}, 1255: {"windows-1255", charmap.Windows1255},
	1256: {"windows-1256", charmap.Windows1256}, 1257: {"windows-1257", charmap.Windows1257},
	1258:  {"windows-1258", charmap.Windows1258},
	10000: {"macintosh", charmap.Macintosh}, 10001: {"shift_jis", japanese.ShiftJIS},
	10002: {"big5", traditionalchinese.Big5}, 10003: {"euc-kr", korean.EUCKR}, 10008: {"gbk", simplifiedchinese.GBK},
	10007: {"x-mac-cyrillic", charmap.MacintoshCyrillic},
	ASCII: {"us-ascii", charmap.Windows1252}, 20866: {"koi8-r", charmap.KOI8R}, 21866: {"koi8-u", charmap.KOI8U},
	28591: {"iso-8859-1", charmap.ISO8859_1}, 28592: {"iso-8859-2", charmap.ISO8859_2},
	28593: {"iso-8859-3", charmap.ISO8859_3}, 28594: {"iso-8859-4", charmap.ISO8859_4},
	28595: {"iso-8859-5", charmap.ISO8859_5}, 28596: {"iso-8859-6", charmap.ISO8859_6},
	28597: {"iso-8859-7", charmap.ISO8859_7}, 28598: {"iso-8859-8", charmap.ISO8859_8},
	28599: {"iso-8859-9", charmap.ISO8859_9}, 28600: {"iso-8859-10", charmap.ISO8859_10},
	28603: {"iso-8859-13", charmap.ISO8859_13}, 28604: {"iso-8859-14", charmap.ISO8859_14},
	28605: {"iso-8859-15", charmap.ISO8859_15}, 38598: {"iso-8859-8-i", charmap.ISO8859_8I},
	50220: {"iso-2022-jp", japanese.ISO2022JP}, 50221: {"iso-2022-jp", japanese.ISO2022JP},
	50222: {"iso-2022-jp", japanese.ISO2022JP}, 51932: {"euc-jp", japanese.EUCJP}, 20932: {"euc-jp", japanese.EUCJP},
	51949: {"euc-kr", korean.EUCKR}, 50949: {"euc-kr", korean.EUCKR}, 51936: {"gb2312", simplifiedchinese.GBK},
	20936: {"gb2312", simplifiedchinese.GBK}, 52936: {"hz-gb-2312", simplifiedchinese.HZGB2312},
	54936: {"gb18030", simplifiedchinese.GB18030}, 50227: {"gb2312", simplifiedchinese.GBK},
	UTF7: {"utf-7", nil}, UTF8: {"utf-8", unicode.UTF8},
}

// Name returns the IANA name of a code page, and "" where it is not known.
func Name(cp int) string { return pages[cp].name }

// Known says whether Decode knows the code page.
func Known(cp int) bool { return cp == UTF7 || pages[cp].enc != nil }

// Wide says whether a code page has units of 16 bits, which 8-bit text cannot be in.
func Wide(cp int) bool { return cp == UTF16 || cp == UTF16BE }

// Decode returns the text of b. Bytes that are no characters become U+FFFD. In
// a code page that is not known, b is UTF-8 where it is valid as such, else
// Windows-1252.
func Decode(cp int, b []byte) string {
	if isASCII(b) && !Wide(cp) && !stateful(cp) {
		return string(b)
	}
	if cp == UTF7 {
		return decodeUTF7(b)
	}
	enc := pages[cp].enc
	if cp == ASCII {
		enc = nil // 8-bit text that calls itself ASCII is in another code page
	}
	if enc == nil {
		if utf8.Valid(b) {
			return string(b)
		}
		enc = charmap.Windows1252
	}
	out, err := enc.NewDecoder().Bytes(b)
	if err != nil {
		return strings.ToValidUTF8(string(b), "\uFFFD")
	}
	return strings.ToValidUTF8(string(out), "\uFFFD")
}

// ByCharset returns the code page of an IANA charset name, and 0 where there is none.
func ByCharset(name string) int {
	name = strings.ToLower(strings.TrimSpace(name))
	if cp, ok := aliases[name]; ok {
		return cp
	}
	best := 0
	for cp, p := range pages {
		if p.name == name && (best == 0 || cp < best) {
			best = cp
		}
	}
	return best
}

var aliases = map[string]int{
	"utf8": UTF8, "ascii": ASCII, "x-sjis": 932, "sjis": 932, "shift-jis": 932, "ks_c_5601-1987": 949, "cp1252": 1252,
	"latin1": 28591, "gb2312": 936, "cp1251": 1251, "big5-hkscs": 950, "utf-16": UTF16, "unicode": UTF16, "euc-kr": 949,
}

func stateful(cp int) bool { return cp == UTF7 || cp == 52936 || cp >= 50220 && cp <= 50222 }

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
