package directorytest

import (
	"strings"
	"testing"

	"expost/internal/directory"
	"expost/internal/ldap"
)

func testAdd(t *testing.T, f *fixture) {
	const person = "\nobjectClass: person\ncn: New\nsn: Person"
	for _, c := range []struct {
		name, text string
		who        directory.Identity
		code       ldap.ResultCode
		part       string
	}{
		{"anonymous", "dn: cn=New,ou=people,dc=example,dc=org" + person, directory.Identity{}, ldap.StrongerAuthRequired, "modifications require authentication"},
		{"a user", "dn: cn=New,ou=people,dc=example,dc=org" + person, user(), ldap.InsufficientAccessRights, ""},
		{"no parent", "dn: cn=New,ou=nowhere,dc=example,dc=org" + person, directory.Local(), ldap.NoSuchObject, "ou=nowhere"},
		{"elsewhere", "dn: cn=New,dc=elsewhere" + person, directory.Local(), ldap.UnwillingToPerform, "no global superior knowledge"},
		{"there already", "dn: UID=Biswajit, ou=people,dc=example,dc=org\nobjectClass: account", directory.Local(), ldap.EntryAlreadyExists, ""},
		{"the suffix again", "dn: dc=example,dc=org\nobjectClass: domain", directory.Local(), ldap.EntryAlreadyExists, ""},
		{"undefined", "dn: cn=New,ou=people,dc=example,dc=org\nnosuch: x" + person, directory.Local(), ldap.UndefinedAttributeType, "nosuch: attribute type undefined"},
		{"class", "dn: cn=New,ou=people,dc=example,dc=org\nmail: a@b.c" + person, directory.Local(), ldap.ObjectClassViolation, "attribute 'mail' not allowed"},
		{"syntax", "dn: cn=New,ou=people,dc=example,dc=org\ntelephoneNumber: #" + person, directory.Local(), ldap.InvalidAttributeSyntax, "telephoneNumber: value #0"},
		{"operational", "dn: cn=New,ou=people,dc=example,dc=org\nentryUUID: x" + person, directory.Local(), ldap.ConstraintViolation, "no user modification"},
		{"RDN unknown", "dn: nosuch=New,ou=people,dc=example,dc=org" + person, directory.Local(), ldap.InvalidDNSyntax, ""},
	} {
		if f.skips(c.name) {
			continue
		}
		wantCode(t, c.name, f.Add(f.ctx, c.who, Entry(c.text)), c.code, c.part)
	}
	f.add("dn: cn=New+title=Boss\\, big,ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\nsn: Person\ndescription;lang-de: neu")
	e := f.search(directory.Local(), "(description=neu)", "*", "+")[0]
	if e.DN.String() != "cn=New+title=Boss\\, big,ou=people,dc=example,dc=org" || e.Value("title") != "Boss, big" || e.Value("cn") != "New" {
		t.Errorf("%q has title %q, cn %q", e.DN, e.Value("title"), e.Value("cn"))
	}
	for _, name := range []string{"entryUUID", "createTimestamp", "creatorsName", "modifyTimestamp", "entryCSN", "structuralObjectClass"} {
		if e.Value(name) == "" {
			t.Errorf("it has no %s", name)
		}
	}
	if pw := f.search(directory.Local(), "(uid=biswajit)", "userPassword")[0].Value("userPassword"); strings.Contains(pw, "geheim") {
		t.Error("a password is kept in clear text")
	}
}

// change makes a Change of "op name value value".
func change(op ldap.ChangeOp, desc string, values ...string) ldap.Change {
	return ldap.Change{Op: op, Attribute: ldap.NewAttribute(desc, values...)}
}

