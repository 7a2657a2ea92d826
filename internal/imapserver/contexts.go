package imapserver

import (
	"cmp"
	"context"
	"slices"

	"expost/internal/imapwire"
	"expost/internal/mail"
	"expost/internal/store"
)

// maxOrdered bounds a sorted result that is kept up to date: each of its
// messages stays in memory with what it is ordered by.
const maxOrdered = 50_000

// searchContext is the result of a SEARCH or SORT that the client has kept up
// to date (CONTEXT=SEARCH and CONTEXT=SORT, RFC 5267 §4.3).
type searchContext struct {
	tag     string
	uids    bool // it was a UID command
	key     imapwire.SearchKey
	fetch   []imapwire.FetchItem // of what comes to the result
	found   mail.UIDSet
	keys    []imapwire.SortKey // of SORT
	ordered []sortable         // of SORT: what was found, in order
}

// cancelUpdateCommand is CANCELUPDATE (RFC 5267 §4.3.5).
func cancelUpdateCommand() command {
	return command{name: "CANCELUPDATE", in: selected, caps: caps("CONTEXT=SEARCH", "CONTEXT=SORT"), run: func(_ context.Context, c *conn) (reply, error) {
		var tags []string
		for c.dec.TrySP() && !c.dec.AtEnd() {
			tags = append(tags, c.dec.String())
		}
		if len(tags) == 0 {
			c.dec.Fail("expected a tag in quotes")
		}
		if c.dec.End(); c.dec.Err() != nil {
			return reply{}, c.dec.Err()
		}
		for _, tag := range tags {
			if c.context(tag) < 0 {
				return reply{}, bad("no result of that tag is kept up to date")
			}
		}
		c.sel.contexts = slices.DeleteFunc(c.sel.contexts, func(x *searchContext) bool { return slices.Contains(tags, x.tag) })
		return ok("", "no more updates"), nil
	}}
}

// context returns where the context of a tag is, or -1.
func (c *conn) context(tag string) int {
	return slices.IndexFunc(c.sel.contexts, func(x *searchContext) bool { return x.tag == tag })
}

// mayUpdate refuses a tag that names a result already (RFC 5267 §4.3).
func (c *conn) mayUpdate(cmd *imapwire.SearchCommand) error {
	if cmd.Return.Update && c.context(c.tag) >= 0 {
		return bad("the tag names a result that is kept up to date")
	}
	return nil
}

// keepUpdated keeps a result up to date from now on, or says that it is not
// (RFC 5267 §4.3.1). ordered is that of a SORT by keys.
func (c *conn) keepUpdated(hits []hit, cmd *imapwire.SearchCommand, uids bool, keys []imapwire.SortKey, ordered []sortable) {
	if !cmd.Return.Update {
		return
	}
	if len(c.sel.contexts) >= c.srv.cfg.Limits.Contexts || len(ordered) > maxOrdered {
		c.writeNoUpdate()
		return
	}
	x := &searchContext{tag: c.tag, uids: uids, key: c.lasting(cmd.Key), fetch: cmd.Return.Fetch, keys: keys, ordered: ordered}
	for _, h := range hits {
		x.found.Add(h.uid)
	}
	c.sel.contexts = append(c.sel.contexts, x)
}

// writeNoUpdate says that a result is not kept up to date.
func (c *conn) writeNoUpdate() {
	c.out.Text("* NO [NOUPDATE ")
	c.out.b = imapwire.AppendString(c.out.b, c.tag, false)
	c.out.Line("] the result is not kept up to date")
}

