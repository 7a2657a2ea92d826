package imapwire

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"expost/internal/mail"
)

// Mailbox reads a mailbox name and returns it in the store's form: UTF-8, NFC,
// INBOX in upper case. Both modified UTF-7 and, with utf8 (RFC 6855), plain
// UTF-8 names are understood.
func (d *Decoder) Mailbox(utf8Names bool) string {
	at := d.off
	return d.mailboxName(d.AString(), at, utf8Names)
}

// mailboxName turns a name as sent into the store's form.
func (d *Decoder) mailboxName(raw string, at int, utf8Names bool) string {
	if d.err != nil {
		return ""
	}
	name, ok := raw, utf8.ValidString(raw)
	if !utf8Names {
		name, ok = DecodeUTF7(raw)
	}
	if !ok {
		d.off = min(at, len(d.line))
		d.Fail("the mailbox name is neither modified UTF-7 nor UTF-8")
		return ""
	}
	return CanonicalName(name)
}

// CanonicalName returns a mailbox name in the form the store keeps: NFC, and
// INBOX in upper case, also as the first level.
func CanonicalName(name string) string {
	if len(name) >= len(mail.Inbox) && strings.EqualFold(name[:len(mail.Inbox)], mail.Inbox) &&
		(len(name) == len(mail.Inbox) || strings.HasPrefix(name[len(mail.Inbox):], mail.Delimiter)) {
		name = mail.Inbox + name[len(mail.Inbox):]
	}
	return norm.NFC.String(name)
}

// ListPattern reads a list-mailbox: a name with the wildcards % and *.
func (d *Decoder) ListPattern(utf8Names bool) string {
	at := d.off
	if c := d.peek(); c == '"' || c == '{' {
		return d.listPattern(d.String(), at, utf8Names)
	}
	b := d.take(func(c byte) bool { return c == '%' || c == '*' || astringChar(c) })
	if len(b) == 0 {
		d.Fail("expected a mailbox pattern")
	}
	return d.listPattern(string(b), at, utf8Names)
}

// Reference reads the reference name of LIST: a name, in which nothing is wild.
func (d *Decoder) Reference(utf8Names bool) string {
	at := d.off
	return d.listPattern(d.AString(), at, utf8Names)
}

// listPattern decodes a pattern; unlike a name it keeps the case of INBOX,
// which the matching settles.
func (d *Decoder) listPattern(raw string, at int, utf8Names bool) string {
	if d.err != nil {
		return ""
	}
	p, ok := raw, utf8.ValidString(raw)
	if !utf8Names {
		p, ok = DecodeUTF7(raw)
	}
	if !ok {
		d.off = min(at, len(d.line))
		d.Fail("the mailbox pattern is neither modified UTF-7 nor UTF-8")
	}
	return norm.NFC.String(p)
}

// AppendMailbox appends a mailbox name as an astring, in UTF-8 where the client
// wants it so, else in modified UTF-7.
func AppendMailbox(dst []byte, name string, utf8Names bool) []byte {
	if utf8Names {
		return AppendString(dst, name, true)
	}
	if plainUTF7(name) {
		return AppendAString(dst, name)
	}
	return AppendAString(dst, string(AppendUTF7(nil, name)))
}
