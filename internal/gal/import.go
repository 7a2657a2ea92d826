package gal

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/mail"
	"expost/internal/schema"
)

// Action is what an import does with an entry.
type Action string

// The actions.
const (
	ActionAdd       Action = "add"
	ActionModify    Action = "modify"
	ActionUnchanged Action = "unchanged"
	ActionConflict  Action = "conflict" // nothing is done; Reason says why
	ActionDisable   Action = "disable"  // it is not in the list any more
)

// Step is what an import does, or did, with one entry.
type Step struct {
	Action   Action
	DN       ldap.DN
	Entry    *ldap.Entry    // ActionAdd
	Changes  []ldap.Change  // ActionModify
	Before   *ldap.Entry    // the entry as it was, where there was one
	Account  mail.AccountID // of a mailbox that is made with it; empty: none
	Address  mail.Address   // of that mailbox
	Login    string         // its login name; empty: the address
	Password string         // its first password
	Reason   string         // ActionConflict
	Err      error          // the directory refused it
}

// AccountOptions say whom an import gives a mailbox.
type AccountOptions struct {
	Domains       []string                                           // people with an address in these get one
	DefaultDomain string                                             // of people without any address: uid@domain
	Host          string                                             // mailHost of the mailboxes; empty: here
	Create        func(ctx context.Context, id mail.AccountID) error // makes the mailbox; may be called again for the same one
	Password      func(s *Step) error                                // keeps the first password, before the account is there; nil: none is made
}

// ImportOptions say how entries are brought into a directory.
type ImportOptions struct {
	DryRun   bool
	Accounts *AccountOptions // nil: entries only
	Source   string          // name of the list, kept with its entries; empty: none
	Gone     bool            // disable entries of Source that are not in the list any more
	Force    bool            // even if they are most of them
	Step     func(*Step)     // told of each entry; nil: nobody listens
}

// Summary counts what an import did.
type Summary struct {
	Added     int `json:"added"`
	Modified  int `json:"modified"`
	Unchanged int `json:"unchanged"`
	Conflicts int `json:"conflicts"`
	Disabled  int `json:"disabled"`
	Failed    int `json:"failed"`
	Accounts  int `json:"accounts"`
}

// importer is one Import under way.
type importer struct {
	dir     directory.Directory
	opts    ImportOptions
	schema  *schema.Schema
	steps   []*Step
	renamed map[string]ldap.DN // key of the DN in the list: the DN in the directory
	taken   map[string]bool    // keys of DNs that this import adds
	uids    map[string]bool    // uids that this import adds
	sum     Summary
}

// Import brings entries into a directory. An entry that is there already, by
// one of its addresses or else by its name, gets only the attributes that
// differ; what the directory knows beyond the list stays. Running it again
// changes nothing. An entry that the directory refuses does not stop the rest.
func Import(ctx context.Context, dir directory.Directory, entries []*ldap.Entry, opts ImportOptions) (Summary, error) {
	im := newImporter(dir, opts)
	if im.opts.Step == nil {
		im.opts.Step = func(*Step) {}
	}
	for _, e := range entries {
		s, err := im.match(ctx, e)
		if err != nil {
			return im.sum, err
		}
		im.steps = append(im.steps, s)
	}
	for _, s := range im.steps {
		if err := im.plan(ctx, s); err != nil {
			return im.sum, err
		}
	}
	if im.opts.Gone {
		if err := im.planGone(ctx); err != nil {
			return im.sum, err
		}
	}
	return im.sum, im.run(ctx)
}

// newImporter returns an importer that has nothing to do yet.
func newImporter(dir directory.Directory, opts ImportOptions) *importer {
	return &importer{dir: dir, opts: opts, schema: schema.Builtin(), renamed: map[string]ldap.DN{}, taken: map[string]bool{}, uids: map[string]bool{}}
}

// parallel is how many people are written at a time: a password is slow to
// hash, and the directory and the store make several changes durable at once.
const parallel = 32

