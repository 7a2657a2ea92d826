package ldapserver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"expost/internal/ldap"
	"expost/internal/ldapwire"
)

// TestControlsWithLDAPUtils uses every control as the tools of OpenLDAP do.
func TestControlsWithLDAPUtils(t *testing.T) {
	t.Parallel()
	url := serveOrganisation(t, Config{})
	manager := []string{"-x", "-H", url, "-D", managerDN, "-w", "secret"}
	reader := []string{"-x", "-H", url, "-D", readerDN, "-w", "letmein"}
	search := append(slices.Clone(manager), "-LLL", "-o", "ldif-wrap=no", "-b", bookDN)
	ajay := "cn=Ajay," + bookDN
	title := func(text string) string {
		return file(t, "dn: "+ajay+"\nchangetype: modify\nreplace: title\ntitle: "+text+"\n")
	}
	people := len(dns(run(t, nil, "ldapsearch", append(search, "(mail=*)", "1.1")...).stdout))
	for _, step := range []struct {
		name    string
		as      []string
		args    []string
		status  int
		printed string // of stdout and stderr; ^ at the start: not printed
	}{
		{"ldapsearch", search, []string{"-E", "!pr=3/noprompt", "(mail=*)", "1.1"}, 0, "dn: " + ajay},
		{"ldapsearch", search, []string{"-E", "!sss=cn", "(mail=*)", "1.1"}, 0, "dn: " + ajay},
		{"ldapsearch", search, []string{"-E", "!sss=-cn:caseExactOrderingMatch", "(mail=*)", "1.1"}, 0, "dn: " + ajay},
		{"ldapsearch", search, []string{"-E", "!sss=nonesuch", "(mail=*)", "1.1"}, 12, "^dn: "},
		{"ldapsearch", search, []string{"-E", "sss=nonesuch", "(mail=*)", "1.1"}, 0, "dn: " + ajay},
		{"ldapsearch", search, []string{"-E", "!mv=((mail=ajay@*))", "(cn=ajay)", "mail", "cn"}, 0, "mail: ajay@linuxforu.com"},
		{"ldapsearch", search, []string{"-E", "!mv=((mail=ajay@*))", "(cn=ajay)", "mail", "cn"}, 0, "^cn: "},
		{"ldapsearch", search, []string{"-E", "!subentries=false", "(cn=ajay)", "1.1"}, 0, "dn: " + ajay},
		{"ldapsearch", search, []string{"-E", "!subentries=true", "(cn=ajay)", "1.1"}, 0, "^dn: "},
		{"ldapsearch", search, []string{"-MM", "(cn=ajay)", "1.1"}, 0, "dn: " + ajay},
		{"ldapsearch", search, []string{"-e", "!assert=(ou=addressbook)", "(cn=ajay)", "1.1"}, 0, "dn: " + ajay},
		{"ldapsearch", search, []string{"-e", "!assert=(ou=other)", "(cn=ajay)", "1.1"}, 122, "^dn: "},
		{"ldapsearch", search, []string{"-e", "!authzid=dn:" + readerDN, "(cn=ajay)", "1.1"}, 0, "dn: " + ajay},
		{"ldapsearch", search, []string{"-e", "!authzid=dn:uid=nobody," + suffixDN, "(cn=ajay)", "1.1"}, 123, "^dn: "},
		{"ldapsearch", search, []string{"-e", "!authzid=", "-b", "ou=people," + suffixDN, "(objectClass=*)", "1.1"}, 50, "^dn: "},
		{"ldapwhoami", manager, []string{"-e", "!authzid=dn:" + readerDN}, 0, "dn:" + readerDN},
		{"ldapwhoami", reader, []string{"-e", "!authzid=dn:" + managerDN}, 1, "Denied (123)"},
		{"ldapmodify", manager, []string{"-e", "!assert=(title=none)", "-f", title("Clerk")}, 122, "assertion is not true"},
		{"ldapmodify", manager, []string{"-e", "!assert=(!(title=*))", "-e", "!preread=title", "-e", "!postread=title", "-f", title("Clerk")}, 0, "# ==> postread"},
		{"ldapcompare", manager, []string{ajay, "title:Clerk"}, 6, "TRUE"},
		{"ldapcompare", manager, []string{"-e", "!assert=(title=Boss)", ajay, "title:Clerk"}, 122, ""},
		{"ldapmodify", manager, []string{"-e", "!preread=title", "-f", title("Boss")}, 0, "title: Clerk"},
		{"ldapmodify", manager, []string{"-e", "!authzid=dn:" + readerDN, "-f", title("Lord")}, 50, "no write access"},
		{"ldapmodrdn", manager, []string{"-e", "!postread=cn", "-r", ajay, "cn=Ajay B"}, 0, "dn: cn=Ajay B," + bookDN},
		{"ldapdelete", manager, []string{"-e", "!preread=title,mail", "cn=Ajay B," + bookDN}, 0, "title: Boss"},
		{"ldappasswd", reader, []string{"-a", "wrong", "-s", "changed", readerDN}, 1, "unwilling to verify old password"},
		{"ldappasswd", reader, []string{"-a", "letmein", "-s", "changed"}, 0, ""},
		{"ldapwhoami", reader, nil, 49, ""},
		{"ldappasswd", manager, []string{"-s", "letmein", readerDN}, 0, ""},
		{"ldapwhoami", reader, nil, 0, readerDN},
		{"ldappasswd", reader, []string{"-s", "stolen", managerDN}, 1, "does not exist"},
		{"ldappasswd", []string{"-x", "-H", url}, []string{"-s", "stolen", readerDN}, 1, "modifications require authentication"},
		{"ldappasswd", manager, []string{readerDN}, 0, "New password: "},
	} {
		got := run(t, nil, step.name, append(slices.Clone(step.as), step.args...)...)
		unwanted, not := strings.CutPrefix(step.printed, "^")
		if got.status != step.status || strings.Contains(got.stdout+got.stderr, unwanted) == not {
			t.Errorf("%s %q: status %d, want %d with %q\n%s%s", step.name, step.args, got.status, step.status, step.printed, got.stdout, got.stderr)
		}
		if slices.Contains(step.args, "!pr=3/noprompt") && len(dns(got.stdout)) != people {
			t.Errorf("pages have %d entries, want %d", len(dns(got.stdout)), people)
		}
	}
}

