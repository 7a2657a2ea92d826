package mail

import "strings"

// Rights are what an access control list grants in a mailbox (RFC 4314 §2.1).
type Rights uint16

// The rights, in the order they are written.
const (
	RightLookup         Rights = 1 << iota // l: the mailbox is listed
	RightRead                              // r: SELECT, STATUS
	RightSeen                              // s: \Seen may be changed
	RightWrite                             // w: flags other than \Seen and \Deleted may be changed
	RightInsert                            // i: APPEND, COPY into it
	RightPost                              // p: mail may be sent to its sub-address
	RightCreate                            // k: mailboxes may be made below it
	RightDeleteMailbox                     // x: DELETE, RENAME
	RightDeleteMessages                    // t: \Deleted may be changed
	RightExpunge                           // e: EXPUNGE
	RightAdminister                        // a: its list may be read and changed

	AllRights = 1<<iota - 1
)

// letters are the rights' letters, in order.
const letters = "lrswipkxtea"

// The virtual rights of RFC 4314 §2.1.1, for clients that know RFC 2086 alone.
const (
	rightsOfC = RightCreate | RightDeleteMailbox
	rightsOfD = RightDeleteMessages | RightExpunge
)

// ParseRights reads letters of rights; "c" and "d" stand for those of RFC 4314
// §2.1.1. It is false where a letter is none.
func ParseRights(s string) (Rights, bool) {
	var r Rights
	for i := range len(s) {
		switch at := strings.IndexByte(letters, s[i]); {
		case at >= 0:
			r |= 1 << at
		case s[i] == 'c':
			r |= rightsOfC
		case s[i] == 'd':
			r |= rightsOfD
		default:
			return 0, false
		}
	}
	return r, true
}

// String returns the letters of the rights.
func (r Rights) String() string {
	b := make([]byte, 0, len(letters))
	for i := range len(letters) {
		if r&(1<<i) != 0 {
			b = append(b, letters[i])
		}
	}
	return string(b)
}

// Compatible returns the letters with "c" and "d" where any of the rights they
// stand for is there, as clients are told (RFC 4314 §2.1.1).
func (r Rights) Compatible() string {
	s := (r &^ RightAdminister).String()
	if r&rightsOfC != 0 {
		s += "c"
	}
	if r&rightsOfD != 0 {
		s += "d"
	}
	return s + (r & RightAdminister).String()
}

// Has tells whether all of the rights are among r.
func (r Rights) Has(all Rights) bool { return r&all == all }

// Any tells whether one of the rights is among r.
func (r Rights) Any(some Rights) bool { return r&some != 0 }
