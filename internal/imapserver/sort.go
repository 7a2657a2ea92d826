package imapserver

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"expost/internal/imapwire"
	"expost/internal/mail"
	"expost/internal/message"
)

// sortCommand is SORT (RFC 5256 §3) with SORT=DISPLAY (RFC 5957) and ESORT
// (RFC 5267).
func sortCommand() command {
	return command{name: "SORT", in: selected, keepsNumbers: true, takesNumbers: true, caps: caps("SORT", "SORT=DISPLAY", "ESORT"), run: func(ctx context.Context, c *conn) (reply, error) {
		return c.sort(ctx, false)
	}}
}

// uidSortCommand is UID SORT.
func uidSortCommand() command {
	return command{name: "UID SORT", in: selected, run: func(ctx context.Context, c *conn) (reply, error) {
		return c.sort(ctx, true)
	}}
}

func (c *conn) sort(ctx context.Context, uids bool) (reply, error) {
	keys, cmd := c.dec.Sort()
	if err := c.dec.Err(); err != nil {
		return reply{}, err
	}
	if err := checkFuzzy(&cmd, keys); err != nil {
		return reply{}, err
	}
	hits, _, err := c.find(ctx, &cmd, true)
	var ordered []sortable
	if err == nil {
		ordered, err = c.order(ctx, hits, keys)
		hits = hits[:0]
		for i := range ordered {
			hits = append(hits, ordered[i].hit)
		}
	}
	if c.save(hits, cmd.Return); err != nil {
		return reply{}, err
	}
	c.keepUpdated(hits, &cmd, uids, keys, ordered)
	if cmd.Return.Extended {
		c.writeESearch(hits, cmd, uids)
		return ok("", "sorted"), c.out.err
	}
	c.out.Text("* SORT")
	for _, h := range hits {
		c.out.Text(" ")
		c.out.Number(h.number(uids))
		c.out.Spill()
	}
	c.out.Line()
	return ok("", "sorted"), c.out.err
}

// sortable is a message with what it is ordered by, one value a criterion.
type sortable struct {
	hit
	values []sortValue
}

// sortValue is a number or a text.
type sortValue struct {
	num  int64
	text string
}

// order sorts what was found; what the criteria do not tell apart stays in the
// order of sequence numbers.
func (c *conn) order(ctx context.Context, hits []hit, keys []imapwire.SortKey) ([]sortable, error) {
	all, err := c.sortValues(ctx, hits, keys)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b sortable) int { return cmp.Or(compareValues(keys, &a, &b), cmp.Compare(a.uid, b.uid)) })
	return all, nil
}

// compareValues compares what two messages are ordered by.
func compareValues(keys []imapwire.SortKey, a, b *sortable) int {
	for i, k := range keys {
		order := cmp.Or(cmp.Compare(a.values[i].num, b.values[i].num), strings.Compare(a.values[i].text, b.values[i].text))
		if k.Reverse {
			order = -order
		}
		if order != 0 {
			return order
		}
	}
	return 0
}

// sortValues returns the messages with their values; those that are gone are
// left out where their structure is needed.
func (c *conn) sortValues(ctx context.Context, hits []hit, keys []imapwire.SortKey) ([]sortable, error) {
	snap := c.sel.view.Snapshot()
	all := make([]sortable, 0, len(hits))
	if !slices.ContainsFunc(keys, func(k imapwire.SortKey) bool {
		return k.By != imapwire.SortArrival && k.By != imapwire.SortSize && k.By != imapwire.SortRelevancy
	}) {
		for _, h := range hits {
			m := snap.At(h.seq)
			all = append(all, sortable{h, valuesOf(keys, h, &m, nil)})
		}
		return all, nil
	}
	err := c.details(ctx, hits, func(h hit, m *mail.Message, parsed *message.Message) {
		all = append(all, sortable{h, valuesOf(keys, h, m, parsed)})
	})
	return all, err
}

// details calls fn with the structure of every message that is still there.
func (c *conn) details(ctx context.Context, hits []hit, fn func(h hit, m *mail.Message, parsed *message.Message)) error {
	snap := c.sel.view.Snapshot()
	for batch := range slices.Chunk(hits, fetchBatch) {
		emails := make([]mail.EmailID, len(batch))
		msgs := make([]mail.Message, len(batch))
		for i, h := range batch {
			msgs[i] = snap.At(h.seq)
			emails[i] = msgs[i].Email
		}
		err := c.sel.account.Details(ctx, emails, func(i int, parsed *message.Message) error {
			if parsed != nil {
				fn(batch[i], &msgs[i], parsed)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// valuesOf returns what a message is ordered by.
func valuesOf(keys []imapwire.SortKey, h hit, m *mail.Message, parsed *message.Message) []sortValue {
	values := make([]sortValue, len(keys))
	for i, k := range keys {
		v := &values[i]
		switch k.By {
		case imapwire.SortRelevancy: // the most relevant first
			v.num = -int64(h.relevancy)
		case imapwire.SortArrival:
			v.num = m.InternalDate.Unix
		case imapwire.SortSize:
			v.num = m.Size
		case imapwire.SortDate:
			v.num = sentAt(m, parsed)
		case imapwire.SortSubject:
			v.text = foldString(message.BaseSubject(parsed.Envelope.Subject))
		case imapwire.SortFrom:
			v.text = firstMailbox(parsed.Envelope.From)
		case imapwire.SortTo:
			v.text = firstMailbox(parsed.Envelope.To)
		case imapwire.SortCc:
			v.text = firstMailbox(parsed.Envelope.Cc)
		case imapwire.SortDisplayFrom:
			v.text = firstDisplay(parsed.Envelope.From)
		case imapwire.SortDisplayTo:
			v.text = firstDisplay(parsed.Envelope.To)
		}
	}
	return values
}

// sentAt returns the sent date (RFC 5256 §2.2) in seconds since 1970: that of
// the Date field, else INTERNALDATE.
func sentAt(m *mail.Message, parsed *message.Message) int64 {
	if t, err := message.ParseDate(parsed.Envelope.Date); err == nil {
		return t.Unix()
	}
	return m.InternalDate.Unix
}

// firstMailbox returns the mailbox part of the first address, folded.
func firstMailbox(list []message.Address) string {
	if len(list) == 0 {
		return ""
	}
	return foldString(list[0].Mailbox)
}

// firstDisplay returns the display name of the first address, else the address
// itself (RFC 5957 §3), folded.
func firstDisplay(list []message.Address) string {
	if len(list) == 0 {
		return ""
	}
	a := &list[0]
	switch {
	case a.Name != "":
		return foldString(message.DecodeHeader(a.Name))
	case a.Host == "":
		return foldString(a.Mailbox)
	}
	return foldString(a.Mailbox + "@" + a.Host)
}

// foldString is fold for texts that are compared.
func foldString(s string) string { return string(fold(s)) }
