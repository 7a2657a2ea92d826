package embedded

import (
	"bytes"
	"context"
	"iter"
	"slices"
	"strings"

	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/mail"
	"expost/internal/password"
)

// Bind implements directory.Directory.
func (d *Directory) Bind(ctx context.Context, dn ldap.DN, pw []byte) (directory.Identity, error) {
	switch {
	case len(pw) == 0 && len(dn) == 0:
		return directory.Identity{}, nil
	case len(pw) == 0:
		return directory.Identity{}, ldap.Errorf(ldap.UnwillingToPerform, "unauthenticated bind (DN with no password) disallowed")
	}
	wrong := ldap.Errorf(ldap.InvalidCredentials, "")
	s := d.snap.Load()
	n, _ := s.find(dn, d.suffix)
	isRoot := len(d.opt.RootDN) > 0 && dn.Equal(d.opt.RootDN, d.schema)
	var stored [][]byte
	switch {
	case isRoot && d.rootPassword != nil:
		stored = [][]byte{d.rootPassword}
	case n != nil:
		stored = s.passwords(n)
	}
	ok, err := d.verify(ctx, n, stored, pw)
	if err != nil {
		return directory.Identity{}, ldap.Errorf(ldap.Busy, "login canceled")
	}
	if !ok || !isRoot && (!mayLogin(s, n, d.suffix) || !d.mayBind(s, n, directory.PeerOf(ctx))) {
		return directory.Identity{}, wrong
	}
	if isRoot {
		return directory.Identity{DN: d.opt.RootDN, Root: true}, nil
	}
	return directory.Identity{DN: s.dn(n, d.suffix)}, nil
}

// mayLogin tells whether the status of an entry's account, if it is one, lets
// it log in.
func mayLogin(s *snapshot, n *node, suffix ldap.DN) bool {
	acc, ok := s.account(n, suffix)
	return !ok || acc.Status == directory.StatusActive
}

// passwords returns the values of userPassword that a password is compared
// with: not the keys of SCRAM, unless they are all there is.
func (s *snapshot) passwords(n *node) [][]byte {
	all := s.userPassword(n)
	if plain := password.WithoutScram(all); len(plain) > 0 {
		return plain
	}
	return all
}

// userPassword returns the values of userPassword.
func (s *snapshot) userPassword(n *node) [][]byte {
	var list [][]byte
	if desc, ok := s.dict.byName["userPassword"]; ok {
		n.values(desc, func(v []byte) bool {
			list = append(list, v)
			return true
		})
	}
	return list
}

// verify tells whether pw is one of the stored passwords. It takes as long
// where there is none. A value of an older scheme is replaced afterwards.
func (d *Directory) verify(ctx context.Context, n *node, stored [][]byte, pw []byte) (bool, error) {
	if len(stored) == 0 {
		return false, d.opt.Passwords.Decoy(ctx, pw)
	}
	for _, value := range stored {
		ok, err := d.opt.Passwords.Verify(ctx, value, pw)
		if err != nil {
			return false, err
		}
		if ok {
			d.scheduleRehash(n, value, pw)
			return true, nil
		}
	}
	return false, nil
}

// rehash is a password that was right and whose stored form is of an older scheme.
type rehash struct {
	id       uint32
	old      []byte
	password []byte
}

// scheduleRehash hands a password to the rehasher where its stored form is of an
// older scheme or it has no keys of SCRAM, unless the rehasher has enough to do:
// there will be another login.
func (d *Directory) scheduleRehash(n *node, old, pw []byte) {
	if n == nil || !d.opt.Passwords.NeedsRehash(old) && (!d.opt.Passwords.MakesScram() || d.hasKeys(n)) {
		return
	}
	select {
	case d.rehashes <- rehash{n.id, old, bytes.Clone(pw)}:
	default:
	}
}

// rehashPasswords replaces passwords of older schemes, one at a time, so that a
// morning of first logins does not starve them.
func (d *Directory) rehashPasswords(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-d.rehashes:
			if err := d.rehash(ctx, r); err != nil && ctx.Err() == nil {
				d.opt.Logger.Warn("a password could not be stored in the current scheme", "entry", r.id, "err", err)
			}
		}
	}
}

// hasKeys tells whether an entry has the keys of SCRAM.
func (d *Directory) hasKeys(n *node) bool {
	return slices.ContainsFunc(d.snap.Load().userPassword(n), password.IsScram)
}

