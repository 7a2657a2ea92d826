package embedded

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"expost/internal/directory"
	"expost/internal/directory/directorytest"
	"expost/internal/ldap"
	"expost/internal/ldif"
)

// TestTransientSearch finds the same entries, whether they are made in one
// another's place or not.
func TestTransientSearch(t *testing.T) {
	t.Parallel()
	d := open(t, options(t.TempDir()))
	for i := range 200 {
		text := fmt.Sprintf("dn: cn=P%[1]d+sn=S,ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\ncn: P%[1]d\nsn: S\n", i)
		if i%3 == 0 {
			text = fmt.Sprintf("dn: uid=u%[1]d,ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: u%[1]d\ncn: P%[1]d\nsn: S\n", i)
		}
		for n := range i % 9 {
			text += fmt.Sprintf("title: Title %d\nou: Unit %d\n", n, n)
		}
		if err := d.Add(t.Context(), directory.Local(), directorytest.Entry(text)); err != nil {
			t.Fatal(err)
		}
	}
	for _, attributes := range [][]string{nil, {"*", "+"}, {"cn", "title", "entryDN"}, {"1.1"}, {"@person", "ou"}} {
		all := func(transient bool) []string {
			var out []string
			req := &ldap.SearchRequest{Base: d.Suffix(), Scope: ldap.ScopeSub, Filter: directorytest.Filter("(objectClass=*)"), Attributes: attributes, Transient: transient}
			if err := d.Search(t.Context(), directory.Local(), req, func(e *ldap.Entry) error {
				var b bytes.Buffer
				w := ldif.NewWriter(&b)
				w.Entry(e)
				err := w.Flush()
				out = append(out, b.String())
				return err
			}); err != nil {
				t.Fatal(err)
			}
			return out
		}
		if kept, again := all(false), all(true); len(kept) < 200 || !slices.Equal(kept, again) {
			t.Errorf("%q: %d entries and %d are not the same", attributes, len(kept), len(again))
		}
	}
}
