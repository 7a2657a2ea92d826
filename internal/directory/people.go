package directory

import (
	"context"
	"strings"

	"golang.org/x/text/unicode/norm"

	"expost/internal/mail"
)

// GroupPrefix starts the identifier of a group in access control lists.
const GroupPrefix = "group:"

// anyone is the identifier of everybody who logs in (RFC 4314 §2).
const anyone = "anyone"

// People names people and groups as access control lists do: an account by its
// primary address, a group by "group:" and its address or else its name, in
// lower case.
type People struct{ Directory }

// ByStore returns the account whose mailbox has an id; mail.KindNotExist.
func (p People) ByStore(ctx context.Context, id mail.AccountID) (*Account, error) {
	return AccountOfStore(ctx, p.Directory, id)
}

// Groups returns the identifiers of the groups an account is in.
func (p People) Groups(ctx context.Context, a *Account) ([]string, error) {
	groups, err := GroupsOf(ctx, p.Directory, a.DN)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(groups))
	for i := range groups {
		names[i] = groups[i].identifier()
	}
	return names, nil
}

// identifier returns the group's name in access control lists.
func (g *Group) identifier() string {
	if g.Address != "" {
		return GroupPrefix + g.Address.Key()
	}
	return GroupPrefix + strings.ToLower(g.Name)
}

// Identifier returns the form in which access control lists name whom a text
// names: "anyone", an address or login of an account, the address of a group, or
// "group:" and a group's address or name, each perhaps with a "-" before it.
// mail.KindNotExist where there is nobody of that name.
func (p People) Identifier(ctx context.Context, text string) (string, error) {
	name := norm.NFKC.String(strings.TrimSpace(text))
	sign := ""
	if rest, negative := strings.CutPrefix(name, "-"); negative {
		sign, name = "-", rest
	}
	if strings.EqualFold(name, anyone) {
		return sign + anyone, nil
	}
	if len(name) > len(GroupPrefix) && strings.EqualFold(name[:len(GroupPrefix)], GroupPrefix) {
		g, err := GroupByName(ctx, p.Directory, name[len(GroupPrefix):])
		if err != nil {
			return "", err
		}
		return sign + g.identifier(), nil
	}
	acct, err := p.Lookup(ctx, name)
	if err == nil {
		return sign + acct.Address.Key(), nil
	}
	if mail.KindOf(err) != mail.KindNotExist {
		return "", err
	}
	if g, err := GroupByName(ctx, p.Directory, name); err == nil && strings.Contains(name, "@") {
		return sign + g.identifier(), nil
	}
	return "", mail.Errorf(mail.KindNotExist, "there is no account or group %q", name)
}

// SetQuota changes what an account may hold.
func (p People) SetQuota(ctx context.Context, a *Account, q mail.Quota) error {
	return ChangeAccount(ctx, p.Directory, a.DN, AccountChange{Quota: &q})
}
