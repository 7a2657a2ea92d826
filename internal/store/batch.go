package store

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"expost/internal/blob"
	"expost/internal/mail"
)

// batch collects what a group of operations changes. Each operation sees what
// those before it did. Nothing is written before flush, so that a mailbox to
// which a group delivers ten messages has its last chunk written once.
type batch struct {
	a     *Account
	tx    Tx
	now   time.Time
	dirty bool // the present operation has changed something

	account         AccountRow
	mailboxes       map[mail.MailboxID]*mailboxEdit
	readers         map[readerKey]*readerEdit
	annotations     []Annotation
	forgotten       []mail.AccountID          // whose private annotations go
	copyAnnotations [][2]mail.MailboxID       // from, to
	names           map[string]mail.MailboxID // nil: as Account.names
	subscribed      map[string]bool
	emails          []NewEmail
	refs            map[mail.EmailID]int
	threads         map[uint64]mail.ThreadID
	newThreads      []uint64
	history         []HistoryRow
	unused          bool       // some email may have lost its last reference
	unlinked        []blob.Sum // files to remove once this is committed
}

func newBatch(a *Account, tx Tx) *batch {
	return &batch{
		a: a, tx: tx, now: a.store.opt.Now(), account: a.row,
		mailboxes: make(map[mail.MailboxID]*mailboxEdit), readers: make(map[readerKey]*readerEdit), subscribed: make(map[string]bool),
		refs: make(map[mail.EmailID]int), threads: make(map[uint64]mail.ThreadID),
	}
}

// mailboxEdit is a mailbox in a batch. A mailbox that nobody has in memory has
// only its last chunk read, for as long as that is enough.
type mailboxEdit struct {
	b        *batch
	row      MailboxRow
	deleted  bool
	reset    bool   // UIDs start anew: sessions must leave
	index    *index // nil: not in memory
	tail     *chunk // the last chunk, where index is nil and tailRead
	tailRead bool
	puts     map[mail.UID]*chunk // by key, nil: remove
}

// changed tells whether the batch changes anything.
func (b *batch) changed() bool {
	return b.account != b.a.row || len(b.mailboxes) > 0 || len(b.readers) > 0 || len(b.subscribed) > 0 || len(b.annotations) > 0
}

// nextModSeq returns the modseq of the present operation's change.
func (b *batch) nextModSeq() mail.ModSeq {
	b.dirty = true
	b.account.ModSeq++
	return b.account.ModSeq
}

// nextUIDValidity returns a value that no mailbox of the account had before:
// the time, so that it also differs from what a lost account gave out.
func (b *batch) nextUIDValidity() mail.UIDValidity {
	b.account.UIDValidity = max(b.account.UIDValidity+1, mail.UIDValidity(b.now.Unix()))
	return b.account.UIDValidity
}

// edit returns a mailbox to look at or change; mail.KindNotExist.
func (b *batch) edit(id mail.MailboxID) (*mailboxEdit, error) {
	if e := b.mailboxes[id]; e != nil && !e.deleted {
		return e, nil
	}
	row := b.a.mailboxes[id]
	if row == nil || b.mailboxes[id] != nil {
		return nil, mail.Errorf(mail.KindNotExist, "the mailbox is gone")
	}
	return &mailboxEdit{b: b, row: *row, puts: make(map[mail.UID]*chunk), index: b.a.liveIndex(id)}, nil
}

// liveIndex returns the index of a mailbox that is in memory, or nil.
func (a *Account) liveIndex(id mail.MailboxID) *index {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if l := a.live[readerKey{mailbox: id}]; l != nil {
		if s := l.current.Load(); s != nil {
			return s.index
		}
	}
	return nil
}

// touch takes a mailbox into the batch: it will be written and announced.
func (b *batch) touch(e *mailboxEdit) {
	b.dirty = true
	b.mailboxes[e.row.ID] = e
}

// byName returns the id of a mailbox, or 0.
func (b *batch) byName(name string) mail.MailboxID {
	return b.nameMap()[name]
}

// nameMap returns the names to look at.
func (b *batch) nameMap() map[string]mail.MailboxID {
	if b.names != nil {
		return b.names
	}
	return b.a.names
}

// allNames returns the names to change.
func (b *batch) allNames() map[string]mail.MailboxID {
	if b.names == nil {
		b.names = maps.Clone(b.a.names)
	}
	return b.names
}

