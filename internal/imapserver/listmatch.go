package imapserver

import (
	"strings"

	"expost/internal/mail"
)

// pattern is a list-mailbox with its reference before it, ready to match.
type pattern string

// newPattern joins a reference and a pattern (RFC 9051 §6.3.9): INBOX in upper
// case where it is the first level, runs of wildcards as one.
func newPattern(reference, p string) pattern {
	p = reference + p
	if n := len(mail.Inbox); len(p) >= n && strings.EqualFold(p[:n], mail.Inbox) && (len(p) == n || strings.ContainsRune(mail.Delimiter+"*%", rune(p[n]))) {
		p = mail.Inbox + p[n:]
	}
	for strings.Contains(p, "**") {
		p = strings.ReplaceAll(p, "**", "*")
	}
	for strings.Contains(p, "%%") {
		p = strings.ReplaceAll(p, "%%", "%")
	}
	return pattern(p)
}

// match tells whether name matches. INBOX matches in any case. The time is
// bounded by the product of the lengths.
func (p pattern) match(name string) bool {
	if matchWild(string(p), name) {
		return true
	}
	return name == mail.Inbox && matchWild(strings.ToUpper(string(p)), name)
}

// matchWild matches "*" against anything and "%" against anything without the
// delimiter. reach[j] tells whether what is read of p matches name[:j].
func matchWild(p, name string) bool {
	if !strings.ContainsAny(p, "*%") {
		return p == name
	}
	reach := make([]bool, len(name)+1)
	reach[0] = true
	for i := range len(p) {
		switch c := p[i]; c {
		case '*', '%':
			for j := 1; j <= len(name); j++ {
				reach[j] = reach[j] || reach[j-1] && (c == '*' || name[j-1] != mail.Delimiter[0])
			}
		default:
			for j := len(name); j > 0; j-- {
				reach[j] = reach[j-1] && name[j-1] == c
			}
			reach[0] = false
		}
	}
	return reach[len(name)]
}