// TestOutlookBrowses is what Outlook does where "Enable browsing" is ticked: it
// looks for both controls in the root DSE, shows the top of the list, sorted
// without an ordering rule, drags the scroll bar and types a name.
func TestOutlookBrowses(t *testing.T) {
	t.Parallel()
	url := serveOrganisation(t, Config{})
	root := run(t, nil, "ldapsearch", "-x", "-H", url, "-LLL", "-s", "base", "-b", "", "(objectclass=*)", "supportedControl", "supportedCapabilities").stdout
	for _, oid := range []string{ldapwire.OIDSortRequest, ldapwire.OIDVLVRequest} {
		if !strings.Contains(root, "supportedControl: "+oid+"\n") {
			t.Errorf("the root DSE has no %s:\n%s", oid, root)
		}
	}
	c := dial(t, strings.TrimPrefix(url, "ldap://"))
	base := ldap.DN{{{Type: "ou", Value: "addressbook"}}, {{Type: "dc", Value: "linuxforu"}}, {{Type: "dc", Value: "com"}}}
	// What Outlook sends: cn, no orderingRule.
	sort := ldapwire.Control{OID: ldapwire.OIDSortRequest, Critical: true, Value: []byte("\x30\x06\x30\x04\x04\x02cn")}
	browse := func(id int32, vlv string) (names []string, target, count int) {
		t.Helper()
		c.send(id, &ldapwire.SearchRequest{SearchRequest: ldap.SearchRequest{Base: base, Scope: ldap.ScopeSub, SizeLimit: 100, TimeLimit: 60,
			Filter: filter(t, "(&(mail=*)(cn=*))"), Attributes: strings.Fields(outlookAttributes)}},
			sort, ldapwire.Control{OID: ldapwire.OIDVLVRequest, Critical: true, Value: []byte(vlv)})
		for {
			m := c.receive()
			if e, ok := m.Op.(*ldapwire.SearchEntry); ok {
				names = append(names, strings.ToLower((&ldap.Entry{Attributes: e.Attributes}).Value("cn")))
				continue
			}
			r, _ := resultIn(m.Op)
			if r.Code != ldap.Success || len(m.Controls) != 2 ||
				m.Controls[0].OID != ldapwire.OIDSortResponse || string(m.Controls[0].Value) != "\x30\x03\x0a\x01\x00" || m.Controls[1].OID != ldapwire.OIDVLVResponse {
				t.Fatalf("%+v %+v", r, m.Controls)
			}
			v := m.Controls[1].Value // a sequence of three short numbers
			return names, int(v[4]), int(v[7])
		}
	}
	all, target, count := browse(1, "\x30\x0e\x02\x01\x00\x02\x01\x63\xa0\x06\x02\x01\x01\x02\x01\x00")
	if target != 1 || count != len(all) || count < 5 || !slices.IsSorted(all) {
		t.Fatalf("the top: target %d of %d, %q", target, count, all)
	}
	n := byte(count)
	got, target, _ := browse(2, "\x30\x0e\x02\x01\x01\x02\x01\x01\xa0\x06\x02\x01"+string([]byte{n})+"\x02\x01"+string([]byte{n}))
	if target != count || !slices.Equal(got, all[count-2:]) {
		t.Errorf("the end: target %d, %q, want %q", target, got, all[count-2:])
	}
	got, target, _ = browse(3, "\x30\x0b\x02\x01\x00\x02\x01\x00\x81\x03BIS")
	if len(got) != 1 || !strings.HasPrefix(got[0], "biswajit") || all[target-1] != got[0] {
		t.Errorf("typed: target %d, %q", target, got)
	}
}

