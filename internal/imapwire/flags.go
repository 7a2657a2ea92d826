package imapwire

import (
	"strings"

	"expost/internal/mail"
)

// FlagList is the flags a client sent: the system flags it may set, and
// keywords. \Recent is accepted and dropped, for clients that copy it.
type FlagList struct {
	Flags    mail.Flags
	Keywords []string
}

// FlagList reads a parenthesized list of flags.
func (d *Decoder) FlagList() FlagList {
	var l FlagList
	d.List(func() { d.flag(&l) })
	return l
}

// StoreFlags reads the flags of STORE: a list with or without parentheses.
func (d *Decoder) StoreFlags() FlagList {
	if d.peek() == '(' {
		return d.FlagList()
	}
	var l FlagList
	for n := 0; d.err == nil; n++ {
		if n > d.lim.List {
			d.tooBig("too many flags")
		}
		if d.flag(&l); !d.TrySP() {
			break
		}
	}
	return l
}

// maxKeyword bounds the length of one keyword.
const maxKeyword = 255

// flag reads one flag into l.
func (d *Decoder) flag(l *FlagList) {
	at := d.off
	if !d.Try('\\') {
		word := d.Atom()
		if len(word) > maxKeyword {
			d.tooBig("a keyword is longer than 255 bytes")
		}
		if d.err == nil {
			l.Keywords = append(l.Keywords, word)
		}
		return
	}
	name := `\` + d.Atom()
	f, ok := mail.FlagByName(name)
	if !ok && d.err == nil && !strings.EqualFold(name, `\Recent`) {
		d.off = at
		d.Fail("the flag " + name + " cannot be set")
	}
	l.Flags |= f
}

// AppendFlags appends flags and keywords as a list, \Recent where recent.
func AppendFlags(dst []byte, f mail.Flags, kw mail.Keywords, recent bool) []byte {
	dst = append(dst, '(')
	start := len(dst)
	for _, s := range [...]struct {
		flag mail.Flags
		name string
	}{{mail.Answered, `\Answered `}, {mail.Flagged, `\Flagged `}, {mail.Deleted, `\Deleted `}, {mail.Seen, `\Seen `}, {mail.Draft, `\Draft `}} {
		if f&s.flag != 0 {
			dst = append(dst, s.name...)
		}
	}
	if recent {
		dst = append(dst, `\Recent `...)
	}
	if words := kw.String(); words != "" {
		dst = append(dst, words...)
		dst = append(dst, ' ')
	}
	if len(dst) > start {
		dst = dst[:len(dst)-1]
	}
	return append(dst, ')')
}
