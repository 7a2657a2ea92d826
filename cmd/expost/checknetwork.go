package main

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"expost/internal/preflight"
)

// checkNetworkCommand looks at what stands outside of the server.
func checkNetworkCommand(a *app) *cobra.Command {
	var lists []string
	cmd := &cobra.Command{
		Use:   "network",
		Short: "Look at DNS, ports, certificates and blocklists before mail is pointed here",
		Long: `Look at what has to be in order outside of this server before the MX records are
switched to it: the addresses of the hostname and their reverse names, MX, SPF,
DKIM, DMARC, autodiscover and autoconfig of each domain, every port that the
configuration listens on, the certificate that is shown there, and whether
blocklists have the address. Each line that is not in order says what to do.

The ports are reached from this machine, by the public name; a firewall between
it and the world is seen only from outside.

Exit status: 0 where nothing is missing (warnings do not count), 1 otherwise.`,
		Example:     `  expost check network`,
		Args:        cobra.NoArgs,
		Annotations: needsNodeMark(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := a.node(cmd.Context())
			if err != nil {
				return err
			}
			cfg, err := n.preflight()
			if err != nil {
				return err
			}
			cfg.Lists = lists
			return a.printFindings(preflight.Check(cmd.Context(), cfg))
		},
	}
	cmd.Flags().StringSliceVar(&lists, "blocklist", []string{"zen.spamhaus.org", "bl.spamcop.net"}, "DNS blocklists to ask")
	return cmd
}

// preflight returns what a check of the network looks at.
func (n *node) preflight() (preflight.Config, error) {
	c := n.Config
	out := preflight.Config{Hostname: c.Hostname, Domains: c.Domains, Resolver: n.Resolver, Now: time.Now()}
	secure := map[string]bool{"submissions": true, "imaps": true, "pop3s": true, "ldaps": true, "https": true}
	for _, s := range c.Listen.Services() {
		for _, addr := range s.Addresses {
			host, text, err := net.SplitHostPort(addr)
			port, perr := strconv.Atoi(text)
			if ip := net.ParseIP(host); err != nil || perr != nil || port == 0 || s.Name == "metrics" || s.Name == "lmtp" || ip.IsLoopback() || host == "localhost" {
				continue
			}
			out.Ports = append(out.Ports, preflight.Port{Name: s.Name, Number: port, TLS: secure[s.Name]})
		}
	}
	out.Selectors = map[string][]string{}
	for _, d := range c.Domains {
		keys, err := n.DKIM.Keys(d)
		if err != nil {
			return out, err
		}
		for _, k := range keys {
			if k.Signs {
				out.Selectors[d] = append(out.Selectors[d], k.Selector)
			}
		}
	}
	return out, nil
}

// printFindings prints what a check of the network found.
func (a *app) printFindings(findings []preflight.Finding) error {
	missing := 0
	for _, f := range findings {
		if f.Level == preflight.Fail {
			missing++
		}
		if a.json {
			continue
		}
		fmt.Fprintf(a.stdout, "%-8s %s %s\n", f.Level, f.About, f.What)
		if f.Do != "" {
			fmt.Fprintf(a.stdout, "%9s-> %s\n", "", strings.ReplaceAll(f.Do, "\n", " "))
		}
	}
	if a.json {
		if err := a.printJSON(findings); err != nil {
			return err
		}
	}
	if missing > 0 {
		return fmt.Errorf("%d things are missing before mail can be pointed here", missing)
	}
	return nil
}
