package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"expost/internal/directory"
	"expost/internal/mail"
)

// accountCommand is the parent of what is done with accounts.
func accountCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "account",
		Short: "Add, list and change accounts",
		Long: `An account is an entry of the directory with the class qmailUser, and a mailbox in
the store. Any LDAP tool shows and changes the same entries.`,
	}
	cmd.AddCommand(accountAddCommand(a), accountListCommand(a), accountShowCommand(a),
		accountPasswdCommand(a), accountUIDLCommand(a), accountSetCommand(a), accountReplyCommand(a), accountRemoveCommand(a), accountShareCommand(a))
	return cmd
}

// nodeCommand returns a command that works on the data folder.
func nodeCommand(a *app, c cobra.Command, run func(ctx context.Context, n *node, args []string) error) *cobra.Command {
	c.Annotations = map[string]string{needsNode: "yes"}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		n, err := a.node(cmd.Context())
		if err != nil {
			return err
		}
		return run(cmd.Context(), n, args)
	}
	return &c
}

// completeAccounts completes the addresses of accounts.
func completeAccounts(a *app) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		n, err := a.node(cmd.Context())
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var found []string
		for acct, err := range n.Directory.Accounts(cmd.Context()) {
			if err != nil {
				return nil, cobra.ShellCompDirectiveError
			}
			if strings.HasPrefix(string(acct.Address), typed) {
				found = append(found, string(acct.Address))
			}
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

// newPassword reads a password from standard input's first line, or asks for
// it twice.
func (a *app) newPassword(stdin bool) ([]byte, error) {
	if stdin {
		line, err := bufio.NewReader(a.stdin).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("reading the password: %w", err)
		}
		return checkedPassword(strings.TrimRight(line, "\r\n"))
	}
	first, err := a.password("New password: ")
	if err != nil {
		return nil, err
	}
	again, err := a.password("Again: ")
	if err != nil {
		return nil, err
	}
	if first != again {
		return nil, mail.Errorf(mail.KindInvalid, "the passwords differ")
	}
	return checkedPassword(first)
}

func checkedPassword(pw string) ([]byte, error) {
	if pw == "" {
		return nil, mail.Errorf(mail.KindInvalid, "the password is empty")
	}
	return []byte(pw), nil
}

// accountAddCommand makes accounts.
func accountAddCommand(a *app) *cobra.Command {
	var name, quota, host string
	var stdin, none, shared bool
	cmd := nodeCommand(a, cobra.Command{
		Use:   "add ADDR…",
		Short: "Make accounts",
		Long: `Make an account for each address: an entry in the directory and an empty mailbox.
A person of the address book that shows the address becomes the account;
otherwise an entry is made below ou=people. The password is asked for, or read
from standard input's first line; several accounts get the same one.`,
		Example: `  expost account add ajay@example.org --name "Ajay Kumar" --quota 2G
  pwgen 16 1 | expost account add ajay@example.org --password-stdin
  expost account add ajay@example.org --mail-host exchange.example.org --no-password
  expost account add info@example.org --shared`,
		Args: cobra.MinimumNArgs(1),
	}, func(ctx context.Context, n *node, args []string) error {
		size, err := parseSize(quota)
		if err != nil {
			return err
		}
		var pw []byte
		if !none && !shared {
			if pw, err = a.newPassword(stdin); err != nil {
				return err
			}
		}
		for _, arg := range args {
			addr, err := mail.ParseAddress(arg)
			if err != nil {
				return err
			}
			acct, err := addAccount(ctx, n, directory.NewAccount{Address: addr, Name: name, Password: pw, Host: host, Quota: mail.Quota{Bytes: size}, Shared: shared})
			if err != nil {
				return err
			}
			if !a.json {
				fmt.Fprintf(a.stdout, "%s added (%s)\n", acct.Address, acct.DN)
			} else if err := a.printJSON(accountInfo(acct)); err != nil {
				return err
			}
		}
		return nil
	})
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "the person's `name`")
	f.StringVar(&quota, "quota", "", "most the mailbox may hold: 500M, 2G; `size` 0 is no limit")
	f.StringVar(&host, "mail-host", "", "where the mailbox lives, if not here: a `host` name")
	f.BoolVar(&stdin, "password-stdin", false, "read the password from standard input")
	f.BoolVar(&none, "no-password", false, "no password: nobody can log in yet")
	f.BoolVar(&shared, "shared", false, "a shared mailbox: nobody logs in, others get rights (expost account share)")
	cmd.MarkFlagsMutuallyExclusive("password-stdin", "no-password")
	return cmd
}

// addAccount makes the entry and, where it lives here, the mailbox.
func addAccount(ctx context.Context, n *node, na directory.NewAccount) (*directory.Account, error) {
	acct, err := directory.AddAccount(ctx, n.Directory, na)
	if err != nil {
		return nil, fmt.Errorf("adding %s: %w", na.Address, err)
	}
	// Rights that somebody of the address had, whose entry went otherwise than by
	// account remove, are not the new one's.
	if err := forgetAccount(ctx, n, acct); err != nil {
		return nil, err
	}
	if acct.Host != "" && !strings.EqualFold(acct.Host, n.Config.Hostname) {
		return acct, nil
	}
	if err := n.Store.Create(ctx, acct.ID); err != nil {
		return nil, fmt.Errorf("making the mailbox of %s: %w", na.Address, err)
	}
	return acct, nil
}

