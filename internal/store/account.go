package store

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"expost/internal/mail"
	"expost/internal/message"
)

// Account is one open account. Its methods may be called at the same time from
// any number of goroutines. Every method that changes something returns after
// the change is on disk; the changes of one account have one order.
type Account struct {
	store *Store
	id    mail.AccountID
	db    DB

	// Of the store, under Store.mu.
	refs    int
	idleAt  *list.Element
	leaving bool          // being closed; wait for left and ask again
	left    chan struct{} // closed when it is closed
	opened  chan struct{} // closed when load has ended with err
	err     error

	// The last committed state, under mu. Only the writer changes it, so the
	// writer reads it without.
	mu         sync.RWMutex
	removed    bool
	row        AccountRow
	mailboxes  map[mail.MailboxID]*MailboxRow
	names      map[string]mail.MailboxID
	subscribed map[string]bool
	readers    map[readerKey]*reader
	before     []*seenBefore               // of readers without views, the last to leave behind
	live       map[readerKey]*live         // without who: as the owner sees it
	graced     []mail.MailboxID            // live without views, the last left behind
	recent     map[mail.MailboxID]mail.UID // claimed by sessions, not written yet
	watchers   map[*Watcher]struct{}
	annotated  annotated

	writer
	texts *texts // the search index
}

// newAccount returns an account with one reference that is not loaded.
func newAccount(s *Store, id mail.AccountID) *Account {
	a := &Account{
		store: s, id: id, refs: 1, left: make(chan struct{}), opened: make(chan struct{}),
		mailboxes: make(map[mail.MailboxID]*MailboxRow), names: make(map[string]mail.MailboxID),
		subscribed: make(map[string]bool), live: make(map[readerKey]*live), readers: make(map[readerKey]*reader),
		recent: make(map[mail.MailboxID]mail.UID), watchers: make(map[*Watcher]struct{}),
	}
	a.idle.L = &a.writer.mu
	a.unswept = true
	return a
}

// load reads the account's rows.
func (a *Account) load(ctx context.Context) error {
	db, err := a.store.engine.Open(ctx, a.id)
	if err != nil {
		return err
	}
	a.db, a.texts = db, newTexts(db)
	err = db.View(ctx, func(tx ReadTx) error {
		row, err := tx.Account()
		if err != nil {
			return err
		}
		boxes, err := tx.Mailboxes()
		if err != nil {
			return err
		}
		names, err := tx.Subscriptions()
		if err != nil {
			return err
		}
		readers, err := tx.Readers()
		if err != nil {
			return err
		}
		a.row = row
		for _, r := range readers {
			a.readers[readerKey{r.Mailbox, r.Reader}] = &reader{row: r}
		}
		for i := range boxes {
			a.mailboxes[boxes[i].ID] = &boxes[i]
			a.names[boxes[i].Name] = boxes[i].ID
		}
		for _, name := range names {
			a.subscribed[name] = true
		}
		return nil
	})
	if err != nil {
		return errors.Join(err, db.Close())
	}
	return nil
}

// isCanceled tells whether err is a matter of the caller's context.
func isCanceled(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// ID returns the account's id.
func (a *Account) ID() mail.AccountID { return a.id }

// Mailboxes returns every mailbox, sorted by name with INBOX first.
func (a *Account) Mailboxes(context.Context) ([]mail.Mailbox, error) {
	return a.listMailboxes(a.mailboxLocked)
}

// listMailboxes returns every mailbox as show makes it of its row, sorted.
// show is called with Account.mu held.
func (a *Account) listMailboxes(show func(*MailboxRow) mail.Mailbox) ([]mail.Mailbox, error) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if err := a.check(); err != nil {
		return nil, err
	}
	boxes := make([]mail.Mailbox, 0, len(a.mailboxes))
	for _, row := range a.mailboxes {
		boxes = append(boxes, show(row))
	}
	slices.SortFunc(boxes, func(x, y mail.Mailbox) int { return compareNames(x.Name, y.Name) })
	return boxes, nil
}

