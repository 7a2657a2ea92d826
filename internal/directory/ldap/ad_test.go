package ldap

import (
	"context"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"expost/internal/directory"
	"expost/internal/directory/directorytest"
	"expost/internal/directory/embedded"
	"expost/internal/ldap"
	"expost/internal/ldapserver"
	"expost/internal/mail"
	"expost/internal/password"
	"expost/internal/schema"
)

// fakeAD is an LDAP server with Active Directory's schema.
type fakeAD struct {
	t    testing.TB
	dir  directory.Directory
	addr string
	stop func()
}

func newFakeAD(t testing.TB) *fakeAD {
	t.Helper()
	text, err := os.ReadFile("testdata/ad.schema")
	if err != nil {
		t.Fatal(err)
	}
	s, err := schema.Builtin().With("ad.schema", string(text))
	if err != nil {
		t.Fatal(err)
	}
	c := directorytest.Defaults()
	d, err := embedded.Open(t.Context(), embedded.Options{Dir: t.TempDir(), Suffix: c.Suffix, RootDN: c.RootDN, RootPassword: []byte("service"),
		Schema: s, Passwords: password.New(password.Options{Memory: 64, Time: 1})})
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeAD{t: t, dir: d, addr: "127.0.0.1:0"}
	f.start()
	t.Cleanup(func() { f.stop(); _ = d.Close() })
	return f
}

// start serves it, again at the same address after stop.
func (f *fakeAD) start() {
	f.t.Helper()
	l, err := net.Listen("tcp", f.addr)
	if err != nil {
		f.t.Fatal(err)
	}
	f.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	server := ldapserver.New(ldapserver.Config{Directory: f.dir, PlaintextAuth: ldapserver.PlaintextAlways})
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, l) }()
	f.stop = func() {
		if cancel(); f.stop != nil {
			if err := <-served; err != nil {
				f.t.Error(err)
			}
			f.stop = func() {}
		}
	}
}

func (f *fakeAD) add(text string) {
	f.t.Helper()
	if err := f.dir.Add(context.Background(), directory.Local(), directorytest.Entry(text)); err != nil {
		f.t.Fatal(err)
	}
}

// users are those of the fake domain.
func (f *fakeAD) users() {
	f.add(`dn: cn=Sharma\, Anup,ou=people,dc=example,dc=org
		objectClass: user
		objectCategory: person
		cn: Sharma, Anup
		sn: Sharma
		displayName: Anup Sharma
		mail: anup.sharma@example.org
		proxyAddresses: smtp:anup@example.net
		proxyAddresses: SMTP:anup.sharma@example.org
		proxyAddresses: X500:/o=Org/ou=Site/cn=Recipients/cn=anup
		sAMAccountName: anup
		userPrincipalName: anup@corp.example.org
		objectGUID: 0123456789abcdef
		userPassword: geheim
		userAccountControl: 512
		mDBUseDefaults: FALSE
		mDBOverHardQuotaLimit: 2048
		delivContLength: 10240
		publicDelegates: cn=Boss,ou=people,dc=example,dc=org`)
	f.add(`dn: cn=Boss,ou=people,dc=example,dc=org
		objectClass: user
		objectCategory: person
		cn: Boss
		sn: Boss
		proxyAddresses: SMTP:boss@example.org
		sAMAccountName: boss
		userPassword: geheim
		mDBUseDefaults: TRUE
		mDBOverHardQuotaLimit: 2048
		altRecipient: cn=Sharma\, Anup,ou=people,dc=example,dc=org
		deliverAndRedirect: TRUE`)
	f.add(`dn: cn=Sales,ou=people,dc=example,dc=org
		objectClass: user
		objectCategory: person
		cn: Sales
		sn: Sales
		mail: sales@example.org
		sAMAccountName: sales
		userPassword: geheim
		userAccountControl: 514
		msExchRecipientTypeDetails: 4`)
	f.add(`dn: cn=Printer,ou=people,dc=example,dc=org
		objectClass: user
		objectCategory: person
		cn: Printer
		sn: Printer
		sAMAccountName: printer`)
}

