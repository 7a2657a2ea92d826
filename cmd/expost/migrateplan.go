package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/imapclient"
	"expost/internal/migrate/source/imap"
	"expost/internal/preflight"
)

func (m *migration) planCommand() *cobra.Command {
	var batches, usersOut string
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Look at both sides and say what a run would do, and how long it may take",
		Long: `Log in to every account of the plan, list its folders, count its messages, look
what stands in the way at the target, fetch a sample, and say how long a first
pass may take, which messages of the sample cannot be read, and what the way
cannot carry. Nothing is copied, and no mailbox is made. What was found is
kept in the ledger.

--users-out writes the accounts as a file for users-file, with a batch for each,
to be edited: by department (departmentNumber, else ou, of the directory), or by
size, "size:20G".`,
		Example: `  expost migrate plan -f migration.toml
  expost migrate plan -f migration.toml --batches department --users-out users.csv`,
		Args:        cobra.NoArgs,
		Annotations: needsNodeMark(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var found planned
			err := m.withEngine(cmd.Context(), migrate.Options{}, func(e *migrate.Engine, users []migrate.User) (err error) {
				if found.Accounts, err = e.Preview(cmd.Context(), users); err != nil {
					return err
				}
				found.Estimate, err = e.Estimate(cmd.Context(), found.Accounts)
				return err
			})
			if err != nil {
				return err
			}
			if usersOut != "" {
				if err := m.writeUsers(cmd.Context(), found.Accounts, batches, m.path(usersOut)); err != nil {
					return err
				}
			}
			plan, err := migrate.LoadPlan(m.path(m.planFile))
			if err != nil {
				return err
			}
			found.Notes = migrate.RouteNotes(plan.Source.Kind)
			if found.Forgotten, err = m.forgotten(cmd.Context(), plan); err != nil {
				return err
			}
			return m.printPlanned(found)
		},
	}
	cmd.Flags().StringVar(&batches, "batches", "department", "how --users-out makes batches: department, or size:`BYTES`")
	cmd.Flags().StringVar(&usersOut, "users-out", "", "write the accounts with batches to this `file`")
	return cmd
}

// maxForgotten is how many accounts that are not in the plan are printed.
const maxForgotten = 20

// planned is what a plan found.
type planned struct {
	Accounts []migrate.Preview `json:"accounts"`
	Estimate migrate.Estimate  `json:"estimate"`
	Notes    []string          `json:"notes"` // what the way cannot carry
	// Forgotten are accounts that live at the same server, and are not in the plan.
	Forgotten []mail.Address `json:"not_in_plan,omitempty"`
}

