package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/ldif"
	"expost/internal/mail"
)

// directoryCommand is the parent of what is done with entries of the directory.
func directoryCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "directory",
		Short: "Search and change the directory; take over an OpenLDAP",
		Long: `The directory is an LDAP tree. These commands do what ldapsearch, ldapadd,
ldapmodify, ldapdelete, slapcat and slapadd do with an OpenLDAP, without a login:
they work on the data folder, inside the server where one runs.`,
	}
	cmd.AddCommand(directorySearchCommand(a), directoryAddCommand(a), directoryModifyCommand(a), directoryDeleteCommand(a),
		directoryExportCommand(a), directoryImportCommand(a))
	return cmd
}

// directorySearchCommand prints entries.
func directorySearchCommand(a *app) *cobra.Command {
	var base, scope string
	var limit int
	cmd := nodeCommand(a, cobra.Command{
		Use:   "search [NAME|FILTER] [ATTRIBUTE…]",
		Short: "Print the entries that a filter finds",
		Long: `Search prints entries as LDIF, or with --json as JSON. What is no filter is part of
a name or address. Attributes are as in LDAP: none for all, + for the operational
ones, 1.1 for the names alone.`,
		Example: `  expost directory search biswajit
  expost directory search '(&(objectClass=qmailUser)(!(userPassword=*)))' mail
  expost directory search --base ou=addressbook,dc=linuxforu,dc=com --scope one '(objectClass=*)' 1.1`,
	}, func(ctx context.Context, n *node, args []string) error {
		req, err := searchRequest(n, base, scope, args)
		if err != nil {
			return err
		}
		req.SizeLimit = limit
		return a.printEntries(ctx, n, req)
	})
	f := cmd.Flags()
	f.StringVar(&base, "base", "", "`DN` to search from (default the whole directory)")
	f.StringVar(&scope, "scope", "sub", "`scope`: base, one, sub")
	f.IntVar(&limit, "limit", 0, "print so many entries at most")
	return cmd
}

// searchRequest reads the arguments of a search.
func searchRequest(n *node, base, scope string, args []string) (*ldap.SearchRequest, error) {
	req := &ldap.SearchRequest{Base: n.Directory.Suffix(), Filter: &ldap.Filter{Op: ldap.FilterPresent, Attr: "objectClass"}}
	var err error
	if base != "" {
		if req.Base, err = parseDN(base); err != nil {
			return nil, err
		}
	}
	switch scope {
	case "base":
	case "one":
		req.Scope = ldap.ScopeOne
	case "sub":
		req.Scope = ldap.ScopeSub
	default:
		return nil, usageError{fmt.Errorf("%q is none of base, one, sub", scope)}
	}
	if len(args) == 0 {
		return req, nil
	}
	req.Attributes = args[1:]
	if strings.ContainsAny(args[0], "(=") {
		if req.Filter, err = ldap.ParseFilter(args[0]); err != nil {
			return nil, usageError{err}
		}
		return req, nil
	}
	req.Filter = nameFilter(args[0])
	return req, nil
}

// nameFilter finds entries by a part of a name or address.
func nameFilter(part string) *ldap.Filter {
	or := &ldap.Filter{Op: ldap.FilterOr}
	for _, attr := range []string{"cn", "displayName", "sn", "givenName", "uid", "mail", "mailAlternateAddress", "ou"} {
		or.Subs = append(or.Subs, &ldap.Filter{Op: ldap.FilterSubstrings, Attr: attr, Any: [][]byte{[]byte(part)}})
	}
	return or
}

// parseDN reads a DN of the command line.
func parseDN(text string) (ldap.DN, error) {
	dn, err := ldap.ParseDN(text)
	if err != nil {
		return nil, mail.WrapError(mail.KindInvalid, nil, "%v", err)
	}
	return dn, nil
}

// jsonEntry is an entry as JSON. Values that are no text are in Binary, in
// base64.
type jsonEntry struct {
	DN         string              `json:"dn"`
	Attributes map[string][]string `json:"attributes"`
	Binary     map[string][]string `json:"binary,omitempty"`
}

