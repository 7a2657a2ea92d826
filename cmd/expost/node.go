package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"expost/internal/config"
	"expost/internal/control"
	"expost/internal/delivery"
	"expost/internal/directory"
	"expost/internal/dkimkey"
	"expost/internal/gate"
	"expost/internal/httpserver"
	"expost/internal/imapserver"
	"expost/internal/ldapserver"
	"expost/internal/listener"
	"expost/internal/mail"
	"expost/internal/maillog"
	"expost/internal/metrics"
	"expost/internal/migrate"
	"expost/internal/milter"
	"expost/internal/moderation"
	"expost/internal/pop3server"
	"expost/internal/queue"
	"expost/internal/resolver"
	"expost/internal/route"
	"expost/internal/smtpserver"
	"expost/internal/store"
	"expost/internal/store/sqlite"
	"expost/internal/trace"
	"expost/internal/vacation"
)

// node is an open data folder: the store, the directory and the queue.
type node struct {
	Config     config.Config
	Store      *store.Store
	Directory  directory.Directory
	Queue      *queue.Queue
	Delivery   *delivery.Agent
	MailLog    *maillog.Log // nil: off
	Metrics    *metrics.Metrics
	Resolver   *resolver.Resolver
	DKIM       *dkimkey.Ring
	Moderation *moderation.Store
	vacation   *vacation.Log
	carrier    *queue.Remote   // to other hosts
	hosts      *delivery.Hosts // of mailboxes elsewhere
	Trace      *trace.Tracer   // who watches which account
	Gate       *gate.Gate      // who is in which account; moves freeze them
	Turns      *migrate.Turns  // of migrations at their sources
	Log        *slog.Logger
}

// openNode opens the data folder, making it at the first start.
func openNode(ctx context.Context, c config.Config, log *slog.Logger) (*node, error) {
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return nil, fmt.Errorf("making the data folder: %w", err)
	}
	engine, err := sqlite.New(c.Data, sqlite.Options{IdleConns: c.Store.OpenAccounts, Log: log})
	if err != nil {
		return nil, err
	}
	st := store.New(engine, store.Options{IdleAccounts: c.Store.OpenAccounts, Log: log})
	dir, err := openDirectory(ctx, c, log)
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	n := &node{
		Config: c, Store: st, Directory: dir, Gate: gate.New(0), Turns: migrate.NewTurns(), Trace: trace.New(nil), Log: log,
		Resolver: resolver.New(resolver.Options{Server: c.DNS.Server}), DKIM: dkimkey.Open(filepath.Join(c.Data, "dkim")),
	}
	n.Metrics = metrics.New(metrics.Config{
		Version: versionText(), Log: log,
		Queue: func(ctx context.Context) (map[string]int64, error) { return n.Queue.Counts(ctx) },
	})
	if err := n.openMailLog(); err != nil {
		return nil, errors.Join(err, st.Close(), dir.Close())
	}
	if err := n.openQueue(); err != nil {
		return nil, errors.Join(err, st.Close(), dir.Close())
	}
	return n, nil
}

// openQueue opens the queue, and makes the agent that feeds it and that
// delivers its reports.
func (n *node) openQueue() error {
	c := n.Config
	table, err := c.Queue.Table()
	if err != nil {
		return err
	}
	if table.Hosts, err = c.HostRelays(); err != nil {
		return err
	}
	n.carrier = &queue.Remote{
		Router:    &route.Router{Table: table, Resolver: n.Resolver, Self: n.isSelf, Port: c.Queue.Port},
		LocalName: c.Hostname, Sources: c.Queue.Sources(),
	}
	n.Queue, err = queue.Open(queue.Config{
		Dir: filepath.Join(c.Data, "queue"), Hostname: c.Hostname, Postmaster: mail.Address(c.SMTP.Postmaster), Routes: table, Log: n.Log, MailLog: n.MailLog,
		Carrier:  delivery.Local{Agent: func() *delivery.Agent { return n.Delivery }, Next: n.moved()},
		Inject:   func(ctx context.Context, to mail.Address, r io.Reader) error { return n.Delivery.Inject(ctx, to, r) },
		Lifetime: time.Duration(c.Queue.Lifetime), DelayNotice: time.Duration(c.Queue.DelayNotice),
		Sessions: c.Queue.Sessions, PerHop: c.Queue.SessionsPerHost,
	})
	if err != nil {
		return err
	}
	cfg, err := n.deliveryConfig()
	if err != nil {
		return errors.Join(err, n.Queue.Close())
	}
	n.Delivery = delivery.New(cfg, n.Directory, n.Store, n.Log)
	return nil
}

// filters returns the content filters of a service; nil: there are none.
func (n *node) filters(service string) *milter.Chain {
	list := n.Config.Filters(service)
	if len(list) == 0 {
		return nil
	}
	return milter.New(list, n.Config.Hostname, "Expost "+versionText(), n.Log)
}

