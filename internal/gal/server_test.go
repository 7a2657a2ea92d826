package gal

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"expost/internal/ldap"
	"expost/internal/ldapclient"
	"expost/internal/ldapwire"
	"expost/internal/mail"
)

// adServer answers searches as Active Directory does: root DSE, one page after
// the other, members of large groups in ranges.
type adServer struct {
	t       *testing.T
	mu      sync.Mutex
	entries []ldapwire.SearchEntry
	page    int              // entries a page
	span    int              // members a range
	root    []ldap.Attribute // of the root DSE; nil: Active Directory's
	added   map[string]*ldap.Entry
}

func (s *adServer) start() *ldapclient.Conn {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(nc)
		}
	}()
	conn, err := ldapclient.Dial(s.t.Context(), "ldap://"+l.Addr().String(), ldapclient.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	return conn
}

func (s *adServer) serve(nc net.Conn) {
	defer nc.Close()
	in := ldapwire.NewReader(bufio.NewReader(nc), 1<<20)
	for {
		m, err := in.Next()
		if err != nil {
			return
		}
		var out []byte
		for _, answer := range s.answer(m) {
			answer.ID = m.ID
			out = answer.Append(out)
		}
		if _, err := nc.Write(out); err != nil {
			return
		}
	}
}

func (s *adServer) answer(m *ldapwire.Message) []ldapwire.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch op := m.Op.(type) {
	case *ldapwire.BindRequest:
		return []ldapwire.Message{{Op: &ldapwire.BindResponse{}}}
	case *ldapwire.AddRequest:
		code := ldap.Success
		if s.added[op.Entry.DN.String()] != nil {
			code = ldap.EntryAlreadyExists
		} else {
			s.added[op.Entry.DN.String()] = &op.Entry
		}
		return []ldapwire.Message{{Op: &ldapwire.Response{Of: ldapwire.TagAddResponse, Result: ldapwire.Result{Code: code}}}}
	case *ldapwire.ModifyRequest:
		e := s.added[op.DN.String()]
		for _, c := range op.Changes {
			replace(e, c.Attribute.Desc, c.Attribute.Values...)
		}
		return []ldapwire.Message{{Op: &ldapwire.Response{Of: ldapwire.TagModifyResponse}}}
	case *ldapwire.SearchRequest:
		return s.search(m, op)
	}
	return nil
}

func (s *adServer) search(m *ldapwire.Message, op *ldapwire.SearchRequest) []ldapwire.Message {
	done := ldapwire.Message{Op: &ldapwire.Response{Of: ldapwire.TagSearchDone}}
	found := func(e ldapwire.SearchEntry) ldapwire.Message { return ldapwire.Message{Op: &e} }
	if len(op.Base) == 0 && s.root != nil {
		return []ldapwire.Message{found(ldapwire.SearchEntry{Attributes: s.root}), done}
	}
	if len(op.Base) == 0 {
		return []ldapwire.Message{found(ldapwire.SearchEntry{Attributes: []ldap.Attribute{
			{Desc: "defaultNamingContext", Values: [][]byte{[]byte("DC=linuxforu,DC=com")}}, {Desc: "supportedCapabilities", Values: [][]byte{[]byte(capabilityAD)}},
		}}), done}
	}
	if e := s.added[op.Base.String()]; e != nil {
		return []ldapwire.Message{found(ldapwire.SearchEntry{DN: e.DN.String(), Attributes: e.Attributes}), done}
	}
	if op.Scope == ldap.ScopeBase {
		for _, e := range s.entries {
			if strings.EqualFold(e.DN, op.Base.String()) {
				return []ldapwire.Message{found(s.ranged(e, op.Attributes)), done}
			}
		}
		return []ldapwire.Message{done}
	}
	var list []ldapwire.SearchEntry
	for _, e := range s.entries {
		if matchesFilter(e, op.Filter) {
			list = append(list, e)
		}
	}
	start := 0
	for _, c := range m.Controls {
		if c.OID == ldapwire.OIDPaged {
			p, _ := ldapwire.DecodePaged(c.Value)
			start, _ = strconv.Atoi(string(p.Cookie))
		}
	}
	end := min(start+s.page, len(list))
	var out []ldapwire.Message
	for _, e := range list[start:end] {
		out = append(out, found(s.ranged(e, op.Attributes)))
	}
	cookie := ""
	if end < len(list) {
		cookie = strconv.Itoa(end)
	}
	done.Controls = []ldapwire.Control{ldapwire.PagedControl{Cookie: []byte(cookie)}.Control()}
	return append(out, done)
}

