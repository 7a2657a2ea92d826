package schema

import (
	"bytes"
	"slices"
	"strings"

	"expost/internal/ldap"
)

// CheckAttribute checks one attribute as a client sends it: its type is known,
// a client may write it, its values are values of its syntax, each there once,
// and no more than one where one is allowed. It returns the attribute under
// its canonical description. The codes and texts are slapd's.
func (s *Schema) CheckAttribute(a ldap.Attribute, allowNoUserMod bool) (ldap.Attribute, Description, error) {
	d, ok := s.Describe(a.Desc)
	if !ok {
		return a, d, ldap.Errorf(ldap.UndefinedAttributeType, "%s: attribute type undefined", a.Desc)
	}
	if d.Type.NoUserMod && !allowNoUserMod {
		return a, d, ldap.Errorf(ldap.ConstraintViolation, "%s: no user modification allowed", a.Desc)
	}
	if err := s.checkValues(d.Type, a); err != nil {
		return a, d, err
	}
	return ldap.Attribute{Desc: d.String(), Values: a.Values}, d, nil
}

// checkValues checks the values of one attribute.
func (s *Schema) checkValues(t *AttributeType, a ldap.Attribute) error {
	for i, v := range a.Values {
		valid := t.Syntax.Valid(v)
		if t.OID == objectClassOID {
			valid = s.Class(string(v)) != nil
		}
		if !valid {
			return ldap.Errorf(ldap.InvalidAttributeSyntax, "%s: value #%d invalid per syntax", a.Desc, i)
		}
	}
	if t.SingleValue && len(a.Values) > 1 {
		return ldap.Errorf(ldap.ConstraintViolation, "%s: multiple values provided", a.Desc)
	}
	if i := s.duplicate(t, a.Values); i >= 0 {
		return ldap.Errorf(ldap.AttributeOrValueExists, "%s: value #%d provided more than once", a.Desc, i)
	}
	return nil
}

// duplicate returns the index of the first value that comes again, or -1.
func (s *Schema) duplicate(t *AttributeType, values [][]byte) int {
	if len(values) < 2 {
		return -1
	}
	seen := make(map[string]int, len(values))
	for i, v := range values {
		key := string(s.ValueKey(t, v))
		if first, ok := seen[key]; ok {
			return first
		}
		seen[key] = i
	}
	return -1
}

// ValueKey returns the form in which values of an attribute are told apart.
func (s *Schema) ValueKey(t *AttributeType, v []byte) []byte {
	if t.Equality != nil {
		if norm, ok := t.Equality.Normalize(nil, v); ok {
			return norm
		}
	}
	return v
}

// CheckEntry checks that the attributes of an entry go with its object classes
// (RFC 4512 §2.4), and returns its structural object class. Each attribute is
// taken as checked by CheckAttribute.
func (s *Schema) CheckEntry(e *ldap.Entry) (*ObjectClass, error) {
	oc := e.Attribute("objectClass")
	if oc == nil || len(oc.Values) == 0 {
		return nil, ldap.Errorf(ldap.ObjectClassViolation, "no objectClass attribute")
	}
	classes := make([]*ObjectClass, 0, len(oc.Values))
	for i, v := range oc.Values {
		c := s.Class(string(v))
		if c == nil {
			return nil, ldap.Errorf(ldap.InvalidAttributeSyntax, "objectClass: value #%d invalid per syntax", i)
		}
		classes = append(classes, c)
	}
	structural, err := structuralClass(classes)
	if err != nil {
		return nil, err
	}
	rules := collect(classes)
	for _, must := range rules.must {
		if !s.hasAttribute(e, must.attribute) {
			return nil, ldap.Errorf(ldap.ObjectClassViolation, "object class '%s' requires attribute '%s'",
				must.class.Name(), must.attribute.Name())
		}
	}
	if rules.extensible {
		return structural, nil
	}
	for _, a := range e.Attributes {
		d, ok := s.Describe(a.Desc)
		if !ok {
			return nil, ldap.Errorf(ldap.UndefinedAttributeType, "%s: attribute type undefined", a.Desc)
		}
		if !d.Type.Operational() && !rules.allowed[d.Type] {
			return nil, ldap.Errorf(ldap.ObjectClassViolation, "attribute '%s' not allowed", a.Desc)
		}
	}
	return structural, nil
}

