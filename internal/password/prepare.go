package password

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Prepare is SASLprep (RFC 4013), which SCRAM wants: different ways of typing
// one password give the same keys. A password that it forbids, or that is not
// UTF-8, stays as it is.
func Prepare(s string) string {
	ascii := true
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf || s[i] < ' ' || s[i] == 0x7f {
			ascii = false
			break
		}
	}
	if ascii || !utf8.ValidString(s) {
		return s
	}
	prepared := norm.NFKC.String(strings.Map(mapRune, s))
	if strings.ContainsFunc(prepared, isProhibited) || prepared == "" {
		return s
	}
	return prepared
}

// mapRune is the mapping of RFC 4013 §2.1: spaces to the one of ASCII, and the
// characters that are "commonly mapped to nothing" (RFC 3454 B.1) to nothing.
func mapRune(r rune) rune {
	switch {
	case r == 0x00ad, r == 0x034f, r == 0x1806, r >= 0x180b && r <= 0x180d, r >= 0x200c && r <= 0x200d,
		r == 0x2060, r >= 0xfe00 && r <= 0xfe0f, r == 0xfeff:
		return -1
	case r == 0x200b, r != ' ' && unicode.Is(unicode.Zs, r): // RFC 3454 C.1.2
		return ' '
	}
	return r
}

// isProhibited tells the characters of RFC 4013 §2.3.
func isProhibited(r rune) bool {
	switch {
	case unicode.IsControl(r), unicode.Is(unicode.Co, r), unicode.Is(unicode.Cs, r): // C.2, C.3, C.5
		return true
	case r != ' ' && unicode.Is(unicode.Zs, r): // C.1.2
		return true
	case r >= 0xfdd0 && r <= 0xfdef, r&0xfffe == 0xfffe: // C.4
		return true
	case r >= 0xfff9 && r <= 0xfffd, r >= 0x2ff0 && r <= 0x2ffb: // C.6, C.7
		return true
	case r == 0x0340, r == 0x0341, r == 0x200e, r == 0x200f, r >= 0x2028 && r <= 0x202e, r >= 0x206a && r <= 0x206f: // C.8, C.2.2
		return true
	case r == 0x06dd, r == 0x070f, r == 0x180e, r >= 0x2061 && r <= 0x2063, r >= 0x1d173 && r <= 0x1d17a: // C.2.2
		return true
	}
	return r == 0xe0001 || r >= 0xe0020 && r <= 0xe007f // C.9
}
