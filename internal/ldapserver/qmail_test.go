package ldapserver

import (
	"strings"
	"testing"
)

const qmailLDIF = `dn: cn=Vikram,ou=people,dc=linuxforu,dc=com
objectClass: inetOrgPerson
objectClass: qmailUser
cn: Vikram
sn: Sharma
uid: vikram
mail: vikram@linuxforu.com
mailAlternateAddress: sales-catchall@linuxforu.com
mailAlternateAddress: a.sharma@linuxforu.com
mailHost: node1.linuxforu.com
mailMessageStore: vikram/Maildir/
deliveryMode: reply
mailReplyText: away
accountStatus: active
mailQuotaSize: 1000000
userPassword: geheim

dn: cn=all,ou=people,dc=linuxforu,dc=com
objectClass: groupOfNames
objectClass: qmailGroup
cn: all
member: cn=Vikram,ou=people,dc=linuxforu,dc=com
mail: all@linuxforu.com
mailAlternateAddress: all-catchall@linuxforu.com
mailMessageStore: all/
dnmember: cn=Vikram,ou=people,dc=linuxforu,dc=com
rfc822member: friend@example.org
filtermember: (&(objectClass=qmailUser)(accountStatus=active))
`

// TestQmailLDAPLooksUp has the lookups of qmail-ldap, with its filters and lists of
// attributes, as its daemons' account.
func TestQmailLDAPLooksUp(t *testing.T) {
	t.Parallel()
	url := serveOrganisation(t, Config{AllowV2: true})
	ldapadd(t, url, file(t, qmailLDIF))
	const delivery = "uid qmailUID qmailGID mailMessageStore mailHost homeDirectory qmailDotMode deliveryProgramPath mailForwardingAddress deliveryMode " +
		"mailReplyText accountStatus mailQuotaSize mailQuotaCount mailSizeMax mail objectClass"
	for _, c := range []struct {
		version, base, scope, filter, attributes string
		dns                                      int
		want                                     string
	}{
		// qmail-lspawn, and the same with DASH_EXT going up to the catchall
		{"3", suffixDN, "sub", "(|(mail=vikram@linuxforu.com)(mailAlternateAddress=vikram@linuxforu.com))", delivery, 1, "mailMessageStore: vikram/Maildir/"},
		{"3", suffixDN, "sub", "(&(objectClass=qmailUser)(|(mail=A.Sharma@LinuxForU.com)(mailAlternateAddress=A.Sharma@LinuxForU.com)))", delivery, 1, "deliveryMode: reply"},
		{"3", suffixDN, "sub", "(|(mail=sales-eu@linuxforu.com)(mailAlternateAddress=sales-eu@linuxforu.com))", delivery, 0, ""},
		{"3", suffixDN, "sub", "(|(mail=sales-catchall@linuxforu.com)(mailAlternateAddress=sales-catchall@linuxforu.com))", delivery, 1, "mailHost: node1.linuxforu.com"},
		{"3", suffixDN, "sub", "(|(mail=nobody@linuxforu.com)(mailAlternateAddress=nobody@linuxforu.com))", "mail", 0, ""},
		// auth_pop, auth_imap
		{"3", suffixDN, "sub", "(uid=vikram)", "mail uid qmailUID qmailGID accountStatus mailHost mailMessageStore homeDirectory userPassword", 1, "accountStatus: active"},
		{"2", suffixDN, "sub", "(uid=vikram)", "mail accountStatus", 1, "accountStatus: active"},
		// qmail-group
		{"3", "cn=Vikram,ou=people," + suffixDN, "base", "(objectClass=*)", "mail", 1, "mail: vikram@linuxforu.com"},
		{"3", suffixDN, "sub", "(&(objectClass=qmailUser)(accountStatus=active))", "mail", 1, "mail: vikram@linuxforu.com"},
		{"3", suffixDN, "sub", "(|(mail=all@linuxforu.com)(mailAlternateAddress=all@linuxforu.com))", "objectClass dnmember rfc822member filtermember membersonly senderconfirm", 1, "rfc822member: friend@example.org"},
	} {
		r := run(t, nil, "ldapsearch", append([]string{"-x", "-P", c.version, "-H", url, "-D", managerDN, "-w", "secret", "-LLL", "-b", c.base, "-s", c.scope, c.filter},
			strings.Fields(c.attributes)...)...)
		if r.status != 0 || len(dns(r.stdout)) != c.dns || !strings.Contains(r.stdout, c.want) {
			t.Errorf("%s: status %d, want %d entries with %q\n%s%s", c.filter, r.status, c.dns, c.want, r.stdout, r.stderr)
		}
	}
	// ldaprebind: the password is checked by a bind
	for password, status := range map[string]int{"geheim": 0, "wrong": 49} {
		if r := run(t, nil, "ldapwhoami", "-x", "-H", url, "-D", "cn=Vikram,ou=people,"+suffixDN, "-w", password); r.status != status {
			t.Errorf("rebind with %s: %d %s", password, r.status, r.stderr)
		}
	}
}
