package directorytest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"expost/internal/directory"
	"expost/internal/mail"
)

// list makes an entry of a group.
func list(name, class string, lines ...string) string {
	return fmt.Sprintf("dn: cn=%[1]s,ou=people,dc=example,dc=org\nobjectClass: %[2]s\ncn: %[1]s\n%[3]s", name, class, strings.Join(lines, "\n"))
}

// members returns who is in an audience.
func (f *fixture) members(a *directory.Audience) []string {
	f.t.Helper()
	var found []string
	err := a.Expand(f.ctx, f.Directory, func(m directory.Member) error {
		text := string(m.Address)
		if m.List != nil {
			text = "list " + m.List.Name
		}
		found = append(found, text)
		return nil
	})
	if err != nil {
		f.t.Error(err)
	}
	return found
}

// testLists reads groups of every class as distribution lists.
func testLists(t *testing.T, f *fixture) {
	f.add(list("inner", "groupOfNames", "member: "+biswajitDN))
	f.add(list("staff", "groupOfNames\nobjectClass: expostGroup", "displayName: All Staff", "mail: staff@example.org", "mailAlternateAddress: all@example.org",
		"proxyAddresses: smtp:everybody@example.net", "member: "+ajayDN, "member: cn=inner,ou=people,dc=example,dc=org",
		"member: uid=gone,ou=people,dc=example,dc=org", "member: cn=Anup Sharma,ou=addressbook,dc=example,dc=org",
		"rfc822member: x@far.example", "filtermember: (mail=biswajit@example.org)", "msExchRequireAuthToSendTo: TRUE", "dnmoderator: "+ajayDN))
	f.add(list("news", "groupOfNames\nobjectClass: qmailGroup", "mail: news@example.org", "mailAlternateAddress: news-catchall@example.org", "mailMessageStore: news",
		"member: "+ajayDN, "membersonly: TRUE", "senderconfirm: TRUE", "confirmtext: Is it you?", "rfc822sender: boss@far.example",
		"dnsender: cn=inner,ou=people,dc=example,dc=org", "filtersender: ldap:///dc=example,dc=org??sub?(cn=Anup*)", "bounceadmin: owner@example.org", "moderatortext: Look."))
	for _, addr := range []mail.Address{"staff@example.org", "ALL@Example.org", "everybody@example.net"} {
		l, err := directory.ListByAddress(f.ctx, f.Directory, addr)
		if err != nil || l.Address != "staff@example.org" || l.Name != "All Staff" || !l.Restricted() || !l.SignedIn || len(l.Aliases) != 2 {
			t.Errorf("%s: %+v, %v", addr, l, err)
		}
	}
	l, err := directory.ListByAddress(f.ctx, f.Directory, "staff@example.org")
	if err != nil {
		t.Fatal(err)
	}
	got := f.members(&l.Members)
	slices.Sort(got)
	got = slices.Compact(got)
	if want := []string{"ajay@example.org", "anup@lpsboi.com", "biswajit@example.org", "list inner", "x@far.example"}; !slices.Equal(got, want) {
		t.Errorf("members are %q, want %q", got, want)
	}
	if got := f.members(&l.Moderators); !slices.Equal(got, []string{"ajay@example.org"}) {
		t.Errorf("moderators are %q", got)
	}
	if l, err = directory.ListByAddress(f.ctx, f.Directory, "news@example.org"); err != nil {
		t.Fatal(err)
	}
	if !l.MembersOnly || !l.Confirm || l.ConfirmText != "Is it you?" || l.ModText != "Look." || !slices.Equal(l.Bounces, []mail.Address{"owner@example.org"}) {
		t.Errorf("%+v", l)
	}
	for addr, want := range map[mail.Address]bool{
		"boss@far.example": true, "BOSS@Far.Example": true, "bb@example.org": true, "biswa@example.net": true, "anup@lpsboi.com": true,
		"ajay@example.org": false, "x@far.example": false,
	} {
		acct, err := f.Resolve(f.ctx, addr)
		if err != nil && mail.KindOf(err) != mail.KindNotExist {
			t.Fatal(err)
		}
		if got, err := l.Senders.Has(f.ctx, f.Directory, addr, acct); err != nil || got != want {
			t.Errorf("%s may send: %v, %v, want %v", addr, got, err, want)
		}
	}
	for _, addr := range []mail.Address{"ajay@example.org", "anup@lpsboi.com", "nobody@example.org", ""} {
		_, err := directory.ListByAddress(f.ctx, f.Directory, addr)
		wantKind(t, string(addr), err, mail.KindNotExist)
	}
}

// testX500 finds people by the names they had in Exchange.
func testX500(t *testing.T, f *fixture) {
	f.add(account("old", "mail: old@example.org", "legacyExchangeDN: /o=Example/ou=First/cn=Recipients/cn=old",
		"proxyAddresses: X500:/o=Before/ou=Site/cn=Recipients/cn=OldName", "proxyAddresses: SMTP:old@example.org"))
	f.add(account("one", "mail: one@example.org", "proxyAddresses: x500:/o=Example/cn=shared"))
	f.add(account("two", "mail: two@example.org", "proxyAddresses: X500:/o=Example/cn=shared"))
	for _, name := range []string{"/o=Example/ou=First/cn=Recipients/cn=old", "/O=EXAMPLE/OU=FIRST/CN=RECIPIENTS/CN=OLD", "/o=before/ou=site/cn=recipients/cn=oldname"} {
		if addr, err := directory.AddressOfX500(f.ctx, f.Directory, name); err != nil || addr != "old@example.org" {
			t.Errorf("%s is %s, %v", name, addr, err)
		}
	}
	for name, kind := range map[string]mail.Kind{
		"/o=Example/ou=First/cn=Recipients/cn=ol": mail.KindNotExist, "": mail.KindNotExist, "*": mail.KindNotExist, "/o=Example/cn=shared": mail.KindConflict,
	} {
		_, err := directory.AddressOfX500(f.ctx, f.Directory, name)
		wantKind(t, name, err, kind)
	}
}

// testMailHosts knows the hosts of mailboxes by their names.
func testMailHosts(t *testing.T, f *fixture) {
	f.add(account("p", "mail: p@example.org", "mailHost: second.example.org:2525"))
	f.add(account("l", "mail: l@example.org", "mailHost: lmtp:third.example.org:24"))
	for name, want := range map[string]bool{
		"exchange.example.org": true, "EXCHANGE.Example.Org.": true, "second.example.org": true, "third.example.org": true,
		"example.org": false, "exchange.example": false, "": false, "*": false, "first.example.org": false,
	} {
		if got, err := directory.IsMailHost(f.ctx, f.Directory, name); err != nil || got != want {
			t.Errorf("%q: %v, %v", name, got, err)
		}
	}
}
