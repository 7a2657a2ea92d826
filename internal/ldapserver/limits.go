package ldapserver

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"expost/internal/ldap"
)

// shuttingDown is what clients are told at the end.
const shuttingDown = "server is shutting down"

// Limits bound what a client may cost. Zero means the default named beside a field.
type Limits struct {
	MessageSize   int           // bytes of a request after a bind: 16 MiB
	AnonymousSize int           // bytes of a request before: 256 KiB
	Operations    int           // at once on one connection: 16
	Connections   int           // at once: 20,000
	PerHost       int           // at once from one address (IPv6: /64); loopback is not counted: 100
	SearchTime    time.Duration // for one search, in whole seconds, if the client asks for no less: 1 h
	IdleTime      time.Duration // without a request: 15 min
	ReadTime      time.Duration // for the rest of a request that has begun, and for a TLS handshake: 5 min
	WriteTime     time.Duration // for a client to take 64 KiB: 1 min
	ShutdownTime  time.Duration // for operations under way: 5 s
}

func (l Limits) withDefaults() Limits {
	setDefault(&l.MessageSize, 16<<20)
	setDefault(&l.AnonymousSize, 256<<10)
	setDefault(&l.Operations, 16)
	setDefault(&l.Connections, 20000)
	setDefault(&l.PerHost, 100)
	setDefault(&l.SearchTime, time.Hour)
	setDefault(&l.IdleTime, 15*time.Minute)
	setDefault(&l.ReadTime, 5*time.Minute)
	setDefault(&l.WriteTime, time.Minute)
	setDefault(&l.ShutdownTime, 5*time.Second)
	return l
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// registry knows the open connections.
type registry struct {
	limits Limits
	mu     sync.Mutex
	conns  map[*conn]net.Listener
	hosts  map[netip.Prefix]int
	closed map[net.Listener]bool
	last   uint64 // number of the last connection
}

func newRegistry(l Limits) *registry {
	return &registry{limits: l, conns: map[*conn]net.Listener{}, hosts: map[netip.Prefix]int{}, closed: map[net.Listener]bool{}}
}

// enter notes and numbers a connection, or returns why it is refused. Call
// leave at its end.
func (r *registry) enter(ln net.Listener, c *conn) (leave func(), refusal *ldap.Error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	host := hostOf(c.remote)
	counted := !c.remote.IsLoopback()
	switch {
	case r.closed[ln]:
		return nil, ldap.Errorf(ldap.Unavailable, shuttingDown)
	case len(r.conns) >= r.limits.Connections:
		return nil, ldap.Errorf(ldap.Busy, "too many connections")
	case counted && r.hosts[host] >= r.limits.PerHost:
		return nil, ldap.Errorf(ldap.Busy, "too many connections from your address")
	}
	r.last++
	c.number = r.last
	r.conns[c] = ln
	if counted {
		r.hosts[host]++
	}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.conns, c)
		if counted {
			if r.hosts[host]--; r.hosts[host] == 0 {
				delete(r.hosts, host)
			}
		}
	}, nil
}

// hostOf returns the network that counts as one host.
func hostOf(ip netip.Addr) netip.Prefix {
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

// shutdown asks the connections of a listener to end, and refuses new ones.
func (r *registry) shutdown(ln net.Listener) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed[ln] = true
	for c, of := range r.conns {
		if of == ln {
			c.stop()
		}
	}
}

// cut ends the connections of a listener that are left.
func (r *registry) cut(ln net.Listener) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c, of := range r.conns {
		if of == ln {
			_ = c.raw.Close()
		}
	}
}
