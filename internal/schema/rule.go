package schema

import (
	"bytes"
	"cmp"
	"math/big"
	"strconv"
	"strings"
	"time"

	"expost/internal/ldap"
)

// MatchingRule says how values are compared (RFC 4517 §4.2): each is brought
// into a normal form, and equal values have equal normal forms.
type MatchingRule struct {
	OID       string
	Name      string
	SyntaxOID string // of the assertion

	kind      ruleKind
	form      form
	normalize func(dst, v []byte) ([]byte, bool) // false: no value of the syntax
	piece     func(dst, v []byte) []byte         // of a substrings assertion
	padded    bool                               // a piece may want a space at a value's ends
	compare   func(a, b []byte) int              // of normal forms; nil: bytes.Compare
	match     func(value, assertion []byte) bool // of normal forms; nil: bytes.Equal
}

type ruleKind int

const (
	equalityRule ruleKind = iota
	orderingRule
	substringsRule
)

// Normalize appends the normal form of v to dst. It is false where v is no
// value that the rule can compare.
func (r *MatchingRule) Normalize(dst, v []byte) ([]byte, bool) { return r.normalize(dst, v) }

// Compare orders two normal forms.
func (r *MatchingRule) Compare(a, b []byte) int {
	if r.compare == nil {
		return bytes.Compare(a, b)
	}
	return r.compare(a, b)
}

// CompareLeast orders two entries by the normal forms of their least values, nil
// of one that has none: it stands behind (RFC 2891 §2.2), and before the others
// in reverse.
func (r *MatchingRule) CompareLeast(a, b []byte, reverse bool) int {
	c := 0
	switch {
	case a != nil && b != nil:
		c = r.Compare(a, b)
	case a != nil:
		c = -1
	case b != nil:
		c = 1
	}
	if reverse {
		return -c
	}
	return c
}

// matches tells whether the normal form of a value satisfies that of an assertion.
func (r *MatchingRule) matches(value, assertion []byte) bool {
	if r.match == nil {
		return bytes.Equal(value, assertion)
	}
	return r.match(value, assertion)
}

// Suits tells whether the rule can compare values of an attribute type: its
// own rules bring values into the same form.
func (r *MatchingRule) Suits(t *AttributeType) bool {
	return t.Equality != nil && t.Equality.form.family() == r.form.family()
}

// Ordering returns the rule that sorts values of an attribute type (RFC 2891
// §1.1). Without a name it is the type's own or, since address book clients
// name none and most types of people have none, the order of what its equality
// rule compares. It is false where there is none, or the named one does not
// order such values.
func (s *Schema) Ordering(t *AttributeType, name string) (*MatchingRule, bool) {
	rule := t.Ordering
	switch {
	case name != "":
		rule = s.Rule(name)
		return rule, rule != nil && rule.kind == orderingRule && rule.Suits(t)
	case rule == nil:
		rule = t.Equality
	}
	return rule, rule != nil
}

// SortsAs tells whether r orders values as the bytes of an equality rule's
// normal forms are ordered.
func (r *MatchingRule) SortsAs(equality *MatchingRule) bool {
	return r.compare == nil && (r == equality || r.form == equality.form && r.form != otherForm)
}

// form names a normal form. Rules of the same form can share an index.
type form int

const (
	otherForm form = iota // of one rule alone
	ignoreForm
	exactForm
	telephoneForm
	numericForm
	integerForm
	octetForm
	timeForm
	uuidForm
	dnForm
)

// family brings together the forms of text.
func (f form) family() form {
	if f == exactForm {
		return ignoreForm
	}
	return f
}

// always makes a normalizer of a function that takes any value.
func always(f func(dst, v []byte) []byte) func(dst, v []byte) ([]byte, bool) {
	return func(dst, v []byte) ([]byte, bool) { return f(dst, v), true }
}

func octets(dst, v []byte) []byte      { return append(dst, v...) }
func ignoreCase(dst, v []byte) []byte  { return prepare(dst, v, foldCase) }
func exactCase(dst, v []byte) []byte   { return prepare(dst, v, keepCase) }
func ignorePiece(dst, v []byte) []byte { return preparePiece(dst, v, foldCase) }
func exactPiece(dst, v []byte) []byte  { return preparePiece(dst, v, keepCase) }
func telephone(dst, v []byte) []byte   { return dropping(dst, v, " -") }
func numeric(dst, v []byte) []byte     { return dropping(dst, v, " ") }

