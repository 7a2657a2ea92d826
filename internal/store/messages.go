package store

import (
	"context"
	"slices"
	"time"

	"expost/internal/mail"
)

// AppendOptions of one message. A zero InternalDate means now.
type AppendOptions struct {
	Flags        mail.Flags
	Keywords     mail.Keywords
	InternalDate mail.Date
}

// Appended says what an Append or Copy made.
type Appended struct {
	UIDValidity mail.UIDValidity
	UID         mail.UID
	Email       mail.EmailID
	ModSeq      mail.ModSeq
}

// maxUID is the highest UID. It is never given out, so that UIDNEXT fits.
const maxUID mail.UID = 1<<32 - 1

// Append puts a message into a mailbox; mail.KindNotExist, KindQuota.
func (a *Account) Append(ctx context.Context, id mail.MailboxID, in *Incoming, opt AppendOptions) (Appended, error) {
	if err := checkKeywords(opt.Keywords); err != nil {
		return Appended{}, err
	}
	var done Appended
	err := a.change(ctx, func(b *batch) error {
		e, err := b.editTarget(id, mail.Usage{Bytes: in.size, Messages: 1}, true)
		if err != nil {
			return err
		}
		thread, unknown, err := b.findThread(in.threads)
		if err != nil {
			return err
		}
		m := mail.Message{
			UID: e.row.UIDNext, ModSeq: b.nextModSeq(), Size: in.size, Flags: opt.Flags,
			Keywords: opt.Keywords, InternalDate: opt.InternalDate, SaveDate: b.now.Unix(),
		}
		if m.InternalDate == (mail.Date{}) {
			m.InternalDate = mail.DateOf(b.now)
		}
		m.Email, m.Thread = b.addEmail(in, thread, unknown)
		e.addKeywords(m.Keywords)
		e.append([]mail.Message{m})
		done = Appended{e.row.UIDValidity, m.UID, m.Email, m.ModSeq}
		return nil
	})
	return done, err
}

// editTarget returns a mailbox that can take u more, which it checks against
// the quota where asked to.
func (b *batch) editTarget(id mail.MailboxID, u mail.Usage, quota bool) (*mailboxEdit, error) {
	e, err := b.edit(id)
	if err != nil {
		return nil, err
	}
	if quota {
		if err := b.checkQuota(u); err != nil {
			return nil, err
		}
	}
	if u.Messages > int64(maxUID-e.row.UIDNext) {
		return nil, mail.Errorf(mail.KindInvalid, "mailbox %q has no UIDs left", e.row.Name)
	}
	_, err = e.last()
	return e, err
}

// addEmail adds the content of a message and returns its ids. A thread of 0 is
// a new one.
func (b *batch) addEmail(in *Incoming, thread mail.ThreadID, unknown []uint64) (mail.EmailID, mail.ThreadID) {
	id := b.account.NextEmail
	b.account.NextEmail++
	if thread == 0 {
		thread = mail.ThreadID(id)
	}
	for _, hash := range unknown {
		b.threads[hash] = thread
	}
	b.newThreads = append(b.newThreads, unknown...)
	b.emails = append(b.emails, NewEmail{
		EmailRow: EmailRow{ID: id, Refs: 1, Thread: thread, Size: in.size, Packed: in.packed, Sum: in.sum, Inline: in.file == nil},
		Details:  in.details, Body: in.inline, Path: in.path(),
	})
	return id, thread
}

// checkKeywords returns an error for more keywords than a message may have.
func checkKeywords(k mail.Keywords) error {
	if n := len(k.String()); n > maxKeywordsLen {
		return mail.Errorf(mail.KindInvalid, "a message may have %d bytes of keywords, not %d", maxKeywordsLen, n)
	}
	return nil
}

// FlagChange is what STORE does.
type FlagChange struct {
	Op             FlagOp
	Flags          mail.Flags
	Keywords       mail.Keywords
	UnchangedSince mail.ModSeq // 0: not conditional (RFC 7162 §3.1.3)
	Conditional    bool        // UnchangedSince counts, even where it is 0
	Keep           FlagMask    // what stays as it is, whatever the change says
}

// FlagMask is a set of flags, and perhaps every keyword.
type FlagMask struct {
	Flags    mail.Flags
	Keywords bool
}

// from takes the flags of the mask from a message.
func (k *FlagMask) from(m *mail.Message) {
	if k == nil {
		return
	}
	m.Flags &^= k.Flags
	if k.Keywords {
		m.Keywords = mail.Keywords{}
	}
}

// FlagOp is how a FlagChange changes.
type FlagOp uint8