// isSelf tells whether a mail host that DNS names is this one.
func (n *node) isSelf(host string, addr netip.Addr) bool {
	if host != "" {
		return strings.EqualFold(host, n.Config.Hostname)
	}
	own, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(own, func(a net.Addr) bool {
		p, err := netip.ParsePrefix(a.String())
		return err == nil && p.Addr().Unmap() == addr
	})
}

// Close closes the queue, the store and the directory.
func (n *node) Close() error {
	n.hosts.Close()
	return errors.Join(n.vacation.Close(), n.Queue.Close(), n.MailLog.Close(), n.Store.Close(), n.Directory.Close())
}

// handle carries out a command for a caller of the control socket.
func (n *node) handle(ctx context.Context, req control.Request, who control.Caller) int {
	a := &app{
		stdin: who.Stdin, stdout: who.Stdout, stderr: who.Stderr, password: who.Password,
		dir: req.Dir, terminal: req.Terminal, width: req.Width, live: n,
	}
	return a.run(ctx, req.Args)
}

// service is what answers on a listener.
type service struct {
	tls   *tls.Config // from the first byte; nil: none
	serve func(ctx context.Context, l net.Listener) error
}

// services returns what answers, by its name in the configuration.
func (n *node) services(tlsConfig *tls.Config) (map[string]service, error) {
	c := n.Config
	auth := listener.PlaintextAuth(c.TLS.PlaintextAuth)
	if err := askForCertificates(c, tlsConfig); err != nil {
		return nil, err
	}
	door, err := n.door(tlsConfig)
	if err != nil {
		return nil, err
	}
	policy, err := n.policy()
	if err != nil {
		return nil, err
	}
	smtp := func(mode smtpserver.Mode) *smtpserver.Server {
		return smtpserver.New(smtpserver.Config{
			Login: door,
			Mode:  mode, Hostname: c.Hostname, TLSConfig: tlsConfig, PlaintextAuth: auth,
			Directory: n.Directory, Delivery: n.Delivery, Filters: n.filters(mode.String()), Logger: n.Log, MailLog: n.MailLog,
			Policy: policy, Postmaster: mail.Address(c.SMTP.Postmaster),
			Limits: smtpserver.Limits{MessageSize: c.SMTP.MaxMessage, Connections: c.Limits.Connections, PerHost: c.Limits.ConnectionsPerHost},
		})
	}
	imap := imapserver.New(imapserver.Config{
		People: directory.People{Directory: n.Directory}, Gate: n.Gate, Personal: personalFlags(c.IMAP), Admins: adminsOf(c.IMAP), Contact: c.IMAP.Contact,
		Login: door,
		Store: n.Store, Directory: n.Directory, Hostname: c.Hostname, TLSConfig: tlsConfig, PlaintextAuth: auth, Version: versionText(), Logger: n.Log,
		Limits: imapserver.Limits{MessageSize: c.SMTP.MaxMessage, Connections: c.Limits.Connections, PerHost: c.Limits.ConnectionsPerHost, Messages: int64(c.Limits.MessagesPerCommand)},
	})
	pop3 := pop3server.New(pop3server.Config{
		Login: door,
		Store: n.Store, Directory: n.Directory, Hostname: c.Hostname, TLSConfig: tlsConfig, PlaintextAuth: auth, Logger: n.Log,
		Limits: pop3server.Limits{Connections: c.Limits.Connections, PerHost: c.Limits.ConnectionsPerHost},
	})
	ldap := ldapserver.New(ldapserver.Config{
		Login:     door,
		Directory: n.Directory, Schema: schemaOf(n.Directory), ChangesAt: c.Directory.Copy.Server, TLSConfig: tlsConfig, PlaintextAuth: ldapserver.PlaintextAuth(auth), AllowV2: c.Directory.AllowV2, Version: versionText(), Logger: n.Log,
		Limits: ldapserver.Limits{Connections: c.Limits.Connections, PerHost: c.Limits.ConnectionsPerHost},
	})
	submission, http := smtp(smtpserver.Submission), n.httpServer()
	return map[string]service{
		"smtp":       {nil, smtp(smtpserver.Receive).Serve},
		"lmtp":       {nil, smtp(smtpserver.LMTP).Serve},
		"submission": {nil, submission.Serve}, "submissions": {tlsConfig, submission.Serve},
		"imap": {nil, imap.Serve}, "imaps": {tlsConfig, imap.Serve},
		"pop3": {nil, pop3.Serve}, "pop3s": {tlsConfig, pop3.Serve},
		"ldap": {nil, ldap.Serve}, "ldaps": {tlsConfig, ldap.Serve},
		"metrics": {nil, n.Metrics.Serve},
		"http":    {nil, http.Serve}, "https": {httpserver.TLSConfig(tlsConfig), http.Serve},
	}, nil
}
