package smtpserver

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// Limits bound what a client may cost. Zero means the default named beside a field.
type Limits struct {
	MessageSize  int64         // bytes: 100 MiB
	Recipients   int           // of one message: 1,000
	Errors       int           // refused commands of a connection: 20
	Idle         int           // commands that do nothing, of a connection without mail: 100
	Logins       int           // failed logins of a connection: 3
	Connections  int           // at once: 20,000
	PerHost      int           // at once from one address (IPv6: /64); loopback is not counted: 100
	CommandTime  time.Duration // for one command line: 5 min (RFC 5321 §4.5.3.2.7)
	DataTime     time.Duration // between two pieces of a message: 3 min (RFC 5321 §4.5.3.2.5)
	DataRate     int64         // bytes/s that a message must come at, after DataTime: 256
	ShutdownTime time.Duration // for messages in transfer: 10 s
}

func (l Limits) withDefaults() Limits {
	setDefault(&l.MessageSize, 100<<20)
	setDefault(&l.Recipients, 1000)
	setDefault(&l.Errors, 20)
	setDefault(&l.Idle, 100)
	setDefault(&l.Logins, 3)
	setDefault(&l.Connections, 20000)
	setDefault(&l.PerHost, 100)
	setDefault(&l.CommandTime, 5*time.Minute)
	setDefault(&l.DataTime, 3*time.Minute)
	setDefault(&l.DataRate, 256)
	setDefault(&l.ShutdownTime, 10*time.Second)
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
}

func newRegistry(l Limits) *registry {
	return &registry{limits: l, conns: map[*conn]net.Listener{}, hosts: map[netip.Prefix]int{}, closed: map[net.Listener]bool{}}
}

// enter notes a connection, or returns why it is refused. Call leave at its end.
func (r *registry) enter(ln net.Listener, c *conn) (refusal string, leave func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	host := hostOf(c.remote)
	counted := !c.remote.IsLoopback()
	switch {
	case r.closed[ln]:
		return "4.3.2 shutting down, try again later", nil
	case len(r.conns) >= r.limits.Connections:
		return "4.3.2 too many connections, try again later", nil
	case counted && r.hosts[host] >= r.limits.PerHost:
		return "4.7.0 too many connections from your address, try again later", nil
	}
	r.conns[c] = ln
	if counted {
		r.hosts[host]++
	}
	return "", func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.conns, c)
		if counted {
			if r.hosts[host]--; r.hosts[host] == 0 {
				delete(r.hosts, host)
			}
		}
	}
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
			c.wire.interrupt()
		}
	}
}

// cut ends the connections of a listener that are left.
func (r *registry) cut(ln net.Listener) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c, of := range r.conns {
		if of == ln {
			c.wire.cut()
		}
	}
}
