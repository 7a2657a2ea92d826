package ldapserver

import (
	"bytes"
	"context"

	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"expost/internal/directory"
	"expost/internal/directory/replica"
	"expost/internal/ldap"
	"expost/internal/ldapwire"
)

// ourSchema is the folder of our schema files.
const ourSchema = "../schema/builtin"

// own are the attributes that each server makes for itself, or keeps in a form
// of its own.
var own = regexp.MustCompile(`(?m)^(entryCSN|contextCSN|modifiersName|creatorsName|subschemaSubentry|hasSubordinates|entryDN|userPassword)::? .*\n`)

// dump returns the records of all that a server has.
func dump(t testing.TB, url string) []string {
	t.Helper()
	r := run(t, nil, "ldapsearch", "-x", "-M", "-H", url, "-D", managerDN, "-w", "secret", "-LLL", "-o", "ldif-wrap=no", "-b", suffixDN, "(objectClass=*)", "*", "+")
	records := strings.Split(strings.TrimSpace(own.ReplaceAllString(r.stdout+"\n", "")), "\n\n")
	for i, record := range records {
		lines := strings.Split(strings.ReplaceAll(record, `\2C`, `\,`), "\n")
		slices.Sort(lines)
		records[i] = strings.Join(lines, "\n")
	}
	slices.Sort(records)
	return records
}

// waitEqual waits until two servers have the same.
func waitEqual(t testing.TB, what, a, b string) {
	t.Helper()
	var left, right []string
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-time.After(50 * time.Millisecond) {
		if left, right = dump(t, a), dump(t, b); slices.Equal(left, right) && len(left) > 3 {
			return
		}
	}
	only := func(a, b []string) string {
		return strings.Join(slices.DeleteFunc(slices.Clone(a), func(r string) bool { return slices.Contains(b, r) }), "\n\n")
	}
	t.Fatalf("%s: the copy differs\n--- only the original has\n%s\n--- only the copy has\n%s", what, only(left, right), only(right, left))
}

// modify carries out LDIF changes at a server.
func modify(t testing.TB, url, ldif string) {
	t.Helper()
	if r := run(t, nil, "ldapmodify", "-x", "-M", "-H", url, "-D", managerDN, "-w", "secret", "-f", file(t, ldif)); r.status != 0 {
		t.Fatalf("ldapmodify: %s%s", r.stdout, r.stderr)
	}
}

// changes are rounds of changes, each of another kind.
func changes() []struct{ what, ldif string } {
	return []struct{ what, ldif string }{
		{"an addition", "dn: ou=depot," + bookDN + "\nchangetype: add\nobjectClass: organizationalUnit\nou: depot\n\n" +
			"dn: cn=Neu,ou=depot," + bookDN + "\nchangetype: add\nobjectClass: inetOrgPerson\ncn: Neu\nsn: Jürgen\nmail: neu@linuxforu.com\n"},
		{"a modification", "dn: cn=Neu,ou=depot," + bookDN + "\nchangetype: modify\nreplace: mail\nmail: other@linuxforu.com\n-\nadd: title\ntitle: Clerk\n"},
		{"a rename of a subtree", "dn: ou=depot," + bookDN + "\nchangetype: modrdn\nnewrdn: ou=office\ndeleteoldrdn: 1\nnewsuperior: " + suffixDN + "\n"},
		{"a deletion", "dn: cn=Ajay," + bookDN + "\nchangetype: delete\n"},
		{"deletion and addition", "dn: cn=Neu,ou=office," + suffixDN + "\nchangetype: delete\n\ndn: cn=Neu,ou=office," + suffixDN +
			"\nchangetype: add\nobjectClass: person\ncn: Neu\nsn: Again\n"},
	}
}

