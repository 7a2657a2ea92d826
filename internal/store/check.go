package store

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"

	"expost/internal/blob"
	"expost/internal/mail"
	"expost/internal/message"
)

// Finding is something that Check found wrong.
type Finding struct {
	Account  mail.AccountID
	Place    string // "mailbox INBOX", "email e1f"
	Problem  string
	Repair   string // what to do about it, a sentence
	Repaired bool   // it was done
}

// String returns the finding as one line.
func (f Finding) String() string {
	text := fmt.Sprintf("%s: %s: %s", f.Account, f.Place, f.Problem)
	if f.Repaired {
		return text + " (repaired)"
	}
	return text + "; " + f.Repair
}

// What to do about a finding.
const (
	repairRun     = "run the check with repair"
	repairRestore = "restore the account from a backup"
	repairMessage = "restore this message from a backup, or expunge it"
)

// CheckOptions of Check.
type CheckOptions struct {
	Accounts []mail.AccountID // nil: all
	Repair   bool             // rebuild counts and references, remove what belongs to nothing
	NoBodies bool             // do not read the messages themselves
}

// Check verifies every row, chunk, count, reference, file and body of the
// accounts, which may be in use, and yields what is wrong. An error ends it;
// an account that cannot be opened is a Finding.
func (s *Store) Check(ctx context.Context, opt CheckOptions) iter.Seq2[Finding, error] {
	return func(yield func(Finding, error) bool) {
		accounts := s.Accounts(ctx)
		if opt.Accounts != nil {
			accounts = func(yield func(mail.AccountID, error) bool) {
				for _, id := range opt.Accounts {
					if !yield(id, nil) {
						return
					}
				}
			}
		}
		for id, err := range accounts {
			var findings []Finding
			if err == nil {
				findings, err = s.checkAccount(ctx, id, opt)
			}
			for _, f := range findings {
				if !yield(f, nil) {
					return
				}
			}
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(Finding{}, err)
				return
			}
		}
		if opt.Accounts != nil {
			return
		}
		findings, err := s.checkShares(ctx, opt.Repair)
		for _, f := range findings {
			if !yield(f, nil) {
				return
			}
		}
		if err != nil {
			yield(Finding{}, err)
		}
	}
}

// checkAccount checks one account.
func (s *Store) checkAccount(ctx context.Context, id mail.AccountID, opt CheckOptions) ([]Finding, error) {
	a, err := s.Open(ctx, id)
	if err != nil {
		if mail.KindOf(err) == mail.KindNotExist && opt.Accounts == nil || isCanceled(err) {
			return nil, ctx.Err() // removed meanwhile
		}
		return []Finding{{Account: id, Place: "account", Problem: err.Error(), Repair: repairRestore}}, nil
	}
	defer a.Release()
	in := newInspection(id)
	err = a.db.View(ctx, in.read)
	if err == nil {
		err = in.orphans(ctx, a)
	}
	if err == nil && !opt.NoBodies {
		err = in.bodies(ctx, a)
	}
	if err == nil && !opt.NoBodies {
		err = in.texts(ctx, a)
	}
	if err == nil && opt.Repair && in.repairable() {
		if err = a.repair(ctx); err == nil && in.badTexts {
			err = a.remakeTexts(ctx)
		}
		for i := range in.findings {
			f := &in.findings[i]
			f.Repaired = err == nil && f.Repair == repairRun
		}
	}
	if err != nil && !isCanceled(err) {
		in.find("account", repairRestore, "it cannot be read: %v", err)
		err = nil
	}
	return in.findings, err
}

// inspection is what the rows of an account say, and what counting says.
type inspection struct {
	id       mail.AccountID
	findings []Finding
	damaged  bool // some chunk cannot be read: references cannot be counted
	badTexts bool // the search index is not what it should be

	account    AccountRow
	boxes      []MailboxRow
	counted    map[mail.MailboxID]mail.Mailbox
	uids       map[mail.MailboxID]mail.UIDSet
	badReaders []readerKey
	usage      mail.Usage
	refs       map[mail.EmailID]int // counted
	sizes      map[mail.EmailID]int64
	emails     []EmailRow
	blobs      map[blob.Sum]int // as stored
	blobRefs   map[blob.Sum]int // counted
}

func newInspection(id mail.AccountID) *inspection {
	return &inspection{
		id: id, counted: make(map[mail.MailboxID]mail.Mailbox), uids: make(map[mail.MailboxID]mail.UIDSet), refs: make(map[mail.EmailID]int),
		sizes: make(map[mail.EmailID]int64), blobs: make(map[blob.Sum]int), blobRefs: make(map[blob.Sum]int),
	}
}

