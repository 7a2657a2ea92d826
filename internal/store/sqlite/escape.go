package sqlite

import (
	"fmt"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"expost/internal/mail"
)

// maxName is the longest name that file systems take, in bytes.
const maxName = 255

// path returns the folder of an account: two levels, whatever the id holds.
func (e *Engine) path(id mail.AccountID) (string, error) {
	domain, local, ok := strings.Cut(string(id), "/")
	if !ok {
		return "", mail.Errorf(mail.KindInvalid, "%q is not the name of an account: it must look like domain/local", string(id))
	}
	domain, local = escape(domain), escape(local)
	if len(domain) > maxName || len(local) > maxName {
		return "", mail.Errorf(mail.KindInvalid, "the name of account %q is too long", string(id))
	}
	return filepath.Join(e.dir, domain, local), nil
}

// accountOf returns the id whose folder has these names.
func accountOf(domain, local string) (mail.AccountID, bool) {
	d, ok1 := unescape(domain)
	l, ok2 := unescape(local)
	return mail.AccountID(d + "/" + l), ok1 && ok2
}

// escape returns s as a file name that no file system and no shell mistakes:
// letters, digits and a few signs stand for themselves, other bytes are %XX.
// Upper case is escaped, so that a file system that ignores case keeps apart
// what is different. The empty string is "%".
func escape(s string) string {
	if s == "" {
		return "%"
	}
	var b strings.Builder
	for i, r := range s {
		size := utf8.RuneLen(r)
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], string(utf8.RuneError)):
			fmt.Fprintf(&b, "%%%02X", s[i])
		case plain(r, i == 0):
			b.WriteRune(r)
		default:
			for _, c := range []byte(s[i : i+size]) {
				fmt.Fprintf(&b, "%%%02X", c)
			}
		}
	}
	return b.String()
}

// plain tells whether a rune stands for itself.
func plain(r rune, first bool) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
		return true
	case r < utf8.RuneSelf:
		return !first && strings.ContainsRune("-_.+=@", r)
	}
	return unicode.IsLetter(r) && unicode.ToLower(r) == r
}

// unescape is the inverse of escape; false for names that escape does not make.
func unescape(name string) (string, bool) {
	if name == "%" {
		return "", true
	}
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		if name[i] != '%' {
			b.WriteByte(name[i])
			continue
		}
		var c byte
		if i+2 >= len(name) {
			return "", false
		}
		if _, err := fmt.Sscanf(name[i+1:i+3], "%02X", &c); err != nil {
			return "", false
		}
		b.WriteByte(c)
		i += 2
	}
	return b.String(), escape(b.String()) == name
}
