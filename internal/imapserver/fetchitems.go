package imapserver

import (
	"fmt"
	"io"
	"log/slog"

	"expost/internal/imapwire"
	"expost/internal/mail"
	"expost/internal/message"
	"expost/internal/store"
)

// source is what the data items of one message are made of.
type source struct {
	seq     int
	m       *mail.Message
	parsed  *message.Message // nil where no item needs it
	body    *store.Body      // nil where no item needs it
	card    *card            // instead of parsed and body
	newSeen bool             // \Seen was set by this FETCH: FLAGS must be told
	header  string           // the header read last, and where from
	at      extent
}

// append appends the FETCH response of one message. Only literals are written
// out on the way. An error ends the connection: the response is half written.
func (f *fetching) append(src *source) error {
	o := &f.c.out
	o.Text("* ")
	if f.c.has(uidOnly) {
		o.Number(int64(src.m.UID))
		o.Text(" UIDFETCH (")
	} else {
		o.Number(int64(src.seq))
		o.Text(" FETCH (")
	}
	for i := range f.items {
		if i > 0 {
			o.Text(" ")
		}
		if err := f.appendItem(&f.items[i], src); err != nil {
			f.c.log.Error("fetching a message", slog.Any("uid", src.m.UID), slog.Any("error", err))
			return fmt.Errorf("%w: %w", errClose, err)
		}
	}
	if src.newSeen && !f.flags {
		o.Text(" FLAGS ")
		o.b = imapwire.AppendFlags(o.b, src.m.Flags, src.m.Keywords, f.c.isRecent(src.m.UID))
	}
	if src.newSeen && !f.modSeq && f.c.has(condstore) {
		o.Text(" ")
		f.c.appendModSeq(src.m.ModSeq)
	}
	o.Text(")\r\n")
	return o.err
}

// appendItem appends one data item.
func (f *fetching) appendItem(it *imapwire.FetchItem, src *source) error {
	switch {
	case it.Kind >= imapwire.FetchSection:
		return f.appendBytes(it, src)
	case it.Kind >= imapwire.FetchEnvelope:
		f.appendStructure(it, src)
	default:
		f.appendIndexed(it, src.m)
	}
	return nil
}

// appendIndexed appends an item that the index knows.
func (f *fetching) appendIndexed(it *imapwire.FetchItem, m *mail.Message) {
	o := &f.c.out
	switch it.Kind {
	case imapwire.FetchFlags:
		o.Text("FLAGS ")
		o.b = imapwire.AppendFlags(o.b, m.Flags, m.Keywords, f.c.isRecent(m.UID))
	case imapwire.FetchUID:
		o.Text("UID ")
		o.Number(int64(m.UID))
	case imapwire.FetchInternalDate:
		o.Text("INTERNALDATE ")
		o.b = imapwire.AppendDateTime(o.b, m.InternalDate)
	case imapwire.FetchSize:
		o.Text("RFC822.SIZE ")
		o.Number(m.Size)
	case imapwire.FetchModSeq:
		f.c.appendModSeq(m.ModSeq)
	case imapwire.FetchEmailID:
		o.Text("EMAILID (" + m.Email.String() + ")")
	case imapwire.FetchThreadID:
		o.Text("THREADID (" + m.Thread.String() + ")")
	case imapwire.FetchSaveDate:
		o.Text("SAVEDATE ")
		o.b = imapwire.AppendDateTime(o.b, mail.Date{Unix: m.SaveDate})
	}
}

// appendStructure appends an item that the parsed structure knows.
func (f *fetching) appendStructure(it *imapwire.FetchItem, src *source) {
	o, m := &f.c.out, src.parsed
	switch it.Kind {
	case imapwire.FetchEnvelope:
		o.Text("ENVELOPE ")
		if src.card != nil {
			o.Text(src.card.envelope)
			return
		}
		o.b = imapwire.AppendEnvelope(o.b, &m.Envelope, f.utf8)
	case imapwire.FetchBody:
		o.Text("BODY ")
		o.b = imapwire.AppendBodyStructure(o.b, m, imapwire.StructureStyle{UTF8: f.utf8})
	case imapwire.FetchBodyStructure:
		o.Text("BODYSTRUCTURE ")
		if src.card != nil {
			o.Text(src.card.structure)
			return
		}
		o.b = imapwire.AppendBodyStructure(o.b, m, imapwire.StructureStyle{Extended: true, UTF8: f.utf8})
	case imapwire.FetchPreview:
		o.Text("PREVIEW ")
		o.b = imapwire.AppendString(o.b, m.Preview, f.utf8)
	}
}

