package directory

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"expost/internal/ldap"
	"expost/internal/mail"
	"expost/internal/password"
)

// Rename is a modify DN request (RFC 4511 §4.9).
type Rename struct {
	DN        ldap.DN
	NewRDN    ldap.RDN
	DeleteOld bool    // the values of the old RDN go
	Superior  ldap.DN // the new parent; nil: the old one
}

// Renamer is a Directory that can rename and move entries.
type Renamer interface {
	Rename(ctx context.Context, who Identity, r Rename) error
}

// PasswordHasher is a Directory that stores hashes of passwords and makes them
// itself. To one that does not implement it, a password is given as it is.
type PasswordHasher interface {
	// HashPassword returns the values of userPassword for a password.
	HashPassword(ctx context.Context, password []byte) ([]string, error)
}

// KeyKeeper is a Directory that keeps the keys of SCRAM (RFC 5802) beside the
// passwords, and takes over passwords that were found right elsewhere.
type KeyKeeper interface {
	// Keys returns the account of a login name and its keys. mail.KindNotExist
	// where there is no such account, it has no keys, or its status refuses logins.
	Keys(ctx context.Context, login string) (*Account, password.Scram, error)

	// HasPassword tells whether an entry has a password stored.
	HasPassword(ctx context.Context, dn ldap.DN) bool

	// Learn stores the password of an entry, unless it is stored already.
	Learn(ctx context.Context, dn ldap.DN, password []byte) error
}

// Local is this node itself, which may do everything.
func Local() Identity { return Identity{Root: true} }

// NewUnit returns an organizationalUnit below parent.
func NewUnit(parent ldap.DN, name string) *ldap.Entry {
	return &ldap.Entry{
		DN: parent.Child(ldap.AVA{Type: "ou", Value: name}),
		Attributes: []ldap.Attribute{
			ldap.NewAttribute("objectClass", "top", "organizationalUnit"),
			ldap.NewAttribute("ou", name),
		},
	}
}

// NewAccount says what an account is made with. All but Address may be empty.
type NewAccount struct {
	Address  mail.Address
	Name     string // of the person; empty: the local part
	Password []byte // nil: none, so that nobody can log in
	Host     string // mailHost
	Quota    mail.Quota
	Aliases  []mail.Address
	Forward  []mail.Address
	Shared   bool    // a shared mailbox, to which nobody logs in
	Base     ldap.DN // where a new entry stands; nil: ou=people below the suffix
}

// AddAccount makes an account: the one entry that shows the address already, a
// person of the address book, becomes it; else a new entry is made. Its errors
// are *mail.Error.
func AddAccount(ctx context.Context, d Directory, n NewAccount) (*Account, error) {
	if have, err := d.Resolve(ctx, n.Address); err == nil {
		return nil, mail.Errorf(mail.KindExist, "the address %s belongs to %q already", n.Address, have.DN)
	} else if mail.KindOf(err) != mail.KindNotExist {
		return nil, err
	}
	attributes, err := n.attributes(ctx, d)
	if err != nil {
		return nil, mailError(err)
	}
	person, err := findPerson(ctx, d, n.Address)
	if err != nil {
		return nil, mailError(err)
	}
	if person != nil {
		err = d.Modify(ctx, Local(), person.DN, n.adopt(person, attributes))
	} else {
		err = d.Add(ctx, Local(), n.entry(d.Suffix(), attributes))
	}
	if err != nil {
		return nil, mailError(err)
	}
	return d.Resolve(ctx, n.Address)
}

// attributes returns what qmailUser needs and is asked for.
func (n *NewAccount) attributes(ctx context.Context, d Directory) ([]ldap.Attribute, error) {
	list := []ldap.Attribute{ldap.NewAttribute("mailMessageStore", string(DefaultStore(n.Address)))}
	if n.Shared {
		list = append(list, ldap.NewAttribute("mailboxType", "shared"))
	}
	if n.Password != nil {
		values, err := passwordValues(ctx, d, n.Password)
		if err != nil {
			return nil, err
		}
		list = append(list, ldap.NewAttribute("userPassword", values...))
	}
	change := AccountChange{Aliases: &n.Aliases, Forward: &n.Forward, Host: &n.Host, Quota: &n.Quota}
	for _, c := range change.changes() {
		if len(c.Attribute.Values) > 0 {
			list = append(list, c.Attribute)
		}
	}
	return list, nil
}

// entry returns the entry of a new person.
func (n *NewAccount) entry(suffix ldap.DN, attributes []ldap.Attribute) *ldap.Entry {
	base := n.Base
	if base == nil {
		base = suffix.Child(ldap.AVA{Type: "ou", Value: "people"})
	}
	name := strings.Join(strings.Fields(n.Name), " ")
	if name == "" {
		name = n.Address.Local()
	}
	words := strings.Fields(name)
	classes := []string{"top", "person", "organizationalPerson", "inetOrgPerson", ClassAccount}
	if n.Shared {
		classes = append(classes, ClassMailbox)
	}
	person := []ldap.Attribute{
		ldap.NewAttribute("objectClass", classes...),
		ldap.NewAttribute("uid", string(n.Address)),
		ldap.NewAttribute("cn", name),
		ldap.NewAttribute("sn", words[len(words)-1]),
		ldap.NewAttribute("displayName", name),
		ldap.NewAttribute("mail", string(n.Address)),
	}
	if len(words) > 1 {
		person = append(person, ldap.NewAttribute("givenName", strings.Join(words[:len(words)-1], " ")))
	}
	return &ldap.Entry{
		DN:         base.Child(ldap.AVA{Type: "uid", Value: string(n.Address)}),
		Attributes: append(person, attributes...),
	}
}

