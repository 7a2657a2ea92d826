package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"expost/internal/directory"
	externaldirectory "expost/internal/directory/ldap"
	"expost/internal/ldap"
	"expost/internal/ldif"
	"expost/internal/mail"
)

// ldifChange are the flags of commands that carry out LDIF. Those of ldapadd
// and ldapmodify are taken too, so that their old command lines work.
type ldifChange struct {
	app                 *app
	add                 bool // a record without a changetype is added
	goOn, verbose, dry  bool
	host, uri, as, with string
	file                string
	done, failed        int
}

// flags puts the flags on a command.
func (c *ldifChange) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Bool("help", false, "help for "+cmd.Name()) // without the -h that ldapadd has for something else
	f.BoolVarP(&c.goOn, "continue", "c", false, "go on behind an error")
	f.BoolVarP(&c.verbose, "verbose", "v", false, "print what is done")
	f.BoolVarP(&c.dry, "dry-run", "n", false, "read the file, and change nothing")
	f.StringVarP(&c.file, "file", "f", "", "LDIF `file`, as an argument names it too; - is standard input")
	f.StringVarP(&c.host, "host", "h", "", "LDAP server `host`, instead of this directory")
	f.StringVarP(&c.uri, "uri", "H", "", "LDAP server `URL`, likewise")
	f.StringVarP(&c.as, "bind", "D", "", "do it with the rights of this `DN` (default: all)")
	f.StringVarP(&c.with, "password", "w", "", "its `password`")
	for _, old := range []struct{ name, short string }{{"add", "a"}, {"replace", "r"}, {"simple", "x"}, {"debug", "d"}} {
		f.BoolP(old.name, old.short, false, "as ldapadd has it; does nothing")
		_ = f.MarkHidden(old.name) // it is there
	}
}

// directoryAddCommand adds the entries of LDIF.
func directoryAddCommand(a *app) *cobra.Command {
	c := &ldifChange{app: a, add: true}
	cmd := &cobra.Command{
		Use:         "add [FILE…]",
		Short:       "Add the entries of LDIF files, as ldapadd does",
		Annotations: map[string]string{needsNode: "yes"},
		Long: `Add adds the entries of LDIF files, and carries out their changes. Without a file
it reads standard input. The first error ends it, or with -c none does; each is
reported with its line and, where there is one, what to do about it.

The flags of ldapadd are taken: what is printed somewhere for ldapadd works with
"expost directory add" in its place. With -h or -H it speaks to that LDAP server.`,
		Example: `  expost directory add people.ldif
  expost directory add -acrv -D "cn=manager,dc=linuxforu,dc=com" -w secret -f addresslook.ldif`,
		RunE: c.run,
	}
	c.flags(cmd)
	return cmd
}

// directoryModifyCommand changes entries.
func directoryModifyCommand(a *app) *cobra.Command {
	c := &ldifChange{app: a}
	cmd := &cobra.Command{
		Use:         "modify DN|NAME CHANGE… | -f FILE",
		Short:       "Change an entry, or carry out LDIF, as ldapmodify does",
		Annotations: map[string]string{needsNode: "yes"},
		Long: `Modify changes an entry, which is named by its DN, or by a name or address that it
alone has. A change is

  attribute=value    the value becomes the only one; without a value, the attribute goes
  attribute+=value   the value is added
  attribute-=value   the value goes; without a value, the attribute does

Several are made together or not at all. With -f it carries out the changes of an
LDIF file.`,
		Example: `  expost directory modify ajay@linuxforu.com title=Editor mobile+=9810003018
  expost directory modify 'cn=Ajay,ou=addressbook,dc=linuxforu,dc=com' description=
  expost directory modify -f changes.ldif`,
		ValidArgsFunction: completeEntries(a),
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.file != "" || len(args) == 0 {
				return c.run(cmd, args)
			}
			return c.inline(cmd.Context(), args)
		},
	}
	c.flags(cmd)
	return cmd
}

