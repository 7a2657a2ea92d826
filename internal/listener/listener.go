// Package listener accepts connections for the protocol servers: it counts them,
// turns away those beyond the limits, and ends a server in two steps: first it
// stops accepting and asks the sessions to end, then it cuts those that are left.
package listener

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"
)

// Session is one connection's life, a protocol's matter.
type Session interface {
	// Run serves the connection until its end. ctx ends when the session is
	// cut; a shutdown alone does not end it, so that what is under way may finish.
	Run(ctx context.Context)
	// Refuse tells the client why it is turned away. Run is not called then.
	Refuse(why Refusal)
	// Stop asks a running session to end soon. Any goroutine may call it, once.
	Stop()
}

// Refusal is why a connection is turned away.
type Refusal int

// The reasons.
const (
	ShuttingDown    Refusal = iota + 1
	TooMany                 // connections of this server
	TooManyFromHost         // connections from one address
)

// String says the reason to a client.
func (r Refusal) String() string {
	switch r {
	case ShuttingDown:
		return "server is shutting down"
	case TooMany:
		return "too many connections"
	case TooManyFromHost:
		return "too many connections from your address"
	}
	return "refused"
}

// Limits of a Group.
type Limits struct {
	Connections  int           // at once, of all listeners
	PerHost      int           // at once from one address (IPv6: /64); loopback is not counted
	ShutdownTime time.Duration // between asking the sessions to end and cutting them
}

// Group is the connections of one server, over any number of listeners.
type Group struct {
	limits Limits
	log    *slog.Logger

	mu       sync.Mutex
	sessions map[*entry]struct{}
	hosts    map[netip.Prefix]int
	last     uint64
}

// entry is a connection that is being served.
type entry struct {
	conn    net.Conn
	session Session
	of      net.Listener
	host    netip.Prefix // invalid: not counted
}

// NewGroup returns a Group without listeners.
func NewGroup(limits Limits, log *slog.Logger) *Group {
	return &Group{limits: limits, log: log, sessions: map[*entry]struct{}{}, hosts: map[netip.Prefix]int{}}
}

// New makes the session of a connection. id numbers the connections of a Group
// from 1. trust stops counting the connection against its host: call it when
// the client has logged in.
type New func(conn net.Conn, id uint64, trust func()) Session

// Serve accepts connections of ln until ctx ends, then ends them in two steps
// and returns nil. Any other end of the listener is an error. It closes ln and
// every connection.
func (g *Group) Serve(ctx context.Context, ln net.Listener, start New) error {
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	work, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	var wg sync.WaitGroup
	err := g.accept(ctx, ln, func(conn net.Conn) {
		wg.Go(func() { g.serve(ctx, work, &entry{conn: conn, of: ln}, start) })
	})
	g.each(ln, func(e *entry) { e.session.Stop() })
	ended := make(chan struct{})
	go func() { wg.Wait(); close(ended) }()
	patience := time.NewTimer(g.limits.ShutdownTime)
	defer patience.Stop()
	select {
	case <-ended:
	case <-patience.C:
		cut()
		g.each(ln, func(e *entry) { _ = e.conn.Close() })
		<-ended
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// accept calls start with each connection. It waits where the process has no
// descriptors left, and ends with the listener.
func (g *Group) accept(ctx context.Context, ln net.Listener, start func(net.Conn)) error {
	for {
		conn, err := ln.Accept()
		if err == nil {
			start(conn)
			continue
		}
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			_ = ln.Close()
			return err
		}
		g.log.Warn("accepting a connection", "listener", ln.Addr().String(), "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// serve is the life of one connection. A panic ends that connection only.
func (g *Group) serve(ctx, work context.Context, e *entry, start New) {
	defer e.conn.Close()
	defer func() {
		if p := recover(); p != nil {
			g.log.Error("a session broke", "remote", e.conn.RemoteAddr().String(), "panic", p, "stack", string(debug.Stack()))
		}
	}()
	refusal, id := g.enter(ctx, e)
	defer g.leave(e)
	e.session = start(e.conn, id, func() { g.trust(e) })
	if refusal != 0 {
		e.session.Refuse(refusal)
		return
	}
	if !g.admit(ctx, e) {
		e.session.Refuse(ShuttingDown)
		return
	}
	e.session.Run(work)
}

// enter numbers a connection and counts it against its host.
func (g *Group) enter(ctx context.Context, e *entry) (why Refusal, id uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last++
	host := hostOf(e.conn.RemoteAddr())
	switch {
	case ctx.Err() != nil:
		return ShuttingDown, g.last
	case len(g.sessions) >= g.limits.Connections:
		return TooMany, g.last
	case host.IsValid() && g.hosts[host] >= g.limits.PerHost:
		return TooManyFromHost, g.last
	}
	if host.IsValid() {
		e.host = host
		g.hosts[host]++
	}
	return 0, g.last
}

// admit lists a session, so that a shutdown finds it; false where the shutdown
// has begun meanwhile.
func (g *Group) admit(ctx context.Context, e *entry) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if ctx.Err() != nil {
		return false
	}
	g.sessions[e] = struct{}{}
	return true
}

// trust stops counting a connection against its host.
func (g *Group) trust(e *entry) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.uncount(e)
}

// leave forgets a connection.
func (g *Group) leave(e *entry) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.uncount(e)
	delete(g.sessions, e)
}

func (g *Group) uncount(e *entry) {
	if !e.host.IsValid() {
		return
	}
	if g.hosts[e.host]--; g.hosts[e.host] <= 0 {
		delete(g.hosts, e.host)
	}
	e.host = netip.Prefix{}
}

// each calls fn with every session of a listener.
func (g *Group) each(ln net.Listener, fn func(*entry)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for e := range g.sessions {
		if e.of == ln {
			fn(e)
		}
	}
}

// hostOf returns what connections are counted by; invalid for loopback and for
// what is no IP address.
func hostOf(a net.Addr) netip.Prefix {
	ip := AddrOf(a)
	if !ip.IsValid() || ip.IsLoopback() {
		return netip.Prefix{}
	}
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// AddrOf returns the IP address of a connection's end, without a zone; invalid
// for what has none.
func AddrOf(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap().WithZone("")
}

// TLSState returns the state of a TLS connection; nil for any other.
func TLSState(conn net.Conn) *tls.ConnectionState {
	tc, ok := conn.(*tls.Conn)
	if !ok {
		return nil
	}
	return new(tc.ConnectionState())
}

// PlaintextAuth says where a password may come in clear text.
type PlaintextAuth string

// The values of PlaintextAuth; the empty one is PlaintextNever.
const (
	PlaintextNever    PlaintextAuth = "never"
	PlaintextLoopback PlaintextAuth = "loopback"
	PlaintextAlways   PlaintextAuth = "always"
)

// Allows tells whether a client at this address may send a password, over TLS or not.
func (p PlaintextAuth) Allows(client netip.Addr, tls bool) bool {
	return tls || p == PlaintextAlways || p == PlaintextLoopback && client.IsLoopback()
}