// run applies the steps in order: containers and groups one by one, since
// they refer to others, runs of people side by side.
func (im *importer) run(ctx context.Context) error {
	for rest := im.steps; len(rest) > 0; {
		n := 0
		for n < len(rest) && n < 8*parallel && hasClass(rest[n].Entry, "person") {
			n++
		}
		n = max(n, 1)
		group := errgroup.Group{}
		group.SetLimit(parallel)
		for _, s := range rest[:n] {
			if im.opts.DryRun || ctx.Err() != nil {
				break
			}
			group.Go(func() error {
				im.apply(ctx, s)
				return nil
			})
		}
		_ = group.Wait() // each step keeps its own error
		if err := ctx.Err(); err != nil {
			return err
		}
		for _, s := range rest[:n] {
			im.count(s)
			im.opts.Step(s)
		}
		rest = rest[n:]
	}
	return nil
}

// root is who an import works as.
func root() directory.Identity { return directory.Identity{Root: true} }

// search returns the entries that match.
func (im *importer) search(ctx context.Context, req *ldap.SearchRequest) ([]*ldap.Entry, error) {
	var out []*ldap.Entry
	err := im.dir.Search(ctx, root(), req, func(e *ldap.Entry) error {
		out = append(out, e)
		return nil
	})
	return out, err
}

// get returns the entry of a DN, nil where there is none.
func (im *importer) get(ctx context.Context, dn ldap.DN) (*ldap.Entry, error) {
	found, err := im.search(ctx, &ldap.SearchRequest{Base: dn, Scope: ldap.ScopeBase, Filter: &ldap.Filter{Op: ldap.FilterPresent, Attr: "objectClass"}})
	if e, ok := err.(*ldap.Error); ok && e.Code == ldap.NoSuchObject {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking up %q: %w", dn, err)
	}
	if len(found) == 0 {
		return nil, nil
	}
	return found[0], nil
}

// byAddress returns the entries that have one of the addresses.
func (im *importer) byAddress(ctx context.Context, addrs [][]byte) ([]*ldap.Entry, error) {
	f := &ldap.Filter{Op: ldap.FilterOr}
	for _, a := range addrs {
		for _, attr := range []string{"mail", "mailAlternateAddress"} {
			f.Subs = append(f.Subs, &ldap.Filter{Op: ldap.FilterEqual, Attr: attr, Value: a})
		}
	}
	found, err := im.search(ctx, &ldap.SearchRequest{Base: im.dir.Suffix(), Scope: ldap.ScopeSub, Filter: f})
	if e, ok := err.(*ldap.Error); ok && e.Code == ldap.NoSuchObject {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking up address %q: %w", addrs[0], err)
	}
	return found, nil
}

// match finds the entry of the directory that e is.
func (im *importer) match(ctx context.Context, e *ldap.Entry) (*Step, error) {
	s := &Step{DN: e.DN, Entry: e}
	addrs := values(e, "mail")
	if len(addrs) > 0 {
		found, err := im.byAddress(ctx, addrs)
		switch {
		case err != nil:
			return nil, err
		case len(found) > 1 && owner(found) != nil:
			s.Before = owner(found)
		case len(found) > 1:
			s.Action = ActionConflict
			names := []string{found[0].DN.String(), found[1].DN.String()}
			slices.Sort(names)
			s.Reason = fmt.Sprintf("its addresses belong to %d entries: %s", len(found), strings.Join(names, " and "))
			return s, nil
		case len(found) == 1:
			s.Before = found[0]
		}
	}
	if s.Before == nil {
		have, err := im.get(ctx, e.DN)
		if err != nil {
			return nil, err
		}
		switch {
		case have == nil:
		case len(addrs) > 0 && len(values(have, "mail")) > 0:
			s.DN = im.otherName(e) // somebody else of the same name
			if s.Before, err = im.get(ctx, s.DN); err != nil {
				return nil, err
			}
		default:
			s.Before = have
		}
	}
	if s.Before != nil {
		s.DN = s.Before.DN
	}
	im.renamed[e.DN.Key(im.schema)] = s.DN
	return s, nil
}

