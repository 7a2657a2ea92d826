// Package directorytest is the contract of directory.Directory as tests. Every
// implementation passes it.
package directorytest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/mail"
)

// Config is what the suite wants opened: the suffix and a root that logs in
// with a password, ou=people and ou=addressbook below the suffix, the latter
// open to anonymous clients.
type Config struct {
	Suffix       ldap.DN
	RootDN       ldap.DN
	RootPassword string
	Anonymous    []ldap.DN
	Domains      []string
}

// DN reads a DN that is known to be good.
func DN(s string) ldap.DN {
	dn, err := ldap.ParseDN(s)
	if err != nil {
		panic(err)
	}
	return dn
}

// Defaults returns the Config that the suite opens.
func Defaults() Config {
	return Config{
		Suffix:       DN("dc=example,dc=org"),
		RootDN:       DN("cn=manager,dc=example,dc=org"),
		RootPassword: "root secret",
		Anonymous:    []ldap.DN{DN("ou=addressbook,dc=example,dc=org")},
		Domains:      []string{"example.org", "example.net"},
	}
}

// Entry makes an entry of "name: value" lines, the first of which is the DN.
func Entry(text string) *ldap.Entry {
	var e ldap.Entry
	for line := range strings.Lines(text) {
		name, value, found := strings.Cut(strings.TrimSpace(line), ": ")
		switch {
		case !found:
		case name == "dn":
			e.DN = DN(value)
		default:
			if a := e.Attribute(name); a != nil {
				a.Values = append(a.Values, []byte(value))
			} else {
				e.Attributes = append(e.Attributes, ldap.NewAttribute(name, value))
			}
		}
	}
	return &e
}

// Run runs the suite on directories that open makes, each empty.
func Run(t *testing.T, open func(t *testing.T, c Config) directory.Directory) {
	RunExcept(t, nil, open)
}

// RunExcept is Run without what except names, with the reason why an
// implementation cannot pass it: a test, or "test: case" of one.
func RunExcept(t *testing.T, except map[string]string, open func(t *testing.T, c Config) directory.Directory) {
	for name, test := range map[string]func(*testing.T, *fixture){
		"Search":     testSearch,
		"Scopes":     testScopes,
		"Attributes": testAttributes,
		"Limits":     testLimits,
		"Access":     testAccess,
		"Add":        testAdd,
		"Modify":     testModify,
		"Delete":     testDelete,
		"Rename":     testRename,
		"Update":     testUpdate,
		"UpdateRace": testUpdateRace,
		"Uniqueness": testUniqueness,
		"Bind":       testBind,
		"Login":      testLogin,
		"Accounts":   testAccounts,
		"Administer": testAdminister,
		"Delegates":  testDelegates,
		"Groups":     testGroups,
		"Lists":      testLists,
		"X500":       testX500,
		"MailHosts":  testMailHosts,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if why, ok := except[name]; ok {
				t.Skip(why)
			}
			d := open(t, Defaults())
			f := &fixture{Directory: d, t: t, ctx: context.Background(), name: name, except: except}
			for _, e := range people() {
				f.add(e)
			}
			test(t, f)
		})
	}
}

