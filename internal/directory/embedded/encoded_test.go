package embedded

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"expost/internal/directory"
	"expost/internal/directory/access"
	"expost/internal/directory/directorytest"
	"expost/internal/ldap"
	"expost/internal/ldapwire"
)

// messages returns the entries of a search as they are sent.
func messages(t *testing.T, d *Directory, who directory.Identity, req ldap.SearchRequest) (list [][]byte, encoded int) {
	t.Helper()
	req.Base, req.Scope, req.Filter, req.Transient = d.Suffix(), ldap.ScopeSub, directorytest.Filter("(objectClass=*)"), true
	err := d.Search(t.Context(), who, &req, func(e *ldap.Entry) error {
		if e.Encoded != nil {
			encoded++
		}
		list = append(list, ldapwire.AppendEntry(nil, 1, e, req.TypesOnly, nil))
		return nil
	})
	if le, ok := errors.AsType[*ldap.Error](err); err != nil && (!ok || le.Code != ldap.InsufficientAccessRights) {
		t.Fatal(err)
	}
	return list, encoded
}

// sameEncoded lets everybody ask for many things, and compares what is encoded from
// the stored form with what is encoded from attributes.
func sameEncoded(t *testing.T, d *Directory, after string) (encoded int) {
	t.Helper()
	people := []directory.Identity{directory.Local(), {}}
	for _, name := range []string{"Boss", "Clerk", "Ghost", "Admin"} {
		people = append(people, directory.Identity{DN: directorytest.DN("cn=" + name + ",ou=people,dc=example,dc=org")})
	}
	for _, who := range people {
		for _, attributes := range [][]string{nil, {"*"}, {"+"}, {"*", "+"}, {"1.1"}, {"cn", "homePhone", "title"}, {"cn;lang-de"}, {"@person"},
			{"employeeType", "member"}, {"entryDN", "cn"}, {"jpegPhoto"}, {"name"}, {"nothing"}} {
			for _, typesOnly := range []bool{false, true} {
				plain, _ := messages(t, d, who, ldap.SearchRequest{Attributes: attributes, TypesOnly: typesOnly})
				got, n := messages(t, d, who, ldap.SearchRequest{Attributes: attributes, TypesOnly: typesOnly, Encode: ldapwire.AppendPacked})
				again, _ := messages(t, d, who, ldap.SearchRequest{Attributes: attributes, TypesOnly: typesOnly, Encode: ldapwire.AppendPacked})
				if !slices.EqualFunc(got, plain, bytes.Equal) || !slices.EqualFunc(again, plain, bytes.Equal) {
					t.Errorf("%s: what %v gets of %q is not the same (types only: %v)", after, who.DN, attributes, typesOnly)
				}
				encoded += n
			}
		}
	}
	return encoded
}

