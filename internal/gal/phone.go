package gal

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// cleanPhone brings a telephone number into the syntax of a directory (RFC
// 4517 §3.3.31, PrintableString) without changing what is dialled: full-width
// digits, odd blanks and dashes, brackets. It is "" where there is no letter
// and no digit, and false where other characters remain.
func cleanPhone(s string) (string, bool) {
	var b strings.Builder
	some := false
	for _, r := range norm.NFKC.String(s) {
		switch {
		case r == '[' || r == '{':
			r = '('
		case r == ']' || r == '}':
			r = ')'
		case unicode.Is(unicode.Pd, r) || r == '−':
			r = '-'
		case unicode.IsSpace(r) || r == '_':
			r = ' '
		case r == ';':
			r = ','
		case unicode.Is(unicode.Cf, r):
			continue // direction marks, as a copy from a web page has them
		}
		if r >= 0x80 || !strings.ContainsRune("'()+,-./:? ", r) && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return s, false
		}
		some = some || unicode.IsLetter(r) || unicode.IsDigit(r)
		b.WriteRune(r)
	}
	if !some {
		return "", false
	}
	return squeeze(b.String()), true
}