// ranged gives a part of the members where there are more than fit.
func (s *adServer) ranged(e ldapwire.SearchEntry, asked []string) ldapwire.SearchEntry {
	from := 0
	for _, a := range asked {
		if rest, ok := strings.CutPrefix(a, "member;range="); ok {
			from, _ = strconv.Atoi(strings.TrimSuffix(rest, "-*"))
		}
	}
	e.Attributes = slices.Clone(e.Attributes)
	for i, a := range e.Attributes {
		if a.Desc != "member" || len(a.Values) <= s.span && from == 0 {
			continue
		}
		to := min(from+s.span, len(a.Values))
		upper := strconv.Itoa(to - 1)
		if to == len(a.Values) {
			upper = "*"
		}
		e.Attributes[i] = ldap.Attribute{Desc: fmt.Sprintf("member;range=%d-%s", from, upper), Values: a.Values[from:to]}
	}
	return e
}

// matchesFilter knows presence, equality, and and or.
func matchesFilter(e ldapwire.SearchEntry, f *ldap.Filter) bool {
	i := slices.IndexFunc(e.Attributes, func(a ldap.Attribute) bool { return strings.EqualFold(a.Desc, f.Attr) })
	switch f.Op {
	case ldap.FilterPresent:
		return i >= 0
	case ldap.FilterEqual:
		return i >= 0 && slices.ContainsFunc(e.Attributes[i].Values, func(v []byte) bool { return strings.EqualFold(string(v), string(f.Value)) })
	case ldap.FilterOr:
		return slices.ContainsFunc(f.Subs, func(sub *ldap.Filter) bool { return matchesFilter(e, sub) })
	case ldap.FilterAnd:
		return !slices.ContainsFunc(f.Subs, func(sub *ldap.Filter) bool { return !matchesFilter(e, sub) })
	}
	return false
}

// adEntry makes an entry of "name: value" lines.
func adEntry(text string) ldapwire.SearchEntry {
	e := ldap.Entry{}
	dn := ""
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok {
			continue
		}
		if name == "dn" {
			dn = value
			continue
		}
		set(&e, name, value)
	}
	return ldapwire.SearchEntry{DN: dn, Attributes: e.Attributes}
}

