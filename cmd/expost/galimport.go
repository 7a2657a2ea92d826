package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"expost/internal/gal"
	"expost/internal/ldap"
)

// galImport are the flags of an import.
type galImport struct {
	*galInput
	base, domain, passwords string
	source                  string
	dryRun, accounts        bool
	mailHost                string // of the mailboxes; empty: here
	disableGone, force      bool
	steps                   []galStep
	keep                    *passwordFile
	total, done             int // entries
	spoken                  time.Time
}

// galStep is a step of an import as JSON.
type galStep struct {
	Action  gal.Action `json:"action"`
	DN      string     `json:"dn"`
	Changes []string   `json:"changes,omitempty"` // names of the attributes
	Account string     `json:"account,omitempty"`
	Reason  string     `json:"reason,omitempty"`
}

// galImportCommand brings a list into the directory.
func galImportCommand(a *app) *cobra.Command {
	in := &galImport{galInput: &galInput{app: a}}
	cmd := &cobra.Command{
		Use:         "import FILE|URL...",
		Short:       "Bring an address list into the directory",
		Annotations: map[string]string{needsNode: "yes"},
		Long: `Import reads address lists as convert does and brings them into the directory,
where LDAP clients find everybody at once. With --accounts, mailboxes read from
Active Directory keep their quota, size limit, forwarding, delegates and who may
send as them.

Who is in the directory already, by an address or else by name, gets only what
differs; what the directory knows beyond the list stays. Running the command
again changes nothing, and after a new export only what is new. An entry that
cannot be taken over is reported and does not stop the rest.

With --accounts everybody with an address in a domain of this server also gets a
mailbox. --passwords gives each a first password and writes it to a file
(address,login,password) for handing out, which only its owner may read; of two
lines for an address the later one holds. Without --passwords they have none
until "expost account passwd" sets one. --mail-host says that the mailboxes still
live at another server, which Expost stands in front of. Those who have a mailbox
keep it, its host and their password.

--source gives the list a name, which is kept with the entries that came from
it. With --disable-gone, those that an earlier import of the same source brought
and that are not in the list any more are hidden from the address list and their
mailboxes disabled; nothing is deleted, and who is in a later list again is as
before. If most of them are missing, the list is probably cut, and nothing is
disabled unless --force says so.

--dry-run shows what would be done, line by line, and does nothing.`,
		Example: `  expost gal import gal.csv --dry-run
  expost gal import gal.csv --accounts --passwords passwords.csv
  expost gal import gal.csv --accounts --mail-host exchange.linuxforu.com
  expost gal import recipients.csv --source exchange --disable-gone
  expost gal import ldaps://dc.linuxforu.com --bind-dn 'LINUXFORU\reader' --bind-password-file pw \
      --source ad --accounts --disable-gone
  expost gal import recipients.csv contacts.ldif --base ou=addressbook,dc=linuxforu,dc=com`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return in.run(cmd.Context(), a, args) },
	}
	in.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&in.base, "base", "", "`DN` of the container that people go to (default ou=addressbook below the suffix)")
	f.BoolVar(&in.dryRun, "dry-run", false, "show what would be done, and do nothing")
	f.BoolVar(&in.accounts, "accounts", false, "give everybody in our domains a mailbox")
	f.StringVar(&in.mailHost, "mail-host", "", "`host` where the mailboxes live (with --accounts); empty: here")
	f.StringVar(&in.domain, "default-domain", "", "`domain` of those who have no address but a login name (with --accounts)")
	f.StringVar(&in.source, "source", "", "`name` of the list, kept with its entries")
	f.BoolVar(&in.disableGone, "disable-gone", false, "disable entries of --source that are not in the list any more")
	f.BoolVar(&in.force, "force", false, "disable them even if they are most of them")
	f.StringVar(&in.passwords, "passwords", "", "make first passwords and add them to this `file` (with --accounts)")
	return cmd
}

// run carries out an import.
func (in *galImport) run(ctx context.Context, a *app, files []string) error {
	if in.passwords != "" && !in.accounts {
		return usageError{errors.New("--passwords needs --accounts: only mailboxes have passwords")}
	}
	if in.mailHost != "" && !in.accounts {
		return usageError{errors.New("--mail-host needs --accounts: only mailboxes live anywhere")}
	}
	if in.disableGone && in.source == "" {
		return usageError{errors.New("--disable-gone needs --source: only entries of a named list can be missing from it")}
	}
	if strings.ContainsAny(in.source, " \t\n") {
		return usageError{fmt.Errorf("--source %q: a name has no spaces", in.source)}
	}
	n, err := a.node(ctx)
	if err != nil {
		return err
	}
	base, err := a.galBase(in.base)
	if err != nil {
		return err
	}
	list, err := in.read(ctx, files)
	if err != nil {
		return err
	}
	entries := gal.Entries(list, gal.TreeOptions{Base: base, Containers: true, Extended: true, Mailboxes: in.accounts, Report: in.report})
	in.total, in.spoken = len(entries), time.Now()
	opts := gal.ImportOptions{DryRun: in.dryRun, Source: in.source, Gone: in.disableGone, Force: in.force, Step: in.step}
	if in.accounts {
		opts.Accounts = &gal.AccountOptions{Domains: n.Config.Domains, DefaultDomain: in.domain, Host: in.mailHost, Create: n.Store.Create}
	}
	if in.passwords != "" && !in.dryRun {
		keep, err := openPasswords(a.path(in.passwords))
		if err != nil {
			return err
		}
		defer keep.file.Close() // synced by sync
		opts.Accounts.Password = keep.add
		in.keep = keep
	}
	sum, err := gal.Import(ctx, n.Directory, entries, opts)
	if in.keep != nil {
		err = errors.Join(err, in.keep.file.Sync())
	}
	if err != nil {
		return err
	}
	return in.finish(a, sum)
}

