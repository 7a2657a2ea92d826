package imapserver

import "context"

// noopCommand is NOOP (RFC 9051 §6.1.2). What is new follows every command;
// here it does even where NOTIFY does not ask for it.
func noopCommand() command {
	return command{name: "NOOP", in: anyState, run: nothing}
}

// checkCommand is CHECK (RFC 3501 §6.4.1): everything is on disk already.
func checkCommand() command {
	return command{name: "CHECK", in: selected, run: nothing}
}

func nothing(_ context.Context, c *conn) (reply, error) {
	if c.dec.End(); c.dec.Err() != nil || c.sel == nil {
		return ok("", "done"), c.dec.Err()
	}
	return ok("", "done"), c.sync(true)
}
