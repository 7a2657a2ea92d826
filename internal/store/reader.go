package store

import (
	"cmp"
	"context"
	"slices"

	"expost/internal/mail"
)

// Personal says which flags of a mailbox are each reader's own. \Deleted never
// is: what it asks for happens to all.
type Personal struct {
	Flags    mail.Flags
	Keywords bool
}

// The choices of what is each reader's own.
var (
	PersonalNone = Personal{}
	PersonalSeen = Personal{Flags: mail.Seen}
	PersonalAll  = Personal{Flags: mail.Seen | mail.Answered | mail.Flagged | mail.Draft, Keywords: true}
)

// reader is somebody who reads a mailbox of another's account: which flags of
// which messages he has set. His messages carry a UID, flags, keywords and a
// modseq, nothing else; those without flags of his own, which were never
// touched, are missing. Under Account.mu; only the writer changes it.
type reader struct {
	row   ReaderRow
	index *index // nil: not in memory
}

// readerKey names a reader.
type readerKey struct {
	mailbox mail.MailboxID
	who     mail.AccountID
}

// ownFlags make a chunk what a reader sees: the owner's, with the reader's own
// flags laid over it when somebody asks for the messages.
type ownFlags struct {
	base     *chunk
	index    *index // what the reader has set; nil: nothing there
	personal Personal
	since    mail.ModSeq
}

// apply makes the messages of base those that the reader sees.
func (o *ownFlags) apply(messages []mail.Message) {
	own := between(o.index, o.base.first, o.base.last)
	for i := range messages {
		m := &messages[i]
		for len(own) > 0 && own[0].UID < m.UID {
			own = own[1:]
		}
		m.Flags &^= o.personal.Flags
		if o.personal.Keywords {
			m.Keywords = mail.Keywords{}
		}
		m.ModSeq = max(m.ModSeq, o.since)
		if len(own) == 0 || own[0].UID != m.UID {
			continue
		}
		m.Flags |= own[0].Flags & o.personal.Flags
		if o.personal.Keywords {
			m.Keywords = own[0].Keywords
		}
		m.ModSeq = max(m.ModSeq, own[0].ModSeq)
	}
}

// chunk returns a chunk as the reader sees it, without looking at its messages.
func (r *reader) chunk(c *chunk) *chunk {
	if r.row.Personal == PersonalNone && r.row.Since == 0 {
		return c
	}
	seen := &chunk{
		key: c.key, first: c.first, last: c.last, n: c.n, unseen: c.unseen, deleted: c.deleted,
		over: &ownFlags{base: c, index: r.index, personal: r.row.Personal, since: r.row.Since},
	}
	if r.row.Personal.Flags&mail.Seen != 0 {
		seen.unseen = c.n - seenBetween(r.index, c.first, c.last)
	}
	return seen
}

// between returns the messages of an index from first to last.
func between(ix *index, first, last mail.UID) []mail.Message {
	if ix == nil || ix.n == 0 {
		return nil
	}
	return (&mailboxEdit{index: ix}).collect(mail.UIDSet{{First: first, Last: last}})
}

// seenBetween counts the messages of an index from first to last that are seen.
func seenBetween(ix *index, first, last mail.UID) int {
	if ix == nil {
		return 0
	}
	n := 0
	for c := range ix.touched(mail.UIDSet{{First: first, Last: last}}) {
		if c.unseen == c.n {
			continue
		}
		if first <= c.first && c.last <= last {
			n += c.n - c.unseen
			continue
		}
		for _, m := range c.messages() {
			if m.UID >= first && m.UID <= last && m.Flags&mail.Seen != 0 {
				n++
			}
		}
	}
	return n
}

// seenBefore is a mailbox as a reader saw it when he left, for when he comes back.
type seenBefore struct {
	key          readerKey
	reader       *reader
	base, merged *index // node by node the same messages
}

// node returns what a node of the mailbox looks like to a reader, where that is
// known; else nil.
func (s *seenBefore) node(r *reader, i int, nd *node) *node {
	if s == nil || s.reader != r || i >= len(s.base.nodes) || s.base.nodes[i] != nd || i >= len(s.merged.nodes) {
		return nil
	}
	if m := s.merged.nodes[i]; len(m.chunks) == len(nd.chunks) && m.chunks[0].key == nd.chunks[0].key && m.n == nd.n {
		return m
	}
	return nil
}

// view returns a whole mailbox as the reader sees it. before, which may be nil,
// saves work.
func (r *reader) view(base *index, before *seenBefore) *index {
	nodes := make([]*node, len(base.nodes))
	for i, nd := range base.nodes {
		if nodes[i] = before.node(r, i, nd); nodes[i] != nil {
			continue
		}
		chunks := make([]*chunk, len(nd.chunks))
		same := true
		for j, c := range nd.chunks {
			chunks[j] = r.chunk(c)
			same = same && chunks[j] == c
		}
		if nodes[i] = nd; !same {
			nodes[i] = newNode(chunks)
		}
	}
	return indexOf(nodes)
}

