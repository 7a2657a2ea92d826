package access

import (
	"regexp"
	"strings"

	"expost/internal/ldap"
)

// Compile reads a regular expression as slapd does: of POSIX, extended, without
// regard to case, the longest match.
func Compile(expr string) (*regexp.Regexp, error) {
	re, err := regexp.Compile("(?i)" + expr)
	if err != nil {
		return nil, err
	}
	re.Longest()
	return re, nil
}

// Expand puts what the groups of a pattern matched into text: "$1", "${1}" or
// "${d1}"; "$$" is a "$". With quote, what is put in means itself in a regular
// expression.
func Expand(text string, quote bool, groups []string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '$' || i+1 == len(text) {
			b.WriteByte(text[i])
			continue
		}
		n, length := reference(text[i+1:])
		switch {
		case text[i+1] == '$':
			b.WriteByte('$')
			i++
		case length == 0:
			b.WriteByte('$')
		case n < len(groups) && quote:
			b.WriteString(regexp.QuoteMeta(groups[n]))
		case n < len(groups):
			b.WriteString(groups[n])
		}
		i += length
	}
	return b.String()
}

// reference reads "1", "{1}" or "{d1}" at the start of text; the length is 0
// where there is none of them.
func reference(text string) (group, length int) {
	digits := text
	if after, found := strings.CutPrefix(text, "{"); found {
		digits = strings.TrimPrefix(after, "d")
		if len(digits) < 2 || digits[1] != '}' {
			return 0, 0
		}
		length = len(text) - len(digits) + 1
	}
	if digits[0] < '0' || digits[0] > '9' {
		return 0, 0
	}
	return int(digits[0] - '0'), length + 1
}

// refers tells whether text has something for Expand to put in.
func refers(text string) bool { return Expand(text, false, nil) != text }

// NormalDN returns the normal form of a DN that patterns are matched with, as
// slapd has it: types by their first names, values as their equality rules compare
// them, all in lower case, without spaces between.
func NormalDN(dn ldap.DN, n ldap.Normalizer) string {
	normal := make(ldap.DN, len(dn))
	for i, rdn := range dn {
		for _, ava := range rdn {
			ava = n.NormalizeAVA(ava)
			ava.Type = strings.ToLower(ava.Type)
			normal[i] = append(normal[i], ava)
		}
	}
	return normal.String()
}
