package mailauth

import (
	"context"
	"strings"

	"blitiri.com.ar/go/spf"
	"golang.org/x/net/idna"
)

// SPF is whether the client may send for the domain of the reverse-path, or,
// where that is null, for the name it said HELO with (RFC 7208 §2.4).
type SPF struct {
	Result Result
	Helo   bool   // the domain is that of HELO
	Domain string // ASCII; empty: there is none to check
}

// checkSPF evaluates the record of the sender's domain.
func (v *Verifier) checkSPF(ctx context.Context, m *Message) SPF {
	s := SPF{Result: None, Helo: m.Sender == ""}
	name, local := m.Sender, m.Local
	if s.Helo {
		name, local = m.Helo, "postmaster"
	}
	s.Domain = domain(name)
	if s.Domain == "" || !strings.Contains(s.Domain, ".") || !m.Client.IsValid() {
		return s
	}
	sender := strings.ReplaceAll(local, "@", "_") + "@" + s.Domain
	result, _ := spf.CheckHostWithSender(m.Client.Unmap().AsSlice(), m.Helo, sender,
		spf.WithContext(ctx), spf.WithResolver(v.dns))
	s.Result = Result(result)
	return s
}

// domain returns a host name in lower-case ASCII, or "" where it is none.
func domain(name string) string {
	name = strings.TrimSuffix(name, ".")
	ascii, err := idna.Lookup.ToASCII(name)
	if err != nil {
		ascii = strings.ToLower(name) // an underscore, a hyphen too many: not for IDNA, but for DNS
	}
	if ascii == "" || len(ascii) > 253 {
		return ""
	}
	for i := range len(ascii) {
		c := ascii[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			return ""
		}
	}
	return ascii
}
