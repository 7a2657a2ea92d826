package store

import (
	"iter"
	"slices"

	"expost/internal/mail"
)

// Snapshot is the immutable state of a mailbox at one moment. Snapshots of one
// mailbox share what did not change between them.
type Snapshot struct {
	mailbox mail.Mailbox
	index   *index
	changed chan struct{} // closed when there is a newer state
}

// Mailbox returns the mailbox's row as it was.
func (s *Snapshot) Mailbox() mail.Mailbox { return s.mailbox }

// Len returns the number of messages.
func (s *Snapshot) Len() int { return s.index.n }

// At returns the message of a sequence number, 1..Len.
func (s *Snapshot) At(seq int) mail.Message {
	p := s.index.at(seq - 1)
	return s.index.nodes[p.node].chunks[p.chunk].messages()[p.message]
}

// Seq returns the sequence number of uid, or where it is missing the one it
// would have and false.
func (s *Snapshot) Seq(uid mail.UID) (seq int, ok bool) {
	pos, ok := s.index.position(uid)
	return pos + 1, ok
}

// Range yields sequence numbers and messages from..to, both included, cheaply.
// A message is valid until the next one, and not to be changed.
func (s *Snapshot) Range(from, to int) iter.Seq2[int, *mail.Message] {
	return func(yield func(int, *mail.Message) bool) {
		from, to := max(from, 1), min(to, s.index.n)
		if from > to {
			return
		}
		var once *page // takes one chunk after the other, where there are many
		if to-from >= chunkCap {
			once = new(page)
		}
		p := s.index.at(from - 1)
		seq := from
		for ; p.node < len(s.index.nodes); p.node, p.chunk = p.node+1, 0 {
			chunks := s.index.nodes[p.node].chunks
			for ; p.chunk < len(chunks); p.chunk, p.message = p.chunk+1, 0 {
				messages := chunks[p.chunk].read(once)
				for ; p.message < len(messages); p.message++ {
					if seq > to || !yield(seq, &messages[p.message]) {
						return
					}
					seq++
				}
			}
		}
	}
}

// FirstUnseen returns the first sequence number without \Seen, or 0.
func (s *Snapshot) FirstUnseen() int {
	for i, nd := range s.index.nodes {
		if nd.unseen == 0 {
			continue
		}
		for j, c := range nd.chunks {
			if c.unseen == 0 {
				continue
			}
			k := slices.IndexFunc(c.messages(), func(m mail.Message) bool { return m.Flags&mail.Seen == 0 })
			if k < 0 {
				continue
			}
			return s.index.before[i] + nd.before[j] + k + 1
		}
	}
	return 0
}

// cursor walks an index a message, a chunk or a node at a time.
type cursor struct {
	ix *index
	place
	pos      int
	messages []mail.Message // of the present chunk, once asked for
}

// done tells whether the cursor stands behind the last message.
func (c *cursor) done() bool { return c.node >= len(c.ix.nodes) }

// chunkAt returns the chunk the cursor stands in.
func (c *cursor) chunkAt() *chunk { return c.ix.nodes[c.node].chunks[c.chunk] }

// get returns the message the cursor stands at.
func (c *cursor) get() *mail.Message {
	if c.messages == nil {
		c.messages = c.chunkAt().messages()
	}
	return &c.messages[c.message]
}

// next moves to the next message.
func (c *cursor) next() {
	c.pos++
	c.message++
	if c.message == c.chunkAt().n {
		c.nextChunk()
	}
}

// nextChunk moves to the start of the next chunk; pos is the caller's matter.
func (c *cursor) nextChunk() {
	c.messages, c.message = nil, 0
	c.chunk++
	if c.chunk == len(c.ix.nodes[c.node].chunks) {
		c.node, c.chunk = c.node+1, 0
	}
}

