package config

import (
	"net"
	"strings"
)

// DNS is whom names are asked of.
type DNS struct {
	Server string `toml:"server"` // "address:port" or "address"; empty: the machine's resolvers
}

func (d *DNS) complete(wrong func(key, format string, args ...any) error) error {
	if d.Server == "" {
		return nil
	}
	if _, _, err := net.SplitHostPort(d.Server); err == nil {
		return nil
	}
	host := strings.TrimSuffix(strings.TrimPrefix(d.Server, "["), "]")
	if net.ParseIP(host) == nil {
		return wrong("dns.server", "%q is neither an address nor address:port", d.Server)
	}
	d.Server = net.JoinHostPort(host, "53")
	return nil
}
