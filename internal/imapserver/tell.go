package imapserver

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"expost/internal/imapwire"
	"expost/internal/mail"
	"expost/internal/store"
)

// tellWatched tells what happened to a mailbox or an account that is watched.
func (c *conn) tellWatched(ctx context.Context, ch store.Changed) error {
	n := c.notify
	switch s := n.sharers[ch.Account]; {
	case ch.Account == c.account.ID() && ch.Mailbox == 0:
		c.tellServerMetadata()
		if err := c.tellSharers(ctx); err != nil {
			return err
		}
		return c.tellOrphans(ctx, true)
	case ch.Account == c.account.ID():
		return c.tellMailbox(ctx, &sharer{}, c.account, ch.Mailbox)
	case s != nil && ch.Mailbox != 0:
		return c.tellMailbox(ctx, s, c.accessTo(ctx, s), ch.Mailbox)
	}
	return nil
}

// tellSharers looks who shares with the user now. That rights are given or taken
// away is told as if mailboxes were made or deleted (RFC 5465 §5.4, §5.9).
func (c *conn) tellSharers(ctx context.Context) error {
	n := c.notify
	if n.sharers == nil {
		return nil
	}
	owners, err := c.srv.cfg.Store.Sharers(ctx, c.principal(ctx))
	if err != nil {
		return err
	}
	for id, s := range n.sharers {
		if slices.Contains(owners, id) {
			continue
		}
		delete(n.sharers, id)
		n.watcher.Leave(s.account)
		s.leave()
		var lost []boxID
		for box := range n.known {
			if box.account == id {
				lost = append(lost, box)
			}
		}
		slices.SortFunc(lost, func(a, b boxID) int { return strings.Compare(n.known[a].name, n.known[b].name) })
		for _, box := range lost {
			c.tellGone(box, `\NonExistent \NoAccess`)
		}
	}
	for _, id := range owners {
		if n.sharers[id] != nil {
			continue
		}
		found, err := c.watchSharer(ctx, id)
		if err != nil {
			c.log.Error("watching another's account", slog.Any("account", id), slog.Any("error", err))
			continue
		}
		for i := range found {
			if err := c.tellPlace(ctx, &found[i]); err != nil || c.notify != n {
				return err
			}
		}
	}
	return c.out.err
}

// tellMailbox tells what happened to a mailbox of an account: the client's own,
// or a sharer's.
func (c *conn) tellMailbox(ctx context.Context, s *sharer, access *store.Access, id mail.MailboxID) error {
	n := c.notify
	at := boxID{access.ID(), id}
	before := n.known[at]
	box, err := access.MailboxByID(ctx, id)
	if err != nil && s.account == nil {
		if _, removed := access.Usage(ctx); removed != nil {
			return removed // the account is no more
		}
	}
	if err != nil && mail.KindOf(err) != mail.KindNotExist {
		return err
	}
	p := c.ownPlace(&box)
	if s.account != nil {
		*p = s.place(access, &box)
	}
	switch {
	case err == nil && p.rights.Has(mail.RightLookup):
		err = c.tellPlace(ctx, p)
	case before == nil:
		return nil
	case err == nil:
		c.tellGone(at, `\NonExistent \NoAccess`)
	default:
		c.tellGone(at, `\NonExistent`)
		err = nil
	}
	if now := n.known[at]; err != nil || c.notify != n || before != nil && now != nil && before.name == now.name {
		return err
	}
	return c.tellOrphans(ctx, false)
}

// tellGone tells that a mailbox is no longer there for the client.
func (c *conn) tellGone(id boxID, attributes string) {
	n := c.notify
	k := n.known[id]
	delete(n.known, id)
	m := named{name: k.name, own: id.account == c.account.ID(), subscribed: k.subscribed || c.account.Subscribed(k.name)}
	if m.takesMail = m.own; n.events(m)&imapwire.EventMailboxName == 0 && (m.own || n.events(m) == 0) {
		return
	}
	c.writeName(k.name, attributes, "")
	c.tellParent(k.name, m.own)
}

