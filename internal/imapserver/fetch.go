package imapserver

import (
	"context"
	"errors"
	"slices"

	"expost/internal/imapwire"
	"expost/internal/mail"
	"expost/internal/message"
	"expost/internal/store"
)

// fetchCommand is FETCH (RFC 9051 §6.4.5) with CHANGEDSINCE and VANISHED (RFC
// 7162), BINARY (RFC 3516), OBJECTID (RFC 8474), SAVEDATE (RFC 8514), PREVIEW
// (RFC 8970) and PARTIAL (RFC 9394).
func fetchCommand() command {
	return command{name: "FETCH", in: selected, keepsNumbers: true, takesNumbers: true, caps: caps("PREVIEW", "SAVEDATE", "BINARY"), run: func(ctx context.Context, c *conn) (reply, error) {
		return c.fetch(ctx, false)
	}}
}

// uidFetchCommand is UID FETCH.
func uidFetchCommand() command {
	return command{name: "UID FETCH", in: selected, run: func(ctx context.Context, c *conn) (reply, error) {
		return c.fetch(ctx, true)
	}}
}

// fetching is a FETCH under way.
type fetching struct {
	c         *conn
	items     []imapwire.FetchItem
	structure bool // an item needs the parsed structure
	body      bool // an item needs the bytes
	seen      bool // an item sets \Seen
	flags     bool // FLAGS is among the items
	modSeq    bool // MODSEQ is among the items
	utf8      bool // strings may be UTF-8
	fields    []byte
	want      part // where not 0, cards answer all that the index does not
	gone      bool // a message was expunged meanwhile
	unknown   bool // a transfer encoding that nobody knows is in the way of BINARY
	batch     []fetched
	emails    []mail.EmailID
	src       source // the message that is being written
}

// fetched is a message of a batch.
type fetched struct {
	seq     int
	m       mail.Message
	newSeen bool // \Seen was set by this FETCH
	card    card
	gone    bool // there is no such message any more
}

// fetchBatch is how many messages are read from the store at once.
const fetchBatch = 256

func (c *conn) fetch(ctx context.Context, uids bool) (reply, error) {
	cmd := c.dec.Fetch()
	if err := c.dec.Err(); err != nil {
		return reply{}, err
	}
	if cmd.Vanished && (!uids || !c.has(qresync) || !cmd.Changed) {
		return reply{}, bad("VANISHED needs UID FETCH, QRESYNC and CHANGEDSINCE")
	}
	if cmd.Partial.Given() && !uids {
		return reply{}, bad("PARTIAL needs UID FETCH")
	}
	f := c.newFetching(&cmd, uids)
	if err := c.catchUp(ctx, false); err != nil {
		return reply{}, err
	}
	spans, err := c.resolve(cmd.Set, uids)
	if err != nil {
		return reply{}, err
	}
	if cmd.Vanished {
		if err := c.tellVanished(ctx, &cmd); err != nil {
			return reply{}, err
		}
	}
	if cmd.Partial.Given() {
		spans = partialSpans(c.sel.view.Snapshot(), spans, &cmd)
	}
	spans, lowest := c.clip(spans)
	if lowest != 0 && cmd.Partial.Given() {
		return reply{}, c.tooMany()
	}
	if err := f.run(ctx, spans, &cmd); err != nil {
		return reply{}, err
	}
	if f.unknown {
		return reply{}, no("UNKNOWN-CTE", "the transfer encoding of a part is not known")
	}
	if f.gone {
		return c.partly(ok("EXPUNGEISSUED", "some of the messages are gone"), lowest), nil
	}
	return c.partly(ok("", "fetched"), lowest), nil
}

