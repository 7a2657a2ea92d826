package embedded

import (
	"fmt"
	"regexp"
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

	peer directory.Peer

	static  circumstances // what does not depend on the entry
	targets []target      // what does
	selves  []int         // bits of "by self"
	others  []asking      // of each "by" else that depends on the entry
	uniform *grants       // what is granted of every entry; nil: it depends

	last   circumstances
	lastOf *grants
}

// target is where a rule applies.
type target struct {
	bit     int
	scope   access.Scope
	base    uint32         // 0: everywhere
	pattern *regexp.Regexp // of the normal form of the DN; may be nil
	filter  *condition
}

// asking is a "by" that depends on the entry.
type asking struct {
	bit    int
	target int // bit of its rule
	tests  []func(e *asked) bool
}

// asked is an entry that grants are worked out of.
type asked struct {
	n      *node
	normal string   // form of its DN; empty until it is needed
	groups []string // of the pattern of the rule
}

// subject returns who as the snapshot and the rules see them.
func (s *snapshot) subject(who directory.Identity, r *rights, suffix ldap.DN) *subject {
	sub := &subject{snap: s, suffix: suffix, rights: r, root: who.Root, anonymous: len(who.DN) == 0, dn: who.DN, peer: who.Peer}
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
			sub.recognize(&r.rules[i], j)
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
	t := target{bit: r.bit, scope: r.Scope, pattern: r.Pattern}
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
func (sub *subject) recognize(r *rule, i int) {
	by, bit := &r.By[i], r.by+i
	if by.Who.Kind == access.Self && by.And == nil {
		if sub.id != 0 {
			sub.selves = append(sub.selves, bit)
		}
		return
	}
	a := asking{bit: bit, target: r.bit}
	for j := range len(by.And) + 1 {
		who := &by.Who
		if j > 0 {
			who = &by.And[j-1]
		}
		is, test := sub.is(who)
		switch {
		case test != nil:
			a.tests = append(a.tests, test)
		case !is:
			return
		}
	}
	if a.tests == nil {
		sub.static.set(bit)
		return
	}
	sub.others = append(sub.others, a)
}

// is tells whether who asks is meant, or returns what tells it for an entry.
func (sub *subject) is(who *access.Who) (bool, func(*asked) bool) {
	switch who.Kind {
	case access.Everybody:
		return true, nil
	case access.Anonymous:
		return sub.anonymous, nil
	case access.Users:
		return !sub.anonymous, nil
	case access.From:
		return who.Peer.Contains(sub.peer.Addr), nil
	case access.Strong:
		return sub.peer.Local || sub.peer.Strength >= who.Strength, nil
	case access.Self:
		return false, func(e *asked) bool { return e.n.id != 0 && e.n.id == sub.id }
	case access.Matching:
		return sub.isMatching(who)
	case access.InSet:
		return false, func(e *asked) bool { return sub.holds(who.Set, e.n) }
	}
	if sub.anonymous {
		return false, nil
	}
	switch {
	case who.Kind == access.InAttribute:
		is := sub.naming(who.Attr)
		return false, func(e *asked) bool {
			m := matcher{snap: sub.snap, suffix: sub.suffix}
			return m.eval(is, e.n) == yes
		}
	case who.Text != "":
		return false, func(e *asked) bool {
			dn, err := ldap.ParseDN(access.Expand(who.Text, false, e.groups))
			return err == nil && sub.isNamed(who, dn)
		}
	}
	return sub.isNamed(who, who.DN), nil
}

// isNamed tells whether who asks is named by a DN, or a member of its group.
func (sub *subject) isNamed(who *access.Who, dn ldap.DN) bool {
	if who.Kind == access.Member {
		return sub.isMember(who, dn)
	}
	return who.Scope.Contains(dn, sub.dn, sub.snap.dict.schema)
}

// isMatching tells whether a pattern matches the DN of who asks.
func (sub *subject) isMatching(who *access.Who) (bool, func(*asked) bool) {
	normal := access.NormalDN(sub.dn, sub.snap.dict.schema)
	if access.Expand(who.Text, true, nil) == who.Text {
		re, err := access.Compile(who.Text)
		return err == nil && re.MatchString(normal), nil
	}
	var last string // what groups, which are mostly those of the entry before, made of the text
	var re *regexp.Regexp
	return false, func(e *asked) bool {
		if text := access.Expand(who.Text, true, e.groups); re == nil || text != last {
			last = text
			if re, _ = access.Compile(text); re == nil {
				return false
			}
		}
		return re.MatchString(normal)
	}
}

// naming is the condition that an attribute names who asks.
func (sub *subject) naming(attr string) *condition {
	f := &ldap.Filter{Op: ldap.FilterEqual, Attr: attr, Value: []byte(sub.dn.String())}
	return sub.snap.compile(f, &subject{snap: sub.snap, root: true})
}

// isMember tells whether a group names who asks.
func (sub *subject) isMember(who *access.Who, dn ldap.DN) bool {
	group, _ := sub.snap.find(dn, sub.suffix)
	if group == nil {
		return false
	}
	m := matcher{snap: sub.snap, suffix: sub.suffix}
	return m.eval(sub.naming(who.Attr), group) == yes
}

// simplify finds out whether what may be read is the same of every entry.
func (sub *subject) simplify() {
	if len(sub.targets) > 0 || len(sub.others) > 0 {
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
	e := asked{n: n}
	m := matcher{snap: sub.snap, suffix: sub.suffix}
	for i := range sub.targets {
		if t := &sub.targets[i]; sub.isTarget(&e, t) && (t.filter == nil || m.eval(t.filter, n) == yes) {
			in.set(t.bit)
		}
	}
	if n.id == sub.id && n.id != 0 {
		for _, bit := range sub.selves {
			in.set(bit)
		}
	}
	for i := range sub.others {
		if sub.isAsking(&e, &sub.others[i], in) {
			in.set(sub.others[i].bit)
		}
	}
	if sub.lastOf == nil || sub.last != in {
		sub.last, sub.lastOf = in, sub.rights.grants(in, sub.snap.dict)
	}
	return sub.lastOf
}

// isAsking tells whether a "by" of a rule about an entry is about who asks.
func (sub *subject) isAsking(e *asked, a *asking, in circumstances) bool {
	if !in.has(a.target) {
		return false
	}
	if r := sub.ruleOf(a.target); r.Pattern != nil {
		e.groups = r.Pattern.FindStringSubmatch(sub.normalDN(e))
	} else {
		e.groups = nil
	}
	return !slices.ContainsFunc(a.tests, func(test func(*asked) bool) bool { return !test(e) })
}

// normalDN returns the form of an entry's DN that patterns are matched with.
func (sub *subject) normalDN(e *asked) string {
	if e.normal == "" {
		e.normal = access.NormalDN(sub.snap.dn(e.n, sub.suffix), sub.snap.dict.schema)
	}
	return e.normal
}

// isTarget tells whether an entry is in the scope of a rule.
func (sub *subject) isTarget(e *asked, t *target) bool {
	s, n := sub.snap, e.n
	switch {
	case t.pattern != nil:
		return t.pattern.MatchString(sub.normalDN(e))
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
	for _, a := range sub.others {
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
		return r.entry && granted&access.Search != 0 && (t.pattern != nil || t.base != 0 && sub.snap.isUnder(sub.snap.nodes.get(t.base), base.id))
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
