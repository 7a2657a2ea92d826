package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/mail"
	sourcepst "expost/internal/migrate/source/pst"
	"expost/mapi"
	"expost/mapi/codepage"
	"expost/mapi/tnef"
	"expost/pst"
)

// pstFlags are the choices of all that reads Outlook's files.
type pstFlags struct {
	codepage int
	recover  bool
}

func (o *pstFlags) add(cmd *cobra.Command) {
	cmd.Flags().IntVar(&o.codepage, "codepage", 0, "of 8-bit text in old Outlook files that do not name one, such as 932 or 1251 (default: what most items in the file name)")
	cmd.Flags().BoolVar(&o.recover, "recover", false, "look in the whole of an Outlook file for deleted and lost items too")
}

// pstSource returns the source of Outlook's files, which asks the directory
// for addresses in Exchange's form.
func pstSource(dir string, opt pstFlags, n *node) *sourcepst.Source {
	return sourcepst.New(sourcepst.Config{
		Dir: dir, Codepage: opt.codepage, Recover: opt.recover, Rest: true, Log: n.Log,
		Resolve: func(a mapi.Address) string { return exchangeAddress(context.Background(), n.Directory, a) },
	})
}

// exchangeAddress returns the SMTP address of the entry that has an address of
// Exchange: its legacyExchangeDN, or one of its X.500 proxy addresses.
func exchangeAddress(ctx context.Context, dir directory.Directory, a mapi.Address) string {
	if a.Type != "EX" && a.Type != "X500" || a.Email == "" || strings.ContainsRune(a.Email, 0) {
		return ""
	}
	equal := func(attr, value string) *ldap.Filter {
		return &ldap.Filter{Op: ldap.FilterEqual, Attr: attr, Value: []byte(value)}
	}
	req := &ldap.SearchRequest{
		Base: dir.Suffix(), Scope: ldap.ScopeSub, SizeLimit: 2, Attributes: []string{"mail"},
		Filter: &ldap.Filter{Op: ldap.FilterOr, Subs: []*ldap.Filter{equal("legacyExchangeDN", a.Email), equal("proxyAddresses", "x500:"+a.Email)}},
	}
	smtp := ""
	err := dir.Search(ctx, directory.Identity{Root: true}, req, func(e *ldap.Entry) error {
		if smtp == "" {
			smtp = e.Value("mail")
		}
		return nil
	})
	if err != nil && smtp == "" {
		return ""
	}
	return smtp
}

// pstCommand looks into Outlook's files.
func pstCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pst",
		Short: "Look into Outlook data files (PST, OST, PAB)",
		Long: `Look into Outlook data files: personal folders (PST), offline folders (OST) and
personal address books (PAB), of Outlook 97 to today. Nothing is changed in them.

  expost pst ls     FILE            its folders, or with a folder's id its items
  expost pst cat    FILE ID         an item as mail, or all its properties
  expost pst export FILE DIR        everything, as Maildir, mbox or .eml files
  expost pst check  FILE            read everything and say what is damaged

To bring a file into an account: expost import. For many: expost migrate.`,
	}
	cmd.AddCommand(pstListCommand(a), pstCatCommand(a), pstExportCommand(a), pstCheckCommand(a))
	return cmd
}

// openPST opens a file for the commands; damage is written to stderr.
func (a *app) openPST(path string, opt pstFlags, report func(error)) (f *pst.File, disk *os.File, err error) {
	disk, err = os.Open(a.path(path))
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			disk.Close()
		}
	}()
	info, err := disk.Stat()
	if err != nil {
		return nil, nil, err
	}
	if report == nil {
		report = func(err error) { fmt.Fprintln(a.stderr, "damaged:", err) }
	}
	f, err = pst.Open(disk, info.Size(), pst.Options{Report: report, Decode: func(b []byte) string { return codepage.Decode(opt.codepage, b) }})
	if err != nil {
		return nil, nil, mail.WrapError(mail.KindInvalid, err, "%s: %v", path, err)
	}
	if opt.recover {
		if f, err = f.Recover(); err != nil {
			return nil, nil, err
		}
	}
	return f, disk, nil
}

// listedFolder is a line of pst ls.
type listedFolder struct {
	ID     string `json:"id"`
	Path   string `json:"path"`
	Kind   string `json:"kind,omitempty"`
	Class  string `json:"class,omitempty"`
	Items  int    `json:"items"`
	Hidden int    `json:"hidden"` // settings and the like
	Shown  bool   `json:"shown"`
}