// TestSlapdReplicatesFromUs has OpenLDAP keep a copy of our directory: the first
// copy, each kind of change as it is made, and what happened while it was away.
func TestSlapdReplicatesFromUs(t *testing.T) {
	t.Parallel()
	url := serveOrganisation(t, Config{})
	copied := newSlapd(t, ourSchema, fmt.Sprintf(`syncrepl rid=001 provider=%s type=refreshAndPersist retry="1 +" searchbase=%q bindmethod=simple binddn=%q credentials=secret attrs="*,+" schemachecking=on`,
		url, suffixDN, managerDN))
	waitEqual(t, "the first copy", url, copied.URL)
	for _, c := range changes() {
		modify(t, url, c.ldif)
		waitEqual(t, c.what, url, copied.URL)
	}
	copied.Stop()
	modify(t, url, "dn: cn=Neu,ou=office,"+suffixDN+"\nchangetype: delete\n\ndn: ou=office,"+suffixDN+"\nchangetype: delete\n\n"+
		"dn: cn=Later,"+bookDN+"\nchangetype: add\nobjectClass: person\ncn: Later\nsn: Later\n")
	copied.Start(t)
	waitEqual(t, "what happened while it was away", url, copied.URL)
}

// TestWeReplicateFromSlapd is the other way round.
func TestWeReplicateFromSlapd(t *testing.T) {
	t.Parallel()
	provider := newSlapd(t, ourSchema, "index entryUUID,entryCSN eq\noverlay syncprov\nsyncprov-sessionlog 100")
	d := organisation(t)
	addr, _ := start(t, Config{Directory: d, ChangesAt: provider.URL})
	ours := "ldap://" + addr
	modify(t, provider.URL, "dn: "+suffixDN+"\nchangetype: add\nobjectClass: dcObject\nobjectClass: organization\no: linuxforu\ndc: linuxforu\n\n"+
		"dn: ou=people,"+suffixDN+"\nchangetype: add\nobjectClass: organizationalUnit\nou: people\n\ndn: "+bookDN+"\nchangetype: add\nobjectClass: organizationalUnit\nou: addressbook\n")
	ldapadd(t, provider.URL, organisationLDIF)
	cookie := filepath.Join(t.TempDir(), "cookie")
	follow := func() (stop func()) {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			replica.Run(ctx, replica.Options{Server: provider.URL, DN: managerDN, Password: []byte("secret"), Target: d.(replica.Target),
				CookieFile: cookie, Retry: 50 * time.Millisecond})
		}()
		stop = func() { cancel(); <-done }
		t.Cleanup(stop)
		return stop
	}
	stop := follow()
	waitEqual(t, "the first copy", provider.URL, ours)
	for _, c := range changes() {
		modify(t, provider.URL, c.ldif)
		waitEqual(t, c.what, provider.URL, ours)
	}
	stop()
	modify(t, provider.URL, "dn: cn=Neu,ou=office,"+suffixDN+"\nchangetype: delete\n\ndn: cn=Later,"+bookDN+"\nchangetype: add\nobjectClass: person\ncn: Later\nsn: Later\n")
	follow()
	waitEqual(t, "what happened while we were away", provider.URL, ours)
	provider.Stop()
	provider.Start(t)
	modify(t, provider.URL, "dn: cn=Later,"+bookDN+"\nchangetype: modify\nadd: description\ndescription: after its restart\n")
	waitEqual(t, "after the provider's restart", provider.URL, ours)
	r := run(t, nil, "ldapdelete", "-x", "-H", ours, "-D", managerDN, "-w", "secret", "cn=Later,"+bookDN)
	if r.status != 10 || !strings.Contains(r.stdout+r.stderr, provider.URL) {
		t.Errorf("a change of the copy: %d %s%s", r.status, r.stdout, r.stderr)
	}
}

