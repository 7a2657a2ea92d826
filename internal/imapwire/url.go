package imapwire

import (
	"net/url"
	"strconv"
	"strings"

	"expost/internal/mail"
)

// MessageURL is an IMAP URL of a message or a part of it on the same server,
// without the server (RFC 5092 §7, as RFC 4469 uses it).
type MessageURL struct {
	Mailbox     string // as the store keeps it
	UIDValidity mail.UIDValidity
	UID         mail.UID
	Section     Section
	Partial     Partial
}

// ParseMessageURL reads "/mailbox;UIDVALIDITY=n/;UID=n/;SECTION=s/;PARTIAL=n.n",
// where all but the mailbox and the UID may be missing.
func ParseMessageURL(text string) (MessageURL, bool) {
	var u MessageURL
	path, found := strings.CutPrefix(text, "/")
	name, rest, ok := cutFold(path, "/;UID=")
	if !found || !ok || strings.HasPrefix(name, "/") {
		return u, false
	}
	if box, validity, given := cutFold(name, ";UIDVALIDITY="); given {
		n, err := strconv.ParseUint(validity, 10, 32)
		if err != nil || n == 0 {
			return u, false
		}
		name, u.UIDValidity = box, mail.UIDValidity(n)
	}
	name, err := url.PathUnescape(name)
	if err != nil || name == "" {
		return u, false
	}
	u.Mailbox = CanonicalName(name)
	rest, partial, cut := cutFold(rest, "/;PARTIAL=")
	if cut && !u.parsePartial(partial) {
		return u, false
	}
	rest, section, cut := cutFold(rest, "/;SECTION=")
	if cut && !u.parseSection(section) {
		return u, false
	}
	uid, err := strconv.ParseUint(rest, 10, 32)
	u.UID = mail.UID(uid)
	return u, err == nil && uid > 0
}

// cutFold is strings.Cut that takes sep (ASCII, upper case) in any case.
func cutFold(s, sep string) (before, after string, found bool) {
	upper := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			return r - 'a' + 'A'
		}
		return r
	}, s)
	if len(upper) != len(s) { // not UTF-8, which no URL is
		return s, "", false
	}
	i := strings.Index(upper, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// parseSection reads what stands between brackets in FETCH, with escapes.
func (u *MessageURL) parseSection(text string) bool {
	text, err := url.PathUnescape(text)
	if err != nil || strings.ContainsAny(text, "\r\n") {
		return false
	}
	d := Decoder{lim: Limits{}.withDefaults(), line: []byte("[" + text + "]")}
	u.Section = d.section()
	return d.err == nil && d.off == len(d.line)
}

// parsePartial reads "from" or "from.count".
func (u *MessageURL) parsePartial(text string) bool {
	from, count, given := strings.Cut(text, ".")
	var err error
	if u.Partial.From, err = strconv.ParseInt(from, 10, 64); err != nil || u.Partial.From < 0 {
		return false
	}
	u.Partial.Given, u.Partial.Count = true, 1<<62
	if given {
		u.Partial.Count, err = strconv.ParseInt(count, 10, 64)
	}
	return err == nil && u.Partial.Count > 0
}
