package embedded

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"

	"expost/internal/directory/access"
	"expost/internal/ldap"
	"expost/internal/schema"
)

// rights are the access rules in force: those of the configuration, and behind
// them the defaults.
type rights struct {
	rules  []rule
	schema *schema.Schema

	mu    sync.Mutex
	known map[grantKey]*grants
}

// rule is an access.Rule with what it covers worked out.
type rule struct {
	access.Rule
	bit             int    // of its target in circumstances
	by              int    // of its first By
	types           bitset // IDs of the attribute types; unless all
	value           []byte // normal form of Value.Is
	all             bool
	entry, children bool
}

// circumstances tell of every rule whether it is about an entry, and of every
// By whether it is about who asks, as bits. With the schema they decide what
// is granted.
type circumstances [4]uint64

func (c *circumstances) set(bit int)      { c[bit>>6] |= 1 << (bit & 63) }
func (c *circumstances) has(bit int) bool { return c[bit>>6]>>(bit&63)&1 == 1 }

// maxBits is how many rules and "by" there may be.
const maxBits = len(circumstances{}) * 64

// newRights makes rules ready.
func newRights(s *schema.Schema, configured []access.Rule, anonymous []ldap.DN) (*rights, error) {
	r := &rights{schema: s, known: map[grantKey]*grants{}}
	bit := 0
	for i, a := range append(slices.Clone(configured), defaultRules(anonymous)...) {
		ready := rule{Rule: a, bit: bit, by: bit + 1}
		bit += 1 + len(a.By)
		if bit > maxBits {
			return nil, fmt.Errorf("access rule %d: there are more than %d rules and \"by\"", i+1, maxBits)
		}
		if err := ready.cover(s); err != nil {
			return nil, fmt.Errorf("access rule %d: %w", i+1, err)
		}
		r.rules = append(r.rules, ready)
	}
	return r, nil
}

// cover works out which attributes a rule is about.
func (r *rule) cover(s *schema.Schema) error {
	if len(r.Attributes) == 0 && r.Value == nil {
		r.all, r.entry, r.children = true, true, true
		return nil
	}
	if r.Value != nil {
		return r.coverValue(s)
	}
	for _, name := range r.Attributes {
		switch {
		case name == "*":
			r.all = true
		case strings.EqualFold(name, access.Entry):
			r.entry = true
		case strings.EqualFold(name, access.ChildrenOf):
			r.children = true
		case name[0] == '@' || name[0] == '!':
			class := s.Class(name[1:])
			if class == nil {
				return fmt.Errorf("there is no object class %q", name[1:])
			}
			r.coverClass(s, class, name[0] == '!')
		default:
			t := s.Attribute(name)
			if t == nil {
				return fmt.Errorf("there is no attribute %q", name)
			}
			r.coverType(s, t)
		}
	}
	return nil
}

// coverValue covers the values of one attribute.
func (r *rule) coverValue(s *schema.Schema) error {
	if len(r.Attributes) != 1 {
		return fmt.Errorf("a value is one of one attribute, and there are %d", len(r.Attributes))
	}
	t := s.Attribute(r.Attributes[0])
	if t == nil || t.Equality == nil {
		return fmt.Errorf("%q is no attribute whose values can be compared", r.Attributes[0])
	}
	r.coverType(s, t)
	if r.Value.Pattern != nil {
		return nil
	}
	var ok bool
	if r.value, ok = normalValue(s, t, r.Value.Is); !ok {
		return fmt.Errorf("%q is no value of %s", r.Value.Is, t.Name())
	}
	return nil
}

// normalValue returns the form of a value in which rules compare it; of a DN,
// access.NormalDN.
func normalValue(s *schema.Schema, t *schema.AttributeType, v []byte) ([]byte, bool) {
	switch {
	case t.Equality == nil:
		return nil, false
	case t.Equality.Name == "distinguishedNameMatch" || t.Equality.Name == "uniqueMemberMatch":
		dn, err := ldap.ParseDN(string(v))
		if err != nil {
			return nil, false
		}
		return []byte(access.NormalDN(dn, s)), true
	}
	return t.Equality.Normalize(nil, v)
}

// isAbout tells whether a rule with a Value is about a value, which is in its
// normal form.
func (r *rule) isAbout(norm []byte) bool {
	if r.Value.Pattern != nil {
		return r.Value.Pattern.Match(norm)
	}
	return bytes.Equal(norm, r.value)
}

// coverType covers an attribute type and its subtypes.
func (r *rule) coverType(s *schema.Schema, sup *schema.AttributeType) {
	for _, t := range s.Attributes() {
		if t.IsA(sup) {
			r.types.set(uint32(t.ID))
		}
	}
}