// The three forms of STORE (RFC 9051 §6.4.6).
const (
	FlagsSet FlagOp = iota
	FlagsAdd
	FlagsRemove
)

// StoreFlags changes the flags of the messages of uids that exist. It returns
// those that a conditional change left alone because they were modified.
// Messages that have the flags already are not changed.
func (a *Account) StoreFlags(ctx context.Context, id mail.MailboxID, uids mail.UIDSet, ch FlagChange) (modified mail.UIDSet, err error) {
	return a.storeFlags(ctx, id, uids, ch, nil)
}

// storeFlags is StoreFlags by the owner, or by somebody who has flags of his own.
func (a *Account) storeFlags(ctx context.Context, id mail.MailboxID, uids mail.UIDSet, ch FlagChange, who *Access) (modified mail.UIDSet, err error) {
	err = a.change(ctx, func(b *batch) error {
		modified = nil
		e, err := b.edit(id)
		if err != nil {
			return err
		}
		if err := e.load(); err != nil {
			return err
		}
		f := flagging{ch: ch, uids: uids, modseq: b.account.ModSeq + 1, known: make(map[mail.Keywords]mail.Keywords)}
		if who != nil {
			if f.own, err = b.personalReader(readerKey{id, who.who}, who.personal); err != nil {
				return err
			}
		}
		for c := range e.index.touched(uids) {
			f.chunk(c)
		}
		modified = f.modified
		if f.err != nil || len(f.edits) == 0 && len(f.set) == 0 {
			return f.err
		}
		b.nextModSeq()
		if len(f.set) > 0 {
			b.set(f.own, f.set)
		}
		if ch.Op != FlagsRemove && e.addKeywords(ch.Keywords) || len(f.edits) > 0 {
			b.touch(e)
		}
		if len(f.edits) > 0 {
			e.row.HighestModSeq = b.account.ModSeq
			e.row.Unseen += f.unseen
			e.row.Deleted += f.deleted
			e.put(f.edits)
		}
		return nil
	})
	return modified, err
}

// flagging is one STORE on its way through a mailbox.
type flagging struct {
	ch       FlagChange
	uids     mail.UIDSet
	modseq   mail.ModSeq // of those changed
	known    map[mail.Keywords]mail.Keywords
	own      *readerEdit // of who has flags of his own; nil: the owner
	edits    []chunkEdit
	set      []mail.Message // what becomes own
	modified mail.UIDSet
	unseen   int // by how much the counts change
	deleted  int
	err      error
}

// chunk applies the change to a chunk.
func (f *flagging) chunk(c *chunk) {
	var changed []mail.Message
	base := c.messages()
	seen := base // as the one who changes them sees them
	if f.own != nil {
		seen = f.own.chunk(c).messages()
	}
	for i, m := range seen {
		if !f.uids.Contains(m.UID) {
			continue
		}
		if (f.ch.Conditional || f.ch.UnchangedSince > 0) && m.ModSeq > f.ch.UnchangedSince {
			f.modified.Add(m.UID)
			continue
		}
		flags, keywords := f.apply(&m)
		if flags == m.Flags && keywords == m.Keywords {
			continue
		}
		if f.own != nil {
			flags, keywords = f.personal(&base[i], &m, flags, keywords)
			if flags == base[i].Flags && keywords == base[i].Keywords {
				continue
			}
		}
		if changed == nil {
			changed = append([]mail.Message(nil), base...)
		}
		changed[i].Flags, changed[i].Keywords, changed[i].ModSeq = flags, keywords, f.modseq
	}
	if changed == nil {
		return
	}
	n := newChunk(c.key, changed)
	f.unseen += n.unseen - c.unseen
	f.deleted += n.deleted - c.deleted
	f.edits = append(f.edits, chunkEdit{c.key, n})
}

// personal notes what becomes of a reader's own flags, and returns what becomes
// of those that are everybody's.
func (f *flagging) personal(base, seen *mail.Message, flags mail.Flags, keywords mail.Keywords) (mail.Flags, mail.Keywords) {
	mask := f.own.row.Personal
	own := mail.Message{UID: base.UID, Flags: flags & mask.Flags}
	was := mail.Message{UID: base.UID, Flags: seen.Flags & mask.Flags}
	all := base.Flags&mask.Flags | flags&^mask.Flags
	if mask.Keywords {
		own.Keywords, was.Keywords, keywords = keywords, seen.Keywords, base.Keywords
	}
	if own != was {
		f.set = append(f.set, own)
	}
	return all, keywords
}