// newFetching plans a FETCH.
func (c *conn) newFetching(cmd *imapwire.FetchCommand, uids bool) *fetching {
	has := func(k imapwire.FetchKind) bool {
		return slices.ContainsFunc(cmd.Items, func(it imapwire.FetchItem) bool { return it.Kind == k })
	}
	items := cmd.Items
	if has(imapwire.FetchModSeq) || cmd.Changed {
		c.features |= condstore
	}
	if uids && !has(imapwire.FetchUID) && !c.has(uidOnly) {
		items = append([]imapwire.FetchItem{{Kind: imapwire.FetchUID}}, items...)
	}
	if cmd.Changed && !has(imapwire.FetchModSeq) {
		items = append(items, imapwire.FetchItem{Kind: imapwire.FetchModSeq})
	}
	f := &fetching{c: c, items: items, flags: has(imapwire.FetchFlags), modSeq: cmd.Changed || has(imapwire.FetchModSeq), utf8: c.utf8()}
	maySee := !c.sel.readOnly && c.rights().Has(mail.RightSeen)
	for _, it := range items {
		f.structure = f.structure || needsStructure(&it)
		f.body = f.body || it.Kind >= imapwire.FetchSection
		f.seen = f.seen || it.SetsSeen() && maySee
	}
	f.want = f.cardParts()
	return f
}

// needsStructure tells whether an item is answered with the parsed structure.
func needsStructure(it *imapwire.FetchItem) bool {
	switch it.Kind {
	case imapwire.FetchEnvelope, imapwire.FetchBody, imapwire.FetchBodyStructure, imapwire.FetchPreview,
		imapwire.FetchRFC822Header, imapwire.FetchRFC822Text, imapwire.FetchBinary, imapwire.FetchBinarySize:
		return true
	case imapwire.FetchSection:
		return len(it.Section.Part) > 0 || it.Section.Text != imapwire.SectionAll
	}
	return false
}

// tellVanished writes VANISHED (EARLIER) for UID FETCH (RFC 7162 §3.2.6).
func (c *conn) tellVanished(ctx context.Context, cmd *imapwire.FetchCommand) error {
	gone, err := c.vanished(ctx, cmd.ChangedSince)
	if err != nil {
		return err
	}
	snap := c.sel.view.Snapshot()
	asked := c.sel.saved
	if !cmd.Set.Saved {
		asked = cmd.Set.Resolve(uint32(snap.Mailbox().UIDNext - 1))
	}
	c.writeVanished(intersect(gone, asked), true)
	return c.out.err
}

// partialSpans returns the part of the messages that PARTIAL asks for; what of it
// did not change CHANGEDSINCE leaves out then (RFC 9394 §3.4).
func partialSpans(snap *store.Snapshot, spans []span, cmd *imapwire.FetchCommand) []span {
	total := 0
	for _, s := range spans {
		total += s.size(snap)
	}
	from, to := cmd.Partial.Bounds(total)
	var part []span
	for _, s := range spans {
		n := s.size(snap)
		if first, end := max(from, 0), min(to, n); first < end {
			part = append(part, span{max(s.from, 1) + first, max(s.from, 1) + end - 1})
		}
		from, to = from-n, to-n
	}
	return part
}

// run writes the FETCH responses, batch by batch where the store is asked.
func (f *fetching) run(ctx context.Context, spans []span, cmd *imapwire.FetchCommand) error {
	for seq, m := range messages(f.c.sel.view.Snapshot(), spans) {
		if cmd.Changed && m.ModSeq <= cmd.ChangedSince {
			continue
		}
		if !f.structure && !f.body {
			if err := f.respond(source{seq: seq, m: m}); err != nil {
				return err
			}
			continue
		}
		if f.want != 0 {
			if k := f.c.sel.cards.get(m.Email); len(f.batch) > 0 || k.lacks(f.want) != 0 {
				f.batch = append(f.batch, fetched{seq: seq, m: *m, card: k})
			} else if err := f.respond(source{seq: seq, m: m, card: &k}); err != nil {
				return err
			}
		} else {
			f.batch = append(f.batch, fetched{seq: seq, m: *m})
		}
		if len(f.batch) == fetchBatch {
			if err := f.flushBatch(ctx); err != nil {
				return err
			}
		}
	}
	return f.flushBatch(ctx)
}

