package delivery

import (
	"context"
	"strings"
	"unicode/utf8"

	"expost/internal/directory"
	"expost/internal/mail"
)

// findLegacy returns what an address of Exchange's own kind names: an X.500
// name (legacyExchangeDN), bare or encapsulated as IMCEAEX-…@domain, or another
// address that was encapsulated (IMCEASMTP-). Replies to old mail and Outlook's
// autocompletion use them for ever. A name may lead to a contact elsewhere, but
// only for those who are logged in.
func (a *Agent) findLegacy(ctx context.Context, q Query, addr mail.Address) (found, error) {
	inner, ok := decodeLegacy(addr.Local())
	if !ok {
		return found{}, nil
	}
	if strings.HasPrefix(inner, "/") {
		to, err := directory.AddressOfX500(ctx, a.directory, inner)
		switch mail.KindOf(err) {
		case mail.KindNotExist:
			return found{}, nil
		case mail.KindConflict:
			return found{}, &Error{Status: "5.1.4", Err: mail.WrapError(mail.KindInvalid, err, "the name of %s is that of several people", addr)}
		}
		if err != nil {
			return found{}, errDirectory(err)
		}
		inner = string(to)
	}
	to, err := mail.ParseAddress(inner)
	if err != nil {
		return found{}, nil
	}
	to = a.unalias(to)
	f, err := a.find(ctx, to)
	if err == nil && f.isNothing() && q.Sender != nil && !a.domains[mail.DomainKey(to.Domain())] {
		f.outside = to
	}
	return f, err
}

// decodeLegacy returns the X.500 name ("/o=…") or SMTP address in the local part of
// an address, if it holds one. In the encapsulated form "_" stands for "/" and
// "+XX" for the byte XX ([MS-OXOABK], "IMCEA" encapsulation).
func decodeLegacy(local string) (string, bool) {
	if len(local) > 3 && strings.EqualFold(local[:3], "/o=") {
		return local, true
	}
	if len(local) < 6 || !strings.EqualFold(local[:5], "IMCEA") {
		return "", false
	}
	kind, text, ok := strings.Cut(local[5:], "-")
	if !ok {
		return "", false
	}
	text, ok = decapsulate(text)
	switch kind = strings.ToUpper(kind); {
	case !ok:
		return "", false
	case kind == "EX" || kind == "X500":
		if !strings.HasPrefix(text, "/") {
			text = "/" + text
		}
		return text, true
	case kind == "SMTP":
		return text, true
	}
	return "", false
}

// decapsulate undoes the encoding. It is false where the text is none.
func decapsulate(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '_':
			b.WriteByte('/')
		case '+':
			if i+2 >= len(s) {
				return "", false
			}
			high, low := unhex(s[i+1]), unhex(s[i+2])
			if high < 0 || low < 0 {
				return "", false
			}
			b.WriteByte(byte(high<<4 | low))
			i += 2
		default:
			b.WriteByte(c)
		}
	}
	text := b.String()
	for _, c := range text {
		if c < ' ' || c == 0x7f {
			return "", false
		}
	}
	return text, utf8.ValidString(text)
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
