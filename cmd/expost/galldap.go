package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"expost/internal/gal"
	"expost/internal/ldap"
	"expost/internal/ldapclient"
)

// isLDAP tells a directory from a file.
func isLDAP(name string) bool {
	return strings.HasPrefix(name, "ldap://") || strings.HasPrefix(name, "ldaps://")
}

// ldapLogin are the flags of how a directory is reached.
type ldapLogin struct {
	dn, passwordFile, ca           string
	startTLS, plaintext, anyServer bool
	prefix                         string
}

// flags puts the flags on a command, their names behind a prefix.
func (l *ldapLogin) flags(f *pflag.FlagSet, prefix string) {
	l.prefix = prefix
	f.StringVar(&l.dn, prefix+"bind-dn", "", "`name` to log in to an LDAP server with: a DN, user@domain or DOMAIN\\user")
	f.StringVar(&l.passwordFile, prefix+"bind-password-file", "", "`file` with its password")
	f.StringVar(&l.ca, prefix+"ca", "", "`file` with the certificates (PEM) to trust for LDAP, instead of the system's")
	f.BoolVar(&l.startTLS, prefix+"starttls", false, "use StartTLS on ldap://")
	f.BoolVar(&l.anyServer, prefix+"no-verify", false, "do not check the LDAP server's certificate")
	f.BoolVar(&l.plaintext, prefix+"plaintext", false, "send the password in clear text")
}

// dial connects and logs in.
func (l *ldapLogin) dial(ctx context.Context, a *app, u *url.URL) (*ldapclient.Conn, error) {
	var password []byte
	if l.dn != "" {
		if l.passwordFile == "" {
			return nil, usageError{fmt.Errorf("--%sbind-dn needs --%sbind-password-file", l.prefix, l.prefix)}
		}
		if u.Scheme == "ldap" && !l.startTLS && !l.plaintext && !isLoopback(u.Hostname()) {
			return nil, usageError{fmt.Errorf("the password would go to %s in clear text: use ldaps:// or --%sstarttls, or allow it with --%splaintext", u.Host, l.prefix, l.prefix)}
		}
		b, err := os.ReadFile(a.path(l.passwordFile))
		if err != nil {
			return nil, fmt.Errorf("reading the password: %w", err)
		}
		password = []byte(strings.TrimRight(string(b), "\r\n"))
	}
	conf, err := l.tls(a)
	if err != nil {
		return nil, err
	}
	conn, err := ldapclient.Dial(ctx, u.Scheme+"://"+u.Host, ldapclient.Options{TLS: conf, StartTLS: l.startTLS})
	if err != nil {
		return nil, err
	}
	if l.dn != "" {
		if err := conn.Bind(ctx, l.dn, password); err != nil {
			return nil, errors.Join(fmt.Errorf("logging in to %s as %q: %w", u.Host, l.dn, err), conn.Close())
		}
	}
	return conn, nil
}

// tls returns what the server's certificate is checked against.
func (l *ldapLogin) tls(a *app) (*tls.Config, error) {
	conf := &tls.Config{InsecureSkipVerify: l.anyServer} // only where --no-verify says so
	if l.ca == "" {
		return conf, nil
	}
	pem, err := os.ReadFile(a.path(l.ca))
	if err != nil {
		return nil, fmt.Errorf("reading the certificates to trust: %w", err)
	}
	conf.RootCAs = x509.NewCertPool()
	if !conf.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate in PEM", l.ca)
	}
	return conf, nil
}

// isLoopback tells whether a host is this machine.
func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// ldapTarget is what an LDAP URL names (RFC 4516).
type ldapTarget struct {
	*url.URL
	base   string
	filter *ldap.Filter
}

// parseLDAP reads the URL of a directory: its base and filter may be left out.
func parseLDAP(name string) (ldapTarget, error) {
	u, err := url.Parse(name)
	if err != nil || u.Hostname() == "" {
		return ldapTarget{}, usageError{fmt.Errorf("%q is no LDAP URL: it looks like ldaps://dc.example.org/dc=example,dc=org", name)}
	}
	t := ldapTarget{URL: u, base: strings.TrimPrefix(u.Path, "/")}
	if parts := strings.SplitN(u.RawQuery, "?", 4); len(parts) > 2 && parts[2] != "" {
		text, err := url.PathUnescape(parts[2])
		if err == nil {
			t.filter, err = ldap.ParseFilter(text)
		}
		if err != nil {
			return t, usageError{fmt.Errorf("the filter of %q: %w", name, err)}
		}
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), map[string]string{"ldap": "389", "ldaps": "636"}[u.Scheme])
	}
	return t, nil
}

// readServer reads the address list of a directory.
func (in *galInput) readServer(ctx context.Context, name string, take func(*gal.Recipient) error) error {
	t, err := parseLDAP(name)
	if err != nil {
		return err
	}
	conn, err := in.server.dial(ctx, in.app, t.URL)
	if err != nil {
		return err
	}
	defer conn.Close() // only read
	src, err := gal.ReadServer(ctx, conn, gal.ServerOptions{Base: t.base, Filter: t.filter, Report: in.report}, take)
	if err != nil {
		return fmt.Errorf("%s: %w", t.Host, err)
	}
	if !in.app.json && !in.quiet {
		fmt.Fprintf(in.app.stderr, "%s: %s\n", t.Host, src)
	}
	return nil
}

// writeServer brings the list to another directory.
func (c *galConvert) writeServer(ctx context.Context, list []*gal.Recipient, base ldap.DN) error {
	t, err := parseLDAP(c.to)
	if err != nil {
		return err
	}
	conn, err := c.target.dial(ctx, c.app, t.URL)
	if err != nil {
		return err
	}
	defer conn.Close() // every change was answered
	entries := gal.Entries(list, gal.TreeOptions{Base: base, Containers: c.containers, Extended: c.extended, Report: c.report})
	counts := map[gal.Action]int{}
	failed := 0
	err = gal.WriteServer(ctx, conn, entries, func(e *ldap.Entry, a gal.Action, err error) {
		counts[a]++
		if err != nil {
			counts[a]--
			failed++
			fmt.Fprintf(c.app.stderr, "error: %s: %v\n", e.DN, err)
		}
	})
	if err != nil {
		return err
	}
	if c.app.json {
		err = c.app.printJSON(map[string]any{"added": counts[gal.ActionAdd], "changed": counts[gal.ActionModify], "unchanged": counts[gal.ActionUnchanged], "failed": failed, "issues": c.issues})
	} else {
		_, err = fmt.Fprintf(c.app.stdout, "%d added, %d changed, %d as they were, %d refused\n", counts[gal.ActionAdd], counts[gal.ActionModify], counts[gal.ActionUnchanged], failed)
	}
	if err == nil && failed > 0 {
		err = fmt.Errorf("%d entries were refused by %s; the others are there", failed, t.Host)
	}
	return err
}
