package store

import (
	"context"
	"iter"
	"os"

	"expost/internal/blob"
	"expost/internal/mail"
)

// Engine keeps the rows and bodies of accounts. It knows no rule: the package
// above decides what is written. Errors are of mail.KindNotExist for a missing
// account, mail.KindUnavailable where the disk or the database is away or full,
// mail.KindCorrupt for damage. Safe for concurrent use.
type Engine interface {
	// Open returns an account's database. Opening is cheap: an engine connects
	// when the database is used, and bounds how many connections stay open.
	Open(ctx context.Context, id mail.AccountID) (DB, error)

	// Create makes an account with what init writes, all or nothing. An account
	// that exists is mail.KindExist.
	Create(ctx context.Context, id mail.AccountID, init func(Tx) error) error

	// Remove deletes an account, whose DB has been closed, with all it holds.
	Remove(ctx context.Context, id mail.AccountID) error

	// Accounts yields the ids of all accounts in order.
	Accounts(ctx context.Context) iter.Seq2[mail.AccountID, error]

	// ViewSite and UpdateSite are DB.View and DB.Update of what belongs to no
	// account. An engine makes it where it is missing.
	ViewSite(ctx context.Context, fn func(SiteTx) error) error
	UpdateSite(ctx context.Context, fn func(SiteTx) error) error

	// TempFile returns a new file in the node's spool. What a crash leaves there
	// is removed when the engine is made. The caller closes and removes it.
	TempFile() (*os.File, error)

	// Close closes what is open. No DB may be used afterwards.
	Close() error
}

// DB is the database of one account. View may be called at any time by any
// number of goroutines and never waits for Update; Update is called by one
// goroutine at a time.
type DB interface {
	// View calls fn with the state that the last Update left. fn must be quick:
	// it holds a connection.
	View(ctx context.Context, fn func(ReadTx) error) error

	// Update calls fn and commits what it wrote, durable when Update returns nil.
	// After an error nothing of it is there.
	Update(ctx context.Context, fn func(Tx) error) error

	// OpenBlob opens the file of a large body; mail.KindNotExist.
	OpenBlob(sum blob.Sum) (*os.File, error)

	// Blobs yields the large bodies that have a file, referenced or not, and an
	// error for each file that is no blob.
	Blobs() iter.Seq2[blob.Sum, error]

	// RemoveBlob removes the file of a large body. Only the writer of the account
	// may, after the Update that dropped the last reference.
	RemoveBlob(sum blob.Sum) error

	// Close gives the database back.
	Close() error
}

// AccountRow is what an account knows of itself.
type AccountRow struct {
	ModSeq      mail.ModSeq      // the last one given out
	NextMailbox mail.MailboxID   // the next mailbox's
	NextEmail   mail.EmailID     // the next email's
	UIDValidity mail.UIDValidity // the highest one given out
	Quota       mail.Quota
	Usage       mail.Usage
	HistoryFrom mail.ModSeq // the expunge history is complete after this
	HistoryRows int         // rows of the expunge history
}

// MailboxRow is a mailbox without its subscription, which goes by name.
type MailboxRow struct {
	mail.Mailbox
	Recent mail.UID   // the first UID that no session has claimed as \Recent
	ACL    []ACLEntry // in order of identifier; never changed in place
}

// ReaderRow is what is kept for somebody who reads a mailbox of another's
// account: his own flags, in chunks of their own under an id of its own.
type ReaderRow struct {
	ID       mail.MailboxID
	Mailbox  mail.MailboxID
	Reader   mail.AccountID
	Personal Personal    // the flags that were his own when he was here last
	Since    mail.ModSeq // when that was changed: for him every message was, then
	ModSeq   mail.ModSeq // of the last change here
	Seen     int         // messages that he has seen
}

// Annotation is a value that clients keep under a name at a mailbox, or with
// Mailbox 0 at the account (RFC 5464).
type Annotation struct {
	Mailbox mail.MailboxID
	Who     mail.AccountID // whose it is; empty: everybody's, or with a private name the owner's
	Entry   string         // in lower case, "/shared/comment"
	Value   []byte
}

