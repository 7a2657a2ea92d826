package main

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/spf13/cobra"

	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/imapclient"
	"expost/internal/migrate/source/files"
	"expost/internal/migrate/target/imap"
	"expost/internal/migrate/target/maildir"
	targetstore "expost/internal/migrate/target/store"
)

func (m *migration) cutoverCommand() *cobra.Command {
	noPassword := false
	cmd := &cobra.Command{
		Use:   "cutover",
		Short: "Move accounts for good: last changes, comparison, flip of the mailHost",
		Long: `Move accounts whose mailHost is the old server, each on its own:

  1. a pass while its user works;
  2. the account is frozen: its sessions through this server end, new logins and
     deliveries wait;
  3. a last pass brings over what has changed since, and folders and counts of
     both sides are compared;
  4. its mailHost is flipped to this server, and everybody is let in.

Clients connect again and find the same UIDVALIDITY, UIDs and flags, and those of
POP3 the same unique ids, where the old server's [[host]] names its POP3 service
and lets the login of the plan in there. Steps 2 to 4 take a second or two where
the last pass was not long ago. Whatever goes wrong leaves the account on the old
server, as it was; the same command tries again.
An account whose password this server has not learned is not moved: its user
could not log in.

Behind the cutover "migrate run" still brings over what arrives at the old
server, and no longer touches what users do here.`,
		Example: `  expost migrate cutover -f migration.toml --batch sales
  expost migrate cutover -f migration.toml --user ajay@example.org`,
		Args:        cobra.NoArgs,
		Annotations: needsNodeMark(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := m.node(cmd.Context())
			if err != nil {
				return err
			}
			plan, err := migrate.LoadPlan(m.path(m.planFile))
			if err != nil {
				return err
			}
			site := n.site()
			if site.IDs, err = n.takeIDs(plan); err != nil {
				return err
			}
			var moves []migrate.Move
			err = m.withEngine(cmd.Context(), migrate.Options{Workers: m.workers}, func(e *migrate.Engine, users []migrate.User) (err error) {
				if !noPassword {
					site.Ready = n.hasPassword
				}
				moves, err = e.Cutover(cmd.Context(), users, site)
				return err
			})
			if err != nil {
				return err
			}
			return m.printMoves(moves, "were not moved: they are where they were; run the same command again")
		},
	}
	cmd.Flags().IntVar(&m.workers, "workers", 0, "accounts at once (default: the plan's run.workers, else 8)")
	cmd.Flags().BoolVar(&noPassword, "without-password", false, "also move accounts whose password this server does not know")
	return cmd
}

// hasPassword returns an error for an account whose user could not log in here.
func (n *node) hasPassword(ctx context.Context, addr mail.Address) error {
	if len(n.Config.Login.Rules) > 0 || n.Config.Directory.Kind == "ldap" { // it is checked elsewhere
		return nil
	}
	acct, err := n.Directory.Resolve(ctx, addr)
	if err != nil {
		return err
	}
	known := false
	req := &ldap.SearchRequest{Base: acct.DN, Scope: ldap.ScopeBase, Filter: &ldap.Filter{Op: ldap.FilterPresent, Attr: "userPassword"}, Attributes: []string{"userPassword"}}
	err = n.Directory.Search(ctx, directory.Local(), req, func(*ldap.Entry) error { known = true; return nil })
	if err != nil || known {
		return err
	}
	return mail.Errorf(mail.KindInvalid, "this server does not know the password of %s: let it be learned (learn = true of its [[host]]; the user logs in once), "+
		"set one (expost account passwd %s), or say --without-password", addr, addr)
}

func (m *migration) rollbackCommand() *cobra.Command {
	carry, removals := false, ""
	cmd := &cobra.Command{
		Use:   "rollback",
		Short: "Give accounts back to the old server",
		Long: `Flip the mailHost of accounts back to the old server, which still has all that
it had at the cutover. With --carry, the mailbox there is first made what users
have made of the one here since (the login of the plan's source must be one that
may write): new mail is appended, flags are set, messages are moved, folders are
made, renamed and removed, and what was deleted here is deleted there, but never
half of a folder at once (--removals). Mail that came to the old server itself
stays. An account of which something cannot be carried stays here, and the line
says what. Without --carry, new mail stays here and is counted.

The accounts can be run and cut over again later: nothing is doubled.`,
		Example: `  expost migrate rollback -f migration.toml --user ajay@example.org --carry`,
		Args:    cobra.NoArgs, Annotations: needsNodeMark(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := m.node(cmd.Context())
			if err != nil {
				return err
			}
			plan, err := migrate.LoadPlan(m.path(m.planFile))
			if err != nil {
				return err
			}
			var back migrate.Target
			if carry {
				if back, err = backTarget(plan, n); err != nil {
					return err
				}
			}
			opt := migrate.Options{Workers: m.workers}
			if opt.Removals, err = parseRemovals(removals); err != nil {
				return err
			}
			var moves []migrate.Move
			err = m.withEngine(cmd.Context(), opt, func(e *migrate.Engine, users []migrate.User) (err error) {
				moves, err = e.Rollback(cmd.Context(), users, n.site(), back)
				return err
			})
			if err != nil {
				return err
			}
			return m.printMoves(moves, "were not rolled back: run the same command again")
		},
	}
	cmd.Flags().BoolVar(&carry, "carry", false, "make the old server's mailbox what the one here is now")
	cmd.Flags().StringVar(&removals, "removals", "guarded", "what was deleted here: guarded (deleted there too, but never half of a folder at once), all, none")
	cmd.Flags().IntVar(&m.workers, "workers", 0, "accounts at once")
	return cmd
}

