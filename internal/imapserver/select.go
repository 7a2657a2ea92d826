package imapserver

import (
	"context"
	"strings"

	"expost/internal/imapwire"
	"expost/internal/mail"
	"expost/internal/store"
)

// selectCommand is SELECT (RFC 9051 §6.3.2) with CONDSTORE and QRESYNC (RFC 7162).
func selectCommand() command {
	return command{name: "SELECT", in: loggedIn, caps: caps("CONDSTORE", "QRESYNC"), run: func(ctx context.Context, c *conn) (reply, error) {
		return c.selectMailbox(ctx, false)
	}}
}

// examineCommand is EXAMINE (RFC 9051 §6.3.3).
func examineCommand() command {
	return command{name: "EXAMINE", in: loggedIn, run: func(ctx context.Context, c *conn) (reply, error) {
		return c.selectMailbox(ctx, true)
	}}
}

// resync is what a client knows of a mailbox (RFC 7162 §3.2.5).
type resync struct {
	given       bool
	uidValidity mail.UIDValidity
	modSeq      mail.ModSeq
	known       imapwire.NumSet // UIDs; empty: all
	seqs, uids  imapwire.NumSet // sequence numbers and the UIDs they had; empty: not told
}

// selectMailbox reads the arguments of SELECT or EXAMINE and selects.
func (c *conn) selectMailbox(ctx context.Context, readOnly bool) (reply, error) {
	c.dec.SP()
	name := c.dec.Mailbox(c.utf8())
	var known resync
	features := c.features
	if c.dec.TrySP() && !c.dec.AtEnd() {
		c.dec.List(func() {
			if c.dec.TryKeyword("CONDSTORE") {
				features |= condstore
			} else if known = c.readResync(); c.has(qresync) {
				known.given = true
			} else {
				c.dec.Fail("QRESYNC must be enabled first")
			}
		})
	}
	if c.dec.End(); c.dec.Err() != nil {
		return reply{}, c.dec.Err()
	}
	if len(known.seqs.Ranges) > 0 && c.has(uidOnly) {
		return reply{}, uidRequired("QRESYNC has sequence numbers")
	}
	if c.sel != nil {
		c.out.Line("* OK [CLOSED] the mailbox selected before is closed")
		c.deselect()
	}
	p, err := c.lookUp(ctx, name, mail.RightRead)
	if err != nil {
		return reply{}, err
	}
	view, err := p.view(ctx, readOnly)
	if err != nil {
		return reply{}, err
	}
	box := view.Snapshot().Mailbox()
	c.features, c.state = features, selected
	c.sel = c.newSelection(&p, view, readOnly)
	c.sel.leave = c.stayIn(p.account.ID())
	c.describe(&box)
	if known.given && known.uidValidity == box.UIDValidity {
		if err := c.resync(ctx, &known); err != nil {
			c.deselect()
			return reply{}, err
		}
	}
	if readOnly {
		return ok("READ-ONLY", "examined"), nil
	}
	if !p.rights.Any(c.writeRights(&p)) {
		return ok("READ-ONLY", "selected; what is left to you are flags of your own"), nil
	}
	return ok("READ-WRITE", "selected"), nil
}

// writeRights returns the rights of which each makes a mailbox READ-WRITE: to
// insert, to expunge, and to change flags that are everybody's (RFC 4314 §5.2).
func (c *conn) writeRights(p *place) mail.Rights {
	rights := mail.RightInsert | mail.RightExpunge | mail.RightDeleteMessages
	personal := c.srv.cfg.Personal
	if p.own() {
		personal = store.PersonalNone
	}
	if personal.Flags&mail.Seen == 0 {
		rights |= mail.RightSeen
	}
	if !personal.Keywords {
		rights |= mail.RightWrite
	}
	return rights
}

// newSelection returns the selection of a mailbox that was opened.
func (c *conn) newSelection(p *place, view *store.View, readOnly bool) *selection {
	box := view.Snapshot().Mailbox()
	return &selection{
		account: p.account, prefix: p.prefix, rights: p.rights, view: view, id: box.ID, readOnly: readOnly, recent: view.Recent(), fetched: box.UIDNext,
		cards: c.srv.cards.open(boxKey{p.account.ID(), box.ID, box.UIDValidity}),
	}
}

// describe tells the state of the mailbox that was just selected.
func (c *conn) describe(box *mail.Mailbox) {
	snap := c.sel.view.Snapshot()
	c.writeFlags(box)
	c.writeExists(snap)
	if unseen := snap.FirstUnseen(); unseen > 0 && !c.has(rev2|uidOnly) {
		c.out.Text("* OK [UNSEEN ")
		c.out.Number(int64(unseen))
		c.out.Line("] first unseen message")
	}
	number := func(code string, n int64, text string) {
		c.out.Text("* OK [" + code)
		c.out.Number(n)
		c.out.Line("] ", text)
	}
	number("UIDVALIDITY ", int64(box.UIDValidity), "UIDs are valid")
	number("UIDNEXT ", int64(box.UIDNext), "predicted next UID")
	number("HIGHESTMODSEQ ", int64(box.HighestModSeq), "highest modification sequence")
	c.out.Line("* OK [MAILBOXID (", box.ID.String(), ")] lasting id")
	if c.has(rev2) {
		c.out.Text(`* LIST () "/" `)
		c.out.b = imapwire.AppendMailbox(c.out.b, c.sel.prefix+box.Name, true)
		c.out.Line()
	}
}

