package smtpserver

import "time"

// Limits bound what a client may cost. Zero means the default named beside a field.
type Limits struct {
	MessageSize  int64         // bytes: 100 MiB
	Recipients   int           // of one message: 1,000
	Errors       int           // refused commands of a connection: 20
	Idle         int           // commands that do nothing, of a connection without mail: 100
	Logins       int           // failed logins of a connection: 3
	Connections  int           // at once: 20,000
	PerHost      int           // at once from one address (IPv6: /64) before a login; loopback is not counted: 100
	CommandTime  time.Duration // for one command line: 5 min (RFC 5321 §4.5.3.2.7)
	DataTime     time.Duration // between two pieces of a message: 3 min (RFC 5321 §4.5.3.2.5)
	DataRate     int64         // bytes/s that a message must come at, after DataTime: 256
	ShutdownTime time.Duration // for messages in transfer: 10 s
}

func (l Limits) withDefaults() Limits {
	setDefault(&l.MessageSize, 100<<20)
	setDefault(&l.Recipients, 1000)
	setDefault(&l.Errors, 20)
	setDefault(&l.Idle, 100)
	setDefault(&l.Logins, 3)
	setDefault(&l.Connections, 20000)
	setDefault(&l.PerHost, 100)
	setDefault(&l.CommandTime, 5*time.Minute)
	setDefault(&l.DataTime, 3*time.Minute)
	setDefault(&l.DataRate, 256)
	setDefault(&l.ShutdownTime, 10*time.Second)
	return l
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
