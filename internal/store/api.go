// Package store keeps accounts: mailboxes, the messages in them, and the rules
// that hold for both (UIDs, modification sequences, flags, quota, what is
// announced to whom). The engines below it only know rows.
package store

import (
	"context"
	"io"
	"iter"
	"time"

	"expost/internal/mail"
	"expost/internal/message"
)

// Store is all accounts of one node.
type Store struct{}

// Open returns the account, opening it where it is not open yet. Release it.
// An account that does not exist is an error of mail.KindNotExist.
func (s *Store) Open(ctx context.Context, id mail.AccountID) (*Account, error) {
	panic("being written")
}

// Create makes an empty account with an INBOX and the mailboxes of
// defaultMailboxes, and is no error where the account exists already.
func (s *Store) Create(ctx context.Context, id mail.AccountID) error { panic("being written") }

// Remove deletes an account with everything in it.
func (s *Store) Remove(ctx context.Context, id mail.AccountID) error { panic("being written") }

// Accounts yields the ids of all accounts, in order.
func (s *Store) Accounts(ctx context.Context) iter.Seq2[mail.AccountID, error] {
	panic("being written")
}

// Close waits for the writers and closes every account.
func (s *Store) Close() error { panic("being written") }

// Incoming is a message that has been received but is in no mailbox yet: read
// once, parsed, compressed; small in memory, large in a synced file. It may be
// appended to any number of accounts at the same time.
type Incoming struct{}

// Spool reads a message to its end. prefix, where not empty, stands before the
// bytes of r (trace headers). A message larger than limit (0: none) is an
// error of mail.KindTooBig; r is not read further then.
func (s *Store) Spool(ctx context.Context, prefix []byte, r io.Reader, limit int64) (*Incoming, error) {
	panic("being written")
}

// Message returns what the parser found. Size returns the bytes of the message.
func (in *Incoming) Message() *message.Message { panic("being written") }
func (in *Incoming) Size() int64               { panic("being written") }

// Open returns the message's bytes. Close what it returns.
func (in *Incoming) Open() (*Body, error) { panic("being written") }

// Close drops what no account has taken over.
func (in *Incoming) Close() error { panic("being written") }

// Body is a message's stored bytes, uncompressed on the way out. ReadAt costs
// no more than the frame (256 KiB) it falls into. Not for concurrent use.
type Body struct{}

func (b *Body) Size() int64                             { panic("being written") }
func (b *Body) ReadAt(p []byte, off int64) (int, error) { panic("being written") }
func (b *Body) WriteTo(w io.Writer) (int64, error)      { panic("being written") }
func (b *Body) Close() error                            { panic("being written") }

// Section returns the bytes [from, to) as a reader, which streams.
func (b *Body) Section(from, to int64) io.Reader { panic("being written") }

// Account is one open account. Its methods may be called at the same time from
// any number of goroutines. Every method that changes something returns after
// the change is on disk; the changes of one account have one order.
type Account struct{}

// Release gives the account back.
func (a *Account) Release() { panic("being written") }

// ID returns the account's id.
func (a *Account) ID() mail.AccountID { panic("being written") }

// Mailboxes returns every mailbox, sorted by name with INBOX first.
func (a *Account) Mailboxes(ctx context.Context) ([]mail.Mailbox, error) { panic("being written") }

// Mailbox returns one mailbox by name; mail.KindNotExist.
func (a *Account) Mailbox(ctx context.Context, name string) (mail.Mailbox, error) {
	panic("being written")
}

// Subscriptions returns the subscribed names, those of missing mailboxes included.
func (a *Account) Subscriptions(ctx context.Context) ([]string, error) { panic("being written") }

// CreateOptions of a new mailbox. UIDValidity zero means a new one.
type CreateOptions struct {
	UIDValidity mail.UIDValidity
	SpecialUse  mail.SpecialUse
	Subscribe   bool
}

// CreateMailbox makes a mailbox and its missing parents; mail.KindExist.
// Names are checked: UTF-8 without control characters, at most 1,000 bytes and
// 50 levels, no empty level, no "." or ".." level; mail.KindInvalid.
func (a *Account) CreateMailbox(ctx context.Context, name string, opt CreateOptions) (mail.Mailbox, error) {
	panic("being written")
}

