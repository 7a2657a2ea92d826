package ldapwire

import (
	"bytes"
	"reflect"
	"testing"

	"expost/internal/ldap"
)

// decoders are the decoders of values of controls and extended requests.
func decoders() map[string]func([]byte) (any, error) {
	return map[string]func([]byte) (any, error){
		"paged":      func(b []byte) (any, error) { return DecodePaged(b) },
		"sort":       func(b []byte) (any, error) { return DecodeSort(b) },
		"vlv":        func(b []byte) (any, error) { return DecodeVLV(b) },
		"filter":     func(b []byte) (any, error) { return DecodeFilter(b) },
		"values":     func(b []byte) (any, error) { return DecodeValuesFilter(b) },
		"attributes": func(b []byte) (any, error) { return DecodeAttributes(b) },
		"subentries": func(b []byte) (any, error) { return DecodeSubentries(b) },
		"cancel":     func(b []byte) (any, error) { return DecodeCancel(b) },
		"password":   func(b []byte) (any, error) { return DecodePasswordModify(b) },
	}
}

func TestControlValues(t *testing.T) {
	t.Parallel()
	cn := &ldap.Filter{Op: ldap.FilterPresent, Attr: "cn"}
	for _, c := range []struct {
		kind, value string
		want        any // nil: an error
	}{
		{"paged", "\x30\x06\x02\x01\x64\x04\x01x", PagedControl{100, []byte("x")}},
		{"paged", "\x30\x05\x02\x01\x64\x04\x00", PagedControl{100, []byte{}}},
		{"paged", "\x30\x05\x02\x01\xff\x04\x00", nil},
		{"paged", "\x30\x05\x02\x01\x64\x04\x00\x00\x00", nil},
		{"paged", "", nil},
		{"sort", "\x30\x06\x30\x04\x04\x02cn", []SortKey{{Attr: "cn"}}},
		{"sort", "\x30\x10\x30\x0e\x04\x02cn\x80\x05\x32.5.3\x81\x01\xff", []SortKey{{"cn", "2.5.3", true}}},
		{"sort", "\x30\x0c\x30\x04\x04\x02cn\x30\x04\x04\x02sn", []SortKey{{Attr: "cn"}, {Attr: "sn"}}},
		{"sort", "\x30\x00", nil},
		{"vlv", "\x30\x0e\x02\x01\x01\x02\x01\x02\xa0\x06\x02\x01\x03\x02\x01\x04", VLVRequest{Before: 1, After: 2, Offset: 3, Count: 4}},
		{"vlv", "\x30\x09\x02\x01\x01\x02\x01\x02\x81\x01x", VLVRequest{Before: 1, After: 2, ByValue: true, Value: []byte("x")}},
		{"vlv", "\x30\x0c\x02\x01\x01\x02\x01\x02\x81\x01x\x04\x01c", VLVRequest{Before: 1, After: 2, ByValue: true, Value: []byte("x")}},
		{"vlv", "\x30\x06\x02\x01\x01\x02\x01\x02", nil},
		{"filter", "\x87\x02cn", cn},
		{"filter", "\x30\x00", nil},
		{"values", "\x30\x04\x87\x02cn", []*ldap.Filter{cn}},
		{"values", "\x30\x06\xa0\x04\x87\x02cn", nil},
		{"attributes", "\x30\x00", []string{}},
		{"attributes", "\x30\x04\x04\x02cn", []string{"cn"}},
		{"subentries", "\x01\x01\xff", true},
		{"cancel", "\x30\x03\x02\x01\x05", int32(5)},
		{"password", "", PasswordModify{}},
		{"password", "\x30\x00", PasswordModify{}},
		{"password", "\x30\x09\x80\x01u\x81\x01o\x82\x01n", PasswordModify{[]byte("u"), []byte("o"), []byte("n")}},
	} {
		got, err := decoders()[c.kind]([]byte(c.value))
		if c.want == nil && !isA[*ldap.Error](err) || c.want != nil && (err != nil || !reflect.DeepEqual(got, c.want)) {
			t.Errorf("%s %q: %+v, %v, want %+v", c.kind, c.value, got, err, c.want)
		}
	}
	if _, err := DecodeSort(end(append([]byte{tagSequence, 0}, bytes.Repeat([]byte("\x30\x04\x04\x02cn"), 17)...), 2)); err == nil {
		t.Error("17 sort keys are taken")
	}
}

func TestControlsOfAnswers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		control Control
		value   string
	}{
		{PagedControl{0, []byte("x")}.Control(), "\x30\x06\x02\x01\x00\x04\x01x"},
		{SortResult{}.Control(), "\x30\x03\x0a\x01\x00"},
		{SortResult{ldap.NoSuchAttribute, "cn"}.Control(), "\x30\x07\x0a\x01\x10\x80\x02cn"},
		{VLVResponse{3, 300, 0}.Control(), "\x30\x0a\x02\x01\x03\x02\x02\x01\x2c\x0a\x01\x00"},
	} {
		if string(c.control.Value) != c.value || c.control.Critical {
			t.Errorf("%s has %q, want %q", c.control.OID, c.control.Value, c.value)
		}
	}
}

func FuzzControlValues(f *testing.F) {
	for _, seed := range []string{"", "\x30\x06\x02\x01\x64\x04\x01x", "\x30\x06\x30\x04\x04\x02cn", "\x30\x0e\x02\x01\x01\x02\x01\x02\xa0\x06\x02\x01\x03\x02\x01\x04",
		"\x30\x09\x02\x01\x01\x02\x01\x02\x81\x01x", "\x87\x02cn", "\x30\x04\x87\x02cn", "\x30\x09\x80\x01u\x81\x01o\x82\x01n", "\x01\x01\xff"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for kind, decode := range decoders() {
			if _, err := decode(b); err != nil && !isA[*ldap.Error](err) {
				t.Fatalf("%s: error of type %T", kind, err)
			}
		}
		p, err := DecodePaged(b)
		if again, _ := DecodePaged(p.Control().Value); err == nil && !reflect.DeepEqual(again, p) {
			t.Fatalf("%+v came back as %+v", p, again)
		}
	})
}
