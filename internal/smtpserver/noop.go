package smtpserver

// rset is RSET (RFC 5321 §4.1.1.5).
func (c *conn) rset(arg string) reply {
	if arg != "" {
		return reply{code: 501, status: "5.5.4", text: "RSET takes no argument"}
	}
	c.idle++
	c.env = nil
	c.abortFilters()
	return reply{code: 250, status: "2.0.0", text: "ok"}
}

// noop is NOOP, and VRFY and HELP, which tell nothing.
func (c *conn) noop(verb string) reply {
	c.idle++
	switch verb {
	case "VRFY":
		return reply{code: 252, status: "2.5.0", text: "send it, and you will see"}
	case "HELP":
		return reply{code: 214, status: "2.0.0", text: "RFC 5321"}
	}
	return reply{code: 250, status: "2.0.0", text: "ok"}
}
