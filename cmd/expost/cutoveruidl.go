package main

import (
	"context"
	"fmt"
	"strings"

	"expost/internal/migrate"
	"expost/internal/migrate/source/imap"
	"expost/internal/proxy"
	"expost/internal/uidl"
)

// takeIDs returns what takes the ids of POP3 over at a cutover: those that the
// POP3 server of the account's [[host]] shows to the login of the plan.
func (n *node) takeIDs(plan migrate.Plan) (func(context.Context, migrate.User, string) (string, bool), error) {
	hosts, err := n.Config.ProxyHosts()
	if err != nil || plan.Target.Kind != "store" {
		return nil, err
	}
	return func(ctx context.Context, u migrate.User, host string) (string, bool) {
		h := hosts[strings.ToLower(host)]
		if h == nil || h.POP3 == "" {
			return "", false
		}
		taken, err := n.takeUserIDs(ctx, plan, *h, u)
		switch {
		case err != nil:
			return fmt.Sprintf("POP3 clients will fetch everything again: their ids were not taken over: %v (expost account uidl %s --from %s does it later)", err, u.Target, host), false
		case taken.Format != "":
			return fmt.Sprintf("the ids of %d messages for POP3 follow the rule %s", taken.Messages, taken.Format), false
		}
		return fmt.Sprintf("%d of %d messages keep their ids for POP3", taken.Matched, taken.Messages), taken.Messages > 0
	}, nil
}

// takeUserIDs takes the ids of one account over.
func (n *node) takeUserIDs(ctx context.Context, plan migrate.Plan, h proxy.Host, u migrate.User) (uidl.Taken, error) {
	account, err := n.Directory.Resolve(ctx, u.Target)
	if err != nil {
		return uidl.Taken{}, err
	}
	there := *account
	there.Host = h.Name // also when the account has been flipped
	req := proxy.Request{Protocol: "pop3", Account: &there, Login: u.Source, Password: u.Password}
	if req.Password == "" {
		req.Password = plan.Source.Password
	}
	if h.Master == "" && plan.Source.Kind == "imap" {
		login, authzid := imap.Config{Login: plan.Source.Login, Authzid: plan.Source.Authzid}.Names(u)
		h.Login, req.Login = "{login}", login
		if authzid != "" {
			h.Master, h.MasterPassword, req.Login = login, req.Password, authzid
		}
	}
	far := proxy.New(proxy.Config{Hostname: n.Config.Hostname, Hosts: map[string]*proxy.Host{h.Name: &h}, Log: n.Log})
	session, err := far.Open(ctx, req)
	if err != nil {
		return uidl.Taken{}, err
	}
	defer session.Close()
	box, err := n.Store.Open(ctx, account.ID)
	if err != nil {
		return uidl.Taken{}, err
	}
	defer box.Release()
	return uidl.Take(ctx, box, &maildrop{session: session})
}