// coverClass covers what a class allows, or all that it does not.
func (r *rule) coverClass(s *schema.Schema, class *schema.ObjectClass, others bool) {
	var of bitset
	for c := range class.Superclasses {
		for _, t := range slices.Concat(c.Must, c.May) {
			of.set(uint32(t.ID))
		}
	}
	for _, t := range s.Attributes() {
		if of.has(uint32(t.ID)) != others {
			r.types.set(uint32(t.ID))
		}
	}
}

// about tells whether the rule is about all entries.
func (r *rule) about() bool { return r.DN == nil && r.Pattern == nil && r.Filter == nil }

// secrets are the attributes that nobody reads but the root.
func secrets() []string { return []string{"clearPassword", "userPKCS12"} }

// selfWritable are the attributes of their own entry that people may change,
// besides userPassword.
func selfWritable() []string {
	return []string{"telephoneNumber", "homePhone", "mobile", "pager", "facsimileTelephoneNumber"}
}

// defaultRules are what holds where the configuration says nothing: passwords
// are for logging in, users read everything else and change their own phones,
// anonymous clients read the address book in the subtrees that are open to
// them, but for entries that are hidden from address lists. What they see is a
// list of what may be seen, so that an attribute that is added later is not
// public by accident.
func defaultRules(anonymous []ldap.DN) []access.Rule {
	users := access.By{Who: access.Who{Kind: access.Users}, Grant: readLevel}
	others := access.By{Change: access.Plus, Control: access.Break}
	rules := []access.Rule{
		{Attributes: []string{"userPassword"}, By: []access.By{
			{Who: access.Who{Kind: access.Self}, Grant: access.Auth | access.Write}, {Grant: access.Auth},
		}},
		{Attributes: secrets(), By: []access.By{{}}},
		{Attributes: selfWritable(), By: []access.By{{Who: access.Who{Kind: access.Self}, Grant: readLevel | access.Write}, users, others}},
		{By: []access.By{users, others}},
	}
	for _, dn := range anonymous {
		rules = append(rules, access.Rule{
			DN: dn, Scope: access.Subtree, Attributes: addressBook(),
			Filter: &ldap.Filter{Op: ldap.FilterNot, Subs: []*ldap.Filter{{Op: ldap.FilterEqual, Attr: "msExchHideFromAddressLists", Value: []byte("TRUE")}}},
			By:     []access.By{{Grant: readLevel}},
		})
	}
	return rules
}

const readLevel = access.Disclose | access.Auth | access.Compare | access.Search | access.Read

// addressBook is what anonymous clients may read.
func addressBook() []string {
	return append(publicAttributes(schema.Builtin()), access.Entry)
}

// publicAttributes are those of the classes that address books know, without
// what is nobody's business.
func publicAttributes(s *schema.Schema) []string {
	public := map[*schema.AttributeType]bool{}
	for _, class := range []string{"top", "dcObject", "domain", "country", "locality", "organization", "organizationalUnit",
		"organizationalRole", "groupOfNames", "groupOfUniqueNames", "person", "residentialPerson", "organizationalPerson",
		"inetOrgPerson", "mozillaOrgPerson", "expostPerson", "expostGroup"} {
		c := s.Class(class)
		for _, t := range slices.Concat(c.Must, c.May) {
			public[t] = true
		}
	}
	for _, name := range []string{"structuralObjectClass", "entryUUID", "entryDN", "hasSubordinates", "subschemaSubentry",
		"createTimestamp", "modifyTimestamp"} {
		public[s.Attribute(name)] = true
	}
	for _, name := range []string{"userPassword", "userPKCS12", "mailAlternateAddress", "targetAddress", "homeDirectory",
		"sAMAccountName", "userPrincipalName", "objectGUID", "msExchHideFromAddressLists", "msExchRecipientTypeDetails",
		"sourceRecord", "carLicense", "employeeNumber", "employeeType", "x500UniqueIdentifier"} {
		delete(public, s.Attribute(name))
	}
	var names []string
	for _, t := range s.Attributes() {
		if public[t] {
			names = append(names, t.Name())
		}
	}
	return names
}

// decide returns what is granted of an attribute type, or (nil) of what covers
// names, in the circumstances.
func (r *rights) decide(c circumstances, covers func(*rule) bool) access.Privileges {
	var granted access.Privileges
	for i := range r.rules {
		rule := &r.rules[i]
		if !c.has(rule.bit) || !covers(rule) {
			continue
		}
		final, decided := rule.grant(c, granted)
		if decided {
			return final
		}
		granted = final
	}
	return 0
}

