package ldapserver

import (
	"testing"

	"expost/internal/ldap"
	"expost/internal/ldapwire"
)

// BenchmarkRoundTrip is one search at a time, its answer one small entry: what
// the server itself costs beside the directory.
func BenchmarkRoundTrip(b *testing.B) {
	addr, _ := start(b, Config{Directory: &scripted{search: entries(1)}})
	c := dial(b, addr)
	request := (&ldapwire.Message{ID: 1, Op: anySearch(b)}).Append(nil)
	b.ReportAllocs()
	for b.Loop() {
		c.sendRaw(request)
		c.expect(1, ldap.Success)
	}
}

// BenchmarkEntries is the answer that Outlook gets: a hundred entries of 1 KiB.
func BenchmarkEntries(b *testing.B) {
	addr, _ := start(b, Config{Directory: &scripted{search: entries(100)}})
	c := dial(b, addr)
	request := (&ldapwire.Message{ID: 1, Op: anySearch(b)}).Append(nil)
	b.ReportAllocs()
	for b.Loop() {
		c.sendRaw(request)
		c.expect(1, ldap.Success)
	}
}
