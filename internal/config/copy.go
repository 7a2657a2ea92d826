package config

import (
	"errors"

	"expost/internal/ldapclient"
)

// Copy is the server that the directory is a copy of.
type Copy struct {
	Server       string `toml:"server"` // URL; empty: the directory is no copy
	BindDN       string `toml:"bind-dn"`
	PasswordFile string `toml:"password-file"`
	TLS          string `toml:"tls"` // of an ldap:// URL: starttls | never
	CAFile       string `toml:"ca-file"`
}

// StartTLS tells whether an ldap:// connection becomes secure.
func (c *Copy) StartTLS() bool {
	e := External{Servers: []string{c.Server}, TLS: c.TLS}
	return e.StartTLS()
}

func (c *Copy) check(kind string) error {
	if c.Server == "" {
		return nil
	}
	if _, _, err := ldapclient.ParseURL(c.Server); err != nil {
		return err
	}
	switch {
	case kind != "embedded":
		return errors.New("a copy is kept with kind embedded")
	case c.TLS != "" && c.TLS != "starttls" && c.TLS != "never":
		return errors.New("tls is neither starttls nor never")
	case (c.BindDN == "") != (c.PasswordFile == ""):
		return errors.New("bind-dn and password-file must be given together")
	}
	return nil
}
