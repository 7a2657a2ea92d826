package imapserver

import "context"

// namespaceCommand is NAMESPACE (RFC 9051 §6.3.10, RFC 2342).
func namespaceCommand() command {
	return command{
		name: "NAMESPACE", in: loggedIn, caps: caps("NAMESPACE"),
		run: func(_ context.Context, c *conn) (reply, error) {
			if c.dec.End(); c.dec.Err() != nil {
				return reply{}, c.dec.Err()
			}
			if c.srv.cfg.People == nil {
				c.out.Line(`* NAMESPACE (("" "/")) NIL NIL`)
			} else {
				c.out.Line(`* NAMESPACE (("" "/")) (("` + otherUsers + `/" "/")) (("` + sharedBoxes + `/" "/"))`)
			}
			return ok("", "done"), nil
		},
	}
}
