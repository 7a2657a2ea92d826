package imapserver

import (
	"context"
	"slices"
	"strings"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"

	"expost/internal/imapwire"
	"expost/internal/mail"
)

// searchCommand is SEARCH (RFC 9051 §6.4.4) with ESEARCH (RFC 4731), SEARCHRES
// (RFC 5182), CONTEXT=SEARCH (RFC
// 5267), WITHIN (RFC 5032), PARTIAL (RFC 9394) INPROGRESS (RFC 9585) and MESSAGELIMIT
// (RFC 9738).
func searchCommand() command {
	return command{
		name: "SEARCH", in: selected, keepsNumbers: true, takesNumbers: true, caps: append(caps("FILTERS", "ESEARCH", "SEARCHRES", "WITHIN", "PARTIAL", "INPROGRESS", "SEARCH=FUZZY"), messageLimitCapability()),
		run: func(ctx context.Context, c *conn) (reply, error) { return c.search(ctx, false) },
	}
}

// uidSearchCommand is UID SEARCH.
func uidSearchCommand() command {
	return command{name: "UID SEARCH", in: selected, run: func(ctx context.Context, c *conn) (reply, error) {
		return c.search(ctx, true)
	}}
}

func (c *conn) search(ctx context.Context, uids bool) (reply, error) {
	cmd := c.dec.Search()
	if err := c.dec.Err(); err != nil {
		return reply{}, err
	}
	hits, lowest, err := c.find(ctx, &cmd, false)
	if c.save(hits, cmd.Return); err != nil {
		return reply{}, err
	}
	c.keepUpdated(hits, &cmd, uids, nil, nil)
	if cmd.Return.Extended || c.has(rev2) {
		if !cmd.Return.Extended {
			cmd.Return.All = true
		}
		c.writeESearch(hits, cmd, uids)
	} else {
		c.writeSearch(hits, usesModSeq(&cmd.Key), uids)
	}
	return c.partly(ok("", "searched"), lowest), c.out.err
}

// find catches up with what others did and returns the messages that match, in
// order: those down to a UID, or where that is 0 all. With whole it must be all.
func (c *conn) find(ctx context.Context, cmd *imapwire.SearchCommand, whole bool) ([]hit, mail.UID, error) {
	if err := c.mayUpdate(cmd); err != nil {
		return nil, 0, err
	}
	if err := checkFuzzy(cmd, nil); err != nil {
		return nil, 0, err
	}
	if err := c.prepareSearch(ctx, cmd); err != nil {
		return nil, 0, err
	}
	if err := c.catchUp(ctx, false); err != nil {
		return nil, 0, err
	}
	return c.runSearch(ctx, &cmd.Key, whole)
}

// prepareSearch puts in stored searches and decodes the charset.
func (c *conn) prepareSearch(ctx context.Context, cmd *imapwire.SearchCommand) error {
	if err := c.expandFilters(ctx, cmd); err != nil {
		return err
	}
	if usesModSeq(&cmd.Key) {
		c.features |= condstore
	}
	return decodeCharset(&cmd.Key, cmd.Charset)
}

// runSearch is find behind its preparations.
func (c *conn) runSearch(ctx context.Context, k *imapwire.SearchKey, whole bool) ([]hit, mail.UID, error) {
	s, err := c.newSearching(k)
	if err != nil {
		return nil, 0, err
	}
	spans, lowest, err := c.searched(s, k)
	if err == nil && whole && lowest != 0 {
		err = c.tooMany()
	}
	if err != nil {
		return nil, 0, err
	}
	hits, err := s.run(ctx, spans)
	return hits, lowest, err
}

// hit is a message that was found.
type hit struct {
	seq    int
	uid    mail.UID
	modSeq mail.ModSeq

	relevancy int // of a fuzzy search, 1 to 100
}

// number returns what a client gets to see of the hit.
func (h hit) number(uids bool) int64 {
	if uids {
		return int64(h.uid)
	}
	return int64(h.seq)
}

// writeSearch writes the response of RFC 3501.
func (c *conn) writeSearch(hits []hit, modSeq, uids bool) {
	c.out.Text("* SEARCH")
	highest := mail.ModSeq(0)
	for _, h := range hits {
		c.out.Text(" ")
		c.out.Number(h.number(uids))
		c.out.Spill()
		highest = max(highest, h.modSeq)
	}
	if modSeq && len(hits) > 0 {
		c.out.Text(" (MODSEQ ")
		c.out.Number(int64(highest))
		c.out.Text(")")
	}
	c.out.Line()
}

// writeESearch writes the response of RFC 4731.
func (c *conn) writeESearch(hits []hit, cmd imapwire.SearchCommand, uids bool) {
	if r := cmd.Return; r.Save && !r.Min && !r.Max && !r.All && !r.Count && !r.Partial.Given() {
		return
	}
	c.out.Text("* ESEARCH (TAG ")
	c.out.b = imapwire.AppendString(c.out.b, c.tag, false)
	c.out.Text(")")
	c.writeResults(hits, &cmd, uids)
}