// apply returns what the change makes of a message's flags.
func (f *flagging) apply(m *mail.Message) (mail.Flags, mail.Keywords) {
	flags, keywords, keep := f.ch.Flags, m.Keywords, f.ch.Keep
	switch f.ch.Op {
	case FlagsAdd:
		flags = m.Flags | f.ch.Flags
	case FlagsRemove:
		flags = m.Flags &^ f.ch.Flags
	}
	if !keep.Keywords {
		keywords = f.keywords(m.Keywords)
	}
	return flags&^keep.Flags | m.Flags&keep.Flags, keywords
}

// keywords returns what the change makes of a set of keywords.
func (f *flagging) keywords(k mail.Keywords) mail.Keywords {
	result, ok := f.known[k]
	if ok {
		return result
	}
	switch f.ch.Op {
	case FlagsSet:
		result = f.ch.Keywords
	case FlagsAdd:
		result = k.Add(f.ch.Keywords.Words()...)
	case FlagsRemove:
		result = k.Remove(f.ch.Keywords.Words()...)
	}
	if err := checkKeywords(result); err != nil {
		f.err = err
	}
	f.known[k] = result
	return result
}

// Expunge removes the messages of uids that have \Deleted (all of them in the
// mailbox where uids is nil) and returns which.
func (a *Account) Expunge(ctx context.Context, id mail.MailboxID, uids mail.UIDSet) (mail.UIDSet, error) {
	if uids == nil {
		uids = mail.UIDSet{{First: 1, Last: maxUID}}
	}
	var gone mail.UIDSet
	err := a.change(ctx, func(b *batch) error {
		gone = nil
		e, err := b.edit(id)
		if err != nil || e.row.Deleted == 0 {
			return err
		}
		if err := e.load(); err != nil {
			return err
		}
		for c := range e.index.touched(uids) {
			if c.deleted == 0 {
				continue
			}
			for _, m := range c.messages() {
				if m.Flags&mail.Deleted != 0 && uids.Contains(m.UID) {
					gone.Add(m.UID)
				}
			}
		}
		if len(gone) > 0 {
			return b.expunge(e, gone)
		}
		return nil
	})
	return gone, err
}

// Remove takes the messages of uids out of a mailbox, \Deleted or not.
func (a *Account) Remove(ctx context.Context, id mail.MailboxID, uids mail.UIDSet) error {
	return a.change(ctx, func(b *batch) error {
		e, err := b.edit(id)
		if err != nil {
			return err
		}
		if err := e.load(); err != nil {
			return err
		}
		var gone mail.UIDSet
		for _, m := range e.collect(uids) {
			gone.Add(m.UID)
		}
		if len(gone) == 0 {
			return nil
		}
		return b.expunge(e, gone)
	})
}

// expunge removes messages, and what refers to them.
func (b *batch) expunge(e *mailboxEdit, gone mail.UIDSet) error {
	b.nextModSeq()
	removed, err := e.remove(gone)
	for _, m := range removed {
		b.refs[m.Email]--
	}
	return err
}

// collect returns the messages of uids that exist.
func (e *mailboxEdit) collect(uids mail.UIDSet) []mail.Message {
	var found []mail.Message
	for c := range e.index.touched(uids) {
		for _, m := range c.messages() {
			if uids.Contains(m.UID) {
				found = append(found, m)
			}
		}
	}
	return found
}

// remove takes the messages of set out of the mailbox, under the present
// modseq, and returns them. Chunks that become small join the one before.
func (e *mailboxEdit) remove(set mail.UIDSet) ([]mail.Message, error) {
	b := e.b
	b.touch(e)
	var removed []mail.Message
	puts := make(map[mail.UID]*chunk)
	var before, left *chunk // the chunk before as it was, and what stands there now
	for was, c := range e.index.touchedAfter(set) {
		if was != before {
			left = was
		}
		before = c
		var rest []mail.Message
		for _, m := range c.messages() {
			if set.Contains(m.UID) {
				removed = append(removed, m)
			} else {
				rest = append(rest, m)
			}
		}
		switch {
		case len(rest) == c.n:
			left = c
		case len(rest) == 0:
			puts[c.key] = nil
		case left != nil && len(rest) <= chunkCap/4 && left.n+len(rest) <= chunkCap*3/4:
			puts[c.key] = nil
			left = newChunk(left.key, append(rest[:0:0], append(left.messages()[:left.n:left.n], rest...)...))
			puts[left.key] = left
		default:
			left = newChunk(c.key, rest)
			puts[c.key] = left
		}
	}
	for i := range removed {
		b.count(e, &removed[i], -1)
	}
	e.put(sortedEdits(puts))
	b.history = append(b.history, HistoryRow{ModSeq: b.account.ModSeq, Mailbox: e.row.ID, UIDs: appendUIDSet(nil, set)})
	return removed, b.dropFlags(e.row.ID, set)
}

