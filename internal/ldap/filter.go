package ldap

// ParseFilter reads the string form of a filter (RFC 4515).
func ParseFilter(s string) (*Filter, error) { panic("being written") }

// String returns the filter's string form.
func (f *Filter) String() string { panic("being written") }
