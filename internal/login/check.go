package login

import (
	"context"
	"errors"
	"strings"
	"time"

	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/ldapclient"
	"expost/internal/mail"
	"expost/internal/proxy"
)

// Place is where passwords are checked.
type Place string

// The places.
const (
	Own  Place = "own"  // in the directory
	LDAP Place = "ldap" // by a bind at another LDAP server, as Active Directory
	IMAP Place = "imap" // by a login at another IMAP server
)

// Rule says where the passwords of some accounts are checked.
type Rule struct {
	Domain string // of the accounts' addresses; empty: any
	Host   string // of the accounts, as in mailHost; empty: any
	At     Place
	Server LDAPServer // with LDAP
	IMAP   string     // with IMAP: the host, as in proxy.Config.Hosts; empty: the account's own
	// Learn stores a password that was right in the directory, for the day on
	// which the rule is taken away or the account moves. Until then it is not used.
	Learn bool
}

// LDAPServer is where passwords are checked by a bind.
type LDAPServer struct {
	Pool *ldapclient.Pool // bound as whoever may search, where Base is given
	// Bind is what to bind as: text with {address}, {local}, {domain}, {uid} and
	// {login}, as the client has typed it. A DN, or with Active Directory
	// "{local}@ad.example.org" or `EXAMPLE\{uid}`.
	Bind string
	// Base and Filter find the entry to bind as instead; the filter has the
	// same words in braces.
	Base, Filter string
}

// checkTime bounds a check at another server.
const checkTime = 30 * time.Second

// ruleOf returns the first rule about an account; nil: none is.
func (d *Door) ruleOf(a *directory.Account) *Rule {
	for i := range d.cfg.Rules {
		r := &d.cfg.Rules[i]
		if (r.Domain == "" || mail.DomainKey(r.Domain) == mail.DomainKey(a.Address.Domain())) && (r.Host == "" || strings.EqualFold(r.Host, a.Host)) {
			return r
		}
	}
	return nil
}

// here tells whether a mailbox lives on this node.
func (d *Door) here(host string) bool {
	return host == "" || d.cfg.Proxy == nil || strings.EqualFold(host, d.cfg.Hostname)
}

// proxied returns the host that serves an account's sessions of a protocol;
// nil: this node does.
func (d *Door) proxied(c Client, a *directory.Account) *proxy.Host {
	if d.here(a.Host) {
		return nil
	}
	if h := d.cfg.Proxy.Host(a.Host); h.Service(c.Protocol) != "" {
		return h
	}
	return nil
}

// verify checks a login's password where the account's password lives. Where
// the mailbox does not live here, the login there is the check, and what it
// opened is returned.
func (d *Door) verify(ctx context.Context, c Client, k credentials, known *directory.Account) (*directory.Account, *proxy.Session, error) {
	if known == nil || !mayLogin(known) || k.password == "" {
		a, err := d.cfg.Directory.Login(ctx, k.login, k.password) // which takes its time
		if err == nil && known != nil {
			err = errWrong()
		}
		return a, nil, err
	}
	host, rule := d.proxied(c, known), d.ruleOf(known)
	if host != nil && host.Master == "" {
		s, err := d.open(ctx, c, k, known)
		if err == nil {
			d.learn(ctx, known, k.password, host.Learn || rule != nil && rule.Learn)
		}
		return known, s, err
	}
	if err := d.checkPassword(ctx, k, known, rule); err != nil || host == nil {
		return known, nil, err
	}
	s, err := d.open(ctx, c, k, known)
	return known, s, err
}

// mayLogin tells whether the status of an account lets it log in.
func mayLogin(a *directory.Account) bool {
	return a.Status == "" || a.Status == directory.StatusActive
}

// open logs in on the account's host.
func (d *Door) open(ctx context.Context, c Client, k credentials, a *directory.Account) (*proxy.Session, error) {
	return d.cfg.Proxy.Open(ctx, proxy.Request{
		Protocol: c.Protocol, Account: a, Login: k.login, Password: k.password, Client: c.Addr, TLS: c.TLS != nil, Hops: c.Hops,
	})
}

// checkPassword checks a password where the rule says.
func (d *Door) checkPassword(ctx context.Context, k credentials, a *directory.Account, rule *Rule) error {
	if rule == nil {
		rule = d.ruleless(ctx, a)
	}
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	var err error
	switch rule.At {
	case LDAP:
		err = rule.Server.check(ctx, k, a)
	case IMAP:
		err = d.checkIMAP(ctx, k, a, rule.IMAP)
	default:
		_, err = d.cfg.Directory.Login(ctx, k.login, k.password)
		return err
	}
	if err == nil {
		d.learn(ctx, a, k.password, rule.Learn)
	}
	return err
}