// people are the entries that the suite starts with.
func people() []string {
	return []string{`
		dn: uid=biswajit,ou=people,dc=example,dc=org
		objectClass: inetOrgPerson
		objectClass: qmailUser
		objectClass: expostPerson
		uid: biswajit
		cn: Biswajit Banerjee
		sn: Banerjee
		gn: Biswajit
		mail: biswajit@example.org
		mailAlternateAddress: bb@example.org
		proxyAddresses: SMTP:biswajit@example.org
		proxyAddresses: smtp:biswa@example.net
		proxyAddresses: X500:/o=Org/ou=Site/cn=Recipients/cn=bb
		mailQuotaSize: 1000000
		telephoneNumber: +91 11 2465-0722
		userPassword: geheim
		`, `
		dn: uid=ajay,ou=people,dc=example,dc=org
		objectClass: inetOrgPerson
		objectClass: qmailUser
		uid: ajay
		cn: Ajay Kumar
		sn: Kumar
		mail: ajay@example.org
		mailHost: Exchange.Example.Org
		mailForwardingAddress: ajay@example.com
		accountStatus: active
		deliveryMode: nolocal
		userPassword: {SSHA}+BzpSujtOgOuw+r0E8Pp4hWAmWbldkNK
		`, `
		dn: cn=Anup Sharma,ou=addressbook,dc=example,dc=org
		objectClass: inetOrgPerson
		objectClass: expostPerson
		cn: Anup Sharma
		sn: Sharma
		givenName: Anup
		mail: anup@lpsboi.com
		title: Editor
		company: LPS Boi
		description: Writes about banjos
		jpegPhoto: not a photo
		`, `
		dn: cn=Jürgen Groß,ou=addressbook,dc=example,dc=org
		objectClass: inetOrgPerson
		cn: Jürgen Groß
		sn: Groß
		mail: biswajit@example.org
		telephoneNumber: 112
		`, `
		dn: cn=Hidden,ou=addressbook,dc=example,dc=org
		objectClass: inetOrgPerson
		objectClass: expostPerson
		cn: Hidden
		sn: Person
		mail: hidden@example.org
		msExchHideFromAddressLists: TRUE
		`,
	}
}

// fixture is a directory under test with shorthands.
type fixture struct {
	directory.Directory
	t   *testing.T
	ctx context.Context

	name   string
	except map[string]string
}

// skips tells whether a case of the test is left out.
func (f *fixture) skips(what string) bool {
	_, skip := f.except[f.name+": "+what]
	return skip
}

func (f *fixture) add(text string) {
	f.t.Helper()
	if err := f.Add(f.ctx, directory.Local(), Entry(text)); err != nil {
		f.t.Fatalf("adding %s: %v", strings.TrimSpace(text), err)
	}
}

// user is who biswajit is after logging in.
func user() directory.Identity {
	return directory.Identity{DN: DN("uid=biswajit,ou=people,dc=example,dc=org")}
}

// search returns the entries that a filter finds below the suffix.
func (f *fixture) search(who directory.Identity, filter string, attributes ...string) []*ldap.Entry {
	f.t.Helper()
	found, err := f.query(who, &ldap.SearchRequest{Base: f.Suffix(), Scope: ldap.ScopeSub, Filter: Filter(filter), Attributes: attributes})
	if err != nil {
		f.t.Fatalf("searching %s: %v", filter, err)
	}
	return found
}

func (f *fixture) query(who directory.Identity, req *ldap.SearchRequest) ([]*ldap.Entry, error) {
	var found []*ldap.Entry
	err := f.Search(f.ctx, who, req, func(e *ldap.Entry) error {
		found = append(found, e)
		return nil
	})
	return found, err
}

// Filter reads a filter that is known to be good.
func Filter(s string) *ldap.Filter {
	f, err := ldap.ParseFilter(s)
	if err != nil {
		panic(err)
	}
	return f
}

// names returns the first RDN value of each entry, sorted.
func names(found []*ldap.Entry) string {
	var list []string
	for _, e := range found {
		list = append(list, e.DN[0][0].Value)
	}
	slices.Sort(list)
	return strings.Join(list, ",")
}

// wantCode fails unless err is an LDAP result of a code, whose text holds part.
func wantCode(t *testing.T, what string, err error, code ldap.ResultCode, part string) {
	t.Helper()
	le, ok := errors.AsType[*ldap.Error](err)
	if !ok && code == ldap.Success && err == nil {
		return
	}
	if !ok || le.Code != code || !strings.Contains(le.Text, part) {
		t.Errorf("%s: %v, want code %d with %q", what, err, code, part)
	}
}

// wantKind fails unless err has a Kind.
func wantKind(t *testing.T, what string, err error, kind mail.Kind) {
	t.Helper()
	if err == nil || mail.KindOf(err) != kind {
		t.Errorf("%s: %v, want kind %v", what, err, kind)
	}
}
