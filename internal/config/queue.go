package config

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"expost/internal/mail"
	"expost/internal/route"
	"expost/internal/smtpclient"
)

// Queue is how mail leaves this host.
type Queue struct {
	Lifetime        Duration `toml:"lifetime"`       // how long a message is tried before it is returned
	DelayNotice     Duration `toml:"delay-notice"`   // after which its sender hears that it is late
	SourceAddress   []string `toml:"source-address"` // one of each family; none: the system chooses
	Port            uint16   `toml:"port"`           // of hosts that DNS names; 0: 25
	Sessions        int      `toml:"sessions"`       // outbound connections, in all
	SessionsPerHost int      `toml:"sessions-per-host"`
	Smarthost       Relay    `toml:"smarthost"` // takes all mail; no host: DNS says where it goes
	Routes          []Route  `toml:"route"`
}

// Relay is a host that takes mail.
type Relay struct {
	Host         string               `toml:"host"` // "name", "name:port", "lmtp:name:port"
	TLS          smtpclient.TLSPolicy `toml:"tls"`
	Login        string               `toml:"login"`
	PasswordFile string               `toml:"password-file"`
	CA           string               `toml:"ca"` // PEM; default: the system's
}

// Route is where the mail of one domain goes.
type Route struct {
	Domain string `toml:"domain"` // ".example.org" is for all below example.org
	Relay
}

// Duration is a time.Duration, written "90m" or "5d".
type Duration time.Duration

// UnmarshalText reads Go's form, and days.
func (d *Duration) UnmarshalText(b []byte) error {
	text, days := strings.CutSuffix(string(b), "d")
	if days {
		text += "h"
	}
	v, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%q is no time: write 90m, 4h or 5d", b)
	}
	if days {
		v *= 24
	}
	*d = Duration(v)
	return nil
}

// files returns the keys that name files.
func (q *Queue) files() []*string {
	list := []*string{&q.Smarthost.PasswordFile, &q.Smarthost.CA}
	for i := range q.Routes {
		list = append(list, &q.Routes[i].PasswordFile, &q.Routes[i].CA)
	}
	return list
}

func (q *Queue) check(wrong func(key, format string, args ...any) error) error {
	if q.Lifetime <= 0 || q.DelayNotice <= 0 {
		return wrong("queue.lifetime, queue.delay-notice", "must be above zero")
	}
	if q.Sessions < 1 || q.SessionsPerHost < 1 {
		return wrong("queue.sessions, queue.sessions-per-host", "must be above zero")
	}
	for _, s := range q.SourceAddress {
		if _, err := netip.ParseAddr(s); err != nil {
			return wrong("queue.source-address", "%q is no address", s)
		}
	}
	if q.Smarthost.Host != "" {
		if err := q.Smarthost.check(); err != nil {
			return wrong("queue.smarthost", "%v", err)
		}
	}
	for _, r := range q.Routes {
		if r.Domain == "" {
			return wrong("queue.route", "a route needs a domain")
		}
		if r.Host == "" {
			continue // by DNS, in spite of the smarthost
		}
		if err := r.check(); err != nil {
			return wrong("queue.route "+r.Domain, "%v", err)
		}
	}
	return nil
}

func (r *Relay) check() error {
	if _, err := route.ParseRelay(r.Host); err != nil {
		return err
	}
	if err := checkTLS(r.TLS); err != nil {
		return err
	}
	if (r.Login == "") != (r.PasswordFile == "") {
		return fmt.Errorf("login and password-file must be given together")
	}
	return nil
}

func checkTLS(p smtpclient.TLSPolicy) error {
	switch p {
	case "", smtpclient.TLSNever, smtpclient.TLSMay, smtpclient.TLSMust, smtpclient.TLSVerify, smtpclient.TLSImplicit:
		return nil
	}
	return fmt.Errorf("tls %q is none of never, may, must, verify, implicit", p)
}

// Sources returns the source addresses.
func (q *Queue) Sources() []netip.Addr {
	var list []netip.Addr
	for _, s := range q.SourceAddress {
		if ip, err := netip.ParseAddr(s); err == nil {
			list = append(list, ip.Unmap())
		}
	}
	return list
}

// Table returns the routes, passwords read.
func (q *Queue) Table() (*route.Table, error) {
	t := &route.Table{Domains: map[string]*route.Relay{}}
	var err error
	if t.Default, err = q.Smarthost.relay(); err != nil {
		return nil, fmt.Errorf("reading the smarthost: %w", err)
	}
	for _, r := range q.Routes {
		if t.Domains[mail.DomainKey(r.Domain)], err = r.relay(); err != nil {
			return nil, fmt.Errorf("reading the route of %s: %w", r.Domain, err)
		}
	}
	return t, nil
}

// relay returns the host; nil where none is given.
func (r *Relay) relay() (*route.Relay, error) {
	if r.Host == "" {
		return nil, nil
	}
	out, err := route.ParseRelay(r.Host)
	if err != nil {
		return nil, err
	}
	out.TLS, out.Login = r.TLS, r.Login
	if out.Roots, err = readCA(r.CA); err != nil {
		return nil, fmt.Errorf("reading the certificates: %w", err)
	}
	if r.PasswordFile != "" {
		b, err := os.ReadFile(r.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("reading the password: %w", err)
		}
		out.Password = strings.TrimRight(string(b), "\r\n")
	}
	return out, nil
}