func testModify(t *testing.T, f *fixture) {
	dn := DN("uid=ajay,ou=people,dc=example,dc=org")
	const add, del, replace, inc = ldap.ChangeAdd, ldap.ChangeDelete, ldap.ChangeReplace, ldap.ChangeIncrement
	modify := func(changes ...ldap.Change) error { return f.Modify(f.ctx, directory.Local(), dn, changes) }
	for _, c := range []struct {
		name string
		err  error
		code ldap.ResultCode
		part string
	}{
		{"add a value that is there", modify(change(add, "mail", "AJAY@example.org")), ldap.AttributeOrValueExists, "modify/add: mail: value #0 already exists"},
		{"delete an attribute that is not there", modify(change(del, "title")), ldap.NoSuchAttribute, "modify/delete: title: no such attribute"},
		{"delete a value that is not there", modify(change(del, "mail", "x@y.z")), ldap.NoSuchAttribute, "modify/delete: mail: no such value"},
		{"delete what a class requires", modify(change(del, "sn")), ldap.ObjectClassViolation, "requires attribute 'sn'"},
		{"delete the RDN's value", modify(change(replace, "uid", "other")), ldap.NotAllowedOnRDN, "'uid'"},
		{"change the structural class", modify(change(add, "objectClass", "organizationalPerson"), change(del, "objectClass", "inetOrgPerson")), ldap.ObjectClassModsProhibited, "from 'inetOrgPerson' to 'organizationalPerson'"},
		{"not allowed", modify(change(add, "company", "x")), ldap.ObjectClassViolation, "'company'"},
		{"undefined", modify(change(add, "nosuch", "x")), ldap.UndefinedAttributeType, "nosuch"},
		{"operational", modify(change(replace, "entryUUID", "x")), ldap.ConstraintViolation, ""},
		{"two of one", modify(change(replace, "mailHost", "a", "b")), ldap.ConstraintViolation, "multiple values"},
		{"increment nothing", modify(change(inc, "mailSizeMax", "1")), ldap.NoSuchAttribute, ""},
		{"increment text", modify(change(inc, "cn", "1")), ldap.ConstraintViolation, ""},
		{"all or nothing", modify(change(replace, "title", "Boss"), change(add, "nosuch", "x")), ldap.UndefinedAttributeType, ""},
		{"nobody", f.Modify(f.ctx, directory.Local(), DN("uid=x,dc=example,dc=org"), []ldap.Change{change(add, "cn", "x")}), ldap.NoSuchObject, ""},
		{"anonymous", f.Modify(f.ctx, directory.Identity{}, dn, []ldap.Change{change(add, "cn", "x")}), ldap.StrongerAuthRequired, ""},
		{"another's phone", f.Modify(f.ctx, user(), dn, []ldap.Change{change(add, "mobile", "1")}), ldap.InsufficientAccessRights, ""},
		{"one's own mail", f.Modify(f.ctx, user(), user().DN, []ldap.Change{change(add, "mail", "boss@example.org")}), ldap.InsufficientAccessRights, ""},
		{"one's own phone", f.Modify(f.ctx, user(), user().DN, []ldap.Change{change(replace, "mobile", "1")}), ldap.Success, ""},
	} {
		if !f.skips(c.name) {
			wantCode(t, c.name, c.err, c.code, c.part)
		}
	}
	if e := f.search(directory.Local(), "(uid=ajay)")[0]; e.Value("title") != "" || e.Value("mailHost") != "Exchange.Example.Org" {
		t.Error("a refused change left something behind")
	}
	err := modify(change(add, "title", "Boss"), change(add, "cn", "Ajay K."), change(del, "deliveryMode"), change(replace, "mailHost"),
		change(replace, "mailSizeMax", "40"), change(inc, "mailSizeMax", "2"), change(replace, "sn", "Kumaran"))
	if err != nil {
		t.Fatal(err)
	}
	e := f.search(directory.Local(), "(&(title=bo*)(cn=ajay k.)(cn=ajay kumar)(sn=kumaran)(!(mailHost=*))(mailSizeMax=42))", "*", "+")
	if len(e) != 1 || e[0].Attribute("deliveryMode") != nil {
		t.Fatalf("%d entries are as changed", len(e))
	}
	if found := f.search(directory.Local(), "(|(sn=kumar)(mailHost=*)(deliveryMode=*))"); len(found) != 0 {
		t.Errorf("old values still find %q", names(found))
	}
}

