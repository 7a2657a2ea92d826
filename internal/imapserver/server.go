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
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"expost/internal/directory"
	"expost/internal/store"
)

// PlaintextAuth says where a password may come in clear text.
type PlaintextAuth string

// The values of PlaintextAuth; the empty one is PlaintextNever.
const (
	PlaintextNever    PlaintextAuth = "never"
	PlaintextLoopback PlaintextAuth = "loopback"
	PlaintextAlways   PlaintextAuth = "always"
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
	Hostname      string      // in the greeting, and what mailHost must be empty or equal to
	TLSConfig     *tls.Config // for STARTTLS; nil: none. A TLS listener needs no more than itself.
	PlaintextAuth PlaintextAuth
	Version       string // told by ID; may be empty
	Limits        Limits
	Logger        *slog.Logger
}

// Server serves any number of listeners.
type Server struct {
	cfg      Config
	log      *slog.Logger
	conns    *registry
	buffers  *buffers
	cards    *cardIndex
	commands map[string]command
}

// New returns a Server.
func New(cfg Config) *Server {
	cfg.Limits = cfg.Limits.withDefaults()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{cfg: cfg, log: cfg.Logger, conns: newRegistry(cfg.Limits), buffers: newBuffers(), cards: newCardIndex(cfg.Limits.Cards), commands: commandTable()}
}

// Serve accepts connections until ctx ends. Then it stops accepting, says BYE to
// those that wait for a command, lets commands under way end for
// Limits.ShutdownTime, cuts the rest and returns nil. Any other end is an error.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var wg sync.WaitGroup
	err := s.accept(ctx, ln, func(nc net.Conn) { wg.Go(func() { s.serve(work, ln, nc) }) })
	s.conns.shutdown(ln)
	ended := make(chan struct{})
	go func() { wg.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(s.cfg.Limits.ShutdownTime):
		cancel()
		s.conns.cut(ln)
		<-ended
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// accept calls start with each connection. It waits where the process has no
// descriptors left, and ends with the listener.
func (s *Server) accept(ctx context.Context, ln net.Listener, start func(net.Conn)) error {
	for {
		nc, err := ln.Accept()
		if err == nil {
			start(nc)
			continue
		}
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			_ = ln.Close()
			return err
		}
		s.log.Warn("accepting a connection", slog.String("listener", ln.Addr().String()), slog.Any("error", err))
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// serve is the life of one connection.
func (s *Server) serve(ctx context.Context, ln net.Listener, nc net.Conn) {
	c := newConn(s, nc)
	defer c.close()
	if refusal := s.conns.enter(ln, c); refusal != "" {
		c.turnAway(refusal)
		return
	}
	defer s.conns.leave(c)
	c.run(ctx)
}

// servedHere tells whether a mailHost names this node.
func (s *Server) servedHere(host string) bool {
	return host == "" || strings.EqualFold(host, s.cfg.Hostname)
}
