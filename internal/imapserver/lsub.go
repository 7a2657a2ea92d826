package imapserver

import (
	"context"
	"strings"

	"expost/internal/imapwire"
)

// lsubCommand is LSUB (RFC 3501 §6.3.9).
func lsubCommand() command {
	return command{
		name: "LSUB", in: loggedIn,
		run: func(ctx context.Context, c *conn) (reply, error) {
			c.dec.SP()
			reference := c.dec.Reference(c.utf8())
			c.dec.SP()
			p := newPattern(reference, c.dec.ListPattern(c.utf8()))
			if c.dec.End(); c.dec.Err() != nil {
				return reply{}, c.dec.Err()
			}
			tree, err := c.mailboxTree(ctx)
			if err != nil {
				return reply{}, err
			}
			for i := range tree {
				c.lsubNode(&tree[i], p)
			}
			return ok("", "done"), nil
		},
	}
}

// lsubNode writes the LSUB response of a node that is subscribed, or that
// stands for subscribed names below which "%" does not reach.
func (c *conn) lsubNode(n *node, p pattern) {
	parent := !n.subscribed && n.below && strings.Contains(string(p), "%")
	if !n.subscribed && !parent || !p.match(n.name) {
		return
	}
	attrs := ""
	if parent {
		attrs = `\Noselect`
	}
	c.out.Text("* LSUB (" + attrs + `) "/" `)
	c.out.b = imapwire.AppendMailbox(c.out.b, n.name, c.utf8())
	c.out.Line()
}
