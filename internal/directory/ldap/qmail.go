package ldap

import (
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"strings"

	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/ldapclient"
	"expost/internal/mail"
)

// qmail is an OpenLDAP, or another server, with qmail-ldap's schema.
type qmail struct{ opt Options }

func (q *qmail) byAddress(addr mail.Address) *ldap.Filter {
	return and(equal("objectClass", directory.ClassAccount), q.opt.Filter, owner(addr))
}

// owner is qmail-ldap's filter for an address, and Exchange's. An attribute that
// the server does not know makes its part Undefined.
func owner(addr mail.Address) *ldap.Filter {
	return or(equal("mail", string(addr)), equal("mailAlternateAddress", string(addr)), equal("proxyAddresses", "smtp:"+string(addr)))
}

func (q *qmail) byLogin(login string, domains []string) *ldap.Filter {
	names := []*ldap.Filter{equal("uid", login)}
	if strings.Contains(login, "@") {
		names = append(names, owner(mail.Address(login)).Subs...)
	} else {
		for _, domain := range domains {
			names = append(names, owner(mail.Address(login+"@"+domain)).Subs...)
		}
	}
	return and(equal("objectClass", directory.ClassAccount), q.opt.Filter, or(names...))
}

func (q *qmail) all() *ldap.Filter {
	return and(equal("objectClass", directory.ClassAccount), q.opt.Filter)
}

func (q *qmail) attributes() []string {
	return append([]string{"objectClass", "mail", "mailAlternateAddress", "proxyAddresses", "mailForwardingAddress", "mailHost", "mailMessageStore",
		"accountStatus", "deliveryMode", "mailQuotaSize", "mailQuotaCount", "mailSizeMax", "displayName", "cn", "mailboxType",
		string(directory.SendAsAttr), string(directory.OnBehalfAttr)}, q.opt.extra()...)
}

func (q *qmail) account(e *ldap.Entry, _ func(dn string, attributes ...string) (*ldap.Entry, error)) (*directory.Account, bool, error) {
	acc, ok := directory.AccountOf(e)
	if !ok {
		return nil, false, nil
	}
	if q.opt.HostAttr != "" {
		acc.Host = strings.ToLower(e.Value(q.opt.HostAttr))
	}
	if q.opt.StoreAttr != "" && e.Value(q.opt.StoreAttr) != "" {
		acc.ID = mail.AccountID(e.Value(q.opt.StoreAttr))
	}
	if !strings.Contains(string(acc.ID), "/") { // a name that our store has no place for
		acc.ID = directory.DefaultStore(acc.Address)
	}
	return acc, true, nil
}

// restrict makes operations of others than the root theirs (RFC 4370): the
// server's rules hold.
func (q *qmail) restrict(who directory.Identity, _ bool) ([]ldapclient.Control, error) {
	if who.Root {
		return nil, nil
	}
	id := ""
	if len(who.DN) > 0 {
		id = "dn:" + who.DN.String()
	}
	return []ldapclient.Control{ldapclient.ProxiedAuth(id)}, nil
}

// hashed returns a password as every OpenLDAP understands it: salted SHA-1 (the
// server's own bind checks it; it is never checked here).
func hashed(password []byte) string {
	salt := make([]byte, 16)
	rand.Read(salt)
	h := sha1.New()
	h.Write(password)
	h.Write(salt)
	return "{SSHA}" + base64.StdEncoding.EncodeToString(append(h.Sum(nil), salt...))
}
