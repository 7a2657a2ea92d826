package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"expost/internal/dkimkey"
	"expost/internal/mail"
)

// dkimCommand is the parent of what is done with the keys that sign mail.
func dkimCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dkim",
		Short: "Make and rotate the keys that sign outgoing mail",
		Long: `A domain with DKIM keys has its outgoing mail signed: an RSA key, which every server
verifies, and an Ed25519 key for those that can. The public half of each key is a DNS
record; add, rotate and show print the records in the form of a zone file. Put them
into DNS at once: a new key signs two days after it was made, the first key of a
domain at once.`,
	}
	cmd.AddCommand(dkimListCommand(a), dkimShowCommand(a), dkimAddCommand(a), dkimRotateCommand(a))
	return cmd
}

// dkimKey is a key as JSON shows it.
type dkimKey struct {
	Domain    string `json:"domain"`
	Selector  string `json:"selector"`
	Algorithm string `json:"algorithm"`
	Signs     bool   `json:"signs"`
	Name      string `json:"name"`
	Record    string `json:"record"`
}

func dkimKeys(keys []dkimkey.Key) ([]dkimKey, error) {
	list := []dkimKey{}
	for _, k := range keys {
		record, err := k.Record()
		if err != nil {
			return nil, err
		}
		list = append(list, dkimKey{k.Domain, k.Selector, k.Algorithm(), k.Signs, k.Name(), record})
	}
	return list, nil
}

// printKeys prints the records of keys.
func (a *app) printKeys(keys []dkimkey.Key) error {
	list, err := dkimKeys(keys)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(list)
	}
	for _, k := range list {
		state := "signs now"
		if !k.Signs {
			state = "does not sign now"
		}
		fmt.Fprintf(a.stdout, "; %s %s\n%s\tIN\tTXT\t%s\n", k.Algorithm, state, k.Name, zoneText(k.Record))
	}
	return nil
}

// zoneText returns a text in the form of a zone file, whose strings have at
// most 255 bytes.
func zoneText(s string) string {
	var parts []string
	for len(s) > 255 {
		parts = append(parts, `"`+s[:255]+`"`)
		s = s[255:]
	}
	parts = append(parts, `"`+s+`"`)
	if len(parts) == 1 {
		return parts[0]
	}
	return "( " + strings.Join(parts, " ") + " )"
}

func dkimListCommand(a *app) *cobra.Command {
	return nodeCommand(a, cobra.Command{
		Use:   "list",
		Short: "List the keys of our domains",
		Args:  cobra.NoArgs,
	}, func(_ context.Context, n *node, _ []string) error {
		var all []dkimkey.Key
		for _, d := range n.Config.Domains {
			keys, err := n.DKIM.Keys(d)
			if err != nil {
				return err
			}
			all = append(all, keys...)
		}
		list, err := dkimKeys(all)
		if err != nil {
			return err
		}
		if a.json {
			return a.printJSON(list)
		}
		w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
		for _, k := range list {
			state := "-"
			if k.Signs {
				state = "signs"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", k.Domain, k.Selector, k.Algorithm, state)
		}
		return w.Flush()
	})
}

func dkimShowCommand(a *app) *cobra.Command {
	return nodeCommand(a, cobra.Command{
		Use:   "show DOMAIN",
		Short: "Print the DNS records of a domain's keys",
		Args:  cobra.ExactArgs(1),
	}, func(_ context.Context, n *node, args []string) error {
		keys, err := n.DKIM.Keys(args[0])
		if err != nil {
			return err
		}
		if len(keys) == 0 {
			return mail.Errorf(mail.KindNotExist, "%s has no DKIM keys: make some with \"expost dkim add %s\"", args[0], args[0])
		}
		return a.printKeys(keys)
	})
}

func dkimAddCommand(a *app) *cobra.Command {
	return nodeCommand(a, cobra.Command{
		Use:   "add DOMAIN",
		Short: "Make the first keys of a domain and print their DNS records",
		Args:  cobra.ExactArgs(1),
	}, func(_ context.Context, n *node, args []string) error {
		if err := n.isOurs(args[0]); err != nil {
			return err
		}
		keys, err := n.DKIM.Keys(args[0])
		if err != nil {
			return err
		}
		if len(keys) > 0 {
			return mail.Errorf(mail.KindExist, "%s has keys already: show them with \"expost dkim show %s\", replace them with \"expost dkim rotate %s\"", args[0], args[0], args[0])
		}
		if keys, err = n.DKIM.Rotate(args[0], false); err != nil {
			return err
		}
		return a.printKeys(keys)
	})
}

func dkimRotateCommand(a *app) *cobra.Command {
	var now bool
	cmd := nodeCommand(a, cobra.Command{
		Use:   "rotate DOMAIN",
		Short: "Make new keys for a domain and print the DNS records that must be published",
		Long: `Make a new generation of keys. They sign in two days, when their records are known
everywhere; until then the present ones sign, and stay. Older ones are forgotten: take
their records out of DNS a week later. With --now, for keys that became known to
others, the new ones sign at once and all others are forgotten.`,
		Args: cobra.ExactArgs(1),
	}, func(_ context.Context, n *node, args []string) error {
		if err := n.isOurs(args[0]); err != nil {
			return err
		}
		keys, err := n.DKIM.Rotate(args[0], now)
		if err != nil {
			return err
		}
		return a.printKeys(keys)
	})
	cmd.Flags().BoolVar(&now, "now", false, "sign with the new keys at once and forget all others")
	return cmd
}

// isOurs refuses a domain whose mail is not ours.
func (n *node) isOurs(domain string) error {
	for _, d := range n.Config.Domains {
		if d == mail.DomainKey(domain) {
			return nil
		}
	}
	return mail.Errorf(mail.KindNotExist, "%s is not among the domains of the configuration", domain)
}