// tellPlace tells what is new of a mailbox that is there.
func (c *conn) tellPlace(ctx context.Context, p *place) error {
	n := c.notify
	k, was := n.known[p.id()], n.known[p.id()] != nil
	if !was {
		if len(n.known) >= c.srv.cfg.Limits.Watched {
			c.endNotify()
			c.notify = &notification{}
			c.out.Line("* OK [NOTIFICATIONOVERFLOW] there are too many mailboxes to watch")
			return c.out.err
		}
		k = &known{}
		n.known[p.id()] = k
	} else if k.name != p.box.Name {
		if err := c.tellRenamedAbove(ctx, p, k); err != nil {
			return err
		}
	}
	old := *k
	var entries []string
	*k = knownOf(p)
	entries, k.annotated = p.account.AnnotationsSince(p.box.ID, old.annotated)
	m := namedBy(p)
	m.subscribed = m.subscribed || !m.own && c.account.Subscribed(p.box.Name)
	c.tellNames(p, m, &old, was)
	events := n.events(m)
	if !k.readable {
		return c.out.err
	}
	if events&imapwire.EventMailboxMetadataChange != 0 && (was || m.own) {
		c.tellMetadata(p.box.Name, entries)
	}
	if events&imapwire.EventMessageNew == 0 || c.hasSelected(p) {
		return c.out.err
	}
	grown := k.next != old.next || k.messages != old.messages || k.validity != old.validity
	switch {
	case was && grown, !was && k.messages > 0, was && !old.readable:
		return c.writeStatus(ctx, p, c.statusItems(events))
	case k.modSeq != old.modSeq && k.name == old.name && k.subscribed == old.subscribed && events&imapwire.EventFlagChange != 0:
		return c.writeStatus(ctx, p, imapwire.StatusUIDValidity|imapwire.StatusUnseen|imapwire.StatusHighestModSeq)
	}
	return c.out.err
}

