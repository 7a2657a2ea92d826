package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"expost/internal/mail"
	"expost/internal/moderation"
)

// moderationCommand is the parent of what is done with mail that waits for a
// moderator.
func moderationCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "moderation",
		Short: "See and decide on mail to moderated lists",
		Long: `Mail to a list with moderators waits until one of them lets it pass, by replying to
the question that was sent to them, or until somebody does so here. What nobody decides
on is returned to its sender after a week. A message is named by its token, or the
beginning of it.`,
	}
	cmd.AddCommand(moderationListCommand(a), moderationShowCommand(a),
		moderationDecideCommand(a, "approve", "Let messages pass to their list", true),
		moderationDecideCommand(a, "reject", "Return messages to their senders", false))
	return cmd
}

func moderationListCommand(a *app) *cobra.Command {
	return nodeCommand(a, cobra.Command{
		Use:   "list",
		Short: "List the messages that wait, the oldest first",
		Args:  cobra.NoArgs,
	}, func(_ context.Context, n *node, _ []string) error {
		list, err := n.Moderation.All()
		if a.json {
			if list == nil {
				list = []moderation.Message{}
			}
			return errors.Join(a.printJSON(list), err)
		}
		w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
		for _, m := range list {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%q\n", m.Token, m.Received.Format(time.DateTime), m.Stage, m.List, orNull(string(m.From)), m.Subject)
		}
		return errors.Join(w.Flush(), err)
	})
}

func moderationShowCommand(a *app) *cobra.Command {
	return nodeCommand(a, cobra.Command{
		Use:   "show TOKEN",
		Short: "Print a message that waits",
		Args:  cobra.ExactArgs(1),
	}, func(_ context.Context, n *node, args []string) error {
		token, err := n.heldToken(args[0])
		if err != nil {
			return err
		}
		h, err := n.Moderation.Get(token)
		if err != nil {
			return err
		}
		_, err = io.Copy(a.stdout, h.Body())
		return errors.Join(err, h.Close())
	})
}

func moderationDecideCommand(a *app, verb, short string, pass bool) *cobra.Command {
	return nodeCommand(a, cobra.Command{
		Use:   verb + " TOKEN…",
		Short: short,
		Args:  cobra.MinimumNArgs(1),
	}, func(ctx context.Context, n *node, args []string) error {
		var errs []error
		for _, arg := range args {
			token, err := n.heldToken(arg)
			if err == nil {
				err = n.Delivery.Decide(ctx, token, pass)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("deciding on %s: %w", arg, err))
			}
		}
		return errors.Join(errs...)
	})
}

// heldToken returns the whole token of a message that waits.
func (n *node) heldToken(start string) (string, error) {
	list, err := n.Moderation.All()
	if err != nil {
		return "", err
	}
	token := ""
	for _, m := range list {
		if len(start) >= 4 && len(start) <= len(m.Token) && m.Token[:len(start)] == start {
			if token != "" {
				return "", mail.Errorf(mail.KindInvalid, "several tokens begin with %q", start)
			}
			token = m.Token
		}
	}
	if token == "" {
		return "", mail.Errorf(mail.KindNotExist, "no message %q waits: see \"expost moderation list\"", start)
	}
	return token, nil
}
