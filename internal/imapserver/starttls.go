package imapserver

import (
	"context"
	"crypto/tls"
	"fmt"
)

// starttlsCommand is STARTTLS (RFC 9051 §6.2.1).
func starttlsCommand() command {
	return command{
		name: "STARTTLS", in: notAuthenticated,
		caps: []capability{{name: "STARTTLS", in: notAuthenticated, when: (*conn).tlsOffered}},
		run: func(_ context.Context, c *conn) (reply, error) {
			if c.dec.End(); c.dec.Err() != nil {
				return reply{}, c.dec.Err()
			}
			if !c.tlsOffered() {
				return reply{}, bad("TLS is active already or not configured")
			}
			if c.in.Buffered() > 0 || len(c.first) > 0 {
				// Somebody put commands behind STARTTLS: they would seem to come from inside.
				return reply{}, bad("nothing may follow STARTTLS before the handshake")
			}
			rep := ok("", "begin TLS now")
			rep.then = c.startTLS
			return rep, nil
		},
	}
}

// tlsOffered tells whether STARTTLS may be used.
func (c *conn) tlsOffered() bool { return c.srv.cfg.TLSConfig != nil && !c.secure() }

// startTLS goes over to TLS, behind the OK to STARTTLS.
func (c *conn) startTLS(ctx context.Context) error {
	if err := c.out.Flush(); err != nil {
		return err
	}
	if err := c.setReadDeadline(c.srv.cfg.Limits.LoginTime); err != nil {
		return err
	}
	secured := tls.Server(c.nc, c.srv.cfg.TLSConfig)
	if err := secured.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS handshake: %w: %w", errClose, err)
	}
	c.nc, c.out.nc = secured, secured
	return nil
}
