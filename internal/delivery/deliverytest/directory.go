// Package deliverytest has a directory of a few accounts, for tests of what
// stands on a directory but is not about it.
package deliverytest

import (
	"context"
	"errors"
	"sync/atomic"

	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/mail"
)

// Password is everybody's.
const Password = "correct horse"

// Directory answers the lookups of mail from a fixed list. The methods of the
// tree are not there.
type Directory struct {
	directory.Directory
	accounts []*directory.Account
	away     atomic.Bool
}

// New returns a Directory of the accounts. An ID that is missing is made.
func New(accounts ...directory.Account) *Directory {
	d := &Directory{}
	for _, a := range accounts {
		if a.ID == "" {
			a.ID = mail.AccountID(a.Address.Domain() + "/" + a.Address.Local())
		}
		d.accounts = append(d.accounts, &a)
	}
	return d
}

// SetAway makes every lookup fail, as when the directory is down.
func (d *Directory) SetAway(away bool) { d.away.Store(away) }

// Resolve returns the account of an address.
func (d *Directory) Resolve(_ context.Context, addr mail.Address) (*directory.Account, error) {
	if d.away.Load() {
		return nil, mail.WrapError(mail.KindUnavailable, errors.New("connection refused"), "the directory is away")
	}
	for _, a := range d.accounts {
		for _, x := range append([]mail.Address{a.Address}, a.Aliases...) {
			if x.Key() == addr.Key() {
				return a, nil
			}
		}
	}
	return nil, mail.Errorf(mail.KindNotExist, "nobody has the address %s", addr)
}

// Lookup returns the account of an address.
func (d *Directory) Lookup(ctx context.Context, login string) (*directory.Account, error) {
	return d.Resolve(ctx, mail.Address(login))
}

// Login returns the account of an address where the password is Password.
func (d *Directory) Login(ctx context.Context, login, password string) (*directory.Account, error) {
	a, err := d.Resolve(ctx, mail.Address(login))
	if mail.KindOf(err) == mail.KindUnavailable {
		return nil, err
	}
	if err != nil || password != Password || a.Status != directory.StatusActive && a.Status != "" {
		return nil, mail.Errorf(mail.KindAuth, "wrong login or password")
	}
	return a, nil
}

// Suffix is that of an empty tree.
func (d *Directory) Suffix() ldap.DN { return nil }

// Search finds nothing: there are only accounts. It fails while the directory
// is away.
func (d *Directory) Search(context.Context, directory.Identity, *ldap.SearchRequest, func(*ldap.Entry) error) error {
	if d.away.Load() {
		return ldap.Errorf(ldap.Unavailable, "the directory is away")
	}
	return nil
}
