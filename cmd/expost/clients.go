package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"expost/internal/httpserver"
	"expost/internal/mail"
)

// clientsCommand helps to tell mail programs and people where the mail is.
func clientsCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "clients",
		Short: "Instructions for users, and the DNS records by which mail programs find this server",
		Long: `Mail programs ask for their settings: Outlook (autodiscover), Thunderbird
(autoconfig) and Apple's devices (a profile) at the addresses of listen.https, all
of them in DNS. "clients dns" prints the records to publish, "clients
instructions" makes pages for users.`,
	}
	cmd.AddCommand(clientsDNSCommand(a), clientsInstructionsCommand(a))
	return cmd
}

func clientsDNSCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "dns",
		Short: "Print the DNS records that this server wants",
		Long: `Print the records of every domain as lines of a zone file: MX, SPF, DMARC,
autodiscover, autoconfig and the service records of RFC 6186 and RFC 8314. (DKIM
keys: expost dkim.) Nothing is changed anywhere.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := a.config()
			if err != nil {
				return err
			}
			for _, d := range c.Domains {
				for _, line := range httpserver.Records(d, httpConfig(c, "")) {
					fmt.Fprintln(a.stdout, line)
				}
			}
			return nil
		},
	}
}

func clientsInstructionsCommand(a *app) *cobra.Command {
	dir := ""
	cmd := &cobra.Command{
		Use:   "instructions [ADDR…]",
		Short: "Make the page that tells a user how to set up mail programs and phones",
		Long: `Write a page (HTML) for each address, for all accounts with --dir and no
address, or to standard output for one address or none.`,
		Example: `  expost clients instructions > setup.html
  expost clients instructions --dir /var/www/setup`,
		Annotations: needsNodeMark(),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := a.node(cmd.Context())
			if err != nil {
				return err
			}
			s := n.httpServer()
			if dir == "" {
				if len(args) > 1 {
					return usageError{fmt.Errorf("several pages need --dir")}
				}
				return s.WriteInstructions(a.stdout, strings.Join(args, ""))
			}
			if len(args) == 0 {
				for acct, err := range n.Directory.Accounts(cmd.Context()) {
					if err != nil {
						return err
					}
					args = append(args, string(acct.Address))
				}
			}
			for _, arg := range args {
				addr, err := mail.ParseAddress(arg)
				if err != nil {
					return usageError{err}
				}
				if err := writePage(s, filepath.Join(a.path(dir), strings.ReplaceAll(string(addr), "/", "_")+".html"), string(addr)); err != nil {
					return err
				}
			}
			fmt.Fprintf(a.stdout, "%d pages in %s\n", len(args), dir)
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "write a file for each address into this `folder`")
	return cmd
}

// writePage writes the page of one user.
func writePage(s *httpserver.Server, path, addr string) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("writing instructions: %w", err)
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	return s.WriteInstructions(f, addr)
}
