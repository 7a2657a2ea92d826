package directory

import (
	"context"
	"slices"
	"strings"

	"expost/internal/ldap"
	"expost/internal/mail"
)

// DelegateAttr is an attribute of an account that names who may send for it.
type DelegateAttr string

// The attributes of expostMailbox that name people and groups.
const (
	SendAsAttr   DelegateAttr = "mailSendAs"
	OnBehalfAttr DelegateAttr = "publicDelegates"
)

// SendRight is by which right somebody writes an address into From.
type SendRight uint8

// The rights to send, from none to the widest.
const (
	SendNot      SendRight = iota
	SendOnBehalf           // with the own address in Sender (RFC 5322 §3.6.2)
	SendAs                 // as if the address were one's own
	SendOwn                // the address is one's own
)

// SendRightFor returns by which right who may send from an address. An address
// that no account here owns is nobody's: SendNot.
func SendRightFor(ctx context.Context, d Directory, who *Account, from mail.Address) (SendRight, error) {
	owner, err := d.Resolve(ctx, from)
	if err != nil {
		if mail.KindOf(err) == mail.KindNotExist {
			return SendNot, nil
		}
		return SendNot, err
	}
	if owner.ID == who.ID {
		return SendOwn, nil
	}
	if len(owner.SendAs) == 0 && len(owner.OnBehalf) == 0 {
		return SendNot, nil
	}
	self := []ldap.DN{who.DN}
	switch {
	case sharesDN(owner.SendAs, self):
		return SendAs, nil
	case len(owner.SendAs) == 0 && sharesDN(owner.OnBehalf, self):
		return SendOnBehalf, nil
	}
	groups, err := GroupsOf(ctx, d, who.DN)
	if err != nil {
		return SendNot, err
	}
	for i := range groups {
		self = append(self, groups[i].DN)
	}
	switch {
	case sharesDN(owner.SendAs, self):
		return SendAs, nil
	case sharesDN(owner.OnBehalf, self):
		return SendOnBehalf, nil
	}
	return SendNot, nil
}

// sharesDN tells whether a DN is in both lists.
func sharesDN(a, b []ldap.DN) bool {
	return slices.ContainsFunc(a, func(x ldap.DN) bool {
		return slices.ContainsFunc(b, func(y ldap.DN) bool { return x.Equal(y, folded{}) })
	})
}

// SetDelegate gives the entry to, or with on false takes from it, the right that
// attr names to send for the account owner. Its errors are *mail.Error.
func SetDelegate(ctx context.Context, d Directory, owner ldap.DN, attr DelegateAttr, to ldap.DN, on bool) error {
	e, err := readEntry(ctx, d, owner, "objectClass", string(attr))
	if err != nil {
		return mailError(err)
	}
	have := slices.ContainsFunc(parseDNs(e.Values(string(attr))), func(dn ldap.DN) bool { return dn.Equal(to, folded{}) })
	if have == on {
		return nil
	}
	change := ldap.Change{Op: ldap.ChangeDelete, Attribute: ldap.NewAttribute(string(attr), to.String())}
	var changes []ldap.Change
	if on {
		change.Op = ldap.ChangeAdd
		changes = withMailboxClass(e)
	}
	return mailError(d.Modify(ctx, Local(), owner, append(changes, change)))
}

// SetShared makes an account a shared mailbox, or one that a person logs in to.
// Its errors are *mail.Error.
func SetShared(ctx context.Context, d Directory, dn ldap.DN, shared bool) error {
	e, err := readEntry(ctx, d, dn, "objectClass", "mailboxType")
	if err != nil {
		return mailError(err)
	}
	if strings.EqualFold(e.Value("mailboxType"), "shared") == shared {
		return nil
	}
	kind := ldap.NewAttribute("mailboxType")
	var changes []ldap.Change
	if shared {
		kind = ldap.NewAttribute("mailboxType", "shared")
		changes = withMailboxClass(e)
	}
	return mailError(d.Modify(ctx, Local(), dn, append(changes, ldap.Change{Op: ldap.ChangeReplace, Attribute: kind})))
}

// withMailboxClass returns what gives an entry the class expostMailbox, unless
// it has it.
func withMailboxClass(e *ldap.Entry) []ldap.Change {
	if hasClass(e, ClassMailbox) {
		return nil
	}
	return []ldap.Change{{Op: ldap.ChangeAdd, Attribute: ldap.NewAttribute("objectClass", ClassMailbox)}}
}

// hasClass tells whether an entry has an object class.
func hasClass(e *ldap.Entry, class string) bool {
	return slices.ContainsFunc(e.Values("objectClass"), func(c string) bool { return strings.EqualFold(c, class) })
}

// readEntry reads one entry; *ldap.Error.
func readEntry(ctx context.Context, d Directory, dn ldap.DN, attributes ...string) (*ldap.Entry, error) {
	var found *ldap.Entry
	req := &ldap.SearchRequest{Base: dn, Scope: ldap.ScopeBase, Filter: present("objectClass"), Attributes: attributes}
	err := d.Search(ctx, Local(), req, func(e *ldap.Entry) error {
		found = e
		return nil
	})
	if err == nil && found == nil {
		err = ldap.Errorf(ldap.NoSuchObject, "there is no entry %q", dn)
	}
	return found, err
}