// EmailRow is a message's content, which all its copies in one account share.
type EmailRow struct {
	ID     mail.EmailID
	Refs   int // messages in mailboxes that show it; at 0 it waits for removal
	Thread mail.ThreadID
	Size   int64    // bytes of the message
	Packed int64    // bytes of its blob
	Sum    blob.Sum // SHA-256 of the message
	Inline bool     // the blob is in the database, else a file
}

// NewEmail is an email to be written. Where it is Inline its blob is Body, else
// the synced file at Path, which the engine links or copies.
type NewEmail struct {
	EmailRow
	Details []byte // message.Message.Append
	Body    []byte
	Path    string
}

// HistoryRow says which UIDs one change expunged from a mailbox.
type HistoryRow struct {
	ModSeq  mail.ModSeq
	Mailbox mail.MailboxID
	UIDs    []byte // appendUIDSet
}

// ReadTx reads a consistent state. Byte slices passed to functions are valid
// until the function returns.
type ReadTx interface {
	Account() (AccountRow, error)
	Mailboxes() ([]MailboxRow, error)
	// Mailbox returns one row; mail.KindNotExist.
	Mailbox(id mail.MailboxID) (MailboxRow, error)
	Subscriptions() ([]string, error)

	// Chunks calls fn with each chunk of a mailbox in order of first UID.
	Chunks(id mail.MailboxID, fn func(first mail.UID, data []byte) error) error
	// LastChunk returns the chunk of the highest first UID, or nil.
	LastChunk(id mail.MailboxID) (first mail.UID, data []byte, err error)

	// Email returns one row; mail.KindNotExist.
	Email(id mail.EmailID) (EmailRow, error)
	// Emails calls fn with each row in order of id.
	Emails(fn func(EmailRow) error) error
	// EmailsAfter returns the first n emails behind after that have references.
	EmailsAfter(after mail.EmailID, n int) ([]mail.EmailID, error)
	// Unused returns at most n emails that have no references.
	Unused(n int) ([]mail.EmailID, error)
	// Details calls fn with what NewEmail.Details of ids[i] was, in any order,
	// and not for those that are missing.
	Details(ids []mail.EmailID, fn func(i int, data []byte) error) error
	// Contents calls fn with the row of ids[i] and its bytes, which are nil
	// unless they are inline, in order of id, and not for those that are missing.
	Contents(ids []mail.EmailID, fn func(i int, row EmailRow, body []byte) error) error
	// Body returns the bytes of an inline body; mail.KindNotExist.
	Body(id mail.EmailID) ([]byte, error)
	// BlobRefs calls fn with each large body and how many emails use it.
	BlobRefs(fn func(sum blob.Sum, refs int) error) error

	// Readers returns the rows of all readers, in order of id.
	Readers() ([]ReaderRow, error)
	// Annotations calls fn with each annotation of one mailbox, or 0, in order
	// of Who and Entry.
	Annotations(id mail.MailboxID, fn func(Annotation) error) error

	// Thread returns the thread that a message-id hash belongs to, or 0.
	Thread(hash uint64) (mail.ThreadID, error)
	// History calls fn with the rows of a mailbox after since, in order.
	History(id mail.MailboxID, since mail.ModSeq, fn func(HistoryRow) error) error

	// Verify has the database check its own structure and calls fn with each
	// problem, in the database's words.
	Verify(fn func(problem string) error) error
	// Strays calls fn with each row that belongs to nothing: details and bodies
	// without an email, chunks without a mailbox or reader, readers and
	// annotations without a mailbox.
	Strays(fn func(row string) error) error
}

