// Package delivery takes a message from its SMTP envelope into mailboxes: what
// a recipient address stands for, where its mail goes, and how the message gets
// there without being lost.
//
// # What is promised
//
// When [Agent.Deliver] reports no error for a recipient, the message is on disk
// in every mailbox that the recipient stands for. The message is read, parsed
// and compressed once, however many recipients it has; for that reason the trace
// fields (Return-Path, Received) are the same for all of them, and there is no
// Delivered-To. Loops are noticed by the number of Received fields.
//
// # What leaves this host
//
// Mail for other domains from those who are logged in, and mail that is forwarded
// there, goes to [Remote]; forwarded mail under a sender of ours (package srs), so
// that the next host's SPF check finds one that may send. Mail for accounts whose
// mailHost is another host is handed to that host while the sender waits
// ([Hosts]): what it refuses the sender hears at once, what it does not take now
// goes to Remote. Nobody else's mail for other domains is accepted.
//
// # Lists
//
// Members of a list get the message in a form of its own: with the list's header
// fields, and its return path where it has one. It is made once for each list.
// A member that can never have it, or whose mailbox is full, is reported on and does not
// keep it from the others; for a mailbox that does not work now it waits in the queue.
// What a moderator must decide on is on disk (package moderation) when the sender is
// answered.
//
// # When some recipients fail after DATA
//
// SMTP has one reply for all recipients (LMTP has one for each, and none of
// this concerns it). What leaves this host is in the queue when it is answered, as
// one more mailbox. The choice is which way to be wrong, and it is never the way
// that loses mail:
//
//   - every recipient has the message: 250;
//   - every recipient failed for good: 5xx, the sender's host returns it;
//   - some have it, and the others failed for good: 250, and a report to the
//     sender about the others, where one can be sent;
//   - anything else: 451. The sender's host tries again with all recipients. At
//     that second RCPT those that fail for good (full, disabled, gone) are told so
//     one by one, which the reply to DATA cannot do.
//
// The recipients that have the message already would get it a second time by
// that; so the Agent remembers, in memory, which mailboxes a partly delivered
// message reached (by sender and a hash of the bytes as they were received) and
// leaves them out when the same message comes again. A restart in between, or
// more than maxUnfinished such messages, costs duplicates, not mail.
package delivery

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"sync"

	"expost/internal/directory"
	"expost/internal/dkimkey"
	"expost/internal/gate"
	"expost/internal/mail"
	"expost/internal/mailauth"
	"expost/internal/maillog"
	"expost/internal/moderation"
	"expost/internal/queue"
	"expost/internal/srs"
	"expost/internal/store"
	"expost/internal/vacation"
)

// Config says which mail is ours and how addresses are read.
type Config struct {
	Hostname    string            // the name in Received and Message-ID
	Domains     []string          // domains whose mail is ours
	Aliases     map[string]string // domains that stand for another one of ours
	Hosts       []string          // further names of this node that a mailHost may have; Hostname is one already
	Addresses   []netip.Addr      // user@[literal] is ours for these and for the address the client connected to
	Separator   string            // between name and detail of a sub-address, "+"; empty: no sub-addresses
	CatchAll    string            // local part of catch-all addresses, "catchall"; empty: no catch-all
	Postmaster  mail.Address      // the account that gets the mail for postmaster where no entry has that address
	Concurrency int               // mailboxes one message is written to at once; 0: 64, since they wait for the disk and share its syncs
	MaxReceived int               // Received fields a message may have; 0: 50
	Remote      Remote            // takes mail that must leave this host; nil: none does
	Gate        *gate.Gate        // holds deliveries to accounts that are being moved; nil: none are
	MailHosts   *Hosts            // takes mail for mailboxes on other hosts at once; nil: it goes through Remote
	MailLog     *maillog.Log      // what became of members of lists and at other hosts; nil: nobody wants to know
	Scratch     string            // folder of messages under examination; empty: the system's

	Resolver   mailauth.Resolver  // asks DNS about hosts of mailboxes that hand us mail; nil: they are hosts like others
	Verifier   *mailauth.Verifier // checks the senders of other hosts; nil: nobody does
	DMARC      DMARCPolicy
	SPF        SPFPolicy
	Trusted    []netip.Prefix    // networks whose senders are not checked
	Keys       *dkimkey.Ring     // signs what leaves this host; nil: nobody does
	Moderation *moderation.Store // messages that wait for a decision; nil: none does
	Vacation   *vacation.Log     // whom mailboxes have answered; nil: they answer nobody

	SRS *srs.Rewriter // makes senders of forwarded mail; nil: they stay as they are
}

// Remote takes mail that must leave this host. *queue.Queue is one.
type Remote interface {
	// Enqueue takes a message over; it is on disk when it returns nil.
	Enqueue(ctx context.Context, env queue.Envelope, body io.Reader) (queue.ID, error)
}

// Agent delivers. It is safe for concurrent use.
type Agent struct {
	cfg        Config
	domains    map[string]bool   // by mail.DomainKey
	aliases    map[string]string // by mail.DomainKey
	hosts      map[string]bool   // lower case
	directory  directory.Directory
	store      *store.Store
	log        *slog.Logger
	unfinished *unfinished
	headers    sync.Pool // of *header
}

// New returns an Agent over the directory and the store.
func New(cfg Config, dir directory.Directory, st *store.Store, log *slog.Logger) *Agent {
	if cfg.Concurrency == 0 {
		cfg.Concurrency = 64
	}
	if cfg.MaxReceived == 0 {
		cfg.MaxReceived = 50
	}
	a := &Agent{
		cfg: cfg, directory: dir, store: st, log: log,
		domains: map[string]bool{}, aliases: map[string]string{}, hosts: map[string]bool{"": true}, unfinished: newUnfinished(),
	}
	a.headers.New = func() any { return newHeader() }
	for _, d := range cfg.Domains {
		a.domains[mail.DomainKey(d)] = true
	}
	for d, to := range cfg.Aliases {
		a.domains[mail.DomainKey(d)] = true
		a.aliases[mail.DomainKey(d)] = to
	}
	for _, h := range append(cfg.Hosts, cfg.Hostname) {
		a.hosts[strings.ToLower(strings.TrimSuffix(h, "."))] = true
	}
	return a
}