// isSubscribed tells whether a name is subscribed.
func (b *batch) isSubscribed(name string) bool {
	if on, ok := b.subscribed[name]; ok {
		return on
	}
	return b.a.subscribed[name]
}

// subscribe sets or clears a subscription and announces the mailbox of the name.
func (b *batch) subscribe(name string, on bool) error {
	if b.isSubscribed(name) == on {
		return nil
	}
	if limit := b.a.store.opt.MaxMailboxes; on && len(b.a.subscribed) >= limit {
		return mail.Errorf(mail.KindTooBig, "an account can have %d subscriptions", limit)
	}
	b.dirty = true
	b.subscribed[name] = on
	if id := b.byName(name); id != 0 {
		e, err := b.edit(id)
		if err != nil {
			return err
		}
		b.touch(e)
	}
	return nil
}

// checkQuota returns an error where the account may not hold more by u.
func (b *batch) checkQuota(u mail.Usage) error {
	q, have := b.account.Quota, b.account.Usage
	if q.Bytes > 0 && have.Bytes+u.Bytes > q.Bytes {
		return mail.Errorf(mail.KindQuota, "the mailbox is full: %d of %d bytes are used", have.Bytes, q.Bytes)
	}
	if q.Messages > 0 && have.Messages+u.Messages > q.Messages {
		return mail.Errorf(mail.KindQuota, "the mailbox is full: %d of %d messages are used", have.Messages, q.Messages)
	}
	return nil
}

// load reads the mailbox's whole index where it is not in memory.
func (e *mailboxEdit) load() error {
	if e.index != nil {
		return nil
	}
	chunks, err := readChunks(e.b.tx, e.row.ID)
	if err != nil {
		return err
	}
	e.index = newIndex(chunks).apply(sortedEdits(e.puts))
	return nil
}

// readChunks reads and checks every chunk of a mailbox.
func readChunks(tx ReadTx, id mail.MailboxID) ([]*chunk, error) {
	var chunks []*chunk
	scratch := make([]mail.Message, 0, chunkCap)
	err := tx.Chunks(id, func(key mail.UID, data []byte) (err error) {
		var c *chunk
		c, scratch, err = readChunk(key, data, scratch)
		chunks = append(chunks, c)
		return err
	})
	return chunks, err
}

// last returns the mailbox's last chunk, or nil.
func (e *mailboxEdit) last() (*chunk, error) {
	if e.index != nil {
		return e.index.last(), nil
	}
	if !e.tailRead {
		key, data, err := e.b.tx.LastChunk(e.row.ID)
		if err != nil {
			return nil, err
		}
		if data != nil {
			if e.tail, _, err = readChunk(key, data, nil); err != nil {
				return nil, err
			}
		}
		e.tailRead = true
	}
	return e.tail, nil
}

// put changes the index. The edits ascend by key.
func (e *mailboxEdit) put(edits []chunkEdit) {
	for _, c := range edits {
		e.puts[c.key] = c.chunk
	}
	if e.index != nil {
		e.index = e.index.apply(edits)
	} else if n := len(edits); n > 0 {
		e.tail = edits[n-1].chunk
	}
}

// sortedEdits returns puts in order of key.
func sortedEdits(puts map[mail.UID]*chunk) []chunkEdit {
	edits := make([]chunkEdit, 0, len(puts))
	for key, c := range puts {
		edits = append(edits, chunkEdit{key, c})
	}
	slices.SortFunc(edits, func(a, b chunkEdit) int { return cmp.Compare(a.key, b.key) })
	return edits
}

// append puts messages, whose UIDs ascend from UIDNext on, behind the others.
// last must have been called before anything was changed.
func (e *mailboxEdit) append(messages []mail.Message) {
	b := e.b
	b.touch(e)
	for i := range messages {
		b.count(e, &messages[i], 1)
	}
	e.row.UIDNext = messages[len(messages)-1].UID + 1
	var edits []chunkEdit
	if tail, _ := e.last(); tail != nil && tail.n < chunkCap {
		n := min(chunkCap-tail.n, len(messages))
		c := newChunk(tail.key, slices.Concat(tail.messages(), messages[:n]))
		edits = append(edits, chunkEdit{c.key, c})
		messages = messages[n:]
	}
	for part := range slices.Chunk(messages, chunkCap) {
		c := newChunk(part[0].UID, part)
		edits = append(edits, chunkEdit{c.key, c})
	}
	e.put(edits)
}

