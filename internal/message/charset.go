package message

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/transform"
)

// charsetDecoder returns what turns a charset into UTF-8. One that is unknown,
// UTF-8 and ASCII are taken as UTF-8 with stray bytes of Windows-1252.
func charsetDecoder(label string) transform.Transformer {
	label = strings.ToLower(strings.Trim(label, "\"' \t"))
	switch label {
	case "", "utf-8", "utf8", "us-ascii", "ascii", "ansi_x3.4-1968", "unknown-8bit", "x-unknown", "default", "default_charset":
		return lenient{}
	case "utf-7", "unicode-1-1-utf-7", "x-unicode-2-0-utf-7":
		return &utf7{}
	case "hz-gb-2312":
		return simplifiedchinese.HZGB2312.NewDecoder()
	case "cp932", "ms932", "x-ms-cp932":
		label = "shift_jis"
	case "cp936", "x-gbk":
		label = "gbk"
	case "cp949":
		label = "euc-kr"
	case "cp950":
		label = "big5"
	}
	e, err := htmlindex.Get(label)
	if err != nil || e == encoding.Replacement {
		if e, err = ianaindex.MIME.Encoding(label); err != nil || e == nil {
			return lenient{}
		}
	}
	return e.NewDecoder()
}

// decodeCharset returns raw of a charset as UTF-8.
func decodeCharset(label string, raw []byte) string {
	out, _, err := transform.Bytes(charsetDecoder(label), raw)
	if err != nil {
		return lenientUTF8(string(raw))
	}
	return string(out)
}

// windows1252 returns the character of a byte.
func windows1252(c byte) rune { return charmap.Windows1252.DecodeByte(c) }

// lenient is a Transformer that copies UTF-8 and turns what is not UTF-8 from
// Windows-1252 into it.
type lenient struct{ transform.NopResetter }

// Transform implements transform.Transformer.
func (lenient) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) {
		if c := src[nSrc]; c < utf8.RuneSelf {
			if nDst == len(dst) {
				return nDst, nSrc, transform.ErrShortDst
			}
			dst[nDst] = c
			nDst++
			nSrc++
			continue
		}
		if !atEOF && !utf8.FullRune(src[nSrc:]) {
			return nDst, nSrc, transform.ErrShortSrc
		}
		r, n := utf8.DecodeRune(src[nSrc:])
		if r == utf8.RuneError && n == 1 {
			r = windows1252(src[nSrc])
		}
		if nDst+utf8.UTFMax > len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		nDst += utf8.EncodeRune(dst[nDst:], r)
		nSrc += n
	}
	return nDst, nSrc, nil
}

// utf7 is a Transformer from UTF-7 (RFC 2152) to UTF-8.
type utf7 struct {
	shifted bool
	first   bool // no character since the shift
	bits    uint32
	n       uint   // bits held
	high    uint16 // the first half of a surrogate pair
}

// Reset implements transform.Transformer.
func (u *utf7) Reset() { *u = utf7{} }

// Transform implements transform.Transformer.
func (u *utf7) Transform(dst, src []byte, _ bool) (nDst, nSrc int, err error) {
	for ; nSrc < len(src); nSrc++ {
		if nDst+2*utf8.UTFMax > len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		c := src[nSrc]
		switch v := base64Value[c]; {
		case u.shifted && v < 64:
			u.first = false
			nDst += u.add(dst[nDst:], v)
		case u.shifted:
			if c == '-' && u.first {
				dst[nDst] = '+'
				nDst++
			} else if c != '-' {
				nDst += utf8.EncodeRune(dst[nDst:], windows1252(c))
			}
			*u = utf7{}
		case c == '+':
			*u = utf7{shifted: true, first: true}
		default:
			nDst += utf8.EncodeRune(dst[nDst:], windows1252(c))
		}
	}
	return nDst, nSrc, nil
}

// add takes six more bits and writes a character where one is complete.
func (u *utf7) add(dst []byte, v byte) int {
	u.bits = u.bits<<6 | uint32(v)
	u.n += 6
	if u.n < 16 {
		return 0
	}
	u.n -= 16
	unit := uint16(u.bits >> u.n)
	switch {
	case unit&0xfc00 == 0xd800:
		u.high = unit
		return 0
	case unit&0xfc00 == 0xdc00 && u.high != 0:
		r := 0x10000 + rune(u.high&0x3ff)<<10 + rune(unit&0x3ff)
		u.high = 0
		return utf8.EncodeRune(dst, r)
	}
	u.high = 0
	return utf8.EncodeRune(dst, rune(unit))
}