// rehash replaces a stored password if it is still the one that was verified.
func (d *Directory) rehash(ctx context.Context, r rehash) error {
	values, err := d.renewed(ctx, r)
	if err != nil {
		return err
	}
	return d.change(ctx, func(b *batch) error {
		n := b.nodes.get(r.id)
		if n == nil {
			return nil
		}
		e := b.entry(n, b.suffixDN)
		a := e.Attribute("userPassword")
		if a == nil {
			return nil
		}
		i := slices.IndexFunc(a.Values, func(v []byte) bool { return bytes.Equal(v, r.old) })
		if i < 0 {
			return nil
		}
		others := password.WithoutScram(slices.Delete(a.Values, i, i+1))
		a.Values = append(others, values...)
		b.put(n, n.parent, e)
		return nil
	})
}

// renewed returns what takes the place of a stored password. A hash of the current
// scheme stays: only the keys are missing, and another hash would be dear.
func (d *Directory) renewed(ctx context.Context, r rehash) ([][]byte, error) {
	if d.opt.Passwords.NeedsRehash(r.old) {
		return d.passwordValues(ctx, r.password)
	}
	keys, err := d.opt.Passwords.Scram(r.password)
	if err != nil {
		return nil, err
	}
	return [][]byte{r.old, []byte(keys.Value())}, nil
}

// passwordValues returns what is stored for a password: its hash, and the keys
// of SCRAM where they are wanted.
func (d *Directory) passwordValues(ctx context.Context, pw []byte) ([][]byte, error) {
	hashed, err := d.opt.Passwords.Hash(ctx, pw)
	if err != nil {
		return nil, err
	}
	values := [][]byte{[]byte(hashed)}
	if d.opt.Passwords.MakesScram() {
		keys, err := d.opt.Passwords.Scram(pw)
		if err != nil {
			return nil, err
		}
		values = append(values, []byte(keys.Value()))
	}
	return values, nil
}

// dropStaleKeys removes the SCRAM keys that a change of the passwords left
// behind: those of before, where the other values are not those of before.
func dropStaleKeys(e *ldap.Entry, before [][]byte) {
	a := e.Attribute("userPassword")
	if a == nil {
		return
	}
	same := func(v, w []byte) bool { return bytes.Equal(v, w) }
	if slices.EqualFunc(password.WithoutScram(before), password.WithoutScram(a.Values), same) {
		return
	}
	a.Values = slices.DeleteFunc(a.Values, func(v []byte) bool {
		return password.IsScram(v) && slices.ContainsFunc(before, func(old []byte) bool { return bytes.Equal(old, v) })
	})
	if len(a.Values) == 0 {
		e.Attributes = slices.DeleteFunc(e.Attributes, func(a ldap.Attribute) bool { return a.Desc == "userPassword" })
	}
}

// hashPasswords replaces the clear-text values of userPassword.
func (d *Directory) hashPasswords(ctx context.Context, attributes []ldap.Attribute) error {
	for i, a := range attributes {
		if t := d.schema.Attribute(a.Desc); t == nil || t.Name() != "userPassword" {
			continue
		}
		values := make([][]byte, 0, len(a.Values)+1)
		for _, v := range a.Values {
			clearText, ok := password.Clear(v)
			if !ok {
				values = append(values, v)
				continue
			}
			hashed, err := d.passwordValues(ctx, clearText)
			if err != nil {
				return ldap.Errorf(ldap.ConstraintViolation, "userPassword: %v", err)
			}
			values = append(values, hashed...)
		}
		attributes[i].Values = values
	}
	return nil
}

// HashPassword implements directory.PasswordHasher.
func (d *Directory) HashPassword(ctx context.Context, pw []byte) ([]string, error) {
	values, err := d.passwordValues(ctx, pw)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, v := range values {
		list = append(list, string(v))
	}
	return list, nil
}

// Keys implements directory.KeyKeeper.
func (d *Directory) Keys(_ context.Context, login string) (*directory.Account, password.Scram, error) {
	s := d.snap.Load()
	n, acc := d.accountOfLogin(s, login)
	if n != nil && acc.Status == directory.StatusActive {
		for _, v := range s.userPassword(n) {
			if keys, ok := password.ParseScram(v); ok {
				return acc, keys, nil
			}
		}
	}
	return nil, password.Scram{}, mail.Errorf(mail.KindNotExist, "there are no keys for the login %q", login)
}

