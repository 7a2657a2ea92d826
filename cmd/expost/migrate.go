package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"expost/internal/config"
	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/imapclient"
	"expost/internal/migrate/source/imap"
)

// migration is what the migrate commands share.
type migration struct {
	*app
	planFile   string // --file
	ledgerFile string // --ledger
	users      []string
	batches    []string // --batch
	workers    int
}

// migrateCommand moves mailboxes by a plan.
func migrateCommand(a *app) *cobra.Command {
	m := &migration{app: a}
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Move mailboxes here from another server or from files, by a plan",
		Long: `Move mailboxes here by a plan, in passes that can be stopped (Ctrl-C, kill -9,
power loss) and run again: the same command goes on where the last one stopped,
and copies nothing twice. Between passes users keep working on the old server;
later passes bring over what is new, changed flags and deletions.

  expost migrate draft HOST -f migration.toml write a plan for all accounts of HOST
  expost migrate preflight -f migration.toml try the way into the old server
  expost migrate plan   -f migration.toml   look at both sides, change nothing
  expost migrate run    -f migration.toml   a pass: copy
  expost migrate status -f migration.toml   how far it is, also while it runs
  expost migrate verify -f migration.toml   fetch both sides again and compare
  expost migrate report -f migration.toml   every account, every sum, what was set aside
  expost migrate cutover  -f migration.toml --batch one   move accounts for good
  expost migrate rollback -f migration.toml --batch one   give them back

The old server is only read (EXAMINE, BODY.PEEK): a login that may not write is
enough. UIDVALIDITY, UIDs, dates, flags, keywords, subscriptions and the roles of
folders are kept, so that mail programs do not download everything again.

The plan is a file like this (paths in it are relative to its folder):

  [source]
  kind = "imap"                        # or "files": Maildir, mbox, EML; or "pst"
  address = "exchange.example.org:993"
  login = 'EXAMPLE\admin\{local}'      # {address} {local} {domain}; default {address}
  password-file = "admin.password"     # or a password for each user
  # admin = 'EXAMPLE\admin'           # whose login preflight tries for all users
  # tls = "implicit"                   # implicit | starttls | none; default by port
  # tls-ca = "exchange.pem"            # trust this certificate
  # authzid = "{address}"              # SASL: login acts for this account
  # recover = true                     # pst: bring deleted items too
  # codepage = 932                     # pst: of 8-bit text in files that name none

  # exclude = ["Sync Issues*"]         # folders left out; a list of Exchange's own by default

  [run]
  # workers = 8                        # accounts at once, of all plans for this server; fewer while it is at its limits
  # bandwidth = "10M"                  # bytes a second, the same
  # window = "20:00-06:00"             # passes wait outside of it

  [[user]]
  # batch = "sales"                    # for cutover --batch
  source = "ajay@example.org"          # for files and pst: path = "ajay.maildir"
  target = "ajay@example.org"

  # instead of [[user]], at the top: users-file = "users.csv" (source,target[,password[,batch]])

  [target]                             # this server, where it is left out
  kind = "imap"                        # any IMAP server; keys as those of [source]
  # or: kind = "maildir", path = "/home/{local}/Maildir", owner = "vmail"

The memory of the migration, its ledger, is a file beside the plan
(migration.ledger). What cannot be copied is set aside, with the reason, in
migration.ledger.aside.`,
		Example: `  expost migrate plan -f migration.toml
  expost migrate run -f migration.toml --user ajay@example.org
  expost migrate run -f migration.toml --workers 16 --json > run.json`,
	}
	f := cmd.PersistentFlags()
	f.StringVarP(&m.planFile, "file", "f", "migration.toml", "the plan (`file`)")
	f.StringVar(&m.ledgerFile, "ledger", "", "the ledger (`file`), instead of the one beside the plan")
	f.StringSliceVar(&m.users, "user", nil, "only the accounts with this source or target `address` (repeatable)")
	f.StringSliceVar(&m.batches, "batch", nil, "only the accounts of this `batch` of the plan (repeatable)")
	cmd.AddCommand(m.cutoverCommand(), m.rollbackCommand(), m.draftCommand(), m.preflightCommand(), m.planCommand(), m.runCommand(), m.statusCommand(), m.verifyCommand(), m.reportCommand(), m.restCommand())
	return cmd
}

// needsNodeMark marks a command as one that works on the data folder.
func needsNodeMark() map[string]string { return map[string]string{needsNode: "yes"} }