// lasting returns a key in whose place of sequence numbers, "*" and "$" stand the
// UIDs that they mean now (RFC 5267 §4.3).
func (c *conn) lasting(k imapwire.SearchKey) imapwire.SearchKey {
	keys := k.Keys
	k.Keys = nil
	for _, sub := range keys {
		k.Keys = append(k.Keys, c.lasting(sub))
	}
	if k.Op != imapwire.SearchSeq && !k.Set.Saved {
		return k
	}
	s := &searching{c: c, snap: c.sel.view.Snapshot()}
	var t test
	err := s.compileSet(&t, &k)
	k.Op, k.Set = imapwire.SearchUID, imapwire.NumSet{}
	if err != nil {
		return k // it was found before, so it cannot be
	}
	for _, r := range uidsOf(s.snap, t.spans) {
		k.Set.Ranges = append(k.Set.Ranges, imapwire.NumRange{First: uint32(r.First), Last: uint32(r.Last)})
	}
	return k
}

// contextsPend notes which messages changed on the way from old to now, or are
// new: whether they match must be looked up.
func (c *conn) contextsPend(old, now *store.Snapshot) {
	if len(c.sel.contexts) == 0 {
		return
	}
	for ch := range store.Diff(old, now) {
		if !ch.Expunged {
			c.sel.pending.Add(ch.Message.UID)
		}
	}
	if next := old.Mailbox().UIDNext; c.sel.arrived == 0 && now.Mailbox().UIDNext > next {
		c.sel.arrived = next
	}
	first, _ := now.Seq(old.Mailbox().UIDNext)
	for _, m := range now.Range(first, now.Len()) {
		c.sel.pending.Add(m.UID)
	}
}

// contextsExpunge tells what the results lose by expunges, before these are
// told: numbers are those of old.
func (c *conn) contextsExpunge(old, now *store.Snapshot) {
	if len(c.sel.contexts) == 0 {
		return
	}
	var gone mail.UIDSet
	for ch := range store.Diff(old, now) {
		if !ch.Expunged {
			break
		}
		gone.Add(ch.Message.UID)
	}
	for _, x := range c.sel.contexts {
		if lost := intersect(x.found, gone); len(lost) > 0 {
			c.beginUpdate(x)
			c.removeFrom(x, lost, old)
			c.out.Line()
		}
	}
}

// updateContexts looks whether what changed matches, and tells what the results
// gain and lose.
func (c *conn) updateContexts(ctx context.Context) error {
	if c.sel == nil || len(c.sel.pending) == 0 {
		return nil
	}
	pending, arrived := c.sel.pending, c.sel.arrived
	c.sel.pending, c.sel.arrived = nil, 0
	snap := c.sel.view.Snapshot()
	spans := uidSpans(snap, pending)
	for _, x := range c.sel.contexts {
		s, err := c.newSearching(&x.key)
		if err != nil {
			return err
		}
		hits, err := s.run(ctx, spans)
		if err != nil {
			return err
		}
		if err := c.updateContext(ctx, x, uidsOf(snap, spans), hits, arrived); err != nil {
			return err
		}
	}
	return c.out.err
}

// updateContext tells what a result gains and loses, when of the messages of
// looked hits match. Those from arrived on are new; 0: none is.
func (c *conn) updateContext(ctx context.Context, x *searchContext, looked mail.UIDSet, hits []hit, arrived mail.UID) error {
	var match mail.UIDSet
	var gained []hit
	for _, h := range hits {
		match.Add(h.uid)
		if !x.found.Contains(h.uid) {
			gained = append(gained, h)
		}
	}
	lost := mail.UIDSet{}
	for uid := range intersect(looked, x.found).All() {
		if !match.Contains(uid) {
			lost.Add(uid)
		}
	}
	if len(gained) == 0 && len(lost) == 0 {
		return nil
	}
	if len(x.fetch) > 0 {
		var spans []span
		for _, h := range gained { // not those whose flags alone changed (RFC 5465 §7)
			if arrived != 0 && h.uid >= arrived && !c.sel.own.Contains(h.uid) {
				spans = append(spans, span{h.seq, h.seq})
			}
		}
		if err := c.fetchUnasked(ctx, spans, x.fetch); err != nil {
			return err
		}
	}
	var ordered []sortable
	if x.keys != nil && len(gained) > 0 {
		var err error
		if ordered, err = c.sortValues(ctx, gained, x.keys); err != nil {
			return err
		}
	}
	c.beginUpdate(x)
	if len(lost) > 0 {
		c.removeFrom(x, lost, c.sel.view.Snapshot())
	}
	if len(gained) > 0 {
		c.addTo(x, gained, ordered)
	}
	c.out.Line()
	return c.out.err
}

