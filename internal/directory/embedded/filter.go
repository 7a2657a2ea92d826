package embedded

import (
	"slices"
	"strings"

	"expost/internal/directory/access"
	"expost/internal/ldap"
	"expost/internal/schema"
)

// truth is the value of a filter (RFC 4511 §4.5.1.7).
type truth uint8

const (
	no truth = iota
	yes
	undefined
)

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

// condition is a filter made ready for many entries.
type condition struct {
	op        ldap.FilterOp
	subs      []*condition
	undefined bool
	typ       *schema.AttributeType // nil: any attribute, of an extensible filter
	descs     bitset                // the descriptions that the assertion is about
	assertion *schema.Assertion
	asserted  []byte // of FilterEqual, as it was written
	dn        bool   // the attributes of the DN count too
}

// unknowable is a condition that is Undefined for every entry.
func unknowable() *condition { return &condition{undefined: true} }

// compile makes a filter ready for who asks.
func (s *snapshot) compile(f *ldap.Filter, who *subject) *condition {
	switch f.Op {
	case ldap.FilterAnd, ldap.FilterOr, ldap.FilterNot:
		c := &condition{op: f.Op}
		for _, sub := range f.Subs {
			c.subs = append(c.subs, s.compile(sub, who))
		}
		return c
	case ldap.FilterExtensible:
		if f.Attr == "" {
			return s.compileAnyAttribute(f, who)
		}
	}
	if strings.EqualFold(f.Attr, "anr") {
		return s.compile(resolveName(f), who)
	}
	return s.compileItem(f, who)
}

// compileItem makes a filter about one attribute ready.
func (s *snapshot) compileItem(f *ldap.Filter, who *subject) *condition {
	desc, ok := s.dict.schema.Describe(f.Attr)
	if !ok || !who.everSearches(desc.Type) {
		return unknowable()
	}
	c := &condition{op: f.Op, typ: desc.Type, descs: s.dict.matching(desc), asserted: f.Value, dn: f.DNAttributes}
	if f.Op == ldap.FilterPresent {
		return c
	}
	c.assertion, ok = s.dict.schema.Assert(desc.Type, f)
	if !ok {
		return unknowable()
	}
	return c
}

// compileAnyAttribute makes "(:rule:=value)" ready: it is about all attributes
// whose syntax is that of the rule.
func (s *snapshot) compileAnyAttribute(f *ldap.Filter, who *subject) *condition {
	rule := s.dict.schema.Rule(f.Rule)
	if rule == nil {
		return unknowable()
	}
	c := &condition{op: f.Op, dn: f.DNAttributes}
	for id, d := range s.dict.descs {
		if d.Type == nil || !who.everSearches(d.Type) || !rule.Suits(d.Type) {
			continue
		}
		if a, ok := s.dict.schema.Assert(d.Type, f); ok {
			c.assertion = a
			c.descs.set(uint32(id))
		}
	}
	if c.assertion == nil {
		return unknowable()
	}
	return c
}

// resolveName expands Active Directory's ambiguous name resolution: the value
// starts one of the names, or both of its halves start given name and surname
// in either order (MS-ADTS 3.1.1.3.1.3.4).
func resolveName(f *ldap.Filter) *ldap.Filter {
	asked := f.Value
	if f.Op == ldap.FilterSubstrings {
		asked = f.Initial
	}
	value, exact := strings.CutPrefix(strings.TrimSpace(string(asked)), "=")
	test := func(attr, v string) *ldap.Filter {
		if exact {
			return &ldap.Filter{Op: ldap.FilterEqual, Attr: attr, Value: []byte(v)}
		}
		return &ldap.Filter{Op: ldap.FilterSubstrings, Attr: attr, Initial: []byte(v)}
	}
	or := &ldap.Filter{Op: ldap.FilterOr}
	if value == "" {
		return or
	}
	for _, attr := range []string{"displayName", "givenName", "sn", "cn", "mail", "uid", "mailNickname",
		"physicalDeliveryOfficeName", "legacyExchangeDN"} {
		or.Subs = append(or.Subs, test(attr, value))
	}
	for _, kind := range []string{"", "smtp:"} {
		or.Subs = append(or.Subs, test("proxyAddresses", kind+value))
	}
	if first, last, found := strings.Cut(value, " "); found && !exact {
		or.Subs = append(or.Subs,
			&ldap.Filter{Op: ldap.FilterAnd, Subs: []*ldap.Filter{test("givenName", first), test("sn", last)}},
			&ldap.Filter{Op: ldap.FilterAnd, Subs: []*ldap.Filter{test("sn", first), test("givenName", last)}})
	}
	return or
}

