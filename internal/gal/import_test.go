package gal

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/mail"
	"expost/internal/schema"
)

// memory is a directory in memory that knows as much as an import asks for.
type memory struct {
	suffix  ldap.DN
	schema  *schema.Schema
	entries map[string]*ldap.Entry
	order   []string
}

func newMemory(t *testing.T) *memory {
	return &memory{suffix: mustDN(t, "dc=linuxforu,dc=com"), schema: schema.Builtin(), entries: map[string]*ldap.Entry{}}
}

func (m *memory) Suffix() ldap.DN { return m.suffix }
func (m *memory) Close() error    { return nil }

func (m *memory) Search(_ context.Context, _ directory.Identity, req *ldap.SearchRequest, yield func(*ldap.Entry) error) error {
	base := req.Base.Key(m.schema)
	if m.entries[base] == nil {
		return ldap.Errorf(ldap.NoSuchObject, "no such object")
	}
	for _, k := range m.order {
		e := m.entries[k]
		if e == nil || k != base && (req.Scope == ldap.ScopeBase || !e.DN.IsUnder(req.Base, m.schema)) || !m.match(e, req.Filter) {
			continue
		}
		if err := yield(e); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) match(e *ldap.Entry, f *ldap.Filter) bool {
	switch f.Op {
	case ldap.FilterOr:
		return slices.ContainsFunc(f.Subs, func(s *ldap.Filter) bool { return m.match(e, s) })
	case ldap.FilterPresent:
		return e.Attribute(f.Attr) != nil
	case ldap.FilterEqual:
		return m.schema.HasValue(m.schema.Attribute(f.Attr), values(e, f.Attr), f.Value)
	}
	return false
}

func (m *memory) Add(_ context.Context, _ directory.Identity, e *ldap.Entry) error {
	k := e.DN.Key(m.schema)
	if m.entries[k] != nil {
		return ldap.Errorf(ldap.EntryAlreadyExists, "already exists")
	}
	if p := e.DN.Parent(); len(e.DN) > len(m.suffix) && m.entries[p.Key(m.schema)] == nil {
		return ldap.Errorf(ldap.NoSuchObject, "parent does not exist")
	}
	c, err := m.schema.Canonical(e, false)
	if err != nil {
		return err
	}
	if _, err := m.schema.CheckEntry(c); err != nil {
		return err
	}
	m.entries[k] = c
	m.order = append(m.order, k)
	return nil
}

func (m *memory) Modify(_ context.Context, _ directory.Identity, dn ldap.DN, changes []ldap.Change) error {
	old := m.entries[dn.Key(m.schema)]
	if old == nil {
		return ldap.Errorf(ldap.NoSuchObject, "no such object")
	}
	e := &ldap.Entry{DN: old.DN, Attributes: slices.Clone(old.Attributes)}
	for _, c := range changes {
		switch c.Op {
		case ldap.ChangeAdd:
			replace(e, c.Attribute.Desc, slices.Concat(values(e, c.Attribute.Desc), c.Attribute.Values)...)
		case ldap.ChangeReplace:
			replace(e, c.Attribute.Desc, c.Attribute.Values...)
		default:
			return ldap.Errorf(ldap.UnwillingToPerform, "an import neither deletes nor counts")
		}
	}
	c, err := m.schema.Canonical(e, false)
	if err != nil {
		return err
	}
	if _, err := m.schema.CheckEntry(c); err != nil {
		return err
	}
	m.entries[dn.Key(m.schema)] = c
	return nil
}

var errNotAsked = errors.New("an import does not ask this")

func (m *memory) Bind(context.Context, ldap.DN, []byte) (directory.Identity, error) {
	return directory.Identity{}, errNotAsked
}
func (m *memory) Delete(context.Context, directory.Identity, ldap.DN) error { return errNotAsked }
func (m *memory) Resolve(context.Context, mail.Address) (*directory.Account, error) {
	return nil, errNotAsked
}
func (m *memory) Login(context.Context, string, string) (*directory.Account, error) {
	return nil, errNotAsked
}
func (m *memory) Lookup(context.Context, string) (*directory.Account, error) { return nil, errNotAsked }
func (m *memory) Accounts(context.Context) iter.Seq2[*directory.Account, error] {
	return func(func(*directory.Account, error) bool) {}
}

// importList imports a list and returns the summary with the steps that were
// more than nothing, in words.
func importList(t *testing.T, dir *memory, in string, accounts *AccountOptions, dryRun bool) (Summary, string) {
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
	dir := newMemory(t)
	check := func(name, in, want string, sum Summary) {
		t.Helper()
		got, steps := importList(t, dir, in, nil, false)
		if steps != want || got != sum {
			t.Errorf("%s: %+v, want %+v; steps\n%s\nwant\n%s", name, got, sum, steps, want)
		}
	}
	first := "Name,E-mail Address,Job Title,Department\nAjay,ajay@a.b,Clerk,Sales\nJohn Smith,js@a.b,,\n"
	if sum, steps := importList(t, dir, first, nil, true); sum.Added != 4 || len(dir.entries) != 0 {
		t.Errorf("dry run: %+v, %d entries\n%s", sum, len(dir.entries), steps)
	}
	check("first", first, "add dc=linuxforu\nadd ou=addressbook\nadd cn=Ajay\nadd cn=John Smith", Summary{Added: 4})
	check("again", first, "", Summary{Unchanged: 4})
	check("changed", "Name,E-mail Address,Job Title\nAjay,ajay@a.b,Boss\n", "modify cn=Ajay 2title=Boss", Summary{Modified: 1, Unchanged: 2})
	check("renamed", "Name,E-mail Address\nAjay Kumar,AJAY@a.b\n", "modify cn=Ajay 2cn=Ajay Kumar|Ajay 2sn=Kumar", Summary{Modified: 1, Unchanged: 2})
	check("namesake", "Name,E-mail Address\nJohn Smith,other@a.b\n", "add cn=John Smith+mail=other@a.b", Summary{Added: 1, Unchanged: 2})
	check("namesake again", "Name,E-mail Address\nJohn Smith,other@a.b\n", "", Summary{Unchanged: 3})
	check("two of the directory", "Name,E-mail Address\nX,js@a.b;ajay@a.b\n", "conflict cn=Xits addresses belong to 2 entries: cn=Ajay,ou=addressbook,dc=linuxforu,dc=com and cn=John Smith,ou=addressbook,dc=linuxforu,dc=com",
		Summary{Conflicts: 1, Unchanged: 2})
	check("group", "dn: cn=list\nobjectclass: groupOfNames\ncn: list\nmember: cn=Ajay K,mail=ajay@a.b\nmember: cn=New,mail=new@a.b\n\ndn: cn=Ajay K,mail=ajay@a.b\nobjectclass: person\ncn: Ajay K\nmail: ajay@a.b\n",
		"modify cn=Ajay 2cn=Ajay K|Ajay 2sn=K\nadd cn=New\nadd cn=list", Summary{Added: 2, Modified: 1, Unchanged: 2})
	g := dir.entries[mustDN(t, "cn=list,ou=addressbook,dc=linuxforu,dc=com").Key(dir.schema)]
	if m := strings.Join(stringsOf(values(g, "member")), " "); m != "cn=Ajay,ou=addressbook,dc=linuxforu,dc=com cn=New,ou=addressbook,dc=linuxforu,dc=com" {
		t.Errorf("members are %s", m)
	}
}

func TestImportAccounts(t *testing.T) {
	t.Parallel()
	dir := newMemory(t)
	made, passwords := map[mail.AccountID]int{}, map[mail.Address]string{}
	opts := &AccountOptions{Domains: []string{"linuxforu.com"}, DefaultDomain: "linuxforu.com",
		Create: func(_ context.Context, id mail.AccountID) error { made[id]++; return nil },
		Password: func(s *Step) error {
			passwords[s.Address] = s.Login + " " + s.Password
			return nil
		}}
	in := "Name,E-mail Address,Alias\nAjay,old@elsewhere.org;Ajay@LinuxForU.com,\nOther,other@elsewhere.org,\nNo Mail,,nomail\nAjay Two,ajay2@linuxforu.com,ajay\n"
	// The list alone first, the mailboxes later: entries become accounts.
	if sum, steps := importList(t, dir, in, nil, false); sum.Added != 6 {
		t.Errorf("%+v\n%s", sum, steps)
	}
	sum, steps := importList(t, dir, in, opts, false)
	if sum.Accounts != 3 || sum.Modified != 3 || len(made) != 3 || made["linuxforu.com/ajay"] != 1 || made["linuxforu.com/nomail"] != 1 {
		t.Errorf("%+v, %v\n%s", sum, made, steps)
	}
	e := dir.entries[mustDN(t, "cn=Ajay,ou=addressbook,dc=linuxforu,dc=com").Key(dir.schema)]
	acc, ok := directory.AccountOf(e)
	if !ok || acc.ID != "linuxforu.com/ajay" || acc.Address != "Ajay@LinuxForU.com" || len(acc.Aliases) != 1 || acc.Aliases[0] != "old@elsewhere.org" {
		t.Errorf("account %+v of %+v", acc, e)
	}
	if login, password, _ := strings.Cut(passwords["Ajay@LinuxForU.com"], " "); len(passwords) != 3 || login != "" || len(password) != 17 {
		t.Errorf("passwords of %v", passwords)
	}
	if sum, steps := importList(t, dir, in, opts, false); sum.Accounts != 0 || sum.Modified+sum.Added+sum.Conflicts != 0 || len(passwords) != 3 {
		t.Errorf("second run: %+v\n%s", sum, steps)
	}
	// One more address goes to the aliases of the account.
	if _, steps := importList(t, dir, "Name,E-mail Address\nAjay,ajay@linuxforu.com;third@linuxforu.com\n", nil, false); steps != "modify cn=Ajay 0mailAlternateAddress=third@linuxforu.com" {
		t.Errorf("alias: %s", steps)
	}
}
