// Package smtpserver receives mail: SMTP from other hosts (RFC 5321),
// submission from users' programs (RFC 6409) and LMTP (RFC 2033), with
// PIPELINING, SIZE, 8BITMIME, SMTPUTF8, CHUNKING, ENHANCEDSTATUSCODES, DSN,
// STARTTLS and AUTH. A message is in its mailboxes, on disk, when it is answered
// with 250. Nothing is relayed.
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
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"expost/internal/delivery"
	"expost/internal/directory"
)

// Mode is whom a server serves.
type Mode int

// The modes.
const (
	Receive    Mode = iota // other hosts: mail for our domains, no AUTH
	Submission             // our users: AUTH first, and a sender address of their own
	LMTP                   // another mail server in front of us
)

// PlaintextAuth says where a password may come in clear text.
type PlaintextAuth string

// The values of PlaintextAuth; the empty one is PlaintextNever.
const (
	PlaintextNever    PlaintextAuth = "never"
	PlaintextLoopback PlaintextAuth = "loopback"
	PlaintextAlways   PlaintextAuth = "always"
)

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
	PlaintextAuth PlaintextAuth
	BareNewline   BareNewline
	Limits        Limits
	Directory     directory.Directory
	Delivery      *delivery.Agent
	Logger        *slog.Logger
}

// Server serves any number of listeners.
type Server struct {
	cfg     Config
	log     *slog.Logger
	conns   *registry
	buffers *buffers
}

// New returns a Server.
func New(cfg Config) *Server {
	cfg.Limits = cfg.Limits.withDefaults()
	return &Server{cfg: cfg, log: cfg.Logger, conns: newRegistry(cfg.Limits), buffers: newBuffers()}
}

// Serve accepts connections until ctx ends; those of a [tls.NewListener] speak
// TLS from the first byte (RFC 8314). When ctx ends Serve stops accepting, says 421 to those that wait for a
// command, lets messages in transfer end for Limits.ShutdownTime, cuts the rest
// and returns nil. Any other end is an error.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	var wg sync.WaitGroup
	err := s.accept(ctx, ln, &wg)
	s.conns.shutdown(ln)
	ended := make(chan struct{})
	go func() { wg.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(s.cfg.Limits.ShutdownTime):
		s.conns.cut(ln)
		<-ended
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// accept starts a goroutine for each connection. It waits where the process has
// no descriptors left, and ends with the listener.
func (s *Server) accept(ctx context.Context, ln net.Listener, wg *sync.WaitGroup) error {
	for {
		nc, err := ln.Accept()
		if err == nil {
			wg.Go(func() { s.serve(ctx, ln, nc) })
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
	defer c.wire.release(s.buffers)
	refusal, leave := s.conns.enter(ln, c)
	if refusal != "" {
		c.turnAway(refusal)
		return
	}
	defer leave()
	// A client that goes away, or our own shutdown, must not stop a delivery half way.
	c.run(context.WithoutCancel(ctx))
}
