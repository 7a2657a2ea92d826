package store

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"expost/internal/fulltext"
	"expost/internal/mail"
	"expost/internal/message"
)

// The search index of an account holds the texts of its emails in blocks, in
// order of email id; a block's key is the first id in it. One goroutine at a
// time adds to it, behind the highest id that is there, and takes out what was
// expunged. Each step is one transaction, so that a kill leaves an index that is
// behind, never one that is wrong; that it may hold expunged emails is noted in
// it before the first change, and put right when it is next written to.

const (
	textMax     = 1 << 20   // text of a message that is indexed, bytes; longer ones are read
	textBatch   = 64        // emails that are indexed in one transaction, and
	textPending = 512 << 10 // their text, bytes, behind which the transaction ends
	textBlocks  = 64        // blocks that are searched in one view
)

// texts is the part of an Account that keeps the search index.
type texts struct {
	db  TextDB        // nil: the engine has none
	run chan struct{} // holds a token while nobody works on the index
	ctx context.Context
	end context.CancelFunc

	prepared bool // of who holds the token: the index was compared with the account
	stopped  sync.Once

	note  sync.Mutex
	dirty bool // under note: the index says that it may hold expunged emails

	mu      sync.Mutex
	timer   *time.Timer    // runs off when the index is to be brought up to date
	waiting time.Time      // since when it is behind
	asked   bool           // textsSelected has had it looked at
	removed []mail.EmailID // expunged, perhaps in the index
}

// textPatience is how many delays the index is left behind at most while the
// account keeps changing.
const textPatience = 30

// newTexts returns the index of a database.
func newTexts(db DB) *texts {
	x := &texts{run: make(chan struct{}, 1)}
	x.db, _ = db.(TextDB)
	x.run <- struct{}{}
	x.ctx, x.end = context.WithCancel(context.Background())
	return x
}

// textsBehind has the index brought up to date when the account has been quiet
// for a while.
func (a *Account) textsBehind(removed []mail.EmailID) {
	x, delay := a.texts, a.store.opt.IndexDelay
	if x.db == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.removed = append(x.removed, removed...)
	switch {
	case x.ctx.Err() != nil || delay < 0:
	case x.timer == nil:
		x.waiting = time.Now()
		x.timer = time.AfterFunc(delay, a.indexLater)
	case time.Since(x.waiting) < textPatience*delay && x.timer.Stop():
		x.timer.Reset(delay)
	}
}

// textsLarge is from how many messages on a mailbox is worth an index before
// somebody searches it.
const textsLarge = 1000

// textsSelected has the index brought up to date once, when somebody selects a
// large mailbox: it may be behind since the account was open before.
func (a *Account) textsSelected(messages int) {
	x := a.texts
	if messages < textsLarge {
		return
	}
	x.mu.Lock()
	asked := x.asked
	x.asked = true
	x.mu.Unlock()
	if !asked {
		a.textsBehind(nil)
	}
}

// textsWanted has the index brought up to date at once: somebody searches.
func (a *Account) textsWanted() {
	x := a.texts
	if x.db == nil || a.store.opt.IndexDelay < 0 {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.ctx.Err() != nil:
	case x.timer == nil:
		x.waiting = time.Now()
		x.timer = time.AfterFunc(0, a.indexLater)
	case x.timer.Stop():
		x.timer.Reset(0)
	}
}

// indexLater brings the index up to date when no other account does so.
func (a *Account) indexLater() {
	x := a.texts
	select {
	case a.store.indexing <- struct{}{}:
		defer func() { <-a.store.indexing }()
	case <-x.ctx.Done():
		return
	}
	x.mu.Lock()
	x.timer = nil // a change from now on starts another
	x.mu.Unlock()
	if err := a.IndexTexts(x.ctx); err != nil && x.ctx.Err() == nil {
		a.store.opt.Log.Error("indexing messages", "account", a.id, "err", err)
	}
}

// IndexTexts brings the search index up to date. It is done by itself when an
// account has been quiet for Options.IndexDelay.
func (a *Account) IndexTexts(ctx context.Context) error {
	x := a.texts
	if x.db == nil {
		return nil
	}
	return x.alone(ctx, func() error {
		err := a.indexAll(ctx)
		if mail.KindOf(err) == mail.KindCorrupt {
			a.store.opt.Log.Warn("making the search index anew", "account", a.id, "err", err)
			if err = x.drop(); err == nil {
				err = a.indexAll(ctx)
			}
		}
		return err
	})
}

// drop makes the index empty. The caller holds the token.
func (x *texts) drop() error {
	x.note.Lock()
	defer x.note.Unlock()
	x.prepared, x.dirty = false, false
	return x.db.DropTexts()
}

