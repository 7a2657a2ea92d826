package imapserver

import "context"

// capabilityCommand is CAPABILITY (RFC 9051 §6.1.1). Its own capabilities are
// those of the grammar and of the responses, which no command brings.
func capabilityCommand() command {
	return command{
		name: "CAPABILITY", in: anyState,
		caps: caps("IMAP4rev1", "IMAP4rev2", "LITERAL+"),
		run: func(_ context.Context, c *conn) (reply, error) {
			if c.dec.End(); c.dec.Err() != nil {
				return reply{}, c.dec.Err()
			}
			c.out.Text("* CAPABILITY")
			c.appendCapabilities()
			c.out.Line()
			return ok("", "here they are"), nil
		},
	}
}

// appendCapabilities appends the words of what is told in this state, a space
// before each.
func (c *conn) appendCapabilities() {
	for i := range c.srv.capabilities {
		if w := &c.srv.capabilities[i]; (w.in == 0 || w.in&c.state != 0) && (w.when == nil || w.when(c)) {
			c.out.Text(" ")
			c.out.Text(w.name)
			if w.value != nil {
				c.out.Text("=" + w.value(c))
			}
		}
	}
}

// capabilityCode returns the response code that lists the capabilities.
func (c *conn) capabilityCode() string {
	at := len(c.out.b)
	c.out.Text("CAPABILITY")
	c.appendCapabilities()
	code := string(c.out.b[at:])
	c.out.b = c.out.b[:at]
	return code
}
