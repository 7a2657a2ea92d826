package config

import (
	"time"

	"expost/internal/dnsbl"
	"expost/internal/mail"
)

// Policy is what hosts must do that hand in mail, and how much anybody may send.
type Policy struct {
	RelayNetworks []string  `toml:"relay-networks"` // may send anywhere without a login
	GreetDelay    Duration  `toml:"greet-delay"`
	ReverseDNS    string    `toml:"reverse-dns"` // "", name, match
	Helo          string    `toml:"helo"`        // "", name, match
	DNSList       []DNSList `toml:"dnslist"`

	HostConnections int `toml:"host-connections"` // in a minute, of one address; 0: no limit, as in all below
	HostMessages    int `toml:"host-messages"`    // in a minute, of one address
	RecipientMails  int `toml:"recipient-messages"`
	User            int `toml:"user-recipients"`
	UserDay         int `toml:"user-recipients-day"`
	RelayHost       int `toml:"relay-recipients"`
	Sender          int `toml:"sender-recipients"`
	SenderDomain    int `toml:"domain-recipients"`
}

// DNSList is a list of addresses in DNS.
type DNSList struct {
	Zone   string       `toml:"zone"`
	Allow  bool         `toml:"allow"`  // it lists the good
	Action dnsbl.Action `toml:"action"` // reject | tempfail | junk
	Codes  []string     `toml:"codes"`  // answers that count, 127.0.0.2; default all of 127.0.0.0/8 that are no errors
}

// DefaultPolicy are the values of an empty file.
func DefaultPolicy() Policy {
	return Policy{
		GreetDelay: Duration(time.Second), HostConnections: 300, HostMessages: 600,
		User: 1000, UserDay: 5000,
	}
}

func (p *Policy) check(wrong func(key, format string, args ...any) error) error {
	if _, err := Networks(p.RelayNetworks); err != nil {
		return wrong("policy.relay-networks", "%s", mail.PublicText(err))
	}
	if p.GreetDelay < 0 || time.Duration(p.GreetDelay) > time.Minute {
		return wrong("policy.greet-delay", "must be from 0s to 1m")
	}
	for key, d := range map[string]string{"policy.reverse-dns": p.ReverseDNS, "policy.helo": p.Helo} {
		if d != "" && d != "name" && d != "match" {
			return wrong(key, "%q is neither name nor match", d)
		}
	}
	for _, l := range p.DNSList {
		if l.Zone == "" {
			return wrong("policy.dnslist", "a list needs a zone")
		}
		switch l.Action {
		case "", dnsbl.Reject, dnsbl.TempFail, dnsbl.Junk:
		default:
			return wrong("policy.dnslist "+l.Zone, "action %q is none of reject, tempfail, junk", l.Action)
		}
		if _, err := Networks(l.Codes); err != nil {
			return wrong("policy.dnslist "+l.Zone, "%s", mail.PublicText(err))
		}
	}
	for _, n := range []int{p.HostConnections, p.HostMessages, p.RecipientMails, p.User, p.UserDay, p.RelayHost, p.Sender, p.SenderDomain} {
		if n < 0 {
			return wrong("policy", "a limit must not be below zero; 0 is none")
		}
	}
	return nil
}
