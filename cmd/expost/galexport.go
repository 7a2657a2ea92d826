package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"expost/internal/directory"
	"expost/internal/gal"
	"expost/internal/ldap"
	"expost/internal/ldif"
)

// galExportCommand writes the directory's list out.
func galExportCommand(a *app) *cobra.Command {
	var to, base, out, program string
	cmd := &cobra.Command{
		Use:         "export",
		Short:       "Write the address list of the directory to a file",
		Annotations: map[string]string{needsNode: "yes"},
		Long: `Export writes everybody below --base, by default the whole directory, as LDIF, as
a CSV for Outlook Express, Outlook or Thunderbird, or as vCards. LDIF has the
entries as they are, without passwords.`,
		Example: `  expost gal export --to csv --program outlook --out gal.csv
  expost gal export --to vcard --base ou=addressbook,dc=linuxforu,dc=com`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := a.node(cmd.Context())
			if err != nil {
				return err
			}
			dn := n.Directory.Suffix()
			if base != "" {
				if dn, err = a.galBase(base); err != nil {
					return err
				}
			}
			entries, err := allEntries(cmd.Context(), n.Directory, dn)
			if err != nil {
				return err
			}
			return a.writeFile(out, func(w io.Writer) error { return a.exportList(w, to, program, entries) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&to, "to", "csv", "`format` to write: ldif, csv, vcard")
	f.StringVar(&base, "base", "", "`DN` to export from (default the whole directory)")
	f.StringVar(&out, "out", "", "`file` to write, instead of standard output")
	f.StringVar(&program, "program", "outlook", "`program` that a CSV is for: wab (Outlook Express), outlook, mozilla")
	return cmd
}

// allEntries returns the entries below a DN.
func allEntries(ctx context.Context, dir directory.Directory, base ldap.DN) ([]*ldap.Entry, error) {
	var entries []*ldap.Entry
	req := &ldap.SearchRequest{Base: base, Scope: ldap.ScopeSub, Filter: &ldap.Filter{Op: ldap.FilterPresent, Attr: "objectClass"}}
	err := dir.Search(ctx, directory.Identity{Root: true}, req, func(e *ldap.Entry) error {
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the directory below %q: %w", base, err)
	}
	return entries, nil
}

// exportList writes entries in a format.
func (a *app) exportList(w io.Writer, to, program string, entries []*ldap.Entry) error {
	report := func(i gal.Issue) {
		if i.Severity > gal.Info {
			fmt.Fprintln(a.stderr, i)
		}
	}
	switch to {
	case "ldif":
		lw := ldif.NewWriter(w)
		for _, e := range entries {
			lw.Entry(withoutPassword(e))
		}
		return lw.Flush()
	case "csv":
		return gal.WriteCSV(w, program, gal.FromEntries(entries, report), report)
	case "vcard", "vcf":
		return gal.WriteVCard(w, gal.FromEntries(entries, report))
	}
	return unknownFormat(to)
}

// withoutPassword returns an entry without its password.
func withoutPassword(e *ldap.Entry) *ldap.Entry {
	out := &ldap.Entry{DN: e.DN}
	for _, at := range e.Attributes {
		if !strings.EqualFold(at.Desc, "userPassword") {
			out.Attributes = append(out.Attributes, at)
		}
	}
	return out
}
