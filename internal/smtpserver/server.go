// Package smtpserver receives mail: SMTP from other hosts (RFC 5321),
// submission from users' programs (RFC 6409) and LMTP (RFC 2033), with
// PIPELINING, SIZE, 8BITMIME, SMTPUTF8, CHUNKING, ENHANCEDSTATUSCODES, DSN, LIMITS,
// DELIVERBY, MT-PRIORITY, FUTURERELEASE, REQUIRETLS, STARTTLS and AUTH. A message is in its mailboxes, on disk, when it is answered
// with 250, or in the queue where it goes elsewhere; only for those who are logged
// in does it go anywhere.
//
// conn.go has the session loop, wire.go the bytes and the time they may take;
// each command has a file. Handlers return a reply and do no I/O, but for those
// of commands that are themselves a conversation (AUTH, BDAT, DATA, STARTTLS).
//
// # Line ends
//
// CRLF alone ends a line of a message, and CRLF "." CRLF alone ends DATA: a dot
// beside a bare LF or a bare CR is content, so nobody can smuggle a second message
// past a host that reads line ends in another way. What else happens to a bare LF
// or CR is [BareNewline]: a message from another host is refused, as RFC 5321
// §2.3.8 forbids to send it and an honest host does not; one from a user's
// program, over LMTP or over loopback has its line ends mended, because old
// programs and scripts do write them.
package smtpserver

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"

	"expost/internal/delivery"
	"expost/internal/directory"
	"expost/internal/listener"
	"expost/internal/login"
	"expost/internal/mail"
	"expost/internal/maillog"
	"expost/internal/milter"
	"expost/internal/ratelimit"
)

// Mode is whom a server serves.
type Mode int

// The modes.
const (
	Receive    Mode = iota // other hosts: mail for our domains, no AUTH
	Submission             // our users: AUTH first, and a sender address of their own
	LMTP                   // another mail server in front of us
)

// String returns the name of the service.
func (m Mode) String() string { return [...]string{"smtp", "submission", "lmtp"}[m] }

// BareNewline says what becomes of a message with a bare LF or a bare CR.
type BareNewline string

// The values of BareNewline. The empty one refuses from other hosts that are
// not on loopback and mends everywhere else.
const (
	BareReject BareNewline = "reject" // 550 and the end of the connection
	BareMend   BareNewline = "mend"   // each becomes CRLF, and CR CR LF one CRLF
)

// Config of a server.
type Config struct {
	Mode          Mode
	Hostname      string
	TLSConfig     *tls.Config // for STARTTLS; nil: none
	PlaintextAuth listener.PlaintextAuth
	BareNewline   BareNewline
	Limits        Limits
	Directory     directory.Directory
	Login         *login.Door // who is let in; nil: whom Directory knows
	Delivery      *delivery.Agent
	Filters       *milter.Chain // content filters; nil: none
	Policy        Policy
	Postmaster    mail.Address // hears of senders who send too much; empty: nobody does
	MailLog       *maillog.Log // nil: the mail log's lines go to Logger
	Logger        *slog.Logger
}

// Server serves any number of listeners.
type Server struct {
	cfg     Config
	group   *listener.Group
	buffers *buffers
	alerts  *ratelimit.Limiter
}

// New returns a Server.
func New(cfg Config) *Server {
	cfg.Limits = cfg.Limits.withDefaults()
	if cfg.Login == nil {
		cfg.Login = login.New(login.Config{Directory: cfg.Directory, TLS: cfg.TLSConfig, Log: cfg.Logger})
	}
	l := cfg.Limits
	return &Server{
		cfg:     cfg,
		group:   listener.NewGroup(listener.Limits{Connections: l.Connections, PerHost: l.PerHost, ShutdownTime: l.ShutdownTime}, cfg.Logger),
		buffers: newBuffers(),
		alerts:  newAlerts(),
	}
}

// Serve accepts connections until ctx ends; those of a [tls.NewListener] speak
// TLS from the first byte (RFC 8314). When ctx ends Serve stops accepting, says
// 421 to those that wait for a command, lets messages in transfer end for
// Limits.ShutdownTime, cuts the rest and returns nil. Any other end is an error.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	return s.group.Serve(ctx, ln, func(nc net.Conn, _ uint64, trust func()) listener.Session {
		return newConn(s, nc, trust)
	})
}