// RenameMailbox moves a mailbox and all below it; INBOX is emptied into the
// new name instead (RFC 9051 §6.3.6). mail.KindNotExist, KindExist, KindInvalid.
func (a *Account) RenameMailbox(ctx context.Context, from, to string) error { panic("being written") }

// DeleteMailbox removes a mailbox and its messages. One that has children, and
// INBOX, is mail.KindInvalid.
func (a *Account) DeleteMailbox(ctx context.Context, name string) error { panic("being written") }

// Subscribe sets or clears a subscription; the mailbox need not exist.
func (a *Account) Subscribe(ctx context.Context, name string, on bool) error { panic("being written") }

// SetSpecialUse gives a mailbox a role; UseNone takes it away.
func (a *Account) SetSpecialUse(ctx context.Context, id mail.MailboxID, use mail.SpecialUse) error {
	panic("being written")
}

// AppendOptions of one message. A zero InternalDate means now.
type AppendOptions struct {
	Flags        mail.Flags
	Keywords     mail.Keywords
	InternalDate mail.Date
}

// Append puts a message into a mailbox; mail.KindNotExist, KindQuota.
func (a *Account) Append(ctx context.Context, id mail.MailboxID, in *Incoming, opt AppendOptions) (Appended, error) {
	panic("being written")
}

// Appended says what an Append or Copy made.
type Appended struct {
	UIDValidity mail.UIDValidity
	UID         mail.UID
	Email       mail.EmailID
	ModSeq      mail.ModSeq
}