// inline makes the changes of the command line.
func (c *ldifChange) inline(ctx context.Context, args []string) error {
	var changes []ldap.Change
	for _, text := range args[1:] {
		desc, value, found := strings.Cut(text, "=")
		if !found {
			return usageError{fmt.Errorf("%q is no change: write attribute=value, attribute+=value or attribute-=value", text)}
		}
		change := ldap.Change{Op: ldap.ChangeReplace}
		if rest, ok := strings.CutSuffix(desc, "+"); ok {
			desc, change.Op = rest, ldap.ChangeAdd
		} else if rest, ok := strings.CutSuffix(desc, "-"); ok {
			desc, change.Op = rest, ldap.ChangeDelete
		}
		change.Attribute = ldap.Attribute{Desc: desc}
		if value != "" {
			change.Attribute.Values = [][]byte{[]byte(value)}
		}
		changes = append(changes, change)
	}
	if len(changes) == 0 {
		return usageError{errors.New("no change is given")}
	}
	n, err := c.app.node(ctx)
	if err != nil {
		return err
	}
	dn, err := entryNamed(ctx, n, args[0])
	if err != nil {
		return err
	}
	if err := n.Directory.Modify(ctx, directory.Local(), dn, changes); err != nil {
		return fmt.Errorf("changing %q: %w", dn, err)
	}
	fmt.Fprintf(c.app.stdout, "%s changed\n", dn)
	return nil
}

// run carries out LDIF files.
func (c *ldifChange) run(cmd *cobra.Command, files []string) error {
	if c.file != "" {
		files = append(files, c.file)
	}
	if len(files) == 0 {
		files = []string{"-"}
	}
	d, who, err := c.target(cmd.Context())
	if err != nil {
		return err
	}
	if c.host+c.uri != "" {
		defer d.Close()
	}
	for _, file := range files {
		if err := c.carryOut(cmd.Context(), d, who, file); err != nil {
			return err
		}
	}
	fmt.Fprintf(c.app.stdout, "%d records done, %d failed\n", c.done, c.failed)
	if c.failed > 0 {
		return exitStatus(exitFailed)
	}
	return nil
}

// target returns the directory to change, and as whom.
func (c *ldifChange) target(ctx context.Context) (directory.Directory, directory.Identity, error) {
	var who ldap.DN
	var err error
	if c.as != "" {
		if who, err = parseDN(c.as); err != nil {
			return nil, directory.Identity{}, err
		}
	}
	server := c.uri
	if server == "" {
		server = c.host
	}
	if server != "" {
		suffix := who
		if len(suffix) == 0 {
			suffix = ldap.DN{{{Type: "cn", Value: "none"}}} // of no search
		}
		d, err := externaldirectory.Open(externaldirectory.Options{Servers: []string{server}, Suffix: suffix, DN: c.as, Password: []byte(c.with)})
		if err == nil {
			err = d.Reach(ctx)
		}
		if le, ok := errors.AsType[*ldap.Error](err); ok {
			err = fmt.Errorf("logging in as %s: %w", who, le)
		}
		return d, directory.Local(), err
	}
	n, err := c.app.node(ctx)
	if err != nil {
		return nil, directory.Identity{}, err
	}
	if c.as == "" {
		return n.Directory, directory.Local(), nil
	}
	id, err := n.Directory.Bind(ctx, who, []byte(c.with))
	if err != nil {
		return nil, id, fmt.Errorf("logging in as %s: %w", who, err)
	}
	return n.Directory, id, nil
}

// carryOut carries out the records of one file.
func (c *ldifChange) carryOut(ctx context.Context, d directory.Directory, who directory.Identity, file string) error {
	in, err := c.app.open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	r := ldif.NewReader(in, ldif.Options{File: file, Lenient: true, Report: func(i ldif.Issue) {
		fmt.Fprintf(c.app.stderr, "%s:%d: %s: %s\n", file, i.Line, i.What, i.Did)
	}})
	for {
		rec, err := r.Next()
		if err == io.EOF {
			return nil
		}
		bad, isBad := errors.AsType[*ldif.Error](err)
		switch {
		case isBad:
			c.failed++
			fmt.Fprintln(c.app.stderr, bad)
		case err != nil:
			return err
		default:
			if c.verbose {
				fmt.Fprintf(c.app.stdout, "%s %q\n", c.doing(rec), rec.DN)
			}
			if !c.dry {
				err = c.apply(ctx, d, who, rec)
			}
			if err == nil {
				c.done++
				continue
			}
			c.failed++
			fmt.Fprintf(c.app.stderr, "%s:%d: %q: %v%s\n", file, rec.Line, rec.DN, err, hint(err, rec))
		}
		if !c.goOn {
			fmt.Fprintf(c.app.stdout, "%d records done, %d failed; what follows was not looked at (-c goes on)\n", c.done, c.failed)
			return exitStatus(exitFailed)
		}
	}
}