func (f *fakeAD) options() Options {
	c := directorytest.Defaults()
	return Options{Kind: ActiveDirectory, Servers: []string{"ldap://" + f.addr}, Suffix: c.Suffix, DN: c.RootDN.String(), Password: []byte("service"),
		Domains: c.Domains, Timeout: 5 * time.Second}
}

func openAD(t testing.TB, opt Options) *Directory {
	t.Helper()
	d, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func TestActiveDirectory(t *testing.T) {
	t.Parallel()
	f := newFakeAD(t)
	f.users()
	d := openAD(t, f.options())
	for addr, want := range map[mail.Address]mail.AccountID{
		"anup.sharma@example.org": "guid/33323130-3534-3736-3839-616263646566", "ANUP@example.net": "guid/33323130-3534-3736-3839-616263646566",
		"boss@example.org": "example.org/boss", "sales@example.org": "example.org/sales", "nobody@example.org": "", "anup@corp.example.org": "",
	} {
		acc, err := d.Resolve(t.Context(), addr)
		if want == "" {
			if mail.KindOf(err) != mail.KindNotExist {
				t.Errorf("%s: %v, %v", addr, acc, err)
			}
			continue
		}
		if err != nil || acc.ID != want {
			t.Errorf("%s: %+v, %v, want %s", addr, acc, err, want)
		}
	}
	acc, err := d.Resolve(t.Context(), "anup@example.net")
	if err != nil || acc.Address != "anup.sharma@example.org" || !slices.Equal(acc.Aliases, []mail.Address{"anup@example.net"}) ||
		acc.Name != "Anup Sharma" || acc.Quota.Bytes != 2<<20 || acc.MaxMessage != 10<<20 || len(acc.OnBehalf) != 1 {
		t.Errorf("%+v, %v", acc, err)
	}
	if acc, err = d.Resolve(t.Context(), "boss@example.org"); err != nil || !slices.Equal(acc.Forward, []mail.Address{"anup.sharma@example.org"}) ||
		len(acc.Modes) != 0 || acc.Quota.Bytes != 0 {
		t.Errorf("%+v, %v", acc, err)
	}
	if acc, err = d.Resolve(t.Context(), "sales@example.org"); err != nil || acc.Status != directory.StatusNoAccess || !acc.Shared {
		t.Errorf("%+v, %v", acc, err)
	}
	for _, login := range []string{"anup", `CORP\anup`, "ANUP@corp.example.org", "anup.sharma@example.org", "anup@example.net", "anup.sharma"} {
		if acc, err := d.Login(t.Context(), login, "geheim"); err != nil || acc.Address != "anup.sharma@example.org" {
			t.Errorf("%s: %v, %v", login, acc, err)
		}
		if _, err := d.Login(t.Context(), login, "Geheim"); mail.KindOf(err) != mail.KindAuth {
			t.Errorf("%s with a wrong password: %v", login, err)
		}
	}
	for _, login := range []string{"sales", "printer", "nobody", ""} {
		if _, err := d.Login(t.Context(), login, "geheim"); mail.KindOf(err) != mail.KindAuth {
			t.Errorf("%q: %v", login, err)
		}
	}
	if _, err := d.Login(t.Context(), "anup", ""); mail.KindOf(err) != mail.KindAuth {
		t.Errorf("no password: %v", err)
	}
	var list []string
	for acc, err := range d.Accounts(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, string(acc.Address))
	}
	if !slices.Equal(list, []string{"anup.sharma@example.org", "boss@example.org", "sales@example.org"}) {
		t.Errorf("accounts: %q", list)
	}
	user := directory.Identity{DN: directorytest.DN("cn=Boss,ou=people,dc=example,dc=org")}
	err = d.Modify(t.Context(), user, user.DN, []ldap.Change{{Op: ldap.ChangeReplace, Attribute: ldap.NewAttribute("wWWHomePage", "x")}})
	if le, ok := err.(*ldap.Error); !ok || le.Code != ldap.InsufficientAccessRights {
		t.Errorf("a user changes Active Directory: %v", err)
	}
}

// known stands for no error.
const known mail.Kind = 255

// clock is the time of a test.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(1e9, c.at.Load()) }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

