package imapserver

import (
	"bytes"
	"context"
	"io"
	"strings"

	"expost/internal/imapwire"
	"expost/internal/mail"
	"expost/internal/message"
	"expost/internal/store"
)

// catenation is a message that APPEND puts together out of texts and parts of
// messages that are here (CATENATE, RFC 4469). It decodes the command as its
// bytes are read.
type catenation struct {
	ctx  context.Context // of the command
	c    *conn
	any  bool        // a part was read
	part io.Reader   // nil: between parts
	text bool        // part is a literal of the command
	body *store.Body // what part reads from; may be nil
	done bool
}

// Read returns bytes of the message.
func (k *catenation) Read(p []byte) (int, error) {
	for {
		if k.part == nil {
			if err := k.next(); err != nil {
				return 0, err
			}
		}
		n, err := k.part.Read(p)
		if n > 0 || err != io.EOF {
			return n, err
		}
		if err := k.endPart(); err != nil {
			return 0, err
		}
	}
}

// next opens the next part; io.EOF behind the last.
func (k *catenation) next() error {
	d := k.c.dec
	if k.done || k.any && d.Try(')') {
		k.done = true
		return io.EOF
	}
	if k.any {
		d.SP()
	}
	k.any = true
	switch {
	case d.TryKeyword("TEXT"):
		d.SP()
		lit := d.LiteralHeader()
		if err := d.Err(); err != nil {
			return err
		}
		if lit.Size > k.c.limit {
			return k.c.tooBig()
		}
		var err error
		k.part, err = d.OpenLiteral(lit)
		k.text = err == nil
		return err
	case d.TryKeyword("URL"):
		d.SP()
		text := d.AString()
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
			d.Fail("a URL is of printable ASCII")
		}
		if err := d.Err(); err != nil {
			return err
		}
		return k.openURL(text)
	}
	d.Fail("expected TEXT or URL")
	return d.Err()
}

// endPart leaves the part that was read.
func (k *catenation) endPart() error {
	k.part = nil
	if k.text {
		k.text = false
		return k.c.dec.CloseLiteral()
	}
	return k.close()
}

// close closes what is open of a message.
func (k *catenation) close() error {
	if k.body == nil {
		return nil
	}
	err := k.body.Close()
	k.body = nil
	return err
}

// openURL opens the part of a message that a URL names.
func (k *catenation) openURL(text string) error {
	missing := no(string(imapwire.AppendString([]byte("BADURL "), text, false)), "there is no such message or part")
	u, ok := imapwire.ParseMessageURL(text)
	if !ok {
		return missing
	}
	account, email, err := k.c.emailOf(k.ctx, &u)
	if err != nil && mail.KindOf(err) != mail.KindNotExist {
		return err
	}
	if err != nil {
		return missing
	}
	found := extent{}
	err = account.Details(k.ctx, []mail.EmailID{email}, func(_ int, m *message.Message) error {
		if ok = m != nil; ok {
			found, ok = locate(m, &u.Section)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !ok {
		return missing
	}
	if k.body, err = account.Body(k.ctx, email); err != nil {
		return err
	}
	return k.openSection(found, &u)
}

// openSection opens the bytes of the open body that a URL names.
func (k *catenation) openSection(e extent, u *imapwire.MessageURL) error {
	if s := &u.Section; s.Text == imapwire.SectionHeaderFields || s.Text == imapwire.SectionHeaderFieldsNot {
		header, err := readHeader(k.body, e, k.c.srv.cfg.Limits.Header)
		if err != nil {
			return err
		}
		fields := selectFields(nil, header, s.Fields, s.Text == imapwire.SectionHeaderFieldsNot)
		k.part = bytes.NewReader(cutBytes(fields, u.Partial))
		return nil
	}
	e = e.cut(u.Partial)
	k.part = k.body.Section(e.from, e.to)
	return nil
}

// emailOf returns the message that a URL names, and in whose account;
// mail.KindNotExist where there is none.
func (c *conn) emailOf(ctx context.Context, u *imapwire.MessageURL) (*store.Access, mail.EmailID, error) {
	p, err := c.lookUp(ctx, u.Mailbox, mail.RightRead)
	if mail.KindOf(err) == mail.KindPermission && err != nil {
		err = errMissing(u.Mailbox)
	}
	if err != nil {
		return nil, 0, err
	}
	view, err := p.view(ctx, true)
	if err != nil {
		return nil, 0, err
	}
	defer view.Close()
	snap := view.Snapshot()
	seq, found := snap.Seq(u.UID)
	if !found || u.UIDValidity != 0 && u.UIDValidity != snap.Mailbox().UIDValidity {
		return nil, 0, mail.Errorf(mail.KindNotExist, "there is no such message")
	}
	return p.account, snap.At(seq).Email, nil
}