// HasPassword implements directory.KeyKeeper.
func (d *Directory) HasPassword(_ context.Context, dn ldap.DN) bool {
	s := d.snap.Load()
	n, _ := s.find(dn, d.suffix)
	return n != nil && len(s.userPassword(n)) > 0
}

// Learn implements directory.KeyKeeper.
func (d *Directory) Learn(ctx context.Context, dn ldap.DN, pw []byte) error {
	s := d.snap.Load()
	n, _ := s.find(dn, d.suffix)
	if n == nil {
		return ldap.Errorf(ldap.NoSuchObject, "%q does not exist", dn)
	}
	for _, stored := range s.passwords(n) {
		if ok, err := d.opt.Passwords.Verify(ctx, stored, pw); ok || err != nil {
			return err
		}
	}
	values, err := d.passwordValues(ctx, pw)
	if err != nil {
		return err
	}
	change := ldap.Change{Op: ldap.ChangeReplace, Attribute: ldap.Attribute{Desc: "userPassword", Values: values}}
	return d.Modify(ctx, directory.Local(), dn, []ldap.Change{change})
}

// errLogin is all that a failed login tells.
func errLogin() error { return mail.Errorf(mail.KindAuth, "wrong login or password") }

// Login implements directory.Directory.
func (d *Directory) Login(ctx context.Context, login, pw string) (*directory.Account, error) {
	s := d.snap.Load()
	n, acc := d.accountOfLogin(s, login)
	var stored [][]byte
	if n != nil {
		stored = s.passwords(n)
	}
	ok, err := d.verify(ctx, n, stored, []byte(pw))
	if err != nil {
		return nil, mail.WrapError(mail.KindTemporary, err, "login canceled")
	}
	if !ok || acc.Status != directory.StatusActive {
		return nil, errLogin()
	}
	return acc, nil
}

// Lookup implements directory.Directory.
func (d *Directory) Lookup(_ context.Context, login string) (*directory.Account, error) {
	if _, acc := d.accountOfLogin(d.snap.Load(), login); acc != nil {
		return acc, nil
	}
	return nil, mail.Errorf(mail.KindNotExist, "there is no account %q", login)
}

// accountOfLogin finds the account of a login name: one of its addresses, its
// uid where no other account has it, or the local part of an address in one of
// the configured domains.
func (d *Directory) accountOfLogin(s *snapshot, login string) (*node, *directory.Account) {
	login = strings.TrimSpace(login)
	local := !strings.Contains(login, "@")
	if !local {
		if n, acc := d.accountOfAddress(s, mail.Address(login)); acc != nil {
			return n, acc
		}
	}
	if id, ok := s.index.one(uidKey, strings.ToLower(login)); ok {
		n := s.nodes.get(id)
		if acc, ok := s.account(n, d.suffix); ok {
			return n, acc
		}
	}
	if !local {
		return nil, nil
	}
	var found *node
	var account *directory.Account
	for _, domain := range d.opt.Domains {
		n, acc := d.accountOfAddress(s, mail.Address(login+"@"+domain))
		if acc != nil && found != nil && n != found {
			return nil, nil // the name is ambiguous
		}
		if acc != nil {
			found, account = n, acc
		}
	}
	return found, account
}

func (d *Directory) accountOfAddress(s *snapshot, addr mail.Address) (*node, *directory.Account) {
	n, ok := s.byAddress(addr)
	if !ok {
		return nil, nil
	}
	acc, ok := s.account(n, d.suffix)
	if !ok {
		return nil, nil
	}
	return n, acc
}

// Resolve implements directory.Directory.
func (d *Directory) Resolve(_ context.Context, addr mail.Address) (*directory.Account, error) {
	if _, acc := d.accountOfAddress(d.snap.Load(), addr); acc != nil {
		return acc, nil
	}
	return nil, mail.Errorf(mail.KindNotExist, "there is no account with the address %s", addr)
}

// Accounts implements directory.Directory.
func (d *Directory) Accounts(ctx context.Context) iter.Seq2[*directory.Account, error] {
	return func(yield func(*directory.Account, error) bool) {
		s := d.snap.Load()
		s.index.prefix(addressKey, "", func(it item) bool {
			if ctx.Err() != nil {
				return yield(nil, ctx.Err())
			}
			acc, ok := s.account(s.nodes.get(it.id), d.suffix)
			return !ok || acc.Address.Key() != it.key || yield(acc, nil)
		})
	}
}
