// Package config reads expost.toml, the one configuration file. Every key has
// a default; a key that is not known is an error that names its line.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"expost/internal/mail"
)

// Config is the whole configuration, defaults filled in.
type Config struct {
	Data     string   `toml:"data"`     // the folder that holds everything; default "expost-data"
	Hostname string   `toml:"hostname"` // the name we greet with; default the machine's
	Domains  []string `toml:"domains"`  // the domains whose mail is ours; default the hostname's domain

	Listen    Listen    `toml:"listen"`
	TLS       TLS       `toml:"tls"`
	Directory Directory `toml:"directory"`
	SMTP      SMTP      `toml:"smtp"`
	Queue     Queue     `toml:"queue"`
	Store     Store     `toml:"store"`
	IMAP      IMAP      `toml:"imap"`
	Login     Login     `toml:"login"`
	Hosts     []Host    `toml:"host"`
	Limits    Limits    `toml:"limits"`
	Log       Log       `toml:"log"`
	DNS       DNS       `toml:"dns"`
	MailAuth  MailAuth  `toml:"mailauth"`
	Milters   []Milter  `toml:"milter"`
	MailLog   MailLog   `toml:"maillog"`
	Policy    Policy    `toml:"policy"`

	File string `toml:"-"` // where it was read from; empty: defaults only
}

// Addresses are the addresses one service listens on: a string or a list in
// the file, the empty string for none.
type Addresses []string

// UnmarshalText reads a single address.
func (a *Addresses) UnmarshalText(b []byte) error {
	*a = nil
	if s := string(b); s != "" {
		*a = Addresses{s}
	}
	return nil
}

// Listen has the addresses of every service.
type Listen struct {
	SMTP        Addresses `toml:"smtp"`
	Submission  Addresses `toml:"submission"`
	Submissions Addresses `toml:"submissions"`
	LMTP        Addresses `toml:"lmtp"`
	IMAP        Addresses `toml:"imap"`
	IMAPS       Addresses `toml:"imaps"`
	POP3        Addresses `toml:"pop3"`
	POP3S       Addresses `toml:"pop3s"`
	LDAP        Addresses `toml:"ldap"`
	LDAPS       Addresses `toml:"ldaps"`
	HTTP        Addresses `toml:"http"`
	HTTPS       Addresses `toml:"https"`
	Metrics     Addresses `toml:"metrics"`
}

// TLS says which certificate is shown and where passwords may go in clear text.
type TLS struct {
	Cert          string `toml:"cert"` // PEM; neither: a self-signed pair is made in data/tls
	Key           string `toml:"key"`
	PlaintextAuth string `toml:"plaintext-auth"` // never | loopback | always
}

// SMTP is what the mail transfer side accepts.
type SMTP struct {
	MaxMessage int64  `toml:"max-message"` // bytes
	Separator  string `toml:"separator"`   // of sub-addresses: name+detail
	Postmaster string `toml:"postmaster"`  // the account that gets postmaster's mail

	AliasDomains map[string]string `toml:"alias-domains"` // domain -> the one of Domains it stands for
}

// Store is how much the store keeps open.
type Store struct {
	OpenAccounts int `toml:"open-accounts"` // databases open while idle
}

// Limits bound what clients may cost.
type Limits struct {
	Connections        int `toml:"connections"`          // of one service
	ConnectionsPerHost int `toml:"connections-per-host"` // of one service from one address; loopback is not counted
	MessagesPerCommand int `toml:"messages-per-command"` // that one IMAP command may work on (RFC 9738); 0: no limit
}

// Log says how much is logged, and how.
type Log struct {
	Level  string `toml:"level"`  // debug | info | warn | error
	Format string `toml:"format"` // text | json
}

// Default returns the configuration of an empty file on a machine of this name.
func Default(hostname string) Config {
	return Config{
		Data:     "expost-data",
		Hostname: hostname,
		Listen: Listen{
			SMTP: Addresses{":25"}, Submission: Addresses{":587"}, Submissions: Addresses{":465"},
			IMAP: Addresses{":143"}, IMAPS: Addresses{":993"}, POP3: Addresses{":110"}, POP3S: Addresses{":995"},
			LDAP: Addresses{":389"}, LDAPS: Addresses{":636"}, HTTP: Addresses{":80"}, HTTPS: Addresses{":443"},
			Metrics: Addresses{"127.0.0.1:9090"},
		},
		TLS:       TLS{PlaintextAuth: "loopback"},
		Directory: Directory{Kind: "embedded", LDAP: External{Type: "openldap"}},
		SMTP:      SMTP{MaxMessage: 100 << 20, Separator: "+"},
		Queue:     Queue{Lifetime: Duration(5 * 24 * time.Hour), DelayNotice: Duration(4 * time.Hour), Sessions: 200, SessionsPerHost: 20},
		Store:     Store{OpenAccounts: 256},
		IMAP:      IMAP{PersonalFlags: "seen"},
		Login:     defaultLogin(),
		Limits:    Limits{Connections: 20000, ConnectionsPerHost: 100},
		Log:       Log{Level: "info", Format: "text"},
		MailAuth:  DefaultMailAuth(),
		Policy:    DefaultPolicy(),
	}
}

// Load reads the file, or the defaults where path is empty, fills in what
// follows from other keys and checks the whole.
func Load(path string) (Config, error) {
	hostname, err := os.Hostname()
	if err != nil {
		hostname = "localhost"
	}
	c := Default(hostname)
	if path != "" {
		b, err := os.ReadFile(path)
		if err != nil {
			return c, fmt.Errorf("reading the configuration: %w", err)
		}
		if err := c.parse(path, b); err != nil {
			return c, err
		}
	}
	return c, c.complete()
}

