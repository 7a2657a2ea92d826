package main

import (
	"crypto/tls"
	"fmt"
	"os"
	"strings"

	"expost/internal/config"
	"expost/internal/ldapclient"
	"expost/internal/login"
	"expost/internal/proxy"
)

// openProxy returns what serves the accounts of other hosts.
func (n *node) openProxy() (*proxy.Proxy, error) {
	hosts, err := n.Config.ProxyHosts()
	if err != nil {
		return nil, err
	}
	return proxy.New(proxy.Config{Hostname: n.Config.Hostname, Hosts: hosts, Log: n.Log}), nil
}

// loginRules returns where passwords are checked.
func loginRules(c config.Config) ([]login.Rule, error) {
	var rules []login.Rule
	for i := range c.Login.Rules {
		r := &c.Login.Rules[i]
		rule := login.Rule{Domain: r.Domain, Host: r.Host, At: login.Place(r.At), IMAP: r.IMAP, Learn: r.Learn}
		if rule.At == login.LDAP {
			var err error
			if rule.Server, err = ldapServer(r); err != nil {
				return nil, fmt.Errorf("reading login.rule %d: %w", i+1, err)
			}
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

// ldapServer returns where a rule's passwords are checked by a bind.
func ldapServer(r *config.LoginRule) (login.LDAPServer, error) {
	opt := ldapclient.PoolOptions{Servers: r.Servers, DN: r.SearchDN, Size: 16}
	opt.StartTLS = r.StartTLS()
	roots, err := r.Roots()
	if err != nil {
		return login.LDAPServer{}, err
	}
	opt.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	if r.SearchPasswordFile != "" {
		b, err := os.ReadFile(r.SearchPasswordFile)
		if err != nil {
			return login.LDAPServer{}, err
		}
		opt.Password = []byte(strings.TrimRight(string(b), "\r\n"))
	}
	return login.LDAPServer{Pool: ldapclient.NewPool(opt), Bind: r.Bind, Base: r.SearchBase, Filter: r.SearchFilter}, nil
}