// addRules defines the matching rules.
func (s *Schema) addRules() {
	const (
		directoryString = "1.3.6.1.4.1.1466.115.121.1.15"
		ia5             = "1.3.6.1.4.1.1466.115.121.1.26"
		substrings      = "1.3.6.1.4.1.1466.115.121.1.58"
		integer         = "1.3.6.1.4.1.1466.115.121.1.27"
		numericString   = "1.3.6.1.4.1.1466.115.121.1.36"
		octetString     = "1.3.6.1.4.1.1466.115.121.1.40"
		generalizedTime = "1.3.6.1.4.1.1466.115.121.1.24"
		dn              = "1.3.6.1.4.1.1466.115.121.1.12"
		oid             = "1.3.6.1.4.1.1466.115.121.1.38"
		uuid            = "1.3.6.1.1.16.1"
		csn             = "1.3.6.1.4.1.4203.666.11.2.1"
	)
	ignore, exact := always(ignoreCase), always(exactCase)
	for _, r := range []*MatchingRule{
		{OID: "2.5.13.0", Name: "objectIdentifierMatch", SyntaxOID: oid, normalize: s.normalizeOID},
		{OID: "2.5.13.1", Name: "distinguishedNameMatch", form: dnForm, SyntaxOID: dn, normalize: s.normalizeDN},
		{OID: "2.5.13.2", Name: "caseIgnoreMatch", form: ignoreForm, SyntaxOID: directoryString, normalize: ignore},
		{OID: "2.5.13.3", Name: "caseIgnoreOrderingMatch", form: ignoreForm, SyntaxOID: directoryString, normalize: ignore, kind: orderingRule},
		{OID: "2.5.13.4", Name: "caseIgnoreSubstringsMatch", form: ignoreForm, SyntaxOID: substrings, normalize: ignore, piece: ignorePiece, padded: true, kind: substringsRule},
		{OID: "2.5.13.5", Name: "caseExactMatch", form: exactForm, SyntaxOID: directoryString, normalize: exact},
		{OID: "2.5.13.6", Name: "caseExactOrderingMatch", form: exactForm, SyntaxOID: directoryString, normalize: exact, kind: orderingRule},
		{OID: "2.5.13.7", Name: "caseExactSubstringsMatch", form: exactForm, SyntaxOID: substrings, normalize: exact, piece: exactPiece, padded: true, kind: substringsRule},
		{OID: "2.5.13.8", Name: "numericStringMatch", form: numericForm, SyntaxOID: numericString, normalize: always(numeric)},
		{OID: "2.5.13.9", Name: "numericStringOrderingMatch", form: numericForm, SyntaxOID: numericString, normalize: always(numeric), kind: orderingRule},
		{OID: "2.5.13.10", Name: "numericStringSubstringsMatch", form: numericForm, SyntaxOID: substrings, normalize: always(numeric), piece: numeric, kind: substringsRule},
		{OID: "2.5.13.11", Name: "caseIgnoreListMatch", form: ignoreForm, SyntaxOID: "1.3.6.1.4.1.1466.115.121.1.41", normalize: ignore},
		{OID: "2.5.13.12", Name: "caseIgnoreListSubstringsMatch", form: ignoreForm, SyntaxOID: substrings, normalize: ignore, piece: ignorePiece, padded: true, kind: substringsRule},
		{OID: "2.5.13.13", Name: "booleanMatch", SyntaxOID: "1.3.6.1.4.1.1466.115.121.1.7", normalize: normalizeBoolean},
		{OID: "2.5.13.14", Name: "integerMatch", form: integerForm, SyntaxOID: integer, normalize: normalizeInteger, compare: compareIntegers},
		{OID: "2.5.13.15", Name: "integerOrderingMatch", form: integerForm, SyntaxOID: integer, normalize: normalizeInteger, compare: compareIntegers, kind: orderingRule},
		{OID: "2.5.13.16", Name: "bitStringMatch", form: octetForm, SyntaxOID: "1.3.6.1.4.1.1466.115.121.1.6", normalize: always(octets)},
		{OID: "2.5.13.17", Name: "octetStringMatch", form: octetForm, SyntaxOID: octetString, normalize: always(octets)},
		{OID: "2.5.13.18", Name: "octetStringOrderingMatch", form: octetForm, SyntaxOID: octetString, normalize: always(octets), kind: orderingRule},
		{OID: "2.5.13.19", Name: "octetStringSubstringsMatch", form: octetForm, SyntaxOID: octetString, normalize: always(octets), piece: octets, kind: substringsRule},
		{OID: "2.5.13.20", Name: "telephoneNumberMatch", form: telephoneForm, SyntaxOID: "1.3.6.1.4.1.1466.115.121.1.50", normalize: always(telephone)},
		{OID: "2.5.13.21", Name: "telephoneNumberSubstringsMatch", form: telephoneForm, SyntaxOID: substrings, normalize: always(telephone), piece: telephone, kind: substringsRule},
		{OID: "2.5.13.23", Name: "uniqueMemberMatch", SyntaxOID: "1.3.6.1.4.1.1466.115.121.1.34", normalize: s.normalizeUniqueMember},
		{OID: "2.5.13.27", Name: "generalizedTimeMatch", form: timeForm, SyntaxOID: generalizedTime, normalize: normalizeTime},
		{OID: "2.5.13.28", Name: "generalizedTimeOrderingMatch", form: timeForm, SyntaxOID: generalizedTime, normalize: normalizeTime, kind: orderingRule},
		{OID: "2.5.13.29", Name: "integerFirstComponentMatch", SyntaxOID: integer, normalize: always(firstComponent)},
		{OID: "2.5.13.30", Name: "objectIdentifierFirstComponentMatch", SyntaxOID: oid, normalize: always(firstComponent)},
		{OID: "1.3.6.1.4.1.1466.109.114.1", Name: "caseExactIA5Match", form: exactForm, SyntaxOID: ia5, normalize: exact},
		{OID: "1.3.6.1.4.1.1466.109.114.2", Name: "caseIgnoreIA5Match", form: ignoreForm, SyntaxOID: ia5, normalize: ignore},
		{OID: "1.3.6.1.4.1.1466.109.114.3", Name: "caseIgnoreIA5SubstringsMatch", form: ignoreForm, SyntaxOID: substrings, normalize: ignore, piece: ignorePiece, padded: true, kind: substringsRule},
		{OID: "1.3.6.1.4.1.4203.1.2.1", Name: "caseExactIA5SubstringsMatch", form: exactForm, SyntaxOID: substrings, normalize: exact, piece: exactPiece, padded: true, kind: substringsRule},
		{OID: "1.2.840.113556.1.4.803", Name: "integerBitAndMatch", form: integerForm, SyntaxOID: integer, normalize: normalizeInteger, match: bitAnd},
		{OID: "1.2.840.113556.1.4.804", Name: "integerBitOrMatch", form: integerForm, SyntaxOID: integer, normalize: normalizeInteger, match: bitOr},
		{OID: "1.3.6.1.1.16.2", Name: "UUIDMatch", form: uuidForm, SyntaxOID: uuid, normalize: normalizeUUID},
		{OID: "1.3.6.1.1.16.3", Name: "UUIDOrderingMatch", form: uuidForm, SyntaxOID: uuid, normalize: normalizeUUID, kind: orderingRule},
		{OID: "1.3.6.1.4.1.4203.666.11.2.2", Name: "CSNMatch", form: octetForm, SyntaxOID: csn, normalize: always(octets)},
		{OID: "1.3.6.1.4.1.4203.666.11.2.3", Name: "CSNOrderingMatch", form: octetForm, SyntaxOID: csn, normalize: always(octets), kind: orderingRule},
		{OID: "2.5.13.34", Name: "certificateExactMatch", SyntaxOID: "1.3.6.1.1.15.1", normalize: always(octets)},
		{OID: "2.5.13.38", Name: "certificateListExactMatch", SyntaxOID: "1.3.6.1.1.15.5", normalize: always(octets)},
	} {
		s.ruleList = append(s.ruleList, r)
		s.rules[strings.ToLower(r.Name)] = r
		s.rules[r.OID] = r
	}
}

