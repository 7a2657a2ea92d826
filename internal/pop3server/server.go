// Package pop3server serves INBOX over POP3 (RFC 1939) with the extensions of
// RFC 2449 (CAPA, RESP-CODES, PIPELINING, TOP, UIDL, EXPIRE, LOGIN-DELAY), 2595
// (STLS), 3206 (AUTH-RESP-CODE), 5034 (SASL) and 6856 (UTF8, LANG).
//
// A session holds its account's maildrop for itself, as RFC 1939 §4 wants, and
// sees the INBOX as it was at the login; IMAP sessions and deliveries go on
// beside it. The lock is in memory and ends with the session: after
// Limits.IdleTime without a command or Limits.SessionTime at the latest, or when
// another login wants the maildrop and the session has been silent for
// Limits.TakeOver, as one is whose client has lost its network. Messages are removed at
// QUIT, durably before +OK is said; a session that ends otherwise removes none.
package pop3server

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"expost/internal/directory"
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
	Login         *login.Door // who is let in; nil: whom Directory knows
	Hostname      string      // in the greeting, and what mailHost must be empty or equal to
	TLSConfig     *tls.Config // for STLS; nil: none. A TLS listener needs no more than itself.
	PlaintextAuth listener.PlaintextAuth
	Limits        Limits
	Logger        *slog.Logger
}

// Limits bound what clients may cost. A zero field means the default named.
type Limits struct {
	Connections  int           // at once: 20,000
	PerHost      int           // at once from one address before login; loopback is not counted: 100
	Errors       int           // refused commands of a connection: 20
	Logins       int           // failed logins of a connection: 3
	TakeOver     time.Duration // without a command, after which another session may take the maildrop: 1 min
	SessionTime  time.Duration // of a session: 24 h
	IdleTime     time.Duration // between commands (RFC 1939 §3 wants 10 min at least): 10 min
	LoginTime    time.Duration // from the greeting to the login: 1 min
	WriteTime    time.Duration // for a client to take 16 KiB: 2 min
	ShutdownTime time.Duration // for commands under way: 10 s
}

// withDefaults fills in the zero fields.
func (l Limits) withDefaults() Limits {
	set := func(field *int, value int) {
		if *field == 0 {
			*field = value
		}
	}
	setTime := func(field *time.Duration, value time.Duration) {
		if *field == 0 {
			*field = value
		}
	}
	set(&l.Connections, 20000)
	set(&l.PerHost, 100)
	set(&l.Errors, 20)
	set(&l.Logins, 3)
	setTime(&l.TakeOver, time.Minute)
	setTime(&l.SessionTime, 24*time.Hour)
	setTime(&l.IdleTime, 10*time.Minute)
	setTime(&l.LoginTime, time.Minute)
	setTime(&l.WriteTime, 2*time.Minute)
	setTime(&l.ShutdownTime, 10*time.Second)
	return l
}

// Server serves any number of listeners.
type Server struct {
	cfg   Config
	group *listener.Group

	mu     sync.Mutex
	locked map[mail.AccountID]*holder // maildrops with a session
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
	return &Server{
		cfg:    cfg,
		group:  listener.NewGroup(listener.Limits{Connections: l.Connections, PerHost: l.PerHost, ShutdownTime: l.ShutdownTime}, cfg.Logger),
		locked: map[mail.AccountID]*holder{},
	}
}

// Serve accepts connections until ctx ends, then lets commands under way end for
// Limits.ShutdownTime, cuts the rest and returns nil.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	return s.group.Serve(ctx, ln, func(nc net.Conn, id uint64, trust func()) listener.Session {
		return newConn(s, nc, id, trust)
	})
}

// servedHere tells whether a mailHost names this node.
func (s *Server) servedHere(host string) bool {
	return host == "" || strings.EqualFold(host, s.cfg.Hostname)
}

// holder is a session that has a maildrop.
type holder struct {
	conn *conn
	gone chan struct{} // closed when it has given the maildrop back
}

// lock takes a maildrop for a session, or returns false where another has it and
// is at work.
func (s *Server) lock(ctx context.Context, id mail.AccountID, c *conn) bool {
	for tries := 0; ; tries++ {
		s.mu.Lock()
		h := s.locked[id]
		if h == nil {
			s.locked[id] = &holder{conn: c, gone: make(chan struct{})}
			s.mu.Unlock()
			return true
		}
		s.mu.Unlock()
		if tries > 0 || !h.conn.silentFor(s.cfg.Limits.TakeOver) {
			return false
		}
		c.log.Info("a silent session loses its mailbox to another", "account", id)
		h.conn.takenOver()
		select {
		case <-h.gone:
		case <-ctx.Done():
			return false
		case <-time.After(s.cfg.Limits.ShutdownTime):
			return false
		}
	}
}

// unlock gives a maildrop back.
func (s *Server) unlock(id mail.AccountID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.locked[id]; h != nil {
		close(h.gone)
		delete(s.locked, id)
	}
}