// flushBatch answers for the messages that have gathered.
func (f *fetching) flushBatch(ctx context.Context) error {
	if len(f.batch) == 0 {
		return nil
	}
	if f.seen {
		if err := f.markSeen(ctx); err != nil {
			return err
		}
	}
	defer func() { f.batch = f.batch[:0] }()
	if f.want != 0 {
		return f.answerFromCards(ctx)
	}
	return f.answer(ctx)
}

// markSeen sets \Seen before the bodies are sent, so that the same response
// tells it.
func (f *fetching) markSeen(ctx context.Context) error {
	var unseen mail.UIDSet
	for _, b := range f.batch {
		if b.m.Flags&mail.Seen == 0 {
			unseen.Add(b.m.UID)
		}
	}
	if len(unseen) == 0 {
		return nil
	}
	if _, err := f.c.sel.account.StoreFlags(ctx, f.c.sel.id, unseen, store.FlagChange{Op: store.FlagsAdd, Flags: mail.Seen}); err != nil {
		return err
	}
	if err := f.c.syncExcept(false, func(m *mail.Message) bool { return unseen.Contains(m.UID) }); err != nil {
		return err
	}
	snap := f.c.sel.view.Snapshot()
	for i := range f.batch {
		if b := &f.batch[i]; unseen.Contains(b.m.UID) {
			b.m, b.newSeen = snap.At(b.seq), true
		}
	}
	return nil
}

// errFull ends a read of structures when enough output has gathered: it is
// written while the store is not being read.
var errFull = errors.New("output is full")

// answer writes the responses of a batch.
func (f *fetching) answer(ctx context.Context) error {
	f.emails = f.emails[:0]
	for i := range f.batch {
		f.emails = append(f.emails, f.batch[i].m.Email)
	}
	if !f.structure {
		return f.c.sel.account.Bodies(ctx, f.emails, func(i int, body *store.Body) error {
			return f.respondWith(&f.batch[i], nil, body)
		})
	}
	for done := 0; done < len(f.batch); {
		var parsed []*message.Message // bodies are read when the structures are
		first := done
		err := f.c.sel.account.Details(ctx, f.emails[done:], func(i int, m *message.Message) error {
			done = first + i + 1
			if f.body {
				parsed = append(parsed, m)
				return nil
			}
			return f.describe(&f.batch[first+i], m)
		})
		if err != nil && !errors.Is(err, errFull) {
			return err
		}
		bodies := f.c.sel.account.Bodies(ctx, f.emails[first:first+len(parsed)], func(i int, body *store.Body) error {
			return f.respondWith(&f.batch[first+i], parsed[i], body)
		})
		if bodies != nil {
			return bodies
		}
		if f.c.out.Spill(); f.c.out.err != nil {
			return f.c.out.err
		}
		if err == nil {
			return nil
		}
	}
	return nil
}

// describe appends the response of a message whose bytes are not needed, while
// the store is being read: nothing is written out.
func (f *fetching) describe(b *fetched, m *message.Message) error {
	if m == nil {
		f.gone = true
		return nil
	}
	f.src = source{seq: b.seq, m: &b.m, parsed: m, newSeen: b.newSeen}
	if err := f.append(&f.src); err != nil {
		return err
	}
	if len(f.c.out.b) > largeBuffer/2 {
		return errFull
	}
	return nil
}

// respondWith writes the response of a message whose bytes are needed; body is
// nil, or m where it is needed, if it is gone.
func (f *fetching) respondWith(b *fetched, m *message.Message, body *store.Body) error {
	switch {
	case body == nil || f.structure && m == nil:
		f.gone = true
		return nil
	case f.structure && !f.canDecode(m):
		f.unknown = true
		return nil
	}
	return f.respond(source{seq: b.seq, m: &b.m, parsed: m, body: body, newSeen: b.newSeen})
}

// respond writes the response of a message.
func (f *fetching) respond(src source) error {
	f.src = src
	if err := f.append(&f.src); err != nil {
		return err
	}
	f.c.out.Spill()
	return f.c.out.err
}
