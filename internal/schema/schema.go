// Package schema knows what directory entries may hold: attribute types with
// their aliases, syntaxes and matching rules, and object classes (RFC 4512 §4,
// RFC 4517, RFC 4519). It checks entries with slapd's result codes and texts,
// brings values into the form in which they are compared (RFC 4518), and
// writes itself down as a subschema entry. Definitions are read from the files
// of builtin and, in the same format, from those of OpenLDAP.
package schema

import (
	"embed"
	"fmt"
	"slices"
	"strings"
	"sync"

	"expost/internal/ldap"
)

//go:embed builtin/*.schema
var builtinFiles embed.FS

// Builtin returns the schema that every directory has: core, cosine,
// inetOrgPerson, nis, qmail, misc, Courier, Mozilla, and expostPerson.
var Builtin = sync.OnceValue(func() *Schema {
	var sources []source
	for _, name := range []string{"system", "core", "cosine", "inetorgperson", "nis", "qmail", "misc", "courier", "mozilla", "expost"} {
		text, err := builtinFiles.ReadFile("builtin/" + name + ".schema")
		if err != nil {
			panic(err) // the files are part of the program
		}
		sources = append(sources, source{name + ".schema", string(text)})
	}
	s, err := build(sources)
	if err != nil {
		panic(err)
	}
	return s
})

// source is a file of definitions.
type source struct{ name, text string }

// build reads the files in order.
func build(sources []source) (*Schema, error) {
	s := &Schema{
		sources:    sources,
		attributes: map[string]*AttributeType{},
		classes:    map[string]*ObjectClass{},
		syntaxes:   map[string]*Syntax{},
		rules:      map[string]*MatchingRule{},
		macros:     map[string]string{},
	}
	s.addSyntaxes()
	s.addRules()
	for _, src := range sources {
		if err := s.add(src.name, src.text); err != nil {
			return nil, fmt.Errorf("reading schema %w", err)
		}
	}
	return s, nil
}

// Schema is a set of definitions. It is immutable.
type Schema struct {
	attributes map[string]*AttributeType // by each name in lower case, and by OID
	classes    map[string]*ObjectClass   // likewise
	syntaxes   map[string]*Syntax        // by OID
	rules      map[string]*MatchingRule  // by name in lower case, and by OID
	macros     map[string]string         // objectidentifier names of OpenLDAP's files
	sources    []source

	attributeList []*AttributeType // in the order of definition
	classList     []*ObjectClass
	syntaxList    []*Syntax
	ruleList      []*MatchingRule
}

// Usage says what an attribute is for (RFC 4512 §4.1.2).
type Usage int

// The usages; all but the first are operational.
const (
	UserApplications Usage = iota
	DirectoryOperation
	DistributedOperation
	DSAOperation
)

// AttributeType is one attribute type (RFC 4512 §4.1.2), with what it inherits
// filled in.
type AttributeType struct {
	ID          int // its place among the schema's attribute types
	OID         string
	Names       []string // the first is canonical
	Sup         *AttributeType
	Equality    *MatchingRule // nil: none
	Ordering    *MatchingRule
	Substrings  *MatchingRule
	Syntax      *Syntax
	MaxLength   int // {n} behind the syntax; a hint that is published, not enforced
	SingleValue bool
	NoUserMod   bool
	Usage       Usage

	text string // the definition as it is published
}

// Name returns the canonical name.
func (a *AttributeType) Name() string {
	if len(a.Names) == 0 {
		return a.OID
	}
	return a.Names[0]
}

// Operational tells whether only a request for "+" or by name returns it.
func (a *AttributeType) Operational() bool { return a.Usage != UserApplications }

// IsA tells whether a is sup or a subtype of it (RFC 4512 §2.5.1).
func (a *AttributeType) IsA(sup *AttributeType) bool {
	for t := a; t != nil; t = t.Sup {
		if t == sup {
			return true
		}
	}
	return false
}

// ClassKind is the kind of an object class (RFC 4512 §2.4).
type ClassKind int

// The kinds of object class.
const (
	Structural ClassKind = iota
	Abstract
	Auxiliary
)

// ObjectClass is one object class (RFC 4512 §4.1.1).
type ObjectClass struct {
	ID    int // its place among the schema's object classes
	OID   string
	Names []string
	Sups  []*ObjectClass
	Kind  ClassKind
	Must  []*AttributeType // its own, without those of Sups
	May   []*AttributeType

	text string
}

