package embedded

import (
	"fmt"
	"slices"

	"expost/internal/directory"
	"expost/internal/directory/access"
	"expost/internal/ldap"
	"expost/internal/schema"
)

// subject is who asks something of one snapshot, and what the access rules
// grant. Filters are held to them too: an assertion about an attribute that may
// not be searched is Undefined, or else passwords could be guessed letter by
// letter. It is one operation's own.
type subject struct {
	snap      *snapshot
	suffix    ldap.DN
	rights    *rights
	root      bool
	anonymous bool
	dn        ldap.DN
	id        uint32 // of the own entry; 0: none

	static  circumstances // what does not depend on the entry
	targets []target      // what does
	selves  []int         // bits of "by self"
	named   []attributed  // of "by dnattr"
	uniform *grants       // what is granted of every entry; nil: it depends

	last   circumstances
	lastOf *grants
}

// target is where a rule applies.
type target struct {
	bit    int
	scope  access.Scope
	base   uint32 // 0: everywhere
	filter *condition
}

// attributed is a "by" about those whom an attribute of the entry names.
type attributed struct {
	bit int
	is  *condition
}

// subject returns who as the snapshot and the rules see them.
func (s *snapshot) subject(who directory.Identity, r *rights, suffix ldap.DN) *subject {
	sub := &subject{snap: s, suffix: suffix, rights: r, root: who.Root, anonymous: len(who.DN) == 0, dn: who.DN}
	if who.Root {
		return sub
	}
	if !sub.anonymous {
		if n, _ := s.find(who.DN, suffix); n != nil {
			sub.id = n.id
		}
	}
	for i := range r.rules {
		sub.aim(&r.rules[i])
		for j := range r.rules[i].By {
			sub.recognize(r.rules[i].by+j, &r.rules[i].By[j].Who)
		}
	}
	sub.simplify()
	return sub
}

// aim notes where a rule applies.
func (sub *subject) aim(r *rule) {
	if r.about() {
		sub.static.set(r.bit)
		return
	}
	t := target{bit: r.bit, scope: r.Scope}
	if r.DN != nil {
		n, _ := sub.snap.find(r.DN, sub.suffix)
		if n == nil {
			return // there is no such entry
		}
		t.base = n.id
	}
	if r.Filter != nil {
		t.filter = sub.snap.compile(r.Filter, &subject{snap: sub.snap, root: true})
	}
	sub.targets = append(sub.targets, t)
}

// recognize notes whether a "by" is about who asks.
func (sub *subject) recognize(bit int, who *access.Who) {
	is := false
	switch who.Kind {
	case access.Everybody:
		is = true
	case access.Anonymous:
		is = sub.anonymous
	case access.Users:
		is = !sub.anonymous
	case access.Self:
		if sub.id != 0 {
			sub.selves = append(sub.selves, bit)
		}
	case access.Named:
		is = !sub.anonymous && who.Scope.Contains(who.DN, sub.dn, sub.snap.dict.schema)
	case access.Member:
		is = !sub.anonymous && sub.isMember(who)
	case access.InAttribute:
		if !sub.anonymous {
			sub.named = append(sub.named, attributed{bit, sub.naming(who.Attr)})
		}
	}
	if is {
		sub.static.set(bit)
	}
}

// naming is the condition that an attribute names who asks.
func (sub *subject) naming(attr string) *condition {
	f := &ldap.Filter{Op: ldap.FilterEqual, Attr: attr, Value: []byte(sub.dn.String())}
	return sub.snap.compile(f, &subject{snap: sub.snap, root: true})
}

// isMember tells whether a group names who asks.
func (sub *subject) isMember(who *access.Who) bool {
	group, _ := sub.snap.find(who.DN, sub.suffix)
	if group == nil {
		return false
	}
	m := matcher{snap: sub.snap, suffix: sub.suffix}
	return m.eval(sub.naming(who.Attr), group) == yes
}

