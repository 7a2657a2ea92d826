package schema

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// statement is one definition of a schema file.
type statement struct {
	keyword string // in lower case
	line    int
	tokens  []string
}

// add reads a file of definitions as OpenLDAP writes them. Object classes may
// name attributes that stand further down.
func (s *Schema) add(file, text string) error {
	statements, err := split(text)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for _, pass := range []func(statement) error{s.addMacro, s.addAttribute, s.addClass} {
		for _, st := range statements {
			if err := pass(st); err != nil {
				return fmt.Errorf("%s:%d: %w", file, st.line, err)
			}
		}
	}
	return nil
}

// split cuts a file into statements: a line that starts with a space continues
// the one before, within a quoted string too; "#" starts a comment line.
func split(text string) ([]statement, error) {
	type logical struct {
		line int
		text strings.Builder
	}
	var lines []*logical
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimRight(line, "\r")
		if trimmed := strings.TrimSpace(line); trimmed == "" || trimmed[0] == '#' {
			continue
		}
		if line[0] != ' ' && line[0] != '\t' {
			lines = append(lines, &logical{line: i + 1})
		} else if len(lines) == 0 {
			return nil, fmt.Errorf("line %d continues nothing", i+1)
		}
		last := &lines[len(lines)-1].text
		last.WriteString(line)
		last.WriteByte(' ')
	}
	list := make([]statement, 0, len(lines))
	for _, l := range lines {
		tokens, err := tokenize(l.text.String())
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", l.line, err)
		}
		list = append(list, statement{strings.ToLower(strings.TrimSuffix(tokens[0], ":")), l.line, tokens[1:]})
	}
	return list, nil
}

// tokenize cuts a definition into words, quoted strings (with a
// leading quote kept as the mark of one), "(", ")" and "$".
func tokenize(line string) ([]string, error) {
	var tokens []string
	for i := 0; i < len(line); {
		switch c := line[i]; c {
		case ' ', '\t':
			i++
		case '(', ')', '$':
			tokens = append(tokens, line[i:i+1])
			i++
		case '\'':
			n := strings.IndexByte(line[i+1:], '\'')
			if n < 0 {
				return nil, fmt.Errorf("a quote that does not end")
			}
			tokens = append(tokens, line[i:i+1+n])
			i += n + 2
		default:
			n := strings.IndexAny(line[i:], " \t()$'")
			if n < 0 {
				n = len(line) - i
			}
			tokens = append(tokens, line[i:i+n])
			i += n
		}
	}
	return tokens, nil
}

// definition is "( OID KEY value KEY ( value $ value ) FLAG … )".
type definition struct {
	oid    string
	fields map[string][]string // by key in upper case; a flag has no value
}

// flags are the keys without a value.
func isFlag(key string) bool {
	switch key {
	case "OBSOLETE", "SINGLE-VALUE", "COLLECTIVE", "NO-USER-MODIFICATION", "ABSTRACT", "STRUCTURAL", "AUXILIARY":
		return true
	}
	return false
}

// parseDefinition reads the tokens of a definition.
func parseDefinition(tokens []string) (definition, error) {
	if len(tokens) < 3 || tokens[0] != "(" || tokens[len(tokens)-1] != ")" {
		return definition{}, fmt.Errorf("a definition stands in parentheses")
	}
	tokens = tokens[1 : len(tokens)-1]
	d := definition{oid: unquote(tokens[0]), fields: map[string][]string{}}
	for tokens = tokens[1:]; len(tokens) > 0; {
		key := strings.ToUpper(tokens[0])
		tokens = tokens[1:]
		if isFlag(key) {
			d.fields[key] = []string{}
			continue
		}
		values, rest, err := parseValues(tokens)
		if err != nil {
			return d, fmt.Errorf("%s of %s: %w", key, d.oid, err)
		}
		d.fields[key] = values
		tokens = rest
	}
	return d, nil
}

// parseValues reads one value, or several in parentheses.
func parseValues(tokens []string) (values, rest []string, err error) {
	if len(tokens) == 0 {
		return nil, nil, fmt.Errorf("no value")
	}
	if tokens[0] != "(" {
		return []string{unquote(tokens[0])}, tokens[1:], nil
	}
	end := slices.Index(tokens, ")")
	if end < 0 {
		return nil, nil, fmt.Errorf("a parenthesis that does not close")
	}
	for _, t := range tokens[1:end] {
		if t != "$" {
			values = append(values, unquote(t))
		}
	}
	return values, tokens[end+1:], nil
}

func unquote(token string) string { return strings.TrimPrefix(token, "'") }

func (d definition) has(key string) bool { return d.fields[key] != nil }