// owner returns the one entry of several that mail to the address reaches:
// contacts may show it too.
func owner(found []*ldap.Entry) *ldap.Entry {
	var own *ldap.Entry
	for _, e := range found {
		if len(directory.Addresses(e)) > 0 {
			if own != nil {
				return nil
			}
			own = e
		}
	}
	return own
}

// otherName returns the DN of an entry whose first choice is another's.
func (im *importer) otherName(e *ldap.Entry) ldap.DN {
	if len(e.DN[0]) > 1 {
		return e.DN
	}
	rdn := append(slices.Clone(e.DN[0]), ldap.AVA{Type: "mail", Value: string(values(e, "mail")[0])})
	return e.DN.Parent().Child(rdn...)
}

// values returns the values of an attribute.
func values(e *ldap.Entry, desc string) [][]byte {
	if a := e.Attribute(desc); a != nil {
		return a.Values
	}
	return nil
}

// hasClass tells whether an entry is of an object class.
func hasClass(e *ldap.Entry, class string) bool {
	return slices.ContainsFunc(values(e, "objectClass"), func(v []byte) bool { return strings.EqualFold(string(v), class) })
}

// plan settles what is done with an entry.
func (im *importer) plan(ctx context.Context, s *Step) error {
	if s.Action == ActionConflict {
		return nil
	}
	e := im.marked(im.relink(s))
	isContainer := !hasClass(e, "person") && !hasClass(e, "groupOfNames")
	if s.Before != nil && !isContainer && hasClass(e, "person") != hasClass(s.Before, "person") {
		s.Action, s.Reason = ActionConflict, "the directory has a "+kindOfEntry(s.Before)+" there, the list a "+kindOfEntry(e)
		return nil
	}
	if im.opts.Accounts != nil {
		if err := im.account(ctx, s, e); err != nil || s.Action == ActionConflict {
			return err
		}
	}
	if !hasClass(e, directory.ClassAccount) {
		e = withoutMailbox(e)
	}
	switch {
	case s.Before == nil:
		s.Action, s.Entry = ActionAdd, e
	case isContainer:
		s.Action = ActionUnchanged
	default:
		s.Changes = im.diff(s.Before, e)
		im.returned(s, e)
		s.Action = ActionModify
		if len(s.Changes) == 0 {
			s.Action = ActionUnchanged
		}
	}
	return nil
}

// kindOfEntry names what an entry is.
func kindOfEntry(e *ldap.Entry) string {
	switch {
	case hasClass(e, "person"):
		return "person"
	case hasClass(e, "groupOfNames"):
		return "group"
	}
	return "container"
}

// relink returns the entry under its DN in the directory, references to other
// entries of the list likewise.
func (im *importer) relink(s *Step) *ldap.Entry {
	e := &ldap.Entry{DN: s.DN, Attributes: slices.Clone(s.Entry.Attributes)}
	for i, a := range e.Attributes {
		if !slices.Contains([]string{"member", "manager", "secretary", "publicDelegates", "mailSendAs", "authOrig", "dLMemSubmitPerms", "managedBy"}, a.Desc) {
			continue
		}
		vals := make([][]byte, len(a.Values))
		for j, v := range a.Values {
			vals[j] = v
			if dn, err := ldap.ParseDN(string(v)); err == nil {
				if to, ok := im.renamed[dn.Key(im.schema)]; ok {
					vals[j] = []byte(to.String())
				}
			}
		}
		e.Attributes[i].Values = vals
	}
	return e
}

