package config

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"expost/internal/proxy"
	"expost/internal/route"
	"expost/internal/smtpclient"
)

// Host is another server on which mailboxes live: the old Exchange, or another
// node. Accounts name it in mailHost.
type Host struct {
	Name       string               `toml:"name"` // as in mailHost
	IMAP       string               `toml:"imap"` // "imaps://host:993", "imap://host:143"; "": none
	POP3       string               `toml:"pop3"`
	Submission string               `toml:"submission"`
	SMTP       string               `toml:"smtp"`     // where mail for its accounts goes: "host:25", "lmtp:host:24"; default: its name
	SMTPTLS    smtpclient.TLSPolicy `toml:"smtp-tls"` // of that: never | may | must | verify | implicit; default: may

	TLS      proxy.Verification `toml:"tls"` // verify | require | none
	CA       string             `toml:"ca"`  // PEM; default: the system's
	CertName string             `toml:"certificate-name"`

	Login              string `toml:"login"` // what to log in there as: "{address}"
	Master             string `toml:"master"`
	MasterPasswordFile string `toml:"master-password-file"`
	TellClient         bool   `toml:"tell-client"` // pass the client's address on
	Learn              bool   `toml:"learn"`       // store passwords that were right there
}

// hostFiles returns the keys that name files.
func (c *Config) hostFiles() []*string {
	list := []*string{&c.Login.ClientCA}
	for i := range c.Hosts {
		list = append(list, &c.Hosts[i].CA, &c.Hosts[i].MasterPasswordFile)
	}
	for i := range c.Login.Rules {
		list = append(list, &c.Login.Rules[i].CA, &c.Login.Rules[i].SearchPasswordFile)
	}
	return list
}

func (c *Config) checkHosts(wrong func(key, format string, args ...any) error) error {
	seen := map[string]bool{}
	for i := range c.Hosts {
		h := &c.Hosts[i]
		h.Name = strings.ToLower(h.Name)
		switch {
		case h.Name == "":
			return wrong("host", "a host needs a name, as mailHost has it")
		case seen[h.Name]:
			return wrong("host "+h.Name, "is there twice")
		case (h.Master == "") != (h.MasterPasswordFile == ""):
			return wrong("host "+h.Name, "master and master-password-file must be given together")
		}
		seen[h.Name] = true
		p := h.proxyHost()
		if err := p.Check(); err != nil {
			return wrong("host "+h.Name, "%v", err)
		}
		if h.SMTP != "" {
			if _, err := route.ParseRelay(h.SMTP); err != nil {
				return wrong("host "+h.Name+", smtp", "%v", err)
			}
		}
		if err := checkTLS(h.SMTPTLS); err != nil {
			return wrong("host "+h.Name+", smtp-tls", "%v", err)
		}
	}
	return nil
}

// proxyHost returns what needs no file.
func (h *Host) proxyHost() proxy.Host {
	return proxy.Host{
		Name: h.Name, IMAP: h.IMAP, POP3: h.POP3, Submission: h.Submission, TLS: h.TLS, CertName: h.CertName,
		Login: h.Login, Master: h.Master, TellClient: h.TellClient, Learn: h.Learn,
	}
}

// ProxyHosts returns the hosts by name, files read.
func (c *Config) ProxyHosts() (map[string]*proxy.Host, error) {
	hosts := map[string]*proxy.Host{}
	for i := range c.Hosts {
		h := &c.Hosts[i]
		p := h.proxyHost()
		var err error
		if p.Roots, err = readCA(h.CA); err != nil {
			return nil, fmt.Errorf("reading the certificates of host %s: %w", h.Name, err)
		}
		if h.MasterPasswordFile != "" {
			b, err := os.ReadFile(h.MasterPasswordFile)
			if err != nil {
				return nil, fmt.Errorf("reading the master password of host %s: %w", h.Name, err)
			}
			p.MasterPassword = strings.TrimRight(string(b), "\r\n")
		}
		hosts[h.Name] = &p
	}
	return hosts, nil
}

// readCA reads certificates; nil for no file: the system's count.
func readCA(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New(file + " holds no certificate in PEM")
	}
	return pool, nil
}

// HostRelays returns where mail for the accounts of the hosts goes, by mailHost.
func (c *Config) HostRelays() (map[string]*route.Relay, error) {
	relays := map[string]*route.Relay{}
	for _, h := range c.Hosts {
		at := h.SMTP
		if at == "" && h.SMTPTLS == "" {
			continue
		}
		if at == "" {
			at = h.Name
		}
		r, err := route.ParseRelay(at)
		if err != nil {
			return nil, err
		}
		r.TLS, r.CertName = h.SMTPTLS, h.CertName
		if r.Roots, err = readCA(h.CA); err != nil {
			return nil, fmt.Errorf("reading the certificates of host %s: %w", h.Name, err)
		}
		relays[h.Name] = r
	}
	return relays, nil
}

// LoginRule says where the passwords of some accounts are checked.
type LoginRule struct {
	Domain string `toml:"domain"` // of the accounts' addresses
	Host   string `toml:"host"`   // of the accounts, as in mailHost
	At     string `toml:"at"`     // own | ldap | imap
	Learn  bool   `toml:"learn"`  // store passwords that were right there

	IMAP string `toml:"imap"` // with imap: the name of a [[host]]; default: the account's

	Servers            []string `toml:"servers"` // with ldap: URLs; the first that answers is asked
	TLS                string   `toml:"tls"`     // of ldap:// URLs: starttls | never
	CA                 string   `toml:"ca"`
	Bind               string   `toml:"bind"` // whom to bind as: "{address}", "uid={uid},ou=people,dc=example,dc=org"
	SearchBase         string   `toml:"search-base"`
	SearchFilter       string   `toml:"search-filter"`
	SearchDN           string   `toml:"search-dn"`
	SearchPasswordFile string   `toml:"search-password-file"`
}

func (r *LoginRule) check() error {
	switch r.At {
	case "own", "imap":
		return nil
	case "ldap":
	default:
		return fmt.Errorf("at %q is none of own, ldap, imap", r.At)
	}
	switch {
	case len(r.Servers) == 0:
		return errors.New("servers is missing: the URLs of the LDAP servers")
	case (r.Bind == "") == (r.SearchBase == ""):
		return errors.New("give bind, or search-base and search-filter")
	case (r.SearchBase == "") != (r.SearchFilter == ""):
		return errors.New("search-base and search-filter must be given together")
	case (r.SearchDN == "") != (r.SearchPasswordFile == ""):
		return errors.New("search-dn and search-password-file must be given together")
	case r.TLS != "" && r.TLS != "starttls" && r.TLS != "never":
		return fmt.Errorf("tls %q is neither starttls nor never", r.TLS)
	}
	for _, s := range r.Servers {
		if u, err := url.Parse(s); err != nil || u.Scheme != "ldap" && u.Scheme != "ldaps" || u.Host == "" {
			return fmt.Errorf("servers: %q is no URL: write ldaps://dc1.example.org", s)
		}
	}
	return nil
}

// Roots returns the certificates that the rule's servers are checked with.
func (r *LoginRule) Roots() (*x509.CertPool, error) { return readCA(r.CA) }

// StartTLS tells whether ldap:// connections become secure.
func (r *LoginRule) StartTLS() bool { return r.TLS != "never" }