// Tx reads and writes.
type Tx interface {
	ReadTx

	PutAccount(AccountRow) error
	// PutMailbox writes the row of a mailbox, new or not.
	PutMailbox(MailboxRow) error
	// DeleteMailbox removes the row, the chunks and the annotations of a mailbox.
	DeleteMailbox(id mail.MailboxID) error
	PutSubscription(name string, on bool) error

	// PutReader writes the row of a reader, new or not.
	PutReader(ReaderRow) error
	// DeleteReader removes the row and the chunks of a reader.
	DeleteReader(id mail.MailboxID) error
	// PutAnnotation writes an annotation, new or not; a nil value removes it.
	PutAnnotation(Annotation) error
	// DeletePrivate removes every annotation that is somebody's.
	DeletePrivate(who mail.AccountID) error

	// PutChunk writes a chunk, new or not; nil data removes it.
	PutChunk(id mail.MailboxID, first mail.UID, data []byte) error

	// PutEmail writes a new email with its details and body.
	PutEmail(NewEmail) error
	// AddRefs adds n to the references of each id. The ids ascend.
	AddRefs(ids []mail.EmailID, n int) error
	// SetRefs sets the references of one email, for repairs.
	SetRefs(id mail.EmailID, n int) error
	// SetBlobRefs sets the references of a large body, 0 removes the row.
	SetBlobRefs(sum blob.Sum, n int) error
	// DeleteStrays removes the rows that Strays finds.
	DeleteStrays() error
	// DeleteEmails removes emails and returns the large bodies that no email
	// uses any more.
	DeleteEmails(ids []mail.EmailID) ([]blob.Sum, error)

	// PutThread says which thread a message-id hash belongs to. The first wins.
	PutThread(hash uint64, id mail.ThreadID) error
	PutHistory(HistoryRow) error
	// TrimHistory removes the n oldest rows of the expunge history and returns
	// the modseq of the last of them.
	TrimHistory(n int) (mail.ModSeq, error)
}

// SiteTx reads and, in UpdateSite, writes what belongs to no account.
type SiteTx interface {
	// Shares calls fn with each pair of the index of shared mailboxes. It is
	// complete from SharesComplete on.
	Shares(fn func(identifier string, owner mail.AccountID) error) (complete bool, err error)
	PutShare(identifier string, owner mail.AccountID, on bool) error
	SharesComplete() error
	// DropShares makes the index empty, and not complete.
	DropShares() error

	// SiteAnnotations calls fn with each annotation of the server, in order.
	SiteAnnotations(fn func(entry string, value []byte) error) error
	// PutSiteAnnotation writes an annotation; a nil value removes it.
	PutSiteAnnotation(entry string, value []byte) error
}

// TextDB is what a DB implements that can keep a search index. What it holds
// can be made anew from the messages, so commits need not be synced, but a
// crash must leave one of the states that were committed. What is damaged
// is an error of mail.KindCorrupt, or made empty. Views and updates may be
// called as in DB.
type TextDB interface {
	ViewTexts(ctx context.Context, fn func(TextReadTx) error) error
	UpdateTexts(ctx context.Context, fn func(TextTx) error) error
	// DropTexts makes the index empty, whatever state it is in.
	DropTexts() error
}

// TextReadTx reads a search index: blocks in order of their key.
type TextReadTx interface {
	// TextHeads calls fn with the heads of blocks from a key on until it returns
	// false. The head is valid until fn returns.
	TextHeads(from mail.EmailID, fn func(key mail.EmailID, head []byte) (more bool, err error)) error
	// LastText returns the block of the highest key; 0 where there is none.
	LastText() (key mail.EmailID, head []byte, err error)
	// TextData returns what PutText wrote.
	TextData(key mail.EmailID) ([]byte, error)
	// TextsDirty returns what SetTextsDirty wrote last; false at first.
	TextsDirty() (bool, error)
	// VerifyTexts has the database check its own structure.
	VerifyTexts(fn func(problem string) error) error
}

// TextTx reads and writes a search index.
type TextTx interface {
	TextReadTx
	// PutText writes a block, new or not; a nil head removes it.
	PutText(key mail.EmailID, head, data []byte) error
	SetTextsDirty(dirty bool) error
}
