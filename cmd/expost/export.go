package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"expost/internal/archive"
	"expost/internal/config"
	"expost/internal/mail"
	"expost/internal/migrate"
	sourcestore "expost/internal/migrate/source/store"
	"expost/internal/migrate/target/maildir"
)

// exportFormats are those of expost export and expost pst export.
const exportFormats = "maildir, mbox, eml or pst"

// exportCommand writes an account's mail into files.
func exportCommand(a *app) *cobra.Command {
	format := "maildir"
	cmd := &cobra.Command{
		Use:   "export ADDR DIR",
		Short: "Write the mail of an account into files: Maildir, mbox, .eml files, or Outlook's PST",
		Long: `Write all mail of the account ADDR into the folder DIR, with folders, flags,
keywords and dates. Nothing is changed in the account.

  maildir   a Maildir++ in DIR, with the UIDs that Dovecot and Courier keep; the
            same command goes on where it stopped, and later adds what is new
  mbox      a tree of mbox files in DIR/ADDR.mbox, as Thunderbird lays them out
  eml       a tree of .eml files in DIR/ADDR.eml
  pst       one file, DIR/ADDR.pst, that Outlook opens and Exchange imports
            (New-MailboxImportRequest): the way back`,
		Example: `  expost export ajay@example.org /backup/ajay
  expost export ajay@example.org . --format pst`,
		Args:        cobra.ExactArgs(2),
		Annotations: needsNodeMark(),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := a.node(cmd.Context())
			if err != nil {
				return err
			}
			addr, err := mail.ParseAddress(args[0])
			if err != nil {
				return usageError{err}
			}
			if _, err := accountOf(n)(cmd.Context(), addr); err != nil {
				return err
			}
			src := sourcestore.New(n.Store, sourcestore.Accounts(accountOf(n)))
			x := &exporting{app: a, source: src, user: migrate.User{Source: args[0], Target: addr}, dir: a.path(args[1]), format: format, name: levelFile(args[0])}
			return x.run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&format, "format", format, "`format`: "+exportFormats)
	return cmd
}

// levelFile makes a file's name of an address.
func levelFile(s string) string {
	return filepath.Base(filepath.Clean("/" + s))
}

// exporting is one export.
type exporting struct {
	*app
	source migrate.Source
	user   migrate.User
	dir    string
	format string
	name   string // of the archive, without its ending
}

func (x *exporting) run(ctx context.Context) error {
	switch x.format {
	case "maildir", "mbox", "eml", "pst":
	default:
		return usageError{fmt.Errorf("--format is %s, not %q", exportFormats, x.format)}
	}
	if err := os.MkdirAll(x.dir, 0o700); err != nil {
		return fmt.Errorf("making the folder for the export: %w", err)
	}
	if x.format == "maildir" {
		return x.maildir(ctx)
	}
	return x.archive(ctx)
}

// maildir exports by a migration, which can be stopped and goes on.
func (x *exporting) maildir(ctx context.Context) error {
	log := newLogger(x.stderr, config.Log{Level: "warn"})
	target, err := maildir.New(maildir.Config{Path: x.dir, Log: log})
	if err != nil {
		return err
	}
	l, err := migrate.OpenLedger(filepath.Join(filepath.Dir(x.dir), "."+filepath.Base(x.dir)+".ledger"))
	if err != nil {
		return err
	}
	shown := newProgress(x.app)
	defer shown.Close()
	results, err := migrate.NewEngine(x.source, target, l, migrate.Options{Removals: migrate.RemoveNone, Progress: shown, Log: log}).Run(ctx, []migrate.User{x.user})
	if cerr := l.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return (&migration{app: x.app}).printResults(results)
}

// archive exports into files that are made anew.
func (x *exporting) archive(ctx context.Context) error {
	src, err := x.source.Open(ctx, x.user)
	if err != nil {
		return err
	}
	defer src.Close()
	shown := newProgress(x.app)
	defer shown.Close()
	shown.Accounts(1)
	done, bytes := 0, int64(0)
	res, err := archive.Copy(ctx, src, filepath.Join(x.dir, x.name+"."+x.format), archive.Options{
		Format: x.format,
		Failed: func(folder, key string, err error) {
			fmt.Fprintf(x.stderr, "not exported: message %s of %q: %v\n", key, folder, err)
		},
		Progress: func(n, of int, size int64) {
			if done == 0 {
				shown.Start(x.user, of)
			}
			shown.Step(x.user, n-done, size-bytes)
			done, bytes = n, size
		},
	})
	if err != nil {
		return err
	}
	if x.json {
		err = x.printJSON(res)
	} else {
		_, err = fmt.Fprintf(x.stdout, "%s: %d messages in %d folders, %d bytes\n", res.Path, res.Messages, res.Folders, res.Bytes)
	}
	if err == nil && res.Failed > 0 {
		err = fmt.Errorf("%d messages could not be read and are not in the export", res.Failed)
	}
	return err
}
