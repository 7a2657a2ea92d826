package delivery

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"expost/internal/directory"
	"expost/internal/mail"
	"expost/internal/mailauth"
)

// DMARCPolicy says what is done with mail that fails DMARC and whose domain
// asks for more than to be told.
type DMARCPolicy string

// The policies. The empty one enforces.
const (
	DMARCEnforce DMARCPolicy = "enforce" // what the domain asks for: refuse, or file as junk
	DMARCJunk    DMARCPolicy = "junk"    // file as junk in both cases
	DMARCNone    DMARCPolicy = "none"    // nothing but note it
)

// SPFPolicy says what is done with mail that fails SPF and that DMARC has no
// word on: the domain in From has no record.
type SPFPolicy string

// The policies. The empty one is SPFNone.
const (
	SPFReject SPFPolicy = "reject"
	SPFJunk   SPFPolicy = "junk"
	SPFNone   SPFPolicy = "none"
)

// checks tells whether the sender of a message is checked.
func (a *Agent) checks(ctx context.Context, env *Envelope) bool {
	return a.cfg.Verifier != nil && env.Foreign && !a.trusts(env.Client.Address) && !a.isMailHost(ctx, &env.Client)
}

// isMailHost tells whether a client is the host of some of our mailboxes
// (mailHost), which hands us what others sent to it: it says HELO with that
// host's name, and DNS gives that name its address.
func (a *Agent) isMailHost(ctx context.Context, c *Client) bool {
	if a.cfg.Resolver == nil || !strings.Contains(c.Helo, ".") || len(c.Helo) > 253 {
		return false
	}
	isHost, err := directory.IsMailHost(ctx, a.directory, c.Helo)
	if err != nil || !isHost {
		return false
	}
	addrs, err := a.cfg.Resolver.LookupIPAddr(ctx, c.Helo)
	return err == nil && slices.ContainsFunc(addrs, func(x net.IPAddr) bool {
		ip, ok := netip.AddrFromSlice(x.IP)
		return ok && ip.Unmap() == c.Address.Unmap().WithZone("")
	})
}

func (a *Agent) trusts(client netip.Addr) bool {
	client = client.Unmap().WithZone("")
	return slices.ContainsFunc(a.cfg.Trusted, func(p netip.Prefix) bool { return p.Contains(client) })
}

// checkSender finds out who sent a message and notes it in the envelope; an
// *Error refuses the message.
func (a *Agent) checkSender(ctx context.Context, env *Envelope, d *Draft) error {
	rep, err := a.cfg.Verifier.Verify(ctx, &mailauth.Message{
		Client: env.Client.Address, Helo: env.Client.Helo, Sender: env.From.Domain(), Local: env.From.Local(),
		Size: d.Size(), Text: d.Reader(),
	})
	if err != nil {
		return fmt.Errorf("checking the sender of message %s: %w", env.ID, err)
	}
	env.Results, env.Verdict = rep.Field(), rep.Summary()
	action := rep.DMARC.Action
	switch {
	case a.cfg.DMARC == DMARCNone:
		action = mailauth.Accept
	case a.cfg.DMARC == DMARCJunk && action == mailauth.Reject:
		action = mailauth.Quarantine
	}
	if action == mailauth.Reject {
		return refuse("5.7.26", mail.KindPermission, "the domain %s asks to refuse mail that neither SPF nor DKIM shows to be from it (DMARC)", rep.DMARC.Domain)
	}
	if rep.SPF.Result == mailauth.Fail && action == mailauth.Accept && rep.DMARC.Result != mailauth.Pass && rep.DMARC.Policy == "" {
		switch a.cfg.SPF {
		case SPFReject:
			return refuse("5.7.23", mail.KindPermission, "the domain %s does not allow %s to send for it (SPF)", rep.SPF.Domain, env.Client.Address)
		case SPFJunk:
			action = mailauth.Quarantine
		}
	}
	env.Junk = env.Junk || action == mailauth.Quarantine
	return nil
}
