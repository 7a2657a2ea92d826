package queue

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"expost/internal/route"
	"expost/internal/smtpclient"
)

// Remote is the Carrier over the network.
type Remote struct {
	Router    *route.Router
	Dialer    net.Dialer   // its Timeout: of one connection, 30 s where it is zero
	Sources   []netip.Addr // source addresses, the first of a family counts; none: the system chooses
	LocalName string
	TLSConfig *tls.Config // roots and versions; nil: the system's
	Timeouts  smtpclient.Timeouts
}

var _ Carrier = (*Remote)(nil)

// link is a Session of a Remote.
type link struct {
	*smtpclient.Conn
	remote  string
	carrier *Remote
	others  []place // that may be tried instead
}

// place is an address of a host.
type place struct {
	host *route.Host
	addr netip.AddrPort
}

// Remote returns the host's name.
func (l link) Remote() string { return l.remote }

// Next opens a session to another host of the hop, once: what two hosts put off
// waits.
func (l link) Next(ctx context.Context) Session {
	s, err := l.carrier.first(ctx, l.others)
	if err != nil {
		return nil
	}
	s.others = nil
	return s
}

// Dial opens a session to the first host of the hop that takes one.
func (r *Remote) Dial(ctx context.Context, hop string) (Session, error) {
	hosts, err := r.Router.Hosts(ctx, hop)
	if err != nil {
		return nil, err
	}
	var places []place
	for i := range hosts {
		for _, addr := range hosts[i].Addrs {
			places = append(places, place{&hosts[i], addr})
		}
	}
	s, err := r.first(ctx, places)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// first opens a session to the first of places that takes one.
func (r *Remote) first(ctx context.Context, places []place) (s link, err error) {
	var errs []error
	for i, p := range places {
		c, err := r.open(ctx, p.host, p.addr)
		if err == nil {
			return link{c, p.host.Name, r, places[i+1:]}, nil
		}
		if ctx.Err() != nil {
			return s, ctx.Err()
		}
		errs = append(errs, fmt.Errorf("%s (%s): %w", p.host.Name, p.addr, err))
	}
	if len(errs) == 0 {
		return s, errNoHost
	}
	return s, errors.Join(errs...)
}

var errNoHost = errors.New("there is no other host")

// open opens a session to one address. Where TLS is a wish and cannot be agreed
// on, it does without (RFC 7435 §3).
func (r *Remote) open(ctx context.Context, h *route.Host, addr netip.AddrPort) (*smtpclient.Conn, error) {
	c, err := r.connect(ctx, h, addr, h.Relay.TLS)
	if errors.Is(err, smtpclient.ErrTLS) && (h.Relay.TLS == smtpclient.TLSMay || h.Relay.TLS == "") {
		c, err = r.connect(ctx, h, addr, smtpclient.TLSNever)
	}
	return c, err
}

func (r *Remote) connect(ctx context.Context, h *route.Host, addr netip.AddrPort, policy smtpclient.TLSPolicy) (*smtpclient.Conn, error) {
	dialer := r.Dialer
	if dialer.Timeout == 0 {
		dialer.Timeout = 30 * time.Second
	}
	for _, ip := range r.Sources {
		if ip.Is4() == addr.Addr().Is4() {
			dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, 0))
			break
		}
	}
	nc, err := dialer.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return nil, err
	}
	name, config := h.Name, r.TLSConfig
	if h.Relay.CertName != "" {
		name = h.Relay.CertName
	}
	if h.Relay.Roots != nil {
		if config = (&tls.Config{}); r.TLSConfig != nil {
			config = r.TLSConfig.Clone()
		}
		config.RootCAs = h.Relay.Roots
	}
	return smtpclient.New(ctx, nc, smtpclient.Options{
		LocalName: r.LocalName, ServerName: name, LMTP: h.Relay.LMTP, TLS: policy, TLSConfig: config,
		Login: h.Relay.Login, Password: h.Relay.Password, Timeouts: r.Timeouts,
	})
}