// skipShared moves both cursors behind what they share from here on.
func skipShared(a, b *cursor) {
	for !a.done() && !b.done() && a.message == 0 && b.message == 0 {
		if a.chunk == 0 && b.chunk == 0 && a.ix.nodes[a.node] == b.ix.nodes[b.node] {
			n := a.ix.nodes[a.node].n
			a.node, a.pos, a.messages = a.node+1, a.pos+n, nil
			b.node, b.pos, b.messages = b.node+1, b.pos+n, nil
			continue
		}
		if a.chunkAt() != b.chunkAt() {
			return
		}
		n := a.chunkAt().n
		a.pos, b.pos = a.pos+n, b.pos+n
		a.nextChunk()
		b.nextChunk()
	}
}

// Change is one difference between two snapshots.
type Change struct {
	Expunged bool         // else flags changed
	Seq      int          // for an EXPUNGE: the number to send now, counted down as RFC 9051 §7.5.1 wants; else in the new snapshot
	Message  mail.Message // as it is now; as it was, where expunged
}

// Diff yields what a session must be told to get from old to now: first every
// expunge, then every changed message; new ones are those beyond. It skips what
// the two share without looking at it.
func Diff(old, now *Snapshot) iter.Seq[Change] {
	return func(yield func(Change) bool) {
		if old.index == now.index {
			return
		}
		a, b := &cursor{ix: old.index}, &cursor{ix: now.index}
		var changed []seqRange
		expunged := 0
		for {
			skipShared(a, b)
			if a.done() {
				break
			}
			was := a.get()
			for !b.done() && b.get().UID < was.UID {
				b.next()
			}
			if b.done() || b.get().UID > was.UID {
				if !yield(Change{Expunged: true, Seq: a.pos + 1 - expunged, Message: *was}) {
					return
				}
				expunged++
				a.next()
				continue
			}
			if is := b.get(); is.ModSeq != was.ModSeq {
				if n := len(changed); n > 0 && changed[n-1].to == b.pos {
					changed[n-1].to++
				} else {
					changed = append(changed, seqRange{b.pos + 1, b.pos + 1})
				}
			}
			a.next()
			b.next()
		}
		for _, r := range changed {
			for seq, m := range now.Range(r.from, r.to) {
				if !yield(Change{Seq: seq, Message: *m}) {
					return
				}
			}
		}
	}
}

// seqRange is a range of sequence numbers, both included.
type seqRange struct{ from, to int }

// KeepExpunged returns the state now, but with the messages that old has and
// now has not still in their places, for a session that may not be told of an
// EXPUNGE yet (RFC 9051 §7.5.1). It has a View.Changed of now.
func KeepExpunged(old, now *Snapshot) *Snapshot {
	var kept []mail.Message
	for c := range Diff(old, now) {
		if !c.Expunged {
			break
		}
		kept = append(kept, c.Message)
	}
	if len(kept) == 0 {
		return now
	}
	return &Snapshot{mailbox: now.mailbox, changed: now.changed, index: now.index.insert(kept)}
}

// insert returns the index with messages, which ascend, put in their places.
func (ix *index) insert(messages []mail.Message) *index {
	var edits []chunkEdit
	var into *chunk // takes what lies below the next chunk's key
	put := func(n int) {
		switch {
		case n == 0:
			return
		case into == nil:
			edits = append(edits, chunkEdit{messages[0].UID, newChunk(messages[0].UID, messages[:n])})
		default:
			edits = append(edits, chunkEdit{into.key, newChunk(into.key, mergeMessages(into.messages(), messages[:n]))})
		}
		messages = messages[n:]
	}
	for c := range ix.chunks() {
		n, _ := slices.BinarySearchFunc(messages, c.key, compareUID)
		put(n)
		into = c
	}
	put(len(messages))
	return ix.apply(edits)
}

// mergeMessages returns both lists as one in order of UID.
func mergeMessages(a, b []mail.Message) []mail.Message {
	merged := make([]mail.Message, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if a[0].UID < b[0].UID {
			merged, a = append(merged, a[0]), a[1:]
		} else {
			merged, b = append(merged, b[0]), b[1:]
		}
	}
	return append(append(merged, a...), b...)
}