// count adds a message to the counts n times, or with -1 takes it away.
func (b *batch) count(e *mailboxEdit, m *mail.Message, n int) {
	e.row.Messages += n
	e.row.Size += int64(n) * m.Size
	e.countFlags(m.Flags, n)
	e.row.HighestModSeq = b.account.ModSeq
	b.account.Usage.Messages += int64(n)
	b.account.Usage.Bytes += int64(n) * m.Size
}

// countFlags adds a message's flags to the counts.
func (e *mailboxEdit) countFlags(f mail.Flags, n int) {
	if f&mail.Seen == 0 {
		e.row.Unseen += n
	}
	if f&mail.Deleted != 0 {
		e.row.Deleted += n
	}
}

// maxMailboxKeywords bounds the keywords that a mailbox announces; messages
// may have others.
const maxMailboxKeywords = 1000

// addKeywords makes the words of k known to the mailbox, and tells whether any
// was new.
func (e *mailboxEdit) addKeywords(k mail.Keywords) (added bool) {
	for _, w := range k.Words() {
		i, found := slices.BinarySearch(e.row.Keywords, w)
		if !found && len(e.row.Keywords) < maxMailboxKeywords {
			e.row.Keywords = slices.Insert(slices.Clone(e.row.Keywords), i, w)
			added = true
		}
	}
	return added
}

// flush writes the batch.
func (b *batch) flush() error {
	if err := b.flushEmails(); err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(b.mailboxes)) {
		if err := b.flushMailbox(id, b.mailboxes[id]); err != nil {
			return err
		}
	}
	if err := b.flushReaders(); err != nil {
		return err
	}
	if err := b.flushAnnotations(); err != nil {
		return err
	}
	for name, on := range b.subscribed {
		if err := b.tx.PutSubscription(name, on); err != nil {
			return err
		}
	}
	if err := b.flushHistory(); err != nil {
		return err
	}
	if b.account == b.a.row {
		return nil
	}
	return b.tx.PutAccount(b.account)
}

// flushEmails writes new emails, references and threads.
func (b *batch) flushEmails() error {
	for _, email := range b.emails {
		if err := b.tx.PutEmail(email); err != nil {
			return err
		}
	}
	byDelta := make(map[int][]mail.EmailID)
	for id, n := range b.refs {
		if n != 0 {
			byDelta[n] = append(byDelta[n], id)
		}
	}
	for n, ids := range byDelta {
		slices.Sort(ids)
		if err := b.tx.AddRefs(ids, n); err != nil {
			return err
		}
		b.unused = b.unused || n < 0
	}
	for _, hash := range b.newThreads {
		if err := b.tx.PutThread(hash, b.threads[hash]); err != nil {
			return err
		}
	}
	return nil
}

// flushMailbox writes one mailbox.
func (b *batch) flushMailbox(id mail.MailboxID, e *mailboxEdit) error {
	if e.deleted {
		return b.tx.DeleteMailbox(id)
	}
	e.row.Recent = max(e.row.Recent, b.a.claimed(id))
	if err := b.tx.PutMailbox(e.row); err != nil {
		return err
	}
	for _, put := range sortedEdits(e.puts) {
		var data []byte
		if put.chunk != nil {
			data = put.chunk.data
		}
		if err := b.tx.PutChunk(id, put.key, data); err != nil {
			return err
		}
	}
	return nil
}

// claimed returns the first UID of a mailbox that no session has claimed.
func (a *Account) claimed(id mail.MailboxID) mail.UID {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.recent[id]
}

// flushHistory writes the expunge history and drops what is too old.
func (b *batch) flushHistory() error {
	for _, row := range b.history {
		if err := b.tx.PutHistory(row); err != nil {
			return err
		}
	}
	b.account.HistoryRows += len(b.history)
	limit := b.a.store.opt.HistoryRows
	if b.account.HistoryRows <= limit+limit/16 {
		return nil
	}
	from, err := b.tx.TrimHistory(b.account.HistoryRows - limit)
	if err != nil {
		return err
	}
	b.account.HistoryRows = limit
	b.account.HistoryFrom = from
	return nil
}
