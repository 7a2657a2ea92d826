package directory

import (
	"context"
	"slices"
	"strings"

	"expost/internal/ldap"
	"expost/internal/mail"
)

// List is a group as mail sees it: a distribution list. It is read from any
// entry of the classes qmailGroup, expostGroup, groupOfNames,
// groupOfUniqueNames and Active Directory's group.
type List struct {
	DN      ldap.DN
	Address mail.Address   // its mail; empty: mail for it only comes through another list
	Aliases []mail.Address // mailAlternateAddress, proxyAddresses
	Name    string         // displayName, else cn

	Members     Audience // member, uniqueMember, dnmember, rfc822member, filtermember
	Senders     Audience // who may write to it: dnsender, rfc822sender, filtersender, authOrig, dLMemSubmitPerms
	MembersOnly bool     // membersonly: those among Members may
	SignedIn    bool     // msExchRequireAuthToSendTo: only those who are logged in may
	Moderators  Audience // who decides on each message: dnmoderator, rfc822moderator, msExchModeratedByLink
	Confirm     bool     // senderconfirm: the sender is asked whether the message is really theirs
	ConfirmText string   // confirmtext, for the question to the sender
	ModText     string   // moderatortext, for the question to moderators
	Bounces     []mail.Address

	SendAs   Audience // who may send as the list: mailSendAs
	OnBehalf Audience // and who on its behalf: publicDelegates
}

// Audience names people by their entries, their addresses, or by what is true
// for their entries.
type Audience struct {
	DNs       []ldap.DN
	Addresses []mail.Address
	Filters   []string // RFC 4515, or an LDAP URL (RFC 4516)
}

// IsEmpty tells whether the audience names nobody.
func (a *Audience) IsEmpty() bool {
	return len(a.DNs) == 0 && len(a.Addresses) == 0 && len(a.Filters) == 0
}

// Restricted tells whether not everybody may write to the list.
func (l *List) Restricted() bool {
	return l.MembersOnly || l.SignedIn || !l.Senders.IsEmpty()
}

// listClasses returns the classes whose entries are lists.
func listClasses() []string {
	return []string{ClassListGroup, ClassGroup, "groupOfNames", "groupOfUniqueNames", "group"}
}

// ListOf returns an entry with canonical attribute names as a list. It is false
// where the entry is none.
func ListOf(e *ldap.Entry) (*List, bool) {
	if !slices.ContainsFunc(listClasses(), func(c string) bool { return hasClass(e, c) }) {
		return nil, false
	}
	dns := func(names ...string) []ldap.DN {
		var list []ldap.DN
		for _, n := range names {
			list = append(list, parseDNs(e.Values(n))...)
		}
		return list
	}
	l := &List{
		DN: e.DN, Name: e.Value("displayName"),
		Members:     Audience{dns("member", "uniqueMember", "dnmember"), parseAddresses(e.Values("rfc822member")), e.Values("filtermember")},
		Senders:     Audience{dns("dnsender", "authOrig", "dLMemSubmitPerms"), parseAddresses(e.Values("rfc822sender")), e.Values("filtersender")},
		Moderators:  Audience{DNs: dns("dnmoderator", "msExchModeratedByLink"), Addresses: parseAddresses(e.Values("rfc822moderator"))},
		MembersOnly: isTrue(e, "membersonly"), SignedIn: isTrue(e, "msExchRequireAuthToSendTo"), Confirm: isTrue(e, "senderconfirm"),
		ConfirmText: e.Value("confirmtext"), ModText: e.Value("moderatortext"), Bounces: parseAddresses(e.Values("bounceadmin")),
		SendAs: Audience{DNs: dns(string(SendAsAttr))}, OnBehalf: Audience{DNs: dns(string(OnBehalfAttr))},
	}
	if l.Name == "" {
		l.Name = e.Value("cn")
	}
	if all := shownAddresses(e); len(all) > 0 {
		l.Address, l.Aliases = all[0], all[1:]
	}
	return l, true
}

func isTrue(e *ldap.Entry, attr string) bool { return strings.EqualFold(e.Value(attr), "TRUE") }

