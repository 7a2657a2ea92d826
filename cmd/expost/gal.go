package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"expost/internal/gal"
	"expost/internal/ldap"
)

// galCommand is the parent of what is done with address lists.
func galCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "gal",
		Short: "Take over a global address list, convert it, write it out",
		Long: `The global address list of Exchange, as its users can export it without the
administrator's help, and in every other form that it is found in:

  CSV    Outlook Express and Windows Address Book, Outlook, Mozilla and Netscape
         (each in all their languages), Get-Recipient | Export-Csv, csvde,
         the directory export of Exchange 5.5
  LDIF   Netscape and Mozilla, ldifde, slapcat
  vCard  2.1, 3.0 and 4.0
  OAB    the offline address book: udetails.oab of Outlook's folder or the .lzx
         file that Exchange publishes; browse.oab of older ones, with rdndex.oab,
         anrdex.oab and details.oab beside it
  PST    a personal address book (.pab), or the contacts of a PST or OST
  LDAP   a directory itself, named by its URL: Active Directory with Exchange,
         Exchange 5.5, OpenLDAP

Format, language, delimiter and code page are found by content. What a file has
wrong is repaired where that is safe; each repair, and each thing that could not
be taken over, is a line of the report with the file's line number.`,
	}
	cmd.AddCommand(galConvertCommand(a), galImportCommand(a), galExportCommand(a))
	return cmd
}

// galInput are the flags of how a list is read.
type galInput struct {
	from, codepage, delimiter string
	columns                   []string
	quiet                     bool
	server                    ldapLogin
	app                       *app
	issues                    []gal.Issue
	counts                    [3]int // by severity
}

// flags puts the flags on a command.
func (in *galInput) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&in.from, "from", "auto", "`format` of the files: auto, csv, ldif, vcard, oab, pst")
	f.StringVar(&in.codepage, "codepage", "", "code `page` of the files, such as 1252 or shift_jis; found by content")
	f.StringVar(&in.delimiter, "delimiter", "", "`delimiter` of a CSV: comma, semicolon, tab or a character; found by content")
	f.StringSliceVar(&in.columns, "columns", nil, "`names` of a CSV's columns where its first row has none: fullName,email,workPhone,- (- skips one)")
	f.BoolVar(&in.quiet, "quiet", false, "report warnings and errors only")
	in.server.flags(f, "")
}

// options returns the flags as options for a file.
func (in *galInput) options(file string) (gal.Options, error) {
	o := gal.Options{File: file, Format: gal.Format(in.from), Page: in.codepage, Columns: in.columns, Report: in.report}
	names := map[string]string{"comma": ",", "semicolon": ";", "tab": "\t", `\t`: "\t", "pipe": "|"}
	d := in.delimiter
	if n, ok := names[d]; ok {
		d = n
	}
	if len(d) > 1 {
		return o, usageError{fmt.Errorf("--delimiter %q: give comma, semicolon, tab or one character", in.delimiter)}
	}
	if d != "" {
		o.Delimiter = d[0]
	}
	return o, nil
}

// report prints an issue, or keeps it for the JSON.
func (in *galInput) report(i gal.Issue) {
	in.counts[i.Severity]++
	if in.quiet && i.Severity == gal.Info {
		return
	}
	if in.app.json {
		in.issues = append(in.issues, i)
		return
	}
	fmt.Fprintln(in.app.stderr, i)
}

// maxRecipients bounds a list that is merged in memory: some 2 GB of it.
const maxRecipients = 2_000_000

// read reads all files and directories and merges what is in them.
func (in *galInput) read(ctx context.Context, files []string) ([]*gal.Recipient, error) {
	var list []*gal.Recipient
	take := func(r *gal.Recipient) error {
		if len(list) == maxRecipients {
			return fmt.Errorf("more than %d entries: split the list and do one part after the other", maxRecipients)
		}
		list = append(list, r)
		return nil
	}
	for _, name := range files {
		if isLDAP(name) {
			if err := in.readServer(ctx, name, take); err != nil {
				return nil, err
			}
			continue
		}
		o, err := in.options(filepath.Base(name))
		if err != nil {
			return nil, err
		}
		if name != "-" {
			o.Folder = os.DirFS(filepath.Dir(in.app.path(name)))
		}
		f, err := in.app.open(name)
		if err != nil {
			return nil, fmt.Errorf("reading address list: %w", err)
		}
		src, err := gal.Read(f, o, take)
		f.Close() // read to its end, or failed
		if err != nil {
			return nil, err
		}
		if !in.app.json && !in.quiet {
			fmt.Fprintf(in.app.stderr, "%s: %s\n", o.File, src)
		}
	}
	return gal.Merge(list, in.report), nil
}

// summary is the last line of a report.
func (in *galInput) summary() string {
	return plural(in.counts[gal.Error], "error") + ", " + plural(in.counts[gal.Warning], "warning") + ", " + plural(in.counts[gal.Info], "note")
}

// plural returns "1 error", "2 errors".
func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// galBase returns the container of the address list: what is given, else
// ou=addressbook below the suffix.
func (a *app) galBase(base string) (ldap.DN, error) {
	if base == "" {
		c, err := a.config()
		if err != nil {
			return nil, err
		}
		base = "ou=addressbook," + c.Directory.Suffix
	}
	dn, err := ldap.ParseDN(base)
	if err != nil || len(dn) == 0 {
		return nil, usageError{fmt.Errorf("--base %q is no DN: it looks like ou=addressbook,dc=example,dc=org", base)}
	}
	return dn, nil
}

// writeFile writes a file whole or not at all; "" and "-" are standard output.
func (a *app) writeFile(path string, write func(io.Writer) error) error {
	if path == "" || path == "-" {
		return write(a.stdout)
	}
	path = a.path(path)
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	defer os.Remove(tmp.Name()) // gone already where all went well
	err = write(tmp)
	if err == nil {
		err = tmp.Sync()
	}
	if err := errors.Join(err, tmp.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return os.Rename(tmp.Name(), path)
}
