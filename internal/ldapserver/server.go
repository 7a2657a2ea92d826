// Package ldapserver answers LDAP v3 (RFC 4511) over a directory: the address
// book of Outlook, Thunderbird and every other LDAP client, and ldapadd's
// target.
//
// conn.go has the session loop, output.go the one buffered writer of a
// connection; each operation has a file. A connection has one goroutine that
// reads; operations run beside one another, up to a bound, and are answered as
// they end. Bind and StartTLS wait for the operations before them and hold up
// those behind (RFC 4511 §4.2.1, §4.14.1).
package ldapserver

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"expost/internal/directory"
	"expost/internal/login"
	"expost/internal/schema"
)

// PlaintextAuth says where a password may come in clear text.
type PlaintextAuth string

// The values of PlaintextAuth; the empty one is PlaintextNever.
const (
	PlaintextNever    PlaintextAuth = "never"
	PlaintextLoopback PlaintextAuth = "loopback"
	PlaintextAlways   PlaintextAuth = "always"
)

// Config of a server.
type Config struct {
	Directory     directory.Directory
	Login         *login.Door    // who is let in by SASL or by a login name; nil: whom Directory knows
	Schema        *schema.Schema // what cn=Subschema shows; nil: schema.Builtin
	TLSConfig     *tls.Config    // for StartTLS; nil: none. A TLS listener needs no more than itself.
	PlaintextAuth PlaintextAuth
	AllowV2       bool   // LDAPv2 binds
	Version       string // vendorVersion of the root DSE; may be empty
	ChangesAt     string // URL of the server that changes are made at, where this one has a copy; empty: here
	Limits        Limits
	Logger        *slog.Logger
}

// Server serves any number of listeners.
type Server struct {
	cfg     Config
	log     *slog.Logger
	conns   *registry
	buffers sync.Pool // of *[]byte, for output
	special specialEntries

	controls map[string]controlKind
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
	if cfg.Schema == nil {
		cfg.Schema = schema.Builtin()
	}
	s := &Server{cfg: cfg, log: cfg.Logger, conns: newRegistry(cfg.Limits), controls: controlKinds()}
	s.buffers.New = func() any { return new(make([]byte, 0, flushSize)) }
	s.special = newSpecialEntries(&s.cfg)
	return s
}

// Serve accepts connections until ctx ends; those of a [tls.NewListener] speak
// TLS from the first byte. When ctx ends Serve stops accepting and reading,
// lets operations under way end for Limits.ShutdownTime, cuts the rest and
// returns nil. Any other end is an error.
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
	defer func() { _ = nc.Close() }()
	c := newConn(s, nc)
	leave, refusal := s.conns.enter(ln, c)
	if refusal != nil {
		c.turnAway(refusal)
		return
	}
	defer leave()
	c.run(ctx)
}
