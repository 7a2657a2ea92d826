package main

import (
	"context"
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
	var opt pstFlags
	cmd := &cobra.Command{
		Use:   "import ADDR PATH…",
		Short: "Bring mail from files into one account, without a plan",
		Long: `Bring mail from files into the account ADDR. A PATH is an Outlook data file (PST,
OST, PAB; of any age and encoding, with or without a password), a Maildir or
Maildir++ (also of Dovecot and Courier, whose UIDs, keywords and subscriptions
are kept), an mbox file, a folder of mbox files, a folder of .eml and Outlook's
.msg files, or one such file; which of them, is found out by looking.

Folders, flags, categories and dates come along; contacts, appointments, tasks,
notes and journal entries of Outlook too, as mail with a vCard or iCalendar file
attached. What the account holds already stays. Importing the same files again
copies nothing; what has been added to them since is added, and nothing is removed.

A damaged file is read as far as it can be, and what is wrong with it is said;
--recover also looks for items that were deleted in it.`,
		Example: `  expost import ajay@example.org ajay.pst archive-2009.pst
  expost import ajay@example.org /home/ajay/Maildir
  expost import ajay@example.org old-mail.mbox Archive/*.eml`,
		Args:        cobra.MinimumNArgs(2),
		Annotations: needsNodeMark(),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.importFiles(cmd.Context(), args[0], args[1:], opt)
		},
	}
	opt.add(cmd)
	return cmd
}

// importFiles brings files into an account, Outlook's by one source and all
// others by another.
func (a *app) importFiles(ctx context.Context, address string, paths []string, opt pstFlags) error {
	n, err := a.node(ctx)
	if err != nil {
		return err
	}
	addr, err := mail.ParseAddress(address)
	if err != nil {
		return usageError{err}
	}
	id, err := accountOf(n)(ctx, addr)
	if err != nil {
		return err
	}
	var outlook, others []migrate.User
	for _, arg := range paths {
		path := a.path(arg)
		info, err := os.Stat(path)
		switch u := (migrate.User{Source: path, Target: addr}); {
		case errors.Is(err, os.ErrNotExist):
			return mail.Errorf(mail.KindNotExist, "there is no %s", arg)
		case err != nil:
			return fmt.Errorf("looking at %s: %w", arg, err)
		case info.Mode().IsRegular() && isPST(path):
			outlook = append(outlook, u)
		default:
			others = append(others, u)
		}
	}
	ledger := importLedger(n.Config.Data, id)
	if err := os.MkdirAll(filepath.Dir(ledger), 0o700); err != nil {
		return fmt.Errorf("making the folder for the ledger: %w", err)
	}
	var results []migrate.Result
	for _, part := range []struct {
		source migrate.Source
		users  []migrate.User
	}{{pstSource("", opt, n), outlook}, {files.New("", n.Log), others}} {
		if len(part.users) == 0 {
			continue
		}
		// One account at a time: they are files of one person, and of some the folders are the same.
		err := a.runEngine(ctx, part.source, storeTarget(n), ledger, migrate.Options{Removals: migrate.RemoveNone, Workers: 1}, func(e *migrate.Engine) error {
			r, err := e.Run(ctx, part.users)
			results = append(results, r...)
			return err
		})
		if err != nil {
			return err
		}
	}
	return (&migration{app: a}).printResults(results)
}
