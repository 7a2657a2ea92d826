package imapserver

import (
	"net"
	"net/netip"
	"sync"
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
	LoginTime    time.Duration   // from the greeting to the login: 60 s
	IdleTime     time.Duration   // between commands (RFC 9051 §5.4 wants 30 min at least): 30 min
	ReadTime     time.Duration   // between two pieces of a command: 5 min
	WriteTime    time.Duration   // for a client to take 16 KiB: 2 min
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
	setDefault(&l.LoginTime, time.Minute)
	setDefault(&l.IdleTime, 30*time.Minute)
	setDefault(&l.ReadTime, 5*time.Minute)
	setDefault(&l.WriteTime, 2*time.Minute)
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

// registry knows the open connections.
type registry struct {
	limits Limits
	mu     sync.Mutex
	conns  map[*conn]net.Listener
	hosts  map[netip.Prefix]int // connections without a login, by where they come from
	down   map[net.Listener]bool
}

func newRegistry(l Limits) *registry {
	return &registry{limits: l, conns: map[*conn]net.Listener{}, hosts: map[netip.Prefix]int{}, down: map[net.Listener]bool{}}
}

// enter notes a connection, or returns why there is no room for it.
func (r *registry) enter(ln net.Listener, c *conn) (refusal string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down[ln] {
		return "server shutting down"
	}
	if len(r.conns) >= r.limits.Connections {
		return "too many connections"
	}
	if c.host.IsValid() {
		if r.hosts[c.host] >= r.limits.PerHost {
			return "too many connections from your address"
		}
		r.hosts[c.host]++
	}
	r.conns[c] = ln
	return ""
}

// trusted stops counting a connection against its host: it has logged in.
func (r *registry) trusted(c *conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.uncount(c)
}

// uncount takes c off its host.
func (r *registry) uncount(c *conn) {
	if !c.host.IsValid() {
		return
	}
	if r.hosts[c.host]--; r.hosts[c.host] <= 0 {
		delete(r.hosts, c.host)
	}
	c.host = netip.Prefix{}
}

// leave forgets a connection.
func (r *registry) leave(c *conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.uncount(c)
	delete(r.conns, c)
}

// shutdown turns new connections of ln away and wakes those that wait.
func (r *registry) shutdown(ln net.Listener) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down[ln] = true
	for c, l := range r.conns {
		if l == ln {
			c.stop()
		}
	}
}

// cut ends the connections of ln.
func (r *registry) cut(ln net.Listener) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c, l := range r.conns {
		if l == ln {
			_ = c.raw.Close()
		}
	}
	delete(r.down, ln)
}

// hostOf returns what connections are counted by; invalid for loopback and
// for what is no IP address.
func hostOf(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	if ip.IsLoopback() {
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
