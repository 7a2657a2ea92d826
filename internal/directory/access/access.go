// Package access says who may do what with which entries and attributes, in
// the terms of OpenLDAP's "access to" (slapd.access(5)): rules name entries and
// attributes, and of each what it grants to whom. The first rule about an
// attribute of an entry holds, and in it the first "by" about who asks.
package access

import (
	"regexp"
	"strings"

	"expost/internal/ldap"
)

// Privileges is a set of what somebody may do.
type Privileges uint16

// The privileges, with slapd's letters.
const (
	Disclose Privileges = 1 << iota // d: learn from an error that the entry exists
	Auth                            // x: log in with it
	Compare                         // c
	Search                          // s: in filters
	Read                            // r
	AddTo                           // a: add values
	DeleteOf                        // z: delete values
	Manage                          // m
)

// Write is adding and deleting, slapd's "w".
const Write = AddTo | DeleteOf

// levels are slapd's names of privileges, each with those before it.
func levels() []struct {
	name string
	has  Privileges
} {
	return []struct {
		name string
		has  Privileges
	}{
		{"none", 0}, {"disclose", Disclose}, {"auth", Disclose | Auth}, {"compare", Disclose | Auth | Compare},
		{"search", Disclose | Auth | Compare | Search}, {"read", Disclose | Auth | Compare | Search | Read},
		{"write", Disclose | Auth | Compare | Search | Read | Write}, {"manage", Disclose | Auth | Compare | Search | Read | Write | Manage},
	}
}

// Scope says which entries a DN stands for.
type Scope string

// The scopes.
const (
	Base     Scope = "base"     // the entry itself
	One      Scope = "one"      // those right below it
	Subtree  Scope = "subtree"  // it and all below it
	Children Scope = "children" // all below it
)

// Rule is what is granted of some attributes of some entries.
type Rule struct {
	DN         ldap.DN        // nil: every entry
	Scope      Scope          // of DN
	Pattern    *regexp.Regexp // instead of DN: of the normal form of an entry's DN
	Filter     *ldap.Filter
	Attributes []string // names, "@class", "!class", "entry", "children"; nil: all of these
	Value      *Value   // of the only attribute; nil: every value
	By         []By
}

// Value says which values of an attribute a rule is about, slapd's "val".
type Value struct {
	Is      []byte         // by the attribute's equality rule
	Pattern *regexp.Regexp // instead of Is: of the normal form
}

// Pseudo-attributes: the entry itself, and that others stand below it.
const (
	Entry      = "entry"
	ChildrenOf = "children"
)

// WhoKind is a kind of Who.
type WhoKind uint8

// The kinds of those who ask.
const (
	Everybody   WhoKind = iota // *
	Anonymous                  // nobody has logged in
	Users                      // somebody has
	Self                       // the entry itself
	Named                      // of a DN
	Member                     // of a group
	InAttribute                // an attribute of the entry names them
	Matching                   // the normal form of whose DN a pattern matches
	From                       // of a network address
	Strong                     // over a connection encrypted as strongly
	InSet                      // a set expression holds
)

// Who is who asks.
type Who struct {
	Kind     WhoKind
	DN       ldap.DN     // Named, Member (the group)
	Scope    Scope       // Named
	Attr     string      // Member: of the group, default member; InAttribute
	Text     string      // instead of DN, and the pattern of Matching: with "$1" of the rule's Pattern
	Peer     *Peer       // From
	Strength int         // Strong: at least, in bits
	Set      *Expression // InSet
}

// Control says what follows a "by" that holds.
type Control uint8

// The controls.
const (
	Stop     Control = iota // nothing: it is decided
	Continue                // the next "by"
	Break                   // the next rule
)

// Change is how a By changes what is granted so far.
type Change uint8

// The changes.
const (
	Set Change = iota
	Plus
	Minus
)

// By is one "by" of a rule.
type By struct {
	Who     Who
	And     []Who // who it must be as well
	Change  Change
	Grant   Privileges
	Control Control
}

// Apply returns what is granted after the By, of what was before.
func (b *By) Apply(before Privileges) Privileges {
	switch b.Change {
	case Plus:
		return before | b.Grant
	case Minus:
		return before &^ b.Grant
	}
	return b.Grant
}

// ParseScope reads the style of a DN as slapd names it; empty is def.
func ParseScope(s string, def Scope) (Scope, bool) {
	switch strings.ToLower(s) {
	case "":
		return def, true
	case "base", "exact", "baseobject":
		return Base, true
	case "one", "onelevel":
		return One, true
	case "sub", "subtree":
		return Subtree, true
	case "children":
		return Children, true
	}
	return "", false
}

// Contains tells whether the scope of base holds dn.
func (s Scope) Contains(base, dn ldap.DN, n ldap.Normalizer) bool {
	switch s {
	case Base:
		return dn.Equal(base, n)
	case One:
		return len(dn) == len(base)+1 && dn.IsUnder(base, n)
	case Children:
		return len(dn) > len(base) && dn.IsUnder(base, n)
	}
	return dn.IsUnder(base, n)
}
