package imapserver

import (
	"iter"

	"expost/internal/imapwire"
	"expost/internal/mail"
	"expost/internal/store"
)

// span is a range of sequence numbers, both ends included.
type span struct{ from, to int }

// resolve returns the messages a client named, by sequence numbers or by UIDs,
// as spans in order. UIDs that do not exist are left out; a sequence number
// beyond the last is an error (RFC 9051 §6.4.5), unless it only ends a range.
func (c *conn) resolve(set imapwire.NumSet, uids bool) ([]span, error) {
	snap := c.sel.view.Snapshot()
	if set.Saved {
		return uidSpans(snap, c.sel.saved), nil
	}
	if uids {
		largest := uint32(0)
		if n := snap.Len(); n > 0 {
			largest = uint32(snap.At(n).UID)
		}
		return uidSpans(snap, set.Resolve(largest)), nil
	}
	var spans []span
	for _, r := range set.Resolve(uint32(snap.Len())) {
		if int64(r.First) > int64(snap.Len()) {
			return nil, bad("there is no message with that sequence number")
		}
		spans = append(spans, span{int(r.First), int(min(int64(r.Last), int64(snap.Len())))})
	}
	return spans, nil
}

// uidSpans returns where the messages of a set of UIDs are.
func uidSpans(snap *store.Snapshot, set mail.UIDSet) []span {
	var spans []span
	for _, r := range set {
		from, _ := snap.Seq(r.First)
		to, found := snap.Seq(r.Last)
		if !found {
			to--
		}
		if to = min(to, snap.Len()); from <= to {
			spans = append(spans, span{from, to})
		}
	}
	return spans
}

// messages yields the messages of spans.
func messages(snap *store.Snapshot, spans []span) iter.Seq2[int, *mail.Message] {
	return func(yield func(int, *mail.Message) bool) {
		for _, s := range spans {
			for seq, m := range snap.Range(s.from, s.to) {
				if !yield(seq, m) {
					return
				}
			}
		}
	}
}

// size returns how many messages of snap are in the span.
func (s span) size(snap *store.Snapshot) int { return max(0, min(s.to, snap.Len())-max(s.from, 1)+1) }

// uidsOf returns the UIDs of the messages of spans.
func uidsOf(snap *store.Snapshot, spans []span) mail.UIDSet {
	var set mail.UIDSet
	for _, m := range messages(snap, spans) {
		set.Add(m.UID)
	}
	return set
}
