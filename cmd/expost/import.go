package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/source/files"
)

// importCommand brings files into one account.
func importCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "import ADDR PATH…",
		Short: "Bring mail from files into one account, without a plan",
		Long: `Bring mail from files into the account ADDR. A PATH is a Maildir or Maildir++
(also of Dovecot and Courier, whose UIDs, keywords and subscriptions are kept),
an mbox file, a folder of mbox files, a folder of .eml files, or one .eml file;
which of them, is found out by looking.

Folders, flags and dates come along. What the account holds already stays.
Importing the same files again copies nothing; what has been added to them since
is added, and nothing is removed.`,
		Example: `  expost import ajay@example.org /home/ajay/Maildir
  expost import ajay@example.org old-mail.mbox Archive/*.eml`,
		Args:        cobra.MinimumNArgs(2),
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
			id, err := accountOf(n)(cmd.Context(), addr)
			if err != nil {
				return err
			}
			var users []migrate.User
			for _, arg := range args[1:] {
				path := a.path(arg)
				if err := importable(path, arg); err != nil {
					return err
				}
				users = append(users, migrate.User{Source: path, Target: addr})
			}
			ledger := importLedger(n.Config.Data, id)
			if err := os.MkdirAll(filepath.Dir(ledger), 0o700); err != nil {
				return fmt.Errorf("making the folder for the ledger: %w", err)
			}
			var results []migrate.Result
			err = a.runEngine(cmd.Context(), files.New("", n.Log), ledger, migrate.Options{Removals: migrate.RemoveNone}, func(e *migrate.Engine) (err error) {
				results, err = e.Run(cmd.Context(), users)
				return err
			})
			if err != nil {
				return err
			}
			return (&migration{app: a}).printResults(results)
		},
	}
}

// importable returns an error that says what to do about a path that cannot be
// imported.
func importable(path, shown string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return mail.Errorf(mail.KindNotExist, "there is no %s", shown)
	case err != nil:
		return fmt.Errorf("looking at %s: %w", shown, err)
	case info.Mode().IsRegular() && isPST(path):
		return mail.Errorf(mail.KindInvalid, "%s is an Outlook data file (PST), which this version cannot read yet: open it in Outlook and drag its folders to an IMAP account here, or turn it into mbox files (readpst -r -o DIR %s) and import DIR", shown, shown)
	}
	return nil
}
