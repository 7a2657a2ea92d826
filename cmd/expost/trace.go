package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"expost/internal/mail"
)

// traceCommand shows what an account's clients say.
func traceCommand(a *app) *cobra.Command {
	var protocol string
	cmd := nodeCommand(a, cobra.Command{
		Use:   "trace ADDR",
		Short: "Watch the dialogue of an account's clients with the server",
		Long: `Show what the clients of an account and the server say to each other, as it
happens, until Ctrl-C: IMAP, POP3, submission and LDAP, also of sessions that were
there before and of those that are served by proxy. Lines with "C:" come from the
client, "S:" from the server; "--" tells of logins, those that are refused too.

Passwords and the bodies of messages are not shown. A session that is in the
middle of a command when the watch begins is shown from its next one on. Where
lines come faster than they can be printed, some are left out, and their number
is told.`,
		Example: `  expost trace ajay@example.org
  expost trace ajay@example.org --protocol imap`,
		Args: cobra.ExactArgs(1),
	}, func(ctx context.Context, n *node, args []string) error {
		if a.live == nil {
			return mail.Errorf(mail.KindUnavailable, "no server runs on the data folder %s: there is nothing to watch", n.Config.Data)
		}
		if protocol != "" && !slices.Contains(traceProtocols(), protocol) {
			return usageError{fmt.Errorf("--protocol %q is none of %v", protocol, traceProtocols())}
		}
		account, err := n.Directory.Lookup(ctx, args[0])
		if err != nil {
			return err
		}
		w := n.Trace.Watch(account.Address.Key(), protocol)
		defer w.Close()
		fmt.Fprintf(a.stderr, "Watching %s. Ctrl-C ends it.\n", account.Address)
		for {
			line, err := w.Next(ctx)
			if err != nil { // Ctrl-C is how this ends
				return nil
			}
			if _, err := fmt.Fprintln(a.stdout, line); err != nil {
				return err
			}
		}
	})
	cmd.Flags().StringVar(&protocol, "protocol", "", "only this `protocol`: imap, pop3, submission or ldap")
	cmd.ValidArgsFunction = completeAccounts(a)
	return cmd
}

// traceProtocols are those that can be watched.
func traceProtocols() []string { return []string{"imap", "pop3", "submission", "ldap"} }
