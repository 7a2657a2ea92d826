package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"expost/internal/certificate"
	"expost/internal/config"
	"expost/internal/control"
	"expost/internal/metrics"
)

// serveCommand starts the server.
func serveCommand(a *app) *cobra.Command {
	var ready string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Start the server",
		Long: `Start the server: SMTP, IMAP, POP3, LDAP and HTTP on the addresses of the configuration,
until it is told to stop (SIGTERM or Ctrl-C), which lets running commands end.
SIGHUP reads the certificate again.

Without a configuration it listens on the standard ports (which needs root or
CAP_NET_BIND_SERVICE), keeps everything in ./expost-data, and makes itself a
certificate there. The password of the directory's manager is made at the
first start, in the file root-password of the data folder.

--ready-file names a file that is written once every listener is up, a line
each: the service's name and its address.`,
		Example: `  expost serve
  expost serve --config /etc/expost/expost.toml
  expost serve --data /var/lib/expost --ready-file /run/expost.ready`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.live != nil {
				return errors.New("the server runs already")
			}
			c, err := a.config()
			if err != nil {
				return err
			}
			if ready != "" {
				ready = a.path(ready)
			}
			return serve(cmd.Context(), a, c, ready)
		},
	}
	cmd.Flags().StringVar(&ready, "ready-file", "", "write this `file` once every listener is up")
	return cmd
}

// listening is an open listener and what answers on it.
type listening struct {
	name string
	net.Listener
	serve func(ctx context.Context, l net.Listener) error
}

// shutdownTime is how long messages on their way out may take after a stop.
const shutdownTime = 10 * time.Second

// serve runs the server until ctx ends.
func serve(ctx context.Context, a *app, c config.Config, ready string) (err error) {
	log := newLogger(a.stderr, c.Log)
	n, err := openNode(ctx, c, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	certs, err := certificates(c)
	if err != nil {
		return err
	}
	services, err := n.services(certs.Config())
	if err != nil {
		return err
	}
	listeners, err := listenAll(c, services, n.Metrics)
	if err != nil {
		return err
	}
	sock, err := control.Listen(socketPath(c))
	if err != nil {
		closeAll(listeners)
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, l := range listeners {
		group.Go(func() error {
			if err := l.serve(ctx, l.Listener); err != nil {
				return fmt.Errorf("serving %s: %w", l.name, err)
			}
			return nil
		})
	}
	group.Go(func() error { return n.Queue.Run(ctx, shutdownTime) })
	group.Go(func() error { return n.moderate(ctx) })
	group.Go(func() error { return n.copyDirectory(ctx) })
	group.Go(func() error { return control.Serve(ctx, sock, n.handle, log) })
	group.Go(func() error { reloadOnHangup(ctx, n, certs); return nil })
	log.Info("ready", "hostname", c.Hostname, "data", c.Data, "version", versionText())
	if ready != "" {
		if err := writeReady(ready, listeners); err != nil {
			return err
		}
		defer os.Remove(ready)
	}
	err = group.Wait()
	log.Info("stopped")
	return err
}

// certificates returns the configured pair, or the self-signed one of the data folder.
func certificates(c config.Config) (*certificate.Source, error) {
	if c.TLS.Cert != "" {
		return certificate.Load(c.TLS.Cert, c.TLS.Key)
	}
	hosts := []string{c.Hostname}
	for _, d := range c.Domains {
		hosts = append(hosts, "mail."+d)
	}
	return certificate.SelfSigned(filepath.Join(c.Data, "tls"), hosts, time.Now())
}

// listenAll opens every listener, or none.
func listenAll(c config.Config, services map[string]service, counted *metrics.Metrics) ([]listening, error) {
	var all []listening
	for _, s := range c.Listen.Services() {
		svc, ok := services[s.Name]
		if !ok {
			continue
		}
		for _, addr := range s.Addresses {
			l, err := net.Listen("tcp", addr)
			if err != nil {
				closeAll(all)
				return nil, fmt.Errorf("listening for %s: %w%s", s.Name, err, listenHint(err, s.Name))
			}
			l = counted.Listener(s.Name, l)
			if svc.tls != nil {
				l = tls.NewListener(l, svc.tls)
			}
			all = append(all, listening{s.Name, l, svc.serve})
		}
	}
	return all, nil
}

// listenHint says what to do about an address that cannot be had.
func listenHint(err error, name string) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Sprintf(" (another program listens there: stop it, or set listen.%s to another address)", name)
	case errors.Is(err, os.ErrPermission):
		return fmt.Sprintf(" (ports below 1024 need root or CAP_NET_BIND_SERVICE; or set listen.%s to another address)", name)
	}
	return ""
}

func closeAll(listeners []listening) {
	for _, l := range listeners {
		l.Close()
	}
}

// reloadOnHangup reads the certificate again at every SIGHUP.
func reloadOnHangup(ctx context.Context, n *node, certs *certificate.Source) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			if err := certs.Reload(); err != nil {
				n.Log.Error("the old certificate stays in use", "err", err)
			} else {
				n.Log.Info("certificate read again")
			}
		}
	}
}

// writeReady writes the ready file in one piece.
func writeReady(path string, listeners []listening) error {
	var b strings.Builder
	for _, l := range listeners {
		fmt.Fprintf(&b, "%s %s\n", l.name, l.Addr())
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("writing the ready file: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("writing the ready file: %w", err)
	}
	return nil
}