// mailbox returns the row of a mailbox as the reader sees it.
func (r *reader) mailbox(box mail.Mailbox) mail.Mailbox {
	if r.row.Personal.Flags&mail.Seen != 0 {
		box.Unseen = box.Messages - r.row.Seen
	}
	box.HighestModSeq = max(box.HighestModSeq, r.row.ModSeq)
	box.Subscribed = false
	return box
}

// readerEdit is a reader in a batch.
type readerEdit struct {
	reader
	deleted bool
	puts    map[mail.UID]*chunk // by key, nil: remove
	changed mail.UIDSet         // the messages whose flags are others now
	all     bool                // what is personal has changed: every message has
}

// reader returns what somebody has set in a mailbox, to look at or change, made
// where it is not there yet.
func (b *batch) reader(key readerKey, personal Personal) (*readerEdit, error) {
	e := b.readers[key]
	if e == nil {
		e = &readerEdit{puts: make(map[mail.UID]*chunk)}
		if r := b.a.readers[key]; r != nil {
			e.reader = *r
		} else {
			e.index = newIndex(nil)
			e.row = ReaderRow{Mailbox: key.mailbox, Reader: key.who, Personal: personal}
		}
	}
	if e.index == nil {
		chunks, err := readChunks(b.tx, e.row.ID)
		if err != nil {
			return nil, err
		}
		e.index = newIndex(chunks)
	}
	return e, nil
}

// touchReader takes a reader into the batch. His mailbox must be touched too, so
// that those who look at it hear of the change.
func (b *batch) touchReader(e *readerEdit) {
	b.dirty = true
	if e.row.ID == 0 {
		e.row.ID = b.account.NextMailbox
		b.account.NextMailbox++
	}
	b.readers[readerKey{e.row.Mailbox, e.row.Reader}] = e
}

// set changes what a reader has set, under the present modseq. The messages
// ascend by UID.
func (b *batch) set(e *readerEdit, messages []mail.Message) {
	b.touchReader(e)
	for i := range messages {
		m := &messages[i]
		*m = mail.Message{UID: m.UID, Flags: m.Flags, Keywords: m.Keywords, ModSeq: b.account.ModSeq}
		e.changed.Add(m.UID)
	}
	seen := e.countSeen()
	e.put(e.index.upsert(messages))
	e.row.Seen += e.countSeen() - seen
	e.row.ModSeq = b.account.ModSeq
}

// countSeen returns how many messages the reader has seen.
func (e *readerEdit) countSeen() int {
	n := e.index.n
	for _, nd := range e.index.nodes {
		n -= nd.unseen
	}
	return n
}

// put changes the index. The edits ascend by key.
func (e *readerEdit) put(edits []chunkEdit) {
	for _, c := range edits {
		e.puts[c.key] = c.chunk
	}
	e.index = e.index.apply(edits)
}