// structuralClass returns the most specific structural class; all others must
// be superclasses of it.
func structuralClass(classes []*ObjectClass) (*ObjectClass, error) {
	var structural *ObjectClass
	for _, c := range classes {
		switch {
		case c.Kind != Structural:
		case structural == nil || c.IsA(structural):
			structural = c
		case !structural.IsA(c):
			return nil, ldap.Errorf(ldap.ObjectClassViolation, "invalid structural object class chain (%s/%s)", structural.Name(), c.Name())
		}
	}
	if structural == nil {
		return nil, ldap.Errorf(ldap.ObjectClassViolation, "no structural object class provided")
	}
	return structural, nil
}

// requirement is one MUST of a class.
type requirement struct {
	class     *ObjectClass
	attribute *AttributeType
}

// classRules is what a set of classes demands and allows.
type classRules struct {
	must       []requirement
	allowed    map[*AttributeType]bool
	extensible bool // extensibleObject: any attribute (RFC 4512 §4.3)
}

// collect gathers the rules of the classes and all their superclasses.
func collect(classes []*ObjectClass) classRules {
	r := classRules{allowed: map[*AttributeType]bool{}}
	seen := map[*ObjectClass]bool{}
	var visit func(c *ObjectClass)
	visit = func(c *ObjectClass) {
		if seen[c] {
			return
		}
		seen[c] = true
		r.extensible = r.extensible || c.OID == extensibleObjectOID
		for _, a := range c.Must {
			r.must = append(r.must, requirement{c, a})
			r.allowed[a] = true
		}
		for _, a := range c.May {
			r.allowed[a] = true
		}
		for _, sup := range c.Sups {
			visit(sup)
		}
	}
	for _, c := range classes {
		visit(c)
	}
	return r
}

const extensibleObjectOID = "1.3.6.1.4.1.1466.101.120.111"

// hasAttribute tells whether e holds a value of the type or a subtype of it.
func (s *Schema) hasAttribute(e *ldap.Entry, t *AttributeType) bool {
	return slices.ContainsFunc(e.Attributes, func(a ldap.Attribute) bool {
		d, ok := s.Describe(a.Desc)
		return ok && d.Type.IsA(t) && len(a.Values) > 0
	})
}

// Canonical returns the entry as it is stored: attributes under their canonical
// descriptions, those that come twice merged, the values of its RDN among
// them, and none without values. The first error is returned, in the order of
// the attributes, with slapd's code and text.
func (s *Schema) Canonical(e *ldap.Entry, allowNoUserMod bool) (*ldap.Entry, error) {
	out := &ldap.Entry{DN: e.DN}
	for _, a := range e.Attributes {
		if len(a.Values) == 0 {
			return nil, ldap.Errorf(ldap.ProtocolError, "no values for attribute type '%s'", a.Desc)
		}
		a, d, err := s.CheckAttribute(a, allowNoUserMod)
		if err != nil {
			return nil, err
		}
		if have := out.Attribute(a.Desc); have != nil {
			have.Values = slices.Concat(have.Values, a.Values)
			if err := s.checkValues(d.Type, *have); err != nil {
				return nil, err
			}
			continue
		}
		out.Attributes = append(out.Attributes, a)
	}
	if err := s.addRDN(out); err != nil {
		return nil, err
	}
	return out, nil
}

// addRDN puts the values of the entry's RDN among its attributes, as slapd does,
// and gives its types their canonical names.
func (s *Schema) addRDN(e *ldap.Entry) error {
	if len(e.DN) == 0 {
		return nil
	}
	e.DN = slices.Clone(e.DN)
	e.DN[0] = slices.Clone(e.DN[0])
	for i, ava := range e.DN[0] {
		t := s.Attribute(ava.Type)
		if t == nil {
			return ldap.Errorf(ldap.UndefinedAttributeType, "%s: attribute type undefined", ava.Type)
		}
		e.DN[0][i].Type = t.Name()
		value := []byte(ava.Value)
		a := e.Attribute(t.Name())
		if a == nil {
			a = &ldap.Attribute{Desc: t.Name(), Values: [][]byte{value}}
			e.Attributes = append(e.Attributes, *a)
		} else if !s.HasValue(t, a.Values, value) {
			a.Values = append(slices.Clone(a.Values), value)
		}
		if err := s.checkValues(t, *a); err != nil {
			return ldap.Errorf(ldap.NamingViolation, "naming attribute %s", strings.TrimSpace(err.(*ldap.Error).Text))
		}
	}
	return nil
}

// HasValue tells whether values hold one equal to v.
func (s *Schema) HasValue(t *AttributeType, values [][]byte, v []byte) bool {
	key := s.ValueKey(t, v)
	return slices.ContainsFunc(values, func(have []byte) bool { return bytes.Equal(s.ValueKey(t, have), key) })
}