// accountListCommand lists accounts.
func accountListCommand(a *app) *cobra.Command {
	return nodeCommand(a, cobra.Command{
		Use:   "list",
		Short: "List all accounts",
		Args:  cobra.NoArgs,
	}, func(ctx context.Context, n *node, _ []string) error {
		infos := []accountJSON{}
		w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
		for acct, err := range n.Directory.Accounts(ctx) {
			if err != nil {
				return err
			}
			info := accountInfo(acct)
			infos = append(infos, info)
			if !a.json {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", info.Address, info.Name, info.Status, info.Host)
			}
		}
		if a.json {
			return a.printJSON(infos)
		}
		return w.Flush()
	})
}

// accountJSON is an account as --json prints it.
type accountJSON struct {
	Address  mail.Address     `json:"address"`
	Name     string           `json:"name"`
	DN       string           `json:"dn"`
	Status   directory.Status `json:"status"`
	Host     string           `json:"mailHost,omitempty"`
	Store    mail.AccountID   `json:"mailMessageStore"`
	Aliases  []mail.Address   `json:"aliases,omitempty"`
	Forward  []mail.Address   `json:"forward,omitempty"`
	Quota    int64            `json:"quotaBytes,omitempty"`
	Used     *int64           `json:"usedBytes,omitempty"`
	Messages *int64           `json:"messages,omitempty"`
	Shared   bool             `json:"shared,omitempty"`
}

func accountInfo(acct *directory.Account) accountJSON {
	return accountJSON{Address: acct.Address, Name: acct.Name, DN: acct.DN.String(), Status: acct.Status, Host: acct.Host,
		Store: acct.ID, Aliases: acct.Aliases, Forward: acct.Forward, Quota: acct.Quota.Bytes, Shared: acct.Shared}
}

// accountShowCommand shows one account.
func accountShowCommand(a *app) *cobra.Command {
	return nodeCommand(a, cobra.Command{
		Use:               "show ADDR",
		Short:             "Show one account",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeAccounts(a),
	}, func(ctx context.Context, n *node, args []string) error {
		acct, err := lookUp(ctx, n, args[0])
		if err != nil {
			return err
		}
		info := accountInfo(acct)
		if sa, err := n.Store.Open(ctx, acct.ID); err == nil {
			usage, err := sa.Usage(ctx)
			sa.Release()
			if err != nil {
				return err
			}
			info.Used, info.Messages = &usage.Bytes, &usage.Messages
		} else if mail.KindOf(err) != mail.KindNotExist {
			return err
		}
		if a.json {
			return a.printJSON(info)
		}
		return printFields(a.stdout, info)
	})
}

// printFields prints a JSON object's fields, a line each.
func printFields(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(strings.NewReader(string(b)))
	if _, err := dec.Token(); err != nil {
		return err
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return err
		}
		var value any
		if err := dec.Decode(&value); err != nil {
			return err
		}
		if f, ok := value.(float64); ok {
			value = strconv.FormatFloat(f, 'f', -1, 64)
		}
		fmt.Fprintf(w, "%-17s %v\n", key, value)
	}
	return nil
}

// accountPasswdCommand sets a password.
func accountPasswdCommand(a *app) *cobra.Command {
	var stdin bool
	cmd := nodeCommand(a, cobra.Command{
		Use:               "passwd ADDR",
		Short:             "Set an account's password",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeAccounts(a),
	}, func(ctx context.Context, n *node, args []string) error {
		acct, err := lookUp(ctx, n, args[0])
		if err != nil {
			return err
		}
		pw, err := a.newPassword(stdin)
		if err != nil {
			return err
		}
		return directory.ChangeAccount(ctx, n.Directory, acct.DN, directory.AccountChange{Password: pw})
	})
	cmd.Flags().BoolVar(&stdin, "password-stdin", false, "read the password from standard input")
	return cmd
}

// accountSetCommand changes an account.
// accountSet are the flags of account set.
type accountSet struct {
	name, quota, host, status string
	aliases, forward          []string
	shared                    bool
	given                     func(flag string) bool
}

