package ldap

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/ldapclient"
	"expost/internal/mail"
)

// activeDirectory is Microsoft's server, with Exchange's attributes or without.
type activeDirectory struct{ opt Options }

// users are those who may have a mailbox.
func (a *activeDirectory) users(is *ldap.Filter) *ldap.Filter {
	return and(equal("objectClass", "user"), equal("objectCategory", "person"), a.opt.Filter, is)
}

func (a *activeDirectory) byAddress(addr mail.Address) *ldap.Filter {
	return a.users(or(equal("proxyAddresses", "smtp:"+string(addr)), equal("mail", string(addr))))
}

func (a *activeDirectory) byLogin(login string, domains []string) *ldap.Filter {
	names := []*ldap.Filter{equal("sAMAccountName", login)}
	list := []string{login}
	if !strings.Contains(login, "@") {
		list = nil
		for _, domain := range domains {
			list = append(list, login+"@"+domain)
		}
	}
	for _, name := range list {
		names = append(names, equal("userPrincipalName", name), equal("proxyAddresses", "smtp:"+name), equal("mail", name))
	}
	return a.users(or(names...))
}

func (a *activeDirectory) all() *ldap.Filter {
	return a.users(or(present("proxyAddresses"), present("mail")))
}

func (a *activeDirectory) attributes() []string {
	return append([]string{"mail", "proxyAddresses", "displayName", "cn", "objectGUID", "userAccountControl", "userPrincipalName", "sAMAccountName",
		"altRecipient", "deliverAndRedirect", "mDBUseDefaults", "mDBOverHardQuotaLimit", "delivContLength", "publicDelegates",
		"msExchRecipientTypeDetails"}, a.opt.extra()...)
}

// accountDisabled is a bit of userAccountControl ([MS-ADTS] 2.2.16).
const accountDisabled = 2

// sharedMailbox is a value of msExchRecipientTypeDetails.
const sharedMailbox = 4

// account reads a user. A disabled one gets mail still, as at Exchange, where
// the users of shared mailboxes are disabled.
func (a *activeDirectory) account(e *ldap.Entry, read func(dn string, attributes ...string) (*ldap.Entry, error)) (*directory.Account, bool, error) {
	primary, aliases := exchangeAddresses(e)
	if primary == "" {
		return nil, false, nil
	}
	acc := &directory.Account{
		DN: e.DN, Address: primary, Aliases: aliases, Name: e.Value("displayName"), Status: directory.StatusActive,
		Shared: number(e, "msExchRecipientTypeDetails") == sharedMailbox,
	}
	if acc.Name == "" {
		acc.Name = e.Value("cn")
	}
	if number(e, "userAccountControl")&accountDisabled != 0 || acc.Shared {
		acc.Status = directory.StatusNoAccess
	}
	if a.opt.HostAttr != "" {
		acc.Host = strings.ToLower(e.Value(a.opt.HostAttr))
	}
	acc.ID = a.store(e, acc.Address)
	if !strings.EqualFold(e.Value("mDBUseDefaults"), "TRUE") {
		acc.Quota.Bytes = number(e, "mDBOverHardQuotaLimit") << 10
	}
	acc.MaxMessage = number(e, "delivContLength") << 10
	for _, text := range e.Values("publicDelegates") {
		if dn, err := ldap.ParseDN(text); err == nil {
			acc.OnBehalf = append(acc.OnBehalf, dn)
		}
	}
	if to := e.Value("altRecipient"); to != "" {
		target, err := read(to, "mail", "proxyAddresses", "targetAddress")
		if err != nil {
			return nil, false, err
		}
		a.forward(acc, target, strings.EqualFold(e.Value("deliverAndRedirect"), "TRUE"))
	}
	return acc, true, nil
}

// forward makes mail go on to another recipient, and stay too if keep.
func (a *activeDirectory) forward(acc *directory.Account, target *ldap.Entry, keep bool) {
	if target == nil {
		return
	}
	to, _ := exchangeAddresses(target)
	if kind, outside, found := strings.Cut(target.Value("targetAddress"), ":"); found && strings.EqualFold(kind, "smtp") {
		if addr, err := mail.ParseAddress(outside); err == nil {
			to = addr
		}
	}
	if to == "" {
		return
	}
	acc.Forward = []mail.Address{to}
	if !keep {
		acc.Modes = []string{"nolocal"}
	}
}

// store names the mailbox: by an attribute that is meant for it, or else by the
// GUID, which stays when somebody gets another name.
func (a *activeDirectory) store(e *ldap.Entry, addr mail.Address) mail.AccountID {
	if a.opt.StoreAttr != "" && e.Value(a.opt.StoreAttr) != "" {
		return mail.AccountID(e.Value(a.opt.StoreAttr))
	}
	g := []byte(e.Value("objectGUID"))
	if len(g) != 16 {
		return directory.DefaultStore(addr)
	}
	le := binary.LittleEndian
	return mail.AccountID(fmt.Sprintf("guid/%08x-%04x-%04x-%x-%x", le.Uint32(g), le.Uint16(g[4:]), le.Uint16(g[6:]), g[8:10], g[10:]))
}

// exchangeAddresses returns the addresses of proxyAddresses and mail. The
// primary one is that of "SMTP:" in capitals.
func exchangeAddresses(e *ldap.Entry) (primary mail.Address, aliases []mail.Address) {
	var list []mail.Address
	add := func(text string, first bool) {
		addr, err := mail.ParseAddress(strings.TrimSpace(text))
		if err != nil {
			return
		}
		for _, have := range list {
			if have.Key() == addr.Key() {
				return
			}
		}
		if list = append(list, addr); first && primary == "" {
			primary = addr
		}
	}
	for _, proxy := range e.Values("proxyAddresses") {
		if kind, addr, found := strings.Cut(proxy, ":"); found && strings.EqualFold(kind, "smtp") {
			add(addr, kind == "SMTP")
		}
	}
	add(e.Value("mail"), true)
	if primary == "" && len(list) > 0 {
		primary = list[0]
	}
	for _, addr := range list {
		if addr != primary {
			aliases = append(aliases, addr)
		}
	}
	return primary, aliases
}

func number(e *ldap.Entry, desc string) int64 {
	n, err := strconv.ParseInt(e.Value(desc), 10, 64)
	if err != nil {
		return 0
	}
	return max(n, 0)
}

// restrict lets users read with our account, since Active Directory lets every
// user read nearly everything and knows no proxied authorization; changes are
// the root's alone.
func (a *activeDirectory) restrict(who directory.Identity, changes bool) ([]ldapclient.Control, error) {
	switch {
	case who.Root:
		return nil, nil
	case len(who.DN) == 0 && changes:
		return nil, ldap.Errorf(ldap.StrongerAuthRequired, "modifications require authentication")
	case len(who.DN) == 0:
		return nil, ldap.Errorf(ldap.InsufficientAccessRights, "this directory needs a login")
	case changes:
		return nil, ldap.Errorf(ldap.InsufficientAccessRights, "changes are made at the directory's own server")
	}
	return nil, nil
}
