package store

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"expost/internal/mail"
)

// UIDLs say by which unique ids POP3 clients know the messages of a mailbox
// (RFC 1939 §7) that was taken over from another server, so that they do not
// fetch everything again.
type UIDLs struct {
	Format string              // how those not in Of are made, see FormatUIDL; empty: DefaultUIDL
	Of     map[mail.UID]string // those that follow no rule
}

// DefaultUIDL is the format of mailboxes that were taken over from nowhere.
const DefaultUIDL = "%08xu%08xv"

const maxUIDL = 70 // characters, RFC 1939 §7

// FormatUIDL makes a unique id. A format is text with %u for the UID and %v for
// the UIDVALIDITY, decimal, or as in Dovecot's pop3_uidl_format with the flags of
// printf before them: "%08Xu%08Xv" is Dovecot's own, "UID%u-%v" and "%v-%u" are
// Courier's, "%v.%u" and "%u" Cyrus', "%08Xv%08Xu" is UW's.
func FormatUIDL(format string, v mail.UIDValidity, uid mail.UID) (string, error) {
	var b strings.Builder
	for rest := format; rest != ""; {
		text, after, found := strings.Cut(rest, "%")
		b.WriteString(text)
		if !found {
			break
		}
		end := strings.IndexAny(after, "uv%")
		if end < 0 {
			return "", mail.Errorf(mail.KindInvalid, "the UIDL format %q: %%%s is neither %%u nor %%v", format, after)
		}
		flags, letter := after[:end], after[end]
		rest = after[end+1:]
		if letter == '%' && flags == "" {
			b.WriteByte('%')
			continue
		}
		verb, width := "d", flags
		if n := len(flags); n > 0 && (flags[n-1] == 'x' || flags[n-1] == 'X') {
			verb, width = flags[n-1:], flags[:n-1]
		}
		if n, err := strconv.Atoi(width); letter == '%' || width != "" && (err != nil || n < 0 || n > 20) {
			return "", mail.Errorf(mail.KindInvalid, "the UIDL format %q: %%%s%c is not known", format, flags, letter)
		}
		number := uint32(uid)
		if letter == 'v' {
			number = uint32(v)
		}
		fmt.Fprintf(&b, "%"+width+verb, number)
	}
	return b.String(), checkUIDL(b.String())
}

// checkUIDL refuses what is no unique id.
func checkUIDL(s string) error {
	if s == "" || len(s) > maxUIDL || strings.ContainsFunc(s, func(r rune) bool { return r < 0x21 || r > 0x7e }) {
		return mail.Errorf(mail.KindInvalid, "%.100q is no unique id of POP3: they have 1 to %d visible characters", s, maxUIDL)
	}
	return nil
}

// The unique ids are kept as annotations that are nobody's, in pieces.
const (
	uidlOwner  = mail.AccountID("\x00pop3")
	uidlFormat = "/format"
	uidlPiece  = "/uids/"
	uidlPieces = 1000 // unique ids in one
)

// UIDLs returns what SetUIDLs has set of a mailbox.
func (a *Account) UIDLs(ctx context.Context, id mail.MailboxID) (UIDLs, error) {
	u := UIDLs{Of: map[mail.UID]string{}}
	err := a.db.View(ctx, func(tx ReadTx) error {
		return tx.Annotations(id, func(x Annotation) error {
			switch {
			case x.Who != uidlOwner:
			case x.Entry == uidlFormat:
				u.Format = string(x.Value)
			default:
				return u.read(x.Value)
			}
			return nil
		})
	})
	return u, err
}

// read adds a piece.
func (u *UIDLs) read(piece []byte) error {
	for line := range bytes.Lines(piece) {
		number, text, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), " ")
		uid, err := strconv.ParseUint(number, 10, 32)
		if err != nil {
			return mail.Errorf(mail.KindCorrupt, "the unique ids of POP3 are damaged: %q", line)
		}
		u.Of[mail.UID(uid)] = text
	}
	return nil
}

// SetUIDLs says by which unique ids POP3 clients know the messages of a mailbox,
// in place of what was said before. It is durable when it returns.
// mail.KindInvalid for a format or an id that POP3 does not allow.
func (a *Account) SetUIDLs(ctx context.Context, id mail.MailboxID, u UIDLs) error {
	if u.Format != "" {
		if _, err := FormatUIDL(u.Format, 1<<32-1, 1<<32-1); err != nil {
			return err
		}
	}
	pieces, err := u.pieces()
	if err != nil {
		return err
	}
	return a.submit(&op{ctx: ctx, alone: true, done: make(chan error, 1), do: func(b *batch) error {
		if _, err := b.edit(id); err != nil {
			return err
		}
		var old []Annotation
		if err := b.tx.Annotations(id, func(x Annotation) error {
			if x.Who == uidlOwner {
				old = append(old, Annotation{Mailbox: id, Who: uidlOwner, Entry: x.Entry})
			}
			return nil
		}); err != nil {
			return err
		}
		b.dirty = true
		b.annotations = append(b.annotations, old...)
		for entry, value := range pieces {
			b.annotations = append(b.annotations, Annotation{Mailbox: id, Who: uidlOwner, Entry: entry, Value: value})
		}
		return nil
	}})
}

// pieces returns what is stored, by entry.
func (u *UIDLs) pieces() (map[string][]byte, error) {
	pieces := map[string][]byte{}
	if u.Format != "" {
		pieces[uidlFormat] = []byte(u.Format)
	}
	var piece []byte
	first := mail.UID(0)
	for i, uid := range slices.Sorted(maps.Keys(u.Of)) {
		if err := checkUIDL(u.Of[uid]); err != nil {
			return nil, err
		}
		if i%uidlPieces == 0 {
			piece, first = nil, uid
		}
		piece = fmt.Appendf(piece, "%d %s\n", uid, u.Of[uid])
		pieces[fmt.Sprintf("%s%010d", uidlPiece, first)] = piece
	}
	return pieces, nil
}

// UIDL returns the unique id of a message.
func (u *UIDLs) UIDL(v mail.UIDValidity, uid mail.UID) string {
	if s, ok := u.Of[uid]; ok {
		return s
	}
	format := u.Format
	if format == "" {
		format = DefaultUIDL
	}
	s, err := FormatUIDL(format, v, uid)
	if err != nil { // SetUIDLs has checked it
		s, _ = FormatUIDL(DefaultUIDL, v, uid)
	}
	return s
}
