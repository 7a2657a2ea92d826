package config

import (
	"net/netip"
	"strings"

	"expost/internal/mail"
)

// MailAuth is how senders of other hosts are checked, and how we let others
// check ours.
type MailAuth struct {
	Verify  bool     `toml:"verify"`  // SPF, DKIM and DMARC of mail from other hosts
	DMARC   string   `toml:"dmarc"`   // enforce | junk | none: what is done where the domain asks for more than none
	SPF     string   `toml:"spf"`     // reject | junk | none: what is done with a plain fail that DMARC has no word on
	Trusted []string `toml:"trusted"` // networks whose mail is not checked
	Sign    bool     `toml:"sign"`    // DKIM, for domains with keys
	SRS     bool     `toml:"srs"`     // the sender of forwarded mail becomes an address of ours
}

// DefaultMailAuth are the values of an empty file.
func DefaultMailAuth() MailAuth {
	return MailAuth{
		Verify: true, DMARC: "enforce", SPF: "junk", Sign: true, SRS: true,
		Trusted: []string{"127.0.0.0/8", "::1/128"},
	}
}

func (m *MailAuth) check(wrong func(key, format string, args ...any) error) error {
	switch m.DMARC {
	case "enforce", "junk", "none":
	default:
		return wrong("mailauth.dmarc", "%q is none of enforce, junk, none", m.DMARC)
	}
	switch m.SPF {
	case "reject", "junk", "none":
	default:
		return wrong("mailauth.spf", "%q is none of reject, junk, none", m.SPF)
	}
	if _, err := Networks(m.Trusted); err != nil {
		return wrong("mailauth.trusted", "%s", mail.PublicText(err))
	}
	return nil
}

// Networks reads networks: "192.0.2.0/24", or an address for itself alone.
func Networks(list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range list {
		if ip, err := netip.ParseAddr(s); err == nil {
			ip = ip.Unmap()
			out = append(out, netip.PrefixFrom(ip, ip.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(strings.TrimSpace(s))
		if err != nil {
			return nil, mail.Errorf(mail.KindInvalid, "%q is no network: write 192.0.2.0/24 or 2001:db8::/32", s)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}