// normalizeOID brings names and OIDs of one class or attribute to its OID.
func (s *Schema) normalizeOID(dst, v []byte) ([]byte, bool) {
	name := string(v)
	if c := s.Class(name); c != nil {
		return append(dst, c.OID...), true
	}
	if a := s.Attribute(name); a != nil {
		return append(dst, a.OID...), true
	}
	return dropping(dst, v, ""), isOID(name)
}

func (s *Schema) normalizeDN(dst, v []byte) ([]byte, bool) {
	dn, err := ldap.ParseDN(string(v))
	if err != nil {
		return dst, false
	}
	return append(dst, dn.Key(s)...), true
}

// normalizeUniqueMember takes a DN with or without "#'0101'B" behind it.
func (s *Schema) normalizeUniqueMember(dst, v []byte) ([]byte, bool) {
	text, uid := string(v), ""
	if i := strings.LastIndex(text, "#'"); i >= 0 && strings.HasSuffix(text, "'B") {
		text, uid = text[:i], text[i:]
	}
	dst, ok := s.normalizeDN(dst, []byte(text))
	return append(dst, uid...), ok
}

func normalizeBoolean(dst, v []byte) ([]byte, bool) {
	dst = append(dst, bytes.ToUpper(v)...)
	return dst, isBoolean(v)
}

