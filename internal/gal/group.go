package gal

import (
	"fmt"
	"slices"
	"strings"

	"expost/internal/ldap"
)

// index finds recipients by what a member is given by. nil marks what names
// several.
type index struct {
	byDN, byMail, byName map[string]*Recipient
}

// newIndex returns the index of a list.
func newIndex(list []*Recipient) index {
	x := index{byDN: map[string]*Recipient{}, byMail: map[string]*Recipient{}, byName: map[string]*Recipient{}}
	once := func(m map[string]*Recipient, key string, r *Recipient) {
		if have, ok := m[key]; ok && have != r {
			r = nil
		}
		m[key] = r
	}
	for _, r := range list {
		if r.DN != "" {
			once(x.byDN, dnKey(r.DN), r)
		}
		if r.SID != "" {
			once(x.byDN, dnKey("sid:"+r.SID), r)
		}
		for _, k := range keysOf(r) {
			x.byMail[k] = r
		}
		for _, n := range r.All(FullName) {
			once(x.byName, nameKey(n), r)
		}
		if u := r.Get(UID); u != "" {
			once(x.byName, nameKey(u), r)
		}
	}
	return x
}

// dnKey returns a DN, proper or not, in the form in which sources repeat it.
func dnKey(dn string) string {
	if p, err := ldap.ParseDN(dn); err == nil {
		dn = p.String()
	}
	return strings.ToLower(squeeze(strings.TrimPrefix(dn, "urn:uuid:")))
}

// nameKey returns a name in the form in which names are compared.
func nameKey(n string) string { return strings.ToLower(squeeze(n)) }

// find returns the recipient that a member is, or nil.
func (x index) find(m Member) *Recipient {
	if r := x.byDN[dnKey(m.DN)]; m.DN != "" && r != nil {
		return r
	}
	if m.Address != "" {
		if r := x.byMail[addressKey(m.Address)]; r != nil {
			return r
		}
	}
	if r := x.byMail[strings.ToLower(m.DN)]; m.DN != "" && r != nil { // Exchange DN
		return r
	}
	if m.Name != "" {
		return x.byName[nameKey(m.Name)]
	}
	return nil
}

// withMembers adds contacts for the members of groups that the list does not
// have and that come with an address.
func (t *tree) withMembers(list []*Recipient) []*Recipient {
	if !slices.ContainsFunc(list, func(r *Recipient) bool { return len(r.Members) > 0 }) {
		return list
	}
	x := newIndex(list)
	for _, g := range list {
		for _, m := range g.Members {
			if m.Address == "" || x.find(m) != nil {
				continue
			}
			addr, _, err := cleanAddress(m.Address)
			if err != nil {
				continue // reported as unknown when the group is made
			}
			c := &Recipient{Kind: Contact, Origin: Origin{File: g.Origin.File, Line: m.Line}, DN: m.DN}
			c.Add(FullName, m.Name, m.Line)
			c.addEmail(addr, m.Line)
			t.opts.Report(c.Origin.issue(0, Info, "member", fmt.Sprintf("%s is a member of %q and not in the list", addr, g.Name()), "added as a contact"))
			list = append(list, c)
			x.byMail[addressKey(addr)] = c
		}
	}
	return list
}

// groups makes the entries of groups. A group without a member that is left
// cannot stand in a directory; those that had it as a member lose it.
func (t *tree) groups(list []*Recipient) []*ldap.Entry {
	members := map[*Recipient][]*Recipient{}
	var order []*Recipient
	for _, g := range list {
		if g.Kind == Group {
			members[g] = t.members(g)
			order = append(order, g)
		}
	}
	for again := true; again; {
		again = false
		for _, g := range order {
			if _, alive := members[g]; alive && t.living(members, g) == 0 {
				delete(members, g)
				again = true
				t.opts.Report(g.Origin.issue(0, Error, "member", fmt.Sprintf("the group %q has no member, and a groupOfNames must have one", g.Name()), "left out"))
			}
		}
	}
	var out []*ldap.Entry
	for _, g := range order {
		if _, alive := members[g]; alive {
			out = append(out, t.group(g, members))
		}
	}
	return out
}

// members finds the members of a group, and reports those it does not find.
func (t *tree) members(g *Recipient) []*Recipient {
	var out []*Recipient
	for _, m := range g.Members {
		r := t.index.find(m)
		if r == nil {
			name := m.Name
			if name == "" {
				name = m.Address + m.DN
			}
			t.opts.Report(g.Origin.issue(m.Line, Error, "member", fmt.Sprintf("%q, a member of %q, is not in the list", clip(name), g.Name()), "left out of the group"))
			continue
		}
		if r != g {
			out = append(out, r)
		}
	}
	return out
}

// living counts the members of g that will be entries.
func (t *tree) living(members map[*Recipient][]*Recipient, g *Recipient) int {
	n := 0
	for _, m := range members[g] {
		if _, alive := members[m]; m.Kind != Group || alive {
			n++
		}
	}
	return n
}

// group makes the entry of a group.
func (t *tree) group(g *Recipient, members map[*Recipient][]*Recipient) *ldap.Entry {
	b := t.newBuilder(g, "top", "groupOfNames")
	b.put("cn", []byte(cleanText(g.Name())))
	for i, n := range g.All(FullName) {
		if i > 0 {
			b.put("cn", []byte(cleanText(n)))
		}
	}
	for _, m := range members[g] {
		if _, alive := members[m]; m.Kind != Group || alive {
			b.put("member", []byte(t.dn(m).String()))
		}
	}
	ours := map[Field]string{Email: "mail", UID: "mailNickname", Proxy: "proxyAddresses", LegacyDN: "legacyExchangeDN"}
	for _, v := range g.Values {
		switch {
		case v.Field == FullName || v.Field == LastName || v.Field == DisabledAcc || slices.Contains(settings(), v.Field):
		case v.Field == Notes:
			b.describe("", v.Text)
		case t.opts.Extended && ours[v.Field] != "" && b.putOurs(ours[v.Field], v.Text):
		default:
			b.describe(b.labelOf(v.Field), v.Text)
		}
	}
	if a := g.Get(Email); a != "" && !t.opts.Extended {
		b.issue(0, Warning, "mail", fmt.Sprintf("a groupOfNames has no mail attribute; %s is the address of %q", a, g.Name()), "put into the description")
	}
	if g.Hidden && t.opts.Extended {
		b.putOurs("msExchHideFromAddressLists", "TRUE")
	}
	b.groupSettings()
	return b.finish()
}

// labelOf returns what a field is called in a description.
func (b *builder) labelOf(f Field) string {
	if f == Email {
		return "E-mail Address"
	}
	if info, ok := b.infos[f]; ok && info.label != "" {
		return info.label
	}
	return strings.TrimPrefix(string(f), "?")
}