// shownAddresses returns the mail addresses of an entry of any class, the
// primary one first.
func shownAddresses(e *ldap.Entry) []mail.Address {
	texts := slices.Concat(e.Values("mail"), e.Values("mailAlternateAddress"))
	var more []string
	for _, proxy := range e.Values("proxyAddresses") {
		switch kind, addr, _ := strings.Cut(proxy, ":"); {
		case kind == "SMTP" && len(texts) == 0:
			texts = append(texts, addr)
		case strings.EqualFold(kind, "smtp"):
			more = append(more, addr)
		}
	}
	return parseAddresses(append(texts, more...))
}

// ListByAddress returns the list of an address; mail.KindNotExist, and
// mail.KindConflict where there are several.
func ListByAddress(ctx context.Context, d Directory, addr mail.Address) (*List, error) {
	var classes []*ldap.Filter
	for _, c := range listClasses() {
		classes = append(classes, equal("objectClass", c))
	}
	found, err := searchAll(ctx, d, and(addressed(addr), &ldap.Filter{Op: ldap.FilterOr, Subs: classes}), 2)
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, mail.Errorf(mail.KindNotExist, "there is no list with the address %s", addr)
	case len(found) > 1:
		return nil, mail.Errorf(mail.KindConflict, "both %q and %q have the address %s", found[0].DN, found[1].DN, addr)
	}
	l, _ := ListOf(found[0])
	return l, nil
}

// addressed is the filter of entries that show an address, in the spelling of
// the directory or that of DNS.
func addressed(addr mail.Address) *ldap.Filter {
	f := &ldap.Filter{Op: ldap.FilterOr}
	for _, text := range slices.Compact([]string{addr.Key(), strings.ToLower(string(addr))}) {
		f.Subs = append(f.Subs, equal("mail", text), equal("mailAlternateAddress", text), equal("proxyAddresses", "smtp:"+text))
	}
	return f
}

func and(subs ...*ldap.Filter) *ldap.Filter { return &ldap.Filter{Op: ldap.FilterAnd, Subs: subs} }

// searchAll returns at most limit entries of the tree, 0 for all.
func searchAll(ctx context.Context, d Directory, f *ldap.Filter, limit int) ([]*ldap.Entry, error) {
	var found []*ldap.Entry
	req := &ldap.SearchRequest{Base: d.Suffix(), Scope: ldap.ScopeSub, Filter: f, SizeLimit: limit}
	err := d.Search(ctx, Local(), req, func(e *ldap.Entry) error {
		found = append(found, e)
		return nil
	})
	if limit > 0 && len(found) == limit {
		return found, nil // a size limit that is reached is an error too
	}
	return found, mailError(err)
}

// AddressOfX500 returns the mail address of the entry that had an X.500 name
// in Exchange: its legacyExchangeDN, or an X500: value of its proxyAddresses,
// which keep the names of earlier sites. Case does not count.
// mail.KindNotExist, and mail.KindConflict where several entries have it.
func AddressOfX500(ctx context.Context, d Directory, name string) (mail.Address, error) {
	f := &ldap.Filter{Op: ldap.FilterOr, Subs: []*ldap.Filter{equal("legacyExchangeDN", name), equal("proxyAddresses", "X500:"+name)}}
	found, err := searchAll(ctx, d, f, 10)
	if err != nil {
		return "", err
	}
	var addr mail.Address
	for _, e := range found {
		all := shownAddresses(e)
		if len(all) == 0 {
			continue
		}
		if addr != "" && addr.Key() != all[0].Key() {
			return "", mail.Errorf(mail.KindConflict, "%s and %s both had the name %s", addr, all[0], name)
		}
		addr = all[0]
	}
	if addr == "" {
		return "", mail.Errorf(mail.KindNotExist, "nobody had the name %s", name)
	}
	return addr, nil
}

// Member is one of an audience: a list, or a person with an address.
type Member struct {
	DN      ldap.DN // nil: named by address only
	Address mail.Address
	List    *List // nil: a person
}

