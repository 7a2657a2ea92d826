package ldapwire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	goldap "github.com/go-ldap/ldap/v3"

	"expost/internal/ldap"
)

// outlookAttributes is what Outlook asks for, in its order.
const outlookAttributes = "cn commonName mail roleOccupant display-name displayname sn surname co organizationName o givenName " +
	"legacyExchangeDN objectClass uid mailNickname title company physicalDeliveryOfficeName telephoneNumber"

func mustDN(t testing.TB, s string) ldap.DN {
	t.Helper()
	dn, err := ldap.ParseDN(s)
	if err != nil {
		t.Fatal(err)
	}
	return dn
}

func mustFilter(t testing.TB, s string) *ldap.Filter {
	t.Helper()
	f, err := ldap.ParseFilter(s)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// outlookSearch is the search that Outlook makes when somebody types "Bis".
func outlookSearch(t testing.TB) *Message {
	return &Message{ID: 2, Op: &SearchRequest{ldap.SearchRequest{
		Base: mustDN(t, "ou=addressbook,dc=linuxforu,dc=com"), Scope: ldap.ScopeSub, SizeLimit: 100, TimeLimit: 60,
		Filter:     mustFilter(t, "(&(mail=*)(|(mail=Bis*)(|(cn=Bis*)(|(sn=Bis*)(givenName=Bis*)))))"),
		Attributes: strings.Fields(outlookAttributes),
	}}}
}

// everyFilter has every kind of filter in it.
const everyFilter = `(&(a=b)(|(sn=a*b*c*d)(sn=*x*)(sn=a*)(sn=*z))(!(x>=1))(y<=2)(z~=approx)(p=*)(cn:dn:caseExactMatch:=v)(:1.2.3:=w)(o:=u)(&)(|))`

// messages returns one message of every type, and variants.
func messages(t testing.TB) []*Message {
	dn := mustDN(t, "cn=Biswajit Banerjee,ou=addressbook,dc=linuxforu,dc=com")
	result := Result{Code: ldap.NoSuchObject, Matched: "dc=com", Text: "nobody there", Referral: []string{"ldap://a/", "ldap://b/"}}
	attrs := []ldap.Attribute{ldap.NewAttribute("cn", "Biswajit", "Bis"), {Desc: "empty"}, ldap.NewAttribute("jpegPhoto;binary", strings.Repeat("\xff\x00", 40000))}
	all := []*Message{
		outlookSearch(t),
		{ID: 1, Op: &BindRequest{Version: 3, Name: "cn=manager", Password: []byte("secret")}},
		{ID: 1, Op: &BindRequest{Version: 3, Auth: AuthSASL, Mechanism: "PLAIN", Credentials: []byte("\x00u\x00p")}},
		{ID: 1, Op: &BindRequest{Version: 3, Auth: AuthSASL, Mechanism: "EXTERNAL"}},
		{ID: 1, Op: &BindRequest{Version: 2, Auth: AuthOther, Credentials: []byte("NTLM")}},
		{ID: 0x7fffffff, Op: &UnbindRequest{}},
		{ID: 3, Op: &SearchRequest{ldap.SearchRequest{Base: ldap.DN{}, Filter: mustFilter(t, everyFilter), TypesOnly: true, Deref: 3}}},
		{ID: 128, Op: &ModifyRequest{DN: dn, Changes: []ldap.Change{{Op: ldap.ChangeAdd, Attribute: attrs[0]}, {Op: ldap.ChangeIncrement, Attribute: attrs[1]}}}},
		{ID: 256, Op: &AddRequest{ldap.Entry{DN: dn, Attributes: attrs}}},
		{ID: 65536, Op: &DeleteRequest{DN: dn}},
		{ID: 6, Op: &ModifyDNRequest{DN: dn, NewRDN: dn[1], DeleteOldRDN: true}},
		{ID: 6, Op: &ModifyDNRequest{DN: dn, NewRDN: dn[1], NewSuperior: ldap.DN{}}},
		{ID: 7, Op: &CompareRequest{DN: dn, Attr: "cn", Value: []byte("x")}},
		{ID: 8, Op: &AbandonRequest{ID: 300}},
		{ID: 9, Op: &ExtendedRequest{Name: OIDStartTLS}},
		{ID: 9, Op: &ExtendedRequest{Name: OIDWhoAmI, Value: []byte{}}},
		{ID: 1, Op: &BindResponse{Result: result}},
		{ID: 1, Op: &BindResponse{Credentials: []byte("more")}},
		{ID: 1, Op: &SearchEntry{DN: dn.String(), Attributes: attrs}},
		{ID: 1, Op: &SearchReference{URLs: []string{"ldap://other/"}}},
		{ID: 1, Op: &ExtendedResponse{Result: result, Name: "1.2.3", Value: []byte("v")}},
		{ID: 1, Op: &IntermediateResponse{Name: "1.2.3", Value: []byte("v")}},
		{ID: 1, Op: &IntermediateResponse{}},
		NoticeOfDisconnection(ldap.ProtocolError, "unknown LDAP request"),
	}
	for _, tag := range []Tag{TagSearchDone, TagModifyResponse, TagAddResponse, TagDeleteResponse, TagModifyDNResponse, TagCompareResponse} {
		all = append(all, &Message{ID: 4, Op: &Response{Of: tag, Result: result}, Controls: []Control{
			{OID: "1.2.840.113556.1.4.319", Critical: true, Value: []byte{0x30, 0}}, {OID: "2.16.840.1.113730.3.4.2"}, {OID: "1.1", Value: []byte{}}}})
	}
	return all
}

func TestEveryMessageComesBack(t *testing.T) {
	t.Parallel()
	for _, m := range messages(t) {
		b := m.Append(nil)
		got, err := Decode(b)
		if err != nil {
			t.Errorf("%T: %v", m.Op, err)
			continue
		}
		if !reflect.DeepEqual(got, m) {
			t.Errorf("%T came back as %+v, was %+v", m.Op, got.Op, m.Op)
		}
	}
}

func TestAppendGoesBehindWhatIsThere(t *testing.T) {
	t.Parallel()
	m := outlookSearch(t)
	if got, want := m.Append([]byte("before")), append([]byte("before"), m.Append(nil)...); !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

func TestAppendEntryIsASearchEntry(t *testing.T) {
	t.Parallel()
	e := &ldap.Entry{DN: mustDN(t, `cn=a\,b,dc=com`), Attributes: []ldap.Attribute{ldap.NewAttribute("cn", "a,b"), ldap.NewAttribute("sn")}}
	controls := []Control{{OID: "1.2"}}
	want := (&Message{ID: 70000, Op: &SearchEntry{DN: e.DN.String(), Attributes: e.Attributes}, Controls: controls}).Append(nil)
	if got := AppendEntry(nil, 70000, e, false, controls); !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

// TestFilterAgainstGoLDAP compares our BER of a filter with another encoder's.
func TestFilterAgainstGoLDAP(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"(&(mail=*)(|(mail=Bis*)(|(cn=Bis*)(|(sn=Bis*)(givenName=Bis*)))))", "(!(cn=a*b*c))", "(&(a>=1)(b<=2)(c~=3))", "(cn:caseExactMatch:=x)"} {
		p, err := goldap.CompileFilter(s)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := appendFilter(nil, mustFilter(t, s)), p.Bytes(); !bytes.Equal(got, want) {
			t.Errorf("%s: got %x, want %x", s, got, want)
		}
	}
}

// wrap puts content into an element.
func wrap(tag byte, content ...[]byte) []byte {
	b, mark := begin(nil, tag)
	return end(append(b, bytes.Join(content, nil)...), mark)
}

func TestForeignEncodingsAreRead(t *testing.T) {
	t.Parallel()
	for name, hex := range map[string]string{
		"long lengths as Active Directory writes them":        "\x30\x84\x00\x00\x00\x05\x02\x01\x01\x42\x00",
		"an unbind with a component of a later protocol":      "\x30\x08\x02\x01\x01\x42\x00\x8f\x01\x00",
		"a message ID with leading zeros":                     "\x30\x09\x02\x05\x00\x00\x00\x00\x07\x42\x00",
		"a control whose criticality is TRUE in another form": "\x30\x11\x02\x01\x01\x42\x00\xa0\x0a\x30\x08\x04\x031.1\x01\x01\x01",
	} {
		if _, err := Decode([]byte(hex)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSyntaxErrors(t *testing.T) {
	t.Parallel()
	search := outlookSearch(t).Append(nil)
	cases := map[string][]byte{
		"nothing":                       {},
		"indefinite length":             []byte("\x30\x80\x02\x01\x01\x42\x00\x00\x00"),
		"a length of five octets":       []byte("\x30\x85\x00\x00\x00\x00\x05\x02\x01\x01\x42\x00"),
		"a negative message ID":         []byte("\x30\x05\x02\x01\xff\x42\x00"),
		"a message ID of nine bytes":    []byte("\x30\x0d\x02\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01\x42\x00"),
		"no operation":                  []byte("\x30\x03\x02\x01\x01"),
		"an unknown operation":          []byte("\x30\x05\x02\x01\x01\x5f\x00"),
		"an operation of another class": []byte("\x30\x05\x02\x01\x01\x7e\x00"),
		"a constructed string":          wrap(0x30, []byte{2, 1, 1}, wrap(0x60, []byte{2, 1, 3}, wrap(0x24, wrap(4, []byte("cn"))))),
		"an element longer than the rest": wrap(0x30, []byte{2, 1, 1},
			[]byte{0x60, 0x05, 2, 1, 3, 4, 9}),
		"two bytes more":      append(append([]byte{}, search...), 5, 0),
		"cut off":             search[:len(search)-1],
		"bind without a way":  wrap(0x30, []byte{2, 1, 1}, wrap(0x60, []byte{2, 1, 3}, wrap(4))),
		"a not of two":        searchWith(wrap(0xa2, wrap(0x87, []byte("a")), wrap(0x87, []byte("b")))),
		"initial in the last": searchWith(wrap(0xa4, wrap(4, []byte("a")), wrap(0x30, wrap(0x81, []byte("x")), wrap(0x80, []byte("y"))))),
		"final in the middle": searchWith(wrap(0xa4, wrap(4, []byte("a")), wrap(0x30, wrap(0x82, []byte("x")), wrap(0x81, []byte("y"))))),
		"no filter":           searchWith(wrap(0x30)),
	}
	for name, b := range cases {
		if _, err := Decode(b); !isA[*SyntaxError](err) {
			t.Errorf("%s: got %v, want a syntax error", name, err)
		}
	}
}

func isA[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// searchWith returns a search request with a filter of these bytes.
func searchWith(filter []byte) []byte {
	return wrap(0x30, []byte{2, 1, 5}, wrap(0x63, wrap(4), []byte{10, 1, 2, 10, 1, 0, 2, 1, 0, 2, 1, 0, 1, 1, 0}, filter, wrap(0x30)))
}

func TestRefusedRequests(t *testing.T) {
	t.Parallel()
	deep := wrap(0x87, []byte("a"))
	for range 150 {
		deep = wrap(0xa2, deep)
	}
	wide := wrap(0xa1, bytes.Repeat([]byte{0x87, 1, 'a'}, maxFilterNodes+1))
	cases := []struct {
		name string
		b    []byte
		tag  Tag
		code ldap.ResultCode
	}{
		{"deep filter", searchWith(deep), TagSearchRequest, ldap.AdminLimitExceeded},
		{"wide filter", searchWith(wide), TagSearchRequest, ldap.AdminLimitExceeded},
		{"wrong DN", wrap(0x30, []byte{2, 1, 5}, wrap(0x4a, []byte("no dn"))), TagDeleteRequest, ldap.InvalidDNSyntax},
		{"scope", bytes.Replace(searchWith(wrap(0x87, []byte("a"))), []byte{10, 1, 2}, []byte{10, 1, 9}, 1), TagSearchRequest, ldap.ProtocolError},
		{"deref", bytes.Replace(searchWith(wrap(0x87, []byte("a"))), []byte{10, 1, 0}, []byte{10, 1, 7}, 1), TagSearchRequest, ldap.ProtocolError},
		{"kind of change", wrap(0x30, []byte{2, 1, 5}, wrap(0x66, wrap(4), wrap(0x30, wrap(0x30, []byte{10, 1, 4}, wrap(0x30, wrap(4, []byte("a")), wrap(0x31)))))), TagModifyRequest, ldap.ProtocolError},
		{"new RDN", wrap(0x30, []byte{2, 1, 5}, wrap(0x6c, wrap(4, []byte("a=b")), wrap(4, []byte("c=d,e=f")), []byte{1, 1, 0})), TagModifyDNRequest, ldap.InvalidDNSyntax},
	}
	for _, c := range cases {
		_, err := Decode(c.b)
		got, ok := errors.AsType[*RequestError](err)
		if !ok {
			t.Errorf("%s: got %v, want a request error", c.name, err)
			continue
		}
		if got.ID != 5 || got.Tag != c.tag || got.Err.Code != c.code {
			t.Errorf("%s: got message %d, operation %#x, code %d", c.name, got.ID, got.Tag, got.Err.Code)
		}
	}
}

func TestOddFilters(t *testing.T) {
	t.Parallel()
	for want, filter := range map[string][]byte{
		"(a=*b*)": wrap(0xa4, wrap(4, []byte("a")), wrap(0x30, wrap(0x80), wrap(0x81, []byte("b")), wrap(0x81), wrap(0x82))),
		"(a=*)":   wrap(0xa4, wrap(4, []byte("a")), wrap(0x30, wrap(0x81))),
	} {
		m, err := Decode(searchWith(filter))
		if err != nil {
			t.Errorf("%s: %v", want, err)
			continue
		}
		if got := m.Op.(*SearchRequest).Filter.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	m, err := Decode(searchWith(wrap(0xaf, []byte("later"))))
	if err != nil {
		t.Fatal(err)
	}
	if f := m.Op.(*SearchRequest).Filter; f.Op != 15 || string(f.Value) != "later" {
		t.Errorf("a filter of a later protocol became %+v", f)
	}
}

func TestReaderTakesMessagesFromAStream(t *testing.T) {
	t.Parallel()
	all := messages(t)
	var stream []byte
	for _, m := range all {
		stream = m.Append(stream)
	}
	for name, source := range map[string]io.Reader{"at once": bytes.NewReader(stream), "byte by byte": iotest.OneByteReader(bytes.NewReader(stream))} {
		r := NewReader(bufio.NewReaderSize(source, 512), 1<<20)
		for _, m := range all {
			got, err := r.Next()
			if err != nil || !reflect.DeepEqual(got, m) {
				t.Fatalf("%s: %T: got %+v, %v", name, m.Op, got, err)
			}
		}
		if _, err := r.Next(); err != io.EOF {
			t.Errorf("%s: at the end: %v", name, err)
		}
	}
}

func TestReaderLimits(t *testing.T) {
	t.Parallel()
	next := func(b string, limit int) error {
		_, err := NewReader(bufio.NewReader(strings.NewReader(b)), limit).Next()
		return err
	}
	if err := next("\x30\x84\x7f\xff\xff\xff", 256<<10); !isA[*TooBigError](err) {
		t.Errorf("2 GiB announced: %v", err)
	}
	if err := next("\x30\x83\x10\x00\x00", 16<<20); err != io.ErrUnexpectedEOF {
		t.Errorf("1 MiB announced, none sent: %v", err)
	}
	if err := next("\x30", 100); err != io.ErrUnexpectedEOF {
		t.Errorf("one byte: %v", err)
	}
	for _, b := range []string{"GET / HTTP/1.0\r\n", "\x30\x80\x00\x00", "\x16\x03\x01\x02"} {
		if err := next(b, 1<<20); !isA[*SyntaxError](err) {
			t.Errorf("%q: %v", b, err)
		}
	}
}

func TestCompleteSaysWhetherNextWaits(t *testing.T) {
	t.Parallel()
	m := (&Message{ID: 1, Op: &DeleteRequest{DN: mustDN(t, "cn="+strings.Repeat("x", 300))}}).Append(nil)
	for n := range len(m) + 1 {
		r := NewReader(bufio.NewReader(bytes.NewReader(m[:n])), 1<<20)
		if n > 0 && r.Wait() != nil {
			t.Fatal("nothing came")
		}
		if got, want := r.Complete(), n == len(m); got != want {
			t.Errorf("%d of %d bytes: %v", n, len(m), got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range messages(f) {
		f.Add(m.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err != nil {
			if !isA[*SyntaxError](err) && !isA[*RequestError](err) {
				t.Fatalf("error of type %T", err)
			}
			return
		}
		wire := m.Append(nil)
		again, err := Decode(wire)
		if err != nil {
			t.Fatalf("what we wrote cannot be read: %v\n%+v", err, m.Op)
		}
		if !reflect.DeepEqual(m, again) {
			t.Fatalf("came back as %+v, was %+v", again.Op, m.Op)
		}
	})
}

func FuzzReader(f *testing.F) {
	var stream []byte
	for _, m := range messages(f) {
		stream = m.Append(stream)
	}
	f.Add(stream)
	f.Add([]byte("\x30\x84\x00\x00\x00\x05\x02\x01\x01\x42\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(bufio.NewReaderSize(bytes.NewReader(b), 64), 1<<16)
		for {
			_, err := r.Next()
			if err != nil && !isA[*RequestError](err) {
				return
			}
		}
	})
}

func BenchmarkDecodeOutlookSearch(b *testing.B) {
	wire := outlookSearch(b).Append(nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(wire); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendEntry(b *testing.B) {
	e := &ldap.Entry{DN: mustDN(b, "uid=biswajit.banerjee,ou=addressbook,dc=linuxforu,dc=com")}
	for _, a := range strings.Fields("objectClass uid cn sn givenName mail telephoneNumber mobile title departmentNumber street l") {
		e.Attributes = append(e.Attributes, ldap.NewAttribute(a, "a value of common length"))
	}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendEntry(buf[:0], 5, e, false, nil)
	}
}