func (c *ldifChange) doing(rec *ldif.Record) string {
	switch rec.Change {
	case ldif.Delete:
		return "deleting"
	case ldif.Modify:
		return "modifying"
	case ldif.ModRDN, ldif.ModDN:
		return "renaming"
	}
	return "adding"
}

// apply makes one change.
func (c *ldifChange) apply(ctx context.Context, d directory.Directory, who directory.Identity, rec *ldif.Record) error {
	dn, err := ldap.ParseDN(rec.DN)
	if err != nil {
		return err
	}
	switch rec.Change {
	case ldif.Content, ldif.Add:
		if rec.Change == ldif.Content && !c.add {
			return mail.Errorf(mail.KindInvalid, "the record has no changetype: \"directory add\" takes entries")
		}
		e, err := rec.Entry()
		if err != nil {
			return err
		}
		e.Attributes = slices.DeleteFunc(e.Attributes, func(a ldap.Attribute) bool { return len(a.Values) == 0 })
		err = d.Add(ctx, who, e)
		if err != nil && isThere(ctx, d, who, e) {
			fmt.Fprintf(c.app.stdout, "%q is there already, with all that the file has\n", e.DN)
			return nil
		}
		return err
	case ldif.Delete:
		return d.Delete(ctx, who, dn)
	case ldif.Modify:
		return d.Modify(ctx, who, dn, rec.Changes())
	}
	renamer, ok := d.(directory.Renamer)
	if !ok {
		return mail.Errorf(mail.KindInvalid, "this directory does not rename entries")
	}
	rdn, err := ldap.ParseDN(rec.NewRDN)
	if err != nil || len(rdn) != 1 {
		return mail.Errorf(mail.KindInvalid, "newrdn %q is none", rec.NewRDN)
	}
	r := directory.Rename{DN: dn, NewRDN: rdn[0], DeleteOld: rec.DeleteOldRDN}
	if rec.HasSuperior {
		if r.Superior, err = ldap.ParseDN(rec.NewSuperior); err != nil {
			return err
		}
	}
	return renamer.Rename(ctx, who, r)
}

// isThere tells whether an entry is there with all the values of e.
func isThere(ctx context.Context, d directory.Directory, who directory.Identity, e *ldap.Entry) bool {
	filter := &ldap.Filter{Op: ldap.FilterAnd}
	for _, a := range e.Attributes {
		for _, v := range a.Values {
			filter.Subs = append(filter.Subs, &ldap.Filter{Op: ldap.FilterEqual, Attr: a.Desc, Value: v})
		}
	}
	found := false
	err := d.Search(ctx, who, &ldap.SearchRequest{Base: e.DN, Scope: ldap.ScopeBase, Filter: filter, Attributes: []string{"1.1"}}, func(*ldap.Entry) error {
		found = true
		return nil
	})
	return err == nil && found
}

// hint says what to do about an error, where that is known.
func hint(err error, rec *ldif.Record) string {
	le, ok := errors.AsType[*ldap.Error](err)
	if !ok {
		return ""
	}
	switch le.Code {
	case ldap.ObjectClassViolation:
		if strings.Contains(le.Text, "no structural object class") {
			return " (objectClass: top alone says nothing: add dcObject and organization with o:, or organizationalUnit)"
		}
		return " (\"expost gal import\" completes entries of address lists: it makes people of them, with the attributes they need)"
	case ldap.UndefinedAttributeType:
		return " (directory.schema names files of more definitions; \"expost gal import\" translates the attributes of Netscape and Exchange)"
	case ldap.UnwillingToPerform:
		if strings.Contains(le.Text, "no global superior knowledge") {
			return " (\"expost gal import\" gives the entries of an address list their place in this directory)"
		}
	case ldap.NoSuchObject:
		if rec.Change == ldif.Content || rec.Change == ldif.Add {
			return " (\"expost directory import\" takes entries in any order)"
		}
	}
	return ""
}

// sortDeepestFirst puts those that stand below others before them.
func sortDeepestFirst(dns []ldap.DN) {
	slices.SortStableFunc(dns, func(a, b ldap.DN) int { return len(b) - len(a) })
}
