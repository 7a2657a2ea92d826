package mailauth

import "strings"

// Field returns the Authentication-Results field of a report (RFC 8601 §2.2),
// folded, with its line end.
func (r *Report) Field() []byte {
	var b strings.Builder
	b.WriteString("Authentication-Results: " + r.Hostname)
	b.WriteString(";\r\n\tspf=" + string(r.SPF.Result))
	property(&b, map[bool]string{false: "smtp.mailfrom", true: "smtp.helo"}[r.SPF.Helo], r.SPF.Domain)
	for _, s := range r.DKIM {
		b.WriteString(";\r\n\tdkim=" + string(s.Result))
		property(&b, "reason", s.Reason)
		property(&b, "header.d", s.Domain)
		property(&b, "header.s", s.Selector)
		property(&b, "header.a", s.Algorithm)
		property(&b, "header.b", s.Start)
	}
	if len(r.DKIM) == 0 {
		b.WriteString(";\r\n\tdkim=none")
	}
	b.WriteString(";\r\n\tdmarc=" + string(r.DMARC.Result))
	if r.DMARC.Policy != "" {
		b.WriteString(" (p=" + r.DMARC.Policy + ")")
	}
	property(&b, "header.from", r.DMARC.Domain)
	b.WriteString("\r\n")
	return []byte(b.String())
}

// Summary returns the results in a few words, for a log.
func (r *Report) Summary() string {
	dkim := None
	for i, s := range r.DKIM {
		if i == 0 || s.Result == Pass {
			dkim = s.Result
		}
	}
	return "spf=" + string(r.SPF.Result) + " dkim=" + string(dkim) + " dmarc=" + string(r.DMARC.Result)
}

// property appends a property that has a value; what is no token is quoted, and
// what no field may hold is left out.
func property(b *strings.Builder, name, value string) {
	quote := false
	clean := strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return -1
		}
		quote = quote || strings.ContainsRune(" ()<>@,;:/[]?=", c)
		return c
	}, value)
	if clean == "" {
		return
	}
	if len(clean) > 253 {
		clean = clean[:253]
	}
	sep := " "
	if name == "reason" || strings.HasPrefix(name, "header.d") && len(clean) > 60 {
		sep = "\r\n\t\t"
	}
	if quote {
		clean = `"` + clean + `"`
	}
	b.WriteString(sep + name + "=" + clean)
}

// Forged tells whether an Authentication-Results field that starts with this
// value claims to be from hostname, or does not say on its first line whom it
// is from, so that it might (RFC 8601 §5).
func Forged(value []byte, hostname string) bool {
	id := strings.TrimSpace(string(value))
	if i := strings.IndexAny(id, "; \t\r\n("); i >= 0 {
		id = id[:i]
	}
	return id == "" || id[0] == '"' || strings.EqualFold(strings.TrimSuffix(id, "."), hostname)
}
