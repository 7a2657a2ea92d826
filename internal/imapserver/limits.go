package imapserver

import (
	"time"

	"expost/internal/imapwire"
)

// Limits bound what a client may cost. Zero means the default named beside a field.
type Limits struct {
	MessageSize  int64           // bytes of an APPEND: 100 MiB
	Header       int64           // bytes of a header that HEADER.FIELDS and SEARCH look at: 1 MiB
	Cards        int64           // bytes of ENVELOPEs, headers and the like that are kept for all mailboxes: 64 MiB
	Errors       int             // BAD commands of a connection: 50; before login 5
	Logins       int             // failed logins of a connection: 3
	Connections  int             // at once: 50,000
	PerHost      int             // at once from one address (IPv6: /64) before login; loopback is not counted: 200
	Messages     int64           // that one command may work on (MESSAGELIMIT, RFC 9738): as many as a mailbox can have
	Watched      int             // mailboxes that NOTIFY watches for a connection: 20,000
	Contexts     int             // search results that a connection has kept up to date: 16
	LoginTime    time.Duration   // from the greeting to the login: 60 s
	IdleTime     time.Duration   // between commands (RFC 9051 §5.4 wants 30 min at least): 30 min
	ReadTime     time.Duration   // between two pieces of a command: 5 min
	WriteTime    time.Duration   // for a client to take 16 KiB: 2 min
	Progress     time.Duration   // between two reports of a command that takes long: 10 s
	ShutdownTime time.Duration   // for commands under way: 10 s
	Command      imapwire.Limits // of one command, after login
}

func (l Limits) withDefaults() Limits {
	setDefault(&l.MessageSize, 100<<20)
	setDefault(&l.Header, 1<<20)
	setDefault(&l.Cards, 64<<20)
	setDefault(&l.Errors, 50)
	setDefault(&l.Logins, 3)
	setDefault(&l.Connections, 50000)
	setDefault(&l.PerHost, 200)
	setDefault(&l.Messages, 1<<32-1)
	setDefault(&l.Watched, 20_000)
	setDefault(&l.Contexts, 16)
	setDefault(&l.LoginTime, time.Minute)
	setDefault(&l.IdleTime, 30*time.Minute)
	setDefault(&l.ReadTime, 5*time.Minute)
	setDefault(&l.WriteTime, 2*time.Minute)
	setDefault(&l.Progress, 10*time.Second)
	setDefault(&l.ShutdownTime, 10*time.Second)
	return l
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// beforeLogin are the limits of commands of those who have not logged in.
func beforeLogin() imapwire.Limits {
	return imapwire.Limits{Line: 8 << 10, Literal: 8 << 10, Skip: 64 << 10, Depth: 10, List: 100}
}