// forgetDelegate takes a DN out of every account's delegates.
func forgetDelegate(ctx context.Context, d Directory, dn ldap.DN) error {
	for _, attr := range []DelegateAttr{SendAsAttr, OnBehalfAttr} {
		var owners []ldap.DN
		req := &ldap.SearchRequest{Base: d.Suffix(), Scope: ldap.ScopeSub, Filter: equal(string(attr), dn.String()), Attributes: []string{"objectClass"}}
		err := d.Search(ctx, Local(), req, func(e *ldap.Entry) error {
			owners = append(owners, e.DN)
			return nil
		})
		if err != nil {
			return mailError(err)
		}
		for _, owner := range owners {
			if err := SetDelegate(ctx, d, owner, attr, dn, false); err != nil && mail.KindOf(err) != mail.KindNotExist {
				return err
			}
		}
	}
	return nil
}

// Group is an entry that has an account among its members.
type Group struct {
	DN      ldap.DN
	Address mail.Address // its mail; may be empty
	Name    string       // its cn
}

// Bounds of GroupsOf: how deep groups may be members of groups, and how many
// are looked at.
const (
	groupDepth = 8
	groupMax   = 500
)

// GroupsOf returns the groups that an entry is a member of, through other groups
// too (member, uniqueMember and dnmember). Its errors are *mail.Error.
func GroupsOf(ctx context.Context, d Directory, dn ldap.DN) ([]Group, error) {
	var groups []Group
	seen := map[string]bool{dn.Key(folded{}): true}
	level := []ldap.DN{dn}
	for depth := 0; depth < groupDepth && len(level) > 0; depth++ {
		var tests []*ldap.Filter
		for _, member := range level {
			for _, attr := range []string{"member", "uniqueMember", "dnmember"} {
				tests = append(tests, equal(attr, member.String()))
			}
		}
		level = nil
		req := &ldap.SearchRequest{Base: d.Suffix(), Scope: ldap.ScopeSub, Attributes: []string{"cn", "mail"},
			Filter: &ldap.Filter{Op: ldap.FilterOr, Subs: tests}}
		err := d.Search(ctx, Local(), req, func(e *ldap.Entry) error {
			if key := e.DN.Key(folded{}); !seen[key] && len(groups) < groupMax {
				seen[key] = true
				level = append(level, e.DN)
				addr, _ := mail.ParseAddress(e.Value("mail"))
				groups = append(groups, Group{DN: e.DN, Address: addr, Name: e.Value("cn")})
			}
			return nil
		})
		if err != nil {
			return nil, mailError(err)
		}
	}
	return groups, nil
}

// GroupByName returns the group of a name: an address, or a cn.
// mail.KindNotExist, and mail.KindConflict where there are several.
func GroupByName(ctx context.Context, d Directory, name string) (*Group, error) {
	isGroup := &ldap.Filter{Op: ldap.FilterOr, Subs: []*ldap.Filter{present("member"), present("uniqueMember"), present("dnmember"),
		present("rfc822member"), equal("objectClass", ClassGroup), equal("objectClass", ClassListGroup)}}
	named := &ldap.Filter{Op: ldap.FilterOr, Subs: []*ldap.Filter{equal("mail", name), equal("cn", name)}}
	req := &ldap.SearchRequest{Base: d.Suffix(), Scope: ldap.ScopeSub, Attributes: []string{"cn", "mail"},
		Filter: &ldap.Filter{Op: ldap.FilterAnd, Subs: []*ldap.Filter{named, isGroup}}}
	var found []Group
	err := d.Search(ctx, Local(), req, func(e *ldap.Entry) error {
		addr, _ := mail.ParseAddress(e.Value("mail"))
		found = append(found, Group{DN: e.DN, Address: addr, Name: e.Value("cn")})
		return nil
	})
	switch {
	case err != nil:
		return nil, mailError(err)
	case len(found) == 0:
		return nil, mail.Errorf(mail.KindNotExist, "there is no group %q", name)
	case len(found) > 1:
		return nil, mail.Errorf(mail.KindConflict, "there are %d groups %q; name one by its address", len(found), name)
	}
	return &found[0], nil
}

// AccountOfStore returns the account whose mailbox has an id; mail.KindNotExist.
func AccountOfStore(ctx context.Context, d Directory, id mail.AccountID) (*Account, error) {
	domain, local, _ := strings.Cut(string(id), "/")
	acct, err := d.Resolve(ctx, mail.Address(local+"@"+domain))
	if err == nil && acct.ID == id {
		return acct, nil
	}
	if err != nil && mail.KindOf(err) != mail.KindNotExist {
		return nil, err
	}
	acct = nil
	req := &ldap.SearchRequest{Base: d.Suffix(), Scope: ldap.ScopeSub, Filter: equal("mailMessageStore", string(id)), Attributes: []string{"*"}}
	err = d.Search(ctx, Local(), req, func(e *ldap.Entry) error {
		if found, ok := AccountOf(e); ok && found.ID == id {
			acct = found
		}
		return nil
	})
	if err != nil {
		return nil, mailError(err)
	}
	if acct == nil {
		return nil, mail.Errorf(mail.KindNotExist, "no account has the mailbox %q", string(id))
	}
	return acct, nil
}

// folded compares DNs without regard to case and runs of spaces, as the
// attributes that name people and groups do.
type folded struct{}

// NormalizeAVA implements ldap.Normalizer.
func (folded) NormalizeAVA(a ldap.AVA) ldap.AVA {
	return ldap.AVA{Type: strings.ToLower(a.Type), Value: strings.ToLower(strings.Join(strings.Fields(a.Value), " "))}
}

func equal(attr, value string) *ldap.Filter {
	return &ldap.Filter{Op: ldap.FilterEqual, Attr: attr, Value: []byte(value)}
}

func present(attr string) *ldap.Filter { return &ldap.Filter{Op: ldap.FilterPresent, Attr: attr} }
