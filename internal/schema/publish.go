package schema

import (
	"strconv"
	"strings"

	"expost/internal/ldap"
)

// Subschema returns the attributes of the subschema entry (RFC 4512 §4.2):
// attributeTypes, objectClasses, matchingRules and ldapSyntaxes.
func (s *Schema) Subschema() []ldap.Attribute {
	var syntaxes, rules, attributes, classes []string
	for _, x := range s.syntaxList {
		syntaxes = append(syntaxes, "( "+x.OID+" DESC '"+x.Name+"' )")
	}
	for _, r := range s.ruleList {
		rules = append(rules, "( "+r.OID+" NAME '"+r.Name+"' SYNTAX "+r.SyntaxOID+" )")
	}
	for _, a := range s.attributeList {
		attributes = append(attributes, a.text)
	}
	for _, c := range s.classList {
		classes = append(classes, c.text)
	}
	return []ldap.Attribute{
		ldap.NewAttribute("ldapSyntaxes", syntaxes...),
		ldap.NewAttribute("matchingRules", rules...),
		ldap.NewAttribute("attributeTypes", attributes...),
		ldap.NewAttribute("objectClasses", classes...),
	}
}

// definition returns the description of RFC 4512 §4.1.2, with the inherited
// parts left to SUP.
func (a *AttributeType) definition() string {
	var b strings.Builder
	b.WriteString("( " + a.OID)
	writeNames(&b, a.Names)
	if a.Sup != nil {
		b.WriteString(" SUP " + a.Sup.Name())
	}
	inherited := AttributeType{}
	if a.Sup != nil {
		inherited = *a.Sup
	}
	for _, r := range []struct {
		key       string
		rule, sup *MatchingRule
	}{
		{" EQUALITY ", a.Equality, inherited.Equality},
		{" ORDERING ", a.Ordering, inherited.Ordering},
		{" SUBSTR ", a.Substrings, inherited.Substrings},
	} {
		if r.rule != nil && r.rule != r.sup {
			b.WriteString(r.key + r.rule.Name)
		}
	}
	if a.Syntax != inherited.Syntax {
		b.WriteString(" SYNTAX " + a.Syntax.OID)
		if a.MaxLength > 0 {
			b.WriteString("{" + strconv.Itoa(a.MaxLength) + "}")
		}
	}
	if a.SingleValue {
		b.WriteString(" SINGLE-VALUE")
	}
	if a.NoUserMod {
		b.WriteString(" NO-USER-MODIFICATION")
	}
	b.WriteString([...]string{"", " USAGE directoryOperation", " USAGE distributedOperation", " USAGE dSAOperation"}[a.Usage])
	b.WriteString(" )")
	return b.String()
}

// definition returns the description of RFC 4512 §4.1.1.
func (c *ObjectClass) definition() string {
	var b strings.Builder
	b.WriteString("( " + c.OID)
	writeNames(&b, c.Names)
	writeList(&b, " SUP ", c.Sups)
	b.WriteString([...]string{" STRUCTURAL", " ABSTRACT", " AUXILIARY"}[c.Kind])
	writeList(&b, " MUST ", c.Must)
	writeList(&b, " MAY ", c.May)
	b.WriteString(" )")
	return b.String()
}

func writeNames(b *strings.Builder, names []string) {
	switch len(names) {
	case 0:
	case 1:
		b.WriteString(" NAME '" + names[0] + "'")
	default:
		b.WriteString(" NAME ( '" + strings.Join(names, "' '") + "' )")
	}
}

func writeList[T interface{ Name() string }](b *strings.Builder, key string, list []T) {
	if len(list) == 0 {
		return
	}
	names := make([]string, len(list))
	for i, x := range list {
		names[i] = x.Name()
	}
	if len(names) == 1 {
		b.WriteString(key + names[0])
		return
	}
	b.WriteString(key + "( " + strings.Join(names, " $ ") + " )")
}