// sidBytes returns a SID of a domain in its binary form.
func sidBytes(last uint32) []byte {
	b := []byte{1, 5, 0, 0, 0, 0, 0, 5}
	for _, v := range []uint32{21, 1, 2, 3, last} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

// descriptor makes a security descriptor that lets SIDs send as its owner.
func descriptor(sids ...[]byte) []byte {
	le := binary.LittleEndian
	var aces []byte
	for i, sid := range sids {
		ace := []byte{5, 0, 0, 0}
		if i == len(sids)-1 {
			ace[1] = 0x10 // the last one is inherited
		}
		ace = le.AppendUint32(le.AppendUint32(ace, 0x100), 1)
		ace = append(append(ace, sendAsRight()...), sid...)
		le.PutUint16(ace[2:], uint16(len(ace)))
		aces = append(aces, ace...)
	}
	sd := make([]byte, 20)
	sd[0] = 1
	le.PutUint32(sd[16:], 20)
	acl := []byte{4, 0, 0, 0, 0, 0, 0, 0}
	le.PutUint16(acl[2:], uint16(8+len(aces)))
	le.PutUint16(acl[4:], uint16(len(sids)))
	return append(append(sd, acl...), aces...)
}

func newAD(t *testing.T) *adServer {
	s := &adServer{t: t, page: 2, span: 2, added: map[string]*ldap.Entry{}}
	for i, text := range []string{
		"dn: CN=Ajay,OU=Delhi,DC=linuxforu,DC=com\nobjectClass: user\ncn: Ajay\nmail: ajay@linuxforu.com\nmailNickname: ajay\nproxyAddresses: SMTP:ajay@linuxforu.com\nproxyAddresses: X500:/o=Old/cn=ajay\nlegacyExchangeDN: /o=Linux For You/cn=ajay\ndepartment: Editorial\nmDBUseDefaults: FALSE\nmDBOverHardQuotaLimit: 2048\nuserAccountControl: 512",
		"dn: CN=Biswajit Banerjee,OU=Delhi,DC=linuxforu,DC=com\nobjectClass: user\ncn: Biswajit Banerjee\nsn: Banerjee\nmail: biswajit@linuxforu.com\nmDBUseDefaults: TRUE\nmDBOverHardQuotaLimit: 99\naltRecipient: CN=Anup Sharma,OU=Delhi,DC=linuxforu,DC=com\nmanager: CN=Ajay,OU=Delhi,DC=linuxforu,DC=com\npublicDelegates: CN=Ajay,OU=Delhi,DC=linuxforu,DC=com\nuserAccountControl: 514",
		"dn: CN=Anup Sharma,OU=Delhi,DC=linuxforu,DC=com\nobjectClass: contact\ncn: Anup Sharma\ntargetAddress: SMTP:anup@lpsboi.com\nmailNickname: anup",
		"dn: CN=Info,OU=Delhi,DC=linuxforu,DC=com\nobjectClass: user\ncn: Info\nmail: info@linuxforu.com\nmsExchRecipientTypeDetails: 4\nuserAccountControl: 514\nmsExchHideFromAddressLists: TRUE",
		"dn: CN=Everybody,OU=Delhi,DC=linuxforu,DC=com\nobjectClass: group\ncn: Everybody\nmail: all@linuxforu.com\nmsExchRequireAuthToSendTo: TRUE\nmember: CN=Ajay,OU=Delhi,DC=linuxforu,DC=com\nmember: CN=Biswajit Banerjee,OU=Delhi,DC=linuxforu,DC=com\nmember: CN=Anup Sharma,OU=Delhi,DC=linuxforu,DC=com\nmember: CN=Info,OU=Delhi,DC=linuxforu,DC=com\nmember: CN=Editors,OU=Delhi,DC=linuxforu,DC=com\nauthOrig: CN=Ajay,OU=Delhi,DC=linuxforu,DC=com",
		"dn: CN=Editors,OU=Delhi,DC=linuxforu,DC=com\nobjectClass: msExchDynamicDistributionList\ncn: Editors\nmail: editors@linuxforu.com\nmsExchDynamicDLFilter: (department=Editorial)",
		"dn: CN=SystemMailbox,DC=linuxforu,DC=com\nobjectClass: user\ncn: SystemMailbox\nmail: system@linuxforu.com\nmsExchRecipientTypeDetails: 16384",
	} {
		e := adEntry(text)
		e.Attributes = append(e.Attributes, ldap.Attribute{Desc: "objectSid", Values: [][]byte{sidBytes(uint32(1000 + i))}})
		if i == 3 { // Biswajit may send as Info; Ajay by a right that is inherited
			e.Attributes = append(e.Attributes, ldap.Attribute{Desc: "nTSecurityDescriptor", Values: [][]byte{descriptor(sidBytes(1001), sidBytes(1000))}})
		}
		s.entries = append(s.entries, e)
	}
	return s
}

func TestActiveDirectory(t *testing.T) {
	t.Parallel()
	conn := newAD(t).start()
	var list []*Recipient
	var report []string
	src, err := ReadServer(t.Context(), conn, ServerOptions{Report: func(i Issue) { report = append(report, i.String()) }}, func(r *Recipient) error {
		list = append(list, r)
		return nil
	})
	if err != nil || len(list) != 6 || src.String() != "6 entries of Active Directory" {
		t.Fatalf("%s, %v\n%s", src, err, strings.Join(report, "\n"))
	}
	dir := openDirectory(t)
	entries := Entries(Merge(list, func(Issue) {}), TreeOptions{Base: mustDN(t, "ou=addressbook,dc=linuxforu,dc=com"), Containers: true, Extended: true, Mailboxes: true,
		Report: func(i Issue) { report = append(report, i.String()) }})
	sum, err := Import(t.Context(), dir, entries, ImportOptions{Source: "ad", Accounts: &AccountOptions{
		Domains: []string{"linuxforu.com"}, Create: func(context.Context, mail.AccountID) error { return nil },
	}})
	if err != nil || sum.Failed > 0 || sum.Accounts != 3 {
		t.Fatalf("%+v, %v\n%s", sum, err, strings.Join(report, "\n"))
	}
	const base = ",ou=addressbook,dc=linuxforu,dc=com"
	for _, want := range []struct{ dn, attr, value string }{
		{"cn=Ajay" + base, "mailQuotaSize", "2097152"},
		{"cn=Ajay" + base, "legacyExchangeDN", "/o=Linux For You/cn=ajay"},
		{"cn=Biswajit Banerjee" + base, "mailQuotaSize", ""},
		{"cn=Biswajit Banerjee" + base, "mailForwardingAddress", "anup@lpsboi.com"},
		{"cn=Biswajit Banerjee" + base, "deliveryMode", "nolocal"},
		{"cn=Biswajit Banerjee" + base, "accountStatus", "noaccess"},
		{"cn=Biswajit Banerjee" + base, "publicDelegates", "cn=Ajay" + base},
		{"cn=Biswajit Banerjee" + base, "manager", "cn=Ajay" + base},
		{"cn=Info" + base, "mailboxType", "shared"},
		{"cn=Info" + base, "accountStatus", ""},
		{"cn=Info" + base, "msExchHideFromAddressLists", "TRUE"},
		{"cn=Info" + base, "mailSendAs", "cn=Biswajit Banerjee" + base},
		{"cn=Everybody" + base, "msExchRequireAuthToSendTo", "TRUE"},
		{"cn=Everybody" + base, "authOrig", "cn=Ajay" + base},
	} {
		e := entryOf(t, dir, want.dn)
		if e == nil {
			t.Fatalf("there is no %s", want.dn)
		}
		if got := strings.Join(e.Values(want.attr), " | "); got != want.value {
			t.Errorf("%s has %s %q, want %q", want.dn, want.attr, got, want.value)
		}
	}
	if got := entryOf(t, dir, "cn=Everybody"+base).Values("member"); len(got) != 5 {
		t.Errorf("of five members, read in ranges, there are %q", got)
	}
	if got := entryOf(t, dir, "cn=Editors"+base).Values("member"); len(got) != 1 || got[0] != "cn=Ajay"+base {
		t.Errorf("the dynamic group has %q", got)
	}
	if all := strings.Join(report, "\n"); !strings.Contains(all, "is a dynamic group") || !strings.Contains(all, "is a system mailbox") {
		t.Errorf("report\n%s", all)
	}
}

// TestExchange55 reads the directory of an Exchange 5.5, as its LDAP shows it to
// an administrator.
func TestExchange55(t *testing.T) {
	t.Parallel()
	s := &adServer{t: t, page: 2, span: 1000, added: map[string]*ldap.Entry{}, root: []ldap.Attribute{ldap.NewAttribute("namingContexts", "o=LFY")}}
	for _, text := range []string{
		"dn: cn=ajay,cn=Recipients,ou=Delhi,o=LFY\nobjectClass: organizationalPerson\nobjectClass: Mail-Recipient\nrdn: ajay\ncn: Ajay Kumar\nsn: Kumar\ngivenName: Ajay\nuid: ajayk\nmail: ajay@linuxforu.com\nrfc822Mailbox: ajay@linuxforu.com\ntextEncodedORAddress: c=IN;a= ;p=LFY;o=Delhi;s=Kumar;g=Ajay;\notherMailbox: MS$LFY/DELHI/AJAYK\notherMailbox: smtp$ajay.kumar@linuxforu.com\nExtension-Attribute-1: 4711\nMAPI-Recipient: TRUE\nTelephone-Assistant: 55\ndepartment: Editorial\nDeliv-Cont-Length: 1024\nAssoc-NT-Account: 0105",
		"dn: cn=hidden,cn=Recipients,ou=Delhi,o=LFY\nobjectClass: organizationalPerson\nrdn: hidden\ncn: Hidden One\nuid: hidden\nmail: hidden@linuxforu.com\nHide-From-Address-Book: TRUE\nObj-Dist-Name: /o=LFY/ou=Delhi/cn=Recipients/cn=HIDDEN",
		"dn: cn=anup,cn=Recipients,ou=Delhi,o=LFY\nobjectClass: Remote-Address\nrdn: anup\ncn: Anup Sharma\nmail: anup@lpsboi.com\nTarget-Address: SMTP:anup@lpsboi.com",
		"dn: cn=all,cn=Recipients,ou=Delhi,o=LFY\nobjectClass: groupOfNames\nrdn: all\ncn: Everybody\nmail: all@linuxforu.com\nmember: cn=ajay,cn=Recipients,ou=Delhi,o=LFY\nmember: cn=anup,cn=Recipients,ou=Delhi,o=LFY",
	} {
		s.entries = append(s.entries, adEntry(text))
	}
	var list []*Recipient
	var report []string
	src, err := ReadServer(t.Context(), s.start(), ServerOptions{Report: func(i Issue) { report = append(report, i.String()) }}, func(r *Recipient) error {
		list = append(list, r)
		return nil
	})
	if err != nil || src.String() != "4 entries of Exchange 5.5" {
		t.Fatalf("%s, %v\n%s", src, err, strings.Join(report, "\n"))
	}
	const base = ",ou=addressbook,dc=linuxforu,dc=com"
	found := map[string]*ldap.Entry{}
	for _, e := range Entries(Merge(list, func(Issue) {}), TreeOptions{Base: mustDN(t, base[1:]), Extended: true, Report: func(i Issue) { report = append(report, i.String()) }}) {
		checkEntry(t, e)
		found[e.Value("cn")] = e
	}
	for _, want := range []struct{ name, attr, value string }{
		{"Ajay Kumar", "mail", "ajay@linuxforu.com | ajay.kumar@linuxforu.com"},
		{"Ajay Kumar", "mailNickname", "ajayk"},
		{"Ajay Kumar", "legacyExchangeDN", "/o=LFY/ou=Delhi/cn=Recipients/cn=ajay"},
		{"Ajay Kumar", "department", "Editorial"},
		{"Hidden One", "msExchHideFromAddressLists", "TRUE"},
		{"Hidden One", "legacyExchangeDN", "/o=LFY/ou=Delhi/cn=Recipients/cn=HIDDEN"},
		{"Anup Sharma", "mail", "anup@lpsboi.com"},
	} {
		e := found[want.name]
		if e == nil {
			t.Fatalf("there is no %s among %v\n%s", want.name, found, strings.Join(report, "\n"))
		}
		if got := strings.Join(e.Values(want.attr), " | "); got != want.value {
			t.Errorf("%s has %s %q, want %q", want.name, want.attr, got, want.value)
		}
	}
	proxies := strings.Join(found["Ajay Kumar"].Values("proxyAddresses"), "\n")
	for _, want := range []string{"X400:c=IN;a= ;p=LFY;o=Delhi;s=Kumar;g=Ajay;", "MS:LFY/DELHI/AJAYK"} {
		if !strings.Contains(proxies, want) {
			t.Errorf("%q is not among the addresses\n%s", want, proxies)
		}
	}
	if e := found["Everybody"]; e == nil || len(e.Values("member")) != 2 {
		t.Errorf("the group is %v\n%s", e, strings.Join(report, "\n"))
	}
}

func TestReadServerOfNobody(t *testing.T) {
	t.Parallel()
	s := newAD(t)
	s.entries = nil
	_, err := ReadServer(t.Context(), s.start(), ServerOptions{}, func(*Recipient) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "nobody with an address is below") {
		t.Errorf("an empty directory: %v", err)
	}
}

func TestWriteServer(t *testing.T) {
	t.Parallel()
	s := newAD(t)
	conn := s.start()
	write := func(csv string) map[Action]int {
		list, _, _, err := readAll(t, csv, Options{})
		if err != nil {
			t.Fatal(err)
		}
		counts := map[Action]int{}
		entries := Entries(list, TreeOptions{Base: mustDN(t, "ou=people,dc=example,dc=org")})
		if err := WriteServer(t.Context(), conn, entries, func(e *ldap.Entry, a Action, err error) {
			if counts[a]++; err != nil {
				t.Errorf("%s: %v", e.DN, err)
			}
		}); err != nil {
			t.Fatal(err)
		}
		return counts
	}
	const head = "Name,E-mail Address,Job Title\n"
	if got := write(head + "Ajay,ajay@linuxforu.com,Clerk\nAnup Sharma,anup@lpsboi.com,\n"); got[ActionAdd] != 2 {
		t.Errorf("a first time: %v", got)
	}
	if got := write(head + "Ajay,ajay@linuxforu.com,Editor\nAnup Sharma,anup@lpsboi.com,\n"); got[ActionModify] != 1 || got[ActionUnchanged] != 1 {
		t.Errorf("again: %v", got)
	}
	if got := s.added["cn=Ajay,ou=people,dc=example,dc=org"].Value("title"); got != "Editor" {
		t.Errorf("title %q", got)
	}
}

func TestSecurityDescriptors(t *testing.T) {
	t.Parallel()
	sd := descriptor(sidBytes(7), sidBytes(8), sidBytes(9))
	if got := sendAs(sd); !slices.Equal(got, []string{"S-1-5-21-1-2-3-7", "S-1-5-21-1-2-3-8"}) {
		t.Errorf("got %q", got)
	}
	for i := range sd { // whatever is cut off is not read
		if got := sendAs(sd[:i]); len(got) > 2 {
			t.Errorf("%d bytes: %q", i, got)
		}
	}
}