// TestEncoded changes entries, and sees the change in what is sent, under rules that
// give different people different attributes and values.
func TestEncoded(t *testing.T) {
	t.Parallel()
	opt := options(t.TempDir())
	opt.Anonymous = nil
	for _, c := range accessCases() {
		for _, text := range c.by {
			by, err := access.ParseBy(text)
			if err != nil {
				t.Fatal(err)
			}
			c.rule.By = append(c.rule.By, by)
		}
		opt.Access = append(opt.Access, c.rule)
	}
	d := open(t, opt)
	for _, text := range accessEntries() {
		err := d.Add(t.Context(), directory.Local(), directorytest.Entry(text))
		if le, ok := errors.AsType[*ldap.Error](err); err != nil && (!ok || le.Code != ldap.EntryAlreadyExists) {
			t.Fatal(err)
		}
	}
	if n := sameEncoded(t, d, "adding"); n < 500 {
		t.Errorf("only %d entries were encoded from the stored form", n)
	}
	clerk := directorytest.DN("cn=Clerk,ou=people,dc=example,dc=org")
	sent := func(text string) bool {
		list, n := messages(t, d, directory.Local(), ldap.SearchRequest{Encode: ldapwire.AppendPacked})
		return n == len(list) && bytes.Contains(bytes.Join(list, nil), []byte(text))
	}
	for i, c := range []ldap.Change{
		{Op: ldap.ChangeReplace, Attribute: ldap.NewAttribute("title", "fresh 0")},
		{Op: ldap.ChangeAdd, Attribute: ldap.NewAttribute("cn;lang-de", "fresh 1")}, // a description nobody had
		{Op: ldap.ChangeAdd, Attribute: ldap.NewAttribute("description", "fresh 2")},
	} {
		if err := d.Modify(t.Context(), directory.Local(), clerk, []ldap.Change{c}); err != nil {
			t.Fatal(err)
		}
		if !sent(fmt.Sprint("fresh ", i)) {
			t.Errorf("change %d is not in what is sent", i)
		}
		sameEncoded(t, d, fmt.Sprint("change ", i))
	}
	people := directorytest.DN("ou=people,dc=example,dc=org")
	if err := d.Rename(t.Context(), directory.Local(), directory.Rename{DN: people, NewRDN: ldap.RDN{{Type: "ou", Value: "folk"}}}); err != nil {
		t.Fatal(err)
	}
	if !sent("cn=Clerk,ou=folk,dc=example,dc=org") || sent("cn=Ghost,ou=people,dc=example,dc=org") {
		t.Error("what is sent has the old DN after its parent was renamed")
	}
	sameEncoded(t, d, "renaming")
}

// TestReadyCacheIsBounded puts more into it than it may hold.
func TestReadyCacheIsBounded(t *testing.T) {
	t.Parallel()
	var c readyCache
	nodes := make([]node, 3*maxReady/maxReadyEntry)
	for round := range 3 {
		for i := range nodes {
			c.put(&nodes[i], &ready{encoded: make([]byte, maxReadyEntry)})
		}
		kept := 0
		for i := range nodes {
			if nodes[i].ready.Load() != nil {
				kept++
			}
		}
		if kept == 0 || kept*maxReadyEntry > maxReady || c.bytes > maxReady || len(c.queue)-c.first != kept {
			t.Errorf("round %d: %d entries, %d bytes, %d in the queue", round, kept, c.bytes, len(c.queue)-c.first)
		}
	}
}

// BenchmarkEncode makes the messages of entries: from their attributes, as the
// server does, and by copying whole ones, which is the least it can cost.
func BenchmarkEncode(b *testing.B) {
	d := open(b, options(b.TempDir()))
	const people = 1000
	fill(b, d, people)
	req := &ldap.SearchRequest{Base: d.Suffix(), Scope: ldap.ScopeSub, Filter: directorytest.Filter("(mail=*)"), Transient: true}
	run := func(name string, encode func(b []byte, desc string, values []byte) []byte) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var buf []byte
			req.Encode = encode
			for b.Loop() {
				buf = buf[:0]
				if err := d.Search(b.Context(), directory.Local(), req, func(e *ldap.Entry) error {
					buf = ldapwire.AppendEntry(buf, 1, e, false, nil)
					return nil
				}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/people, "ns/entry")
		})
	}
	run("attributes", nil)
	run("kept", ldapwire.AppendPacked)
	b.Run("ready-made", func(b *testing.B) {
		ready := map[uint32][]byte{}
		s := d.snap.Load()
		q, base, err := d.newQuery(b.Context(), directory.Local(), req, nil)
		if err != nil {
			b.Fatal(err)
		}
		each := func(visit func(*node) error) {
			if err := q.each(base, visit); err != nil {
				b.Fatal(err)
			}
		}
		each(func(n *node) error {
			ready[n.id] = ldapwire.AppendEntry(nil, 1, &ldap.Entry{DN: s.dn(n, d.suffix), Attributes: q.selection.of(s, n, nil, d.suffix)}, false, nil)
			return nil
		})
		b.ReportAllocs()
		var buf []byte
		for b.Loop() {
			buf = buf[:0]
			each(func(n *node) error {
				buf = append(buf, ready[n.id]...)
				return nil
			})
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/people, "ns/entry")
	})
}
