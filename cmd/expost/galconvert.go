package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"expost/internal/gal"
	"expost/internal/ldif"
)

// galConvert are the flags of a conversion.
type galConvert struct {
	*galInput
	to, base, out, program string
	target                 ldapLogin
	containers, extended   bool
}

// galConvertCommand turns a list into another format.
func galConvertCommand(a *app) *cobra.Command {
	c := &galConvert{galInput: &galInput{app: a}}
	cmd := &cobra.Command{
		Use:   "convert FILE|URL...",
		Short: "Convert an address list, without touching the directory",
		Long: `Convert reads address lists and writes one: LDIF that any LDAP server takes
(schemas core, cosine and inetorgperson), CSV, or vCard. Several files become
one list; whoever is in two of them is one entry.

In LDIF everybody becomes an inetOrgPerson below --base, named by common name;
where two share a name, the second is named by name and address. A last name
is derived where there is none. Telephone numbers are brought into the form that
a directory takes. What has no attribute of its own goes to the description,
with --expost to the attributes of Expost's own classes. --containers writes the
entries of --base too, so that the file loads into an empty server.

With --to ldap://HOST or ldaps://HOST the entries go to that server at once: what
it has not is added, of the rest what differs is changed.

The report goes to standard error, the result to --out or standard output.`,
		Example: `  expost gal convert gal.csv --base ou=addressbook,dc=linuxforu,dc=com --out gal.ldif
  expost gal convert netscape.ldif --base ou=addressbook,dc=linuxforu,dc=com --containers |
      ldapadd -x -c -H ldap://ldap.linuxforu.com -D cn=manager,dc=linuxforu,dc=com -W
  expost gal convert gal.csv --to ldaps://ldap.linuxforu.com --base ou=addressbook,dc=linuxforu,dc=com \
      --to-bind-dn cn=manager,dc=linuxforu,dc=com --to-bind-password-file pw
  expost gal convert contacts.vcf --to csv --program outlook --out contacts.csv
  expost gal convert liste.csv --codepage 1250 --delimiter semicolon --to vcard`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd.Context(), args) },
	}
	c.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&c.to, "to", "ldif", "`format` to write: ldif, csv, vcard, or the URL of an LDAP server")
	c.target.flags(f, "to-")
	f.StringVar(&c.base, "base", "", "`DN` of the container that people go to (default ou=addressbook below the configured suffix)")
	f.StringVar(&c.out, "out", "", "`file` to write, instead of standard output")
	f.StringVar(&c.program, "program", "wab", "`program` that a CSV is for: wab (Outlook Express), outlook, mozilla")
	f.BoolVar(&c.containers, "containers", false, "write the entries of --base too")
	f.BoolVar(&c.extended, "expost", false, "use Expost's own object classes for what the standard ones have no place for")
	return cmd
}

// run carries out a conversion.
func (c *galConvert) run(ctx context.Context, files []string) error {
	base, err := c.app.galBase(c.base)
	if err != nil {
		return err
	}
	list, err := c.read(ctx, files)
	if err != nil {
		return err
	}
	if isLDAP(c.to) {
		return c.writeServer(ctx, list, base)
	}
	if err := c.app.writeFile(c.out, func(w io.Writer) error {
		return c.write(w, list, gal.TreeOptions{
			Base: base, Containers: c.containers, Extended: c.extended, Report: c.report,
		})
	}); err != nil {
		return err
	}
	if c.app.json && c.out != "" && c.out != "-" {
		return c.app.printJSON(map[string]any{"entries": len(list), "issues": c.issues})
	}
	for _, i := range c.issues { // of --json, whose place the result has taken
		fmt.Fprintln(c.app.stderr, i)
	}
	fmt.Fprintf(c.app.stderr, "%d in all; %s\n", len(list), c.summary())
	return nil
}

// write writes a list in the format asked for.
func (c *galConvert) write(w io.Writer, list []*gal.Recipient, opts gal.TreeOptions) error {
	switch c.to {
	case "ldif":
		lw := ldif.NewWriter(w)
		for e := range gal.AllEntries(list, opts) {
			lw.Entry(e)
		}
		return lw.Flush()
	case "csv":
		return gal.WriteCSV(w, c.program, list, opts.Report)
	case "vcard", "vcf":
		return gal.WriteVCard(w, list)
	}
	return unknownFormat(c.to)
}

// unknownFormat refuses a value of --to.
func unknownFormat(to string) error {
	return usageError{fmt.Errorf("--to %q: ldif, csv and vcard can be written", to)}
}