// printPlanned prints what a plan found.
func (m *migration) printPlanned(p planned) error {
	failed := 0
	for _, a := range p.Accounts {
		if a.Problem != "" {
			failed++
		}
	}
	if m.json {
		if err := m.printJSON(p); err != nil {
			return err
		}
	} else {
		if err := migrate.WritePreviews(m.stdout, p.Accounts); err != nil {
			return err
		}
		fmt.Fprintln(m.stdout, p.Estimate)
		for _, u := range p.Estimate.Unreadable {
			fmt.Fprintln(m.stdout, "not readable, a run will set it aside:", u)
		}
		for i, addr := range p.Forgotten {
			if i == maxForgotten {
				fmt.Fprintf(m.stdout, "not in the plan: %d more (--json has all)\n", len(p.Forgotten)-i)
				break
			}
			fmt.Fprintf(m.stdout, "not in the plan, though its mailHost is that of others: %s\n", addr)
		}
		for _, n := range p.Notes {
			fmt.Fprintln(m.stdout, "note:", n)
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d accounts cannot be moved as the plan says", failed, len(p.Accounts))
	}
	return nil
}

// writeUsers writes a file for users-file.
func (m *migration) writeUsers(ctx context.Context, previews []migrate.Preview, by, path string) (err error) {
	var batch map[string]string
	switch size, isSize := strings.CutPrefix(by, "size:"); {
	case isSize:
		most, err := migrate.ParseRate(size)
		if err != nil || most == 0 {
			return usageError{fmt.Errorf("--batches size:BYTES wants a size like 20G, not %q", size)}
		}
		batch = migrate.BatchBySize(previews, most)
	case by == "department":
		if batch, err = m.departments(ctx, previews); err != nil {
			return err
		}
	default:
		return usageError{fmt.Errorf("--batches is department or size:BYTES, not %q", by)}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("writing the accounts: %w", err)
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	w := csv.NewWriter(f)
	w.Write([]string{"source", "target", "password", "batch"}) // an error stays until Flush
	for _, p := range previews {
		w.Write([]string{p.Source, p.Target, p.User.Password, batch[p.Source]})
	}
	w.Flush()
	return w.Error()
}

// departments returns the department of each account, by source.
func (m *migration) departments(ctx context.Context, previews []migrate.Preview) (map[string]string, error) {
	n, err := m.node(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, p := range previews {
		acct, err := n.Directory.Resolve(ctx, mail.Address(p.Target))
		if mail.KindOf(err) == mail.KindNotExist {
			continue
		}
		if err != nil {
			return nil, err
		}
		if out[p.Source], err = n.department(ctx, acct); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (m *migration) preflightCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "preflight",
		Short: "Try the way into the old server: certificate, login, every mailbox, its settings",
		Long: `Connect to the source of the plan, look at its certificate, find the spelling of
the login that it takes (source.admin: "DOMAIN\\admin" or "admin@example.org"),
open every mailbox, and look at a few messages for settings of Exchange that cost
fidelity. Each thing that is not in order says what to type on the Exchange side.
Nothing is written there.

Exit status: 0 where every mailbox opens, 1 otherwise.`,
		Args:        cobra.NoArgs,
		Annotations: needsNodeMark(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			plan, err := migrate.LoadPlan(m.path(m.planFile))
			if err != nil {
				return err
			}
			if plan.Source.Kind != "imap" {
				return mail.Errorf(mail.KindInvalid, "there is no server to try: source.kind is %q", plan.Source.Kind)
			}
			return m.preflight(cmd.Context(), plan)
		},
	}
}

// preflight tries the source of a plan.
func (m *migration) preflight(ctx context.Context, plan migrate.Plan) error {
	n, err := m.node(ctx)
	if err != nil {
		return err
	}
	address, security, err := imapAddress(plan.Source)
	if err != nil {
		return err
	}
	trust, err := trustOf(plan.File, "source", plan.Source)
	if err != nil {
		return err
	}
	users, err := m.chooseUsers(plan)
	if err != nil {
		return err
	}
	found := make(chan preflight.Finding)
	probe := imap.Probe{
		Config: imap.Config{
			Address: address, Login: plan.Source.Login, Authzid: plan.Source.Authzid, Password: plan.Source.Password,
			Client: imapclient.Options{Security: security, TLSConfig: trust}, Log: n.Log,
		},
		Admin: plan.Source.Admin, At: plan.Run.Workers,
		Users:  users,
		Report: func(f preflight.Finding) { found <- f },
	}
	var cfg imap.Config
	go func() {
		defer close(found)
		cfg, _ = probe.Run(ctx)
	}()
	var all []preflight.Finding
	for f := range found {
		all = append(all, f)
	}
	failed := m.printFindings(all)
	if cfg.Login != plan.Source.Login || cfg.Authzid != plan.Source.Authzid {
		fmt.Fprintf(m.stdout, "write into [source] of the plan:\n  login = '%s'\n", cfg.Login)
		if cfg.Authzid != "" {
			fmt.Fprintf(m.stdout, "  authzid = '%s'\n", cfg.Authzid)
		}
	}
	if failed != nil {
		return mail.Errorf(mail.KindPermission, "not every mailbox can be read: see above")
	}
	return ctx.Err()
}
