package directory

import (
	"slices"
	"strconv"
	"strings"

	"expost/internal/ldap"
	"expost/internal/mail"
)

// The classes of entries that own their addresses: no two of them may have the
// same one. Contacts (entries of other classes) may show any address.
const (
	ClassAccount   = "qmailUser"
	ClassListGroup = "qmailGroup"
	ClassGroup     = "expostGroup"
)

// ClassMailbox is the auxiliary class of what says how a mailbox is shared.
const ClassMailbox = "expostMailbox"

// OwnsAddresses tells whether entries of an object class own their addresses.
func OwnsAddresses(class string) bool {
	return strings.EqualFold(class, ClassAccount) || strings.EqualFold(class, ClassListGroup) || strings.EqualFold(class, ClassGroup)
}

// AccountOf returns what mail needs to know of an entry with canonical
// attribute names. It is false where the entry has no mailbox: it is no
// qmailUser, or its mail is no address.
func AccountOf(e *ldap.Entry) (*Account, bool) {
	if !slices.ContainsFunc(e.Values("objectClass"), func(c string) bool { return strings.EqualFold(c, ClassAccount) }) {
		return nil, false
	}
	addresses := Addresses(e)
	if len(addresses) == 0 {
		return nil, false
	}
	a := &Account{
		DN:         e.DN,
		ID:         mail.AccountID(e.Value("mailMessageStore")),
		Address:    addresses[0],
		Aliases:    addresses[1:],
		Forward:    parseAddresses(e.Values("mailForwardingAddress")),
		Name:       e.Value("displayName"),
		Host:       strings.ToLower(e.Value("mailHost")),
		Status:     statusOf(e.Value("accountStatus")),
		Modes:      e.Values("deliveryMode"),
		Quota:      mail.Quota{Bytes: number(e, "mailQuotaSize"), Messages: number(e, "mailQuotaCount")},
		MaxMessage: number(e, "mailSizeMax"),
		Reply:      e.Value("mailReplyText"),
		Shared:     strings.EqualFold(e.Value("mailboxType"), "shared"),
		SendAs:     parseDNs(e.Values(string(SendAsAttr))),
		OnBehalf:   parseDNs(e.Values(string(OnBehalfAttr))),
	}
	if a.Shared && a.Status == StatusActive {
		a.Status = StatusNoAccess
	}
	if a.ID == "" {
		a.ID = DefaultStore(a.Address)
	}
	if a.Name == "" {
		a.Name = e.Value("cn")
	}
	for i, mode := range a.Modes {
		a.Modes[i] = strings.ToLower(mode)
	}
	return a, true
}

// DefaultStore returns where the mailbox of an address is kept that has no
// mailMessageStore: "domain/local" in lower case.
func DefaultStore(addr mail.Address) mail.AccountID {
	key := mail.Address(addr.Key())
	return mail.AccountID(key.Domain() + "/" + key.Local())
}

// statusOf reads accountStatus; qmail-ldap takes an unknown one for active.
func statusOf(s string) Status {
	switch status := Status(strings.ToLower(s)); status {
	case StatusNoAccess, StatusDisabled, StatusDeleted:
		return status
	}
	return StatusActive
}

// parseDNs leaves out what is no DN.
func parseDNs(texts []string) []ldap.DN {
	var list []ldap.DN
	for _, text := range texts {
		if dn, err := ldap.ParseDN(text); err == nil {
			list = append(list, dn)
		}
	}
	return list
}

func number(e *ldap.Entry, desc string) int64 {
	n, err := strconv.ParseInt(e.Value(desc), 10, 64)
	if err != nil {
		return 0
	}
	return max(n, 0)
}

// Addresses returns the addresses that an account or group owns, each once,
// the primary one first: mail, mailAlternateAddress, and the smtp: ones of
// proxyAddresses. An entry of another kind owns none.
func Addresses(e *ldap.Entry) []mail.Address {
	if !slices.ContainsFunc(e.Values("objectClass"), OwnsAddresses) {
		return nil
	}
	texts := slices.Concat(e.Values("mail"), e.Values("mailAlternateAddress"))
	for _, proxy := range e.Values("proxyAddresses") {
		if kind, addr, found := strings.Cut(proxy, ":"); found && strings.EqualFold(kind, "smtp") {
			texts = append(texts, addr)
		}
	}
	return parseAddresses(texts)
}

// parseAddresses leaves out what is no address, and what comes again.
func parseAddresses(texts []string) []mail.Address {
	var list []mail.Address
	seen := make(map[string]bool, len(texts))
	for _, text := range texts {
		addr, err := mail.ParseAddress(strings.TrimSpace(text))
		if err != nil || seen[addr.Key()] {
			continue
		}
		seen[addr.Key()] = true
		list = append(list, addr)
	}
	return list
}

// Clone returns a copy of the account that its owner may change.
func (a *Account) Clone() *Account {
	c := *a
	c.Aliases, c.Forward, c.Modes = slices.Clone(a.Aliases), slices.Clone(a.Forward), slices.Clone(a.Modes)
	c.SendAs, c.OnBehalf = slices.Clone(a.SendAs), slices.Clone(a.OnBehalf)
	return &c
}
