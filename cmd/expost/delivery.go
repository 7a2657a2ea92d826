package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"expost/internal/config"
	"expost/internal/delivery"
	"expost/internal/mail"
	"expost/internal/mailauth"
	"expost/internal/moderation"
	"expost/internal/srs"
	"expost/internal/vacation"
)

// deliveryConfig returns how mail is delivered.
func (n *node) deliveryConfig() (delivery.Config, error) {
	c := n.Config
	n.hosts = delivery.NewHosts(n.moved(), n.carrier.Router.Table)
	cfg := delivery.Config{
		Hostname: c.Hostname, Domains: c.Domains, Separator: c.SMTP.Separator, CatchAll: "catchall", Postmaster: mail.Address(c.SMTP.Postmaster),
		Aliases: c.SMTP.AliasDomains, Remote: n.Queue, Gate: n.Gate, MailHosts: n.hosts, MailLog: n.MailLog, Resolver: n.Resolver, Scratch: filepath.Join(c.Data, "scratch"),
		DMARC: delivery.DMARCPolicy(c.MailAuth.DMARC), SPF: delivery.SPFPolicy(c.MailAuth.SPF),
	}
	if err := os.MkdirAll(cfg.Scratch, 0o700); err != nil {
		return cfg, fmt.Errorf("making the folder of messages under examination: %w", err)
	}
	var err error
	if n.Moderation, err = moderation.Open(filepath.Join(c.Data, "moderation")); err != nil {
		return cfg, err
	}
	cfg.Moderation = n.Moderation
	if n.vacation, err = vacation.Open(filepath.Join(c.Data, "vacation")); err != nil {
		return cfg, err
	}
	cfg.Vacation = n.vacation
	if cfg.Trusted, err = config.Networks(c.MailAuth.Trusted); err != nil {
		return cfg, err
	}
	if c.MailAuth.Verify {
		cfg.Verifier = mailauth.New(c.Hostname, n.Resolver)
	}
	if c.MailAuth.Sign {
		cfg.Keys = n.DKIM
	}
	if c.MailAuth.SRS {
		key, err := secret(filepath.Join(c.Data, "srs-key"))
		if err != nil {
			return cfg, fmt.Errorf("making the key of rewritten senders: %w", err)
		}
		cfg.SRS = srs.New(c.Domains[0], key)
	}
	return cfg, nil
}

// moved is the way to other hosts for mail whose account may live here by then.
func (n *node) moved() *delivery.Moved {
	return &delivery.Moved{Carrier: n.carrier, Agent: func() *delivery.Agent { return n.Delivery }, Gate: n.Gate}
}

// secret returns what a file holds, which is made at the first start.
func secret(path string) ([]byte, error) {
	if _, err := os.Stat(path); os.IsNotExist(err) {
		err := writeSynced(path, 0o600, func(w io.Writer) error {
			_, err := io.WriteString(w, rand.Text()+rand.Text()+"\n")
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return os.ReadFile(path)
}

// moderate returns messages that wait too long for a decision, until ctx ends.
func (n *node) moderate(ctx context.Context) error {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if err := n.Delivery.Expire(ctx, time.Now()); err != nil && ctx.Err() == nil {
			n.Log.Error("returning messages that nobody decided on", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
