package delivery

import (
	"strings"

	"expost/internal/directory"
	"expost/internal/mail"
)

// Owns tells whether addr, as a sender, belongs to the account: its address, an
// alias, or a sub-address of one.
func (a *Agent) Owns(acct *directory.Account, addr mail.Address) bool {
	if owns(acct, addr.Key()) {
		return true
	}
	name, _, ok := strings.Cut(addr.Local(), a.cfg.Separator)
	return ok && a.cfg.Separator != "" && owns(acct, mail.Address(name+"@"+addr.Domain()).Key())
}

func owns(acct *directory.Account, key string) bool {
	if acct.Address.Key() == key {
		return true
	}
	for _, alias := range acct.Aliases {
		if alias.Key() == key {
			return true
		}
	}
	return false
}