// TestAwayDefersMail stops the only server: what was known a while ago is
// believed, everything else is "later", and nothing is "not there".
func TestAwayDefersMail(t *testing.T) {
	t.Parallel()
	f := newFakeAD(t)
	f.users()
	c := &clock{}
	opt := f.options()
	opt.Now, opt.Timeout = c.now, time.Second
	d := openAD(t, opt)
	resolve := func(addr mail.Address) mail.Kind {
		_, err := d.Resolve(t.Context(), addr)
		if err == nil {
			return known
		}
		return mail.KindOf(err)
	}
	if k := resolve("boss@example.org"); k != known {
		t.Fatal(k)
	}
	if k := resolve("new@example.org"); k != mail.KindNotExist {
		t.Fatal(k)
	}
	f.add("dn: cn=New,ou=people,dc=example,dc=org\nobjectClass: user\nobjectCategory: person\ncn: New\nsn: New\nmail: new@example.org\nuserPassword: geheim")
	if k := resolve("new@example.org"); k != mail.KindNotExist {
		t.Errorf("the negative answer was not remembered: %v", k)
	}
	c.advance(31 * time.Second)
	if k := resolve("new@example.org"); k != known {
		t.Errorf("the negative answer was remembered for too long: %v", k)
	}
	f.stop()
	for addr, want := range map[mail.Address]mail.Kind{
		"boss@example.org": known, "sales@example.org": mail.KindUnavailable, "nobody@example.org": mail.KindUnavailable,
	} {
		if k := resolve(addr); k != want {
			t.Errorf("%s while it is away: %v, want %v", addr, k, want)
		}
	}
	c.advance(10 * time.Minute)
	if k := resolve("boss@example.org"); k != known {
		t.Errorf("an account that is stale: %v", k)
	}
	c.advance(2 * time.Hour)
	if k := resolve("boss@example.org"); k != mail.KindUnavailable {
		t.Errorf("an account that is too stale: %v", k)
	}
	if _, err := d.Login(t.Context(), "boss", "geheim"); mail.KindOf(err) != mail.KindUnavailable {
		t.Errorf("a login while it is away: %v", err)
	}
	if err := d.Search(t.Context(), directory.Local(), &ldap.SearchRequest{Base: opt.Suffix}, nil); err.(*ldap.Error).Code != ldap.Unavailable {
		t.Errorf("a search while it is away: %v", err)
	}
	for _, err := range d.Accounts(t.Context()) {
		if mail.KindOf(err) != mail.KindUnavailable {
			t.Errorf("accounts while it is away: %v", err)
		}
	}
	f.start()
	if k := resolve("boss@example.org"); k != known {
		t.Errorf("when it is back: %v", k)
	}
}

// TestFailover has three servers, of which the first is away and the second
// stops.
func TestFailover(t *testing.T) {
	t.Parallel()
	gone, first, second := newFakeAD(t), newFakeAD(t), newFakeAD(t)
	first.users()
	second.users()
	opt := second.options()
	opt.Servers = []string{"ldap://" + gone.addr, "ldap://" + first.addr, "ldap://" + second.addr}
	gone.stop()
	c := &clock{}
	opt.Now = c.now
	d := openAD(t, opt)
	for i := range 20 {
		if i == 10 {
			first.stop() // a connection to it is kept
		}
		if _, err := d.Resolve(t.Context(), "boss@example.org"); err != nil {
			t.Fatalf("lookup %d: %v", i, err)
		}
		if _, err := d.Login(t.Context(), "anup", "geheim"); err != nil {
			t.Fatalf("login %d: %v", i, err)
		}
		c.advance(time.Hour)
	}
}

// TestTheSameLookupIsAskedOnce lets many ask for one address at once.
func TestTheSameLookupIsAskedOnce(t *testing.T) {
	t.Parallel()
	c := newCache(2)
	q, mine := c.join("a")
	if !mine {
		t.Fatal("the first does not ask")
	}
	if other, mine := c.join("a"); mine || other != q {
		t.Error("the second asks again")
	}
	c.answered("a", q)
	<-q.done
	if _, mine := c.join("a"); !mine {
		t.Error("a later one does not ask")
	}
	for _, key := range []string{"a", "b", "c", "d"} {
		c.put(key, &lookup{})
	}
	if len(c.known) != 2 {
		t.Errorf("%d lookups are remembered, of 2", len(c.known))
	}
}