func (m *migration) runCommand() *cobra.Command {
	removals := "guarded"
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Copy what the source has and the target has not",
		Long: `Make one pass over the accounts, several at a time: copy new messages, bring
over changed flags, and remove copies of messages that were removed at the
source (guarded: never half of a folder or more at once).

An account or a message that makes trouble stops nothing else. The exit status
is 1 where an account could not be finished; run again and it goes on.`,
		Args:        cobra.NoArgs,
		Annotations: needsNodeMark(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			opt := migrate.Options{Workers: m.workers}
			var err error
			if opt.Removals, err = parseRemovals(removals); err != nil {
				return err
			}
			var results []migrate.Result
			err = m.withEngine(cmd.Context(), opt, func(e *migrate.Engine, users []migrate.User) (err error) {
				results, err = e.Run(cmd.Context(), users)
				return err
			})
			if err != nil {
				return err
			}
			return m.printResults(results)
		},
	}
	cmd.Flags().IntVar(&m.workers, "workers", 0, "accounts at once (default: the plan's run.workers, else 8)")
	cmd.Flags().StringVar(&removals, "removals", removals, "copies of messages that vanished at the source: `guarded`, all (remove), none (keep)")
	return cmd
}

// parseRemovals reads the flag --removals.
func parseRemovals(word string) (migrate.Removals, error) {
	switch word {
	case "guarded":
		return migrate.RemoveGuarded, nil
	case "all":
		return migrate.RemoveAll, nil
	case "none":
		return migrate.RemoveNone, nil
	}
	return 0, usageError{fmt.Errorf("--removals is guarded, all or none, not %q", word)}
}

func (m *migration) verifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Fetch both sides again and compare them",
		Long: `Fetch every message again from the source and from the target and compare the
bytes (SHA-256), UIDs, flags, keywords, dates, folders, subscriptions and roles.
What differs is printed; a message that is missing or damaged at the target is
copied by the next run. The exit status is 1 where anything differs.`,
		Args:        cobra.NoArgs,
		Annotations: needsNodeMark(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var verified []migrate.Verification
			err := m.withEngine(cmd.Context(), migrate.Options{Workers: m.workers}, func(e *migrate.Engine, users []migrate.User) (err error) {
				verified, err = e.Verify(cmd.Context(), users)
				return err
			})
			if err != nil {
				return err
			}
			return m.printVerified(verified)
		},
	}
	cmd.Flags().IntVar(&m.workers, "workers", 0, "accounts at once")
	return cmd
}

func (m *migration) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Say how far every account is, also while a run goes on",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := m.report(cmd.Context())
			if err != nil {
				return err
			}
			for i := range r.Accounts {
				r.Accounts[i].Folders = nil
			}
			if m.json {
				return m.printJSON(r)
			}
			return r.WriteStatus(m.stdout)
		},
	}
}

func (m *migration) reportCommand() *cobra.Command {
	var format, chain string
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Print every account, folder and sum, and what was set aside and why",
		Long: `Print what the ledger knows: for every folder of every account what the source
holds and what became of it (copied, already there, set aside, waiting), so that
the sums add up, and each item that was set aside with its reason and the file
of its bytes.

--format html makes one page to hand on, csv a table for spreadsheets.

Passes, verifications and cutovers are links of a chain of hashes in the ledger.
The report shows the last one; keep it elsewhere, and --chain HASH says later
whether the ledger still holds all that it held then.`,
		Example: `  expost migrate report -f migration.toml --format html > report.html`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if chain != "" {
				return m.checkChain(cmd.Context(), chain)
			}
			r, err := m.report(cmd.Context())
			if err != nil {
				return err
			}
			switch {
			case m.json || format == "json":
				return m.printJSON(r)
			case format == "html":
				return r.WriteHTML(m.stdout)
			case format == "csv":
				return r.WriteCSV(m.stdout)
			case format == "text":
				return r.WriteText(m.stdout)
			}
			return usageError{fmt.Errorf("--format is text, html, csv or json, not %q", format)}
		},
	}
	cmd.Flags().StringVar(&format, "format", "text", "text, html, csv or `json`")
	cmd.Flags().StringVar(&chain, "chain", "", "check the ledger against this `hash` of an earlier report")
	return cmd
}

// checkChain says whether the ledger's chain is whole and holds a hash.
func (m *migration) checkChain(ctx context.Context, hash string) error {
	l, err := migrate.ReadLedger(m.ledgerPath())
	if err != nil {
		return err
	}
	var found *migrate.Event
	_, err = l.Chain(ctx, func(e migrate.Event) error {
		if strings.EqualFold(e.Hash, hash) {
			found = &e
		}
		return nil
	})
	if err = errors.Join(err, l.Close()); err != nil {
		return err
	}
	if found == nil {
		return mail.Errorf(mail.KindNotExist, "the ledger's chain is whole, but it never had the hash %s: it is another ledger, or an older state of it", hash)
	}
	fmt.Fprintf(m.stdout, "The chain is whole and holds this state: event %d of %s.\n", found.ID, found.Time.Format("2006-01-02 15:04:05 MST"))
	return nil
}