func accountSetCommand(a *app) *cobra.Command {
	set := &accountSet{}
	cmd := nodeCommand(a, cobra.Command{
		Use:   "set ADDR...",
		Short: "Change accounts",
		Long: `Change what is given and leave the rest. A list replaces the old one; an empty
value takes it away.`,
		Example: `  expost account set ajay@example.org --quota 5G --alias a.kumar@example.org,info@example.org
  expost account set ajay@example.org anup@example.org --mail-host exchange.example.org
  expost account set ajay@example.org --status disabled
  expost account set ajay@example.org --forward ""`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeAccounts(a),
	}, set.run)
	f := cmd.Flags()
	set.given = f.Changed
	f.BoolVar(&set.shared, "shared", false, "make it a shared mailbox, to which nobody logs in; false: a person's")
	f.StringVar(&set.name, "name", "", "the person's `name`")
	f.StringVar(&set.quota, "quota", "", "most the mailbox may hold: 500M, 2G; `size` 0 is no limit")
	f.StringVar(&set.host, "mail-host", "", "where the mailbox lives: a `host` name; empty: here")
	f.StringVar(&set.status, "status", "", "active, noaccess (mail yes, logins no), disabled or deleted")
	f.StringSliceVar(&set.aliases, "alias", nil, "further `addresses`")
	f.StringSliceVar(&set.forward, "forward", nil, "`addresses` that get a copy")
	return cmd
}

// run changes the accounts named.
func (set *accountSet) run(ctx context.Context, n *node, args []string) error {
	if len(args) > 1 && (set.given("name") || set.given("alias")) {
		return usageError{errors.New("--name and --alias are of one account")}
	}
	change, err := set.change()
	if err != nil {
		return err
	}
	for _, arg := range args {
		acct, err := lookUp(ctx, n, arg)
		if err != nil {
			return err
		}
		one := change
		if one.Quota != nil { // --quota is of bytes
			one.Quota = &mail.Quota{Bytes: change.Quota.Bytes, Messages: acct.Quota.Messages}
		}
		if set.given("shared") {
			if err := directory.SetShared(ctx, n.Directory, acct.DN, set.shared); err != nil {
				return err
			}
		}
		if err := directory.ChangeAccount(ctx, n.Directory, acct.DN, one); err != nil {
			return fmt.Errorf("changing %s: %w", arg, err)
		}
	}
	return nil
}

// change returns what the flags say.
func (set *accountSet) change() (c directory.AccountChange, err error) {
	if set.given("name") {
		c.Name = &set.name
	}
	if set.given("mail-host") {
		c.Host = &set.host
	}
	if set.given("status") {
		if c.Status, err = parseStatus(set.status); err != nil {
			return c, err
		}
	}
	if set.given("quota") {
		size, err := parseSize(set.quota)
		if err != nil {
			return c, err
		}
		c.Quota = &mail.Quota{Bytes: size}
	}
	if set.given("alias") {
		if c.Aliases, err = parseAddresses(set.aliases); err != nil {
			return c, err
		}
	}
	if set.given("forward") {
		c.Forward, err = parseAddresses(set.forward)
	}
	return c, err
}

func parseStatus(s string) (*directory.Status, error) {
	switch status := directory.Status(s); status {
	case directory.StatusActive, directory.StatusNoAccess, directory.StatusDisabled, directory.StatusDeleted:
		return &status, nil
	}
	return nil, usageError{fmt.Errorf("%q is none of active, noaccess, disabled, deleted", s)}
}

func parseAddresses(list []string) (*[]mail.Address, error) {
	addrs := []mail.Address{}
	for _, s := range list {
		if s == "" {
			continue
		}
		addr, err := mail.ParseAddress(s)
		if err != nil {
			return nil, err
		}
		addrs = append(addrs, addr)
	}
	return &addrs, nil
}

// accountRemoveCommand removes accounts.
func accountRemoveCommand(a *app) *cobra.Command {
	var yes, keep bool
	cmd := nodeCommand(a, cobra.Command{
		Use:   "remove ADDR",
		Short: "Remove an account with its mail",
		Long: `Remove an account: its entry and its mailbox with all mail, for ever. To keep the
mail, give --keep-mail, or only shut the account: expost account set ADDR --status disabled.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeAccounts(a),
	}, func(ctx context.Context, n *node, args []string) error {
		acct, err := lookUp(ctx, n, args[0])
		if err != nil {
			return err
		}
		if !yes {
			return usageError{fmt.Errorf("this removes %s with all mail; say --yes if that is meant", acct.Address)}
		}
		if err := forgetAccount(ctx, n, acct); err != nil {
			return err
		}
		if err := directory.RemoveAccount(ctx, n.Directory, acct.DN); err != nil {
			return err
		}
		if keep {
			return nil
		}
		if err := n.Store.Remove(ctx, acct.ID); err != nil && mail.KindOf(err) != mail.KindNotExist {
			return fmt.Errorf("removing the mailbox of %s: %w", acct.Address, err)
		}
		return nil
	})
	cmd.Flags().BoolVar(&yes, "yes", false, "yes, remove it")
	cmd.Flags().BoolVar(&keep, "keep-mail", false, "leave the mailbox in the store")
	return cmd
}

// parseSize reads "2G", "500M", "10k" or bytes. Empty is 0.
func parseSize(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	digits := strings.TrimRight(strings.TrimSuffix(strings.ToUpper(s), "B"), "KMGT")
	unit := strings.TrimSuffix(strings.ToUpper(s), "B")[len(digits):]
	shift, ok := map[string]uint{"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[unit]
	n, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || n < 0 || n > 1<<62>>shift {
		return 0, usageError{fmt.Errorf("%q is no size: write 500M or 2G", s)}
	}
	return n << shift, nil
}
