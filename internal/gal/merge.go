package gal

import (
	"bytes"
	"fmt"
	"strings"
)

// Merge puts entries with a common address (or Exchange DN) together, in the
// order in which they first appear. Values of both are kept, the first one's
// first; where the two contradict each other it is reported.
func Merge(list []*Recipient, report Reporter) []*Recipient {
	m := merger{report: report, byKey: map[string]*Recipient{}, into: map[*Recipient]*Recipient{}}
	for _, r := range list {
		m.add(r)
	}
	out := make([]*Recipient, 0, len(list))
	for _, r := range list {
		if m.into[r] == nil {
			out = append(out, r)
		}
	}
	m.unresolved(out)
	return out
}

// merger is one Merge under way.
type merger struct {
	report Reporter
	byKey  map[string]*Recipient
	into   map[*Recipient]*Recipient // merged into which
}

// root returns the entry that r was merged into.
func (m *merger) root(r *Recipient) *Recipient {
	for m.into[r] != nil {
		r = m.into[r]
	}
	return r
}

// add merges r with all that share an address with it.
func (m *merger) add(r *Recipient) {
	target := r
	for _, k := range keysOf(r) {
		have := m.byKey[k]
		if have == nil {
			continue
		}
		have = m.root(have)
		if have == target {
			continue
		}
		if target == r {
			m.merge(have, r)
			target = have
		} else { // r joins two that were apart
			m.merge(have, target)
			target = have
		}
	}
	for _, k := range keysOf(r) {
		m.byKey[k] = target
	}
}

// keysOf returns what identifies a recipient: its addresses and its Exchange DN.
func keysOf(r *Recipient) []string {
	var keys []string
	for _, a := range r.All(Email) {
		keys = append(keys, addressKey(a))
	}
	for _, d := range r.All(LegacyDN) {
		keys = append(keys, strings.ToLower(strings.TrimPrefix(d, "EX:")))
	}
	for _, p := range r.All(Proxy) {
		if x, ok := strings.CutPrefix(strings.ToLower(p), "x500:"); ok {
			keys = append(keys, x)
		}
	}
	return keys
}

// oneValued are the fields of which a person has one.
func oneValued() []Field {
	return []Field{FullName, FirstName, LastName, Company, Department, JobTitle, Office, UID, EmployeeNumber, WorkPhone, MobilePhone}
}

// merge puts from into to.
func (m *merger) merge(to, from *Recipient) {
	m.into[from] = to
	var differ []string
	for _, f := range oneValued() {
		a, b := to.Get(f), from.Get(f)
		if a != "" && b != "" && !strings.EqualFold(squeeze(a), squeeze(b)) {
			differ = append(differ, fmt.Sprintf("%s %q and %q", f, clip(a), clip(b)))
		}
	}
	for _, v := range from.Values {
		if v.Field == Email {
			to.addEmail(v.Text, v.Line)
		} else {
			to.Add(v.Field, v.Text, v.Line)
		}
	}
	to.Members = append(to.Members, from.Members...)
	to.Links = append(to.Links, from.Links...)
	if to.SID == "" {
		to.SID = from.SID
	}
	to.Certificates = append(to.Certificates, from.Certificates...)
	to.Hidden = to.Hidden && from.Hidden
	if to.Photo == nil {
		to.Photo = from.Photo
	} else if from.Photo != nil && !bytes.Equal(to.Photo, from.Photo) {
		differ = append(differ, "picture")
	}
	if to.Kind == Person {
		to.Kind = from.Kind
	}
	what := fmt.Sprintf("%q has an address in common with %q of %s", from.Name(), to.Name(), to.Origin)
	if len(differ) == 0 {
		m.report(from.Origin.issue(0, Info, "", what, "merged"))
		return
	}
	m.report(from.Origin.issue(0, Warning, "", what+" and differs: "+strings.Join(differ, ", "), "merged, both values kept, the first one first"))
}

// squeeze returns s with single blanks.
func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }

// unresolved reports entries that have nothing but an Exchange address.
func (m *merger) unresolved(list []*Recipient) {
	for _, r := range list {
		if dn := r.Get(LegacyDN); dn != "" && r.Get(Email) == "" && r.Kind != Folder {
			m.report(r.Origin.issue(0, Warning, "e-mail", fmt.Sprintf("%q has only the Exchange address %s, and no other entry says which SMTP address that is", r.Name(), clip(dn)),
				"kept without an address; add the export of the server's address list to the same command"))
		}
	}
}
