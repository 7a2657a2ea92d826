package ldap

// ParseDN reads a DN (RFC 4514), accepting the older forms of RFC 2253 and RFC
// 1779 too: spaces around separators, ";" between RDNs, quoted values.
func ParseDN(s string) (DN, error) { panic("being written") }

// String returns the DN as RFC 4514 writes it.
func (d DN) String() string { panic("being written") }

// Parent returns the DN without its first RDN.
func (d DN) Parent() DN { panic("being written") }