func toJSON(e *ldap.Entry) jsonEntry {
	j := jsonEntry{DN: e.DN.String(), Attributes: map[string][]string{}}
	for _, attr := range e.Attributes {
		for _, v := range attr.Values {
			if utf8.Valid(v) {
				j.Attributes[attr.Desc] = append(j.Attributes[attr.Desc], string(v))
				continue
			}
			if j.Binary == nil {
				j.Binary = map[string][]string{}
			}
			j.Binary[attr.Desc] = append(j.Binary[attr.Desc], base64.StdEncoding.EncodeToString(v))
		}
	}
	return j
}

// printEntries prints what a search finds, entry by entry.
func (a *app) printEntries(ctx context.Context, n *node, req *ldap.SearchRequest) error {
	w := ldif.NewWriter(a.stdout)
	list := []jsonEntry{}
	err := n.Directory.Search(ctx, directory.Local(), req, func(e *ldap.Entry) error {
		if a.json {
			list = append(list, toJSON(e))
			return nil
		}
		w.Entry(e)
		return nil
	})
	if le, ok := errors.AsType[*ldap.Error](err); ok && le.Code == ldap.SizeLimitExceeded {
		fmt.Fprintf(a.stderr, "there are more than %d\n", req.SizeLimit)
		err = nil
	}
	if a.json {
		enc := json.NewEncoder(a.stdout)
		enc.SetIndent("", "  ")
		return errors.Join(err, enc.Encode(list))
	}
	return errors.Join(err, w.Flush())
}

