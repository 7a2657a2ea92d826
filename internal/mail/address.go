package mail

import (
	"strings"

	"golang.org/x/net/idna"
)

// Address is a mail address without a display name: "ajay@linuxforu.com".
// It is kept as it was written; compare with Key.
type Address string

// ParseAddress checks s as a bare address (RFC 5321 §4.1.2 Mailbox, RFC 6531):
// one local part, an "@", a domain or an address literal. A quoted local part
// is unquoted where it needs no quotes.
func ParseAddress(s string) (Address, error) {
	at := strings.LastIndexByte(s, '@')
	if at <= 0 || at == len(s)-1 {
		return "", Errorf(KindInvalid, "%q is not a mail address: it must look like name@domain", s)
	}
	local, domain := s[:at], s[at+1:]
	if len(local) > 256 || len(domain) > 255 {
		return "", Errorf(KindInvalid, "mail address is too long (at most 256 bytes before and 255 after the @)")
	}
	if local[0] == '"' {
		var err error
		if local, err = unquoteLocal(local); err != nil {
			return "", err
		}
	} else if strings.ContainsAny(local, " \t\r\n\x00<>()[]:;,\\\"@") {
		return "", Errorf(KindInvalid, "%q is not a mail address: the part before the @ holds a character that must be quoted", s)
	}
	if strings.ContainsAny(domain, " \t\r\n\x00<>(),;\\\"@/") {
		return "", Errorf(KindInvalid, "%q is not a mail address: the domain holds a character that no domain may hold", s)
	}
	if domain[0] == '.' || strings.Contains(domain, "..") {
		return "", Errorf(KindInvalid, "%q is not a mail address: the domain has an empty label", s)
	}
	return Address(local + "@" + domain), nil
}

// unquoteLocal returns the content of a quoted local part.
func unquoteLocal(q string) (string, error) {
	if len(q) < 3 || q[len(q)-1] != '"' {
		return "", Errorf(KindInvalid, "%q is not a mail address: the quoted part before the @ does not end", q)
	}
	var b strings.Builder
	for i := 1; i < len(q)-1; i++ {
		c := q[i]
		if c == '\\' && i+1 < len(q)-1 {
			i++
			c = q[i]
		} else if c == '"' {
			return "", Errorf(KindInvalid, "%q is not a mail address: a quote stands inside the quoted part", q)
		}
		if c < ' ' || c == 0x7f {
			return "", Errorf(KindInvalid, "%q is not a mail address: it holds a control character", q)
		}
		b.WriteByte(c)
	}
	return b.String(), nil
}

// Local returns the part before the last "@", unquoted.
func (a Address) Local() string {
	if i := strings.LastIndexByte(string(a), '@'); i >= 0 {
		return string(a[:i])
	}
	return string(a)
}

// Domain returns the part behind the last "@", as written.
func (a Address) Domain() string {
	if i := strings.LastIndexByte(string(a), '@'); i >= 0 {
		return string(a[i+1:])
	}
	return ""
}

// Key returns the form in which addresses are compared: the local part in
// lower case, the domain in lower case and in its U-label form. Everything
// that looks addresses up uses it.
func (a Address) Key() string {
	if a.isKey() {
		return string(a)
	}
	return strings.ToLower(a.Local()) + "@" + DomainKey(a.Domain())
}

// isKey tells whether an address is surely its own Key, as most are.
func (a Address) isKey() bool {
	at := false
	for i := range len(a) {
		c := a[i]
		if c >= 'A' && c <= 'Z' || c >= 0x80 {
			return false
		}
		at = at || c == '@'
	}
	return at && a[len(a)-1] != '.' && !strings.Contains(string(a), "xn--")
}

// DomainKey returns the form in which domains are compared.
func DomainKey(domain string) string {
	d := strings.ToLower(strings.TrimSuffix(domain, "."))
	if strings.Contains(d, "xn--") {
		if u, err := idna.Display.ToUnicode(d); err == nil {
			return u
		}
	}
	return d
}

// QuotedAddress returns an address as it stands between angle brackets, its
// local part quoted where it is no dot-string (RFC 5321 §4.1.2).
func QuotedAddress(a Address) string {
	local := a.Local()
	if a == "" || !needsQuotes(local) {
		return string(a)
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(local) + `"@` + a.Domain()
}

// needsQuotes tells whether a local part is no dot-string.
func needsQuotes(local string) bool {
	return local == "" || local[0] == '.' || local[len(local)-1] == '.' || strings.Contains(local, "..") ||
		strings.ContainsAny(local, " \t()<>[]:;,\\\"@")
}
