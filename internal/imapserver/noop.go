package imapserver

import "context"

// noopCommand is NOOP (RFC 9051 §6.1.2). What is new follows every command.
func noopCommand() command {
	return command{name: "NOOP", in: anyState, run: nothing}
}

// checkCommand is CHECK (RFC 3501 §6.4.1): everything is on disk already.
func checkCommand() command {
	return command{name: "CHECK", in: selected, run: nothing}
}

func nothing(_ context.Context, c *conn) (reply, error) {
	c.dec.End()
	return ok("", "done"), c.dec.Err()
}