// beginUpdate begins the response that tells of a change.
func (c *conn) beginUpdate(x *searchContext) {
	c.out.Text("* ESEARCH (TAG ")
	c.out.b = imapwire.AppendString(c.out.b, x.tag, false)
	c.out.Text(")")
	if x.uids {
		c.out.Text(" UID")
	}
}

// removeFrom takes messages out of a result and tells it (RFC 5267 §4.3.4).
// The numbers told are those of snap. A position is that before the removal of
// the message, behind the removal of those told before it.
func (c *conn) removeFrom(x *searchContext, lost mail.UIDSet, snap *store.Snapshot) {
	x.found = minus(x.found, lost)
	c.out.Text(" REMOVEFROM (")
	if x.keys == nil {
		c.out.Text("0 ")
		c.out.b = imapwire.AppendNumSet(c.out.b, numbers(snap, lost, x.uids))
	} else {
		kept, removed := x.ordered[:0], 0
		for i, s := range x.ordered {
			if !lost.Contains(s.uid) {
				kept = append(kept, s)
				continue
			}
			if removed > 0 {
				c.out.Text(" ")
			}
			c.writePlace(i+1-removed, s.uid, snap, x.uids)
			removed++
		}
		x.ordered = kept
	}
	c.out.Text(")")
}

// addTo puts messages into a result and tells it (RFC 5267 §4.3.3).
func (c *conn) addTo(x *searchContext, gained []hit, ordered []sortable) {
	snap := c.sel.view.Snapshot()
	var set mail.UIDSet
	for _, h := range gained {
		set.Add(h.uid)
	}
	c.out.Text(" ADDTO (")
	if x.keys == nil {
		c.out.Text("0 ")
		c.out.b = imapwire.AppendNumSet(c.out.b, numbers(snap, set, x.uids))
	}
	for i, s := range ordered {
		if i > 0 {
			c.out.Text(" ")
		}
		at, _ := slices.BinarySearchFunc(x.ordered, s, func(a, b sortable) int {
			return cmp.Or(compareValues(x.keys, &a, &b), cmp.Compare(a.uid, b.uid))
		})
		x.ordered = slices.Insert(x.ordered, at, s)
		c.writePlace(at+1, s.uid, snap, x.uids)
	}
	c.out.Text(")")
	for uid := range set.All() {
		x.found.Add(uid)
	}
}

// writePlace writes a position and the message there.
func (c *conn) writePlace(at int, uid mail.UID, snap *store.Snapshot, uids bool) {
	c.out.Number(int64(at))
	c.out.Text(" ")
	if !uids {
		seq, _ := snap.Seq(uid)
		uid = mail.UID(seq)
	}
	c.out.Number(int64(uid))
}

// numbers returns what a client gets to see of a set of UIDs.
func numbers(snap *store.Snapshot, set mail.UIDSet, uids bool) mail.UIDSet {
	if uids {
		return set
	}
	var seqs mail.UIDSet
	for _, s := range uidSpans(snap, set) {
		seqs.AddRange(mail.UID(s.from), mail.UID(s.to))
	}
	return seqs
}

// minus returns what of a is not in b.
func minus(a, b mail.UIDSet) mail.UIDSet {
	var out mail.UIDSet
	for _, r := range a {
		from := r.First
		for _, x := range b {
			if x.Last < from || x.First > r.Last {
				continue
			}
			if x.First > from {
				out.AddRange(from, x.First-1)
			}
			if from = x.Last + 1; from == 0 {
				break
			}
		}
		if from != 0 && from <= r.Last {
			out.AddRange(from, r.Last)
		}
	}
	return out
}
