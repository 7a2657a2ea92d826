package embedded

import (
	"fmt"
	"strings"

	"expost/internal/schema"
)

// Index says how entries are found by some attributes.
type Index struct {
	Attributes []string
	Equality   bool // equality, order and initial substrings, from a sorted index
	Substrings bool // any substring, from trigrams
}

// ParseIndex reads slapd's form, "cn,mail eq,sub": attributes, and of each
// "pres" (which is always indexed), "eq", "sub" or a kind of it, "approx"
// (which is equality here), or "none".
func ParseIndex(text string) (Index, error) {
	fields := strings.Fields(text)
	if len(fields) != 2 {
		return Index{}, fmt.Errorf("index %q: write attributes and kinds, as in \"cn,mail eq,sub\"", text)
	}
	x := Index{Attributes: strings.Split(fields[0], ",")}
	for kind := range strings.SplitSeq(fields[1], ",") {
		switch strings.ToLower(kind) {
		case "eq", "approx", "subinitial":
			x.Equality = true
		case "sub", "subany", "subfinal":
			x.Substrings = true
		case "pres", "none", "notags", "nolang":
		default:
			return Index{}, fmt.Errorf("index %q: %q is none of pres, eq, sub, none", text, kind)
		}
	}
	return x, nil
}

// indexing is which attributes have which index. Presence always has one.
type indexing struct {
	inOrder bitset // IDs of attribute types in the sorted index
	text    bitset // and of those whose values have trigrams
}

// sorted tells whether an attribute is in the sorted index, for equality,
// prefix and order.
func (x *indexing) sorted(t *schema.AttributeType) bool { return x.inOrder.has(uint32(t.ID)) }

// substrings tells whether the values of an attribute have trigrams.
func (x *indexing) substrings(t *schema.AttributeType) bool { return x.text.has(uint32(t.ID)) }

// newIndexing returns the default indexes as changed by the configured ones.
func newIndexing(s *schema.Schema, configured []Index) (*indexing, error) {
	x := &indexing{}
	for _, name := range []string{"mail", "mailAlternateAddress", "proxyAddresses", "cn", "sn", "givenName", "displayName", "uid", "mailNickname",
		"mozillaNickname", "legacyExchangeDN", "telephoneNumber", "member", "uniqueMember", "entryUUID", "entryCSN"} {
		x.inOrder.set(uint32(s.Attribute(name).ID))
	}
	for _, t := range s.Attributes() {
		if isText(t) {
			x.text.set(uint32(t.ID))
		}
	}
	for _, index := range configured {
		for _, name := range index.Attributes {
			if err := x.configure(s, name, index); err != nil {
				return nil, err
			}
		}
	}
	return x, nil
}

func (x *indexing) configure(s *schema.Schema, name string, index Index) error {
	t := s.Attribute(name)
	switch {
	case t == nil:
		return fmt.Errorf("index: there is no attribute %q", name)
	case isComputed(t):
		return fmt.Errorf("index: %q is not kept and has no index", name)
	case !index.Equality && (t.Name() == "entryCSN" || t.Name() == "entryUUID"):
		return fmt.Errorf("index: copies are kept up to date with that of %q", name)
	case index.Equality && t.Equality == nil:
		return fmt.Errorf("index: %q has no equality rule", name)
	case index.Substrings && !isText(t):
		return fmt.Errorf("index: %q is not text and has no substrings", name)
	}
	x.inOrder.put(uint32(t.ID), index.Equality && t.Name() != "objectClass")
	x.text.put(uint32(t.ID), index.Substrings)
	return nil
}

// isText tells whether the values of an attribute are text for trigrams.
func isText(t *schema.AttributeType) bool {
	if t.Equality == nil || t.Operational() {
		return false
	}
	switch t.Equality.Name {
	case "caseIgnoreMatch", "caseExactMatch", "caseIgnoreIA5Match", "caseExactIA5Match", "caseIgnoreListMatch",
		"telephoneNumberMatch", "numericStringMatch":
		return true
	}
	return false
}