// grant applies the "by" of a rule. It is decided unless one of them breaks.
func (r *rule) grant(c circumstances, granted access.Privileges) (_ access.Privileges, decided bool) {
	for i := range r.By {
		if !c.has(r.by + i) {
			continue
		}
		b := &r.By[i]
		granted = b.Apply(granted)
		switch b.Control {
		case access.Stop:
			return granted, true
		case access.Break:
			return granted, false
		}
	}
	return 0, true // "by * none" stands behind every rule
}

// grantKey is what grants depend on.
type grantKey struct {
	in   circumstances
	dict *dictionary
}

// maxGrants bounds what is remembered.
const maxGrants = 4096

// grants returns what the circumstances grant, from memory where it can.
func (r *rights) grants(in circumstances, dict *dictionary) *grants {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := grantKey{in, dict}
	g := r.known[key]
	if g == nil {
		if len(r.known) >= maxGrants {
			clear(r.known)
		}
		g = r.newGrants(in, dict)
		r.known[key] = g
	}
	return g
}

// grants are what somebody may do with an entry. They are immutable.
type grants struct {
	privileges      []access.Privileges // by ID of an attribute type
	entry, children access.Privileges
	read            bitset // descriptions
	search          bitset // descriptions

	rights *rights
	in     circumstances
	valued bitset // IDs of the attribute types of which something else is granted of some values
}

func (r *rights) newGrants(in circumstances, dict *dictionary) *grants {
	g := &grants{privileges: make([]access.Privileges, len(r.schema.Attributes())), rights: r, in: in}
	for i := range g.privileges {
		id := uint32(i)
		g.privileges[i] = r.decide(in, func(rule *rule) bool { return rule.Value == nil && (rule.all || rule.types.has(id)) })
	}
	for i := range r.rules {
		if rule := &r.rules[i]; rule.Value != nil && in.has(rule.bit) {
			g.valued.or(rule.types)
		}
	}
	g.entry = r.decide(in, func(rule *rule) bool { return rule.entry })
	g.children = r.decide(in, func(rule *rule) bool { return rule.children })
	for i, d := range dict.descs {
		if d.Type == nil {
			continue
		}
		if p := g.privileges[d.Type.ID]; p&access.Read != 0 {
			g.read.set(uint32(i))
		}
		if p := g.privileges[d.Type.ID]; p&access.Search != 0 {
			g.search.set(uint32(i))
		}
	}
	return g
}

// sameReading tells whether g and other let the same be read and searched.
func (g *grants) sameReading(other *grants) bool {
	const reading = access.Disclose | access.Search | access.Read
	return g == other || g.valued.equal(nil) && other.valued.equal(nil) && g.entry&reading == other.entry&reading && g.read.equal(other.read) && g.search.equal(other.search) &&
		slices.EqualFunc(g.privileges, other.privileges, func(a, b access.Privileges) bool { return a&reading == b&reading })
}

// may tells whether an attribute type may be used.
func (g *grants) may(p access.Privileges, t *schema.AttributeType) bool {
	return g == nil || g.privileges[t.ID]&p == p
}

// mayValue tells whether one value of an attribute may be used: where no rule is
// about its values, as the attribute.
func (g *grants) mayValue(p access.Privileges, t *schema.AttributeType, value []byte) bool {
	if g == nil || !g.valued.has(uint32(t.ID)) {
		return g.may(p, t)
	}
	norm, ok := normalValue(g.rights.schema, t, value)
	id := uint32(t.ID)
	return ok && g.rights.decide(g.in, func(r *rule) bool {
		return r.all || r.types.has(id) && (r.Value == nil || r.isAbout(norm))
	})&p == p
}

// readable returns those of an attribute's values that may be read, in their own
// place.
func (g *grants) readable(t *schema.AttributeType, values [][]byte) [][]byte {
	if !g.limits(t) {
		return values
	}
	return slices.DeleteFunc(values, func(v []byte) bool { return !g.mayValue(access.Read, t, v) })
}

// limits tells whether g may grant some values of an attribute and others not.
func (g *grants) limits(t *schema.AttributeType) bool { return g != nil && g.valued.has(uint32(t.ID)) }

// readablePacked is readable of values in their stored form.
func (g *grants) readablePacked(t *schema.AttributeType, values []byte) []byte {
	var granted []byte
	for r := (reader{b: values}); len(r.b) > 0; {
		if v := r.bytes(); g.mayValue(access.Read, t, v) {
			granted = appendBytes(granted, v)
		}
	}
	return granted
}
