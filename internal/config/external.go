package config

import (
	"errors"
	"net"
	"net/netip"
	"strings"

	"expost/internal/ldap"
	"expost/internal/ldapclient"
)

// External is the directory that another server keeps.
type External struct {
	Servers           []string `toml:"servers"` // URLs; the first that answers is asked
	Type              string   `toml:"type"`    // openldap | ad
	BindDN            string   `toml:"bind-dn"`
	PasswordFile      string   `toml:"password-file"`
	TLS               string   `toml:"tls"` // of ldap:// URLs: starttls | never
	CAFile            string   `toml:"ca-file"`
	Timeout           Duration `toml:"timeout"`
	Connections       int      `toml:"connections"`
	Filter            string   `toml:"filter"` // of accounts, besides their class
	HostAttribute     string   `toml:"host-attribute"`
	StoreAttribute    string   `toml:"store-attribute"`
	CacheTime         Duration `toml:"cache-time"`
	NegativeCacheTime Duration `toml:"negative-cache-time"`
	StaleTime         Duration `toml:"stale-time"`
	CacheEntries      int      `toml:"cache-entries"`
}

// StartTLS tells whether ldap:// connections become secure: always unless they
// stay on this host or the configuration says never.
func (e *External) StartTLS() bool {
	switch e.TLS {
	case "never":
		return false
	case "starttls":
		return true
	}
	for _, s := range e.Servers {
		address, secure, err := ldapclient.ParseURL(s)
		if err == nil && !secure && !isLoopback(address) {
			return true
		}
	}
	return false
}

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.IsLoopback()
}

func (e *External) check() error {
	if len(e.Servers) == 0 {
		return errors.New("servers is missing")
	}
	for _, s := range e.Servers {
		if _, _, err := ldapclient.ParseURL(s); err != nil {
			return err
		}
	}
	switch {
	case e.Type != "openldap" && e.Type != "ad":
		return errors.New("type is neither openldap nor ad")
	case e.TLS != "" && e.TLS != "starttls" && e.TLS != "never":
		return errors.New("tls is neither starttls nor never")
	case (e.BindDN == "") != (e.PasswordFile == ""):
		return errors.New("bind-dn and password-file must be given together")
	case e.Connections < 0 || e.CacheEntries < 0 || e.Timeout < 0 || e.CacheTime < 0 || e.NegativeCacheTime < 0 || e.StaleTime < 0:
		return errors.New("a limit is below zero")
	}
	if e.Filter != "" {
		if _, err := ldap.ParseFilter(e.Filter); err != nil {
			return err
		}
	}
	return nil
}
