// Package imapserver serves mailboxes over IMAP: IMAP4rev1 (RFC 3501),
// IMAP4rev2 (RFC 9051) and extensions.
//
// conn.go has the session loop; each command has a file, with the capabilities
// it brings beside it. A handler decodes its arguments, acts on the store, and
// writes untagged responses into the connection's output; the loop alone reads
// commands and says how they ended. What other sessions did is told in sync.go.
//
// A connection that waits holds no buffers: they come from pools when bytes
// arrive. A client that stops reading stops only its own connection.
package imapserver

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"strings"

	"expost/internal/directory"
	"expost/internal/gate"
	"expost/internal/listener"
	"expost/internal/login"
	"expost/internal/mail"
	"expost/internal/store"
)

// Authenticator checks logins; a directory.Directory is one.
type Authenticator interface {
	// Login returns the account of a login name after checking its password;
	// mail.KindAuth where they do not fit.
	Login(ctx context.Context, login, password string) (*directory.Account, error)
}

// Config of a server.
type Config struct {
	Store         *store.Store
	Directory     Authenticator
	Login         *login.Door    // who is let in; nil: whom Directory knows
	Hostname      string         // in the greeting, and what mailHost must be empty or equal to
	TLSConfig     *tls.Config    // for STARTTLS; nil: none. A TLS listener needs no more than itself.
	People        People         // nil: nothing is shared
	Gate          *gate.Gate     // of accounts that others use; nil: none is ever frozen
	Personal      store.Personal // which flags are each reader's own in mailboxes of others
	Contact       string         // a URI: how to reach the administrators (RFC 5464 §3.2.1.1); may be empty
	Admins        []mail.Address // who may set quotas and the server's shared annotations
	PlaintextAuth listener.PlaintextAuth
	Version       string // told by ID; may be empty
	Limits        Limits
	Logger        *slog.Logger
}

// Server serves any number of listeners.
type Server struct {
	cfg      Config
	log      *slog.Logger
	group    *listener.Group
	buffers  *buffers
	cards    *cardIndex
	commands map[string]command

	capabilities []capability // in the order in which they are told
}

// New returns a Server.
func New(cfg Config) *Server {
	cfg.Limits = cfg.Limits.withDefaults()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Login == nil {
		cfg.Login = login.New(login.Config{Directory: cfg.Directory, TLS: cfg.TLSConfig, Log: cfg.Logger})
	}
	l := cfg.Limits
	commands, told := commandTable()
	return &Server{
		cfg: cfg, log: cfg.Logger, buffers: newBuffers(), cards: newCardIndex(l.Cards), commands: commands, capabilities: told,
		group: listener.NewGroup(listener.Limits{Connections: l.Connections, PerHost: l.PerHost, ShutdownTime: l.ShutdownTime}, cfg.Logger),
	}
}

// Serve accepts connections until ctx ends. Then it stops accepting, says BYE to
// those that wait for a command, lets commands under way end for
// Limits.ShutdownTime, cuts the rest and returns nil. Any other end is an error.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	return s.group.Serve(ctx, ln, func(nc net.Conn, id uint64, trust func()) listener.Session {
		return newConn(s, nc, id, trust)
	})
}

// servedHere tells whether a mailHost names this node.
func (s *Server) servedHere(host string) bool {
	return host == "" || strings.EqualFold(host, s.cfg.Hostname)
}