// FlagChange is what STORE does.
type FlagChange struct {
	Op             FlagOp
	Flags          mail.Flags
	Keywords       mail.Keywords
	UnchangedSince mail.ModSeq // 0: not conditional (RFC 7162 §3.1.3)
	Conditional    bool        // UnchangedSince counts, even where it is 0
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
func (a *Account) StoreFlags(ctx context.Context, id mail.MailboxID, uids mail.UIDSet, ch FlagChange) (modified mail.UIDSet, err error) {
	panic("being written")
}

// Expunge removes the messages of uids that have \Deleted (all of them in the
// mailbox where uids is nil) and returns which.
func (a *Account) Expunge(ctx context.Context, id mail.MailboxID, uids mail.UIDSet) (mail.UIDSet, error) {
	panic("being written")
}

// Copied pairs source and target UIDs in order (RFC 4315 §3 COPYUID).
type Copied struct {
	UIDValidity mail.UIDValidity // of the target
	Source      []mail.UID
	Target      []mail.UID
}

// Copy copies messages within the account, all or none; mail.KindNotExist, KindQuota.
func (a *Account) Copy(ctx context.Context, from mail.MailboxID, uids mail.UIDSet, to mail.MailboxID) (Copied, error) {
	panic("being written")
}

// Move is Copy and removal at the source in one change.
func (a *Account) Move(ctx context.Context, from mail.MailboxID, uids mail.UIDSet, to mail.MailboxID) (Copied, error) {
	panic("being written")
}

// Vanished returns the UIDs that were expunged after since (RFC 7162 §3.2.6),
// or every unused UID below UIDNEXT where the history does not reach back.
func (a *Account) Vanished(ctx context.Context, id mail.MailboxID, since mail.ModSeq) (mail.UIDSet, error) {
	panic("being written")
}

// Details calls fn with the parsed structure of each email, in the order of
// ids, reading in few, large reads. A missing one is passed as nil.
func (a *Account) Details(ctx context.Context, ids []mail.EmailID, fn func(i int, m *message.Message) error) error {
	panic("being written")
}

// Body opens a message's bytes; mail.KindNotExist. Close what it returns.
func (a *Account) Body(ctx context.Context, id mail.EmailID) (*Body, error) { panic("being written") }

// Usage and Quota say what the account holds and may hold.
func (a *Account) Usage(ctx context.Context) (mail.Usage, error)    { panic("being written") }
func (a *Account) Quota(ctx context.Context) (mail.Quota, error)    { panic("being written") }
func (a *Account) SetQuota(ctx context.Context, q mail.Quota) error { panic("being written") }

// View is a session's place in a selected mailbox. It is not for concurrent use.
type View struct{}

// Select returns a View that stands at the mailbox's present state. Close it.
func (a *Account) Select(ctx context.Context, name string) (*View, error) { panic("being written") }

// Snapshot returns the state the view stands at.
func (v *View) Snapshot() *Snapshot { panic("being written") }

// Changed returns a channel that is closed when the mailbox is no longer in
// the state of Snapshot. Ask again after Advance.
func (v *View) Changed() <-chan struct{} { panic("being written") }

// Latest returns the newest state without moving the view.
func (v *View) Latest() *Snapshot { panic("being written") }

// MoveTo moves the view to a state that Latest returned (or one made from it
// with Snapshot.KeepExpunged).
func (v *View) MoveTo(s *Snapshot) { panic("being written") }

// Recent returns the first UID that no read-write session saw before this one
// (RFC 3501 §2.3.2); a message is \Recent here where its UID is not below it.
func (v *View) Recent() mail.UID { panic("being written") }

// Gone tells whether the mailbox was deleted.
func (v *View) Gone() bool { panic("being written") }

// Close ends the view.
func (v *View) Close() { panic("being written") }

// Snapshot is the immutable state of a mailbox at one moment. Snapshots of one
// mailbox share what did not change between them.
type Snapshot struct{}

// Mailbox returns the mailbox's row as it was.
func (s *Snapshot) Mailbox() mail.Mailbox { panic("being written") }

// Len returns the number of messages.
func (s *Snapshot) Len() int { panic("being written") }

// At returns the message of a sequence number, 1..Len.
func (s *Snapshot) At(seq int) mail.Message { panic("being written") }

// Seq returns the sequence number of uid, or where it is missing the one it
// would have and false.
func (s *Snapshot) Seq(uid mail.UID) (seq int, ok bool) { panic("being written") }

// Range yields sequence numbers and messages from..to, both included, cheaply.
func (s *Snapshot) Range(from, to int) iter.Seq2[int, *mail.Message] { panic("being written") }

// FirstUnseen returns the first sequence number without \Seen, or 0.
func (s *Snapshot) FirstUnseen() int { panic("being written") }

// KeepExpunged returns the state now, but with the messages that old has and
// now has not still in their places, for a session that may not be told of an
// EXPUNGE yet (RFC 9051 §7.5.1).
func KeepExpunged(old, now *Snapshot) *Snapshot { panic("being written") }

// Change is one difference between two snapshots.
type Change struct {
	Expunged bool         // else flags changed
	Seq      int          // for an EXPUNGE: the number to send now, counted down as RFC 9051 §7.5.1 wants; else in the new snapshot
	Message  mail.Message // as it is now; as it was, where expunged
}

// Diff yields what a session must be told to get from old to now: first every
// expunge, then every changed message; new ones are those beyond. It skips what
// the two share without looking at it.
func Diff(old, now *Snapshot) iter.Seq[Change] { panic("being written") }

// Watch returns a channel that receives the ids of mailboxes that changed
// (created, renamed, deleted, contents), coalesced. The release func ends it.
func (a *Account) Watch() (<-chan mail.MailboxID, func()) { panic("being written") }

// BulkMessage is a message with everything given, as a migration has it.
type BulkMessage struct {
	UID          mail.UID // 0: the next
	Incoming     *Incoming
	Flags        mail.Flags
	Keywords     mail.Keywords
	InternalDate mail.Date
	SaveDate     time.Time // zero: now
}

// Bulk appends many messages in one durable change. UIDs must ascend and lie
// at or above UIDNEXT, else mail.KindConflict and nothing is done. It takes
// over no Incoming. Quota is not asked: what was there before may stay.
func (a *Account) Bulk(ctx context.Context, id mail.MailboxID, msgs []BulkMessage) ([]Appended, error) {
	panic("being written")
}

// AdoptMailbox makes the mailbox, or where it exists and is empty changes it,
// so that it has this UIDValidity and at least this UIDNext. A mailbox with
// messages and another UIDValidity is mail.KindConflict.
func (a *Account) AdoptMailbox(ctx context.Context, name string, v mail.UIDValidity, next mail.UID) (mail.Mailbox, error) {
	panic("being written")
}