// normalizeInteger drops a plus sign and leading zeros.
func normalizeInteger(dst, v []byte) ([]byte, bool) {
	var n big.Int
	if len(v) > maxIntegerDigits {
		return dst, false
	}
	if _, ok := n.SetString(string(v), 10); !ok {
		return dst, false
	}
	return n.Append(dst, 10), true
}

// compareIntegers orders decimal numbers without leading zeros.
func compareIntegers(a, b []byte) int {
	negA, negB := bytes.HasPrefix(a, []byte("-")), bytes.HasPrefix(b, []byte("-"))
	switch {
	case negA && !negB:
		return -1
	case negB && !negA:
		return 1
	case negA:
		a, b = b[1:], a[1:]
	}
	if c := cmp.Compare(len(a), len(b)); c != 0 {
		return c
	}
	return bytes.Compare(a, b)
}

// bitAnd and bitOr are Active Directory's rules over sets of bits.
func bitAnd(value, mask []byte) bool {
	v, m := bitSet(value), bitSet(mask)
	return v&m == m
}

func bitOr(value, mask []byte) bool { return bitSet(value)&bitSet(mask) != 0 }

func bitSet(v []byte) int64 {
	n, err := strconv.ParseInt(string(v), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// normalizeTime brings a time to UTC (RFC 4517 §3.3.13), in a form that sorts.
func normalizeTime(dst, v []byte) ([]byte, bool) {
	t, ok := ParseTime(string(v))
	if !ok {
		return dst, false
	}
	dst = t.AppendFormat(dst, "20060102150405")
	if ns := t.Nanosecond(); ns != 0 {
		dst = append(dst, strings.TrimRight(t.Format(".000000000"), "0")...)
	}
	return dst, true
}

// ParseTime reads a GeneralizedTime; the result is in UTC.
func ParseTime(s string) (time.Time, bool) {
	s = strings.Replace(s, ",", ".", 1)
	for _, layout := range []string{"20060102150405Z0700", "200601021504Z0700", "2006010215Z0700",
		"20060102150405Z07", "200601021504Z07", "2006010215Z07"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

// normalizeUUID takes the 36 characters in either case.
func normalizeUUID(dst, v []byte) ([]byte, bool) {
	return append(dst, bytes.ToLower(v)...), isUUID(v)
}

// firstComponent returns what stands first in "( first … )", or all of it.
func firstComponent(dst, v []byte) []byte {
	text := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(string(v)), "("))
	first, _, _ := strings.Cut(text, " ")
	return append(dst, strings.ToLower(first)...)
}
