package config

import (
	"errors"
	"fmt"

	"expost/internal/directory/access"
	"expost/internal/ldap"
)

// Directory is the LDAP tree.
type Directory struct {
	Kind             string   `toml:"kind"` // embedded | ldap
	Suffix           string   `toml:"suffix"`
	RootDN           string   `toml:"root-dn"`
	RootPasswordFile string   `toml:"root-password-file"`
	Anonymous        []string `toml:"anonymous"` // subtrees that need no login
	AllowV2          bool     `toml:"allow-v2"`  // LDAPv2 binds, for programs of before 2000
	Schema           []string `toml:"schema"`    // files of definitions, as OpenLDAP writes them
	Index            []string `toml:"index"`     // "attribute,attribute eq,sub"
	Access           []Access `toml:"access"`
	LDAP             External `toml:"ldap"` // with kind ldap
	Copy             Copy     `toml:"copy"`
}

// Access is one access rule. Rules stand before the default ones, and the
// first about an attribute of an entry holds.
type Access struct {
	DN         string   `toml:"dn"`      // the entry alone
	Subtree    string   `toml:"subtree"` // it and all below it
	Children   string   `toml:"children"`
	One        string   `toml:"one"`   // those right below it
	Regex      string   `toml:"regex"` // those whose DN it matches
	Filter     string   `toml:"filter"`
	Attributes []string `toml:"attributes"`
	Value      string   `toml:"value"`       // of the attribute
	ValueRegex string   `toml:"value-regex"` // those that it matches
	By         []string `toml:"by"`          // "users read", "self write", "* none"
}

// files returns the keys that name files.
func (d *Directory) files() []*string {
	list := []*string{&d.RootPasswordFile, &d.LDAP.PasswordFile, &d.LDAP.CAFile, &d.Copy.PasswordFile, &d.Copy.CAFile}
	for i := range d.Schema {
		list = append(list, &d.Schema[i])
	}
	return list
}

func (d *Directory) check(wrong func(key, format string, args ...any) error) error {
	switch d.Kind {
	case "embedded":
	case "ldap":
		if err := d.LDAP.check(); err != nil {
			return wrong("directory.ldap", "%v", err)
		}
	default:
		return wrong("directory.kind", "%q is neither \"embedded\" nor \"ldap\"", d.Kind)
	}
	if err := checkDNs(append([]string{d.Suffix}, d.Anonymous...)); err != nil {
		return wrong("directory.suffix or directory.anonymous", "%v", err)
	}
	if err := checkDNs([]string{d.RootDN}); err != nil {
		return wrong("directory.root-dn", "%v", err)
	}
	if err := d.Copy.check(d.Kind); err != nil {
		return wrong("directory.copy", "%v", err)
	}
	if _, err := d.Rules(); err != nil {
		return wrong("directory.access", "%v", err)
	}
	return nil
}

// Rules returns the access rules.
func (d *Directory) Rules() ([]access.Rule, error) {
	var rules []access.Rule
	for i, a := range d.Access {
		r, err := a.rule()
		if err != nil {
			return nil, fmt.Errorf("rule %d: %w", i+1, err)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

func (a *Access) rule() (access.Rule, error) {
	r := access.Rule{Attributes: a.Attributes}
	for _, place := range []struct {
		dn    string
		scope access.Scope
	}{{a.DN, access.Base}, {a.Subtree, access.Subtree}, {a.Children, access.Children}, {a.One, access.One}} {
		if place.dn == "" {
			continue
		}
		if r.DN != nil {
			return r, errors.New("one of dn, subtree, children and one can be given")
		}
		dn, err := ldap.ParseDN(place.dn)
		if err != nil {
			return r, err
		}
		r.DN, r.Scope = dn, place.scope
	}
	if err := a.patterns(&r); err != nil {
		return r, err
	}
	if a.Filter != "" {
		var err error
		if r.Filter, err = ldap.ParseFilter(a.Filter); err != nil {
			return r, err
		}
	}
	if len(a.By) == 0 {
		return r, errors.New("by is missing: who may do what")
	}
	for _, text := range a.By {
		by, err := access.ParseBy(text)
		if err != nil {
			return r, err
		}
		r.By = append(r.By, by)
	}
	return r, nil
}

// patterns reads the regular expressions and the value of a rule.
func (a *Access) patterns(r *access.Rule) (err error) {
	if a.Regex != "" {
		if r.DN != nil {
			return errors.New("one of dn, subtree, children, one and regex can be given")
		}
		if r.Pattern, err = access.Compile(a.Regex); err != nil {
			return err
		}
	}
	switch {
	case a.Value != "" && a.ValueRegex != "":
		return errors.New("one of value and value-regex can be given")
	case (a.Value != "" || a.ValueRegex != "") && len(a.Attributes) != 1:
		return errors.New("a value wants one attribute")
	case a.Value != "":
		r.Value = &access.Value{Is: []byte(a.Value)}
	case a.ValueRegex != "":
		r.Value = &access.Value{}
		r.Value.Pattern, err = access.Compile(a.ValueRegex)
	}
	return err
}

// checkDNs returns the public text of what is wrong with the first bad DN.
func checkDNs(dns []string) error {
	for _, dn := range dns {
		if _, err := ldap.ParseDN(dn); err != nil {
			if le, ok := errors.AsType[*ldap.Error](err); ok {
				return errors.New(le.Text)
			}
			return err
		}
	}
	return nil
}
