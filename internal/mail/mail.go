// Package mail is Expost's vocabulary: addresses, accounts, mailboxes, UIDs,
// modification sequences, flags, and the closed set of error kinds that every
// protocol maps to its own replies. It knows no protocol, no store and no
// socket. Read it first.
package mail

import (
	"fmt"
	"time"
)

// AccountID names an account's place in the store. It is the value of the
// directory's mailMessageStore attribute, "domain/local" in lower case by
// default, and never changes while the mailbox lives, whatever happens to its
// addresses. Engines escape it before they build a path from it.
type AccountID string

// UID is a message's unique identifier in its mailbox (RFC 9051 §2.3.1.1).
// Zero is never a valid UID.
type UID uint32

// UIDValidity goes with every UID (RFC 9051 §2.3.1.1). Zero is never valid.
type UIDValidity uint32

// ModSeq is an account's modification sequence (RFC 7162 §3.1). Every change
// to an account gets the next one, so the values of all mailboxes of one
// account are comparable. Zero is never a valid ModSeq of a message.
type ModSeq uint64

// MailboxID identifies a mailbox for ever, through renames (RFC 8474 §4).
type MailboxID uint64

// String returns the OBJECTID form of a mailbox id (RFC 8474 §4.1).
func (id MailboxID) String() string { return fmt.Sprintf("m%x", uint64(id)) }

// EmailID identifies a message's content; copies in several mailboxes of one
// account share it (RFC 8474 §5.1).
type EmailID uint64

// String returns the OBJECTID form of an email id (RFC 8474 §5.1).
func (id EmailID) String() string { return fmt.Sprintf("e%x", uint64(id)) }

// ThreadID groups the messages of a conversation (RFC 8474 §5.2).
type ThreadID uint64

// String returns the OBJECTID form of a thread id (RFC 8474 §5.2).
func (id ThreadID) String() string { return fmt.Sprintf("t%x", uint64(id)) }

// SpecialUse is a mailbox's role (RFC 6154 §2), without the backslash: "Sent".
type SpecialUse string

// The roles of RFC 6154 §2.
const (
	UseNone    SpecialUse = ""
	UseAll     SpecialUse = "All"
	UseArchive SpecialUse = "Archive"
	UseDrafts  SpecialUse = "Drafts"
	UseFlagged SpecialUse = "Flagged"
	UseJunk    SpecialUse = "Junk"
	UseSent    SpecialUse = "Sent"
	UseTrash   SpecialUse = "Trash"
)

// Delimiter separates the levels of a mailbox name. Names are UTF-8, NFC.
const Delimiter = "/"

// Inbox is the one mailbox that every account has. Its name is matched
// without regard to case (RFC 9051 §5.1).
const Inbox = "INBOX"

// Mailbox is the state of one mailbox at one moment.
type Mailbox struct {
	ID            MailboxID
	Name          string // UTF-8 NFC, levels separated by Delimiter
	UIDValidity   UIDValidity
	UIDNext       UID
	HighestModSeq ModSeq
	SpecialUse    SpecialUse
	Subscribed    bool
	Messages      int   // number of messages
	Unseen        int   // messages without \Seen
	Deleted       int   // messages with \Deleted
	Size          int64 // sum of RFC822.SIZE, bytes
	Keywords      []string
}

// Message is what the index of a mailbox knows of one message.
type Message struct {
	UID          UID
	ModSeq       ModSeq
	Email        EmailID
	Thread       ThreadID
	Size         int64 // RFC822.SIZE, bytes
	Flags        Flags
	Keywords     Keywords
	InternalDate Date
	SaveDate     int64 // seconds since 1970, RFC 8514
}

// Date is an INTERNALDATE: an instant to the second and the zone it was
// written in, which is kept because clients compare the text.
type Date struct {
	Unix   int64 // seconds since 1970-01-01 UTC
	Offset int16 // minutes east of UTC
}

// DateOf returns t as a Date, truncated to the second.
func DateOf(t time.Time) Date {
	_, off := t.Zone()
	return Date{Unix: t.Unix(), Offset: int16(off / 60)}
}

// Time returns d as a time in its own zone.
func (d Date) Time() time.Time {
	return time.Unix(d.Unix, 0).In(time.FixedZone("", int(d.Offset)*60))
}

// Quota is what an account may hold. Zero means no limit.
type Quota struct {
	Bytes    int64 // mailQuotaSize
	Messages int64 // mailQuotaCount
}

// Usage is what an account holds.
type Usage struct {
	Bytes    int64
	Messages int64
}