func (d definition) first(key string) string {
	if v := d.fields[key]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// addMacro reads "objectidentifier name OID".
func (s *Schema) addMacro(st statement) error {
	if st.keyword != "objectidentifier" {
		return nil
	}
	if len(st.tokens) != 2 {
		return fmt.Errorf("objectidentifier takes a name and an OID")
	}
	s.macros[strings.ToLower(st.tokens[0])] = s.expand(st.tokens[1])
	return nil
}

// expand replaces "macro:rest" and "macro".
func (s *Schema) expand(oid string) string {
	name, rest, found := strings.Cut(oid, ":")
	base, ok := s.macros[strings.ToLower(name)]
	switch {
	case !ok:
		return oid
	case found:
		return base + "." + rest
	}
	return base
}

// addAttribute reads "attributetype ( … )".
func (s *Schema) addAttribute(st statement) error {
	if st.keyword != "attributetype" && st.keyword != "attributetypes" && st.keyword != "olcattributetypes" {
		return nil
	}
	def, err := parseDefinition(st.tokens)
	if err != nil {
		return err
	}
	a := &AttributeType{
		OID: s.expand(def.oid), Names: def.fields["NAME"],
		SingleValue: def.has("SINGLE-VALUE"), NoUserMod: def.has("NO-USER-MODIFICATION"),
	}
	if s.aliasAttribute(a) {
		return nil
	}
	if err := s.linkAttribute(a, def); err != nil {
		return fmt.Errorf("attribute type %s: %w", a.Name(), err)
	}
	a.ID = len(s.attributeList)
	a.text = a.definition()
	s.attributeList = append(s.attributeList, a)
	for _, key := range append([]string{a.OID}, a.Names...) {
		s.attributes[strings.ToLower(key)] = a
	}
	return nil
}

// aliasAttribute makes a definition of what is there already, by name or by
// OID, one more alias of it: mailHost has one OID from Netscape and one from
// qmail-ldap, and data of both must go in.
func (s *Schema) aliasAttribute(a *AttributeType) bool {
	keys := append([]string{a.OID}, a.Names...)
	i := slices.IndexFunc(keys, func(k string) bool { return s.Attribute(k) != nil })
	if i < 0 {
		return false
	}
	have := s.Attribute(keys[i])
	for _, key := range keys {
		if s.Attribute(key) == nil {
			s.attributes[strings.ToLower(key)] = have
		}
	}
	return true
}

// linkAttribute resolves what a definition names, and inherits from SUP what it
// does not. A matching rule that nobody knows is as none.
func (s *Schema) linkAttribute(a *AttributeType, def definition) error {
	if name := def.first("SUP"); name != "" {
		if a.Sup = s.Attribute(s.expand(name)); a.Sup == nil {
			return fmt.Errorf("SUP %q is not defined", name)
		}
		a.Equality, a.Ordering, a.Substrings = a.Sup.Equality, a.Sup.Ordering, a.Sup.Substrings
		a.Syntax, a.MaxLength = a.Sup.Syntax, a.Sup.MaxLength
	}
	for key, rule := range map[string]**MatchingRule{"EQUALITY": &a.Equality, "ORDERING": &a.Ordering, "SUBSTR": &a.Substrings} {
		if name := def.first(key); name != "" {
			*rule = s.Rule(s.expand(name))
		}
	}
	if oid, length, _ := strings.Cut(strings.TrimSuffix(def.first("SYNTAX"), "}"), "{"); oid != "" {
		a.Syntax = s.syntax(s.expand(oid))
		a.MaxLength, _ = strconv.Atoi(length)
	}
	if a.Syntax == nil {
		return fmt.Errorf("it has neither SYNTAX nor SUP")
	}
	switch strings.ToLower(def.first("USAGE")) {
	case "directoryoperation":
		a.Usage = DirectoryOperation
	case "distributedoperation":
		a.Usage = DistributedOperation
	case "dsaoperation":
		a.Usage = DSAOperation
	}
	return nil
}

// addClass reads "objectclass ( … )".
func (s *Schema) addClass(st statement) error {
	if st.keyword != "objectclass" && st.keyword != "objectclasses" && st.keyword != "olcobjectclasses" {
		return nil
	}
	def, err := parseDefinition(st.tokens)
	if err != nil {
		return err
	}
	c := &ObjectClass{OID: s.expand(def.oid), Names: def.fields["NAME"]}
	for _, key := range append([]string{c.OID}, c.Names...) {
		if s.Class(key) != nil {
			return nil // the first definition holds
		}
	}
	switch {
	case def.has("ABSTRACT"):
		c.Kind = Abstract
	case def.has("AUXILIARY"):
		c.Kind = Auxiliary
	}
	for _, name := range def.fields["SUP"] {
		sup := s.Class(s.expand(name))
		if sup == nil {
			return fmt.Errorf("object class %s: SUP %q is not defined", c.Name(), name)
		}
		c.Sups = append(c.Sups, sup)
	}
	for key, list := range map[string]*[]*AttributeType{"MUST": &c.Must, "MAY": &c.May} {
		for _, name := range def.fields[key] {
			a := s.Attribute(s.expand(name))
			if a == nil {
				return fmt.Errorf("object class %s: attribute %q is not defined", c.Name(), name)
			}
			*list = append(*list, a)
		}
	}
	c.ID = len(s.classList)
	c.text = c.definition()
	s.classList = append(s.classList, c)
	for _, key := range append([]string{c.OID}, c.Names...) {
		s.classes[strings.ToLower(key)] = c
	}
	return nil
}