// readersOf returns the keys of those who read a mailbox, in order.
func (b *batch) readersOf(id mail.MailboxID) []readerKey {
	var keys []readerKey
	for key := range b.a.readers {
		if key.mailbox == id && b.readers[key] == nil {
			keys = append(keys, key)
		}
	}
	for key, e := range b.readers {
		if key.mailbox == id && !e.deleted {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(x, y readerKey) int { return cmp.Compare(x.who, y.who) })
	return keys
}

// dropFlags forgets what readers have set of messages that are expunged.
func (b *batch) dropFlags(id mail.MailboxID, gone mail.UIDSet) error {
	for _, key := range b.readersOf(id) {
		e, err := b.reader(key, Personal{})
		if err != nil {
			return err
		}
		seen := e.countSeen()
		if edits := e.index.without(gone); len(edits) > 0 {
			b.touchReader(e)
			e.put(edits)
			e.row.Seen += e.countSeen() - seen
		}
	}
	return nil
}

// carryFlags gives copies the flags that readers have set of their originals.
// from and to pair UIDs and ascend.
func (b *batch) carryFlags(source, target mail.MailboxID, from, to []mail.UID) error {
	for _, key := range b.readersOf(source) {
		e, err := b.reader(key, Personal{})
		if err != nil {
			return err
		}
		var set mail.UIDSet
		for _, uid := range from {
			set.Add(uid)
		}
		own := (&mailboxEdit{index: e.index}).collect(set)
		if len(own) == 0 {
			continue
		}
		for i := range own {
			at, _ := slices.BinarySearch(from, own[i].UID)
			own[i].UID = to[at]
		}
		copies, err := b.reader(readerKey{target, key.who}, e.row.Personal)
		if err != nil {
			return err
		}
		b.set(copies, own)
	}
	return nil
}

// dropReaders removes those who read a mailbox.
func (b *batch) dropReaders(id mail.MailboxID) error {
	for _, key := range b.readersOf(id) {
		e, err := b.reader(key, Personal{})
		if err != nil {
			return err
		}
		b.touchReader(e)
		e.deleted = true
	}
	return nil
}

// forgetReader removes what somebody has set in any mailbox, and what he keeps
// at them.
func (b *batch) forgetReader(who mail.AccountID) error {
	for id := range b.a.mailboxes {
		for _, key := range b.readersOf(id) {
			if key.who != who {
				continue
			}
			e, err := b.reader(key, Personal{})
			if err != nil {
				return err
			}
			b.touchReader(e)
			e.deleted = true
			box, err := b.edit(id)
			if err != nil {
				return err
			}
			b.touch(box)
		}
	}
	b.dirty = true
	b.forgotten = append(b.forgotten, who)
	return nil
}

// flushReaders writes the readers.
func (b *batch) flushReaders() error {
	for _, e := range b.readers {
		if e.deleted {
			if err := b.tx.DeleteReader(e.row.ID); err != nil {
				return err
			}
			continue
		}
		if err := b.tx.PutReader(e.row); err != nil {
			return err
		}
		for _, put := range sortedEdits(e.puts) {
			var data []byte
			if put.chunk != nil {
				data = put.chunk.data
			}
			if err := b.tx.PutChunk(e.row.ID, put.key, data); err != nil {
				return err
			}
		}
	}
	for _, who := range b.forgotten {
		if err := b.tx.DeletePrivate(who); err != nil {
			return err
		}
	}
	return nil
}

// upsert returns the edits that put messages, which ascend, into the index, in
// the place of those of the same UID.
func (ix *index) upsert(messages []mail.Message) []chunkEdit {
	var edits []chunkEdit
	var into *chunk // takes what lies below the next chunk's key
	put := func(n int) {
		if n == 0 {
			return
		}
		all, key := messages[:n], messages[0].UID
		if into != nil {
			all, key = overlay(into.messages(), all), into.key
		}
		for part := range slices.Chunk(all, chunkCap) {
			edits = append(edits, chunkEdit{key, newChunk(key, part)})
			key = part[len(part)-1].UID + 1
		}
		messages = messages[n:]
	}
	for c := range ix.chunks() {
		if len(messages) == 0 {
			return edits
		}
		n, _ := slices.BinarySearchFunc(messages, c.key, compareUID)
		put(n)
		into = c
	}
	put(len(messages))
	return edits
}

// overlay returns both lists as one in order of UID; where both have a UID, that
// of b.
func overlay(a, b []mail.Message) []mail.Message {
	all := make([]mail.Message, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch cmp.Compare(a[0].UID, b[0].UID) {
		case -1:
			all, a = append(all, a[0]), a[1:]
		case 0:
			a = a[1:]
		default:
			all, b = append(all, b[0]), b[1:]
		}
	}
	return append(append(all, a...), b...)
}

// without returns the edits that take the messages of set out of the index.
func (ix *index) without(set mail.UIDSet) []chunkEdit {
	var edits []chunkEdit
	for c := range ix.touched(set) {
		var rest []mail.Message
		for _, m := range c.messages() {
			if !set.Contains(m.UID) {
				rest = append(rest, m)
			}
		}
		switch {
		case len(rest) == 0:
			edits = append(edits, chunkEdit{c.key, nil})
		case len(rest) < c.n:
			edits = append(edits, chunkEdit{c.key, newChunk(c.key, rest)})
		}
	}
	return edits
}

// personalReader is reader with the flags that are personal now: where others
// were, every message counts as changed (RFC 7162 §3.1).
func (b *batch) personalReader(key readerKey, personal Personal) (*readerEdit, error) {
	if _, err := b.edit(key.mailbox); err != nil {
		return nil, err
	}
	e, err := b.reader(key, personal)
	if err != nil {
		return nil, err
	}
	if e.row.Personal != personal {
		e.row.Since = b.nextModSeq()
		e.row.ModSeq, e.row.Personal, e.all = e.row.Since, personal, true
		b.touchReader(e)
	}
	return e, nil
}

// openReader returns a mailbox in memory as one reader sees it, and counts a
// view. base is the mailbox as the owner sees it, held by the caller.
func (a *Account) openReader(ctx context.Context, key readerKey, base *live, personal Personal) (*live, error) {
	if err := a.loadReader(ctx, key, personal); err != nil {
		return nil, err
	}
	for try := 0; ; try++ {
		a.mu.Lock()
		l, r, snap := a.live[key], a.readers[key], base.current.Load()
		if r == nil || base.gone.Load() {
			a.mu.Unlock()
			return nil, errGone()
		}
		if l != nil {
			l.views++
			a.mu.Unlock()
			return l, nil
		}
		before := a.seenBefore(key)
		if try < 3 { // others wait for the lock
			a.mu.Unlock()
		}
		ix := r.view(snap.index, before)
		if try < 3 {
			a.mu.Lock()
		}
		if a.live[key] == nil && a.readers[key] == r && base.current.Load() == snap && !base.gone.Load() {
			l = &live{id: key.mailbox, who: key.who, base: base, views: 1}
			l.current.Store(&Snapshot{mailbox: r.mailbox(a.mailboxLocked(a.mailboxes[key.mailbox])), index: ix, changed: make(chan struct{})})
			a.live[key] = l
			a.mu.Unlock()
			return l, nil
		}
		a.mu.Unlock()
	}
}

// noteLeft notes what a reader saw whose last view is closed. a.mu is held.
func (a *Account) noteLeft(l *live) {
	key := readerKey{l.id, l.who}
	a.before = slices.DeleteFunc(a.before, func(s *seenBefore) bool { return s.key == key })
	if len(a.before) == gracedMax {
		a.before = slices.Delete(a.before, 0, 1)
	}
	a.before = append(a.before, &seenBefore{key, a.readers[key], l.base.current.Load().index, l.current.Load().index})
}

// seenBefore returns what a reader saw when he left, or nil. a.mu is held.
func (a *Account) seenBefore(key readerKey) *seenBefore {
	for _, s := range a.before {
		if s.key == key {
			return s
		}
	}
	return nil
}

// loadReader makes the row of a reader where there is none, and reads his flags.
func (a *Account) loadReader(ctx context.Context, key readerKey, personal Personal) error {
	a.mu.RLock()
	r := a.readers[key]
	a.mu.RUnlock()
	if r != nil && r.index != nil && r.row.Personal == personal {
		return nil
	}
	return a.change(ctx, func(b *batch) error {
		e, err := b.personalReader(key, personal)
		if err != nil {
			return err
		}
		if e.row.ID == 0 {
			b.touchReader(e)
		}
		if r := a.readers[key]; r != nil && r.index == nil && b.readers[key] == nil {
			a.mu.Lock()
			a.readers[key] = &reader{row: r.row, index: e.index}
			a.mu.Unlock()
		}
		return nil
	})
}

// publishReaders makes what a committed batch did to readers, and what they see
// of what it did to mailboxes, the state that everybody sees. It returns what
// is to be closed. a.mu is held.
func (a *Account) publishReaders(b *batch) (stale []chan struct{}) {
	for key, e := range b.readers {
		if e.deleted {
			delete(a.readers, key)
		} else {
			a.readers[key] = &reader{row: e.row, index: e.index}
		}
	}
	for key, l := range a.live {
		e, own := b.mailboxes[key.mailbox], b.readers[key]
		if l.base == nil || e == nil && own == nil {
			continue
		}
		stale = append(stale, l.current.Load().changed)
		if e != nil && (e.deleted || e.reset) || own != nil && own.deleted {
			l.gone.Store(true)
			a.dropLive(l)
			continue
		}
		l.publishReader(a, e, own)
	}
	return stale
}

// publishReader moves a reader's mailbox on by what e and own, of which one may
// be nil, changed. a.mu is held.
func (l *live) publishReader(a *Account, e *mailboxEdit, own *readerEdit) {
	r := a.readers[readerKey{l.id, l.who}]
	base, ix := l.base.current.Load().index, l.current.Load().index
	puts := make(map[mail.UID]*chunk)
	if e != nil {
		for key, c := range e.puts {
			if puts[key] = c; c != nil {
				puts[key] = r.chunk(c)
			}
		}
	}
	if own != nil {
		for c := range base.touched(own.changed) {
			puts[c.key] = r.chunk(c)
		}
	}
	if own != nil && own.all {
		ix = r.view(base, nil)
	} else {
		ix = ix.apply(sortedEdits(puts))
	}
	l.current.Store(&Snapshot{mailbox: r.mailbox(a.mailboxLocked(a.mailboxes[l.id])), index: ix, changed: make(chan struct{})})
}

// addReaders adds the mailboxes of readers that the batch changes to ids.
func (b *batch) addReaders(ids []mail.MailboxID) []mail.MailboxID {
	for key := range b.readers {
		if !slices.Contains(ids, key.mailbox) {
			ids = append(ids, key.mailbox)
		}
	}
	return ids
}