// simplify finds out whether what may be read is the same of every entry.
func (sub *subject) simplify() {
	if len(sub.targets) > 0 || len(sub.named) > 0 {
		return
	}
	plain, own := sub.rights.grants(sub.static, sub.snap.dict), sub.static
	for _, bit := range sub.selves {
		own.set(bit)
	}
	if plain.sameReading(sub.rights.grants(own, sub.snap.dict)) {
		sub.uniform = plain
	}
}

// reading returns what may be read and searched of an entry; nil is everything.
func (sub *subject) reading(n *node) *grants {
	switch {
	case sub.root:
		return nil
	case sub.uniform != nil:
		return sub.uniform
	}
	return sub.grants(n)
}

// grants returns all that is granted of an entry; nil is everything.
func (sub *subject) grants(n *node) *grants {
	if sub.root {
		return nil
	}
	in := sub.static
	m := matcher{snap: sub.snap, suffix: sub.suffix}
	for i := range sub.targets {
		if t := &sub.targets[i]; sub.snap.isTarget(n, t) && (t.filter == nil || m.eval(t.filter, n) == yes) {
			in.set(t.bit)
		}
	}
	if n.id == sub.id && n.id != 0 {
		for _, bit := range sub.selves {
			in.set(bit)
		}
	}
	for _, a := range sub.named {
		if m.eval(a.is, n) == yes {
			in.set(a.bit)
		}
	}
	if sub.lastOf == nil || sub.last != in {
		sub.last, sub.lastOf = in, sub.rights.grants(in, sub.snap.dict)
	}
	return sub.lastOf
}

// isTarget tells whether an entry is in the scope of a rule.
func (s *snapshot) isTarget(n *node, t *target) bool {
	switch {
	case t.base == 0:
		return true
	case t.scope == access.Base:
		return n.id == t.base
	case t.scope == access.One:
		return n.parent == t.base
	case t.scope == access.Children:
		return n.id != t.base && s.isUnder(n, t.base)
	}
	return s.isUnder(n, t.base)
}

// everSearches tells whether who asks may search for an attribute type in any
// entry.
func (sub *subject) everSearches(t *schema.AttributeType) bool {
	switch {
	case sub.root:
		return true
	case sub.uniform != nil:
		return sub.uniform.may(access.Search, t)
	}
	id := uint32(t.ID)
	return sub.ever(func(r *rule) bool { return r.all || r.types.has(id) }, access.Search)
}

// ever tells whether a rule may grant privileges of what covers names.
func (sub *subject) ever(covers func(*rule) bool, p access.Privileges) bool {
	own := sub.static
	for _, bit := range sub.selves {
		own.set(bit)
	}
	for _, a := range sub.named {
		own.set(a.bit)
	}
	return slices.ContainsFunc(sub.rights.rules, func(r rule) bool {
		return covers(&r) && slices.ContainsFunc([]circumstances{own, sub.static}, func(in circumstances) bool {
			granted, _ := r.grant(in, 0)
			return granted&p == p
		})
	})
}

// maySearchFrom tells whether a search from an entry could find anything: it
// may be searched itself, or a rule grants something above or below it.
func (sub *subject) maySearchFrom(base *node) bool {
	if sub.root || sub.reading(base).entry&access.Search != 0 {
		return true
	}
	return slices.ContainsFunc(sub.targets, func(t target) bool {
		r := sub.ruleOf(t.bit)
		granted, _ := r.grant(sub.static, 0)
		return r.entry && granted&access.Search != 0 && t.base != 0 && sub.snap.isUnder(sub.snap.nodes.get(t.base), base.id)
	})
}

func (sub *subject) ruleOf(bit int) *rule {
	i := slices.IndexFunc(sub.rights.rules, func(r rule) bool { return r.bit == bit })
	return &sub.rights.rules[i]
}

// discloses tells whether who asks may learn that an entry exists.
func (sub *subject) discloses(n *node) bool {
	return sub.root || sub.reading(n).entry&access.Disclose != 0
}

// identity is the same for all who may read the same.
func (sub *subject) identity() string {
	switch {
	case sub.root:
		return "root"
	case sub.uniform != nil:
		return fmt.Sprint(sub.static)
	}
	return fmt.Sprint(sub.static, sub.id, sub.dn)
}
