package schema

import (
	"bytes"
	"unicode/utf8"

	"expost/internal/ldap"
)

// Assertion is a filter's test of one value, made ready once for many values.
type Assertion struct {
	Op    ldap.FilterOp
	Rule  *MatchingRule
	Value []byte       // normal form; of an ordering, equality or extensible assertion
	class *ObjectClass // of an objectClass assertion

	schema  *Schema
	initial []byte
	any     [][]byte
	final   []byte
}

// Assert makes the assertion of a simple filter about an attribute type ready.
// It is false where the result is Undefined whatever the value (RFC 4511
// §4.5.1.7): no matching rule, or a value that the rule cannot compare.
func (s *Schema) Assert(t *AttributeType, f *ldap.Filter) (*Assertion, bool) {
	a := &Assertion{Op: f.Op, schema: s}
	switch f.Op {
	case ldap.FilterSubstrings:
		a.Rule = t.Substrings
		return a, a.Rule != nil && isReadable(a.Rule, f) && a.setPieces(f)
	case ldap.FilterGreaterOrEqual, ldap.FilterLessOrEqual:
		a.Rule = t.Ordering
	case ldap.FilterExtensible:
		a.Rule = t.Equality
		if f.Rule != "" {
			a.Rule = s.Rule(f.Rule)
		}
	default:
		a.Rule = t.Equality
		if t.OID == objectClassOID {
			a.class = s.Class(string(f.Value))
			return a, a.class != nil
		}
	}
	if a.Rule == nil || a.Rule.kind == substringsRule || !isReadable(a.Rule, f) {
		return a, false
	}
	var ok bool
	a.Value, ok = a.Rule.Normalize(nil, f.Value)
	return a, ok
}

// objectClassOID is the attribute whose values match their superclasses too.
const objectClassOID = "2.5.4.0"

// isReadable tells whether the values of a filter are text where the rule
// compares text: bytes that are not UTF-8 make an assertion Undefined.
func isReadable(r *MatchingRule, f *ldap.Filter) bool {
	if r.form.family() != ignoreForm {
		return true
	}
	for _, v := range append([][]byte{f.Value, f.Initial, f.Final}, f.Any...) {
		if !utf8.Valid(v) {
			return false
		}
	}
	return true
}

// setPieces makes the pieces of a substrings assertion ready. A piece that
// becomes empty makes the assertion Undefined: "telephoneNumber=-*" must not
// match every number. Values are matched with a space before and behind (RFC
// 4518 §2.6.1), so "ajay *" finds "Ajay".
func (a *Assertion) setPieces(f *ldap.Filter) bool {
	pad := func(b []byte) []byte {
		if a.Rule.padded {
			return append(b, ' ')
		}
		return b
	}
	if f.Initial != nil {
		piece := a.Rule.piece(nil, f.Initial)
		if a.Rule.padded {
			piece = bytes.TrimPrefix(piece, []byte(" "))
		}
		a.initial = append(pad(nil), piece...)
		if len(piece) == 0 {
			return false
		}
	}
	for _, v := range f.Any {
		if len(v) == 0 {
			continue
		}
		piece := a.Rule.piece(nil, v)
		if len(piece) == 0 {
			return false
		}
		a.any = append(a.any, piece)
	}
	if f.Final != nil {
		piece := a.Rule.piece(nil, f.Final)
		if a.Rule.padded {
			piece = bytes.TrimSuffix(piece, []byte(" "))
		}
		a.final = pad(bytes.Clone(piece))
		if len(piece) == 0 {
			return false
		}
	}
	return a.initial != nil || a.any != nil || a.final != nil
}

// Class returns the object class of an assertion about objectClass, else nil.
func (a *Assertion) Class() *ObjectClass { return a.class }

// Orders tells whether the assertion is one of order.
func (a *Assertion) Orders() bool { return a.Rule.kind == orderingRule }

// SameForm tells whether the assertion compares the normal forms of an
// equality rule by their bytes, so that an index of those forms answers it.
func (a *Assertion) SameForm(equality *MatchingRule) bool {
	same := a.Rule == equality || a.Rule.form == equality.form && equality.form != otherForm
	return same && a.Rule.match == nil && (a.Rule.compare == nil || !a.Orders())
}

// Prefix returns what the normal form of every matching value starts with, or
// nil where that is not known.
func (a *Assertion) Prefix() []byte {
	if a.initial == nil {
		return nil
	}
	prefix := a.initial
	if a.Rule.padded {
		prefix = bytes.TrimSuffix(prefix[1:], []byte(" "))
	}
	return prefix
}

// Fragments yields byte strings that the normal form of every matching value
// contains.
func (a *Assertion) Fragments() [][]byte {
	if a.Op != ldap.FilterSubstrings {
		return [][]byte{a.Value}
	}
	var list [][]byte
	for _, piece := range append([][]byte{a.initial, a.final}, a.any...) {
		if a.Rule.padded {
			piece = bytes.Trim(piece, " ")
		}
		if len(piece) > 0 {
			list = append(list, piece)
		}
	}
	return list
}

// Match tells whether a value satisfies the assertion. It grows and reuses
// scratch, which may be nil at first.
func (a *Assertion) Match(value []byte, scratch *[]byte) bool {
	if a.class != nil {
		c := a.schema.Class(string(value))
		return c != nil && c.IsA(a.class)
	}
	buf := (*scratch)[:0]
	if a.Op == ldap.FilterSubstrings && a.Rule.padded {
		buf = append(buf, ' ')
	}
	norm, ok := a.Rule.Normalize(buf, value)
	*scratch = norm
	if !ok {
		return false
	}
	switch a.Op {
	case ldap.FilterSubstrings:
		if a.Rule.padded {
			norm = append(norm, ' ')
			*scratch = norm
		}
		return a.matchPieces(norm)
	case ldap.FilterGreaterOrEqual:
		return a.Rule.Compare(norm, a.Value) >= 0
	case ldap.FilterLessOrEqual:
		return a.Rule.Compare(norm, a.Value) <= 0
	}
	if a.Rule.kind == orderingRule {
		return a.Rule.Compare(norm, a.Value) < 0 // RFC 4517 §4.2: of an extensible assertion
	}
	return a.Rule.matches(norm, a.Value)
}

// matchPieces finds the pieces one behind the other.
func (a *Assertion) matchPieces(v []byte) bool {
	if !bytes.HasPrefix(v, a.initial) {
		return false
	}
	v = v[len(a.initial):]
	if !bytes.HasSuffix(v, a.final) {
		return false
	}
	v = v[:len(v)-len(a.final)]
	for _, piece := range a.any {
		i := bytes.Index(v, piece)
		if i < 0 {
			return false
		}
		v = v[i+len(piece):]
	}
	return true
}