// ledgerPath returns where the ledger lies. No plan has to be read for it.
func (m *migration) ledgerPath() string {
	if m.ledgerFile != "" {
		return m.path(m.ledgerFile)
	}
	p := migrate.Plan{File: m.path(m.planFile)}
	return p.LedgerPath()
}

// report reads the ledger.
func (m *migration) report(ctx context.Context) (migrate.Report, error) {
	l, err := migrate.ReadLedger(m.ledgerPath())
	if err != nil {
		return migrate.Report{}, err
	}
	r, err := l.Report(ctx)
	if err = errors.Join(err, l.Close()); err != nil || len(m.users)+len(m.batches) == 0 {
		return r, err
	}
	users, err := m.reported(r)
	if err != nil {
		return r, err
	}
	r.Keep(users)
	return r, nil
}

// reported returns the accounts of a report that --user and --batch choose.
func (m *migration) reported(r migrate.Report) ([]migrate.User, error) {
	var users []migrate.User
	if len(m.batches) > 0 { // only the plan knows them
		plan, err := migrate.LoadPlan(m.path(m.planFile))
		if err != nil {
			return nil, err
		}
		return m.chooseUsers(plan)
	}
	for _, a := range r.Accounts {
		users = append(users, migrate.User{Source: a.Source, Target: mail.Address(a.Target)})
	}
	return m.choose(users, "the ledger")
}

// chooseUsers returns the accounts of a plan that --user and --batch choose.
func (m *migration) chooseUsers(plan migrate.Plan) ([]migrate.User, error) {
	for _, name := range m.batches {
		if len(plan.Batch([]string{name})) == 0 {
			return nil, mail.Errorf(mail.KindNotExist, "%s has no account of the batch %q (the last column of users-file, or batch of a [[user]])", plan.File, name)
		}
	}
	return m.choose(plan.Batch(m.batches), plan.File)
}

// choose returns those of users that --user names: an error, where one is not
// among them.
func (m *migration) choose(users []migrate.User, where string) ([]migrate.User, error) {
	for _, name := range m.users {
		if !slices.ContainsFunc(users, func(u migrate.User) bool {
			return strings.EqualFold(name, u.Source) || strings.EqualFold(name, string(u.Target))
		}) {
			of := ""
			if len(m.batches) > 0 {
				of = " in the batch " + strings.Join(m.batches, ", ")
			}
			return nil, mail.Errorf(mail.KindNotExist, "%s has no account %s%s", where, name, of)
		}
	}
	return slices.DeleteFunc(users, func(u migrate.User) bool { return !m.chosen(u.Source, string(u.Target)) }), nil
}

// chosen tells whether an account is among those of --user.
func (m *migration) chosen(source, target string) bool {
	return len(m.users) == 0 || slices.ContainsFunc(m.users, func(u string) bool {
		return strings.EqualFold(u, source) || strings.EqualFold(u, target)
	})
}

// withEngine reads the plan, opens the ledger, the source and the target, and
// calls fn with the engine and the chosen accounts.
func (m *migration) withEngine(ctx context.Context, opt migrate.Options, fn func(*migrate.Engine, []migrate.User) error) error {
	plan, err := migrate.LoadPlan(m.path(m.planFile))
	if err != nil {
		return err
	}
	users, err := m.chooseUsers(plan)
	if err != nil {
		return err
	}
	n, err := m.node(ctx)
	if err != nil {
		return err
	}
	source, err := openSource(plan, n)
	if err != nil {
		return err
	}
	if opt.Workers == 0 {
		opt.Workers = plan.Run.Workers
	}
	opt.Pace, opt.Turns, opt.Host = plan.Run.Pace, n.Turns, strings.ToLower(plan.Source.Address)
	if plan.Source.Exclude != nil {
		opt.Exclude = *plan.Source.Exclude
	}
	target, err := openTarget(plan, n)
	if err != nil {
		return err
	}
	return m.runEngine(ctx, source, target, m.ledgerPath(), opt, func(e *migrate.Engine) error { return fn(e, users) })
}

