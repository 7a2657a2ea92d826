package directorytest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/mail"
)

// account makes an entry of an account.
func account(name string, lines ...string) string {
	return fmt.Sprintf("dn: uid=%[1]s,ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\nobjectClass: qmailUser\nobjectClass: expostPerson\ncn: %[1]s\nsn: x\n%[2]s",
		name, strings.Join(lines, "\n"))
}

// testUniqueness has every way to give one address to two.
func testUniqueness(t *testing.T, f *fixture) {
	for _, lines := range [][]string{
		{"mail: BISWAJIT@example.org"},
		{"mail: new@example.org", "mailAlternateAddress: bb@Example.ORG"},
		{"mail: new@example.org", "proxyAddresses: smtp:biswa@example.net"},
		{"mail: new@example.org", "mail: ajay@example.org"},
		{"mail: new@example.org", "mailMessageStore: example.org/ajay"},
	} {
		err := f.Add(f.ctx, directory.Local(), Entry(account("new", lines...)))
		wantCode(t, strings.Join(lines, ", "), err, ldap.ConstraintViolation, "uid=new,ou=people")
		if err != nil && !strings.Contains(err.Error(), "belongs to \"uid=") {
			t.Errorf("the other entry is not named: %v", err)
		}
	}
	f.add(account("new", "mail: new@example.org", "mailAlternateAddress: NEW@example.org", "proxyAddresses: SMTP:new@example.org"))
	dn := DN("uid=new,ou=people,dc=example,dc=org")
	err := f.Modify(f.ctx, directory.Local(), dn, []ldap.Change{change(ldap.ChangeAdd, "mailAlternateAddress", "bb@example.org")})
	wantCode(t, "modify", err, ldap.ConstraintViolation, "")
	err = f.Modify(f.ctx, directory.Local(), DN("cn=Jürgen Groß,ou=addressbook,dc=example,dc=org"), []ldap.Change{change(ldap.ChangeAdd, "objectClass", "qmailUser")})
	wantCode(t, "a contact that becomes an account", err, ldap.ConstraintViolation, "biswajit@example.org")
	group := "dn: cn=all,ou=people,dc=example,dc=org\nobjectClass: groupOfNames\nobjectClass: expostGroup\nmember: uid=ajay,ou=people,dc=example,dc=org\nmail: "
	wantCode(t, "a group", f.Add(f.ctx, directory.Local(), Entry(group+"ajay@example.org")), ldap.ConstraintViolation, "")
	f.add(group + "all@example.org")
	_, err = f.Resolve(f.ctx, "all@example.org")
	wantKind(t, "a group is no account", err, mail.KindNotExist)
	if err := f.Modify(f.ctx, directory.Local(), DN("uid=biswajit,ou=people,dc=example,dc=org"), []ldap.Change{change(ldap.ChangeDelete, "mailAlternateAddress")}); err != nil {
		t.Fatal(err)
	}
	if err := f.Modify(f.ctx, directory.Local(), dn, []ldap.Change{change(ldap.ChangeReplace, "mailAlternateAddress", "bb@example.org")}); err != nil {
		t.Errorf("an address that was given up cannot be given again: %v", err)
	}
	if acc, err := f.Resolve(f.ctx, "bb@example.org"); err != nil || acc.ID != "example.org/new" {
		t.Errorf("it leads to %v, %v", acc, err)
	}
}

func testBind(t *testing.T, f *fixture) {
	c := Defaults()
	for _, b := range []struct {
		dn, password string
		code         ldap.ResultCode
		root         bool
	}{
		{c.RootDN.String(), c.RootPassword, ldap.Success, true},
		{"CN=Manager, dc=example,dc=ORG", c.RootPassword, ldap.Success, true},
		{c.RootDN.String(), "wrong", ldap.InvalidCredentials, false},
		{"uid=biswajit,ou=people,dc=example,dc=org", "geheim", ldap.Success, false},
		{"uid=biswajit,ou=people,dc=example,dc=org", "Geheim", ldap.InvalidCredentials, false},
		{"uid=ajay,ou=people,dc=example,dc=org", "secret", ldap.Success, false},
		{"uid=nobody,ou=people,dc=example,dc=org", "secret", ldap.InvalidCredentials, false},
		{"cn=Anup Sharma,ou=addressbook,dc=example,dc=org", "secret", ldap.InvalidCredentials, false},
		{"cn=x,dc=elsewhere", "secret", ldap.InvalidCredentials, false},
		{"", "", ldap.Success, false},
		{"", "x", ldap.InvalidCredentials, false},
		{"uid=biswajit,ou=people,dc=example,dc=org", "", ldap.UnwillingToPerform, false},
	} {
		who, err := f.Bind(f.ctx, DN(b.dn), []byte(b.password))
		wantCode(t, fmt.Sprintf("%q with %q", b.dn, b.password), err, b.code, "")
		if who.Root != b.root || err == nil && (len(who.DN) > 0) != (b.dn != "") {
			t.Errorf("%q is %q, root %v", b.dn, who.DN, who.Root)
		}
	}
}

