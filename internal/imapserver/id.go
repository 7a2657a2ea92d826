package imapserver

import (
	"context"
	"log/slog"

	"expost/internal/imapwire"
)

// idCommand is ID (RFC 2971).
func idCommand() command {
	return command{
		name: "ID", in: anyState, caps: caps("ID"),
		run: func(_ context.Context, c *conn) (reply, error) {
			c.dec.SP()
			client := c.readID()
			if c.dec.End(); c.dec.Err() != nil {
				return reply{}, c.dec.Err()
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
// most 30 are allowed (RFC 2971 §3.3).
func (c *conn) readID() []any {
	if c.dec.TryKeyword("NIL") {
		return nil
	}
	var attrs []any
	c.dec.List(func() {
		key := c.dec.String()
		c.dec.SP()
		value, _ := c.dec.NString()
		if len(attrs) >= 30 {
			c.dec.Fail("more than 30 fields")
		}
		attrs = append(attrs, slog.String("id."+key, value))
	})
	return attrs
}