func TestWindowsThatAreRefused(t *testing.T) {
	t.Parallel()
	addr, _ := start(t, Config{Directory: organisation(t)})
	c := dial(t, addr)
	vlv := ldapwire.Control{OID: ldapwire.OIDVLVRequest, Value: []byte("\x30\x0e\x02\x01\x00\x02\x01\x63\xa0\x06\x02\x01\x00\x02\x01\x00")}
	sort := ldapwire.Control{OID: ldapwire.OIDSortRequest, Value: []byte("\x30\x06\x30\x04\x04\x02ou")}
	ask := func(id int32, controls ...ldapwire.Control) {
		search := anySearch(t)
		search.Base = ldap.DN{}
		c.send(id, simpleBind(managerDN, "secret"))
		c.expect(id, ldap.Success)
		c.send(id, search, controls...)
	}
	ask(1, vlv)
	if m := c.receive(); len(m.Controls) != 1 || string(m.Controls[0].Value) != "\x30\x09\x02\x01\x00\x02\x01\x00\x0a\x01\x3c" {
		t.Errorf("without a sort control: %+v", m)
	}
	ask(2, vlv, sort)
	c.expect(2, ldap.OffsetRangeError)
	ask(3, vlv, sort, ldapwire.PagedControl{Size: 2}.Control())
	c.expect(3, ldap.ProtocolError)
	ask(4, sort, sort)
	c.expect(4, ldap.ProtocolError)
	ask(5, ldapwire.PagedControl{Size: 2, Cookie: []byte("forged")}.Control())
	c.expect(5, ldap.UnwillingToPerform)
	ask(6, ldapwire.Control{OID: ldapwire.OIDPreRead, Critical: true})
	c.expect(6, ldap.UnavailableCriticalExt)
	ask(7, ldapwire.Control{OID: ldapwire.OIDProxiedAuth})
	c.expect(7, ldap.ProtocolError)
}

