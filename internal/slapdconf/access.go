package slapdconf

import (
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
	default:
		r.Left = key + " has no counterpart here"
	}
}

// where takes a DN. The regular expressions that stand for a subtree, which is
// what OpenLDAP 2.0 had for it, are taken as that.
func (r *Rule) where(style, value string) {
	scope, ok := access.ParseScope(style, access.Base)
	switch {
	case style == "regex" || style == "" && strings.ContainsAny(value, "*^$"):
		rest := strings.TrimSuffix(value, "$")
		if after, found := strings.CutPrefix(rest, ".*,"); found {
			rest, scope = after, access.Children
		} else if after, found := strings.CutPrefix(rest, "(.*,)?"); found {
			rest, scope = after, access.Subtree
		} else if after, found := strings.CutPrefix(rest, ".*"); found {
			rest, scope = after, access.Subtree
		} else {
			rest, scope = strings.TrimPrefix(rest, "^"), access.Base
		}
		if strings.ContainsAny(rest, `*+?[](){}^$|\`) {
			r.Left = "the regular expression " + value + " has no counterpart here"
			return
		}
		value = rest
	case !ok:
		r.Left = "the style " + style + " is not known"
		return
	}
	if _, err := ldap.ParseDN(value); err != nil {
		r.Left = err.Error()
	}
	r.DN, r.Scope = value, scope
}

// by takes who may do what.
func (r *reader) by(d directive, rule *Rule, words []string) {
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
	text = strings.Replace(text, "dn.regex=.* ", "users ", 1)
	if _, err := access.ParseBy(text); err != nil {
		r.issue(d, "by %s: %v; it is left out: look whether the rule is what you want without it", text, err)
		return
	}
	rule.By = append(rule.By, text)
}
