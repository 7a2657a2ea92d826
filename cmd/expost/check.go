package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"expost/internal/directory"
	"expost/internal/mail"
	"expost/internal/store"
)

// checkCommand verifies what is stored.
func checkCommand(a *app) *cobra.Command {
	var onlyStore bool
	opt := store.CheckOptions{}
	cmd := &cobra.Command{
		Use:   "check [ADDR…]",
		Args:  cobra.ArbitraryArgs,
		Short: "Verify what is stored, and repair it",
		Long: `Verify the store: every row, count, reference, file and message body of every
account (or of those named), while the server runs or not. Each thing that is
wrong is a line with what to do about it. --repair rebuilds counts and
references and removes files that belong to nothing; it never removes a message.

Exit status: 0 when nothing is wrong (any more), 1 otherwise.`,
		Example: `  expost check --store
  expost check ajay@example.org --repair`,
		Annotations: map[string]string{needsNode: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := a.node(cmd.Context())
			if err != nil {
				return err
			}
			for _, arg := range args {
				acct, err := lookUp(cmd.Context(), n, arg)
				if err != nil {
					return err
				}
				opt.Accounts = append(opt.Accounts, acct.ID)
			}
			return check(cmd, a, n, opt)
		},
	}
	cmd.AddCommand(checkNetworkCommand(a))
	f := cmd.Flags()
	f.BoolVar(&onlyStore, "store", true, "check the mail store")
	f.BoolVar(&opt.Repair, "repair", false, "repair what can be")
	f.BoolVar(&opt.NoBodies, "quick", false, "do not read the messages themselves")
	return cmd
}

// check prints the findings.
func check(cmd *cobra.Command, a *app, n *node, opt store.CheckOptions) error {
	findings, left := []store.Finding{}, 0
	for f, err := range n.Store.Check(cmd.Context(), opt) {
		if err != nil {
			return err
		}
		findings = append(findings, f)
		if !f.Repaired {
			left++
		}
		if !a.json {
			fmt.Fprintln(a.stdout, f)
		}
	}
	if a.json {
		if err := a.printJSON(findings); err != nil {
			return err
		}
	} else if len(findings) == 0 {
		fmt.Fprintln(a.stdout, "nothing is wrong")
	}
	if left > 0 {
		return mail.Errorf(mail.KindCorrupt, "%d things are wrong", left)
	}
	return nil
}

// lookUp returns the account of an address or login.
func lookUp(ctx context.Context, n *node, login string) (*directory.Account, error) {
	acct, err := n.Directory.Lookup(ctx, login)
	if err != nil && mail.KindOf(err) == mail.KindNotExist {
		return nil, mail.Errorf(mail.KindNotExist, "there is no account %s (expost account list shows them)", login)
	}
	return acct, err
}
