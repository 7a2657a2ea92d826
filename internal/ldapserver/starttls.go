package ldapserver

import (
	"context"
	"crypto/tls"
	"fmt"
	"strings"

	"expost/internal/ldap"
	"expost/internal/ldapwire"
)

// startTLS is the StartTLS operation (RFC 4511 §4.14). No other runs beside it.
func (c *conn) startTLS(ctx context.Context, m *ldapwire.Message) error {
	c.operations.Add(1)
	refuse := func(code ldap.ResultCode, text string) error {
		return c.send(m.ID, &ldapwire.ExtendedResponse{Result: ldapwire.Result{Code: code, Text: text}, Name: ldapwire.OIDStartTLS})
	}
	switch {
	case c.secure:
		return refuse(ldap.OperationsError, "TLS already started")
	case c.srv.cfg.TLSConfig == nil:
		return refuse(ldap.ProtocolError, "unsupported extended operation")
	case c.buffered.Buffered() > 0:
		// What somebody put behind it would seem to come from inside.
		c.disconnect(ldap.ProtocolError, "nothing may follow StartTLS before the handshake")
		return errProtocol
	}
	if err := c.send(m.ID, &ldapwire.ExtendedResponse{Name: ldapwire.OIDStartTLS}); err != nil {
		return err
	}
	secured := tls.Server(c.nc, c.srv.cfg.TLSConfig)
	c.use(secured)
	return c.handshake(ctx, secured)
}

// handshake makes the connection secure.
func (c *conn) handshake(ctx context.Context, tc *tls.Conn) error {
	if err := c.readWithin(c.srv.cfg.Limits.ReadTime); err != nil {
		return err
	}
	if err := tc.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	c.secure = true
	c.peer.Strength = strengthOf(tc.ConnectionState().CipherSuite)
	return nil
}

// strengthOf returns how many bits the key of a cipher suite has.
func strengthOf(suite uint16) int {
	switch name := tls.CipherSuiteName(suite); {
	case strings.Contains(name, "AES_256"), strings.Contains(name, "CHACHA20"):
		return 256
	case strings.Contains(name, "3DES"):
		return 112
	}
	return 128
}
