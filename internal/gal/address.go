package gal

import (
	"fmt"
	"strings"

	"golang.org/x/net/idna"

	"expost/internal/mail"
)

// addAddresses adds the SMTP addresses in text: "a@b", "SMTP:a@b", "Name
// <a@b>", "mailto:a@b", or several with ";" or "," between. What is no
// address is kept as such in the description, and reported.
func (rd *reader) addAddresses(r *Recipient, text string, line int) {
	for _, part := range splitAddresses(text) {
		addr, did, err := cleanAddress(part)
		switch {
		case err != nil:
			rd.issue(line, Warning, "e-mail", err.Error(), "kept in the description")
			r.Add(unknownField("E-mail Address"), part, line)
		default:
			if did != "" {
				rd.issue(line, Info, "e-mail", fmt.Sprintf("the address is written %q", part), did)
			}
			r.addEmail(addr, line)
		}
	}
}

// addEmail adds an address unless the recipient has it already, in whatever case.
func (r *Recipient) addEmail(addr string, line int) {
	for _, a := range r.All(Email) {
		if addressKey(a) == addressKey(addr) {
			return
		}
	}
	r.Add(Email, addr, line)
}

// addressKey returns the form in which addresses are compared.
func addressKey(a string) string { return mail.Address(a).Key() }

// splitAddresses splits a list of addresses at ";" and ",", unless a quote or
// an angle bracket is open.
func splitAddresses(s string) []string {
	var out []string
	start, quoted, angle := 0, false, false
	cut := func(i int) {
		if p := strings.TrimSpace(s[start:i]); p != "" {
			out = append(out, p)
		}
		start = i + 1
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"':
			quoted = !quoted
		case c == '<':
			angle = true
		case c == '>':
			angle = false
		case (c == ';' || c == '\n' || c == ',' && strings.Contains(s[start:i], "@")) && !quoted && !angle:
			cut(i)
		}
	}
	cut(len(s))
	return out
}

// cleanAddress returns the bare address in s, and what was done to it.
func cleanAddress(s string) (addr, did string, err error) {
	a := strings.TrimSpace(s)
	if i := strings.LastIndexByte(a, '<'); i >= 0 {
		if j := strings.IndexByte(a[i:], '>'); j > 0 {
			a = a[i+1 : i+j]
		}
	}
	for _, p := range []string{"mailto:", "smtp:", "e-mail:"} {
		if len(a) > len(p) && strings.EqualFold(a[:len(p)], p) {
			a = a[len(p):]
		}
	}
	a = strings.TrimSpace(strings.Trim(strings.TrimSpace(a), "'"))
	at := strings.LastIndexByte(a, '@')
	if at <= 0 || at == len(a)-1 {
		return "", "", fmt.Errorf("%q is not a mail address", clip(s))
	}
	local, domain := a[:at], strings.TrimSuffix(a[at+1:], ".")
	if !ascii(local) {
		return "", "", fmt.Errorf("%q has characters before the @ that a directory cannot hold in an address", clip(s))
	}
	if !ascii(domain) {
		if domain, err = idna.Lookup.ToASCII(domain); err != nil {
			return "", "", fmt.Errorf("%q is not a mail address: its domain is not valid", clip(s))
		}
	}
	parsed, err := mail.ParseAddress(local + "@" + domain)
	if err != nil {
		return "", "", err
	}
	if string(parsed) != strings.TrimSpace(s) {
		did = "taken as " + string(parsed)
	}
	return string(parsed), did, nil
}

// ascii tells whether s has no byte beyond ASCII.
func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// isLegacyDN tells an Exchange address, "/o=Org/ou=Site/cn=Recipients/cn=user".
func isLegacyDN(s string) bool {
	l := strings.ToLower(s)
	return strings.HasPrefix(l, "/o=") || strings.HasPrefix(l, "ex:/o=")
}
