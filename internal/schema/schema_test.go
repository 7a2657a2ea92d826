package schema

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"expost/internal/ldap"
)

func entry(t *testing.T, dn string, lines ...string) *ldap.Entry {
	t.Helper()
	d, err := ldap.ParseDN(dn)
	if err != nil {
		t.Fatal(err)
	}
	e := &ldap.Entry{DN: d}
	for _, line := range lines {
		desc, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		if a := e.Attribute(desc); a != nil {
			a.Values = append(a.Values, []byte(value))
		} else {
			e.Attributes = append(e.Attributes, ldap.NewAttribute(desc, value))
		}
	}
	return e
}

func TestAliases(t *testing.T) {
	t.Parallel()
	s := Builtin()
	for alias, want := range map[string]string{
		"gn": "givenName", "surname": "sn", "commonName": "cn", "rfc822Mailbox": "mail", "fax": "facsimileTelephoneNumber",
		"2.5.4.3": "cn", "1.3.6.1.4.1.7914.1.2.1.6": "mailHost", "2.16.840.1.113730.3.1.18": "mailHost", "MAILHOST": "mailHost",
		"userid": "uid", "xmozillanickname": "mozillaNickname", "organizationName": "o", "reports": "directReports",
	} {
		if a := s.Attribute(alias); a == nil || a.Name() != want {
			t.Errorf("%s is not an alias of %s", alias, want)
		}
	}
	if s.Attribute("display-name") != nil {
		t.Error("an unknown name was found")
	}
	for i, a := range s.Attributes() {
		if a.ID != i {
			t.Fatalf("%s has ID %d at place %d", a.Name(), a.ID, i)
		}
	}
}

// TestCheck has the answers that slapd 2.5 gives.
func TestCheck(t *testing.T) {
	t.Parallel()
	person := []string{"objectClass: top", "objectClass: person", "objectClass: organizationalPerson", "objectClass: inetOrgPerson", "cn: A", "sn: A"}
	with := func(more ...string) []string { return append(append([]string{}, person...), more...) }
	for name, c := range map[string]struct {
		lines []string
		code  ldap.ResultCode
		text  string
	}{
		"good":               {with("mail: a@b", "gn: Biswajit", "telephoneNumber: 911124650722 5311", "mail:"), 0, ""},
		"no sn":              {[]string{"objectClass: person", "cn: A"}, 65, "object class 'person' requires attribute 'sn'"},
		"mail in a person":   {[]string{"objectClass: person", "cn: A", "sn: A", "mail: a@b"}, 65, "attribute 'mail' not allowed"},
		"no structural":      {[]string{"objectclass: top", "dc: x"}, 65, "no structural object class provided"},
		"auxiliary only":     {[]string{"objectClass: qmailUser", "mail: a@b"}, 65, "no structural object class provided"},
		"two chains":         {[]string{"objectClass: inetOrgPerson", "objectClass: residentialPerson", "cn: A", "sn: A", "l: x"}, 65, "invalid structural object class chain (inetOrgPerson/residentialPerson)"},
		"no class":           {[]string{"cn: A"}, 65, "no objectClass attribute"},
		"c not allowed":      {with("c: IN"), 65, "attribute 'c' not allowed"},
		"our class":          {with("objectClass: expostPerson", "c: IN", "company: X", "proxyAddresses: SMTP:a@b"), 0, ""},
		"bad country":        {with("c: India"), 21, "c: value #0 invalid per syntax"},
		"undefined":          {with("xmozillaanyphone: 1"), 17, "xmozillaanyphone: attribute type undefined"},
		"class unknown":      {[]string{"objectclass: top", "objectclass: nosuch", "cn: A"}, 21, "objectclass: value #1 invalid per syntax"},
		"class with a space": {[]string{"objectclass: top "}, 21, "objectclass: value #0 invalid per syntax"},
		"phone":              {with("telephoneNumber: 24650722 / 5311; #12*"), 21, "telephoneNumber: value #0 invalid per syntax"},
		"empty phone":        {with("telephoneNumber:"), 21, "telephoneNumber: value #0 invalid per syntax"},
		"latin-1":            {with("givenName: J\xfcrgen"), 21, "givenName: value #0 invalid per syntax"},
		"mail not ASCII":     {with("mail: jürgen@b"), 21, "mail: value #0 invalid per syntax"},
		"twice":              {with("mail: A@b", "mail: a@B"), 20, "mail: value #0 provided more than once"},
		"two names":          {with("displayName: A", "displayName: B"), 19, "displayName: multiple values provided"},
		"manager":            {with("manager: Some Boss"), 21, "manager: value #0 invalid per syntax"},
		"operational":        {with("createTimestamp: 20200101000000Z"), 19, "createTimestamp: no user modification allowed"},
		"group":              {[]string{"objectClass: groupOfNames", "cn: A"}, 65, "object class 'groupOfNames' requires attribute 'member'"},
		"anything goes":      {with("objectClass: extensibleObject", "c: IN"), 0, ""},
	} {
		e, err := Builtin().Canonical(entry(t, "cn=A,dc=x", c.lines...), false)
		if err == nil {
			_, err = Builtin().CheckEntry(e)
		}
		var code ldap.ResultCode
		var text string
		if le, ok := errors.AsType[*ldap.Error](err); ok {
			code, text = le.Code, le.Text
		}
		if code != c.code || text != c.text {
			t.Errorf("%s: %d %q, want %d %q", name, code, text, c.code, c.text)
		}
	}
}