// runEngine calls fn with an engine that shows its progress.
func (a *app) runEngine(ctx context.Context, source migrate.Source, target migrate.Target, ledger string, opt migrate.Options, fn func(*migrate.Engine) error) (err error) {
	n, err := a.node(ctx)
	if err != nil {
		return err
	}
	l, err := migrate.OpenLedger(ledger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	shown := newProgress(a)
	defer shown.Close()
	opt.Progress, opt.Log = shown, newLogger(shown, config.Log{Level: "warn", Format: n.Config.Log.Format})
	if a.live != nil { // in its log, and before the eyes of who waits
		opt.Log = slog.New(slog.NewMultiHandler(n.Log.Handler(), opt.Log.Handler()))
	}
	return fn(migrate.NewEngine(source, target, l, opt))
}

// accountOf finds accounts in the directory.
func accountOf(n *node) func(context.Context, mail.Address) (mail.AccountID, error) {
	return func(ctx context.Context, addr mail.Address) (mail.AccountID, error) {
		acct, err := n.Directory.Resolve(ctx, addr)
		if mail.KindOf(err) == mail.KindNotExist {
			return "", mail.Errorf(mail.KindNotExist, "there is no account %s here (make it with: expost account add %s)", addr, addr)
		}
		if err != nil {
			return "", err
		}
		return acct.ID, nil
	}
}

// openSource makes the source of a plan.
func openSource(plan migrate.Plan, n *node) (migrate.Source, error) {
	if plan.Source.Kind == "files" {
		return filesSource(plan, n), nil
	}
	if plan.Source.Kind == "pst" {
		return pstSource(plan.Source.Folder, pstFlags{codepage: plan.Source.Codepage, recover: plan.Source.Recover}, n), nil
	}
	address, security, err := imapAddress(plan.Source)
	if err != nil {
		return nil, err
	}
	trust, err := trustOf(plan.File, "source", plan.Source)
	if err != nil {
		return nil, err
	}
	return imap.New(imap.Config{
		Address: address, Login: plan.Source.Login, Authzid: plan.Source.Authzid, Password: plan.Source.Password,
		Client: imapclient.Options{Security: security, TLSConfig: trust}, Log: n.Log,
		MDNSent: map[string]imap.When{"always": imap.Always, "never": imap.Never}[plan.Source.MDNSent],
	}), nil
}

// trustOf returns what certificates of a server are trusted.
func trustOf(plan, key string, s migrate.SourcePlan) (*tls.Config, error) {
	trust := &tls.Config{MinVersion: tls.VersionTLS10} // Exchange 2007 knows nothing newer
	if s.TLSVerify != nil && !*s.TLSVerify {
		trust.InsecureSkipVerify = true
	}
	if s.TLSCA == "" {
		return trust, nil
	}
	pem, err := os.ReadFile(s.TLSCA)
	if err != nil {
		return nil, mail.WrapError(mail.KindInvalid, err, "%s: %s.tls-ca", plan, key)
	}
	trust.RootCAs = x509.NewCertPool()
	if !trust.RootCAs.AppendCertsFromPEM(pem) {
		return nil, mail.Errorf(mail.KindInvalid, "%s: %s.tls-ca: %s holds no certificate in PEM form", plan, key, s.TLSCA)
	}
	return trust, nil
}

// imapAddress returns the address with its port and how to protect the
// connection. Clear text has to be asked for, or lead to this machine.
func imapAddress(s migrate.SourcePlan) (string, imapclient.Security, error) {
	host, port, err := net.SplitHostPort(s.Address)
	if err != nil {
		host, port = strings.Trim(s.Address, "[]"), "993"
		if s.TLS == "starttls" || s.TLS == "none" {
			port = "143"
		}
	}
	if host == "" {
		return "", 0, mail.Errorf(mail.KindInvalid, "source.address %q names no host", s.Address)
	}
	address := net.JoinHostPort(host, port)
	switch {
	case s.TLS == "none":
		return address, imapclient.Plain, nil
	case s.TLS == "starttls" || s.TLS == "" && port == "143":
		return address, imapclient.StartTLS, nil
	}
	return address, imapclient.TLS, nil
}

// printResults prints what a pass did.
func (m *migration) printResults(results []migrate.Result) error {
	failed := 0
	for _, r := range results {
		if r.Err != nil {
			failed++
		}
	}
	if m.json {
		if err := m.printJSON(migrate.Summary(results)); err != nil {
			return err
		}
	} else if err := migrate.WriteSummary(m.stdout, results); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d accounts are not finished: run the same command again", failed, len(results))
	}
	return nil
}

// printVerified prints what a verification found.
func (m *migration) printVerified(verified []migrate.Verification) error {
	wrong := 0
	for _, v := range verified {
		if v.Error != "" || len(v.Problems) > 0 {
			wrong++
		}
	}
	if m.json {
		if err := m.printJSON(verified); err != nil {
			return err
		}
	} else if err := migrate.WriteVerifications(m.stdout, verified); err != nil {
		return err
	}
	if wrong > 0 {
		return fmt.Errorf("%d of %d accounts differ: run again, then verify again", wrong, len(verified))
	}
	return nil
}

// isPST tells whether a file is an Outlook data file.
func isPST(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	magic := make([]byte, 4)
	_, err = f.Read(magic)
	return err == nil && string(magic) == "!BDN"
}

// importLedger returns the ledger of imports into an account.
func importLedger(data string, id mail.AccountID) string {
	return filepath.Join(data, "imports", strings.ReplaceAll(string(id), "/", "_")+".ledger")
}
