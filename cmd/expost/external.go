package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"time"

	"expost/internal/config"
	"expost/internal/directory"
	externaldirectory "expost/internal/directory/ldap"
	"expost/internal/ldap"
)

// openExternal returns the directory that another server keeps.
func openExternal(c config.Config, log *slog.Logger) (directory.Directory, error) {
	x := c.Directory.LDAP
	opt := externaldirectory.Options{
		Kind: externaldirectory.Kind(x.Type), Servers: x.Servers, DN: x.BindDN, StartTLS: x.StartTLS(), Timeout: time.Duration(x.Timeout),
		Size: x.Connections, Domains: c.Domains, HostAttr: x.HostAttribute, StoreAttr: x.StoreAttribute,
		CacheTime: time.Duration(x.CacheTime), NegativeTime: time.Duration(x.NegativeCacheTime), StaleTime: time.Duration(x.StaleTime),
		CacheSize: x.CacheEntries, Logger: log,
	}
	var err error
	if opt.Suffix, err = ldap.ParseDN(c.Directory.Suffix); err != nil {
		return nil, err
	}
	if x.BindDN != "" { // whose password is known here may do everything here
		if opt.RootDN, err = ldap.ParseDN(x.BindDN); err != nil {
			return nil, err
		}
		b, err := os.ReadFile(x.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("reading the password of %s: %w", x.BindDN, err)
		}
		opt.Password = bytes.TrimRight(b, "\r\n")
	}
	if x.Filter != "" {
		if opt.Filter, err = ldap.ParseFilter(x.Filter); err != nil {
			return nil, err
		}
	}
	if x.CAFile != "" {
		pem, err := os.ReadFile(x.CAFile)
		if err != nil {
			return nil, fmt.Errorf("reading the directory's certificate authority: %w", err)
		}
		opt.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
		if !opt.TLS.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", x.CAFile)
		}
	}
	return externaldirectory.Open(opt)
}