// Mailbox returns one mailbox by name; mail.KindNotExist.
func (a *Account) Mailbox(ctx context.Context, name string) (mail.Mailbox, error) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if err := a.check(); err != nil {
		return mail.Mailbox{}, err
	}
	row := a.mailboxes[a.names[canonicalName(name)]]
	if row == nil {
		return mail.Mailbox{}, errNoMailbox(name)
	}
	return a.mailboxLocked(row), nil
}

// MailboxByID returns one mailbox by its id; mail.KindNotExist.
func (a *Account) MailboxByID(ctx context.Context, id mail.MailboxID) (mail.Mailbox, error) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if err := a.check(); err != nil {
		return mail.Mailbox{}, err
	}
	row := a.mailboxes[id]
	if row == nil {
		return mail.Mailbox{}, mail.Errorf(mail.KindNotExist, "the mailbox is gone")
	}
	return a.mailboxLocked(row), nil
}

// Subscribed tells whether a name is subscribed, whether or not a mailbox has it.
func (a *Account) Subscribed(name string) bool {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.subscribed[canonicalName(name)]
}

// mailboxLocked returns a row as the mailbox that callers see. a.mu is held.
func (a *Account) mailboxLocked(row *MailboxRow) mail.Mailbox {
	box := row.Mailbox
	box.Subscribed = a.subscribed[box.Name]
	return box
}

// check returns an error where the account was removed. a.mu is held.
func (a *Account) check() error {
	if a.removed {
		return errNoAccount(a.id)
	}
	return nil
}

// errNoMailbox is the error of a mailbox that is not there.
func errNoMailbox(name string) error {
	return mail.Errorf(mail.KindNotExist, "there is no mailbox %q", name)
}

// Subscriptions returns the subscribed names, those of missing mailboxes
// included, in order.
func (a *Account) Subscriptions(ctx context.Context) ([]string, error) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if err := a.check(); err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(a.subscribed)), nil
}

// Usage returns what the account holds: the sum over all mailboxes, so that a
// copy counts as much as the original.
func (a *Account) Usage(ctx context.Context) (mail.Usage, error) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.row.Usage, a.check()
}

// Quota returns what the account may hold.
func (a *Account) Quota(ctx context.Context) (mail.Quota, error) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.row.Quota, a.check()
}

// detailsBatch is how many structures Details reads at once.
const detailsBatch = 512

// Details calls fn with the parsed structure of each email, in the order of
// ids, reading in few, large reads. A missing one is passed as nil.
func (a *Account) Details(ctx context.Context, ids []mail.EmailID, fn func(i int, m *message.Message) error) error {
	packed := make([]string, min(len(ids), detailsBatch))
	for start := 0; start < len(ids); start += detailsBatch {
		part := ids[start:min(start+detailsBatch, len(ids))]
		clear(packed)
		err := a.db.View(ctx, func(tx ReadTx) error {
			return tx.Details(part, func(i int, data []byte) error {
				packed[i] = string(data)
				return nil
			})
		})
		if err != nil {
			return err
		}
		for i := range part {
			var m *message.Message
			if packed[i] != "" {
				if m, err = message.DecodeString(packed[i]); err != nil {
					return fmt.Errorf("reading the structure of email %s: %w", part[i], err)
				}
			}
			if err := fn(start+i, m); err != nil {
				return err
			}
		}
	}
	return nil
}

