package imapserver

import (
	"context"
	"slices"
	"strings"

	"expost/internal/imapwire"
	"expost/internal/mail"
)

// listCommand is LIST (RFC 9051 §6.3.9) with LIST-EXTENDED (RFC 5258),
// LIST-STATUS (RFC 5819), SPECIAL-USE (RFC 6154), CHILDREN (RFC 3348),
// LIST-MYRIGHTS (RFC 8440) and LIST-METADATA (RFC 9590).
func listCommand() command {
	return command{
		name: "LIST", in: loggedIn,
		caps: append(caps("CHILDREN", "LIST-EXTENDED", "LIST-STATUS", "SPECIAL-USE", "LIST-METADATA"), capability{name: "LIST-MYRIGHTS", when: (*conn).shares}),
		run: func(ctx context.Context, c *conn) (reply, error) {
			cmd := c.dec.ListCommand(c.utf8())
			if err := c.dec.Err(); err != nil {
				return reply{}, err
			}
			if !cmd.Extended && cmd.Patterns[0] == "" {
				c.out.Line(`* LIST (\Noselect) "/" ""`)
				return ok("", "done"), nil
			}
			tree, err := c.mailboxTree(ctx)
			if err != nil {
				return reply{}, err
			}
			patterns := make([]pattern, len(cmd.Patterns))
			for i, p := range cmd.Patterns {
				patterns[i] = newPattern(cmd.Reference, p)
			}
			for i := range tree {
				n := &tree[i]
				if slices.ContainsFunc(patterns, func(p pattern) bool { return p.match(n.name) }) {
					if err := c.listNode(ctx, n, &cmd); err != nil {
						return reply{}, err
					}
				}
			}
			if cmd.Return.Status&imapwire.StatusHighestModSeq != 0 {
				c.features |= condstore
			}
			return ok("", "done"), nil
		},
	}
}

// node is a name that LIST or LSUB may show.
type node struct {
	name       string
	at         *place // nil: no such mailbox
	subscribed bool
	children   bool // there are mailboxes below
	below      bool // there are subscribed names below
}

// mailboxTree returns the mailboxes and the subscribed names, in order, with
// missing parents.
func (c *conn) mailboxTree(ctx context.Context) ([]node, error) {
	boxes, err := c.places(ctx)
	if err != nil {
		return nil, err
	}
	names, err := c.account.Subscriptions(ctx)
	if err != nil {
		return nil, err
	}
	tree := make([]node, 0, len(boxes)+2)
	index := make(map[string]int, len(boxes))
	add := func(name string) *node {
		i, known := index[name]
		if !known {
			i = len(tree)
			index[name] = i
			tree = append(tree, node{name: name})
		}
		return &tree[i]
	}
	for i := range boxes {
		add(boxes[i].box.Name).at = &boxes[i]
	}
	for _, n := range names {
		add(n).subscribed = true
	}
	for i := 0; i < len(tree); i++ { // grows by missing parents
		n := tree[i]
		for name := n.name; ; {
			at := strings.LastIndex(name, mail.Delimiter)
			if at <= 0 {
				break
			}
			name = name[:at]
			parent := add(name)
			parent.children = parent.children || n.at != nil
			parent.below = parent.below || n.subscribed
		}
	}
	if len(tree) > len(boxes) || len(boxes) > 0 && !boxes[len(boxes)-1].own() {
		slices.SortStableFunc(tree, compareNodes)
	}
	return tree, nil
}

// compareNodes orders names as the store does: INBOX first.
func compareNodes(a, b node) int {
	if inboxA, inboxB := a.name == mail.Inbox, b.name == mail.Inbox; inboxA != inboxB {
		if inboxA {
			return -1
		}
		return 1
	}
	return strings.Compare(a.name, b.name)
}

// selected tells whether the selection options take the node, and whether they
// take it for what is below (RFC 5258 §3.5 CHILDINFO).
func (n *node) selected(s imapwire.ListSelect) (yes, childInfo bool) {
	if !s.Subscribed && !s.SpecialUse {
		return n.at != nil || n.children, false
	}
	yes = (!s.Subscribed || n.subscribed) && (!s.SpecialUse || n.at != nil && n.at.box.SpecialUse != mail.UseNone)
	childInfo = s.RecursiveMatch && s.Subscribed && n.below
	return yes, childInfo
}

// listNode writes the LIST response of a node that the selection options take,
// and its STATUS.
func (c *conn) listNode(ctx context.Context, n *node, cmd *imapwire.ListCommand) error {
	yes, childInfo := n.selected(cmd.Select)
	if !yes && !childInfo {
		return nil
	}
	c.out.Text("* LIST (")
	c.out.Text(n.attributes(cmd))
	c.out.Text(`) "/" `)
	c.out.b = imapwire.AppendMailbox(c.out.b, n.name, c.utf8())
	if childInfo {
		c.out.Text(` (CHILDINFO ("SUBSCRIBED"))`)
	}
	c.out.Line()
	if n.at == nil || !yes { // there for what is below alone
		return nil
	}
	if cmd.Return.MyRights {
		c.writeMyRights(n.at)
	}
	if len(cmd.Return.Metadata) > 0 && mayAnnotate(n.at.rights) {
		have, err := c.annotations(ctx, n.at)
		if err != nil {
			return err
		}
		c.writeMetadata(n.at.box.Name, matchEntries(have, &imapwire.GetMetadataCommand{Entries: cmd.Return.Metadata}), -1)
	}
	if cmd.Return.Status != 0 && n.at.rights.Has(mail.RightRead) {
		return c.writeStatus(ctx, n.at, cmd.Return.Status)
	}
	return nil
}

// attributes returns the name attributes of a node. Children and special uses
// are always told.
func (n *node) attributes(cmd *imapwire.ListCommand) string {
	attrs := `\HasNoChildren`
	if n.children {
		attrs = `\HasChildren`
	}
	if n.at == nil {
		attrs = `\NonExistent \Noselect ` + attrs
	} else if n.at.box.SpecialUse != mail.UseNone {
		attrs += ` \` + string(n.at.box.SpecialUse)
	}
	if n.subscribed && (cmd.Return.Subscribed || cmd.Select.Subscribed) {
		attrs += ` \Subscribed`
	}
	return attrs
}