// TestPagesWithGoLDAP dumps in pages, and gives up in the middle.
func TestPagesWithGoLDAP(t *testing.T) {
	t.Parallel()
	c, err := goldap.DialURL(serveOrganisation(t, Config{}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	request := func(controls ...goldap.Control) *goldap.SearchRequest {
		return goldap.NewSearchRequest(bookDN, goldap.ScopeWholeSubtree, goldap.NeverDerefAliases, 0, 0, false, "(mail=*)", []string{"1.1"}, controls)
	}
	all, err := c.Search(request())
	if err != nil {
		t.Fatal(err)
	}
	for size := range uint32(len(all.Entries) + 2) {
		if size == 0 {
			continue
		}
		paged, err := c.SearchWithPaging(request(), size)
		if err != nil || len(paged.Entries) != len(all.Entries) {
			t.Errorf("pages of %d: %d entries, want %d, %v", size, len(paged.Entries), len(all.Entries), err)
		}
	}
	page := goldap.NewControlPaging(2)
	first, err := c.Search(request(page))
	if err != nil {
		t.Fatal(err)
	}
	page.SetCookie(first.Controls[0].(*goldap.ControlPaging).Cookie)
	page.PagingSize = 0
	last, err := c.Search(request(page))
	if err != nil || len(last.Entries) != 0 || len(last.Controls[0].(*goldap.ControlPaging).Cookie) != 0 {
		t.Errorf("giving up: %+v, %v", last, err)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	started := make(chan struct{}, 1)
	addr, _ := start(t, Config{Directory: &scripted{search: untilCancelled(started)}})
	c := dial(t, addr)
	cancel := func(id int32, value string) {
		c.send(id, &ldapwire.ExtendedRequest{Name: ldapwire.OIDCancel, Value: []byte(value)})
	}
	c.send(1, anySearch(t))
	<-started
	cancel(2, "\x30\x03\x02\x01\x01")
	c.expect(1, ldap.Canceled)
	c.expect(2, ldap.Success)
	cancel(3, "\x30\x03\x02\x01\x01")
	c.expect(3, ldap.NoSuchOperation)
	cancel(4, "\x30\x03\x02\x01\x04")
	c.expect(4, ldap.CannotCancel)
	cancel(5, "nonsense")
	c.expect(5, ldap.ProtocolError)
}

// clientCertificate returns a certificate of a client and the pool that it is
// good for.
func clientCertificate(t *testing.T, template *x509.Certificate) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.NotAfter = big.NewInt(1), time.Now().Add(time.Hour)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestBindByCertificate(t *testing.T) {
	t.Parallel()
	url := serveOrganisation(t, Config{})
	plain := dial(t, strings.TrimPrefix(url, "ldap://"))
	plain.send(1, &ldapwire.BindRequest{Version: 3, Auth: ldapwire.AuthSASL, Mechanism: "EXTERNAL"})
	plain.expect(1, ldap.InappropriateAuth)

	d := organisation(t)
	const account = "uid=cert,ou=people," + suffixDN
	addr, _ := start(t, Config{Directory: d})
	ldapadd(t, "ldap://"+addr, file(t, "dn: "+account+"\nobjectClass: inetOrgPerson\nobjectClass: qmailUser\nuid: cert\ncn: C\nsn: C\nmail: cert@linuxforu.com\nmailMessageStore: linuxforu.com/cert\n"))
	subject := func(oidsAndValues ...string) []pkix.AttributeTypeAndValue {
		oids := map[string]asn1.ObjectIdentifier{"dc": {0, 9, 2342, 19200300, 100, 1, 25}, "ou": {2, 5, 4, 11}, "uid": {0, 9, 2342, 19200300, 100, 1, 1}}
		var list []pkix.AttributeTypeAndValue
		for _, s := range oidsAndValues {
			name, value, _ := strings.Cut(s, "=")
			list = append(list, pkix.AttributeTypeAndValue{Type: oids[name], Value: value})
		}
		return list
	}
	for name, c := range map[string]struct {
		template *x509.Certificate
		asked    string
		code     ldap.ResultCode
		who      string
	}{
		"of an entry":      {&x509.Certificate{Subject: pkix.Name{ExtraNames: subject("dc=com", "dc=linuxforu", "ou=people", "uid=cert")}}, "", ldap.Success, "dn:" + account},
		"by an address":    {&x509.Certificate{Subject: pkix.Name{CommonName: "X"}, EmailAddresses: []string{"x@example.org", "cert@linuxforu.com"}}, "dn:" + account, ldap.Success, "dn:" + account},
		"as another":       {&x509.Certificate{EmailAddresses: []string{"cert@linuxforu.com"}}, "dn:" + bookDN, ldap.InappropriateAuth, ""},
		"of nobody":        {&x509.Certificate{EmailAddresses: []string{"x@example.org"}}, "", ldap.InvalidCredentials, ""},
		"of the subschema": {&x509.Certificate{Subject: pkix.Name{CommonName: "Subschema"}}, "", ldap.InvalidCredentials, ""},
	} {
		t.Run(name, func(t *testing.T) {
			cert, pool := clientCertificate(t, c.template)
			config := serverTLS(t)
			config.ClientAuth, config.ClientCAs = tls.VerifyClientCertIfGiven, pool
			addr, _ := startOn(t, Config{Directory: d, PlaintextAuth: PlaintextNever}, func(l net.Listener) net.Listener { return tls.NewListener(l, config) })
			nc, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{cert}})
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			secured := &client{t: t}
			secured.use(nc)
			secured.send(1, &ldapwire.BindRequest{Version: 3, Auth: ldapwire.AuthSASL, Mechanism: "EXTERNAL", Credentials: []byte(c.asked)})
			secured.expect(1, c.code)
			secured.send(2, &ldapwire.ExtendedRequest{Name: ldapwire.OIDWhoAmI})
			if r, ok := secured.receive().Op.(*ldapwire.ExtendedResponse); !ok || string(r.Value) != c.who {
				t.Errorf("who am I: %+v, want %q", r, c.who)
			}
		})
	}
}

// TestPhotoOfExchange asks for jpegPhoto where Exchange has thumbnailPhoto.
func TestPhotoOfExchange(t *testing.T) {
	t.Parallel()
	url := serveOrganisation(t, Config{})
	ldapadd(t, url, file(t, "dn: cn=Photo,"+bookDN+"\nobjectClass: inetOrgPerson\nobjectClass: expostPerson\ncn: Photo\nsn: P\nthumbnailPhoto: small\n"))
	for attrs, want := range map[string]string{
		"jpegPhoto":                "jpegPhoto:: c21hbGw=",
		"thumbnailPhoto":           "thumbnailPhoto:: c21hbGw=",
		"cn":                       "cn: Photo",
		"*":                        "cn: Photo\nobjectClass: expostPerson\nobjectClass: inetOrgPerson\nsn: P\nthumbnailPhoto:: c21hbGw=",
		"JPEGPhoto thumbnailPhoto": "jpegPhoto:: c21hbGw=\nthumbnailPhoto:: c21hbGw=",
	} {
		got := anonymously(t, url, bookDN, append([]string{"(cn=photo)"}, strings.Fields(attrs)...)...)
		got.stdout = strings.ReplaceAll(strings.ReplaceAll(got.stdout, "Photo: small", "Photo:: c21hbGw="), "dn: cn=Photo,"+bookDN+"\n", "")
		if sorted(got.stdout) != want {
			t.Errorf("%s: %q, want %q", attrs, sorted(got.stdout), want)
		}
	}
}
