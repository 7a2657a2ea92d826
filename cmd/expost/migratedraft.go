package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/proxy"
)

func (m *migration) draftCommand() *cobra.Command {
	users := "users.csv"
	cmd := &cobra.Command{
		Use:   "draft HOST",
		Short: "Write a plan for all accounts whose mailHost is HOST, to be edited",
		Long: `Write the plan (-f) and the file of its accounts (--users-out), both of which
must not be there: every account of the directory whose mailHost is HOST, with its
department as its batch. How HOST is reached is taken from the [[host]] of that name
in the configuration. Read both, and put in what the comments ask for.`,
		Example:     `  expost migrate draft exchange.example.org -f migration.toml`,
		Args:        cobra.ExactArgs(1),
		Annotations: needsNodeMark(),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := m.node(cmd.Context())
			if err != nil {
				return err
			}
			accounts, err := n.accountsAt(cmd.Context(), func(host string) bool { return strings.EqualFold(host, args[0]) })
			if err != nil {
				return err
			}
			if len(accounts) == 0 {
				return mail.Errorf(mail.KindNotExist, "no account has the mailHost %s (expost account list shows them; expost account set ADDR --mail-host HOST sets it)", args[0])
			}
			if err := m.createFile(users, func(w io.Writer) error { return n.writeDraftUsers(cmd.Context(), w, accounts) }); err != nil {
				return err
			}
			if err := m.createFile(m.planFile, func(w io.Writer) error { return n.writeDraft(w, args[0], users) }); err != nil {
				return errors.Join(err, os.Remove(m.path(users))) // both or none
			}
			fmt.Fprintf(m.stdout, "%s (accounts: %d) and %s are written: edit them, then: expost migrate preflight -f %s\n", users, len(accounts), m.planFile, m.planFile)
			return nil
		},
	}
	cmd.Flags().StringVar(&users, "users-out", users, "write the accounts to this `file`")
	return cmd
}

// accountsAt returns the accounts whose mailHost is one of those, in the order of
// the directory.
func (n *node) accountsAt(ctx context.Context, is func(host string) bool) ([]*directory.Account, error) {
	var out []*directory.Account
	for acct, err := range n.Directory.Accounts(ctx) {
		if err != nil {
			return nil, fmt.Errorf("listing the accounts: %w", err)
		}
		if acct.Host != "" && is(acct.Host) {
			out = append(out, acct)
		}
	}
	return out, nil
}

// createFile writes a file that must not be there, which others may not read.
func (m *migration) createFile(name string, write func(io.Writer) error) (err error) {
	f, err := os.OpenFile(m.path(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("writing a draft: %w", err)
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	return write(f)
}

// writeDraftUsers writes accounts as a file for users-file.
func (n *node) writeDraftUsers(ctx context.Context, w io.Writer, accounts []*directory.Account) error {
	out := csv.NewWriter(w)
	out.Write([]string{"source", "target", "password", "batch"}) // an error stays until Flush
	for _, acct := range accounts {
		batch, err := n.department(ctx, acct)
		if err != nil {
			return err
		}
		out.Write([]string{string(acct.Address), string(acct.Address), "", batch})
	}
	out.Flush()
	return out.Error()
}

// department returns what the directory says of an account's department:
// departmentNumber, else ou, else "".
func (n *node) department(ctx context.Context, acct *directory.Account) (out string, err error) {
	req := &ldap.SearchRequest{Base: acct.DN, Scope: ldap.ScopeBase, Filter: &ldap.Filter{Op: ldap.FilterPresent, Attr: "objectClass"}, Attributes: []string{"departmentNumber", "ou"}}
	err = n.Directory.Search(ctx, directory.Local(), req, func(e *ldap.Entry) error {
		if out = e.Value("departmentNumber"); out == "" {
			out = e.Value("ou")
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("looking up the department of %s: %w", acct.Address, err)
	}
	return out, nil
}

// writeDraft writes a plan with comments that say what is to be put in.
func (n *node) writeDraft(w io.Writer, host, users string) error {
	address, tls := host+":993", ""
	for _, h := range n.Config.Hosts {
		if u, err := url.Parse(h.IMAP); strings.EqualFold(h.Name, host) && err == nil && u.Host != "" {
			address = u.Host
			switch {
			case u.Scheme == "imap" && h.TLS == proxy.ClearText:
				tls = "tls = \"none\"\n"
			case u.Scheme == "imap":
				tls = "tls = \"starttls\"\n"
			}
			if h.CA != "" {
				tls += fmt.Sprintf("tls-ca = %q\n", h.CA)
			}
		}
	}
	_, err := fmt.Fprintf(w, `# A plan for the accounts whose mailHost is %[1]s.
users-file = %[2]q              # source,target,password,batch: take out whom you do not want to move

[source]
kind = "imap"
address = %[3]q
%[4]s
# One login for all mailboxes. Exchange: one with FullAccess, whose spelling
# preflight finds; put it in place of "login" then.
admin = 'EXAMPLE\migration'
password-file = "migration.password"
# Dovecot: login = "{address}*master". Cyrus: login = "migration", authzid = "{address}".
# Or no login of its own: passwords in the users file.

[run]
# workers = 8                        # accounts at once; fewer while the server is at its limits
# bandwidth = "10M"                  # bytes a second
# window = "19:00-07:00"             # passes wait by day
`, host, users, address, tls)
	return err
}

// forgotten returns the accounts whose mailHost is one of those that the plan
// moves accounts from, and that it does not name.
func (m *migration) forgotten(ctx context.Context, plan migrate.Plan) ([]mail.Address, error) {
	n, err := m.node(ctx)
	if err != nil {
		return nil, err
	}
	if plan.Target.Kind != "store" {
		return nil, nil
	}
	named, hosts := map[mail.AccountID]bool{}, map[string]bool{}
	for _, u := range plan.Accounts() {
		acct, err := n.Directory.Resolve(ctx, u.Target)
		if mail.KindOf(err) == mail.KindNotExist {
			continue // Preview says so
		}
		if err != nil {
			return nil, err
		}
		named[acct.ID] = true
		if acct.Host != "" {
			hosts[strings.ToLower(acct.Host)] = true
		}
	}
	accounts, err := n.accountsAt(ctx, func(host string) bool { return hosts[strings.ToLower(host)] })
	var out []mail.Address
	for _, acct := range accounts {
		if !named[acct.ID] {
			out = append(out, acct.Address)
		}
	}
	return out, err
}