// parse reads the TOML text over the defaults. Relative paths in the file are
// relative to the file's folder.
func (c *Config) parse(path string, b []byte) error {
	dec := toml.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(c); err != nil {
		if strict, ok := errors.AsType[*toml.StrictMissingError](err); ok {
			row, _ := strict.Errors[0].Position()
			return mail.Errorf(mail.KindInvalid, "%s:%d: unknown key %q", path, row, strings.Join(strict.Errors[0].Key(), "."))
		}
		if de, ok := errors.AsType[*toml.DecodeError](err); ok {
			row, col := de.Position()
			return mail.Errorf(mail.KindInvalid, "%s:%d:%d: %s", path, row, col, strings.TrimPrefix(de.Error(), "toml: "))
		}
		return mail.WrapError(mail.KindInvalid, err, "%s", path)
	}
	c.File = path
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("finding the folder of %q: %w", path, err)
	}
	for _, p := range append(append(append(c.hostFiles(), c.Queue.files()...), c.Directory.files()...), &c.Data, &c.TLS.Cert, &c.TLS.Key, &c.MailLog.Folder) {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	return nil
}

// complete fills in the keys that follow from others and checks all values.
func (c *Config) complete() error {
	if len(c.Domains) == 0 {
		domain := c.Hostname
		if _, d, ok := strings.Cut(domain, "."); ok && strings.Contains(d, ".") {
			domain = d
		}
		c.Domains = []string{domain}
	}
	for i, d := range c.Domains {
		c.Domains[i] = mail.DomainKey(d)
	}
	for d, to := range c.SMTP.AliasDomains {
		if !slices.Contains(c.Domains, mail.DomainKey(to)) {
			return mail.Errorf(mail.KindInvalid, "%s: smtp.alias-domains: %q stands for %q, which is not among domains", c.File, d, to)
		}
	}
	if c.Directory.Suffix == "" {
		c.Directory.Suffix = "dc=" + strings.ReplaceAll(c.Domains[0], ".", ",dc=")
	}
	if c.Directory.RootDN == "" {
		c.Directory.RootDN = "cn=manager," + c.Directory.Suffix
	}
	if c.SMTP.Postmaster == "" {
		c.SMTP.Postmaster = "postmaster@" + c.Domains[0]
	}
	return c.check()
}

// check returns an error that names the first key with a wrong value.
func (c *Config) check() error {
	wrong := func(key, format string, args ...any) error {
		where := c.File
		if where == "" {
			where = "configuration"
		}
		return mail.Errorf(mail.KindInvalid, "%s: %s: %s", where, key, fmt.Sprintf(format, args...))
	}
	switch c.TLS.PlaintextAuth {
	case "never", "loopback", "always":
	default:
		return wrong("tls.plaintext-auth", "%q is none of never, loopback, always", c.TLS.PlaintextAuth)
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		return wrong("tls", "cert and key must be given together")
	}
	if err := c.Directory.check(wrong); err != nil {
		return err
	}
	switch c.Log.Level {
	case "debug", "info", "warn", "error":
	default:
		return wrong("log.level", "%q is none of debug, info, warn, error", c.Log.Level)
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		return wrong("log.format", "%q is neither text nor json", c.Log.Format)
	}
	if c.SMTP.MaxMessage < 1 || c.Store.OpenAccounts < 1 || c.Limits.Connections < 1 || c.Limits.ConnectionsPerHost < 1 || c.Limits.MessagesPerCommand < 0 {
		return wrong("smtp.max-message, store.open-accounts, limits", "must be above zero")
	}
	if err := c.Queue.check(wrong); err != nil {
		return err
	}
	if err := c.IMAP.complete(c.SMTP.Postmaster, wrong); err != nil {
		return err
	}
	if err := c.Login.check(wrong); err != nil {
		return err
	}
	if err := c.checkHosts(wrong); err != nil {
		return err
	}
	if err := c.DNS.complete(wrong); err != nil {
		return err
	}
	if err := c.MailLog.check(wrong); err != nil {
		return err
	}
	if err := c.Policy.check(wrong); err != nil {
		return err
	}
	for i := range c.Milters {
		if err := c.Milters[i].check(wrong); err != nil {
			return err
		}
	}
	if err := c.MailAuth.check(wrong); err != nil {
		return err
	}
	return c.checkListen(wrong)
}

// checkListen checks every listen address.
func (c *Config) checkListen(wrong func(key, format string, args ...any) error) error {
	for _, s := range c.Listen.Services() {
		for _, addr := range s.Addresses {
			if _, _, err := net.SplitHostPort(addr); err != nil {
				return wrong("listen."+s.Name, "%q is not host:port (write \":143\" or \"127.0.0.1:143\")", addr)
			}
		}
	}
	return nil
}

// Service is a service's name in the file and its addresses.
type Service struct {
	Name      string
	Addresses Addresses
}

// Services returns all services in the order of the file.
func (l Listen) Services() []Service {
	return []Service{
		{"smtp", l.SMTP}, {"submission", l.Submission}, {"submissions", l.Submissions}, {"lmtp", l.LMTP},
		{"imap", l.IMAP}, {"imaps", l.IMAPS}, {"pop3", l.POP3}, {"pop3s", l.POP3S},
		{"ldap", l.LDAP}, {"ldaps", l.LDAPS}, {"http", l.HTTP}, {"https", l.HTTPS}, {"metrics", l.Metrics},
	}
}
