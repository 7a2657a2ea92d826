package imapserver

import (
	"context"
	"time"
)

// unauthenticateCommand is UNAUTHENTICATE (RFC 8437): the connection is as
// before the login, but for TLS.
func unauthenticateCommand() command {
	return command{
		name: "UNAUTHENTICATE", in: loggedIn, caps: []capability{{name: "UNAUTHENTICATE", in: loggedIn}},
		run: func(_ context.Context, c *conn) (reply, error) {
			if c.dec.End(); c.dec.Err() != nil {
				return reply{}, c.dec.Err()
			}
			c.deselect()
			c.endNotify()
			c.account.Release()
			c.leave()
			c.leave, c.traced, c.out.traced = nil, nil, nil
			c.account, c.user, c.owner, c.features = nil, nil, "", 0
			c.state, c.started, c.log = notAuthenticated, time.Now(), c.srv.log
			c.dec.SetLimits(beforeLogin())
			return ok(c.capabilityCode(), "nobody is logged in"), nil
		},
	}
}
