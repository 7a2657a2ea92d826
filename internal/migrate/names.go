package migrate

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"expost/internal/mail"
)

// maxName and maxLevels bound a mailbox name at a target, in bytes and levels.
const (
	maxName   = 1000
	maxLevels = 50
)

// targetName returns the name that a source's folder can have at a target:
// UTF-8 in NFC without control characters, empty levels, "." and "..".
func targetName(name string) string {
	levels := strings.Split(norm.NFC.String(strings.ToValidUTF8(name, "_")), mail.Delimiter)
	for i, level := range levels {
		level = strings.Map(func(r rune) rune {
			if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
				return '_'
			}
			return r
		}, level)
		if level == "" || level == "." || level == ".." {
			level = strings.Repeat("_", max(1, len(level)))
		}
		levels[i] = level
	}
	if strings.EqualFold(levels[0], mail.Inbox) {
		levels[0] = mail.Inbox
	}
	if len(levels) > maxLevels {
		levels = append(levels[:maxLevels-1], strings.Join(levels[maxLevels-1:], "_"))
	}
	return shorten(strings.Join(levels, mail.Delimiter), maxName)
}

// namesAt returns what makes a source's name one that the target can hold.
func namesAt(target TargetAccount) func(string) string {
	n, ok := target.(Namer)
	if !ok {
		return targetName
	}
	return func(name string) string { return n.Name(targetName(name)) }
}

// shorten cuts s to at most n bytes, between characters.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return strings.TrimRight(s[:n], mail.Delimiter)
}

// uniqueName returns name, with a number behind it where it is taken.
func uniqueName(name string, taken func(string) bool) string {
	for n := 2; taken(name); n++ {
		suffix := fmt.Sprintf(" (%d)", n)
		if base := shorten(name, maxName-len(suffix)); !taken(base + suffix) {
			return base + suffix
		}
	}
	return name
}