// printMoves prints what a cutover or a rollback did.
func (m *migration) printMoves(moves []migrate.Move, failing string) error {
	failed := 0
	for _, mv := range moves {
		if !mv.Done {
			failed++
		}
		if !m.json {
			fmt.Fprintln(m.stdout, mv)
		}
	}
	if m.json {
		if err := m.printJSON(moves); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d accounts %s", failed, len(moves), failing)
	}
	return nil
}

// site is this node as cutovers see it.
func (n *node) site() migrate.Site {
	resolve := func(ctx context.Context, addr mail.Address) (*directory.Account, error) {
		acct, err := n.Directory.Resolve(ctx, addr)
		if mail.KindOf(err) == mail.KindNotExist {
			return nil, mail.Errorf(mail.KindNotExist, "there is no account %s here (make it with: expost account add %s --mail-host HOST)", addr, addr)
		}
		return acct, err
	}
	return migrate.Site{
		Place: func(ctx context.Context, addr mail.Address) (mail.AccountID, string, error) {
			acct, err := resolve(ctx, addr)
			if err != nil {
				return "", "", err
			}
			host := acct.Host
			if host != "" && n.isSelf(host, netip.Addr{}) {
				host = ""
			}
			return acct.ID, host, nil
		},
		Freeze: n.Gate.Freeze,
		SetHost: func(ctx context.Context, addr mail.Address, host string) error {
			acct, err := resolve(ctx, addr)
			if err != nil {
				return err
			}
			return directory.ChangeAccount(ctx, n.Directory, acct.DN, directory.AccountChange{Host: &host})
		},
	}
}

// openTarget makes the target of a plan.
func openTarget(plan migrate.Plan, n *node) (migrate.Target, error) {
	switch plan.Target.Kind {
	case "imap":
		cfg, err := imapTarget(plan, plan.Target.Server(), "target", n)
		if err != nil {
			return nil, err
		}
		return imap.New(cfg), nil
	case "maildir":
		return maildir.New(maildir.Config{Path: plan.Target.Path, Owner: plan.Target.Owner, UTF8: plan.Target.Names == "utf-8", Log: n.Log})
	}
	return storeTarget(n), nil
}

// storeTarget is this node's own store.
func storeTarget(n *node) migrate.Target { return targetstore.New(n.Store, accountOf(n), 0) }

// imapTarget returns how to write to a server.
func imapTarget(plan migrate.Plan, s migrate.SourcePlan, key string, n *node) (imap.Config, error) {
	address, security, err := imapAddress(s)
	if err != nil {
		return imap.Config{}, err
	}
	trust, err := trustOf(plan.File, key, s)
	if err != nil {
		return imap.Config{}, err
	}
	return imap.Config{
		Address: address, Login: s.Login, Authzid: s.Authzid, Password: s.Password,
		Client: imapclient.Options{Security: security, TLSConfig: trust}, Dir: n.Config.Data, Log: n.Log,
	}, nil
}

// backTarget is a plan's source as a target.
func backTarget(plan migrate.Plan, n *node) (migrate.Target, error) {
	if plan.Source.Kind != "imap" {
		return nil, mail.Errorf(mail.KindInvalid, "mail can be carried back to a source of kind imap, not %q", plan.Source.Kind)
	}
	cfg, err := imapTarget(plan, plan.Source, "source", n)
	cfg.Name = func(u migrate.User) string { return u.Source }
	return imap.New(cfg), err
}

// filesSource is a plan's source of kind files.
func filesSource(plan migrate.Plan, n *node) migrate.Source {
	return files.New(plan.Source.Folder, n.Log)
}
