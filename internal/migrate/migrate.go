// Package migrate moves mailboxes: from a Source to a Target, account by
// account and folder by folder, in passes that can be stopped and repeated,
// with a ledger that holds each item from first sight to proof.
//
// # The life of an item
//
// Each item has one row in the ledger. What a crash (kill -9, power loss) in a
// state leaves, and what the next run does about it:
//
//	seen      The source has it. Nothing of it is at the target.
//	          Crash: the next pass copies it.
//	copied    The target has committed it durably under the UID of the row, and
//	          the row was written after that. Crash between the two: the target has
//	          messages that no row claims, and the ledger has said since before they
//	          were appended that the folder is not settled. A pass that finds unclaimed
//	          messages in a target folder hashes them before it sends anything, and an
//	          item with the same bytes claims the message instead of being sent again.
//	there     As copied, but the target had these bytes in that mailbox before
//	          this ledger wrote to it (another tool's copy, an earlier ledger):
//	          found by hash, not sent, and never removed.
//	aside     The source did not give it, or the target did not take it. The row
//	          says why, and what bytes there were are in the folder aside beside
//	          the ledger, written and synced before the row. Later passes try the
//	          source again, once a run.
//	gone      It was copied or there, vanished at the source, and was removed at the
//	          target (or the target had lost it before). Its row stays as proof.
//	stale     The source changed the folder's UIDVALIDITY: the row's key means
//	          nothing any more, but its target UID and hash do. The pass that finds
//	          the same bytes under a new key takes the copy over; what is left at the
//	          end of the pass vanished, as under gone.
//
// An item that the source moved or copied from another folder is seen in its new
// folder, and gone in the old one at the end of the pass:
//
//	its new row seen     Nothing of it is in the target's new folder. Crash: the next
//	                     pass copies it within the target, or fetches it.
//	copied within        As copied: a crash before the row leaves a message that no
//	                     row claims, with the bytes of the item. If the item has left
//	                     the folder again before the next pass, that pass finds the
//	                     message by its UID and date (by date and size where UIDs are
//	                     not kept) and removes it: the row says seen, and vanished.
//	its old row copied   The target has it in both folders. Nothing is removed before
//	                     every folder has been read and the new rows are on disk.
//	                     Crash: the folder's state in the ledger is that of the pass
//	                     before, so the next pass finds again what vanished.
//	removed              Its old row says copied, the message is gone. Crash: the next
//	                     pass removes what is missing and writes gone.
//
// A folder that the source deleted, and says so when it is asked for by name, is
// emptied likewise, and deleted at the target where a pass made it and nothing is
// left in it. A crash between leaves an empty folder, which the next pass deletes.
//
// A row of copied or there is verified (a time in the row) once `verify` has read
// both sides again and found them equal.
//
// # UIDs
//
// A mailbox that is new or empty at the target is adopted: it gets the source's
// UIDVALIDITY and every message its source UID, and UIDNEXT is raised to the
// source's at the end of each pass. The folder "keeps UIDs".
//
// A mailbox that has other mail already keeps its own UIDVALIDITY: messages are
// added behind with new UIDs, and the ledger maps source to target. The same
// happens from the moment a UID of the source is taken, or passed, at the target
// (mail was delivered there meanwhile, or an item that was set aside arrives
// late). The folder then gets a UIDVALIDITY of its own, unless its users have seen
// it already: under the source's, a UID that clients know would name another
// message. The ledger says so first (renewing); a pass that finds the target's
// folder as it was before that renews it. The report names such folders, because
// clients will fetch them again.
//
// Nothing at the target is changed that the ledger does not claim, or removed that
// it did not copy.
package migrate

import (
	"context"
	"crypto/sha256"
	"io"

	"expost/internal/mail"
)

// User is one account to move: from Source (a login, an address or a path) to
// the account of Target.
type User struct {
	Source   string
	Target   mail.Address
	Password string // at the source; where empty the source's own applies
}

// Source is where mail comes from. It is safe for concurrent use.
type Source interface {
	// Open opens an account for reading. It must not change anything at the
	// source. A wrong login is mail.KindAuth, a missing account
	// mail.KindNotExist; mail.KindTemporary and KindUnavailable may be retried.
	Open(ctx context.Context, u User) (SourceAccount, error)
}