// importSpeaks is how often an import that takes long says how far it is.
const importSpeaks = 5 * time.Second

// step reports a step.
func (in *galImport) step(s *gal.Step) {
	st := galStep{Action: s.Action, DN: s.DN.String(), Account: string(s.Account), Reason: s.Reason}
	for _, c := range s.Changes {
		st.Changes = append(st.Changes, c.Attribute.Desc)
	}
	if s.Err != nil {
		st.Reason = s.Err.Error()
	}
	if in.app.json {
		in.steps = append(in.steps, st)
		return
	}
	if in.done++; time.Since(in.spoken) > importSpeaks {
		in.spoken = time.Now()
		fmt.Fprintf(in.app.stderr, "%d of %d entries\n", in.done, in.total)
	}
	switch {
	case s.Err != nil:
		fmt.Fprintf(in.app.stderr, "error: %s: %v\n", st.DN, s.Err)
	case s.Action == gal.ActionConflict:
		fmt.Fprintf(in.app.stderr, "conflict: %s: %s; not changed\n", st.DN, s.Reason)
	case in.dryRun && s.Action != gal.ActionUnchanged:
		in.printStep(s)
	}
}

// printStep shows a step of a dry run as a diff.
func (in *galImport) printStep(s *gal.Step) {
	w := in.app.stdout
	fmt.Fprintf(w, "%s %s\n", s.Action, s.DN)
	if s.Account != "" {
		fmt.Fprintf(w, "  + mailbox %s\n", s.Address)
	}
	if s.Action == gal.ActionAdd {
		for _, at := range s.Entry.Attributes {
			printValues(w, "+", at)
		}
	}
	for _, c := range s.Changes {
		if c.Op == ldap.ChangeReplace {
			if old := s.Before.Attribute(c.Attribute.Desc); old != nil {
				printValues(w, "-", *old)
			}
		}
		printValues(w, "+", c.Attribute)
	}
}

// printValues prints values of an attribute that is not secret.
func printValues(w io.Writer, sign string, at ldap.Attribute) {
	for _, v := range at.Values {
		text := strings.ReplaceAll(string(v), "\n", `\n`)
		switch {
		case strings.EqualFold(at.Desc, "userPassword"):
			text = "(made when it is imported)"
		case strings.EqualFold(at.Desc, "jpegPhoto") || strings.HasPrefix(strings.ToLower(at.Desc), "usercertificate"):
			text = fmt.Sprintf("(%d bytes)", len(v))
		}
		fmt.Fprintf(w, "  %s %s: %s\n", sign, at.Desc, text)
	}
}

// passwordFile takes the first passwords, a line each, before the accounts are
// there: an import that is killed has told every password that it set.
type passwordFile struct {
	mu   sync.Mutex
	file *os.File
}

// openPasswords opens a file for passwords, which only its owner may read.
func openPasswords(path string) (*passwordFile, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the file for passwords: %w", err)
	}
	if end, err := f.Seek(0, io.SeekEnd); err != nil || end > 0 {
		return &passwordFile{file: f}, err
	}
	_, err = f.WriteString("address,login,password\n")
	return &passwordFile{file: f}, err
}

// add appends a line.
func (p *passwordFile) add(s *gal.Step) error {
	login := s.Login
	if login == "" {
		login = string(s.Address)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	w := csv.NewWriter(p.file)
	if err := w.Write([]string{string(s.Address), login, s.Password}); err != nil {
		return err
	}
	w.Flush()
	return w.Error()
}

// finish prints the summary.
func (in *galImport) finish(a *app, sum gal.Summary) error {
	if a.json {
		if err := a.printJSON(map[string]any{"summary": sum, "steps": in.steps, "issues": in.issues, "dryRun": in.dryRun}); err != nil {
			return err
		}
	} else {
		would := ""
		if in.dryRun {
			would = " (nothing was done)"
		}
		gone := ""
		if in.disableGone {
			gone = fmt.Sprintf(", %d disabled", sum.Disabled)
		}
		fmt.Fprintf(a.stdout, "%d added, %d changed, %d as they were%s, %d conflicts, %d refused; %d mailboxes made%s\n",
			sum.Added, sum.Modified, sum.Unchanged, gone, sum.Conflicts, sum.Failed, sum.Accounts, would)
		fmt.Fprintf(a.stderr, "report: %s\n", in.summary())
	}
	if sum.Failed > 0 {
		return fmt.Errorf("%d entries were refused by the directory; the others are in it", sum.Failed)
	}
	return nil
}