func testDelete(t *testing.T, f *fixture) {
	dn := DN("uid=ajay,ou=people,dc=example,dc=org")
	wantCode(t, "anonymous", f.Delete(f.ctx, directory.Identity{}, dn), ldap.StrongerAuthRequired, "")
	wantCode(t, "oneself", f.Delete(f.ctx, user(), user().DN), ldap.InsufficientAccessRights, "")
	wantCode(t, "not a leaf", f.Delete(f.ctx, directory.Local(), DN("ou=people,dc=example,dc=org")), ldap.NotAllowedOnNonLeaf, "")
	if err := f.Delete(f.ctx, directory.Local(), dn); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "again", f.Delete(f.ctx, directory.Local(), dn), ldap.NoSuchObject, "")
	for _, filter := range []string{"(uid=ajay)", "(cn=*aja*)", "(mail=ajay*)", "(mailHost=*)"} {
		if found := f.search(directory.Local(), filter); len(found) > 0 {
			t.Errorf("%s still finds %q", filter, names(found))
		}
	}
	f.add("dn: uid=ajay,ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\nobjectClass: qmailUser\ncn: A\nsn: A\nmail: ajay@example.org")
}

func testRename(t *testing.T, f *fixture) {
	d, ok := f.Directory.(directory.Renamer)
	if !ok {
		t.Skip("this directory cannot rename")
	}
	rename := func(dn, rdn, superior string, deleteOld bool) error {
		r := directory.Rename{DN: DN(dn), NewRDN: DN(rdn)[0], DeleteOld: deleteOld}
		if superior != "" {
			r.Superior = DN(superior)
		}
		return d.Rename(f.ctx, directory.Local(), r)
	}
	const ajay = "uid=ajay,ou=people,dc=example,dc=org"
	wantCode(t, "to one that is there", rename(ajay, "uid=biswajit", "", true), ldap.EntryAlreadyExists, "")
	wantCode(t, "below itself", rename("ou=people,dc=example,dc=org", "ou=people", ajay, true), ldap.UnwillingToPerform, "")
	wantCode(t, "nobody", rename("uid=x,dc=example,dc=org", "uid=y", "", true), ldap.NoSuchObject, "")
	if !f.skips("the suffix") {
		wantCode(t, "the suffix", rename("dc=example,dc=org", "dc=other", "", true), ldap.UnwillingToPerform, "")
	}
	if err := rename(ajay, "uid=ajay.kumar", "", true); err != nil {
		t.Fatal(err)
	}
	if found := f.search(directory.Local(), "(uid=ajay)"); len(found) != 0 {
		t.Error("the old RDN's value is still there")
	}
	if err := rename("uid=ajay.kumar,ou=people,dc=example,dc=org", "cn=Ajay Kumar", "ou=addressbook,dc=example,dc=org", false); err != nil {
		t.Fatal(err)
	}
	found := f.search(directory.Local(), "(uid=ajay.kumar)", "entryDN")
	if len(found) != 1 || found[0].DN.String() != "cn=Ajay Kumar,ou=addressbook,dc=example,dc=org" {
		t.Fatalf("found %v", names(found))
	}
	if err := rename("ou=people,dc=example,dc=org", "ou=staff", "ou=addressbook,dc=example,dc=org", true); err != nil {
		t.Fatal(err)
	}
	found = f.search(directory.Local(), "(uid=biswajit)")
	if len(found) != 1 || found[0].DN.String() != "uid=biswajit,ou=staff,ou=addressbook,dc=example,dc=org" {
		t.Error("what stands below did not move along")
	}
	acc, err := f.Resolve(f.ctx, "biswajit@example.org")
	if err != nil || acc.DN.String() != "uid=biswajit,ou=staff,ou=addressbook,dc=example,dc=org" {
		t.Errorf("mail did not follow: %v", err)
	}
}
