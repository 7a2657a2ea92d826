package ldap

import (
	"testing"

	"expost/internal/directory"
	"expost/internal/directory/directorytest"
	"expost/internal/peertest"
)

// accessRules are what our own directory grants by default, in slapd's words.
const accessRules = `access to attrs=userPassword by self =xw by * auth
access to attrs=telephoneNumber,homePhone,mobile,pager,facsimileTelephoneNumber by self write by users read by * break
access to * by users read by * break
access to dn.subtree="ou=addressbook,dc=example,dc=org" filter=(!(msExchHideFromAddressLists=TRUE)) attrs=cn,sn,mail,givenName,objectClass,entry,ou,telephoneNumber by * read
`

// slapdOptions are those for a new slapd with our schema files, as the manager.
func slapdOptions(t testing.TB) Options {
	t.Helper()
	c := directorytest.Defaults()
	s := peertest.StartSlapd(t, peertest.SlapdConfig{
		Suffix: c.Suffix.String(), RootDN: c.RootDN.String(), Password: c.RootPassword, Schemas: "../../schema/builtin",
		Global: "moduleload ppolicy\nauthz-policy none", Database: "index mail,mailAlternateAddress,uid eq\n" + accessRules + "overlay ppolicy\nppolicy_hash_cleartext",
	})
	return Options{Servers: []string{s.URL}, Suffix: c.Suffix, RootDN: c.RootDN, DN: c.RootDN.String(), Password: []byte(c.RootPassword), Domains: c.Domains}
}

// openTree returns a directory with the entries that a new one of ours has.
func openTree(t *testing.T, opt Options) *Directory {
	t.Helper()
	d, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	for _, text := range []string{
		"dn: dc=example,dc=org\nobjectClass: dcObject\nobjectClass: organization\no: example.org\ndc: example",
		"dn: ou=people,dc=example,dc=org\nobjectClass: organizationalUnit\nou: people",
		"dn: ou=addressbook,dc=example,dc=org\nobjectClass: organizationalUnit\nou: addressbook",
	} {
		if err := d.Add(t.Context(), directory.Local(), directorytest.Entry(text)); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// TestDirectory runs the contract against OpenLDAP. What it cannot pass is what
// only our own server does.
func TestDirectory(t *testing.T) {
	t.Parallel()
	directorytest.RunExcept(t, map[string]string{
		"Update":     "the server makes changes under conditions itself",
		"UpdateRace": "the server makes changes under conditions itself",
		"Uniqueness": "slapd keeps addresses unique only with an overlay",
		"Access":     "the rules are the server's own",

		"Administer: an alias that is taken": "as Uniqueness",
		"Search: (sn=GROSS)":                 "slapd does not fold the German sharp s",
		"Search: (mailQuotaSize=01000000)":   "slapd takes no leading zeros",
		"Search: (anr=bis ban)":              "anr is Active Directory's, and ours",
		"Search: (anr=ban bis)":              "anr is Active Directory's, and ours",
		"Search: (anr=biswa@example.net)":    "anr is Active Directory's, and ours",
		"Search: (anr=anup)":                 "anr is Active Directory's, and ours",
		"Rename: the suffix":                 "slapd has another code",
		"Modify: delete the RDN's value":     "slapd has another code",
		"Modify: operational":                "slapd looks at the syntax first",
		"Add: operational":                   "slapd looks at the syntax first",
		"Add: no parent":                     "slapd names the parent elsewhere",
	}, func(t *testing.T, _ directorytest.Config) directory.Directory {
		return openTree(t, slapdOptions(t))
	})
}