// adopt returns the changes that make a person's entry an account.
func (n *NewAccount) adopt(person *ldap.Entry, attributes []ldap.Attribute) []ldap.Change {
	classes := []string{ClassAccount}
	if n.Shared && !hasClass(person, ClassMailbox) {
		classes = append(classes, ClassMailbox)
	}
	changes := []ldap.Change{{Op: ldap.ChangeAdd, Attribute: ldap.NewAttribute("objectClass", classes...)}}
	if n.Name != "" {
		attributes = append(attributes, ldap.NewAttribute("displayName", n.Name))
	}
	for _, a := range attributes {
		changes = append(changes, ldap.Change{Op: ldap.ChangeReplace, Attribute: a})
	}
	return changes
}

// findPerson returns the one person that shows an address and has no mailbox.
func findPerson(ctx context.Context, d Directory, addr mail.Address) (*ldap.Entry, error) {
	test := func(attr, value string) *ldap.Filter {
		return &ldap.Filter{Op: ldap.FilterEqual, Attr: attr, Value: []byte(value)}
	}
	req := &ldap.SearchRequest{Base: d.Suffix(), Scope: ldap.ScopeSub, Attributes: []string{"objectClass"},
		Filter: &ldap.Filter{Op: ldap.FilterAnd, Subs: []*ldap.Filter{
			test("mail", string(addr)), test("objectClass", "inetOrgPerson"),
			{Op: ldap.FilterNot, Subs: []*ldap.Filter{test("objectClass", ClassAccount)}},
		}}}
	var found []*ldap.Entry
	err := d.Search(ctx, Local(), req, func(e *ldap.Entry) error {
		found = append(found, e)
		return nil
	})
	if err != nil || len(found) != 1 {
		return nil, err
	}
	return found[0], nil
}

// AccountChange says what is to become of an account. What is nil stays.
type AccountChange struct {
	Name     *string
	Password []byte
	Host     *string // empty: this node
	Status   *Status
	Quota    *mail.Quota
	Aliases  *[]mail.Address
	Forward  *[]mail.Address
	Modes    *[]string
	Reply    *string // mailReplyText
}

// ChangeAccount changes an account. Its errors are *mail.Error.
func ChangeAccount(ctx context.Context, d Directory, dn ldap.DN, change AccountChange) error {
	changes := change.changes()
	if change.Password != nil {
		values, err := passwordValues(ctx, d, change.Password)
		if err != nil {
			return mailError(err)
		}
		changes = append(changes, ldap.Change{Op: ldap.ChangeReplace, Attribute: ldap.NewAttribute("userPassword", values...)})
	}
	if len(changes) == 0 {
		return nil
	}
	return mailError(d.Modify(ctx, Local(), dn, changes))
}

// changes returns the change as modifications; an empty value removes its
// attribute.
func (c *AccountChange) changes() []ldap.Change {
	var list []ldap.Change
	replace := func(desc string, values ...string) {
		values = slices.DeleteFunc(values, func(v string) bool { return v == "" })
		list = append(list, ldap.Change{Op: ldap.ChangeReplace, Attribute: ldap.NewAttribute(desc, values...)})
	}
	if c.Name != nil {
		replace("displayName", *c.Name)
	}
	if c.Host != nil {
		replace("mailHost", *c.Host)
	}
	if c.Status != nil {
		replace("accountStatus", string(*c.Status))
	}
	if c.Quota != nil {
		replace("mailQuotaSize", positive(c.Quota.Bytes))
		replace("mailQuotaCount", positive(c.Quota.Messages))
	}
	if c.Aliases != nil {
		replace("mailAlternateAddress", texts(*c.Aliases)...)
	}
	if c.Forward != nil {
		replace("mailForwardingAddress", texts(*c.Forward)...)
	}
	if c.Modes != nil {
		replace("deliveryMode", slices.Clone(*c.Modes)...)
	}
	if c.Reply != nil {
		replace("mailReplyText", *c.Reply)
	}
	return list
}

func positive(n int64) string {
	if n <= 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

func texts(addresses []mail.Address) []string {
	list := make([]string, len(addresses))
	for i, a := range addresses {
		list[i] = string(a)
	}
	return list
}

// RemoveAccount deletes the entry of an account, and the rights to send that it
// was given, so that a later entry of its name does not have them. Its errors
// are *mail.Error.
func RemoveAccount(ctx context.Context, d Directory, dn ldap.DN) error {
	if err := d.Delete(ctx, Local(), dn); err != nil {
		return mailError(err)
	}
	return forgetDelegate(ctx, d, dn)
}

// passwordValues returns the values of userPassword for a password.
func passwordValues(ctx context.Context, d Directory, password []byte) ([]string, error) {
	if h, ok := d.(PasswordHasher); ok {
		values, err := h.HashPassword(ctx, password)
		if err != nil {
			return nil, mail.WrapError(mail.KindInvalid, err, "the password cannot be used")
		}
		return values, nil
	}
	return []string{string(password)}, nil
}

// mailError gives an error of the tree the Kind that commands know.
func mailError(err error) error {
	le, ok := errors.AsType[*ldap.Error](err)
	if !ok {
		return err
	}
	kind := mail.KindInvalid
	switch le.Code {
	case ldap.NoSuchObject:
		kind = mail.KindNotExist
	case ldap.EntryAlreadyExists:
		kind = mail.KindExist
	case ldap.ConstraintViolation:
		kind = mail.KindConflict
	case ldap.InsufficientAccessRights, ldap.StrongerAuthRequired:
		kind = mail.KindPermission
	case ldap.Unavailable, ldap.Busy:
		kind = mail.KindUnavailable
	case ldap.Other, ldap.OperationsError:
		kind = mail.KindInternal
	}
	return mail.WrapError(kind, nil, "%s", le.Text)
}
