package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/text/encoding/charmap"

	"expost/internal/sample"
)

// sampleCommand writes the sample organisation.
func sampleCommand(a *app) *cobra.Command {
	opt := sample.Options{}
	cmd := &cobra.Command{
		Use:   "sample FOLDER",
		Short: "Write a sample organisation, as an Exchange export leaves it, to rehearse with",
		Long: `Write a sample organisation into a new folder, as an export from Exchange leaves
it: the address list as Outlook Express and as Netscape write it (with the
defects such files have), a mailbox for everyone as Maildir++, and the plan that
moves them. The same options give the same bytes.`,
		Example: `  expost sample exchange
  expost gal import exchange/addressbook.csv --base ou=addressbook,dc=linuxforu,dc=com --accounts
  expost migrate run -f exchange/migration.toml`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return writeSample(a, a.path(args[0]), sample.New(opt))
		},
	}
	f := cmd.Flags()
	f.IntVar(&opt.People, "people", 12, "how many `people`")
	f.IntVar(&opt.Messages, "messages", 200, "`messages` in each mailbox")
	f.Uint64Var(&opt.Seed, "seed", 0, "another `number`, another organisation")
	f.StringVar(&opt.Domain, "domain", "linuxforu.com", "their `domain`")
	return cmd
}

// writeSample writes everything into dir, which must not exist.
func writeSample(a *app, dir string, org *sample.Org) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("making the folder for the sample: %w", err)
	}
	for name, write := range map[string]func(io.Writer) error{
		"addressbook.csv":  func(w io.Writer) error { return org.WriteCSV(w, charmap.Windows1252) },
		"addressbook.ldif": org.WriteLDIF,
	} {
		if err := writeFile(filepath.Join(dir, name), write); err != nil {
			return err
		}
	}
	plan := &strings.Builder{}
	plan.WriteString("# Moves the sample's mailboxes.\n[source]\nkind = \"files\"\n\n[target]\nkind = \"store\"\n")
	messages := 0
	for i, p := range org.People {
		box := filepath.Join("mailboxes", p.Address.Local())
		if err := os.MkdirAll(filepath.Join(dir, "mailboxes"), 0o755); err != nil {
			return fmt.Errorf("making the folder for the mailboxes: %w", err)
		}
		if err := sample.WriteMaildir(filepath.Join(dir, box), org.Mailbox(i)); err != nil {
			return err
		}
		for _, f := range org.Mailbox(i).Folders {
			messages += f.Messages
		}
		fmt.Fprintf(plan, "\n[[user]]\npath = %q\ntarget = %q\n", filepath.ToSlash(box), p.Address)
	}
	if err := os.WriteFile(filepath.Join(dir, "migration.toml"), []byte(plan.String()), 0o644); err != nil {
		return fmt.Errorf("writing the plan: %w", err)
	}
	_, err := fmt.Fprintf(a.stdout, "%d people and %d messages in %s\n", len(org.People), messages, dir)
	return err
}

// writeFile writes a file by way of a function.
func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		f.Close()
		return fmt.Errorf("writing %q: %w", path, err)
	}
	return f.Close()
}