// writeFlags writes FLAGS and PERMANENTFLAGS, which name the keywords in use and
// the flags that the client may change (RFC 4314 §5.1.1).
func (c *conn) writeFlags(box *mail.Mailbox) {
	c.sel.keywords = len(box.Keywords)
	list := strings.Join(append([]string{`\Answered \Flagged \Deleted \Seen \Draft`}, box.Keywords...), " ")
	c.out.Line("* FLAGS (", list, ")")
	keep := lacking(c.sel.rights)
	if keep == (store.FlagMask{}) && !c.sel.readOnly {
		c.out.Line("* OK [PERMANENTFLAGS (", list, ` \*)] flags that are kept`)
		return
	}
	var words []string
	for _, f := range []mail.Flags{mail.Answered, mail.Flagged, mail.Deleted, mail.Seen, mail.Draft} {
		if keep.Flags&f == 0 {
			words = append(words, f.String())
		}
	}
	if !keep.Keywords {
		words = append(append(words, box.Keywords...), `\*`)
	}
	if c.sel.readOnly || len(words) == 0 {
		c.out.Line("* OK [PERMANENTFLAGS ()] no flag can be changed")
		return
	}
	c.out.Line("* OK [PERMANENTFLAGS (", strings.Join(words, " "), ")] flags that you may change")
}

// writeExists writes EXISTS and, to those of RFC 3501, RECENT.
func (c *conn) writeExists(snap *store.Snapshot) {
	c.out.Text("* ")
	c.out.Number(int64(snap.Len()))
	c.out.Line(" EXISTS")
	if c.has(rev2) {
		return
	}
	first, _ := snap.Seq(c.sel.recent)
	c.out.Text("* ")
	c.out.Number(int64(max(0, snap.Len()-first+1)))
	c.out.Line(" RECENT")
}

// readResync reads "QRESYNC (uidvalidity modseq [known-uids [(seqs uids)]])".
func (c *conn) readResync() resync {
	var r resync
	if !c.dec.TryKeyword("QRESYNC") {
		c.dec.Fail("unknown SELECT parameter")
	}
	c.dec.SP()
	c.dec.Expect('(')
	r.uidValidity = mail.UIDValidity(c.dec.Number())
	c.dec.SP()
	r.modSeq = mail.ModSeq(c.dec.Number())
	if c.dec.TrySP() {
		if c.dec.Peek() != '(' {
			r.known = c.dec.NumSet()
			c.dec.TrySP()
		}
		if c.dec.Try('(') {
			r.seqs = c.dec.NumSet()
			c.dec.SP()
			r.uids = c.dec.NumSet()
			c.dec.Expect(')')
		}
	}
	c.dec.Expect(')')
	return r
}

// resync tells what happened since the client was here last: VANISHED (EARLIER)
// and the flags of messages that changed (RFC 7162 §3.2.5.1).
func (c *conn) resync(ctx context.Context, r *resync) error {
	snap := c.sel.view.Snapshot()
	vanished, err := c.vanished(ctx, r.modSeq)
	if err != nil {
		return err
	}
	if len(r.known.Ranges) > 0 {
		vanished = intersect(vanished, r.known.Resolve(uint32(snap.Mailbox().UIDNext-1)))
	}
	vanished = without(vanished, matched(snap, r))
	c.writeVanished(vanished, true)
	var within mail.UIDSet
	if len(r.known.Ranges) > 0 {
		within = r.known.Resolve(uint32(snap.Mailbox().UIDNext - 1))
	}
	for seq, m := range snap.Range(1, snap.Len()) {
		if m.ModSeq > r.modSeq && (within == nil || within.Contains(m.UID)) {
			c.writeFlagUpdate(seq, m)
		}
	}
	return nil
}

// vanished returns the UIDs of messages that were expunged after a modification
// sequence. Those that the client still counts are not among them: their turn
// comes with the EXPUNGE or VANISHED that tells them.
func (c *conn) vanished(ctx context.Context, since mail.ModSeq) (mail.UIDSet, error) {
	gone, err := c.sel.account.Vanished(ctx, c.sel.id, since)
	if err != nil {
		return nil, err
	}
	snap := c.sel.view.Snapshot()
	return minus(gone, uidsOf(snap, uidSpans(snap, gone))), nil
}

// matched returns the UIDs up to the last one at which the client's sequence
// numbers agree with snap: below it the client has missed no expunge.
func matched(snap *store.Snapshot, r *resync) mail.UID {
	seqs, uids := r.seqs.Resolve(0), r.uids.Resolve(0)
	if len(seqs) == 0 || seqs.Len() != uids.Len() || seqs.Len() > snap.Len() {
		return 0
	}
	last := mail.UID(0)
	nextUID, stop := pull(uids)
	defer stop()
	for seq := range seqs.All() {
		uid, _ := nextUID()
		if int(seq) > snap.Len() || snap.At(int(seq)).UID != uid {
			break
		}
		last = uid
	}
	return last
}