// TestRefreshOnly asks by hand: all, nothing new, a change and a deletion, a
// cookie that is none of ours.
func TestRefreshOnly(t *testing.T) {
	t.Parallel()
	url := serveOrganisation(t, Config{})
	c := dial(t, strings.TrimPrefix(url, "ldap://"))
	c.send(1, simpleBind(managerDN, "secret"))
	c.expect(1, ldap.Success)
	id := int32(1)
	sync := func(cookie []byte) (entries, deleted int, present bool, next []byte) {
		t.Helper()
		id++
		req := baseSearch(t, suffixDN, "(objectClass=*)")
		req.Scope = ldap.ScopeSub
		c.send(id, req, ldapwire.SyncRequest{Cookie: cookie}.Control())
		for {
			m := c.receive()
			switch op := m.Op.(type) {
			case *ldapwire.SearchEntry:
				s, err := ldapwire.DecodeSyncState(m.Controls[0].Value)
				if err != nil || s.UUID == (directory.UUID{}) {
					t.Fatalf("state %+v, %v", s, err)
				}
				if directory.SyncState(s.State) == directory.SyncDelete {
					deleted++
				} else {
					entries++
				}
			case *ldapwire.IntermediateResponse:
				info, err := ldapwire.DecodeSyncInfo(op.Value)
				if err != nil || info.Kind != ldapwire.SyncIDSet || !info.Deletes {
					t.Fatalf("info %+v, %v", info, err)
				}
				deleted += len(info.UUIDs)
			case *ldapwire.Response:
				if op.Code != ldap.Success || len(m.Controls) != 1 {
					t.Fatalf("%+v %v", op, m.Controls)
				}
				done, err := ldapwire.DecodeSyncDone(m.Controls[0].Value)
				if err != nil {
					t.Fatal(err)
				}
				return entries, deleted, !done.RefreshDeletes, done.Cookie
			}
		}
	}
	all, deleted, present, cookie := sync(nil)
	if all < 5 || deleted != 0 || !present {
		t.Errorf("at first %d entries, %d deleted, present %v", all, deleted, present)
	}
	n, deleted, present, again := sync(cookie)
	if n != 0 || deleted != 0 || present || !bytes.Equal(cookie, again) {
		t.Errorf("nothing new: %d entries, %d deleted, present %v, cookie %s", n, deleted, present, again)
	}
	modify(t, url, "dn: cn=Ajay,"+bookDN+"\nchangetype: delete\n\ndn: "+bookDN+"\nchangetype: modify\nadd: description\ndescription: x\n")
	n, deleted, present, cookie = sync(cookie)
	if n != 1 || deleted != 1 || present {
		t.Errorf("after two changes %d entries, %d deleted, present %v", n, deleted, present)
	}
	for _, wrong := range []string{"rid=001,csn=99990101000000.000000Z#000000#000#000000", "nonsense", "rid=1"} {
		if n, _, present, _ = sync([]byte(wrong)); n != all-1 || !present {
			t.Errorf("with the cookie %s: %d entries, present %v", wrong, n, present)
		}
	}
	if bytes.Equal(cookie, nil) {
		t.Error("no cookie")
	}
	c.send(100, baseSearch(t, suffixDN, "(objectClass=*)"), ldapwire.Control{OID: ldapwire.OIDSyncRequest, Critical: true, Value: []byte{0x30, 3, 10, 1, 2}})
	c.expect(100, ldap.ProtocolError)
}

// TestPersistEndsWithTheServer has a search that would go on for ever end with
// the server.
func TestPersistEndsWithTheServer(t *testing.T) {
	t.Parallel()
	d := organisation(t)
	addr, stop := start(t, Config{Directory: d, Limits: Limits{ShutdownTime: 20 * time.Second}})
	c := dial(t, addr)
	c.send(1, simpleBind(managerDN, "secret"))
	c.expect(1, ldap.Success)
	req := baseSearch(t, suffixDN, "(objectClass=*)")
	c.send(2, req, ldapwire.SyncRequest{Persist: true}.Control())
	for {
		if _, ok := c.receive().Op.(*ldapwire.IntermediateResponse); ok {
			break
		}
	}
	started := time.Now()
	stop()
	if took := time.Since(started); took > 10*time.Second {
		t.Errorf("the server waited %v for a search without end", took)
	}
}
