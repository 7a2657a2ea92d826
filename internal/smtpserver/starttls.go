package smtpserver

import "log/slog"

// startTLS is STARTTLS (RFC 3207). What the client sent behind the command came
// in clear text, from whomever: it is never read as if TLS had protected it.
func (c *conn) startTLS(arg string) reply {
	switch {
	case arg != "":
		return reply{code: 501, status: "5.5.4", text: "STARTTLS takes no argument"}
	case c.tls != nil:
		return reply{code: 503, status: "5.5.1", text: "TLS is on already"}
	case c.cfg.TLSConfig == nil:
		return reply{code: 502, status: "5.5.1", text: "there is no TLS here"}
	case c.wire.in.Buffered() > 0:
		return reply{code: 554, status: "5.5.0", text: "nothing may follow STARTTLS before its reply"}.closing()
	}
	c.write(reply{code: 220, status: "2.0.0", text: "ready for TLS"})
	if err := c.wire.out.Flush(); err != nil {
		return none.closing()
	}
	state, err := c.wire.handshake(c.wire.startTLS(c.cfg.TLSConfig))
	if err != nil {
		c.log.Debug("TLS handshake", slog.Any("error", err))
		return none.closing()
	}
	c.tls = state
	c.entry.Leave()
	c.helo, c.esmtp, c.env, c.account, c.entry = "", false, nil, nil, nil // RFC 3207 §4.2
	return none
}
