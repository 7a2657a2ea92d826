package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"expost/internal/directory"
	"expost/internal/mail"
	"expost/internal/proxy"
	"expost/internal/store"
	"expost/internal/uidl"
)

// accountUIDLCommand takes the unique ids of POP3 over.
func accountUIDLCommand(a *app) *cobra.Command {
	var format, host string
	var stdin bool
	cmd := nodeCommand(a, cobra.Command{
		Use:   "uidl ADDR",
		Short: "Take over the ids by which POP3 clients know the messages",
		Long: `POP3 clients that leave their mail on the server know each message by a unique id
(UIDL). After a move they fetch everything again, unless the ids stay the same.

--from asks the POP3 server of a host (a [[host]] of the configuration, or a name)
for the ids of its maildrop, as the user, whose password is asked for, or as the
host's master user. A rule that all ids follow is kept; else each message is found
here by its Message-ID. It may be run again, and while the old server still serves
the account.

--format sets the rule without asking anybody: %u is the UID, %v the UIDVALIDITY,
with flags as in Dovecot's pop3_uidl_format. Dovecot: "%08Xu%08Xv", Courier:
"UID%u-%v", Cyrus: "%v.%u", UW: "%08Xv%08Xu". "" goes back to Expost's own.`,
		Example: `  expost account uidl ajay@example.org --from old.example.org
  expost account uidl ajay@example.org --format 'UID%u-%v'`,
		Args: cobra.ExactArgs(1),
	}, func(ctx context.Context, n *node, args []string) error {
		account, err := n.Directory.Lookup(ctx, args[0])
		if err != nil {
			return err
		}
		box, err := n.Store.Open(ctx, account.ID)
		if err != nil {
			return err
		}
		defer box.Release()
		if host == "" {
			inbox, err := box.Mailbox(ctx, mail.Inbox)
			if err != nil {
				return err
			}
			return box.SetUIDLs(ctx, inbox.ID, store.UIDLs{Format: format})
		}
		return a.takeUIDLs(ctx, n, uidlSource{account, box, host, stdin})
	})
	f := cmd.Flags()
	f.StringVar(&format, "format", "", "make the ids by this `rule`")
	f.StringVar(&host, "from", "", "take the ids of this `host`'s maildrop over")
	f.BoolVar(&stdin, "password-stdin", false, "read the user's password there from standard input")
	cmd.MarkFlagsOneRequired("format", "from")
	cmd.MarkFlagsMutuallyExclusive("format", "from")
	cmd.ValidArgsFunction = completeAccounts(a)
	return cmd
}

// uidlSource is where unique ids come from, and for whom.
type uidlSource struct {
	account *directory.Account
	box     *store.Account
	host    string
	stdin   bool
}

// takeUIDLs takes the ids of a host's maildrop over and says how it went.
func (a *app) takeUIDLs(ctx context.Context, n *node, s uidlSource) error {
	far, err := n.openProxy()
	if err != nil {
		return err
	}
	there := *s.account
	there.Host = s.host
	req := proxy.Request{Protocol: "pop3", Account: &there, Login: string(s.account.Address)}
	if far.Host(s.host).Master == "" {
		if req.Password, err = a.oldPassword(s.stdin); err != nil {
			return err
		}
	}
	session, err := far.Open(ctx, req)
	if err != nil {
		return err
	}
	defer session.Close()
	taken, err := uidl.Take(ctx, s.box, &maildrop{session: session})
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(taken)
	}
	fmt.Fprintf(a.stdout, "%d messages there, %d of them here with the same id now", taken.Messages, taken.Matched)
	if taken.Format != "" {
		fmt.Fprintf(a.stdout, ", by the rule %s", taken.Format)
	}
	fmt.Fprintln(a.stdout)
	for _, id := range taken.Missing {
		fmt.Fprintf(a.stdout, "not here: %s\n", id)
	}
	return nil
}

// oldPassword reads the user's password at another server.
func (a *app) oldPassword(stdin bool) (string, error) {
	if !stdin {
		return a.password("Password there: ")
	}
	line, err := bufio.NewReader(a.stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("reading the password: %w", err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// maildrop is a session by proxy as package uidl wants it.
type maildrop struct {
	session *proxy.Session
	numbers []int
}

// List returns the unique ids.
func (m *maildrop) List(ctx context.Context) ([]string, error) {
	list, err := m.session.Maildrop(ctx)
	var ids []string
	for _, msg := range list {
		ids = append(ids, msg.UIDL)
		m.numbers = append(m.numbers, msg.Number)
	}
	return ids, err
}

// Header returns the header of the n-th message.
func (m *maildrop) Header(ctx context.Context, n int) ([]byte, error) {
	return m.session.Header(ctx, m.numbers[n-1])
}
