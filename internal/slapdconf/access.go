package slapdconf

import (
	"regexp"
	"strings"

	"expost/internal/directory/access"
	"expost/internal/ldap"
)

// access takes "access to what by who level…".
func (r *reader) access(d directive, args []string) {
	if len(args) > 0 && strings.EqualFold(args[0], "to") {
		args = args[1:]
	}
	rule := Rule{Place: d.place}
	for len(args) > 0 && !strings.EqualFold(args[0], "by") {
		rule.what(args[0])
		args = args[1:]
	}
	for len(args) > 0 {
		args = args[1:] // "by"
		n := 0
		for n < len(args) && !strings.EqualFold(args[n], "by") {
			n++
		}
		r.by(d, &rule, args[:n])
		args = args[n:]
	}
	switch {
	case rule.Left != "":
		r.issue(d, "this access rule is left out: %s", rule.Left)
	case len(rule.By) == 0:
		rule.By = []string{"* none"}
	}
	r.Rules = append(r.Rules, rule)
}

// what takes a part of what a rule is about.
func (r *Rule) what(word string) {
	key, value, found := strings.Cut(word, "=")
	key = strings.ToLower(key)
	kind, style, _ := strings.Cut(key, ".")
	switch {
	case word == "*" || word == "dn=*" || word == "dn=.*" || word == "dn.regex=.*":
	case !found:
		r.Left = word + " is not understood"
	case kind == "dn":
		r.where(style, value)
	case kind == "filter":
		if _, err := ldap.ParseFilter(value); err != nil {
			r.Left = err.Error()
		}
		r.Filter = value
	case key == "attr" || key == "attrs":
		r.Attributes = strings.Split(value, ",")
	case kind == "val" || strings.HasPrefix(kind, "val/"):
		r.value(style, value)
	default:
		r.Left = key + " has no counterpart here"
	}
}

// value takes "val.style=value". What the styles of DNs mean is a pattern here.
func (r *Rule) value(style, value string) {
	above, isDN := map[string]string{"one": "^[^,]+,", "onelevel": "^[^,]+,", "sub": "^(.+,)?", "subtree": "^(.+,)?", "children": "^.+,"}[style]
	switch {
	case isDN:
		dn, err := ldap.ParseDN(value)
		if err != nil {
			r.Left = err.Error()
			return
		}
		r.ValueRegex = above + regexp.QuoteMeta(strings.ToLower(dn.String())) + "$"
	case style == "regex":
		if _, err := access.Compile(value); err != nil {
			r.Left = err.Error()
		}
		r.ValueRegex = value
	case style == "" || style == "exact" || style == "base":
		r.Value = value
	default:
		r.Left = "the style val." + style + " is not known"
	}
}

// where takes a DN. The regular expressions that stand for a subtree, which is
// what OpenLDAP 2.0 had for it, are taken as that.
func (r *Rule) where(style, value string) {
	if style == "regex" || style == "" && strings.ContainsAny(value, "*^$") {
		r.pattern(value)
		return
	}
	scope, ok := access.ParseScope(style, access.Base)
	if !ok {
		r.Left = "the style " + style + " is not known"
		return
	}
	if _, err := ldap.ParseDN(value); err != nil {
		r.Left = err.Error()
	}
	r.DN, r.Scope = value, scope
}

// pattern takes a regular expression of DNs.
func (r *Rule) pattern(value string) {
	if _, err := access.Compile(value); err != nil {
		r.Left = err.Error()
		return
	}
	rest, scope := strings.TrimSuffix(value, "$"), access.Base
	ends := rest != value
	for _, start := range []struct {
		text  string
		scope access.Scope
	}{{"^(.+,)?", access.Subtree}, {"(.*,)?", access.Subtree}, {".*,", access.Children}, {".+,", access.Children}, {".*", access.Subtree}, {"^", access.Base}} {
		if after, found := strings.CutPrefix(rest, start.text); found {
			rest, scope = after, start.scope
			break
		}
	}
	if _, err := ldap.ParseDN(rest); err != nil || strings.ContainsAny(rest, `*+?[](){}^$|\`) || scope == access.Base && !ends {
		r.Regex = value
		return
	}
	r.DN, r.Scope = rest, scope
}

// by takes who may do what. One that cannot be taken ends the rule: what stands
// behind it in slapd is for others than those whom it names, and here they could
// not be told apart.
func (r *reader) by(d directive, rule *Rule, words []string) {
	if rule.ended {
		return
	}
	for i, w := range words {
		if strings.ContainsAny(w, " \t\"") {
			key, value, found := strings.Cut(w, "=")
			if !found {
				key, value = "", w
			} else {
				key += "="
			}
			words[i] = key + `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value) + `"`
		}
	}
	text := strings.Join(words, " ")
	if _, err := access.ParseBy(text); err != nil {
		r.issue(d, "by %s: %v; it and what follows in the rule is left out, so that nobody has more than before: write what you want in its place", text, err)
		rule.By, rule.ended = append(rule.By, "* none"), true
		return
	}
	rule.By = append(rule.By, text)
}
