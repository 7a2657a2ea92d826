package gal

import (
	"strings"

	"expost/internal/ldap"
)

// FromEntries turns entries of a directory back into recipients. Containers
// and what else is no recipient are left out and reported.
func FromEntries(entries []*ldap.Entry, report Reporter) []*Recipient {
	rd := &reader{opts: Options{Report: report}}
	var out []*Recipient
	for _, e := range entries {
		var list []attribute
		for _, a := range e.Attributes {
			name, _, _ := strings.Cut(strings.ToLower(a.Desc), ";")
			for _, v := range a.Values {
				list = append(list, attribute{name: name, data: v})
			}
		}
		if r := rd.recipient(e.DN.String(), 0, list); r != nil {
			out = append(out, r)
		}
	}
	return out
}