// find notes a finding.
func (in *inspection) find(place, repair, format string, args ...any) {
	in.findings = append(in.findings, Finding{Account: in.id, Place: place, Problem: fmt.Sprintf(format, args...), Repair: repair})
}

// repairable tells whether there is something that repair can do.
func (in *inspection) repairable() bool {
	return slices.ContainsFunc(in.findings, func(f Finding) bool { return f.Repair == repairRun })
}

// read reads all rows but those of bodies, and notes what is wrong with them.
func (in *inspection) read(tx ReadTx) (err error) {
	if err = tx.Verify(func(problem string) error {
		in.find("database", repairRestore, "%s", problem)
		return nil
	}); err != nil {
		return err
	}
	if in.account, err = tx.Account(); err != nil {
		return err
	}
	if in.boxes, err = tx.Mailboxes(); err != nil {
		return err
	}
	in.checkNames()
	for _, box := range in.boxes {
		if err := in.checkMailbox(tx, box); err != nil {
			return err
		}
	}
	if in.usage != in.account.Usage && !in.damaged {
		in.find("account", repairRun, "it is said to hold %d bytes in %d messages and holds %d in %d",
			in.account.Usage.Bytes, in.account.Usage.Messages, in.usage.Bytes, in.usage.Messages)
	}
	if err := in.checkReaders(tx); err != nil {
		return err
	}
	if err := in.checkEmails(tx); err != nil {
		return err
	}
	return tx.Strays(func(row string) error {
		in.find(row, repairRun, "the row belongs to nothing")
		return nil
	})
}

// checkNames checks what mailboxes are called.
func (in *inspection) checkNames() {
	seen := make(map[string]bool)
	for _, box := range in.boxes {
		place := "mailbox " + box.Name
		if name, err := checkName(box.Name); err != nil || name != box.Name {
			in.find(place, "rename the mailbox", "its name is not one that a mailbox may have")
		}
		if seen[box.Name] {
			in.find(place, repairRestore, "two mailboxes have this name")
		}
		seen[box.Name] = true
		if box.ID >= in.account.NextMailbox || box.HighestModSeq > in.account.ModSeq || box.UIDValidity == 0 || box.UIDNext == 0 {
			in.find(place, repairRestore, "its id, its modseq or its UIDs were never given out")
		}
	}
	if !seen[mail.Inbox] {
		in.find("account", repairRestore, "it has no INBOX")
	}
}