func testLogin(t *testing.T, f *fixture) {
	for _, status := range []directory.Status{directory.StatusNoAccess, directory.StatusDisabled, directory.StatusDeleted} {
		f.add(account(string(status), "mail: "+string(status)+"@example.org", "accountStatus: "+string(status), "userPassword: geheim"))
	}
	f.add(account("local.net", "mail: onlynet@example.net", "userPassword: geheim"))
	f.add(account("two1", "mail: two@example.org", "userPassword: geheim"))
	f.add(account("two2", "mail: two@example.net", "userPassword: geheim"))
	for _, c := range []struct {
		login, password string
		want            mail.AccountID // empty: refused
	}{
		{"biswajit", "geheim", "example.org/biswajit"},
		{"BISWAJIT", "geheim", "example.org/biswajit"},
		{" biswajit@Example.Org", "geheim", "example.org/biswajit"},
		{"bb@example.org", "geheim", "example.org/biswajit"},
		{"biswa@example.net", "geheim", "example.org/biswajit"},
		{"bb", "geheim", "example.org/biswajit"},
		{"onlynet", "geheim", "example.net/onlynet"},
		{"ajay", "secret", "example.org/ajay"},
		{"ajay", "secret", "example.org/ajay"},
		{"ajay", "Secret", ""},
		{"ajay", "", ""},
		{"two", "geheim", ""},
		{"two@example.net", "geheim", "example.net/two"},
		{"nobody", "geheim", ""},
		{"", "geheim", ""},
		{"@", "geheim", ""},
		{"anup@lpsboi.com", "geheim", ""},
		{"noaccess@example.org", "geheim", ""},
		{"disabled@example.org", "geheim", ""},
		{"deleted@example.org", "geheim", ""},
	} {
		acc, err := f.Login(f.ctx, c.login, c.password)
		if c.want == "" {
			wantKind(t, c.login, err, mail.KindAuth)
			continue
		}
		if err != nil || acc.ID != c.want {
			t.Errorf("%q is %v, %v, want %s", c.login, acc, err, c.want)
		}
		if acc, err := f.Lookup(f.ctx, c.login); err != nil || acc.ID != c.want {
			t.Errorf("%q looked up is %v, %v, want %s", c.login, acc, err, c.want)
		}
	}
	_, err := f.Lookup(f.ctx, "nobody")
	wantKind(t, "Lookup", err, mail.KindNotExist)
	if acc, err := f.Lookup(f.ctx, "disabled@example.org"); err != nil || acc.Status != directory.StatusDisabled {
		t.Errorf("a disabled account: %v, %v", acc, err)
	}
}

func testAccounts(t *testing.T, f *fixture) {
	acc, err := f.Resolve(f.ctx, "BB@example.ORG")
	if err != nil {
		t.Fatal(err)
	}
	if acc.ID != "example.org/biswajit" || acc.Address != "biswajit@example.org" || acc.Name != "Biswajit Banerjee" || acc.Quota.Bytes != 1000000 ||
		!slices.Equal(acc.Aliases, []mail.Address{"bb@example.org", "biswa@example.net"}) || acc.Status != directory.StatusActive || acc.Host != "" ||
		acc.DN.String() != "uid=biswajit,ou=people,dc=example,dc=org" {
		t.Errorf("%+v", acc)
	}
	if acc, err = f.Resolve(f.ctx, "ajay@example.org"); err != nil || acc.Host != "exchange.example.org" ||
		!slices.Equal(acc.Forward, []mail.Address{"ajay@example.com"}) || !slices.Equal(acc.Modes, []string{"nolocal"}) {
		t.Errorf("%+v, %v", acc, err)
	}
	for _, addr := range []mail.Address{"anup@lpsboi.com", "nobody@example.org", "biswajit", ""} {
		_, err := f.Resolve(f.ctx, addr)
		wantKind(t, string(addr), err, mail.KindNotExist)
	}
	var list []string
	for acc, err := range f.Accounts(f.ctx) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, string(acc.Address))
	}
	if !slices.Equal(list, []string{"ajay@example.org", "biswajit@example.org"}) {
		t.Errorf("accounts are %q", list)
	}
	for range f.Accounts(f.ctx) {
		break
	}
}

