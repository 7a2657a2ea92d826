package config

import (
	"net/url"

	"expost/internal/mail"
)

// IMAP is what IMAP offers beside mail.
type IMAP struct {
	PersonalFlags string   `toml:"personal-flags"` // in mailboxes of others: seen | all | none are each reader's own
	Admins        []string `toml:"admins"`         // accounts that may set quotas and the server's shared annotations
	Contact       string   `toml:"contact"`        // a URI: how users reach the administrators; default mailto: postmaster
}

// complete fills in what follows from other keys, and checks the values.
func (i *IMAP) complete(postmaster string, wrong func(key, format string, args ...any) error) error {
	switch i.PersonalFlags {
	case "seen", "all", "none":
	default:
		return wrong("imap.personal-flags", "%q is none of seen, all, none", i.PersonalFlags)
	}
	for _, admin := range i.Admins {
		if _, err := mail.ParseAddress(admin); err != nil {
			return wrong("imap.admins", "%s", mail.PublicText(err))
		}
	}
	if i.Contact == "" {
		i.Contact = "mailto:" + postmaster
	}
	if u, err := url.Parse(i.Contact); err != nil || u.Scheme == "" {
		return wrong("imap.contact", "%q is no URI: write mailto:help@example.org", i.Contact)
	}
	return nil
}