func TestCanonical(t *testing.T) {
	t.Parallel()
	e, err := Builtin().Canonical(entry(t, "uid=bb+cn=Biswajit,dc=x", "objectclass: inetOrgPerson", "gn: Biswajit", "givenname: Bis", "surname: B", "cn: biswajit"), false)
	if err != nil {
		t.Fatal(err)
	}
	if got := e.Values("givenName"); len(got) != 2 {
		t.Errorf("givenName = %q", got)
	}
	if e.Value("uid") != "bb" || len(e.Values("cn")) != 1 {
		t.Error("the values of the RDN are not there once each")
	}
	structural, err := Builtin().CheckEntry(e)
	if err != nil || structural.Name() != "inetOrgPerson" {
		t.Errorf("structural object class %v, %v", structural, err)
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		filter, value string
		want          string // true, false, undefined
	}{
		{"(cn=biswajit  BANERJEE)", "Biswajit Banerjee", "true"},
		{"(cn= a )", "a", "true"},
		{"(cn=Bis*)", "biswajit", "true"},
		{"(cn=*WAJ*)", "biswajit", "true"},
		{"(cn=b*w*t)", "biswajit", "true"},
		{"(cn=b*t*t)", "bat", "false"},
		{"(cn=ajay *)", "Ajay", "true"},
		{"(cn=* kumar*)", "Ajay  Kumar", "true"},
		{"(cn=* kumar*)", "ajaykumar", "false"},
		{"(cn=STRASSE)", "straße", "true"},
		{"(cn=*ÜRG*)", "Jürgen", "true"},
		{"(cn=ﬁn)", "FIN", "true"},
		{"(cn=e\u0301)", "É", "true"},
		{"(cn=a\u00adb)", "ab", "true"},
		{"(cn>=b)", "C", "undefined"},
		{"(cn:caseIgnoreOrderingMatch:=d)", "C", "true"},
		{"(cn:caseIgnoreOrderingMatch:=c)", "C", "false"},
		{"(cn:caseIgnoreSubstringsMatch:=c)", "C", "undefined"},
		{"(telephoneNumber=+91-11 2465)", "+91112465", "true"},
		{"(telephoneNumber=-*)", "+91112465", "undefined"},
		{"(telephoneNumber=*2465*)", "+91 11 24-65", "true"},
		{"(telephoneNumber=foo*)", "123", "false"},
		{"(uidNumber=007)", "7", "true"},
		{"(uidNumber>=9)", "10", "true"},
		{"(uidNumber<=-1)", "-10", "true"},
		{"(uidNumber=x)", "7", "undefined"},
		{"(uidNumber:1.2.840.113556.1.4.803:=6)", "7", "true"},
		{"(uidNumber:1.2.840.113556.1.4.803:=8)", "7", "false"},
		{"(uidNumber:1.2.840.113556.1.4.804:=9)", "1", "true"},
		{"(cn:caseExactMatch:=a)", "A", "false"},
		{"(cn:nosuch:=a)", "A", "undefined"},
		{"(objectClass=person)", "inetOrgPerson", "true"},
		{"(objectClass=2.5.6.6)", "inetOrgPerson", "true"},
		{"(objectClass=inetOrgPerson)", "person", "false"},
		{"(objectClass=nosuch)", "person", "undefined"},
		{"(member=CN=A , DC=x)", "cn=a,dc=X", "true"},
		{"(member=surname=A)", "sn=a", "true"},
		{"(member=x)", "cn=a", "undefined"},
		{"(senderconfirm=true)", "TRUE", "true"},
		{"(createTimestamp>=20200101000000Z)", "20200101010000+0030", "true"},
		{"(createTimestamp=20200101003000Z)", "202001010100+0030", "true"},
		{"(entryUUID=B6F1F2A0-5c1e-4d53-9a37-65787073742e)", "b6f1f2a0-5c1e-4d53-9a37-65787073742e", "true"},
		{"(jpegPhoto=x)", "x", "undefined"},
		{"(mailMessageStore=A)", "a", "false"},
		{"(labeledURI=*B*)", "aBc", "undefined"},
		{"(deliveryProgramPath=*B*)", "abc", "true"},
		{`(cn=*\c3*)`, "ü", "undefined"},
		{`(cn=\ff)`, "ü", "undefined"},
	} {
		f, err := ldap.ParseFilter(c.filter)
		if err != nil {
			t.Fatal(err)
		}
		a, ok := Builtin().Assert(Builtin().Attribute(f.Attr), f)
		got := "undefined"
		var scratch []byte
		if ok {
			got = "false"
			if a.Match([]byte(c.value), &scratch) {
				got = "true"
			}
		}
		if got != c.want {
			t.Errorf("%s on %q: %s, want %s", c.filter, c.value, got, c.want)
		}
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	describe := func(s string) Description {
		d, ok := Builtin().Describe(s)
		if !ok {
			t.Fatalf("%q is not a description", s)
		}
		return d
	}
	for _, c := range []struct {
		sub, sup string
		want     bool
	}{
		{"cn", "name", true}, {"cn;lang-de", "cn", true}, {"cn", "cn;lang-de", false}, {"sn", "cn", false},
		{"userCertificate;binary", "userCertificate", true}, {"CN;x-a;lang-de", "commonName;lang-de;x-a", true},
		{"cn;lang-de-at", "cn;lang-de-", true}, {"cn;lang-de", "cn;lang-de-", true}, {"cn;lang-den", "cn;lang-de-", false},
	} {
		if got := describe(c.sub).IsA(describe(c.sup)); got != c.want {
			t.Errorf("%s is a %s: %v", c.sub, c.sup, got)
		}
	}
	if got := describe("gn;Lang-FR").String(); got != "givenName;lang-fr" {
		t.Errorf("canonical description %q", got)
	}
}

// TestRoundTrip reads what is published.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	s := Builtin()
	var file strings.Builder
	for _, a := range s.Subschema() {
		if a.Desc != "attributeTypes" && a.Desc != "objectClasses" {
			continue
		}
		for _, v := range a.Values {
			file.WriteString(a.Desc + ": " + string(v) + "\n")
		}
	}
	again, err := build([]source{{"published", file.String()}})
	if err != nil {
		t.Fatal(err)
	}
	if len(again.attributeList) != len(s.attributeList) || len(again.classList) != len(s.classList) {
		t.Fatalf("%d and %d definitions came back as %d and %d",
			len(s.attributeList), len(s.classList), len(again.attributeList), len(again.classList))
	}
	for i, a := range again.attributeList {
		if a.text != s.attributeList[i].text {
			t.Errorf("%s came back as %s", s.attributeList[i].text, a.text)
		}
	}
	for i, c := range again.classList {
		if c.text != s.classList[i].text {
			t.Errorf("%s came back as %s", s.classList[i].text, c.text)
		}
	}
}