// alone calls fn while nobody else works on the index.
func (x *texts) alone(ctx context.Context, fn func() error) error {
	select {
	case <-x.run:
		defer func() { x.run <- struct{}{} }()
	case <-ctx.Done():
		return ctx.Err()
	case <-x.ctx.Done():
		return errClosed
	}
	if x.ctx.Err() != nil {
		return errClosed
	}
	return fn()
}

// stopTexts ends the work on the index. save says whether the account lives on,
// so that what was expunged is taken out first.
func (a *Account) stopTexts(save bool) {
	a.texts.stopped.Do(func() { a.closeTexts(save) })
}

// closeTexts does what stopTexts says.
func (a *Account) closeTexts(save bool) {
	x := a.texts
	x.end()
	x.mu.Lock()
	if x.timer != nil {
		x.timer.Stop()
	}
	x.mu.Unlock()
	<-x.run // for good
	if x.db == nil || !save || !x.dirty {
		return
	}
	ctx := context.Background()
	err := a.tidyTexts(ctx)
	if err == nil {
		err = x.db.UpdateTexts(ctx, func(tx TextTx) error { return tx.SetTextsDirty(false) })
	}
	if err != nil { // it stays noted
		a.store.opt.Log.Warn("closing a search index", "account", a.id, "err", err)
	}
}

