package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"expost/internal/config"
	"expost/internal/directory"
	externaldirectory "expost/internal/directory/ldap"
	"expost/internal/directory/replica"
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
	if opt.TLS, err = trusting(x.CAFile); err != nil {
		return nil, err
	}
	return externaldirectory.Open(opt)
}

// trusting returns the TLS configuration for servers whose certificates are
// signed by those of a file; nil, which trusts whom the system trusts, without one.
func trusting(caFile string) (*tls.Config, error) {
	if caFile == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("reading the directory's certificate authority: %w", err)
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	if !cfg.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", caFile)
	}
	return cfg, nil
}

// copyDirectory keeps the directory a copy of another server's until ctx ends,
// where the configuration wants that.
func (n *node) copyDirectory(ctx context.Context) error {
	c := n.Config.Directory.Copy
	target, ok := n.Directory.(replica.Target)
	if c.Server == "" || !ok {
		return nil
	}
	opt := replica.Options{Server: c.Server, DN: c.BindDN, Target: target, CookieFile: filepath.Join(n.Config.Data, "directory", "copy-cookie"), Logger: n.Log}
	opt.Options.StartTLS = c.StartTLS()
	var err error
	if opt.Options.TLS, err = trusting(c.CAFile); err != nil {
		return err
	}
	if c.PasswordFile != "" {
		b, err := os.ReadFile(c.PasswordFile)
		if err != nil {
			return fmt.Errorf("reading the password of %s: %w", c.BindDN, err)
		}
		opt.Password = bytes.TrimRight(b, "\r\n")
	}
	replica.Run(ctx, opt)
	return nil
}