// testAdminister has what the command line does.
func testAdminister(t *testing.T, f *fixture) {
	acc, err := directory.AddAccount(f.ctx, f.Directory, directory.NewAccount{
		Address: "Peter@example.org", Name: "Peter van  der Berg", Password: []byte("{SHA}odd but mine"), Host: "old.example.org",
		Quota: mail.Quota{Bytes: 1 << 30}, Aliases: []mail.Address{"pvdb@example.org"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if acc.ID != "example.org/peter" || acc.Name != "Peter van der Berg" || acc.Host != "old.example.org" || acc.Quota.Bytes != 1<<30 || acc.Quota.Messages != 0 {
		t.Errorf("%+v", acc)
	}
	if _, err := f.Login(f.ctx, "pvdb@example.org", "{SHA}odd but mine"); err != nil {
		t.Error(err)
	}
	e := f.search(directory.Local(), "(mail=peter@example.org)")[0]
	if e.Value("sn") != "Berg" || e.Value("givenName") != "Peter van der" {
		t.Errorf("sn %q, givenName %q", e.Value("sn"), e.Value("givenName"))
	}
	_, err = directory.AddAccount(f.ctx, f.Directory, directory.NewAccount{Address: "PVDB@example.org"})
	wantKind(t, "an address that is taken", err, mail.KindExist)
	if !f.skips("an alias that is taken") {
		_, err = directory.AddAccount(f.ctx, f.Directory, directory.NewAccount{Address: "other@example.org", Aliases: []mail.Address{"bb@example.org"}})
		wantKind(t, "an alias that is taken", err, mail.KindConflict)
	}

	if acc, err = directory.AddAccount(f.ctx, f.Directory, directory.NewAccount{Address: "anup@lpsboi.com", Password: []byte("neu")}); err != nil {
		t.Fatal(err)
	}
	if acc.DN.String() != "cn=Anup Sharma,ou=addressbook,dc=example,dc=org" || acc.Name != "Anup Sharma" {
		t.Errorf("the person of the address book did not become the account: %+v", acc)
	}
	host, status, none := "", directory.StatusNoAccess, []mail.Address{}
	if err := directory.ChangeAccount(f.ctx, f.Directory, acc.DN, directory.AccountChange{Status: &status, Host: &host, Aliases: &none, Quota: &mail.Quota{Messages: 7}}); err != nil {
		t.Fatal(err)
	}
	if acc, err = f.Resolve(f.ctx, "anup@lpsboi.com"); err != nil || acc.Status != status || acc.Quota != (mail.Quota{Messages: 7}) {
		t.Errorf("%+v, %v", acc, err)
	}
	_, err = f.Login(f.ctx, "anup@lpsboi.com", "neu")
	wantKind(t, "noaccess", err, mail.KindAuth)
	active := directory.StatusActive
	if err := directory.ChangeAccount(f.ctx, f.Directory, acc.DN, directory.AccountChange{Status: &active, Password: []byte("neuer")}); err != nil {
		t.Fatal(err)
	}
	_, err = f.Login(f.ctx, "anup@lpsboi.com", "neu")
	wantKind(t, "the old password", err, mail.KindAuth)
	if _, err := f.Login(f.ctx, "anup@lpsboi.com", "neuer"); err != nil {
		t.Error(err)
	}
	if err := directory.RemoveAccount(f.ctx, f.Directory, acc.DN); err != nil {
		t.Fatal(err)
	}
	wantKind(t, "removing it again", directory.RemoveAccount(f.ctx, f.Directory, acc.DN), mail.KindNotExist)
}
