package ldapserver

import "testing"

func TestStrengthOfTLS(t *testing.T) {
	t.Parallel()
	for suite, want := range map[uint16]int{0x1301: 128, 0x1302: 256, 0x1303: 256, 0xc02f: 128, 0x000a: 112} {
		if got := strengthOf(suite); got != want {
			t.Errorf("%#x: %d bits, want %d", suite, got, want)
		}
	}
}
