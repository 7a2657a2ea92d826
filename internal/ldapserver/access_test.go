package ldapserver

import (
	"testing"

	"expost/internal/directory/access"
	"expost/internal/ldap"
)

func TestStrengthOfTLS(t *testing.T) {
	t.Parallel()
	for suite, want := range map[uint16]int{0x1301: 128, 0x1302: 256, 0x1303: 256, 0xc02f: 128, 0x000a: 112} {
		if got := strengthOf(suite); got != want {
			t.Errorf("%#x: %d bits, want %d", suite, got, want)
		}
	}
}

// rule returns an access rule about everything.
func rule(t *testing.T, by ...string) access.Rule {
	t.Helper()
	r := access.Rule{}
	for _, text := range by {
		b, err := access.ParseBy(text)
		if err != nil {
			t.Fatal(err)
		}
		r.By = append(r.By, b)
	}
	return r
}

var _ = ldap.Success