// appendBytes appends an item that is made of the message's bytes.
func (f *fetching) appendBytes(it *imapwire.FetchItem, src *source) error {
	o := &f.c.out
	section := it.Section
	switch it.Kind {
	case imapwire.FetchBinary, imapwire.FetchBinarySize:
		return f.appendBinary(it, src)
	case imapwire.FetchRFC822:
		o.Text("RFC822 ")
	case imapwire.FetchRFC822Header:
		o.Text("RFC822.HEADER ")
		section.Text = imapwire.SectionHeader
	case imapwire.FetchRFC822Text:
		o.Text("RFC822.TEXT ")
		section.Text = imapwire.SectionBodyText
	default:
		o.Text("BODY")
		o.b = append(imapwire.AppendSection(o.b, &section, it.Partial), ' ')
	}
	e, found := extent{}, true
	switch {
	case src.card != nil:
		e = whole(int64(len(src.card.header)))
	case src.parsed != nil:
		e, found = locate(src.parsed, &section)
	default:
		e = whole(src.body.Size())
	}
	if !found {
		o.Text("NIL")
		return nil
	}
	if section.Text == imapwire.SectionHeaderFields || section.Text == imapwire.SectionHeaderFieldsNot {
		return f.appendFields(it, src, e)
	}
	e = e.cut(it.Partial)
	if src.card != nil {
		o.b = imapwire.AppendLiteral(o.b, e.to-e.from)
		o.Text(src.card.header[e.from:e.to])
		return nil
	}
	return o.Literal(src.body, e.from, e.to)
}

// appendFields appends some of the fields of the header at e.
func (f *fetching) appendFields(it *imapwire.FetchItem, src *source, e extent) error {
	if src.card != nil {
		src.header = src.card.header
	} else if src.header == "" || src.at != e {
		var err error
		if src.header, err = readHeader(src.body, e, f.c.srv.cfg.Limits.Header); err != nil {
			return err
		}
		src.at = e
	}
	f.fields = selectFields(f.fields[:0], src.header, it.Section.Fields, it.Section.Text == imapwire.SectionHeaderFieldsNot)
	b := cutBytes(f.fields, it.Partial)
	f.c.out.b = append(imapwire.AppendLiteral(f.c.out.b, int64(len(b))), b...)
	return nil
}

// appendBinary appends BINARY or BINARY.SIZE: a part without its transfer
// encoding (RFC 3516 §4.2).
func (f *fetching) appendBinary(it *imapwire.FetchItem, src *source) error {
	o := &f.c.out
	if it.Kind == imapwire.FetchBinarySize {
		o.Text("BINARY.SIZE")
	} else {
		o.Text("BINARY")
	}
	o.b = append(imapwire.AppendSection(o.b, &it.Section, it.Partial), ' ')
	open, found := decodedPart(src, &it.Section)
	if !found {
		o.Text("NIL")
		return nil
	}
	size, err := io.Copy(io.Discard, open())
	if err != nil {
		return err
	}
	if it.Kind == imapwire.FetchBinarySize {
		o.Number(size)
		return nil
	}
	e := whole(size).cut(it.Partial)
	o.Text("~")
	o.b = imapwire.AppendLiteral(o.b, e.to-e.from)
	r := open()
	if _, err := io.CopyN(io.Discard, r, e.from); err != nil {
		return err
	}
	return o.Copy(r, e.to-e.from)
}

// canDecode tells whether the transfer encoding of every part that BINARY asks
// for is known.
func (f *fetching) canDecode(m *message.Message) bool {
	for i := range f.items {
		if it := &f.items[i]; it.Kind == imapwire.FetchBinary || it.Kind == imapwire.FetchBinarySize {
			if _, known := message.NewTransferReader(nil, encodingOf(m, &it.Section)); !known {
				return false
			}
		}
	}
	return true
}

// encodingOf returns the transfer encoding of what a section names; a whole
// message and a multipart have none.
func encodingOf(m *message.Message, s *imapwire.Section) string {
	if i, ok := m.Find(s.Part); ok && len(s.Part) > 0 && !m.Parts[i].IsMultipart() {
		return m.Parts[i].Encoding
	}
	return ""
}

// decodedPart returns what opens a part's bytes without their transfer encoding.
func decodedPart(src *source, s *imapwire.Section) (open func() io.Reader, found bool) {
	e, found := locate(src.parsed, s)
	if !found {
		return nil, false
	}
	encoding := encodingOf(src.parsed, s)
	return func() io.Reader {
		r, _ := message.NewTransferReader(src.body.Section(e.from, e.to), encoding)
		return r
	}, true
}
