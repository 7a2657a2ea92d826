package imapserver

import (
	"context"

	"expost/internal/imapwire"
	"expost/internal/message"
	"expost/internal/store"
)

// cardParts returns the parts of a card that answer every item that the index
// does not, and 0 where there is an item that no card answers.
func (f *fetching) cardParts() part {
	if f.utf8 || f.seen {
		return 0
	}
	want := part(0)
	for i := range f.items {
		switch it := &f.items[i]; {
		case it.Kind < imapwire.FetchEnvelope:
		case it.Kind == imapwire.FetchEnvelope:
			want |= cardEnvelope
		case it.Kind == imapwire.FetchBodyStructure:
			want |= cardStructure
		case it.Kind == imapwire.FetchRFC822Header || it.Kind == imapwire.FetchSection && isTopHeader(&it.Section):
			want |= cardHeader
		default:
			return 0
		}
	}
	return want
}

// isTopHeader tells whether a section is made of the outermost header alone.
func isTopHeader(s *imapwire.Section) bool {
	return len(s.Part) == 0 && (s.Text == imapwire.SectionHeader || s.Text == imapwire.SectionHeaderFields || s.Text == imapwire.SectionHeaderFieldsNot)
}

// answerFromCards makes what the cards of the batch lack and writes the
// responses.
func (f *fetching) answerFromCards(ctx context.Context) error {
	lacking := make([]*fetched, 0, len(f.batch))
	for i := range f.batch {
		if b := &f.batch[i]; b.card.lacks(f.want) != 0 {
			lacking = append(lacking, b)
		}
	}
	if err := f.makeCards(ctx, lacking); err != nil {
		return err
	}
	if err := f.readHeaders(ctx, lacking); err != nil {
		return err
	}
	for _, b := range lacking {
		if !b.gone {
			f.c.sel.cards.put(b.m.Email, b.card)
		}
	}
	for i := range f.batch {
		b := &f.batch[i]
		if b.gone {
			f.gone = true
		} else if err := f.respond(source{seq: b.seq, m: &b.m, card: &b.card}); err != nil {
			return err
		}
	}
	return nil
}

// makeCards makes what the cards lack out of the structures, and notes where
// their headers end.
func (f *fetching) makeCards(ctx context.Context, lacking []*fetched) error {
	wanted := f.want
	if wanted&(cardEnvelope|cardHeader) != 0 {
		wanted |= cardWords // who lists messages searches them next
	}
	f.emails = f.emails[:0]
	var read []*fetched
	for _, b := range lacking {
		if b.card.headerEnd == 0 || b.card.lacks(f.want&^cardHeader) != 0 {
			read = append(read, b)
			f.emails = append(f.emails, b.m.Email)
		}
	}
	var buf []byte
	return f.c.sel.account.Details(ctx, f.emails, func(i int, m *message.Message) error {
		if m == nil {
			read[i].gone = true
			return nil
		}
		buf = read[i].card.make(wanted, m, buf)
		return nil
	})
}

// readHeaders reads the headers that the cards lack.
func (f *fetching) readHeaders(ctx context.Context, lacking []*fetched) error {
	if f.want&cardHeader == 0 {
		return nil
	}
	f.emails = f.emails[:0]
	var read []*fetched
	for _, b := range lacking {
		if !b.gone && b.card.lacks(cardHeader) != 0 {
			read = append(read, b)
			f.emails = append(f.emails, b.m.Email)
		}
	}
	return f.c.sel.account.Bodies(ctx, f.emails, func(i int, body *store.Body) error {
		b := read[i]
		if b.gone = body == nil; b.gone {
			return nil
		}
		return b.card.readHeader(body, f.c.srv.cfg.Limits.Header)
	})
}
