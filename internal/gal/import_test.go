package gal

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"expost/internal/directory"
	"expost/internal/directory/embedded"
	"expost/internal/ldap"
	"expost/internal/mail"
)

// openDirectory opens an empty directory of linuxforu.com.
func openDirectory(t *testing.T) directory.Directory {
	t.Helper()
	dir, err := embedded.Open(t.Context(), embedded.Options{Dir: t.TempDir(), Suffix: mustDN(t, "dc=linuxforu,dc=com")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dir.Close(); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// entryOf returns an entry of a directory, nil where there is none.
func entryOf(t *testing.T, dir directory.Directory, dn string) *ldap.Entry {
	t.Helper()
	im := &importer{dir: dir}
	e, err := im.get(t.Context(), mustDN(t, dn))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// importList imports a list and returns the summary with the steps that were
// more than nothing, in words.
func importList(t *testing.T, dir directory.Directory, in string, accounts *AccountOptions, dryRun bool) (Summary, string) {
	t.Helper()
	list, _, _, err := readAll(t, in, Options{File: "list"})
	if err != nil {
		t.Fatal(err)
	}
	entries := Entries(Merge(list, func(Issue) {}), TreeOptions{Base: mustDN(t, "ou=addressbook,dc=linuxforu,dc=com"), Containers: true, Extended: true})
	var steps []string
	sum, err := Import(t.Context(), dir, entries, ImportOptions{DryRun: dryRun, Accounts: accounts, Step: func(s *Step) {
		if s.Err != nil {
			t.Errorf("%s: %v", s.DN, s.Err)
		}
		if s.Action == ActionUnchanged {
			return
		}
		text := fmt.Sprintf("%s %s", s.Action, s.DN[0])
		for _, c := range s.Changes {
			text += fmt.Sprintf(" %d%s=%s", c.Op, c.Attribute.Desc, strings.Join(stringsOf(c.Attribute.Values), "|"))
		}
		if s.Account != "" {
			text += " account " + string(s.Account)
		}
		steps = append(steps, text+s.Reason)
	}})
	if err != nil {
		t.Fatal(err)
	}
	return sum, strings.Join(steps, "\n")
}

// stringsOf returns values as strings.
func stringsOf(vals [][]byte) []string {
	var out []string
	for _, v := range vals {
		out = append(out, string(v))
	}
	return out
}

func TestImport(t *testing.T) {
	t.Parallel()
	dir := openDirectory(t)
	check := func(name, in, want string, sum Summary) {
		t.Helper()
		got, steps := importList(t, dir, in, nil, false)
		if steps != want || got != sum {
			t.Errorf("%s: %+v, want %+v; steps\n%s\nwant\n%s", name, got, sum, steps, want)
		}
	}
	first := "Name,E-mail Address,Job Title,Department\nAjay,ajay@a.b,Clerk,Sales\nJohn Smith,js@a.b,,\n"
	if sum, steps := importList(t, dir, first, nil, true); sum.Added != 2 || entryOf(t, dir, "cn=Ajay,ou=addressbook,dc=linuxforu,dc=com") != nil {
		t.Errorf("dry run: %+v\n%s", sum, steps)
	}
	check("first", first, "add cn=Ajay\nadd cn=John Smith", Summary{Added: 2, Unchanged: 2})
	check("again", first, "", Summary{Unchanged: 4})
	check("changed", "Name,E-mail Address,Job Title\nAjay,ajay@a.b,Boss\n", "modify cn=Ajay 2title=Boss", Summary{Modified: 1, Unchanged: 2})
	check("renamed", "Name,E-mail Address\nAjay Kumar,AJAY@a.b\n", "modify cn=Ajay 2cn=Ajay Kumar|Ajay 2sn=Kumar", Summary{Modified: 1, Unchanged: 2})
	check("namesake", "Name,E-mail Address\nJohn Smith,other@a.b\n", "add cn=John Smith+mail=other@a.b", Summary{Added: 1, Unchanged: 2})
	check("namesake again", "Name,E-mail Address\nJohn Smith,other@a.b\n", "", Summary{Unchanged: 3})
	check("two of the directory", "Name,E-mail Address\nX,js@a.b;ajay@a.b\n", "conflict cn=Xits addresses belong to 2 entries: cn=Ajay,ou=addressbook,dc=linuxforu,dc=com and cn=John Smith,ou=addressbook,dc=linuxforu,dc=com",
		Summary{Conflicts: 1, Unchanged: 2})
	check("group", "dn: cn=list\nobjectclass: groupOfNames\ncn: list\nmember: cn=Ajay K,mail=ajay@a.b\nmember: cn=New,mail=new@a.b\n\ndn: cn=Ajay K,mail=ajay@a.b\nobjectclass: person\ncn: Ajay K\nmail: ajay@a.b\n",
		"modify cn=Ajay 2cn=Ajay K|Ajay 2sn=K\nadd cn=New\nadd cn=list", Summary{Added: 2, Modified: 1, Unchanged: 2})
	g := entryOf(t, dir, "cn=list,ou=addressbook,dc=linuxforu,dc=com")
	if m := strings.Join(stringsOf(values(g, "member")), " "); m != "cn=Ajay,ou=addressbook,dc=linuxforu,dc=com cn=New,ou=addressbook,dc=linuxforu,dc=com" {
		t.Errorf("members are %s", m)
	}
}

func TestImportAccounts(t *testing.T) {
	t.Parallel()
	dir := openDirectory(t)
	var mu sync.Mutex
	made, passwords := map[mail.AccountID]int{}, map[mail.Address]string{}
	opts := &AccountOptions{Domains: []string{"linuxforu.com"}, DefaultDomain: "linuxforu.com", Host: "exchange.linuxforu.com",
		Create: func(_ context.Context, id mail.AccountID) error {
			mu.Lock()
			defer mu.Unlock()
			made[id]++
			return nil
		},
		Password: func(s *Step) error {
			mu.Lock()
			defer mu.Unlock()
			passwords[s.Address] = s.Login + " " + s.Password
			return nil
		}}
	in := "Name,E-mail Address,Alias\nAjay,old@elsewhere.org;Ajay@LinuxForU.com,\nOther,other@elsewhere.org,\nNo Mail,,nomail\nAjay Two,ajay2@linuxforu.com,ajay\n"
	// The list alone first, the mailboxes later: entries become accounts.
	if sum, steps := importList(t, dir, in, nil, false); sum.Added != 4 {
		t.Errorf("%+v\n%s", sum, steps)
	}
	sum, steps := importList(t, dir, in, opts, false)
	if sum.Accounts != 3 || sum.Modified != 3 || len(made) != 3 || made["linuxforu.com/ajay"] != 1 || made["linuxforu.com/nomail"] != 1 {
		t.Errorf("%+v, %v\n%s", sum, made, steps)
	}
	e := entryOf(t, dir, "cn=Ajay,ou=addressbook,dc=linuxforu,dc=com")
	acc, ok := directory.AccountOf(e)
	if !ok || acc.ID != "linuxforu.com/ajay" || acc.Address != "Ajay@LinuxForU.com" || acc.Host != "exchange.linuxforu.com" || len(acc.Aliases) != 1 || acc.Aliases[0] != "old@elsewhere.org" {
		t.Errorf("account %+v of %+v", acc, e)
	}
	if login, password, _ := strings.Cut(passwords["Ajay@LinuxForU.com"], " "); len(passwords) != 3 || login != "" || len(password) != 17 {
		t.Errorf("passwords of %v", passwords)
	}
	_, password, _ := strings.Cut(passwords["nomail@linuxforu.com"], " ")
	if acc, err := dir.Login(t.Context(), "nomail", password); err != nil || acc.ID != "linuxforu.com/nomail" {
		t.Errorf("login with the first password: %v, %v", acc, err)
	}
	// A mailbox that has moved meanwhile stays where it is.
	here := ""
	if err := directory.ChangeAccount(t.Context(), dir, acc.DN, directory.AccountChange{Host: &here}); err != nil {
		t.Fatal(err)
	}
	if sum, steps := importList(t, dir, in, opts, false); sum.Accounts != 0 || sum.Modified+sum.Added+sum.Conflicts != 0 || len(passwords) != 3 {
		t.Errorf("second run: %+v\n%s", sum, steps)
	}
	// One more address goes to the aliases of the account.
	if _, steps := importList(t, dir, "Name,E-mail Address\nAjay,ajay@linuxforu.com;third@linuxforu.com\n", nil, false); steps != "modify cn=Ajay 0mailAlternateAddress=third@linuxforu.com" {
		t.Errorf("alias: %s", steps)
	}
}

// TestGone disables who left the list, and undoes it when they return.
func TestGone(t *testing.T) {
	t.Parallel()
	dir := openDirectory(t)
	load := func(csv string, gone bool) Summary {
		t.Helper()
		list, _, _, err := readAll(t, csv, Options{})
		if err != nil {
			t.Fatal(err)
		}
		entries := Entries(list, TreeOptions{Base: mustDN(t, "ou=addressbook,dc=linuxforu,dc=com"), Containers: true, Extended: true, Report: func(Issue) {}})
		sum, err := Import(t.Context(), dir, entries, ImportOptions{Source: "exchange", Gone: gone, Accounts: &AccountOptions{
			Domains: []string{"linuxforu.com"}, Create: func(context.Context, mail.AccountID) error { return nil },
		}})
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	const head, ajay, anup = "Name,E-mail Address\n", "Ajay Kumar,ajay@linuxforu.com\n", "Anup Sharma,anup@lpsboi.com\n"
	load(head+ajay+anup, false)
	if sum := load(head+ajay+anup, true); sum.Modified+sum.Added+sum.Disabled != 0 {
		t.Fatalf("the same list again: %+v", sum)
	}
	if sum := load(head+"Biswajit Banerjee,biswajit@linuxforu.com\n", true); sum.Disabled != 2 || sum.Added != 1 {
		t.Fatalf("a list without two: %+v", sum)
	}
	e := entryOf(t, dir, "cn=Ajay Kumar,ou=addressbook,dc=linuxforu,dc=com")
	if e.Value("accountStatus") != "disabled" || e.Value("msExchHideFromAddressLists") != "TRUE" {
		t.Errorf("who left the list is %v", e)
	}
	if e := entryOf(t, dir, "cn=Anup Sharma,ou=addressbook,dc=linuxforu,dc=com"); e.Value("msExchHideFromAddressLists") != "TRUE" || e.Value("accountStatus") != "" {
		t.Errorf("a contact that left the list is %v", e)
	}
	if sum := load(head+"Biswajit Banerjee,biswajit@linuxforu.com\n", true); sum.Disabled+sum.Modified != 0 {
		t.Errorf("once more: %+v", sum)
	}
	if sum := load(head+ajay+"Biswajit Banerjee,biswajit@linuxforu.com\n", true); sum.Modified != 1 || sum.Disabled != 0 {
		t.Errorf("one returns: %+v", sum)
	}
	e = entryOf(t, dir, "cn=Ajay Kumar,ou=addressbook,dc=linuxforu,dc=com")
	if e.Value("accountStatus") != "active" || e.Value("msExchHideFromAddressLists") != "" || e.Value("sourceRecord") != "exchange" {
		t.Errorf("who returned is %v", e)
	}
}

// TestGoneCut disables nobody where most of a source is missing.
func TestGoneCut(t *testing.T) {
	t.Parallel()
	dir := openDirectory(t)
	load := func(n int, force bool) (Summary, error) {
		var b strings.Builder
		b.WriteString("Name,E-mail Address\n")
		for i := range n {
			fmt.Fprintf(&b, "Person %d,p%d@linuxforu.com\n", i, i)
		}
		list, _, _, err := readAll(t, b.String(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		entries := Entries(list, TreeOptions{Base: mustDN(t, "ou=addressbook,dc=linuxforu,dc=com"), Containers: true, Extended: true, Report: func(Issue) {}})
		return Import(t.Context(), dir, entries, ImportOptions{Source: "s", Gone: true, Force: force})
	}
	if _, err := load(40, false); err != nil {
		t.Fatal(err)
	}
	if _, err := load(5, false); err == nil || !strings.Contains(err.Error(), "35 of the 40") {
		t.Errorf("a cut list: %v", err)
	}
	if sum, err := load(5, true); err != nil || sum.Disabled != 35 {
		t.Errorf("by force: %+v, %v", sum, err)
	}
}
