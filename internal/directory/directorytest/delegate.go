package directorytest

import (
	"testing"

	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/mail"
)

// wantSend fails unless an account may send from an address as it is said.
func (f *fixture) wantSend(login string, from mail.Address, want directory.SendRight) {
	f.t.Helper()
	who, err := f.Lookup(f.ctx, login)
	if err != nil {
		f.t.Fatal(err)
	}
	got, err := directory.SendRightFor(f.ctx, f.Directory, who, from)
	if err != nil || got != want {
		f.t.Errorf("%s as %s: right %d, %v, want %d", login, from, got, err, want)
	}
}

func (f *fixture) delegate(owner string, attr directory.DelegateAttr, to string, on bool) {
	f.t.Helper()
	if err := directory.SetDelegate(f.ctx, f.Directory, DN(owner), attr, DN(to), on); err != nil {
		f.t.Fatalf("%s of %s for %s: %v", attr, owner, to, err)
	}
}

const (
	ajayDN     = "uid=ajay,ou=people,dc=example,dc=org"
	biswajitDN = "uid=biswajit,ou=people,dc=example,dc=org"
)

// testDelegates gives and takes the rights to send for others.
func testDelegates(t *testing.T, f *fixture) {
	f.wantSend("ajay", "ajay@example.org", directory.SendOwn)
	f.wantSend("biswajit", "BISWA@example.net", directory.SendOwn)
	f.wantSend("ajay", "bb@example.org", directory.SendNot)
	f.wantSend("ajay", "nobody@example.org", directory.SendNot)
	f.wantSend("ajay", "anup@lpsboi.com", directory.SendNot)

	f.delegate(biswajitDN, directory.OnBehalfAttr, "UID=Ajay, ou=People,dc=example,dc=org", true)
	f.delegate(biswajitDN, directory.OnBehalfAttr, ajayDN, true) // again
	f.wantSend("ajay", "bb@example.org", directory.SendOnBehalf)
	f.wantSend("biswajit", "ajay@example.org", directory.SendNot)
	f.delegate(biswajitDN, directory.SendAsAttr, ajayDN, true)
	f.wantSend("ajay", "biswajit@example.org", directory.SendAs)
	f.delegate(biswajitDN, directory.SendAsAttr, ajayDN, false)
	f.delegate(biswajitDN, directory.SendAsAttr, ajayDN, false) // again
	f.wantSend("ajay", "biswajit@example.org", directory.SendOnBehalf)
	wantKind(t, "an owner that is not there",
		directory.SetDelegate(f.ctx, f.Directory, DN("uid=nobody,ou=people,dc=example,dc=org"), directory.SendAsAttr, DN(ajayDN), true), mail.KindNotExist)

	// Whoever comes after a removed account under its name has none of its rights.
	if err := directory.RemoveAccount(f.ctx, f.Directory, DN(ajayDN)); err != nil {
		t.Fatal(err)
	}
	f.add(account("ajay", "mail: ajay@example.org"))
	f.wantSend("ajay@example.org", "biswajit@example.org", directory.SendNot)

	// A shared mailbox takes mail and lets nobody in.
	box, err := directory.AddAccount(f.ctx, f.Directory, directory.NewAccount{Address: "info@example.org", Password: []byte("geheim"), Shared: true})
	if err != nil || !box.Shared || box.Status != directory.StatusNoAccess {
		t.Fatalf("a shared mailbox is %+v, %v", box, err)
	}
	_, err = f.Login(f.ctx, "info@example.org", "geheim")
	wantKind(t, "logging in to a shared mailbox", err, mail.KindAuth)
	if err := directory.SetShared(f.ctx, f.Directory, box.DN, false); err != nil {
		t.Fatal(err)
	}
	if box, err = f.Login(f.ctx, "info@example.org", "geheim"); err != nil || box.Shared {
		t.Errorf("a mailbox that is no longer shared: %+v, %v", box, err)
	}
	if err := directory.SetShared(f.ctx, f.Directory, DN(biswajitDN), true); err != nil {
		t.Fatal(err)
	}
	if box, err = f.Resolve(f.ctx, "bb@example.org"); err != nil || !box.Shared {
		t.Errorf("an account that became shared: %+v, %v", box, err)
	}
}

// testGroups looks for the groups of an account, and gives rights to them.
func testGroups(t *testing.T, f *fixture) {
	f.add("dn: cn=staff,ou=people,dc=example,dc=org\nobjectClass: groupOfNames\nobjectClass: expostGroup\nmember: " + ajayDN + "\nmail: staff@example.org")
	f.add("dn: cn=all,ou=people,dc=example,dc=org\nobjectClass: groupOfUniqueNames\nuniqueMember: cn=Staff,ou=people,dc=example,dc=org\nuniqueMember: cn=all,ou=people,dc=example,dc=org")
	groups, err := directory.GroupsOf(f.ctx, f.Directory, DN(ajayDN))
	if err != nil || len(groups) != 2 || groups[0].Address != "staff@example.org" || groups[1].Name != "all" {
		t.Errorf("ajay's groups are %v, %v", groups, err)
	}
	if groups, err = directory.GroupsOf(f.ctx, f.Directory, DN(biswajitDN)); err != nil || len(groups) != 0 {
		t.Errorf("biswajit's groups are %v, %v", groups, err)
	}
	for _, name := range []string{"STAFF@example.org", "staff", "all"} {
		if g, err := directory.GroupByName(f.ctx, f.Directory, name); err != nil || g.Name == "" {
			t.Errorf("group %q is %v, %v", name, g, err)
		}
	}
	_, err = directory.GroupByName(f.ctx, f.Directory, "ajay@example.org")
	wantKind(t, "an account is no group", err, mail.KindNotExist)
	f.delegate(biswajitDN, directory.SendAsAttr, "cn=all,ou=people,dc=example,dc=org", true)
	f.wantSend("ajay", "biswajit@example.org", directory.SendAs)
	if err := f.Modify(f.ctx, directory.Local(), DN("cn=staff,ou=people,dc=example,dc=org"),
		[]ldap.Change{change(ldap.ChangeReplace, "member", biswajitDN)}); err != nil {
		t.Fatal(err)
	}
	f.wantSend("ajay", "biswajit@example.org", directory.SendNot)

	for _, id := range []mail.AccountID{"example.org/ajay", "example.org/biswajit"} {
		if acct, err := directory.AccountOfStore(f.ctx, f.Directory, id); err != nil || acct.ID != id {
			t.Errorf("%s is the mailbox of %v, %v", id, acct, err)
		}
	}
	f.add(account("odd", "mail: odd@example.org", "mailMessageStore: /var/mail/Odd"))
	if acct, err := directory.AccountOfStore(f.ctx, f.Directory, "/var/mail/Odd"); err != nil || acct.Address != "odd@example.org" {
		t.Errorf("/var/mail/Odd is the mailbox of %v, %v", acct, err)
	}
	_, err = directory.AccountOfStore(f.ctx, f.Directory, "example.org/odd")
	wantKind(t, "a store that only looks like odd's", err, mail.KindNotExist)
}
