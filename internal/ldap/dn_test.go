package ldap

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestParseDN(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                           "",
		"  ":                         "",
		"dc=example,dc=org":          "dc=example,dc=org",
		"UID=jsmith,DC=example":      "UID=jsmith,DC=example",
		"ou=a, dc=linuxforu, dc=com": "ou=a,dc=linuxforu,dc=com",
		"cn=a ; o=b":                 "cn=a,o=b",
		"CN=Steve Kille,\n  O=Isode Limited,  C=GB":     "CN=Steve Kille,O=Isode Limited,C=GB",
		`CN="L. Eagle", O="Sue, Grabbit and Runn", C=G`: `CN=L. Eagle,O=Sue\, Grabbit and Runn,C=G`,
		`cn="a \"b\" \2c c"`:                            `cn=a \"b\" \, c`,
		`OU=Sales+CN=J.  Smith,DC=example`:              `OU=Sales+CN=J.  Smith,DC=example`,
		`CN=James \"Jim\" Smith\, III,DC=net`:           `CN=James \"Jim\" Smith\, III,DC=net`,
		`CN=Before\0dAfter,DC=net`:                      `CN=Before\0dAfter,DC=net`,
		`1.3.6.1.4.1.1466.0=#04024869,DC=x`:             `1.3.6.1.4.1.1466.0=Hi,DC=x`,
		`OID.2.5.4.3=a`:                                 `2.5.4.3=a`,
		`CN=Lu\C4\8Di\C4\87`:                            `CN=Lučić`,
		`cn=\20a\20 `:                                   `cn=\ a\ `,
		`cn=\ a\ `:                                      `cn=\ a\ `,
		`cn=\#a#`:                                       `cn=\#a#`,
		`cn=a=b`:                                        `cn=a=b`,
		`cn=<x>`:                                        `cn=\<x\>`,
		`cn=`:                                           `cn=`,
		`cn=\ff`:                                        `cn=\ff`,
		`cn=ajay,mail=ajay@linuxforu.com`:               `cn=ajay,mail=ajay@linuxforu.com`,
	} {
		dn, err := ParseDN(in)
		if err != nil {
			t.Errorf("ParseDN(%q): %v", in, err)
			continue
		}
		if got := dn.String(); got != want {
			t.Errorf("ParseDN(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestParseDNRefuses(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		"cn", "=a", "cn=Smith, John,dc=x", "cn=a,", ",cn=a", `cn="a`, `cn="a" b`, `cn=a\`, "cn=#0", "cn=#04", "cn=#30020101",
		"cn=#zz", "c n=a", "cn=a\x00b", "cn=a+", "cn=" + strings.Repeat("a", maxDNLength),
	} {
		_, err := ParseDN(in)
		if e, ok := errors.AsType[*Error](err); !ok || e.Code != InvalidDNSyntax {
			t.Errorf("ParseDN(%q) = %v, want invalidDNSyntax", in, err)
		}
	}
}

// foldCase is a schema for tests: names and values in lower case.
type foldCase struct{}

func (foldCase) NormalizeAVA(a AVA) AVA {
	return AVA{strings.ToLower(a.Type), strings.ToLower(a.Value)}
}

func mustDN(t *testing.T, s string) DN {
	t.Helper()
	dn, err := ParseDN(s)
	if err != nil {
		t.Fatal(err)
	}
	return dn
}

func TestKey(t *testing.T) {
	t.Parallel()
	base := mustDN(t, "DC=Example,dc=org")
	for in, under := range map[string]bool{
		"dc=example,DC=ORG": true, "cn=a, dc=example,dc=org": true, "dc=org": false, "": false,
		`cn=a\,dc=example,dc=org`: false, `cn=dc\=org\00dc\=example`: false, "xdc=example,dc=org": false,
	} {
		if got := mustDN(t, in).IsUnder(base, foldCase{}); got != under {
			t.Errorf("%q under %q = %v", in, base, got)
		}
	}
	if !mustDN(t, "cn=A+uid=b").Equal(mustDN(t, "UID=B + CN=a"), foldCase{}) {
		t.Error("the order of a multi-valued RDN made a difference")
	}
	child := base.Child(AVA{"cn", "x,y"})
	if got := child.String(); got != `cn=x\,y,DC=Example,dc=org` || len(base) != 2 {
		t.Errorf("Child = %q", got)
	}
	if !reflect.DeepEqual(child.Parent(), base) || len(DN{}.Parent()) != 0 {
		t.Error("Parent is not the DN without its first RDN")
	}
	if !child.IsUnder(DN{}, foldCase{}) {
		t.Error("nothing stands under the root")
	}
}

func FuzzParseDN(f *testing.F) {
	for _, s := range []string{"cn=a,dc=b", `cn="a,b"+sn=\2c;o=#04024869`, `cn=\ \#\ff `, "OID.1.2=x", "OID.OID.0=", "=,+;\"\\"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		dn, err := ParseDN(s)
		if err != nil {
			return
		}
		text := dn.String()
		if len(text) > maxDNLength {
			return
		}
		again, err := ParseDN(text)
		if err != nil {
			t.Fatalf("%q, written as %q: %v", s, text, err)
		}
		if len(again) != len(dn) || len(dn) > 0 && !reflect.DeepEqual(again, dn) {
			t.Fatalf("%q became %q", s, text)
		}
		_ = dn.Key(foldCase{})
	})
}