// checkReaders reads what others have set in mailboxes of the account.
func (in *inspection) checkReaders(tx ReadTx) error {
	rows, err := tx.Readers()
	if err != nil {
		return err
	}
	for _, r := range rows {
		there, known := in.uids[r.Mailbox]
		if !known {
			continue // a stray
		}
		place := fmt.Sprintf("flags of %s in mailbox %d", r.Reader, r.Mailbox)
		if r.ID >= in.account.NextMailbox || in.isMailbox(r.ID) || r.ModSeq > in.account.ModSeq || r.Since > r.ModSeq {
			in.find(place, repairRestore, "its id or its modseq was never given out")
		}
		seen, stray := 0, 0
		err := tx.Chunks(r.ID, func(key mail.UID, data []byte) error {
			_, messages, err := readChunk(key, data, nil)
			if err != nil {
				in.damaged = true
				in.find(place, repairRestore, "the piece from UID %d on: %v", key, err)
				return nil
			}
			seen += len(messages) - countFlag(messages, mail.Seen, 0)
			for i := range messages {
				if !there.Contains(messages[i].UID) {
					stray++
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if (seen != r.Seen || stray > 0) && !in.damaged {
			in.find(place, repairRun, "%d messages are said to be seen and %d are; %d are not in the mailbox", r.Seen, seen, stray)
			in.badReaders = append(in.badReaders, readerKey{r.Mailbox, r.Reader})
		}
	}
	return nil
}

// isMailbox tells whether a mailbox has an id.
func (in *inspection) isMailbox(id mail.MailboxID) bool {
	_, is := in.uids[id]
	return is
}

// checkMailbox reads the index of a mailbox.
func (in *inspection) checkMailbox(tx ReadTx, box MailboxRow) error {
	place := "mailbox " + box.Name
	var n mail.Mailbox
	last := mail.UID(0)
	var uids mail.UIDSet
	err := tx.Chunks(box.ID, func(key mail.UID, data []byte) error {
		c, messages, err := readChunk(key, data, nil)
		if err != nil {
			in.damaged = true
			in.find(place, repairRestore, "the piece of its index from UID %d on: %v", key, err)
			return nil
		}
		if c.key <= last || c.last >= box.UIDNext {
			in.find(place, repairRestore, "UIDs %d to %d are out of order", c.first, c.last)
		}
		last = c.last
		n.Messages, n.Unseen, n.Deleted = n.Messages+c.n, n.Unseen+c.unseen, n.Deleted+c.deleted
		for i := range messages {
			n.Size += messages[i].Size
			uids.Add(messages[i].UID)
			in.checkMessage(place, box, &messages[i])
		}
		return nil
	})
	if err != nil {
		return err
	}
	in.usage.Bytes += n.Size
	in.usage.Messages += int64(n.Messages)
	in.counted[box.ID] = n
	in.uids[box.ID] = uids
	if n.Messages != box.Messages || n.Unseen != box.Unseen || n.Deleted != box.Deleted || n.Size != box.Size {
		in.find(place, repairRun, "it is said to have %d messages (%d unseen, %d deleted, %d bytes) and has %d (%d, %d, %d)",
			box.Messages, box.Unseen, box.Deleted, box.Size, n.Messages, n.Unseen, n.Deleted, n.Size)
	}
	return nil
}

// checkMessage checks one message of an index.
func (in *inspection) checkMessage(place string, box MailboxRow, m *mail.Message) {
	if m.ModSeq == 0 || m.ModSeq > box.HighestModSeq {
		in.find(place, repairRestore, "the modseq %d of UID %d was never given out", m.ModSeq, m.UID)
	}
	if size, ok := in.sizes[m.Email]; ok && size != m.Size {
		in.find(place, repairRestore, "UID %d has %d bytes, another copy of it %d", m.UID, m.Size, size)
	}
	in.refs[m.Email]++
	in.sizes[m.Email] = m.Size
}

// checkEmails reads the rows of emails and blobs.
func (in *inspection) checkEmails(tx ReadTx) error {
	err := tx.Emails(func(row EmailRow) error {
		in.emails = append(in.emails, row)
		if !row.Inline {
			in.blobRefs[row.Sum]++
		}
		place := "email " + row.ID.String()
		if n := in.refs[row.ID]; n != row.Refs && !in.damaged {
			in.find(place, repairRun, "it is said to be in mailboxes %d times and is %d times", row.Refs, n)
		}
		if size, ok := in.sizes[row.ID]; ok && size != row.Size {
			in.find(place, repairRestore, "it has %d bytes, and mailboxes say %d", row.Size, size)
		}
		if row.ID >= in.account.NextEmail {
			in.find(place, repairRestore, "its id was never given out")
		}
		delete(in.sizes, row.ID)
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(in.sizes)) {
		in.find("email "+id.String(), repairMessage, "it is missing, and a mailbox shows it")
	}
	if err := tx.BlobRefs(func(sum blob.Sum, refs int) error {
		in.blobs[sum] = refs
		return nil
	}); err != nil {
		return err
	}
	for _, sum := range unionKeys(in.blobs, in.blobRefs) {
		if is, want := in.blobs[sum], in.blobRefs[sum]; is != want {
			in.find("blob "+sum.String(), repairRun, "it is said to be used %d times and is %d times", is, want)
		}
	}
	return nil
}

// unionKeys returns the keys of both maps, in order.
func unionKeys(a, b map[blob.Sum]int) []blob.Sum {
	keys := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.SortFunc(keys, func(x, y blob.Sum) int { return slices.Compare(x[:], y[:]) })
	return slices.Compact(keys)
}

// orphans looks for files that no email uses. One that came after the rows were
// read is asked for again.
func (in *inspection) orphans(ctx context.Context, a *Account) error {
	var suspects []blob.Sum
	for sum, err := range a.db.Blobs() {
		switch {
		case err != nil:
			in.find("blobs", "remove the file, if nothing else put it there for a reason", "%v", err)
		case in.blobRefs[sum] == 0:
			suspects = append(suspects, sum)
		}
	}
	if len(suspects) == 0 {
		return nil
	}
	used := make(map[blob.Sum]int)
	err := a.db.View(ctx, func(tx ReadTx) error {
		return tx.BlobRefs(func(sum blob.Sum, refs int) error {
			used[sum] = refs
			return nil
		})
	})
	for _, sum := range suspects {
		if used[sum] == 0 {
			in.find("blob "+sum.String(), repairRun, "its file belongs to no message")
		}
	}
	return err
}

// bodies reads every message: its structure, and its bytes against their size
// and sum.
func (in *inspection) bodies(ctx context.Context, a *Account) error {
	for part := range slices.Chunk(in.emails, detailsBatch) {
		ids := make([]mail.EmailID, len(part))
		for i := range part {
			ids[i] = part[i].ID
		}
		found := make(map[mail.EmailID]bool)
		err := a.db.View(ctx, func(tx ReadTx) error {
			return tx.Details(ids, func(i int, data []byte) error {
				m, err := message.Decode(data)
				found[ids[i]] = err == nil && m.Size == part[i].Size
				return nil
			})
		})
		if err != nil {
			return err
		}
		for _, row := range part {
			if err := ctx.Err(); err != nil {
				return err
			}
			problem := ""
			if !found[row.ID] {
				problem = "its parsed structure is missing or damaged"
			} else if err := a.verifyBody(ctx, row); err != nil {
				problem = err.Error()
			}
			if problem != "" && a.exists(ctx, row.ID) {
				in.find("email "+row.ID.String(), repairMessage, "%s", problem)
			}
		}
	}
	return nil
}

// exists tells whether an email is there, or was removed while it was checked.
func (a *Account) exists(ctx context.Context, id mail.EmailID) bool {
	err := a.db.View(ctx, func(tx ReadTx) error {
		_, err := tx.Email(id)
		return err
	})
	return mail.KindOf(err) != mail.KindNotExist
}

// verifyBody reads a message and compares it with what its row says.
func (a *Account) verifyBody(ctx context.Context, row EmailRow) error {
	body, err := a.Body(ctx, row.ID)
	if err != nil {
		return err
	}
	defer body.Close()
	h := sha256.New()
	if _, err := io.Copy(h, body.Section(0, body.Size())); err != nil {
		return err
	}
	if blob.Sum(h.Sum(nil)) != row.Sum {
		return mail.Errorf(mail.KindCorrupt, "its bytes are not those that were received")
	}
	return nil
}

// repair rebuilds counts and references from the mailboxes, and removes what
// belongs to nothing, as one change of the account.
func (a *Account) repair(ctx context.Context) error {
	in := newInspection(a.id)
	err := a.submit(&op{ctx: ctx, alone: true, done: make(chan error, 1), do: func(b *batch) error {
		*in = *newInspection(a.id)
		if err := in.read(b.tx); err != nil {
			return err
		}
		b.dirty = true
		if err := b.repairEmails(in); err != nil {
			return err
		}
		if in.damaged {
			return nil // what cannot be counted is left alone
		}
		for _, box := range in.boxes {
			n := in.counted[box.ID]
			e, err := b.edit(box.ID)
			if err != nil {
				return err
			}
			row := &e.row.Mailbox
			if row.Messages == n.Messages && row.Unseen == n.Unseen && row.Deleted == n.Deleted && row.Size == n.Size {
				continue
			}
			row.Messages, row.Unseen, row.Deleted, row.Size = n.Messages, n.Unseen, n.Deleted, n.Size
			b.touch(e)
		}
		b.account.Usage = in.usage
		return b.repairReaders(in)
	}})
	if err != nil {
		return err
	}
	return a.removeOrphans(ctx)
}

// repairReaders drops what readers have set of messages that are not there, and
// counts the rest.
func (b *batch) repairReaders(in *inspection) error {
	for _, key := range in.badReaders {
		e, err := b.reader(key, Personal{})
		if err != nil {
			return err
		}
		var gone mail.UIDSet
		for uid := range e.index.uids().All() {
			if !in.uids[key.mailbox].Contains(uid) {
				gone.Add(uid)
			}
		}
		b.touchReader(e)
		e.put(e.index.without(gone))
		e.row.Seen = e.countSeen()
	}
	return nil
}

// repairEmails writes the references that were counted.
func (b *batch) repairEmails(in *inspection) error {
	for _, row := range in.emails {
		if n := in.refs[row.ID]; n != row.Refs && !in.damaged {
			if err := b.tx.SetRefs(row.ID, n); err != nil {
				return err
			}
			b.unused = b.unused || n == 0
		}
	}
	for _, sum := range unionKeys(in.blobs, in.blobRefs) {
		if n := in.blobRefs[sum]; n != in.blobs[sum] {
			if err := b.tx.SetBlobRefs(sum, n); err != nil {
				return err
			}
		}
	}
	return b.tx.DeleteStrays()
}

// removeOrphans removes the files that no email uses. It does so in the
// account's order, so that no message takes one over meanwhile.
func (a *Account) removeOrphans(ctx context.Context) error {
	return a.submit(&op{ctx: ctx, alone: true, done: make(chan error, 1), do: func(b *batch) error {
		used := make(map[blob.Sum]int)
		if err := b.tx.BlobRefs(func(sum blob.Sum, refs int) error {
			used[sum] = refs
			return nil
		}); err != nil {
			return err
		}
		for sum, err := range a.db.Blobs() {
			if err == nil && used[sum] == 0 {
				b.unlinked = append(b.unlinked, sum)
			}
		}
		return nil
	}})
}