// writeResults writes the results that RETURN asks for, which end an ESEARCH
// response.
func (c *conn) writeResults(hits []hit, cmd *imapwire.SearchCommand, uids bool) {
	if uids {
		c.out.Text(" UID")
	}
	if cmd.Return.Min && len(hits) > 0 {
		c.out.Text(" MIN ")
		c.out.Number(hits[0].number(uids))
	}
	if cmd.Return.Max && len(hits) > 0 {
		c.out.Text(" MAX ")
		c.out.Number(hits[len(hits)-1].number(uids))
	}
	if cmd.Return.Count {
		c.out.Text(" COUNT ")
		c.out.Number(int64(len(hits)))
	}
	if cmd.Return.All && len(hits) > 0 {
		c.out.Text(" ALL ")
		c.writeNumbers(hits, uids)
	}
	if p := cmd.Return.Partial; p.Given() {
		c.writePartial(hits, p, uids)
	}
	if cmd.Return.Relevancy {
		c.writeRelevancy(told(hits, cmd.Return))
	}
	if usesModSeq(&cmd.Key) && len(hits) > 0 {
		c.out.Text(" MODSEQ ")
		c.out.Number(int64(highestModSeq(hits, cmd.Return)))
	}
	c.out.Line()
}

// writePartial writes the part of the result that was asked for (RFC 9394 §3.1).
func (c *conn) writePartial(hits []hit, p imapwire.PartialRange, uids bool) {
	c.out.Text(" PARTIAL (")
	c.out.b = p.Append(c.out.b)
	c.out.Text(" ")
	if from, to := p.Bounds(len(hits)); from < to {
		c.writeNumbers(hits[from:to], uids)
	} else {
		c.out.Text("NIL")
	}
	c.out.Text(")")
}

// writeNumbers writes the numbers of what was found, in its order.
func (c *conn) writeNumbers(hits []hit, uids bool) {
	nums := make([]mail.UID, len(hits))
	for i, h := range hits {
		nums[i] = mail.UID(h.number(uids))
	}
	c.out.b = imapwire.AppendNumList(c.out.b, nums)
}

// highestModSeq returns the highest modification sequence of the messages that
// are told (RFC 4731 §3.2).
func highestModSeq(hits []hit, r imapwire.ReturnOptions) mail.ModSeq {
	highest := mail.ModSeq(0)
	for _, h := range told(hits, r) {
		highest = max(highest, h.modSeq)
	}
	return highest
}

// told returns what of the result a client gets to know: all of it, or with
// MIN, MAX and PARTIAL alone what these name (RFC 4731 §3.2, RFC 9394 §3.2).
func told(hits []hit, r imapwire.ReturnOptions) []hit {
	if len(hits) == 0 || r.All || r.Count || !r.Min && !r.Max && !r.Partial.Given() {
		return hits
	}
	var some []hit
	if r.Min {
		some = append(some, hits[0])
	}
	if r.Max {
		some = append(some, hits[len(hits)-1])
	}
	if r.Partial.Given() {
		from, to := r.Partial.Bounds(len(hits))
		some = append(some, hits[from:to]...)
	}
	return some
}

// save keeps the result for "$" where the client wants that. A search that
// failed saves nothing (RFC 5182 §2.1).
func (c *conn) save(hits []hit, r imapwire.ReturnOptions) {
	if !r.Save {
		return
	}
	c.sel.saved = mail.UIDSet{}
	for _, h := range told(hits, r) {
		c.sel.saved.Add(h.uid)
	}
}

// anyKey tells whether k or a key below it satisfies is.
func anyKey(k *imapwire.SearchKey, is func(*imapwire.SearchKey) bool) bool {
	if is(k) {
		return true
	}
	return slices.ContainsFunc(k.Keys, func(sub imapwire.SearchKey) bool { return anyKey(&sub, is) })
}

// usesModSeq tells whether a search looks at modification sequences.
func usesModSeq(k *imapwire.SearchKey) bool {
	return anyKey(k, func(k *imapwire.SearchKey) bool { return k.Op == imapwire.SearchModSeq })
}

// decodeCharset turns the texts of a search into UTF-8. Bytes that are none in
// spite of what the client says are dropped: nothing that is searched holds them.
func decodeCharset(k *imapwire.SearchKey, charset string) error {
	decode := func(s string) (string, error) { return strings.ToValidUTF8(s, ""), nil }
	if charset != "" && charset != "UTF-8" && charset != "US-ASCII" {
		enc, err := htmlindex.Get(charset)
		if err != nil || enc == encoding.Replacement {
			enc, err = ianaindex.MIME.Encoding(charset)
		}
		if err != nil || enc == nil {
			return no("BADCHARSET (UTF-8 US-ASCII)", "unknown charset")
		}
		decode = enc.NewDecoder().String
	}
	return mapTexts(k, decode)
}

// mapTexts applies decode to every text of a search.
func mapTexts(k *imapwire.SearchKey, decode func(string) (string, error)) error {
	text, err := decode(k.Text)
	if err != nil {
		return bad("a search text does not fit its charset")
	}
	k.Text = text
	for i := range k.Keys {
		if err := mapTexts(&k.Keys[i], decode); err != nil {
			return err
		}
	}
	return nil
}
