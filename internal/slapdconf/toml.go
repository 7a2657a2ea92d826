package slapdconf

import (
	"fmt"
	"strconv"
	"strings"

	"expost/internal/directory/access"
)

// TOML returns the keys of expost.toml.
func (c *Config) TOML() string {
	var b strings.Builder
	b.WriteString("[directory]\n")
	if len(c.Suffix) > 0 {
		fmt.Fprintf(&b, "suffix = %s\n", quote(c.Suffix[0]))
	}
	if c.RootDN != "" {
		fmt.Fprintf(&b, "root-dn = %s\n", quote(c.RootDN))
	}
	if c.RootPW != "" {
		b.WriteString("# rootpw belongs into a file of its own, which root-password-file names\n")
	}
	if c.AllowV2 {
		b.WriteString("allow-v2 = true\n")
	}
	list(&b, "schema", c.Schema)
	list(&b, "index", c.Index)
	for i := range c.Rules {
		c.Rules[i].write(&b)
	}
	if len(c.Rules) > 0 {
		b.WriteString("\n# slapd grants nothing else\n[[directory.access]]\nby = [\"* none\"]\n")
	}
	return b.String()
}

func quote(s string) string {
	if strings.ContainsAny(s, `"\`) && !strings.ContainsAny(s, "'\n\t") {
		return "'" + s + "'"
	}
	return strconv.Quote(s)
}

func list(b *strings.Builder, key string, values []string) {
	if len(values) == 0 {
		return
	}
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = quote(v)
	}
	fmt.Fprintf(b, "%s = [%s]\n", key, strings.Join(quoted, ", "))
}

func (r *Rule) write(b *strings.Builder) {
	if r.Left != "" {
		fmt.Fprintf(b, "\n# %s is left out: %s\n", r.Place, r.Left)
		return
	}
	fmt.Fprintf(b, "\n# %s\n[[directory.access]]\n", r.Place)
	if r.DN != "" {
		key := map[access.Scope]string{access.Base: "dn", access.One: "one", access.Subtree: "subtree", access.Children: "children"}[r.Scope]
		fmt.Fprintf(b, "%s = %s\n", key, quote(r.DN))
	}
	for _, k := range []struct{ key, value string }{{"regex", r.Regex}, {"filter", r.Filter}, {"value", r.Value}, {"value-regex", r.ValueRegex}} {
		if k.value != "" {
			fmt.Fprintf(b, "%s = %s\n", k.key, quote(k.value))
		}
	}
	list(b, "attributes", r.Attributes)
	list(b, "by", r.By)
}

// WithPasswordFile returns the keys with the name of the file that the root's
// password was written to.
func WithPasswordFile(text, file string) string {
	return strings.Replace(text, "# rootpw belongs into a file of its own, which root-password-file names\n", "root-password-file = "+quote(file)+"\n", 1)
}