// Copied pairs source and target UIDs in order (RFC 4315 §3 COPYUID).
type Copied struct {
	UIDValidity mail.UIDValidity // of the target
	Source      []mail.UID
	Target      []mail.UID
}

// Copy copies messages within the account, all or none; mail.KindNotExist, KindQuota.
// UIDs that have no message are passed over.
func (a *Account) Copy(ctx context.Context, from mail.MailboxID, uids mail.UIDSet, to mail.MailboxID) (Copied, error) {
	return a.copy(ctx, from, uids, to, nil)
}

// copy is Copy; strip takes flags from a copy that it may not have.
func (a *Account) copy(ctx context.Context, from mail.MailboxID, uids mail.UIDSet, to mail.MailboxID, strip *FlagMask) (Copied, error) {
	var done Copied
	err := a.change(ctx, func(b *batch) error {
		_, target, found, err := b.transfer(from, uids, to, true)
		if err != nil {
			return err
		}
		done = Copied{UIDValidity: target.row.UIDValidity}
		if len(found) == 0 {
			return nil
		}
		b.nextModSeq()
		for i, m := range found {
			b.refs[m.Email]++
			strip.from(&found[i])
		}
		done.Source, done.Target = b.copyMessages(found, target)
		return b.carryFlags(from, to, done.Source, done.Target)
	})
	return done, err
}

// Move is Copy and removal at the source in one change. It needs no quota.
func (a *Account) Move(ctx context.Context, from mail.MailboxID, uids mail.UIDSet, to mail.MailboxID) (Copied, error) {
	return a.move(ctx, from, uids, to, nil)
}

// move is Move; strip takes flags from a copy that it may not have.
func (a *Account) move(ctx context.Context, from mail.MailboxID, uids mail.UIDSet, to mail.MailboxID, strip *FlagMask) (Copied, error) {
	var done Copied
	err := a.change(ctx, func(b *batch) error {
		source, target, found, err := b.transfer(from, uids, to, false)
		if err != nil {
			return err
		}
		done = Copied{UIDValidity: target.row.UIDValidity}
		if len(found) == 0 {
			return nil
		}
		copies := found
		if strip != nil {
			copies = slices.Clone(found)
			for i := range copies {
				strip.from(&copies[i])
			}
		}
		done.Source, done.Target, err = b.moveMessages(source, copies, target)
		return err
	})
	return done, err
}

// transfer returns what Copy and Move need, checked.
func (b *batch) transfer(from mail.MailboxID, uids mail.UIDSet, to mail.MailboxID, quota bool) (source, target *mailboxEdit, found []mail.Message, err error) {
	if source, err = b.edit(from); err != nil {
		return nil, nil, nil, err
	}
	if err = source.load(); err != nil {
		return nil, nil, nil, err
	}
	found = source.collect(uids)
	u := mail.Usage{Messages: int64(len(found))}
	for i := range found {
		u.Bytes += found[i].Size
	}
	if target, err = b.editTarget(to, u, quota && len(found) > 0); err != nil {
		return nil, nil, nil, err
	}
	if from == to {
		target = source
	}
	return source, target, found, nil
}

// copyMessages appends messages to a mailbox under the present modseq. Their
// references are the caller's matter.
func (b *batch) copyMessages(found []mail.Message, target *mailboxEdit) (from, to []mail.UID) {
	copies := make([]mail.Message, len(found))
	from, to = make([]mail.UID, len(found)), make([]mail.UID, len(found))
	var before mail.Keywords
	for i, m := range found {
		from[i], to[i] = m.UID, target.row.UIDNext+mail.UID(i)
		m.UID, m.ModSeq, m.SaveDate = to[i], b.account.ModSeq, b.now.Unix()
		copies[i] = m
		if m.Keywords != before {
			target.addKeywords(m.Keywords)
			before = m.Keywords
		}
	}
	target.append(copies)
	return from, to
}

// moveMessages moves messages from one mailbox to another.
func (b *batch) moveMessages(source *mailboxEdit, found []mail.Message, target *mailboxEdit) (from, to []mail.UID, err error) {
	b.nextModSeq()
	from, to = b.copyMessages(found, target)
	if err = b.carryFlags(source.row.ID, target.row.ID, from, to); err != nil {
		return nil, nil, err
	}
	var set mail.UIDSet
	for _, uid := range from {
		set.Add(uid)
	}
	_, err = source.remove(set)
	return from, to, err
}