// listedItem is a line of pst ls with a folder.
type listedItem struct {
	ID      string    `json:"id"`
	Class   string    `json:"class"`
	Date    time.Time `json:"date"`
	Flags   []string  `json:"flags"`
	From    string    `json:"from"`
	Subject string    `json:"subject"`
	Error   string    `json:"error,omitempty"`
}

func pstListCommand(a *app) *cobra.Command {
	var opt pstFlags
	var hidden bool
	cmd := &cobra.Command{
		Use:   "ls FILE [FOLDER]",
		Short: "List the folders, or the items of one",
		Long: `List the folders of a file with their ids, what they are for (by their entry ids,
whatever their language), and how many items they hold. With a FOLDER, its id or
its path, list its items.`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(_ *cobra.Command, args []string) error {
			f, disk, err := a.openPST(args[0], opt, nil)
			if err != nil {
				return err
			}
			defer disk.Close()
			if len(args) == 2 {
				return a.listItems(f, args[1], hidden)
			}
			return a.listFolders(f)
		},
	}
	opt.add(cmd)
	cmd.Flags().BoolVar(&hidden, "hidden", false, "list a folder's hidden items: settings, views, rules")
	return cmd
}

func (a *app) listFolders(f *pst.File) error {
	var list []listedFolder
	for d, err := range f.Folders() {
		if err != nil {
			fmt.Fprintln(a.stderr, "damaged:", err)
			continue
		}
		hidden := 0
		for range d.Associated() {
			hidden++
		}
		list = append(list, listedFolder{
			ID: fmt.Sprintf("%x", d.ID()), Path: strings.Join(d.Path(), "/"), Kind: string(d.Kind()), Class: d.Class(),
			Items: d.Count(), Hidden: hidden, Shown: d.Visible(),
		})
	}
	if a.json {
		return a.printJSON(map[string]any{"format": f.Format(), "folders": list})
	}
	fmt.Fprintln(a.stdout, f.Format())
	w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tITEMS\tHIDDEN\tKIND\tCLASS\tPATH")
	for _, d := range list {
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\t%s\n", d.ID, d.Items, d.Hidden, d.Kind, d.Class, plain(d.Path))
	}
	return w.Flush()
}

// plain makes text safe for a terminal's line.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7F || r >= 0x80 && r < 0xA0 {
			return ' '
		}
		return r
	}, s)
}

