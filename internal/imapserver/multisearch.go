package imapserver

import (
	"context"
	"slices"
	"strings"

	"expost/internal/imapwire"
	"expost/internal/mail"
)

// esearchCommand is ESEARCH, a search of several mailboxes (MULTISEARCH, RFC 7377).
func esearchCommand() command {
	return command{name: "ESEARCH", in: loggedIn, caps: caps("MULTISEARCH"), run: func(ctx context.Context, c *conn) (reply, error) {
		cmd := c.dec.MultiSearch(c.utf8())
		if err := c.dec.Err(); err != nil {
			return reply{}, err
		}
		return c.multiSearch(ctx, &cmd)
	}}
}

// multiSearch searches the mailboxes one after another and answers for each in
// which there is something.
func (c *conn) multiSearch(ctx context.Context, cmd *imapwire.MultiSearchCommand) (reply, error) {
	search := &cmd.Search
	isSelected := func(f imapwire.MailboxFilter) bool { return f.Kind == imapwire.FilterSelected }
	alone := !slices.ContainsFunc(cmd.In, func(f imapwire.MailboxFilter) bool { return !isSelected(f) })
	switch {
	case c.sel == nil && (search.Return.Update || slices.ContainsFunc(cmd.In, isSelected)):
		return reply{}, bad("no mailbox is selected")
	case search.Return.Save && !alone:
		return reply{}, bad("SAVE is for the selected mailbox alone")
	case !alone && anyKey(&search.Key, func(k *imapwire.SearchKey) bool { return k.Set.Saved }):
		return reply{}, bad("$ is for the selected mailbox alone")
	}
	if c.sel != nil {
		if err := c.mayUpdate(search); err != nil {
			return reply{}, err
		}
	}
	if !search.Return.Extended {
		search.Return.All = true
	}
	if err := checkFuzzy(search, nil); err != nil {
		return reply{}, err
	}
	if err := c.prepareSearch(ctx, search); err != nil {
		return reply{}, err
	}
	if c.sel != nil {
		if err := c.catchUp(ctx, true); err != nil {
			return reply{}, err
		}
	}
	boxes, err := c.filterMailboxes(ctx, cmd.In)
	if err != nil {
		return reply{}, err
	}
	for i := range boxes {
		if err := c.searchMailbox(ctx, &boxes[i], search); err != nil && mail.KindOf(err) != mail.KindNotExist {
			return reply{}, err
		}
	}
	if search.Return.Update && !slices.ContainsFunc(boxes, func(p place) bool { return c.hasSelected(&p) }) {
		c.writeNoUpdate()
	}
	return ok("", "searched"), c.out.err
}

// searchMailbox searches one mailbox and answers where there is something.
func (c *conn) searchMailbox(ctx context.Context, p *place, cmd *imapwire.SearchCommand) error {
	box := &p.box
	selected := c.hasSelected(p)
	if !selected {
		view, err := p.view(ctx, true)
		if err != nil {
			return err
		}
		defer view.Close()
		defer func(selected *selection) { c.sel = selected }(c.sel)
		c.sel = c.newSelection(p, view, true)
	}
	hits, lowest, err := c.runSearch(ctx, &cmd.Key, false)
	if selected {
		if c.save(hits, cmd.Return); err == nil {
			c.keepUpdated(hits, cmd, true, nil, nil)
		}
	}
	if c.tellPart(lowest); err != nil || len(hits) == 0 {
		return err
	}
	if r := cmd.Return; r.Save && !r.Min && !r.Max && !r.All && !r.Count && !r.Partial.Given() {
		return nil
	}
	c.out.Text("* ESEARCH (TAG ")
	c.out.b = imapwire.AppendString(c.out.b, c.tag, false)
	c.out.Text(" MAILBOX ")
	c.out.b = imapwire.AppendMailbox(c.out.b, box.Name, c.utf8())
	c.out.Text(" UIDVALIDITY ")
	c.out.Number(int64(box.UIDValidity))
	c.out.Text(")")
	c.writeResults(hits, cmd, true)
	return c.out.err
}

// hasSelected tells whether a mailbox is the selected one.
func (c *conn) hasSelected(p *place) bool {
	return c.sel != nil && c.sel.id == p.box.ID && c.sel.account.ID() == p.account.ID()
}

// filterMailboxes returns the mailboxes that one of the filters names, each
// once. Names that do not exist are left out (RFC 7377 §2.2).
func (c *conn) filterMailboxes(ctx context.Context, filters []imapwire.MailboxFilter) ([]place, error) {
	boxes, err := c.places(ctx)
	if err != nil {
		return nil, err
	}
	subscribed, err := c.account.Subscriptions(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(boxes, func(p place) bool {
		box := &p.box
		return !p.rights.Has(mail.RightRead) || !slices.ContainsFunc(filters, func(f imapwire.MailboxFilter) bool {
			switch f.Kind {
			case imapwire.FilterSelected:
				return c.hasSelected(&p)
			case imapwire.FilterInboxes:
				return p.own() && takesMail(box.SpecialUse)
			case imapwire.FilterSubscribed:
				return slices.Contains(subscribed, box.Name)
			case imapwire.FilterPersonal:
				return p.own()
			}
			return slices.ContainsFunc(f.Names, func(name string) bool { return isWithin(box.Name, name, f.Kind) })
		})
	}), nil
}

// isWithin tells whether a mailbox is top or, with a kind that wants that, below
// it. Everything is below the empty name.
func isWithin(name, top string, kind imapwire.FilterKind) bool {
	if name == top {
		return true
	}
	below, is := name, true
	if top != "" {
		below, is = strings.CutPrefix(name, top+mail.Delimiter)
	}
	switch kind {
	case imapwire.FilterSubtree:
		return is
	case imapwire.FilterSubtreeOne:
		return is && !strings.Contains(below, mail.Delimiter)
	}
	return false
}