// Expand yields the members of an audience: those named by DN, by address, and
// by filter, one level deep. What no longer exists, or has no address, is left
// out. An error of yield ends it.
func (a *Audience) Expand(ctx context.Context, d Directory, yield func(Member) error) error {
	for _, dn := range a.DNs {
		e, err := readEntry(ctx, d, dn)
		if le, ok := err.(*ldap.Error); ok && (le.Code == ldap.NoSuchObject || le.Code == ldap.InvalidDNSyntax) {
			continue
		}
		if err != nil {
			return mailError(err)
		}
		if m, ok := memberOf(e); ok {
			if err := yield(m); err != nil {
				return err
			}
		}
	}
	for _, addr := range a.Addresses {
		if err := yield(Member{Address: addr}); err != nil {
			return err
		}
	}
	for _, text := range a.Filters {
		f, err := audienceFilter(text)
		if err != nil {
			continue // the administrator's mistake is no reason to lose the others
		}
		found, err := searchAll(ctx, d, f, 0)
		if err != nil {
			return err
		}
		for _, e := range found {
			if m, ok := memberOf(e); ok {
				if err := yield(m); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// memberOf returns an entry as a member.
func memberOf(e *ldap.Entry) (Member, bool) {
	if l, ok := ListOf(e); ok {
		return Member{DN: e.DN, Address: l.Address, List: l}, true
	}
	all := shownAddresses(e)
	if len(all) == 0 {
		return Member{}, false
	}
	return Member{DN: e.DN, Address: all[0]}, true
}

// audienceFilter reads a filter, or the filter of an LDAP URL, and lets it find
// entries with a mail address only.
func audienceFilter(text string) (*ldap.Filter, error) {
	if rest, ok := cutFoldPrefix(text, "ldap://"); ok {
		parts := strings.SplitN(rest, "?", 5)
		if len(parts) < 4 {
			return nil, mail.Errorf(mail.KindInvalid, "the URL %q has no filter", text)
		}
		text = parts[3]
	}
	if !strings.HasPrefix(text, "(") {
		text = "(" + text + ")"
	}
	f, err := ldap.ParseFilter(text)
	if err != nil {
		return nil, err
	}
	return and(f, present("mail")), nil
}

func cutFoldPrefix(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// Has tells whether the audience has somebody: by the address, or by the
// account that owns it (nil: none does), itself or through groups.
func (a *Audience) Has(ctx context.Context, d Directory, addr mail.Address, acct *Account) (bool, error) {
	own := []mail.Address{addr}
	if acct != nil {
		own = append(append(own, acct.Address), acct.Aliases...)
	}
	for _, x := range own {
		if slices.ContainsFunc(a.Addresses, func(y mail.Address) bool { return x.Key() == y.Key() }) {
			return true, nil
		}
	}
	if len(a.DNs) > 0 {
		self, err := entriesOf(ctx, d, addr, acct)
		if err != nil {
			return false, err
		}
		if sharesDN(a.DNs, self) {
			return true, nil
		}
		for _, dn := range self {
			groups, err := GroupsOf(ctx, d, dn)
			if err != nil {
				return false, err
			}
			for i := range groups {
				if sharesDN(a.DNs, []ldap.DN{groups[i].DN}) {
					return true, nil
				}
			}
		}
	}
	for _, text := range a.Filters {
		f, err := audienceFilter(text)
		if err != nil {
			continue
		}
		if found, err := searchAll(ctx, d, and(addressed(addr), f), 1); err != nil || len(found) > 0 {
			return err == nil, err
		}
	}
	return false, nil
}

// entriesOf returns the entries of somebody: the account's, else those that
// show the address.
func entriesOf(ctx context.Context, d Directory, addr mail.Address, acct *Account) ([]ldap.DN, error) {
	if acct != nil {
		return []ldap.DN{acct.DN}, nil
	}
	found, err := searchAll(ctx, d, addressed(addr), 10)
	if err != nil {
		return nil, err
	}
	var dns []ldap.DN
	for _, e := range found {
		dns = append(dns, e.DN)
	}
	return dns, nil
}

// IsMailHost tells whether an account's mailHost is the host of a name, with or
// without a port and a protocol.
func IsMailHost(ctx context.Context, d Directory, name string) (bool, error) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	f := &ldap.Filter{Op: ldap.FilterOr, Subs: []*ldap.Filter{
		equal("mailHost", name),
		{Op: ldap.FilterSubstrings, Attr: "mailHost", Initial: []byte(name + ":")},
		{Op: ldap.FilterSubstrings, Attr: "mailHost", Initial: []byte("lmtp:" + name + ":")},
		equal("mailHost", "lmtp:"+name),
	}}
	found, err := searchAll(ctx, d, f, 1)
	return len(found) > 0, err
}
