package ldapserver

import (
	"slices"
	"strings"

	"expost/internal/ldap"
	"expost/internal/ldapwire"
	"expost/internal/schema"
)

// specialEntries are the entries that are the server's and not the
// directory's: the root DSE (RFC 4512 §5.1) and the subschema (§4.2).
type specialEntries struct {
	cfg       *Config
	subschema *ldap.Entry
	key       string // of the subschema's DN
}

func newSpecialEntries(cfg *Config) specialEntries {
	dn := ldap.DN{{{Type: "cn", Value: "Subschema"}}}
	e := &ldap.Entry{DN: dn, Attributes: append([]ldap.Attribute{
		ldap.NewAttribute("objectClass", "top", "subentry", "subschema", "extensibleObject"),
		ldap.NewAttribute("cn", "Subschema"),
		ldap.NewAttribute("structuralObjectClass", "subentry"),
		ldap.NewAttribute("entryDN", dn.String()),
		ldap.NewAttribute("subschemaSubentry", dn.String()),
	}, cfg.Schema.Subschema()...)}
	return specialEntries{cfg: cfg, subschema: e, key: dn.Key(cfg.Schema)}
}

// entry returns the special entry that a search is about, or nil.
func (s *specialEntries) entry(c *conn, r *ldap.SearchRequest) *ldap.Entry {
	switch {
	case len(r.Base) == 0 && r.Scope == ldap.ScopeBase:
		return s.rootDSE(c)
	case len(r.Base) == 1 && r.Base.Key(s.cfg.Schema) == s.key:
		return s.subschema
	}
	return nil
}

// has tells whether a DN is that of a special entry.
func (s *specialEntries) has(dn ldap.DN) bool {
	return len(dn) == 0 || len(dn) == 1 && dn.Key(s.cfg.Schema) == s.key
}

// rootDSE returns the root DSE as this connection sees it.
func (s *specialEntries) rootDSE(c *conn) *ldap.Entry {
	suffix := s.cfg.Directory.Suffix().String()
	e := &ldap.Entry{DN: ldap.DN{}, Attributes: []ldap.Attribute{
		ldap.NewAttribute("objectClass", "top"),
		ldap.NewAttribute("namingContexts", suffix),
		ldap.NewAttribute("defaultNamingContext", suffix),
		ldap.NewAttribute("subschemaSubentry", s.subschema.DN.String()),
		ldap.NewAttribute("supportedControl", supportedControls(controlKinds(), s.cfg.Directory)...),
		ldap.NewAttribute("supportedFeatures",
			"1.3.6.1.1.14",            // increment, RFC 4525
			"1.3.6.1.4.1.4203.1.5.1",  // "+" asks for all operational attributes, RFC 3673
			"1.3.6.1.4.1.4203.1.5.2",  // "@class" asks for a class's attributes, RFC 4529
			"1.3.6.1.4.1.4203.1.5.3",  // true and false filters, RFC 4526
			"1.3.6.1.4.1.4203.1.5.4",  // language tags, RFC 3866
			"1.3.6.1.4.1.4203.1.5.5"), // language ranges
		ldap.NewAttribute("vendorName", "Expost"),
	}}
	add := func(desc string, values ...string) {
		if len(values) > 0 {
			e.Attributes = append(e.Attributes, ldap.NewAttribute(desc, values...))
		}
	}
	extensions, versions := []string{ldapwire.OIDWhoAmI, ldapwire.OIDPasswordModify, ldapwire.OIDCancel}, []string{"3"}
	if s.cfg.TLSConfig != nil {
		extensions = append(extensions, ldapwire.OIDStartTLS)
	}
	if s.cfg.AllowV2 {
		versions = append(versions, "2")
	}
	add("supportedExtension", extensions...)
	add("supportedLDAPVersion", versions...)
	add("supportedSASLMechanisms", c.mechanisms()...)
	if s.cfg.Version != "" {
		add("vendorVersion", s.cfg.Version)
	}
	return e
}

// search yields a special entry if it matches, reduced to what is asked for.
func (s *specialEntries) search(e *ldap.Entry, r *ldap.SearchRequest, yield func(*ldap.Entry) error) error {
	if r.Scope == ldap.ScopeOne || s.matches(e, r.Filter) != isTrue {
		return nil
	}
	return yield(s.selected(e, r.Attributes))
}

// selected returns e with the attributes asked for: "*" all user attributes,
// which is also what an empty list asks for, "+" all operational ones, "1.1"
// none (RFC 4511 §4.5.1.8).
func (s *specialEntries) selected(e *ldap.Entry, asked []string) *ldap.Entry {
	user := len(asked) == 0 || slices.Contains(asked, "*")
	operational := slices.Contains(asked, "+")
	picked := &ldap.Entry{DN: e.DN}
	for _, a := range e.Attributes {
		t := s.cfg.Schema.Attribute(a.Desc)
		byName := slices.ContainsFunc(asked, func(name string) bool {
			return strings.EqualFold(name, a.Desc) || t != nil && s.cfg.Schema.Attribute(name) == t
		})
		// None of the root DSE's attributes is a user attribute but objectClass.
		isUser := t != nil && !t.Operational()
		if byName || isUser && user || !isUser && operational {
			picked.Attributes = append(picked.Attributes, a)
		}
	}
	return picked
}

// truth is a value of the three-valued logic of filters (RFC 4511 §4.5.1.7),
// in an order in which "and" is the least and "or" the greatest.
type truth int

const (
	isFalse truth = iota
	undefined
	isTrue
)

// matches evaluates a filter on a special entry.
func (s *specialEntries) matches(e *ldap.Entry, f *ldap.Filter) truth {
	switch f.Op {
	case ldap.FilterAnd:
		all := isTrue
		for _, sub := range f.Subs {
			all = min(all, s.matches(e, sub))
		}
		return all
	case ldap.FilterOr:
		some := isFalse
		for _, sub := range f.Subs {
			some = max(some, s.matches(e, sub))
		}
		return some
	case ldap.FilterNot:
		return isTrue - s.matches(e, f.Subs[0])
	}
	t := s.cfg.Schema.Attribute(f.Attr)
	if t == nil {
		return undefined
	}
	return s.matchesOne(e, t, f)
}

// matchesOne evaluates a simple filter about an attribute type.
func (s *specialEntries) matchesOne(e *ldap.Entry, t *schema.AttributeType, f *ldap.Filter) truth {
	a := e.Attribute(t.Name())
	if f.Op == ldap.FilterPresent {
		if a == nil {
			return isFalse
		}
		return isTrue
	}
	assertion, ok := s.cfg.Schema.Assert(t, f)
	switch {
	case !ok:
		return undefined
	case a == nil:
		return isFalse
	}
	var scratch []byte
	if slices.ContainsFunc(a.Values, func(v []byte) bool { return assertion.Match(v, &scratch) }) {
		return isTrue
	}
	return isFalse
}