// Name returns the canonical name.
func (c *ObjectClass) Name() string {
	if len(c.Names) == 0 {
		return c.OID
	}
	return c.Names[0]
}

// IsA tells whether c is sup or a subclass of it.
func (c *ObjectClass) IsA(sup *ObjectClass) bool {
	return c == sup || slices.ContainsFunc(c.Sups, func(s *ObjectClass) bool { return s.IsA(sup) })
}

// Superclasses yields c and every class above it; one that is above it twice
// comes twice.
func (c *ObjectClass) Superclasses(yield func(*ObjectClass) bool) {
	c.superclasses(yield)
}

func (c *ObjectClass) superclasses(yield func(*ObjectClass) bool) bool {
	if !yield(c) {
		return false
	}
	for _, sup := range c.Sups {
		if !sup.superclasses(yield) {
			return false
		}
	}
	return true
}

// Attribute returns the attribute type of a name or OID, in any case, or nil.
// Options are not part of a name; see Describe.
func (s *Schema) Attribute(name string) *AttributeType { return lookup(s.attributes, name) }

// Class returns the object class of a name or OID, in any case, or nil.
func (s *Schema) Class(name string) *ObjectClass { return lookup(s.classes, name) }

// Rule returns the matching rule of a name or OID, in any case, or nil.
func (s *Schema) Rule(name string) *MatchingRule { return lookup(s.rules, name) }

// Attributes returns all attribute types; the ID of each is its index.
func (s *Schema) Attributes() []*AttributeType { return s.attributeList }

// lookup finds name as written first, since most callers write lower case.
func lookup[T any](m map[string]*T, name string) *T {
	if v, ok := m[name]; ok {
		return v
	}
	return m[strings.ToLower(name)]
}

// Description is an attribute description (RFC 4512 §2.5): a type and options.
type Description struct {
	Type    *AttributeType
	Options []string // in lower case, sorted
}

// String returns the description with the canonical name.
func (d Description) String() string {
	if len(d.Options) == 0 {
		return d.Type.Name()
	}
	return d.Type.Name() + ";" + strings.Join(d.Options, ";")
}

// IsA tells whether d is a subtype of sup: its type is one, and it has all of
// sup's options.
func (d Description) IsA(sup Description) bool {
	return d.Type.IsA(sup.Type) && !slices.ContainsFunc(sup.Options, func(o string) bool {
		if prefix, ok := strings.CutSuffix(o, "-"); ok { // a language range, RFC 3866 §3
			return !slices.ContainsFunc(d.Options, func(have string) bool { return have == prefix || strings.HasPrefix(have, o) })
		}
		return !slices.Contains(d.Options, o)
	})
}

// Describe resolves an attribute description.
func (s *Schema) Describe(desc string) (Description, bool) {
	name, options, found := strings.Cut(desc, ";")
	t := s.Attribute(name)
	if t == nil || !found {
		return Description{Type: t}, t != nil
	}
	d := Description{Type: t, Options: strings.Split(strings.ToLower(options), ";")}
	slices.Sort(d.Options)
	d.Options = slices.Compact(d.Options)
	return d, !slices.ContainsFunc(d.Options, func(o string) bool { return !isOption(o) })
}

// isOption tells whether s is an option (RFC 4512 §2.5): letters, digits, hyphens.
func isOption(s string) bool {
	for i := range len(s) {
		if !isAlphanumeric(s[i]) && s[i] != '-' {
			return false
		}
	}
	return s != ""
}

// NormalizeAVA makes the schema an ldap.Normalizer. A type or value that the
// schema does not know is compared as text without regard to case.
func (s *Schema) NormalizeAVA(a ldap.AVA) ldap.AVA {
	t := s.Attribute(a.Type)
	if t == nil {
		return ldap.AVA{Type: strings.ToLower(a.Type), Value: string(prepare(nil, []byte(a.Value), foldCase))}
	}
	value := a.Value
	if t.Equality != nil {
		if norm, ok := t.Equality.Normalize(nil, []byte(a.Value)); ok {
			value = string(norm)
		}
	}
	return ldap.AVA{Type: strings.ToLower(t.Name()), Value: value}
}

// With returns s extended by the definitions of a file in OpenLDAP's format.
// name stands in errors. What s defines already keeps its definition.
func (s *Schema) With(name, text string) (*Schema, error) {
	return build(append(slices.Clone(s.sources), source{name, text}))
}