// Body opens a message's bytes; mail.KindNotExist. Close what it returns.
func (a *Account) Body(ctx context.Context, id mail.EmailID) (*Body, error) {
	var row EmailRow
	var inline []byte
	err := a.db.View(ctx, func(tx ReadTx) (err error) {
		if row, err = tx.Email(id); err == nil && row.Inline {
			inline, err = tx.Body(id)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return a.openBody(row, inline)
}

// How much Bodies reads at once.
const (
	bodiesBatch = 64
	bodiesBytes = 512 << 10
)

// errEnough ends a read when as much has come as is read at once.
var errEnough = errors.New("enough")

// contents is what Bodies reads at once.
type contents struct {
	emails []content
	buf    []byte
}

// content is an email of contents.
type content struct {
	row      EmailRow // zero: there is none
	from, to int      // of the inline bytes in contents.buf
}

// load reads emails until they are many bytes. It returns how many of the first
// it has.
func (c *contents) load(ctx context.Context, db DB, ids []mail.EmailID) (n int, err error) {
	c.emails, c.buf = slices.Grow(c.emails[:0], len(ids))[:len(ids)], c.buf[:0]
	clear(c.emails)
	whole := false
	err = db.View(ctx, func(tx ReadTx) error {
		err := tx.Contents(ids, func(i int, row EmailRow, body []byte) error {
			from := len(c.buf)
			c.buf = append(c.buf, body...)
			c.emails[i] = content{row, from, len(c.buf)}
			if len(c.buf) >= bodiesBytes {
				return errEnough
			}
			return nil
		})
		if whole = err == nil; errors.Is(err, errEnough) {
			return nil
		}
		return err
	})
	if err != nil || whole {
		return len(ids), err
	}
	for n < len(ids) && c.emails[n].row.ID != 0 {
		n++
	}
	if n == 0 { // it is missing, or the ids do not ascend and others were many bytes
		return c.load(ctx, db, ids[:1])
	}
	return n, nil
}

// Bodies calls fn with the bytes of each email, in the order of ids, reading
// many small ones at once. A missing one is passed as nil. fn may be slow; the
// Body is closed when it returns.
func (a *Account) Bodies(ctx context.Context, ids []mail.EmailID, fn func(i int, b *Body) error) error {
	if len(ids) == 0 {
		return nil
	}
	c, _ := a.store.contents.Get().(*contents)
	if c == nil {
		c = &contents{}
	}
	defer func() {
		if cap(c.buf) <= 2*bodiesBytes {
			a.store.contents.Put(c)
		}
	}()
	for start := 0; start < len(ids); {
		n, err := c.load(ctx, a.db, ids[start:min(start+bodiesBatch, len(ids))])
		if err != nil {
			return err
		}
		for i, e := range c.emails[:n] {
			if err := a.withBody(e.row, c.buf[e.from:e.to], func(b *Body) error { return fn(start+i, b) }); err != nil {
				return err
			}
		}
		start += n
	}
	return nil
}

// withBody calls fn with the bytes of a row that was read; nil where it is zero.
func (a *Account) withBody(row EmailRow, inline []byte, fn func(b *Body) error) error {
	if row.ID == 0 {
		return fn(nil)
	}
	b, err := a.openBody(row, inline)
	if mail.KindOf(err) == mail.KindNotExist && err != nil { // expunged since
		return fn(nil)
	}
	if err != nil {
		return err
	}
	return errors.Join(fn(b), b.Close())
}

// openBody returns the bytes of a row, and of what is inline of it.
func (a *Account) openBody(row EmailRow, inline []byte) (*Body, error) {
	if row.Inline {
		return newInlineBody(a.store.codec, inline, row.Size)
	}
	file, err := a.db.OpenBlob(row.Sum)
	if err != nil {
		return nil, err
	}
	return newFileBody(a.store.codec, file, row.Packed, row.Size)
}

// Vanished returns the UIDs that were expunged after since (RFC 7162 §3.2.6),
// or every unused UID below UIDNEXT where the history does not reach back.
func (a *Account) Vanished(ctx context.Context, id mail.MailboxID, since mail.ModSeq) (mail.UIDSet, error) {
	var gone mail.UIDSet
	err := a.db.View(ctx, func(tx ReadTx) error {
		row, err := tx.Account()
		if err != nil {
			return err
		}
		box, err := tx.Mailbox(id)
		if err != nil {
			return err
		}
		if since < row.HistoryFrom {
			chunks, err := readChunks(tx, id)
			gone = unusedUIDs(newIndex(chunks), box.UIDNext)
			return err
		}
		return tx.History(id, since, func(h HistoryRow) error {
			set, err := readUIDSet(h.UIDs)
			for _, r := range set {
				gone.AddRange(r.First, r.Last)
			}
			return err
		})
	})
	return gone, err
}

// unusedUIDs returns the UIDs below next that have no message.
func unusedUIDs(ix *index, next mail.UID) mail.UIDSet {
	var set mail.UIDSet
	free := mail.UID(1)
	for _, r := range ix.uids() {
		if r.First > free {
			set.AddRange(free, r.First-1)
		}
		free = r.Last + 1
	}
	if next > free {
		set.AddRange(free, next-1)
	}
	return set
}