// indexAll indexes everything that is behind the index.
func (a *Account) indexAll(ctx context.Context) error {
	b := textBuilder{builder: fulltext.NewBuilder(textMax), limits: a.store.opt.Limits, buf: make([]byte, spoolBuffer)}
	for {
		if err := a.tidyTexts(ctx); err != nil {
			return err
		}
		start := time.Now()
		if more, err := a.indexBatch(ctx, &b); err != nil || !more {
			return err
		}
		if !a.writing() {
			continue
		}
		select { // let the account's own changes go first
		case <-time.After(min(3*time.Since(start), time.Second)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// writing tells whether changes of the account are under way.
func (a *Account) writing() bool {
	a.writer.mu.Lock()
	defer a.writer.mu.Unlock()
	return a.writer.running
}

// tidyTexts compares the index with the account where that was not done since
// the account was opened, and takes out what was expunged.
func (a *Account) tidyTexts(ctx context.Context) error {
	x := a.texts
	if !x.prepared {
		if err := a.prepareTexts(ctx); err != nil {
			return err
		}
		x.prepared = true
	}
	x.mu.Lock()
	removed := x.removed
	x.removed = nil
	x.mu.Unlock()
	if len(removed) == 0 {
		return nil
	}
	slices.Sort(removed)
	gone := func(id mail.EmailID) bool {
		_, found := slices.BinarySearch(removed, id)
		return found
	}
	err := a.filterTexts(ctx, removed[len(removed)-1], gone)
	if err != nil {
		x.mu.Lock()
		x.removed = append(x.removed, removed...)
		x.mu.Unlock()
	}
	return err
}

// prepareTexts makes sure that the index belongs to the account: not to a later
// state of one that was restored, and without what was expunged before a crash.
func (a *Account) prepareTexts(ctx context.Context) error {
	var dirty bool
	var last mail.EmailID
	err := a.texts.db.ViewTexts(ctx, func(tx TextReadTx) (err error) {
		if dirty, err = tx.TextsDirty(); err != nil {
			return err
		}
		last, _, err = lastText(tx)
		return err
	})
	if err != nil {
		return err
	}
	if err := a.knowsEmail(last); err != nil || !dirty {
		return err
	}
	there := newEmailSet(last)
	err = a.db.View(ctx, func(tx ReadTx) error {
		return tx.Emails(func(row EmailRow) error {
			there.add(row.ID)
			return nil
		})
	})
	if err != nil {
		return err
	}
	return a.filterTexts(ctx, last, func(id mail.EmailID) bool { return !there.has(id) })
}

// knowsEmail returns an error where the account has not given out an id yet
// that is in the index: one of the two was restored without the other.
func (a *Account) knowsEmail(last mail.EmailID) error {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if last >= a.row.NextEmail {
		return mail.Errorf(mail.KindCorrupt, "the search index is newer than the account")
	}
	return nil
}

// lastText returns the highest email id of the index, and its last block's head.
func lastText(tx TextReadTx) (mail.EmailID, *fulltext.Head, error) {
	_, data, err := tx.LastText()
	h := &fulltext.Head{}
	if err != nil || data == nil {
		return 0, h, err
	}
	if err := h.ReadHead(data); err != nil {
		return 0, h, err
	}
	if len(h.IDs) == 0 {
		return 0, h, mail.Errorf(mail.KindCorrupt, "a block of the search index is empty")
	}
	return h.IDs[len(h.IDs)-1], h, nil
}

// filterTexts takes emails up to last out of the index, a few blocks at a time.
func (a *Account) filterTexts(ctx context.Context, last mail.EmailID, gone func(mail.EmailID) bool) error {
	for from := mail.EmailID(0); from <= last; {
		var keys []mail.EmailID
		next := last + 1
		err := a.texts.db.ViewTexts(ctx, func(tx TextReadTx) error {
			var h fulltext.Head
			return tx.TextHeads(from, func(key mail.EmailID, head []byte) (bool, error) {
				if next = key; key > last || len(keys) == textBlocks {
					return false, nil
				}
				next = last + 1
				err := h.ReadHead(head)
				if err == nil && slices.ContainsFunc(h.IDs, gone) {
					keys = append(keys, key)
				}
				return true, err
			})
		})
		if err != nil {
			return err
		}
		if len(keys) > 0 {
			err = a.updateTexts(ctx, func(tx TextTx) error {
				for _, key := range keys {
					if err := filterText(tx, key, gone); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err != nil {
			return err
		}
		from = next
	}
	return nil
}

// updateTexts changes the index, and notes first that it is being changed.
func (a *Account) updateTexts(ctx context.Context, fn func(TextTx) error) error {
	if err := a.texts.setDirty(ctx); err != nil {
		return err
	}
	return a.texts.db.UpdateTexts(ctx, fn)
}

// setDirty notes in the index, where it does not say so, that it may hold
// expunged emails.
func (x *texts) setDirty(ctx context.Context) error {
	x.note.Lock()
	defer x.note.Unlock()
	if x.dirty || x.db == nil {
		return nil
	}
	err := x.db.UpdateTexts(ctx, func(tx TextTx) error { return tx.SetTextsDirty(true) })
	x.dirty = err == nil
	return err
}

// filterText takes emails out of one block.
func filterText(tx TextTx, key mail.EmailID, gone func(mail.EmailID) bool) error {
	var entries []fulltext.Entry
	err := tx.TextHeads(key, func(_ mail.EmailID, head []byte) (bool, error) {
		var h fulltext.Head
		err := h.ReadHead(head)
		if err == nil {
			entries, err = entriesOf(tx, key, &h)
		}
		return false, err
	})
	if err != nil {
		return err
	}
	entries = slices.DeleteFunc(entries, func(e fulltext.Entry) bool { return gone(e.ID) })
	if err := tx.PutText(key, nil, nil); err != nil {
		return err
	}
	return putText(tx, entries)
}

// entriesOf reads the emails of a block.
func entriesOf(tx TextReadTx, key mail.EmailID, h *fulltext.Head) ([]fulltext.Entry, error) {
	data, err := tx.TextData(key)
	if err != nil {
		return nil, err
	}
	all, err := h.Unpack(data, nil)
	if err != nil {
		return nil, err
	}
	entries := make([]fulltext.Entry, len(h.IDs))
	for i, id := range h.IDs {
		entries[i] = fulltext.Entry{ID: id, Text: h.Text(all, i)}
	}
	return entries, nil
}

// putText writes a block.
func putText(tx TextTx, entries []fulltext.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	head, data := fulltext.Pack(entries)
	return tx.PutText(entries[0].ID, head, data)
}

// indexBatch indexes the next emails behind the index; more tells whether there
// may be others.
func (a *Account) indexBatch(ctx context.Context, b *textBuilder) (more bool, err error) {
	var last mail.EmailID
	var tail []fulltext.Entry // of the last block, where that has room
	err = a.texts.db.ViewTexts(ctx, func(tx TextReadTx) error {
		var h *fulltext.Head
		if last, h, err = lastText(tx); err == nil && len(h.IDs) > 0 && h.Size() < fulltext.BlockSize {
			tail, err = entriesOf(tx, h.IDs[0], h)
		}
		return err
	})
	if err != nil {
		return false, err
	}
	var ids []mail.EmailID
	err = a.db.View(ctx, func(tx ReadTx) (err error) {
		ids, err = tx.EmailsAfter(last, textBatch)
		return err
	})
	if err != nil || len(ids) == 0 {
		return false, err
	}
	entries, err := a.readTexts(ctx, b, ids)
	if err != nil || len(entries) == 0 {
		return err == nil, err // all were expunged just now
	}
	return true, a.updateTexts(ctx, func(tx TextTx) error {
		block, size := tail, 0
		for _, e := range tail {
			size += len(e.Text)
		}
		for _, e := range entries {
			if size >= fulltext.BlockSize {
				if err := putText(tx, block); err != nil {
					return err
				}
				block, size = nil, 0
			}
			block, size = append(block, e), size+len(e.Text)
		}
		return putText(tx, block)
	})
}

// textBuilder is what is reused from message to message.
type textBuilder struct {
	builder *fulltext.Builder
	limits  message.Limits
	buf     []byte
}

// readTexts reads the texts of emails. Those that are gone are left out. What
// cannot be read gets no text, so that a search reads it and says so.
func (a *Account) readTexts(ctx context.Context, b *textBuilder, ids []mail.EmailID) (entries []fulltext.Entry, err error) {
	size := 0
	for len(ids) > 0 {
		n := 0
		err := a.Bodies(ctx, ids, func(i int, body *Body) error {
			n = i
			if body == nil {
				if a.exists(ctx, ids[i]) {
					entries = append(entries, fulltext.Entry{ID: ids[i]})
				}
				return nil
			}
			text, err := b.read(body)
			if err != nil {
				return err
			}
			entries = append(entries, fulltext.Entry{ID: ids[i], Text: text})
			if size += len(text); size > textPending {
				return errEnough
			}
			return nil
		})
		switch {
		case err == nil || errors.Is(err, errEnough):
			return entries, nil
		case ctx.Err() != nil || mail.KindOf(err) == mail.KindUnavailable:
			return nil, err
		}
		if len(entries) > 0 && entries[len(entries)-1].ID == ids[n] { // it was read, and the next one cannot be opened
			n++
		}
		entries = append(entries, fulltext.Entry{ID: ids[n]})
		ids = ids[n+1:]
	}
	return entries, nil
}

// read reads the text of one email; nil where it is too long.
func (b *textBuilder) read(body *Body) (fulltext.Text, error) {
	b.builder.Reset()
	p := message.NewParser(b.limits, b.builder)
	p.SkipPreview()
	for off := int64(0); off < body.Size(); {
		n, err := body.ReadAt(b.buf[:min(int64(len(b.buf)), body.Size()-off)], off)
		if n == 0 {
			return nil, err
		}
		if _, err := p.Write(b.buf[:n]); err != nil {
			return nil, err
		}
		off += int64(n)
	}
	p.Finish()
	text, ok := b.builder.Text()
	if !ok {
		return nil, nil
	}
	return slices.Clone(text), nil
}

// texts reads the whole search index, which must hold no email that is gone.
// That it is behind is nothing wrong.
func (in *inspection) texts(ctx context.Context, a *Account) error {
	x := a.texts
	if x.db == nil {
		return nil
	}
	err := x.alone(ctx, func() error {
		if err := a.tidyTexts(ctx); err != nil {
			return err
		}
		last, gone := mail.EmailID(0), []mail.EmailID(nil)
		err := x.db.ViewTexts(ctx, func(tx TextReadTx) error {
			if err := tx.VerifyTexts(func(problem string) error {
				return mail.Errorf(mail.KindCorrupt, "%s", problem)
			}); err != nil {
				return err
			}
			return tx.TextHeads(0, func(key mail.EmailID, head []byte) (bool, error) {
				var h fulltext.Head
				err := h.ReadHead(head)
				if err == nil {
					_, err = entriesOf(tx, key, &h)
				}
				for _, id := range h.IDs {
					if id <= last || h.IDs[0] != key {
						return false, mail.Errorf(mail.KindCorrupt, "its blocks are out of order")
					}
					if last = id; a.isGone(ctx, id, in.sizes) {
						gone = append(gone, id)
					}
				}
				return true, err
			})
		})
		if err == nil && len(gone) > 0 && !a.pendingTexts(gone) {
			err = mail.Errorf(mail.KindCorrupt, "it holds %d messages that were expunged", len(gone))
		}
		return err
	})
	if mail.KindOf(err) == mail.KindCorrupt {
		in.badTexts = true
		in.find("search index", repairRun, "%v", err)
		return nil
	}
	return err
}

// isGone tells whether an email is not in the account; known are some that were.
func (a *Account) isGone(ctx context.Context, id mail.EmailID, known map[mail.EmailID]int64) bool {
	_, found := known[id]
	return !found && !a.exists(ctx, id)
}

// pendingTexts tells whether some of these emails wait to be taken out.
func (a *Account) pendingTexts(ids []mail.EmailID) bool {
	a.texts.mu.Lock()
	defer a.texts.mu.Unlock()
	return slices.ContainsFunc(a.texts.removed, func(id mail.EmailID) bool { return slices.Contains(ids, id) })
}

// remakeTexts makes the search index anew.
func (a *Account) remakeTexts(ctx context.Context) error {
	if err := a.texts.alone(ctx, a.texts.drop); err != nil {
		return err
	}
	return a.IndexTexts(ctx)
}

// emailSet is a set of email ids up to a limit, a bit for each.
type emailSet []uint64

func newEmailSet(limit mail.EmailID) emailSet { return make(emailSet, limit/64+1) }

func (s emailSet) add(id mail.EmailID) {
	if i := int(id / 64); i < len(s) {
		s[i] |= 1 << (id % 64)
	}
}

func (s emailSet) has(id mail.EmailID) bool {
	i := int(id / 64)
	return i < len(s) && s[i]&(1<<(id%64)) != 0
}

// TextHits is what the search index knows of some emails.
type TextHits struct {
	known emailSet
	found []emailSet // by needle
}

// Known tells whether the index holds the email's text.
func (h *TextHits) Known(id mail.EmailID) bool { return h.known.has(id) }

// Found tells whether the email, which is Known, holds a needle.
func (h *TextHits) Found(id mail.EmailID, needle int) bool { return h.found[needle].has(id) }

// SearchTexts looks for each needle in the texts of emails. The answers are
// exact for those that are Known; others must be read: they came a moment ago,
// their text is longer than 1 MiB, or the index is being made.
func (a *Account) SearchTexts(ctx context.Context, emails []mail.EmailID, needles []fulltext.Needle) (*TextHits, error) {
	limit := mail.EmailID(0)
	for _, id := range emails {
		limit = max(limit, id)
	}
	s := textSearch{needles: needles, wanted: newEmailSet(limit)}
	for _, id := range emails {
		s.wanted.add(id)
	}
	s.clear()
	if a.texts.db == nil || len(emails) == 0 || len(needles) == 0 {
		return &s.hits, nil
	}
	err := a.texts.db.ViewTexts(ctx, func(tx TextReadTx) error {
		last, _, err := lastText(tx)
		if err == nil {
			err = a.knowsEmail(last)
		}
		return err
	})
	for s.next = 1; s.next != 0 && err == nil; {
		err = a.texts.db.ViewTexts(ctx, s.blocks)
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if !errors.Is(err, errClosed) {
			a.store.opt.Log.Warn("searching without the index", "account", a.id, "err", err)
		}
		s.clear()
	}
	if slices.ContainsFunc(emails, func(id mail.EmailID) bool { return !s.hits.Known(id) }) {
		a.textsWanted()
	}
	return &s.hits, nil
}

// textSearch is a search under way.
type textSearch struct {
	needles []fulltext.Needle
	wanted  emailSet
	hits    TextHits
	next    mail.EmailID // key to go on from; 0: at the end
	head    fulltext.Head
	may     []bool
	buf     []byte
}

// clear makes nothing known.
func (s *textSearch) clear() {
	s.hits = TextHits{known: make(emailSet, len(s.wanted)), found: make([]emailSet, len(s.needles))}
	for i := range s.hits.found {
		s.hits.found[i] = make(emailSet, len(s.wanted))
	}
	s.may = make([]bool, len(s.needles))
}

// blocks searches some blocks.
func (s *textSearch) blocks(tx TextReadTx) error {
	n := 0
	from := s.next
	s.next = 0
	return tx.TextHeads(from, func(key mail.EmailID, head []byte) (bool, error) {
		if n == textBlocks {
			s.next = key
			return false, nil
		}
		n++
		if err := s.head.ReadHead(head); err != nil {
			return false, err
		}
		return true, s.block(tx, key)
	})
}

// block searches one block, which s.head is of.
func (s *textSearch) block(tx TextReadTx, key mail.EmailID) error {
	wanted := false
	for i, id := range s.head.IDs {
		if s.wanted.has(id) && s.head.Indexed(i) {
			s.hits.known.add(id)
			wanted = true
		}
	}
	some := false
	for i := range s.needles {
		s.may[i] = wanted && s.head.May(&s.needles[i])
		some = some || s.may[i]
	}
	if !some {
		return nil
	}
	data, err := tx.TextData(key)
	if err != nil {
		return err
	}
	all, err := s.head.Unpack(data, s.buf)
	if err != nil {
		return err
	}
	s.buf = all
	for i, id := range s.head.IDs {
		if !s.hits.known.has(id) {
			continue
		}
		text := s.head.Text(all, i)
		for n := range s.needles {
			if s.may[n] && text.Find(&s.needles[n]) {
				s.hits.found[n].add(id)
			}
		}
	}
	return nil
}
