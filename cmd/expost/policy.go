package main

import (
	"fmt"
	"time"

	"expost/internal/config"
	"expost/internal/dnsbl"
	"expost/internal/ratelimit"
	"expost/internal/smtpserver"
)

// policy returns what the SMTP servers demand. They share its counts.
func (n *node) policy() (smtpserver.Policy, error) {
	p := n.Config.Policy
	limit := func(count int, per time.Duration) *ratelimit.Limiter {
		return ratelimit.New(ratelimit.Limit{Count: count, Per: per})
	}
	out := smtpserver.Policy{
		GreetDelay: time.Duration(p.GreetDelay), ReverseDNS: smtpserver.Demand(p.ReverseDNS), Helo: smtpserver.Demand(p.Helo),
		DNS: n.Resolver, Lists: dnsbl.Checker{Resolver: n.Resolver},
		HostConnections: limit(p.HostConnections, time.Minute), HostMessages: limit(p.HostMessages, time.Minute),
		RecipientMails: limit(p.RecipientMails, time.Hour),
		User:           limit(p.User, time.Hour), UserDay: limit(p.UserDay, 24*time.Hour),
		RelayHost: limit(p.RelayHost, time.Hour), Sender: limit(p.Sender, time.Hour), SenderDomain: limit(p.SenderDomain, time.Hour),
	}
	var err error
	if out.Relay, err = config.Networks(p.RelayNetworks); err != nil {
		return out, fmt.Errorf("reading policy.relay-networks: %w", err)
	}
	for _, l := range p.DNSList {
		list := dnsbl.List{Zone: l.Zone, Allow: l.Allow, Action: l.Action}
		if list.Codes, err = config.Networks(l.Codes); err != nil {
			return out, fmt.Errorf("reading the codes of %s: %w", l.Zone, err)
		}
		out.Lists.Lists = append(out.Lists.Lists, list)
	}
	return out, nil
}