// BulkMessage is a message with everything given, as a migration has it.
type BulkMessage struct {
	UID          mail.UID       // 0: the next
	Incoming     *Incoming      // or
	From         mail.MailboxID // where the account has the message already, and shares its content,
	FromUID      mail.UID       // as this one
	Flags        mail.Flags
	Keywords     mail.Keywords
	InternalDate mail.Date
	SaveDate     time.Time // zero: now
}

// Bulk appends many messages in one durable change. UIDs must ascend and lie
// at or above UIDNEXT, else mail.KindConflict and nothing is done. It takes
// over no Incoming. Quota is not asked: what was there before may stay. A
// message to share that is not there is mail.KindNotExist.
func (a *Account) Bulk(ctx context.Context, id mail.MailboxID, msgs []BulkMessage) ([]Appended, error) {
	for i := range msgs {
		if err := checkKeywords(msgs[i].Keywords); err != nil {
			return nil, err
		}
	}
	var done []Appended
	err := a.change(ctx, func(b *batch) error {
		e, err := b.editTarget(id, mail.Usage{Messages: int64(len(msgs))}, false)
		if err != nil {
			return err
		}
		uids, err := bulkUIDs(e.row.UIDNext, msgs)
		if err != nil || len(msgs) == 0 {
			return err
		}
		done, err = b.bulk(e, uids, msgs)
		return err
	})
	return done, err
}

// bulkUIDs returns the UIDs that messages get in a mailbox.
func bulkUIDs(next mail.UID, msgs []BulkMessage) ([]mail.UID, error) {
	uids := make([]mail.UID, len(msgs))
	for i := range msgs {
		switch uid := msgs[i].UID; {
		case uid == maxUID || next == maxUID:
			return nil, mail.Errorf(mail.KindInvalid, "UID %d is the last there is and cannot be used", maxUID)
		case uid == 0:
		case uid < next:
			return nil, mail.Errorf(mail.KindConflict, "UID %d lies below the next free one, %d", uid, next)
		default:
			next = uid
		}
		uids[i] = next
		next++
	}
	return uids, nil
}

// bulk appends the messages of a Bulk.
func (b *batch) bulk(e *mailboxEdit, uids []mail.UID, msgs []BulkMessage) ([]Appended, error) {
	modseq := b.nextModSeq()
	messages := make([]mail.Message, len(msgs))
	done := make([]Appended, len(msgs))
	for i := range msgs {
		m := &messages[i]
		if err := b.bulkContent(m, &msgs[i]); err != nil {
			return nil, err
		}
		m.UID, m.ModSeq, m.Flags, m.Keywords = uids[i], modseq, msgs[i].Flags, msgs[i].Keywords
		m.InternalDate, m.SaveDate = msgs[i].InternalDate, b.now.Unix()
		if m.InternalDate == (mail.Date{}) {
			m.InternalDate = mail.DateOf(b.now)
		}
		if !msgs[i].SaveDate.IsZero() {
			m.SaveDate = msgs[i].SaveDate.Unix()
		}
		e.addKeywords(m.Keywords)
		done[i] = Appended{e.row.UIDValidity, m.UID, m.Email, modseq}
	}
	e.append(messages)
	return done, nil
}

// bulkContent gives a message of a Bulk its content, new or shared.
func (b *batch) bulkContent(m *mail.Message, from *BulkMessage) error {
	if in := from.Incoming; in != nil {
		thread, unknown, err := b.findThread(in.threads)
		if err != nil {
			return err
		}
		m.Size = in.size
		m.Email, m.Thread = b.addEmail(in, thread, unknown)
		return nil
	}
	e, err := b.edit(from.From)
	if err != nil {
		return err
	}
	if err := e.load(); err != nil {
		return err
	}
	found := e.collect(mail.UIDSet{{First: from.FromUID, Last: from.FromUID}})
	if len(found) == 0 {
		return mail.Errorf(mail.KindNotExist, "message %d of mailbox %q is not there any more", from.FromUID, e.row.Name)
	}
	m.Size, m.Email, m.Thread = found[0].Size, found[0].Email, found[0].Thread
	b.refs[m.Email]++
	return nil
}

// SetQuota says what the account may hold from now on.
func (a *Account) SetQuota(ctx context.Context, q mail.Quota) error {
	return a.change(ctx, func(b *batch) error {
		b.dirty = true
		b.account.Quota = q
		return nil
	})
}
