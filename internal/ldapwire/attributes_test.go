package ldapwire

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"expost/internal/ldap"
)

// TestAppendPacked compares a list with the encoding of an entry, at every
// length where a length needs another octet.
func TestAppendPacked(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 100, 126, 127, 128, 129, 255, 256, 16383, 16384, 65535, 65536, 1 << 20} {
		value := []byte(strings.Repeat("v", n))
		e := &ldap.Entry{Attributes: []ldap.Attribute{{Desc: "cn", Values: [][]byte{value, []byte("short")}}, {Desc: "sn;lang-de", Values: [][]byte{value}}}}
		var encoded []byte
		for _, a := range e.Attributes {
			var packed []byte
			for _, v := range a.Values {
				packed = append(binary.AppendUvarint(packed, uint64(len(v))), v...)
			}
			encoded = AppendPacked(encoded, a.Desc, packed)
		}
		want := AppendEntry(nil, 7, e, false, nil)
		if got := AppendEntry(nil, 7, &ldap.Entry{Encoded: encoded}, false, nil); !bytes.Equal(got, want) {
			t.Errorf("values of %d bytes: %d bytes that are not the %d due", n, len(got), len(want))
		}
	}
	for _, damaged := range []string{"\x05abc", "\x80", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"} {
		if got := string(AppendPacked(nil, "cn", []byte(damaged))); got != "0\x06\x04\x02cn1\x00" {
			t.Errorf("%q: %q", damaged, got)
		}
	}
}