// SourceAccount is one open account of a source. It is used by one goroutine
// at a time. It hides lost connections: it comes back and goes on by itself as
// long as that leads anywhere.
type SourceAccount interface {
	// Folders returns every folder, in an order that puts INBOX first and parents
	// before children. Names are unique.
	Folders(ctx context.Context) ([]Folder, error)

	// Scan yields the items of a folder in batches of at most ScanBatch, in the
	// order in which they are to be copied (ascending UID where there are UIDs).
	// Where since is a state that an earlier Scan returned, it may yield only what
	// is new or has other flags since then, and says so with Scanned.Has. yield
	// may call Fetch. A folder that is gone is mail.KindNotExist; one whose
	// UIDValidity is not f's is mail.KindConflict.
	Scan(ctx context.Context, f Folder, since State, yield func([]Item) error) (Scanned, error)

	// Fetch reads items of one folder and calls fn once for each of them, in
	// order: with the item as it is now and its bytes, or with an *ItemError that
	// says why there are none, beside an r that has what bytes there were, or nil.
	// Bytes have CRLF line ends where the source knows what a line is. An error
	// of r is to be returned by fn: the item is then tried again. Any other
	// error of fn ends Fetch.
	Fetch(ctx context.Context, f Folder, items []Item, fn func(it Item, r io.Reader, err error) error) error

	// Close ends the session.
	Close() error
}

// ScanBatch is the most items a Scan yields at once.
const ScanBatch = 2000

// ClassEntry is the annotation (RFC 5464) that a Folder's Class is in a store.
const ClassEntry = "/shared/vendor/expost/class"

// Folder is a mailbox of a source or target.
type Folder struct {
	Key        string // what the source calls it; never changes while the folder lives
	Name       string // UTF-8, levels separated by mail.Delimiter; INBOX is "INBOX"
	Use        mail.SpecialUse
	Subscribed bool
	NoItems    bool   // it only has children (\Noselect)
	Class      string // what Exchange calls its kind, such as "IPF.Appointment"; "" of mail
	State      State
}

// State is what can be known of a folder without looking at its items.
// Messages and Bytes are -1 where unknown, the rest 0.
type State struct {
	UIDValidity mail.UIDValidity
	UIDNext     mail.UID
	ModSeq      uint64
	Messages    int
	Bytes       int64
}

// Item is a message of a source or target folder.
type Item struct {
	Key      string   // identifies it in its folder: the UID in decimal, a file's name
	UID      mail.UID // 0 where the source has none that are worth keeping
	Size     int64    // bytes; at a source a hint, and -1 where nothing but Key and UID is known
	Flags    mail.Flags
	Keywords mail.Keywords
	Date     mail.Date
	Email    string // what the source calls the message wherever it is moved (EMAILID of RFC 8474); "" where nothing
	Rest     []byte // a JSON object of what the message cannot hold, for the ledger; nil of mail
}

// Scanned is how a Scan ended.
type Scanned struct {
	State State                 // as it was when the scan began
	Has   func(key string) bool // nil where every item was yielded; else tells which are there

	// Vanished are keys of items that were there at since, and are not any more,
	// perhaps among others; nil where only Has tells. No other has vanished, unless
	// the source is wrong, so the number of items must prove it.
	Vanished []string
}

// ItemError says why the source has no bytes for an item.
type ItemError struct {
	Gone bool // it is not there any more
	Err  error
}

// Error returns the cause.
func (e *ItemError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *ItemError) Unwrap() error { return e.Err }

// Damaged is a SourceAccount that may be damaged in parts, as files are.
type Damaged interface {
	// Damage returns what was found so far: the place, and what is wrong there. It
	// is called before Close.
	Damage() []string
}

// Target is where mail goes. It is safe for concurrent use.
type Target interface {
	// Open opens an account for writing. A missing one is mail.KindNotExist.
	Open(ctx context.Context, u User) (TargetAccount, error)

	// Spool reads a message to its end and makes it ready to be appended. A
	// message it will never take is mail.KindTooBig or KindInvalid; then r is not
	// read to its end.
	Spool(ctx context.Context, r io.Reader) (Spooled, error)
}

// Looker is a Target whose Open makes what is missing.
type Looker interface {
	// Look opens an account for a look and changes nothing. Where Open would make
	// it, it returns nil.
	Look(ctx context.Context, u User) (TargetAccount, error)
}

// Spooled is a message ready to be appended. Close it, appended or not.
type Spooled interface {
	// Hash returns the hash of the message's bytes as they were read.
	Hash() Hash
	Close() error
}

// Hash is the SHA-256 of a message's bytes.
type Hash = [sha256.Size]byte