// ruleless returns the rule of an account that none is about: its password is in
// the directory, or where there is none and its mailbox is on another host, that
// host knows it.
func (d *Door) ruleless(ctx context.Context, a *directory.Account) *Rule {
	if d.here(a.Host) || d.keys == nil {
		return &Rule{At: Own}
	}
	host := d.cfg.Proxy.Host(a.Host)
	if host.IMAP == "" || host.Master != "" || d.keys.HasPassword(ctx, a.DN) {
		return &Rule{At: Own}
	}
	return &Rule{At: IMAP, Learn: host.Learn}
}

// checkIMAP checks a password by a login at another IMAP server.
func (d *Door) checkIMAP(ctx context.Context, k credentials, a *directory.Account, host string) error {
	there := *a
	if host != "" {
		there.Host = host
	}
	if d.cfg.Proxy == nil || there.Host == "" {
		return mail.Errorf(mail.KindUnavailable, "the server that checks the password is not configured")
	}
	s, err := d.cfg.Proxy.Open(ctx, proxy.Request{Protocol: "imap", Account: &there, Login: k.login, Password: k.password, Check: true})
	if err != nil {
		return err
	}
	return s.Close()
}

// learn stores a password that was right elsewhere, where that is wanted.
func (d *Door) learn(ctx context.Context, a *directory.Account, password string, wanted bool) {
	if !wanted || d.keys == nil {
		return
	}
	if err := d.keys.Learn(ctx, a.DN, []byte(password)); err != nil {
		d.cfg.Log.Warn("a password could not be learned", "user", a.Address, "err", err)
	}
}

// words returns what replaces the words in braces, each value by way of escape.
func words(k credentials, a *directory.Account, escape func(string) string) *strings.Replacer {
	uid := a.Address.Local()
	if len(a.DN) > 0 {
		for _, ava := range a.DN[0] {
			if strings.EqualFold(ava.Type, "uid") {
				uid = ava.Value
			}
		}
	}
	return strings.NewReplacer("{login}", escape(k.login), "{address}", escape(string(a.Address)), "{local}", escape(a.Address.Local()),
		"{domain}", escape(a.Address.Domain()), "{uid}", escape(uid))
}

// check checks a password by a bind.
func (s *LDAPServer) check(ctx context.Context, k credentials, a *directory.Account) error {
	name := ""
	switch {
	case s.Base != "":
		var err error
		if name, err = s.find(ctx, k, a); err != nil {
			return err
		}
	case strings.Contains(s.Bind, "="):
		name = words(k, a, escapeDN).Replace(s.Bind)
	default:
		name = words(k, a, func(v string) string { return v }).Replace(s.Bind)
	}
	err := s.Pool.Check(ctx, name, []byte(k.password))
	if le, ok := errors.AsType[*ldap.Error](err); ok {
		switch le.Code {
		case ldap.Busy, ldap.Unavailable, ldap.TimeLimitExceeded, ldap.AdminLimitExceeded:
		default:
			return mail.WrapError(mail.KindAuth, err, "wrong login or password")
		}
	}
	if err != nil {
		return ldapAway(err)
	}
	return nil
}

// ldapAway is what clients are told while the server does not answer.
func ldapAway(err error) error {
	return mail.WrapError(mail.KindUnavailable, err, "the server that checks the password does not answer: try again later")
}

// find returns the DN of the entry that the filter finds.
func (s *LDAPServer) find(ctx context.Context, k credentials, a *directory.Account) (string, error) {
	base, err := ldap.ParseDN(s.Base)
	if err != nil {
		return "", err
	}
	filter, err := ldap.ParseFilter(words(k, a, escapeFilter).Replace(s.Filter))
	if err != nil {
		return "", err
	}
	var found []string
	err = s.Pool.Use(ctx, func(c *ldapclient.Conn) error {
		found = nil
		_, err := c.Search(ctx, &ldap.SearchRequest{Base: base, Scope: ldap.ScopeSub, Filter: filter, Attributes: []string{"1.1"}, SizeLimit: 2}, nil, func(e *ldap.Entry) error {
			found = append(found, e.DN.String())
			return nil
		})
		return err
	})
	switch {
	case len(found) > 1:
		return "", mail.Errorf(mail.KindUnavailable, "the server that checks the password knows several people of that name")
	case err != nil:
		return "", ldapAway(err)
	case len(found) == 0:
		return "", errWrong()
	}
	return found[0], nil
}

// escapeDN escapes a value of a DN (RFC 4514 §2.4).
func escapeDN(v string) string {
	return ldap.DN{{{Type: "x", Value: v}}}.String()[len("x="):]
}

// escapeFilter escapes a value of a filter (RFC 4515 §3).
func escapeFilter(v string) string {
	return strings.NewReplacer(`\`, `\5c`, "*", `\2a`, "(", `\28`, ")", `\29`, "\x00", `\00`).Replace(v)
}
