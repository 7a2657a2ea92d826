package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"expost/internal/directory"
	"expost/internal/mail"
)

// maxReplyText is what the directory takes, in bytes.
const maxReplyText = 4096

// accountReplyCommand has an account answer by itself.
func accountReplyCommand(a *app) *cobra.Command {
	var off bool
	cmd := nodeCommand(a, cobra.Command{
		Use:   "reply ADDR [FILE]",
		Short: "Have an account answer mail by itself, or no more",
		Long: `Answer whoever writes to the account with the text of FILE ("-" is standard input):
once in two weeks for each sender, and never lists or machines. The text may begin with
a line %HEADER% and fields of its own, ended by an empty line; %SUBJECT% in it stands for
the subject of the message. --off ends it.`,
		Example: `  expost account reply ajay@example.org away.txt
  echo "Back on Monday." | expost account reply ajay@example.org -
  expost account reply ajay@example.org --off`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: completeAccounts(a),
	}, func(ctx context.Context, n *node, args []string) error {
		if off == (len(args) == 2) {
			return usageError{fmt.Errorf("give a file, or --off")}
		}
		acct, err := lookUp(ctx, n, args[0])
		if err != nil {
			return err
		}
		modes := slices.DeleteFunc(slices.Clone(acct.Modes), func(m string) bool { return strings.EqualFold(m, "reply") })
		text := ""
		if !off {
			if text, err = a.replyText(args[1]); err != nil {
				return err
			}
			modes = append(modes, "reply")
		}
		return directory.ChangeAccount(ctx, n.Directory, acct.DN, directory.AccountChange{Modes: &modes, Reply: &text})
	})
	cmd.Flags().BoolVar(&off, "off", false, "answer no more")
	return cmd
}

// replyText reads the text of an answer.
func (a *app) replyText(file string) (string, error) {
	f, err := a.open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxReplyText+1))
	switch text := strings.TrimSpace(string(b)); {
	case err != nil:
		return "", fmt.Errorf("reading the text of the answer: %w", err)
	case len(b) > maxReplyText:
		return "", mail.Errorf(mail.KindTooBig, "the text of an answer has at most %d bytes", maxReplyText)
	case text == "":
		return "", mail.Errorf(mail.KindInvalid, "the text of the answer is empty")
	default:
		return text, nil
	}
}