// TestOpenLDAPFiles reads the schema files of an OpenLDAP that is installed.
func TestOpenLDAPFiles(t *testing.T) {
	t.Parallel()
	files, _ := filepath.Glob("/etc/ldap/schema/*.schema")
	if len(files) == 0 {
		t.Skip("no schema files of OpenLDAP here")
	}
	for _, name := range []string{"collective", "corba", "core", "cosine", "dyngroup", "inetorgperson", "java", "misc", "nis", "openldap", "pmi"} {
		text, err := os.ReadFile("/etc/ldap/schema/" + name + ".schema")
		if err != nil {
			continue
		}
		if _, err := Builtin().With(name+".schema", string(text)); err != nil {
			t.Error(err)
		}
	}
}

// TestLoad reads all the files that OpenLDAP brings, in both of its formats,
// and finds the same in both.
func TestLoad(t *testing.T) {
	t.Parallel()
	var loaded []*Schema
	for _, ext := range []string{".schema", ".ldif"} {
		files, _ := filepath.Glob("/etc/ldap/schema/*" + ext)
		if len(files) == 0 {
			t.Skip("no schema files of OpenLDAP here")
		}
		s, err := Load(slices.DeleteFunc(files, func(f string) bool { return strings.Contains(f, "msuser") || strings.Contains(f, "dsee") })) // whose two forms differ
		if err != nil {
			t.Fatal(err)
		}
		if s.Attribute("javaClassName") == nil || s.Class("javaMarshalledObject") == nil || s.Attribute("DUAConfSearchBase") == nil && s.Attribute("defaultSearchBase") == nil {
			t.Error("what the files define is not there")
		}
		loaded = append(loaded, s)
	}
	if a, b := len(loaded[0].Attributes()), len(loaded[1].Attributes()); a != b {
		t.Errorf("%d attributes in .schema, %d in .ldif", a, b)
	}
	bad := filepath.Join(t.TempDir(), "bad.ldif")
	if err := os.WriteFile(bad, []byte("dn: cn=bad,cn=schema,cn=config\nobjectClass: olcSchemaConfig\nolcAttributeTypes: ( 1.2.3 NAME 'x' SUP nosu\n ch )\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load([]string{bad}); err == nil || !strings.Contains(err.Error(), "bad.ldif:3") || !strings.Contains(err.Error(), `"nosuch"`) {
		t.Errorf("a wrong definition: %v", err)
	}
}

func FuzzSchemaFile(f *testing.F) {
	f.Add("attributetype ( 1.2.3 NAME ( 'a' 'b' ) SUP name )\nobjectclass ( 1.2.4 NAME 'c' MUST ( a $ b ) )")
	f.Add("objectidentifier x 1.2\nattributetype ( x:1 NAME 'y'\n SYNTAX 1.3{5} )")
	f.Fuzz(func(t *testing.T, text string) {
		s := &Schema{attributes: map[string]*AttributeType{}, classes: map[string]*ObjectClass{},
			syntaxes: map[string]*Syntax{}, rules: map[string]*MatchingRule{}, macros: map[string]string{}}
		_ = s.add("fuzz", text)
	})
}

func FuzzPrepare(f *testing.F) {
	f.Add([]byte("  Ajay  Kumar "))
	f.Add([]byte("Straße\u00ad\xff"))
	f.Add([]byte("A\x00\u0301")) // a control character between a letter and its accent
	f.Add([]byte("ϲ"))           // a lunate sigma is normalized to one that is folded
	f.Fuzz(func(t *testing.T, v []byte) {
		once := prepare(nil, v, foldCase)
		if again := prepare(nil, once, foldCase); string(again) != string(once) && strings.ToValidUTF8(string(v), "") == string(v) {
			t.Errorf("%q became %q and then %q", v, once, again)
		}
	})
}
