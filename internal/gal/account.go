package gal

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"

	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/mail"
)

// account makes e, somebody of one of our domains, an account: a qmailUser
// with a mailbox and a first password. Whoever is one already stays as is.
func (im *importer) account(ctx context.Context, s *Step, e *ldap.Entry) error {
	if !hasClass(e, "inetOrgPerson") || s.Before != nil && hasClass(s.Before, directory.ClassAccount) || isElsewhere(e) {
		return nil
	}
	addr, ok := im.accountAddress(e)
	if !ok {
		return nil
	}
	login, err := im.freeLogin(ctx, s, e, addr)
	if err != nil {
		return err
	}
	others := slices.DeleteFunc(slices.Clone(values(e, "mail")), func(v []byte) bool { return addressKey(string(v)) == addr.Key() })
	replace(e, "mail", []byte(addr))
	if len(others) > 0 {
		replace(e, "mailAlternateAddress", others...)
	}
	s.Account = directory.DefaultStore(addr)
	s.Address, s.Login = addr, login
	classes := append(slices.Clone(values(e, "objectClass")), []byte(directory.ClassAccount))
	replace(e, "objectClass", classes...)
	if login != "" {
		replace(e, "uid", []byte(login))
	} else { // whose uid the list has is somebody else's login
		e.Attributes = slices.DeleteFunc(e.Attributes, func(a ldap.Attribute) bool { return strings.EqualFold(a.Desc, "uid") })
	}
	replace(e, "mailMessageStore", []byte(s.Account))
	if host := im.opts.Accounts.Host; host != "" {
		replace(e, "mailHost", []byte(host))
	}
	if im.opts.Accounts.Password != nil {
		s.Password = newPassword()
		replace(e, "userPassword", []byte(s.Password))
	}
	return nil
}

// isElsewhere tells a contact, whose mailbox is somebody else's affair.
func isElsewhere(e *ldap.Entry) bool {
	v := values(e, "msExchRecipientTypeDetails")
	return len(v) > 0 && (string(v[0]) == "64" || string(v[0]) == "4096")
}

// accountAddress returns the address that is in one of our domains, the first
// such one; for those without any address it is made from the uid.
func (im *importer) accountAddress(e *ldap.Entry) (mail.Address, bool) {
	o := im.opts.Accounts
	addrs := values(e, "mail")
	for _, v := range addrs {
		a := mail.Address(v)
		if slices.ContainsFunc(o.Domains, func(d string) bool { return mail.DomainKey(d) == mail.DomainKey(a.Domain()) }) {
			return a, true
		}
	}
	uid := values(e, "uid")
	if len(addrs) > 0 || len(uid) == 0 || o.DefaultDomain == "" {
		return "", false
	}
	a, err := mail.ParseAddress(string(uid[0]) + "@" + o.DefaultDomain)
	return a, err == nil
}

// freeLogin returns a login name that nobody else has: the uid of the list,
// else the part of the address before the @, else none (an address is a login
// too).
func (im *importer) freeLogin(ctx context.Context, s *Step, e *ldap.Entry, addr mail.Address) (string, error) {
	var try []string
	for _, v := range values(e, "uid") {
		try = append(try, string(v))
	}
	for _, name := range append(try, strings.ToLower(addr.Local())) {
		if im.uids[strings.ToLower(name)] {
			continue
		}
		found, err := im.search(ctx, &ldap.SearchRequest{Base: im.dir.Suffix(), Scope: ldap.ScopeSub,
			Filter: &ldap.Filter{Op: ldap.FilterEqual, Attr: "uid", Value: []byte(name)}})
		if err, ok := err.(*ldap.Error); ok && err.Code == ldap.NoSuchObject {
			found = nil
		} else if err != nil {
			return "", fmt.Errorf("looking up login %q: %w", name, err)
		}
		if len(found) == 0 || s.Before != nil && len(found) == 1 && found[0].DN.Equal(s.Before.DN, im.schema) {
			im.uids[strings.ToLower(name)] = true
			return name, nil
		}
	}
	return "", nil
}

// replace gives e an attribute of these values.
func replace(e *ldap.Entry, desc string, vals ...[]byte) {
	for i := range e.Attributes {
		if strings.EqualFold(e.Attributes[i].Desc, desc) {
			e.Attributes[i].Values = vals
			return
		}
	}
	e.Attributes = append(e.Attributes, ldap.Attribute{Desc: desc, Values: vals})
}

// newPassword returns a password of 75 random bits that can be read out on
// the telephone: no 0, 1, l, o.
func newPassword() string {
	const letters = "abcdefghijkmnpqrstuvwxyz23456789"
	b := make([]byte, 15)
	_, _ = rand.Read(b) // never fails
	var out []byte
	for i, c := range b {
		if i > 0 && i%5 == 0 {
			out = append(out, '-')
		}
		out = append(out, letters[int(c)%len(letters)])
	}
	return string(out)
}
