// Package milter asks content filters about mail: programs that speak the milter
// protocol of Sendmail, as rspamd, clamav-milter, spamass-milter and opendkim do.
//
// A [Chain] is the filters of one service, in their order. A [Session] follows
// one SMTP connection through it: each filter is asked of the envelope while it
// comes, and of the message when it has been received, and sees it as the
// filters before it have changed it. The connection to a filter is made at the
// first MAIL and serves all messages of the SMTP connection.
//
// A filter sees the message as the client sent it, without the trace fields of
// this host, as with Postfix and Sendmail; what it inserts at the top stands
// below them. What it may do: accept, refuse, refuse for now, discard, quarantine,
// add, insert, change and delete header fields, replace the body, change the
// sender, add and delete recipients.
//
// A filter that is away, too slow or that speaks nonsense does what
// Filter.Default says. Nothing is stored meanwhile: a message exists only in the
// store's spool, and its sender has no answer yet.
package milter

import (
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"time"
)

// Default is what happens to mail while a filter is away.
type Default string

// The defaults.
const (
	TempFail   Default = "tempfail"   // its sender tries again
	Accept     Default = "accept"     // it goes on without the filter
	Reject     Default = "reject"     // it is refused
	Quarantine Default = "quarantine" // it is held in the queue
)

// Event is a step that a filter may be told of.
type Event string

// The events. The end of a message is always told.
const (
	Connect Event = "connect"
	Helo    Event = "helo"
	Mail    Event = "mail"
	Rcpt    Event = "rcpt"
	Header  Event = "header"
	Body    Event = "body"
)

// Events returns all events.
func Events() []Event { return []Event{Connect, Helo, Mail, Rcpt, Header, Body} }

// Filter is one filter. Zero times are the defaults named beside them.
type Filter struct {
	Name           string // for the log
	Network        string // "unix", "tcp"
	Address        string
	Default        Default       // TempFail
	Skip           []Event       // not told of these
	ConnectTimeout time.Duration // to make the connection and agree: 30 s
	CommandTimeout time.Duration // for the answer to an event: 30 s
	MessageTimeout time.Duration // for all of a message's end: 5 min
}

// ParseSocket reads an address as Postfix and Sendmail write them: "unix:/path",
// "local:/path", "inet:host:port", "inet:port@host"; and plain "host:port".
func ParseSocket(s string) (network, address string, err error) {
	kind, rest, ok := strings.Cut(s, ":")
	switch {
	case strings.HasPrefix(s, "/"):
		return "unix", s, nil
	case ok && (kind == "unix" || kind == "local"):
		if rest == "" {
			return "", "", errors.New("the path of the socket is missing")
		}
		return "unix", rest, nil
	case ok && (kind == "inet" || kind == "inet6"):
		s = rest
	}
	if port, host, ok := strings.Cut(s, "@"); ok {
		if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
			host = "[" + host + "]"
		}
		s = host + ":" + port
	}
	if i := strings.LastIndexByte(s, ':'); i <= 0 || i == len(s)-1 {
		return "", "", errors.New("write unix:/path, inet:host:port or host:port")
	}
	return "tcp", s, nil
}

// Chain is the filters of a service. It is safe for concurrent use.
type Chain struct {
	filters []Filter
	host    string // this host's name
	version string // of this program
	log     *slog.Logger
}

// New returns a Chain that asks the filters in their order.
func New(filters []Filter, hostname, version string, log *slog.Logger) *Chain {
	c := &Chain{host: hostname, version: version, log: log}
	for _, f := range filters {
		if f.Default == "" {
			f.Default = TempFail
		}
		for _, d := range []struct {
			value *time.Duration
			usual time.Duration
		}{{&f.ConnectTimeout, 30 * time.Second}, {&f.CommandTimeout, 30 * time.Second}, {&f.MessageTimeout, 5 * time.Minute}} {
			if *d.value == 0 {
				*d.value = d.usual
			}
		}
		c.filters = append(c.filters, f)
	}
	return c
}

// Client is who sends.
type Client struct {
	Address    netip.Addr
	Port       uint16
	Name       string // by its address, where its name leads back to it; empty: not known
	Local      netip.Addr
	LocalPort  uint16
	Service    string // "smtp", "submission", "lmtp"
	Helo       string
	Protocol   string // "ESMTPS"
	TLSVersion string // "TLSv1.3"; empty: no TLS
	Cipher     string
	CipherBits int
}

// Envelope is a message's way so far.
type Envelope struct {
	ID     string // of the message, as the log has it
	From   string // without brackets
	Args   []string
	Login  string // who is logged in; empty: nobody
	Method string // of the login: "PLAIN"
}

// Action is what is to become of a message, or of a recipient.
type Action int

// The actions.
const (
	Continue Action = iota
	Refuse          // with Code, Status and Text
	Discard         // it is accepted and goes nowhere
)

// Verdict is what the filters say.
type Verdict struct {
	Action Action
	Code   int    // 4xx or 5xx
	Status string // enhanced, "5.7.1"
	Text   string
	Filter string // whose verdict it is
}

// refused tells whether the verdict ends what it is about.
func (v Verdict) final() bool { return v.Action != Continue }
