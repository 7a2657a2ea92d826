package imapserver

import "context"

// logoutCommand is LOGOUT (RFC 9051 §6.1.3).
func logoutCommand() command {
	return command{
		name: "LOGOUT", in: anyState,
		run: func(_ context.Context, c *conn) (reply, error) {
			if c.dec.End(); c.dec.Err() != nil {
				return reply{}, c.dec.Err()
			}
			c.out.Line("* BYE goodbye")
			c.deselect()
			c.state = loggedOut
			return ok("", "logged out"), nil
		},
	}
}
