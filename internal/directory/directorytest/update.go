package directorytest

import (
	"sync"
	"sync/atomic"
	"testing"

	"expost/internal/directory"
	"expost/internal/ldap"
)

// testUpdate covers changes under conditions, of directories that make them.
func testUpdate(t *testing.T, f *fixture) {
	d, ok := f.Directory.(directory.Updater)
	if !ok {
		t.Skip("this directory makes no changes under conditions")
	}
	dn := DN("cn=Anup Sharma,ou=addressbook,dc=example,dc=org")
	title := func(text string) *directory.Modification {
		return &directory.Modification{DN: dn, Changes: []ldap.Change{{Op: ldap.ChangeReplace, Attribute: ldap.NewAttribute("title", text)}}}
	}
	update := func(what string, u directory.Update, code ldap.ResultCode) directory.Updated {
		t.Helper()
		read, err := d.Update(f.ctx, directory.Local(), u)
		wantCode(t, what, err, code, "")
		return read
	}
	update("a false assertion", directory.Update{Modify: title("Clerk"), Assert: Filter("(title=Boss)")}, ldap.AssertionFailed)
	update("an undefined one", directory.Update{Modify: title("Clerk"), Assert: Filter("(!(nonesuch=1))")}, ldap.AssertionFailed)
	update("of no entry", directory.Update{Delete: DN("cn=nobody,ou=addressbook,dc=example,dc=org"), Assert: Filter("(cn=*)")}, ldap.NoSuchObject)
	read := update("a true assertion", directory.Update{Modify: title("Clerk"), Assert: Filter("(title=editor)"), ReadBefore: []string{"title"}, ReadAfter: []string{"title", "entryDN"}}, ldap.Success)
	if read.Before.Value("title") != "Editor" || len(read.Before.Attributes) != 1 || read.After.Value("title") != "Clerk" || read.After.Value("entryDN") != dn.String() {
		t.Errorf("read %v and %v", read.Before, read.After)
	}
	read = update("a rename", directory.Update{Rename: &directory.Rename{DN: dn, NewRDN: ldap.RDN{{Type: "cn", Value: "New"}}}, ReadBefore: []string{}, ReadAfter: []string{"1.1"}}, ldap.Success)
	if len(read.Before.Attributes) < 5 || read.After.DN.String() != "cn=New,ou=addressbook,dc=example,dc=org" || len(read.After.Attributes) != 0 {
		t.Errorf("read %v and %v", read.Before, read.After)
	}
	read = update("a deletion", directory.Update{Delete: read.After.DN, ReadBefore: []string{"mail"}, ReadAfter: []string{"mail"}}, ldap.Success)
	if read.Before.Value("mail") != "anup@lpsboi.com" || read.After != nil {
		t.Errorf("read %v and %v", read.Before, read.After)
	}
	read = update("an addition", directory.Update{Add: directory.NewUnit(f.Suffix(), "new"), ReadBefore: []string{"ou"}, ReadAfter: []string{"ou"}}, ldap.Success)
	if read.Before != nil || read.After.Value("ou") != "new" {
		t.Errorf("read %v and %v", read.Before, read.After)
	}
	_, err := d.Update(f.ctx, user(), directory.Update{Delete: f.Suffix().Child(ldap.AVA{Type: "ou", Value: "new"})})
	wantCode(t, "a user's deletion", err, ldap.InsufficientAccessRights, "")
}

// testUpdateRace lets many raise a number at the same time, each from the value
// that it has seen.
func testUpdateRace(t *testing.T, f *fixture) {
	d, ok := f.Directory.(directory.Updater)
	if !ok {
		t.Skip("this directory makes no changes under conditions")
	}
	dn := DN("uid=biswajit,ou=people,dc=example,dc=org")
	set := func(was, is string) error {
		_, err := d.Update(f.ctx, directory.Local(), directory.Update{Assert: Filter("(title=" + was + ")"),
			Modify: &directory.Modification{DN: dn, Changes: []ldap.Change{{Op: ldap.ChangeReplace, Attribute: ldap.NewAttribute("title", is)}}}})
		return err
	}
	if err := f.Modify(f.ctx, directory.Local(), dn, []ldap.Change{{Op: ldap.ChangeAdd, Attribute: ldap.NewAttribute("title", "free")}}); err != nil {
		t.Fatal(err)
	}
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if set("free", "taken") == nil {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d have taken it", won.Load())
	}
}