// completeEntries completes the DNs of entries, also from a part of a name.
func completeEntries(a *app) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		asked := typed
		if _, value, found := strings.Cut(typed, "="); found { // a DN has begun
			asked, _, _ = strings.Cut(value, ",")
		}
		filter := "(objectClass=*)"
		if asked != "" {
			filter = nameFilter(asked).String()
		}
		var out bytes.Buffer
		inner := *a
		inner.stdout, inner.stderr, inner.json = &out, io.Discard, false
		args := []string{"directory", "search", "--limit", "100", "--json", "--config", a.configFile, "--data", a.data, filter, "1.1"}
		if inner.run(cmd.Context(), args) != exitDone {
			return nil, cobra.ShellCompDirectiveError
		}
		var found []jsonEntry
		if err := json.Unmarshal(out.Bytes(), &found); err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var names []string
		for _, e := range found {
			names = append(names, e.DN)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// entryNamed returns the DN of an entry: a DN, or a name or address that one
// entry alone has.
func entryNamed(ctx context.Context, n *node, text string) (ldap.DN, error) {
	if strings.Contains(text, "=") {
		return parseDN(text)
	}
	or := &ldap.Filter{Op: ldap.FilterOr}
	for _, attr := range []string{"mail", "mailAlternateAddress", "uid", "cn", "displayName", "ou"} {
		or.Subs = append(or.Subs, &ldap.Filter{Op: ldap.FilterEqual, Attr: attr, Value: []byte(text)})
	}
	var found []ldap.DN
	req := &ldap.SearchRequest{Base: n.Directory.Suffix(), Scope: ldap.ScopeSub, Filter: or, Attributes: []string{"1.1"}}
	err := n.Directory.Search(ctx, directory.Local(), req, func(e *ldap.Entry) error {
		found = append(found, e.DN)
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, mail.Errorf(mail.KindNotExist, "there is no entry %q", text)
	case len(found) > 1:
		return nil, mail.Errorf(mail.KindConflict, "%q is the name of %d entries: write the DN of one, %q or %q", text, len(found), found[0], found[1])
	}
	return found[0], nil
}

// directoryDeleteCommand deletes entries.
func directoryDeleteCommand(a *app) *cobra.Command {
	var recursive bool
	cmd := nodeCommand(a, cobra.Command{
		Use:   "delete DN|NAME…",
		Short: "Delete entries",
		Long: `Delete entries by their DNs, or by a name or address that one entry alone has. The
mailbox of an account stays in the store: "account remove" is for both.`,
		Example: `  expost directory delete 'cn=Ajay,ou=addressbook,dc=linuxforu,dc=com'
  expost directory delete --recursive ou=branch,dc=linuxforu,dc=com`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeEntries(a),
	}, func(ctx context.Context, n *node, args []string) error {
		var errs []error
		for _, text := range args {
			dn, err := entryNamed(ctx, n, text)
			if err == nil && recursive {
				err = deleteBelow(ctx, n.Directory, dn)
			}
			if err == nil {
				err = n.Directory.Delete(ctx, directory.Local(), dn)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("deleting %q: %w", text, err))
				continue
			}
			fmt.Fprintf(a.stdout, "%s deleted\n", dn)
		}
		return errors.Join(errs...)
	})
	cmd.Flags().BoolVarP(&recursive, "recursive", "r", false, "and all entries below them")
	return cmd
}

// deleteBelow deletes what stands below an entry, the deepest first.
func deleteBelow(ctx context.Context, d directory.Directory, dn ldap.DN) error {
	var below []ldap.DN
	req := &ldap.SearchRequest{Base: dn, Scope: ldap.ScopeSub, Filter: &ldap.Filter{Op: ldap.FilterPresent, Attr: "objectClass"}, Attributes: []string{"1.1"}}
	err := d.Search(ctx, directory.Local(), req, func(e *ldap.Entry) error {
		if len(e.DN) > len(dn) {
			below = append(below, e.DN)
		}
		return nil
	})
	if err != nil {
		return err
	}
	sortDeepestFirst(below)
	for _, dn := range below {
		if err := d.Delete(ctx, directory.Local(), dn); err != nil {
			return fmt.Errorf("deleting %q: %w", dn, err)
		}
	}
	return nil
}

// directoryExportCommand writes the tree.
func directoryExportCommand(a *app) *cobra.Command {
	var base, out string
	var plain bool
	cmd := nodeCommand(a, cobra.Command{
		Use:   "export",
		Short: "Write the directory as LDIF, as slapcat does",
		Long: `Export writes every entry with its operational attributes and password hashes, those
above others first: "directory import" and slapadd read it back. --plain leaves
both out, for ldapadd.`,
		Example: `  expost directory export --out directory.ldif
  expost directory export --plain --base ou=addressbook,dc=linuxforu,dc=com`,
		Args: cobra.NoArgs,
	}, func(ctx context.Context, n *node, _ []string) error {
		args := []string{"(objectClass=*)", "*", "+"}
		if plain {
			args = args[:2]
		}
		req, err := searchRequest(n, base, "sub", args)
		if err != nil {
			return err
		}
		return a.writeFile(out, func(w io.Writer) error { return exportTree(ctx, n, req, w, plain) })
	})
	f := cmd.Flags()
	f.StringVar(&base, "base", "", "`DN` to export from (default the whole directory)")
	f.StringVar(&out, "out", "", "`file` to write, instead of standard output")
	f.BoolVar(&plain, "plain", false, "without operational attributes and passwords")
	return cmd
}

// exportTree writes what a search finds, parents first.
func exportTree(ctx context.Context, n *node, req *ldap.SearchRequest, out io.Writer, plain bool) error {
	w := ldif.NewWriter(out)
	written, late := map[string]bool{}, map[string][]*ldap.Entry{}
	var write func(e *ldap.Entry)
	write = func(e *ldap.Entry) {
		key := strings.ToLower(e.DN.String())
		written[key] = true
		w.Entry(exported(e, plain))
		for _, below := range late[key] {
			write(below)
		}
		delete(late, key)
	}
	err := n.Directory.Search(ctx, directory.Local(), req, func(e *ldap.Entry) error {
		parent := strings.ToLower(e.DN.Parent().String())
		if len(e.DN) > len(req.Base) && !written[parent] {
			late[parent] = append(late[parent], cloneEntry(e))
			return nil
		}
		write(e)
		return nil
	})
	return errors.Join(err, w.Flush())
}

// cloneEntry copies an entry that is kept for longer than its search.
func cloneEntry(e *ldap.Entry) *ldap.Entry {
	c := &ldap.Entry{DN: e.DN, Attributes: make([]ldap.Attribute, len(e.Attributes))}
	copy(c.Attributes, e.Attributes)
	return c
}

// exported leaves out what is made when it is asked for, and with plain what
// ldapadd does not take or nobody should see.
func exported(e *ldap.Entry, plain bool) *ldap.Entry {
	kept := &ldap.Entry{DN: e.DN}
	for _, attr := range e.Attributes {
		switch attr.Desc {
		case "entryDN", "hasSubordinates", "subschemaSubentry":
			continue
		case "userPassword", "clearPassword":
			if plain {
				continue
			}
		}
		kept.Attributes = append(kept.Attributes, attr)
	}
	return kept
}
