package ldap

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestParseFilter(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"(cn=Babs Jensen)":                     "(cn=Babs Jensen)",
		"cn=Babs Jensen":                       "(cn=Babs Jensen)",
		" ( cn=a ) ":                           "(cn=a )",
		"(!(cn=Tim Howes))":                    "(!(cn=Tim Howes))",
		"(o=univ*of*mich*)":                    "(o=univ*of*mich*)",
		"(seeAlso=)":                           "(seeAlso=)",
		"(&(a=1) (b=2)\n )":                    "(&(a=1)(b=2))",
		"(&)":                                  "(&)",
		"(|)":                                  "(|)",
		"(cn=*)":                               "(cn=*)",
		"(cn=**)":                              "(cn=*)",
		"(cn=*a**b*)":                          "(cn=*a*b*)",
		"(sn>=x)":                              "(sn>=x)",
		"(sn<=x)":                              "(sn<=x)",
		"(sn~=jENSEN)":                         "(sn~=jENSEN)",
		"(cn:caseExactMatch:=Fred Flintstone)": "(cn:caseExactMatch:=Fred Flintstone)",
		"(cn:=Betty Rubble)":                   "(cn:=Betty Rubble)",
		"(sn:dn:2.4.6.8.10:=Barney Rubble)":    "(sn:dn:2.4.6.8.10:=Barney Rubble)",
		"(o:dn:=Ace Industry)":                 "(o:dn:=Ace Industry)",
		"(:1.2.3:=Wilma Flintstone)":           "(:1.2.3:=Wilma Flintstone)",
		"(:DN:2.4.6.8.10:=Dino)":               "(:dn:2.4.6.8.10:=Dino)",
		`(o=Parens R Us \28for all your needs\29)`: `(o=Parens R Us \28for all your needs\29)`,
		`(o=Parens R Us (for all your needs))`:     `(o=Parens R Us \28for all your needs\29)`,
		`(cn=*\2a*)`:                               `(cn=*\2a*)`,
		`(filename=C:\5cMyFile)`:                   `(filename=C:\5cMyFile)`,
		`(filename=C:\MyFile)`:                     `(filename=C:\5cMyFile)`,
		`(bin=\00\00\00\04)`:                       `(bin=\00\00\00\04)`,
		`(sn=Lu\c4\8di\c4\87)`:                     `(sn=Lučić)`,
		`(bin=\ffa)`:                               `(bin=\ffa)`,
		`(userCertificate;binary=*)`:               `(userCertificate;binary=*)`,
		"(&(mail=*)(|(mail=b*)(|(cn=b*)(|(sn=b*)(givenName=b*)))))": "(&(mail=*)(|(mail=b*)(|(cn=b*)(|(sn=b*)(givenName=b*)))))",
	} {
		f, err := ParseFilter(in)
		if err != nil {
			t.Errorf("ParseFilter(%q): %v", in, err)
			continue
		}
		if got := f.String(); got != want {
			t.Errorf("ParseFilter(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestParseFilterRefuses(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		"", "()", "(", "(cn=a", "(cn)", "(=a)", "(&(a=1)", "(!(a=1)(b=2))", "(!)", "(a=1)x", "(c n=a)", "(:=a)", "(:dn:=a)",
		"(a:b:c:d:=e)", "(>=a)", strings.Repeat("(!", 200) + "(a=b)" + strings.Repeat(")", 200),
	} {
		_, err := ParseFilter(in)
		if e, ok := errors.AsType[*Error](err); !ok || e.Code != ProtocolError {
			t.Errorf("ParseFilter(%q) = %v, want protocolError", in, err)
		}
	}
}

func FuzzParseFilter(f *testing.F) {
	for _, s := range []string{"(&(a=*b*c)(!(d>=\\2a)))", "a:dn:r:=v", "(|(cn=x)(&))", "(cn=a(b)c)", "(cn=\\zz*)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		first, err := ParseFilter(s)
		if err != nil {
			return
		}
		text := first.String()
		if len(text) > maxFilterLength {
			return
		}
		again, err := ParseFilter(text)
		if err != nil {
			t.Fatalf("%q, written as %q: %v", s, text, err)
		}
		if !reflect.DeepEqual(first, again) {
			t.Fatalf("%q became %q", s, text)
		}
	})
}