// tellNames tells that a mailbox was made, renamed, (un)subscribed, or that its
// messages may be seen, or no longer (RFC 5465 §5.4, §5.5, §5.9).
func (c *conn) tellNames(p *place, m named, old *known, was bool) {
	var words []string
	readable := p.rights.Has(mail.RightRead)
	if !readable {
		words = append(words, `\NoAccess`)
	}
	if c.notify.hasChildren(m.name) {
		words = append(words, `\HasChildren`)
	} else {
		words = append(words, `\HasNoChildren`)
	}
	if p.box.SpecialUse != mail.UseNone {
		words = append(words, `\`+string(p.box.SpecialUse))
	}
	attributes := strings.Join(words, " ")
	events := c.notify.events(m)
	switch {
	case !was && events&imapwire.EventMailboxName != 0:
		c.writeName(m.name, attributes, "")
		c.tellParent(m.name, m.own)
	case !was:
	case old.name != m.name && events&imapwire.EventMailboxName != 0:
		c.writeName(m.name, attributes, old.name)
	case old.name != m.name:
	case old.readable != readable && events != 0:
		c.writeName(m.name, attributes, "")
	case old.subscribed != p.box.Subscribed:
		m.subscribed = m.subscribed || old.subscribed // whoever watches the subscribed wants to hear that one is no longer
		if c.notify.events(m)&imapwire.EventSubscriptionChange != 0 {
			c.writeName(m.name, attributes, "")
		}
	}
}

// tellRenamedAbove looks whether a mailbox that has another name has it because
// one above it was renamed: then that is told, and of this one nothing
// (RFC 5465 §5.4).
func (c *conn) tellRenamedAbove(ctx context.Context, p *place, k *known) error {
	defer func() { c.notify.movedBelow(p.account.ID(), k.name, p.box.Name) }()
	above := parentOf(p.name)
	if above == "" {
		return nil
	}
	box, err := p.account.Mailbox(ctx, above)
	if err != nil {
		return nil // gone by now
	}
	parent := p.beside(&box)
	was := c.notify.known[parent.id()]
	if was == nil || was.name == parent.box.Name || strings.TrimPrefix(k.name, was.name) != strings.TrimPrefix(p.box.Name, parent.box.Name) {
		return nil
	}
	return c.tellPlace(ctx, &parent)
}

// tellParent tells that a name above one that was made or deleted changed, be
// there a mailbox or not (RFC 5465 §5.4).
func (c *conn) tellParent(name string, own bool) {
	n := c.notify
	parent := parentOf(name)
	if parent == "" {
		return
	}
	m := named{name: parent, own: own, subscribed: c.account.Subscribed(parent)}
	words := []string{`\NonExistent`}
	for id, k := range n.known {
		if k.name == parent && (id.account == c.account.ID()) == own {
			words, m.takesMail = nil, own
		}
	}
	if n.events(m)&imapwire.EventMailboxName == 0 {
		return
	}
	if n.hasChildren(parent) {
		words = append(words, `\HasChildren`)
	} else if len(words) == 0 {
		words = append(words, `\HasNoChildren`)
	}
	c.writeName(parent, strings.Join(words, " "), "")
}

// hasChildren tells whether the client knows of a mailbox below a name.
func (n *notification) hasChildren(name string) bool {
	for _, k := range n.known {
		if strings.HasPrefix(k.name, name) && strings.HasPrefix(k.name[len(name):], mail.Delimiter) {
			return true
		}
	}
	return false
}

// writeName writes the LIST response of a name.
func (c *conn) writeName(name, attributes, oldName string) {
	if c.account.Subscribed(name) {
		if attributes != "" {
			attributes += " "
		}
		attributes += `\Subscribed`
	}
	c.out.Text("* LIST (" + attributes + `) "/" `)
	c.out.b = imapwire.AppendMailbox(c.out.b, name, c.utf8())
	if oldName != "" {
		c.out.Text(` ("OLDNAME" (`)
		c.out.b = imapwire.AppendMailbox(c.out.b, oldName, c.utf8())
		c.out.Text("))")
	}
	c.out.Line()
}

// tellMetadata tells which annotations of a mailbox changed (RFC 5464 §4.4.2).
func (c *conn) tellMetadata(name string, entries []string) {
	if len(entries) == 0 {
		return
	}
	c.out.Text("* METADATA ")
	if name == "" {
		c.out.Text(`""`)
	} else {
		c.out.b = imapwire.AppendMailbox(c.out.b, name, c.utf8())
	}
	for _, e := range entries {
		c.out.Text(" ")
		c.out.b = imapwire.AppendString(c.out.b, e, false)
	}
	c.out.Line()
}

// tellServerMetadata tells which annotations of the server and of the user's
// account changed; which mailboxes the group names does not matter (RFC 5465 §5.7).
func (c *conn) tellServerMetadata() {
	n := c.notify
	var private, shared []string
	private, n.account = c.account.AnnotationsSince(0, n.account)
	shared, n.site = c.srv.cfg.Store.SiteAnnotationsSince(n.site)
	if slices.ContainsFunc(n.groups, func(g imapwire.EventGroup) bool { return g.Events&imapwire.EventServerMetadataChange != 0 }) {
		c.tellMetadata("", append(private, shared...))
	}
}

// tellOrphans looks which names that are no mailbox of the user's own are
// subscribed, and tells where that changed.
func (c *conn) tellOrphans(ctx context.Context, tell bool) error {
	n := c.notify
	now, err := c.orphans(ctx)
	if err != nil {
		return err
	}
	old := n.orphans
	if n.orphans = now; !tell {
		return c.out.err
	}
	changed := map[string]bool{}
	for name := range now {
		changed[name] = !old[name]
	}
	for name := range old {
		changed[name] = !now[name]
	}
	for _, name := range slices.Sorted(maps.Keys(changed)) {
		if changed[name] {
			c.tellOrphan(name)
		}
	}
	return c.out.err
}

// tellOrphan tells that a name became subscribed, or is no longer. It may be that
// of another's mailbox.
func (c *conn) tellOrphan(name string) {
	space, _, _ := splitShared(name)
	m := named{name: name, own: space == "" || !c.shares(), subscribed: true}
	if c.notify.events(m)&imapwire.EventSubscriptionChange == 0 {
		return
	}
	attributes := `\NonExistent`
	for _, k := range c.notify.known {
		if k.name == name {
			attributes = `\HasNoChildren`
		}
	}
	if c.notify.hasChildren(name) {
		attributes = strings.Replace(attributes+` \HasChildren`, `\HasNoChildren `, "", 1)
	}
	c.writeName(name, attributes, "")
}

// tellsExpunges tells whether EXPUNGE may be told whenever the client sends
// nothing (RFC 5465 §6.1).
func (n *notification) tellsExpunges() bool {
	return n.selected != nil && n.selected.Filter.Kind == imapwire.FilterSelected
}

// fetchNew sends what NOTIFY asks for of messages that are new, and that the
// client did not put there itself (RFC 5465 §5.2).
func (c *conn) fetchNew(ctx context.Context) error {
	snap := c.sel.view.Snapshot()
	next := snap.Mailbox().UIDNext
	came := mail.UIDSet{}
	if c.sel.fetched < next {
		came.AddRange(c.sel.fetched, next-1)
	}
	c.sel.fetched = next
	if came = minus(came, c.sel.own); c.notify == nil || len(c.notify.selected.Fetch) == 0 || len(came) == 0 {
		return nil
	}
	return c.fetchUnasked(ctx, uidSpans(snap, came), c.notify.selected.Fetch)
}

// fetchUnasked sends data items of messages without changing \Seen.
func (c *conn) fetchUnasked(ctx context.Context, spans []span, items []imapwire.FetchItem) error {
	if len(spans) == 0 {
		return nil
	}
	cmd := imapwire.FetchCommand{Items: items}
	f := c.newFetching(&cmd, false)
	f.seen = false
	return f.run(ctx, spans, &cmd)
}

// putIn notes messages that the client itself put into a mailbox.
func (c *conn) putIn(p *place, uids ...mail.UID) {
	if c.sel == nil || !c.hasSelected(p) {
		return
	}
	for _, uid := range uids {
		c.sel.own.Add(uid)
	}
}
