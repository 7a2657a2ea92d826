package ldapserver

import (
	"expost/internal/ldap"
	"expost/internal/schema"
)

// valueTest tells whether a value is one of those wanted.
type valueTest func(value []byte, scratch *[]byte) bool

// withMatching returns e with the values that one of the filters is true for
// (RFC 3876 §2).
func (s *Server) withMatching(e *ldap.Entry, filters []*ldap.Filter) *ldap.Entry {
	picked := &ldap.Entry{DN: e.DN}
	var scratch []byte
	for _, a := range e.Attributes {
		desc, ok := s.cfg.Schema.Describe(a.Desc)
		if !ok {
			continue
		}
		tests := s.valueTests(desc, filters)
		kept := ldap.Attribute{Desc: a.Desc}
		for _, v := range a.Values {
			for _, test := range tests {
				if test(v, &scratch) {
					kept.Values = append(kept.Values, v)
					break
				}
			}
		}
		if kept.Values != nil {
			picked.Attributes = append(picked.Attributes, kept)
		}
	}
	return picked
}

// valueTests returns the tests of those filters that are about an attribute.
func (s *Server) valueTests(desc schema.Description, filters []*ldap.Filter) []valueTest {
	var tests []valueTest
	for _, f := range filters {
		of, ok := s.cfg.Schema.Describe(f.Attr)
		switch rule := s.cfg.Schema.Rule(f.Rule); {
		case f.Attr == "" && rule != nil && rule.Suits(desc.Type):
			// an extensible filter about every attribute that its rule suits
		case !ok || !desc.IsA(of):
			continue
		case f.Op == ldap.FilterPresent:
			tests = append(tests, func([]byte, *[]byte) bool { return true })
			continue
		}
		if assertion, ok := s.cfg.Schema.Assert(desc.Type, f); ok {
			tests = append(tests, assertion.Match)
		}
	}
	return tests
}