// TargetAccount is one open account of a target. It is safe for concurrent
// use; changes to one folder are made by one goroutine at a time.
type TargetAccount interface {
	// Folders returns every folder with its state.
	Folders(ctx context.Context) ([]Folder, error)

	// Prepare makes the folder f.Name where it is missing, with its parents, gives
	// it the subscription of f and its role, unless a folder with mail has that
	// role, and the UIDValidity of f.State and at
	// least its UIDNext where it can. It returns the folder as it is then. It may
	// be called again with a higher UIDNext.
	Prepare(ctx context.Context, f Folder) (Folder, error)

	// Append adds messages under the UIDs given, durable when it returns nil.
	// UIDs ascend. A target that cannot take them writes the UIDs that the
	// messages got into msgs. One that can adds all or none: mail.KindConflict
	// where a UID is below UIDNEXT, and nothing is done then. After an error of
	// another target some may have been added. A message that is refused for
	// good gets its Err, and does not keep the others.
	Append(ctx context.Context, folder string, msgs []Message) error

	// Update sets flags and keywords of messages, those that are missing aside.
	Update(ctx context.Context, folder string, items []Item) error

	// Remove removes messages, those that are missing aside.
	Remove(ctx context.Context, folder string, uids mail.UIDSet) error

	// Stored makes messages of a folder, with the hashes of their bytes, ready to
	// be appended to any folder of the account: with the same bytes, which are
	// not carried through here where the target can link or copy them. Those that
	// are missing are not returned; those that vanish before they are appended
	// make Append fail with mail.KindTemporary. They are appended with the
	// internal dates that they have.
	Stored(ctx context.Context, folder string, hashes map[mail.UID]Hash) (map[mail.UID]Spooled, error)

	// Items calls fn with every message of a folder by ascending UID.
	Items(ctx context.Context, folder string, fn func(Item) error) error

	// Read calls fn with the bytes of each message, those that are missing aside.
	Read(ctx context.Context, folder string, uids mail.UIDSet, fn func(uid mail.UID, r io.Reader) error) error

	// Close ends the session.
	Close() error
}

// Namer is a TargetAccount that cannot hold every name of a folder.
type Namer interface {
	// Name returns the name nearest to a name with levels separated by
	// mail.Delimiter that the target can hold, and that it will show.
	Name(name string) string
}

// Discarder is a TargetAccount that can remove folders.
type Discarder interface {
	// Discard removes a folder and its subscription. One that has messages or
	// folders below it is mail.KindConflict and stays; a missing one is no error.
	Discard(ctx context.Context, folder string) error
}

// Renamer is a TargetAccount that can rename folders.
type Renamer interface {
	// Rename renames a folder with those below it, and their subscriptions. They
	// keep their UIDs, unless their UIDVALIDITY says otherwise. A taken name is
	// mail.KindExist.
	Rename(ctx context.Context, from, to string) error
}

// Renewer is a TargetAccount that can give a folder another UIDVALIDITY.
type Renewer interface {
	// Renew gives a folder this UIDVALIDITY. Its messages keep their UIDs.
	Renew(ctx context.Context, folder string, v mail.UIDValidity) error
}

// Roleless is a TargetAccount whose folders may have no roles, because a name
// is all that it keeps, or a server's configuration decides.
type Roleless interface{ Roleless() }

// Message is an item on its way into a target folder; Item.UID is the UID it
// will have there.
type Message struct {
	Item
	Body Spooled
	Err  error // mail.KindTooBig, KindInvalid: why the target will never take it
}

// HeaderReader is a SourceAccount that reads headers without bodies.
type HeaderReader interface {
	// Headers calls fn with the Message-ID, Date, From, To and Subject lines of
	// each item, in any order, those that are missing aside.
	Headers(ctx context.Context, f Folder, items []Item, fn func(it Item, header []byte) error) error
}

// Limiter is a Target or a TargetAccount that knows how large a message it takes.
type Limiter interface {
	// Limit returns the most bytes that a message may have; 0: any.
	Limit(ctx context.Context) (int64, error)
}

// LargeFinder is a SourceAccount that finds large messages without a Scan.
type LargeFinder interface {
	// Larger returns the messages of a folder that have more than size bytes.
	Larger(ctx context.Context, f Folder, size int64) ([]Item, error)
}

// Measurer is a SourceAccount that can say how many messages and bytes a folder
// holds; for plans only, because it may be slow.
type Measurer interface {
	Measure(ctx context.Context, f Folder) (messages int, bytes int64, err error)
}