func (a *app) listItems(f *pst.File, folder string, hidden bool) error {
	d, err := findFolder(f, folder)
	if err != nil {
		return err
	}
	items := d.Messages()
	if hidden {
		items = d.Associated()
	}
	conv := &mapi.Converter{}
	var list []listedItem
	for m, err := range items {
		if err != nil {
			list = append(list, listedItem{Error: err.Error()})
			continue
		}
		r := conv.Marks(m)
		text := func(ids ...uint16) string {
			for _, id := range ids {
				if s, _, _ := mapi.Text(m, id, mapi.Codepage(m, 0)); s != "" {
					return strings.TrimPrefix(s, "\x01")
				}
			}
			return ""
		}
		list = append(list, listedItem{ID: fmt.Sprintf("%x", m.ID()), Class: m.Class(), Date: r.Received, Flags: append(r.Flags, r.Keywords...),
			From: text(0x0042, 0x0C1A, 0x0065), Subject: text(0x0037, 0x0E1D, 0x3001)})
	}
	if a.json {
		return a.printJSON(list)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tDATE\tCLASS\tFLAGS\tFROM\tSUBJECT")
	for _, it := range list {
		if it.Error != "" {
			fmt.Fprintf(w, "-\t-\t-\t-\t-\tcannot be read: %s\n", plain(it.Error))
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", it.ID, it.Date.Format("2006-01-02 15:04"), it.Class, strings.Join(it.Flags, " "), plain(it.From), plain(it.Subject))
	}
	return w.Flush()
}

// findFolder finds a folder by its id or its path.
func findFolder(f *pst.File, name string) (*pst.Folder, error) {
	id, err := strconv.ParseUint(strings.TrimPrefix(name, "0x"), 16, 32)
	for d, derr := range f.Folders() {
		if derr == nil && (err == nil && uint64(d.ID()) == id || strings.EqualFold(strings.Join(d.Path(), "/"), name)) {
			return d, nil
		}
	}
	return nil, mail.Errorf(mail.KindNotExist, "the file has no folder %q (expost pst ls lists them)", name)
}

func pstCatCommand(a *app) *cobra.Command {
	var opt pstFlags
	var properties bool
	cmd := &cobra.Command{
		Use:   "cat FILE ID",
		Short: "Print an item as mail, or all its properties",
		Args:  cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			id, err := strconv.ParseUint(strings.TrimPrefix(args[1], "0x"), 16, 32)
			if err != nil {
				return usageError{fmt.Errorf("%q is no item's id: expost pst ls prints them", args[1])}
			}
			f, disk, err := a.openPST(args[0], opt, nil)
			if err != nil {
				return err
			}
			defer disk.Close()
			m, err := f.Message(uint32(id))
			if err != nil {
				return err
			}
			out := (&mapi.Converter{Codepage: opt.codepage, TNEF: tnef.Read}).Read(m)
			if properties {
				if _, err := a.stdout.Write(append(mapi.PropertiesJSON(m, opt.codepage), '\n')); err != nil {
					return err
				}
			} else if _, err := out.WriteTo(a.stdout); err != nil {
				return err
			}
			for _, p := range out.Problems {
				fmt.Fprintln(a.stderr, "cannot be read:", p)
			}
			return nil
		},
	}
	opt.add(cmd)
	cmd.Flags().BoolVar(&properties, "properties", false, "print every property of the item, its recipients and its attachments as JSON")
	return cmd
}

// checked is what pst check found.
type checked struct {
	Format  string   `json:"format"`
	Folders int      `json:"folders"`
	Items   int      `json:"items"`
	Hidden  int      `json:"hidden"`
	Classes []string `json:"classes"` // with their numbers
	Damage  []string `json:"damage"`
}

func pstCheckCommand(a *app) *cobra.Command {
	var opt pstFlags
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Read everything in a file and say what is damaged",
		Long: `Read every page, block, folder and item of a file, convert each item, and say what
is damaged or cannot be read: node, block and offset. Nothing is changed. What
is damaged does not keep expost import from taking all the rest.

Exit status: 0 when nothing is damaged, 1 otherwise.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c := checked{Damage: []string{}}
			report := func(err error) { c.Damage = append(c.Damage, err.Error()) }
			f, disk, err := a.openPST(args[0], opt, report)
			if err != nil {
				return err
			}
			defer disk.Close()
			if err := c.read(cmd.Context(), f, opt.codepage); err != nil {
				return err
			}
			if a.json {
				err = a.printJSON(c)
			} else {
				fmt.Fprintf(a.stdout, "%s\n%d folders, %d items, %d hidden items\n", c.Format, c.Folders, c.Items, c.Hidden)
				for _, s := range c.Classes {
					fmt.Fprintln(a.stdout, "  "+s)
				}
				for _, s := range c.Damage {
					fmt.Fprintln(a.stdout, "damaged:", s)
				}
			}
			if err == nil && len(c.Damage) > 0 {
				err = mail.Errorf(mail.KindCorrupt, "%d places are damaged", len(c.Damage))
			}
			return err
		},
	}
	opt.add(cmd)
	return cmd
}

// read reads everything.
func (c *checked) read(ctx context.Context, f *pst.File, page int) error {
	c.Format = f.Format()
	conv, classes := &mapi.Converter{Codepage: page, TNEF: tnef.Read}, map[string]int{}
	for d, err := range f.Folders() {
		if err != nil {
			c.Damage = append(c.Damage, err.Error())
			continue
		}
		c.Folders++
		for m, err := range d.Messages() {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			c.Items++
			if err != nil {
				c.Damage = append(c.Damage, err.Error())
				continue
			}
			classes[m.Class()]++
			mail, err := conv.Convert(io.Discard, m)
			for _, p := range append(mail.Problems, err) {
				if _, damaged := errors.AsType[*pst.Damage](p); damaged {
					c.Damage = append(c.Damage, fmt.Sprintf("item %x: %v", m.ID(), p))
				}
			}
		}
		for range d.Associated() {
			c.Hidden++
		}
	}
	for err := range f.Check() {
		c.Damage = append(c.Damage, err.Error())
	}
	for class, n := range classes {
		c.Classes = append(c.Classes, fmt.Sprintf("%s: %d", class, n))
	}
	slices.Sort(c.Classes)
	slices.Sort(c.Damage)
	c.Damage = slices.Compact(c.Damage)
	return nil
}
