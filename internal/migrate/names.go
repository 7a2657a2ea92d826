package migrate

import (
	"fmt"
	"slices"
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

// LeftOut are the folders of Exchange and Outlook that hold no mail of their
// users: conflicts of synchronisation, caches, and copies of attachments.
func LeftOut() []string {
	return []string{
		"Sync Issues", "Sync Issues/*", "Synchronisierungsprobleme", "Synchronisierungsprobleme/*", "Problèmes de synchronisation", "Problèmes de synchronisation/*",
		"Recipient Cache", "GAL Contacts", "Organizational Contacts", "PeopleCentricConversation Buddies", "PersonMetadata", "ExternalContacts",
		"Social Activity Notifications", "Yammer Root", "Yammer Root/*", "Quick Step Settings", "Conversation Action Settings", "Suggested Contacts",
		"Contacts/Recipient Cache", "Contacts/GAL Contacts", "Contacts/Organizational Contacts", "Contacts/PeopleCentricConversation Buddies", "Contacts/{*}",
	}
}

// excluded tells whether the plan leaves a folder out. INBOX never is.
func (e *Engine) excluded(name string) bool {
	if name == mail.Inbox {
		return false
	}
	name = strings.ToLower(norm.NFC.String(name))
	return slices.ContainsFunc(e.opt.Exclude, func(pattern string) bool {
		return matchName(strings.ToLower(norm.NFC.String(pattern)), name)
	})
}

// matchName matches a name with "*" (also over levels) and "?".
func matchName(pattern, name string) bool {
	for pattern != "" {
		switch pattern[0] {
		case '*':
			for i := len(name); i >= 0; i-- {
				if matchName(pattern[1:], name[i:]) {
					return true
				}
			}
			return false
		case '?':
			_, n := utf8.DecodeRuneInString(name)
			if n == 0 {
				return false
			}
			pattern, name = pattern[1:], name[n:]
		default:
			if name == "" || name[0] != pattern[0] {
				return false
			}
			pattern, name = pattern[1:], name[1:]
		}
	}
	return name == ""
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