// matcher evaluates conditions on entries of one snapshot.
type matcher struct {
	snap    *snapshot
	grants  *grants // of the entry to its asker; nil: everything
	suffix  ldap.DN
	scratch []byte
}

// eval returns a condition's value for an entry.
func (m *matcher) eval(c *condition, n *node) truth {
	if c.undefined || m.grants != nil && c.typ != nil && !m.maySearch(c) {
		return undefined
	}
	switch c.op {
	case ldap.FilterAnd:
		result := yes
		for _, sub := range c.subs {
			switch m.eval(sub, n) {
			case no:
				return no
			case undefined:
				result = undefined
			}
		}
		return result
	case ldap.FilterOr:
		result := no
		for _, sub := range c.subs {
			switch m.eval(sub, n) {
			case yes:
				return yes
			case undefined:
				result = undefined
			}
		}
		return result
	case ldap.FilterNot:
		switch m.eval(c.subs[0], n) {
		case yes:
			return no
		case no:
			return yes
		}
		return undefined
	}
	return truthOf(m.item(c, n))
}

// maySearch tells whether who asks may search for what a condition asserts.
func (m *matcher) maySearch(c *condition) bool {
	if c.assertion != nil && c.op == ldap.FilterEqual {
		return m.grants.mayValue(access.Search, c.typ, c.asserted)
	}
	return m.grants.may(access.Search, c.typ)
}

// valueAllowed tells whether a rule about values grants a search that is not
// granted of the whole attribute: for what is asserted, eval has looked.
func (m *matcher) valueAllowed(c *condition, desc uint32) bool {
	t := m.snap.dict.descs[desc].Type
	return c.op == ldap.FilterEqual && t == c.typ && m.grants.valued.has(uint32(t.ID))
}

// item tells whether an entry has a value that satisfies a simple condition.
func (m *matcher) item(c *condition, n *node) bool {
	for desc, values := range n.attributes {
		if !c.descs.has(desc) || m.grants != nil && !m.grants.search.has(desc) && !m.valueAllowed(c, desc) {
			continue
		}
		if c.op == ldap.FilterPresent {
			return true
		}
		for len(values.b) > 0 {
			if c.assertion.Match(values.bytes(), &m.scratch) {
				return true
			}
		}
	}
	if c.typ != nil && isComputed(c.typ) {
		v := m.snap.computed(n, c.typ, m.suffix)
		return c.op == ldap.FilterPresent || c.assertion.Match(v, &m.scratch)
	}
	return c.dn && c.assertion != nil && m.inDN(c, n)
}

// inDN tells whether an AVA of the entry's DN satisfies a condition (RFC 4511
// §4.5.1.7.7).
func (m *matcher) inDN(c *condition, n *node) bool {
	return slices.ContainsFunc(m.snap.dn(n, m.suffix), func(rdn ldap.RDN) bool {
		return slices.ContainsFunc(rdn, func(ava ldap.AVA) bool {
			t := m.snap.dict.schema.Attribute(ava.Type)
			return t != nil && (c.typ == nil || t.IsA(c.typ)) && c.assertion.Match([]byte(ava.Value), &m.scratch)
		})
	})
}

// isComputed tells which attributes are not stored but made when asked for.
func isComputed(t *schema.AttributeType) bool {
	switch t.Name() {
	case "entryDN", "hasSubordinates", "subschemaSubentry":
		return true
	}
	return false
}

// subschemaDN names the entry that publishes the schema.
const subschemaDN = "cn=Subschema"

// computed returns the value of a computed attribute.
func (s *snapshot) computed(n *node, t *schema.AttributeType, suffix ldap.DN) []byte {
	switch t.Name() {
	case "entryDN":
		return []byte(s.dn(n, suffix).String())
	case "hasSubordinates":
		if s.hasChildren(n.id) {
			return []byte("TRUE")
		}
		return []byte("FALSE")
	}
	return []byte(subschemaDN)
}