// diff returns the changes that give have what e has. Values of the RDN stay;
// attributes that e lacks are left alone.
func (im *importer) diff(have, e *ldap.Entry) []ldap.Change {
	var out []ldap.Change
	for _, a := range e.Attributes {
		t := im.schema.Attribute(a.Desc)
		old := values(have, a.Desc)
		switch {
		case strings.EqualFold(a.Desc, "objectClass"), strings.EqualFold(a.Desc, "mailAlternateAddress"), strings.EqualFold(a.Desc, "uid"):
			if add := im.missing(t, old, a.Values); len(add) > 0 {
				out = append(out, ldap.Change{Op: ldap.ChangeAdd, Attribute: ldap.Attribute{Desc: a.Desc, Values: add}})
			}
		case strings.EqualFold(a.Desc, "mail") && hasClass(have, directory.ClassAccount):
			out = append(out, im.aliases(have, e, a)...)
		default:
			want := im.withRDN(have.DN, a)
			if len(im.missing(t, old, want)) > 0 || len(im.missing(t, want, old)) > 0 {
				out = append(out, ldap.Change{Op: ldap.ChangeReplace, Attribute: ldap.Attribute{Desc: a.Desc, Values: want}})
			}
		}
	}
	return out
}

// aliases adds to an account the addresses of the list that it lacks. Its
// primary address is its own affair.
func (im *importer) aliases(have, e *ldap.Entry, a ldap.Attribute) []ldap.Change {
	if e.Attribute("mailAlternateAddress") != nil {
		return nil // already split by account
	}
	t := im.schema.Attribute("mail")
	all := slices.Concat(values(have, "mail"), values(have, "mailAlternateAddress"))
	if add := im.missing(t, all, a.Values); len(add) > 0 {
		return []ldap.Change{{Op: ldap.ChangeAdd, Attribute: ldap.Attribute{Desc: "mailAlternateAddress", Values: add}}}
	}
	return nil
}

// missing returns the values of want that have lacks.
func (im *importer) missing(t *schema.AttributeType, have, want [][]byte) [][]byte {
	var out [][]byte
	for _, v := range want {
		if t == nil && !slices.ContainsFunc(have, func(h []byte) bool { return string(h) == string(v) }) ||
			t != nil && !im.schema.HasValue(t, have, v) {
			out = append(out, v)
		}
	}
	return out
}

// withRDN returns an attribute's values and those that the entry's name needs.
func (im *importer) withRDN(dn ldap.DN, a ldap.Attribute) [][]byte {
	t := im.schema.Attribute(a.Desc)
	out := slices.Clone(a.Values)
	for _, ava := range dn[0] {
		if t != nil && im.schema.Attribute(ava.Type) == t && !im.schema.HasValue(t, out, []byte(ava.Value)) {
			out = append(out, []byte(ava.Value))
		}
	}
	return out
}

// apply does what the step says.
func (im *importer) apply(ctx context.Context, s *Step) {
	if s.Account != "" {
		if s.Err = im.provide(ctx, s); s.Err != nil {
			return
		}
	}
	switch s.Action {
	case ActionAdd:
		s.Err = im.dir.Add(ctx, root(), s.Entry)
	case ActionModify, ActionDisable:
		s.Err = im.dir.Modify(ctx, root(), s.DN, s.Changes)
	}
}

// provide makes the mailbox and keeps the password, both before the entry
// that makes them known.
func (im *importer) provide(ctx context.Context, s *Step) error {
	if err := im.opts.Accounts.Create(ctx, s.Account); err != nil {
		return fmt.Errorf("making mailbox %q: %w", s.Account, err)
	}
	if s.Password == "" {
		return nil
	}
	if err := im.opts.Accounts.Password(s); err != nil {
		return fmt.Errorf("keeping the password of %q: %w", s.Address, err)
	}
	return nil
}

// count adds a step to the summary.
func (im *importer) count(s *Step) {
	switch {
	case s.Err != nil:
		im.sum.Failed++
		return
	case s.Action == ActionAdd:
		im.sum.Added++
	case s.Action == ActionModify:
		im.sum.Modified++
	case s.Action == ActionUnchanged:
		im.sum.Unchanged++
	case s.Action == ActionConflict:
		im.sum.Conflicts++
	case s.Action == ActionDisable:
		im.sum.Disabled++
	}
	if s.Account != "" {
		im.sum.Accounts++
	}
}
