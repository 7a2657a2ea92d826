package store

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"expost/internal/mail"
)

// The limits of a mailbox name.
const (
	maxNameLen    = 1000 // bytes
	maxNameLevels = 50
)

// canonicalName returns the form in which names are kept and compared: NFC,
// and INBOX in upper case where it is the first level (RFC 9051 §5.1).
func canonicalName(name string) string {
	name = norm.NFC.String(name)
	first, rest, nested := strings.Cut(name, mail.Delimiter)
	if !strings.EqualFold(first, mail.Inbox) {
		return name
	}
	if !nested {
		return mail.Inbox
	}
	return mail.Inbox + mail.Delimiter + rest
}

// checkName returns the canonical form of the name of a mailbox to be made.
func checkName(name string) (string, error) {
	invalid := func(why string) (string, error) {
		return "", mail.Errorf(mail.KindInvalid, "%q cannot be a mailbox: %s", name, why)
	}
	switch {
	case !utf8.ValidString(name):
		return invalid("its name is not UTF-8")
	case len(name) > maxNameLen:
		return "", mail.Errorf(mail.KindInvalid, "a mailbox name may have %d bytes, this one has %d", maxNameLen, len(name))
	case strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }):
		return invalid("its name holds a control character")
	}
	levels := strings.Split(name, mail.Delimiter)
	if len(levels) > maxNameLevels {
		return invalid("it is nested too deep")
	}
	for _, level := range levels {
		if level == "" || level == "." || level == ".." {
			return invalid(`no level of a name may be empty, "." or ".."`)
		}
	}
	return canonicalName(name), nil
}

// parents returns the names above name, the outermost first.
func parents(name string) []string {
	var above []string
	for i := range len(name) {
		if name[i] == mail.Delimiter[0] {
			above = append(above, name[:i])
		}
	}
	return above
}

// isBelow tells whether name lies below parent.
func isBelow(name, parent string) bool {
	return len(name) > len(parent) && name[:len(parent)] == parent && name[len(parent)] == mail.Delimiter[0]
}

// compareNames orders mailbox names: INBOX first, then by bytes.
func compareNames(a, b string) int {
	switch {
	case a == b:
		return 0
	case a == mail.Inbox:
		return -1
	case b == mail.Inbox:
		return 1
	}
	return strings.Compare(a, b)
}
