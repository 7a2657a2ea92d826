package main

import (
	"context"
	"net"
	"strconv"

	"expost/internal/config"
	"expost/internal/httpserver"
	"expost/internal/mail"
)

// httpServer answers over HTTP.
func (n *node) httpServer() *httpserver.Server {
	cfg := httpConfig(n.Config, n.Directory.Suffix().String())
	cfg.Log = n.Log
	cfg.Healthy = func(ctx context.Context) error {
		_, err := n.Directory.Resolve(ctx, mail.Address("postmaster@"+n.Config.Domains[0]))
		if mail.KindOf(err) == mail.KindNotExist {
			return nil
		}
		return err
	}
	return httpserver.New(cfg)
}

// httpConfig returns what clients are told of a configuration.
func httpConfig(c config.Config, suffix string) httpserver.Config {
	out := httpserver.Config{Hostname: c.Hostname, Domains: c.Domains, Connections: c.Limits.Connections}
	for _, p := range []struct {
		name string
		list config.Addresses
		tls  bool
	}{
		{"IMAP", c.Listen.IMAPS, true}, {"IMAP", c.Listen.IMAP, false}, {"POP3", c.Listen.POP3S, true}, {"POP3", c.Listen.POP3, false},
		{"SMTP", c.Listen.Submissions, true}, {"SMTP", c.Listen.Submission, false}, {"LDAP", c.Listen.LDAPS, true}, {"LDAP", c.Listen.LDAP, false},
	} {
		if port, ok := firstPort(p.list); ok {
			out.Protocols = append(out.Protocols, httpserver.Protocol{Name: p.name, Port: port, TLS: p.tls})
		}
	}
	if suffix != "" {
		out.BaseDN = suffix
	}
	return out
}

// firstPort returns the port of the first address.
func firstPort(list config.Addresses) (int, bool) {
	for _, a := range list {
		if _, port, err := net.SplitHostPort(a); err == nil {
			if n, err := strconv.Atoi(port); err == nil {
				return n, true
			}
		}
	}
	return 0, false
}
