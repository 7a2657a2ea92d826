package imapserver

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"

	"expost/internal/imapwire"
	"expost/internal/listener"
	"expost/internal/proxy"
)

// idCommand is ID (RFC 2971).
func idCommand() command {
	return command{
		name: "ID", in: anyState, caps: caps("ID"),
		run: func(_ context.Context, c *conn) (reply, error) {
			c.dec.SP()
			client, origin := c.readID()
			if c.dec.End(); c.dec.Err() != nil {
				return reply{}, c.dec.Err()
			}
			if c.state == notAuthenticated {
				if !c.srv.cfg.Login.Believes(listener.AddrOf(c.raw.RemoteAddr())) {
					origin.Addr = netip.Addr{}
				}
				c.origin = origin
			}
			if len(client) > 0 {
				c.log.Debug("client says who it is", client...)
			}
			c.out.Text(`* ID ("name" "Expost"`)
			if v := c.srv.cfg.Version; v != "" {
				c.out.Text(` "version" `)
				c.out.b = imapwire.AppendString(c.out.b, v, false)
			}
			c.out.Line(")")
			return ok("", "pleased to meet you"), nil
		},
	}
}

// readID reads the client's list of field-value pairs as log attributes. At
// most 30 are allowed (RFC 2971 §3.3). A proxy tells of its client there, as
// Dovecot's do.
func (c *conn) readID() (attrs []any, origin proxy.Origin) {
	if c.dec.TryKeyword("NIL") {
		return nil, origin
	}
	c.dec.List(func() {
		key := c.dec.String()
		c.dec.SP()
		value, _ := c.dec.NString()
		if len(attrs) >= 30 {
			c.dec.Fail("more than 30 fields")
		}
		attrs = append(attrs, slog.String("id."+key, value))
		switch strings.ToLower(key) {
		case "x-proxy-ttl":
			origin.SetTTL(value)
		case "x-originating-ip":
			origin.Addr, _ = netip.ParseAddr(value)
		}
	})
	return attrs, origin
}
