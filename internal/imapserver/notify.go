package imapserver

import (
	"context"
	"maps"
	"slices"

	"expost/internal/imapwire"
	"expost/internal/mail"
)

// notifyCommand is NOTIFY (RFC 5465): the client says what it wants to hear of,
// and hears of it whenever it sends nothing.
func notifyCommand() command {
	return command{name: "NOTIFY", in: loggedIn, caps: caps("NOTIFY"), run: func(ctx context.Context, c *conn) (reply, error) {
		cmd := c.dec.Notify(c.utf8())
		if err := c.dec.Err(); err != nil {
			return reply{}, err
		}
		if cmd.Unknown() {
			return reply{}, no("BADEVENT (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange MailboxMetadataChange ServerMetadataChange)", "an event is not known")
		}
		if c.sel != nil {
			if err := c.sync(true); err != nil {
				return reply{}, err
			}
			c.sel.fetched = c.sel.view.Snapshot().Mailbox().UIDNext
		}
		n, err := c.newNotification(ctx, &cmd)
		if err != nil {
			return reply{}, err
		}
		c.endNotify()
		if c.notify = n; len(n.groups) > 0 {
			n.watch, n.release = c.account.Watch()
			if err := c.lookAround(ctx, cmd.Status); err != nil {
				return reply{}, err
			}
		}
		return ok("", "so be it"), c.out.err
	}}
}

// notification is what a client has asked for with NOTIFY.
type notification struct {
	selected *imapwire.EventGroup  // what it wants to hear of the selected mailbox; nil: nothing
	groups   []imapwire.EventGroup // of the others: the first that a mailbox fits counts
	watch    <-chan mail.MailboxID // what changed; nil: no groups
	release  func()                // ends watch
	known    map[mail.MailboxID]known
	orphans  map[string]bool // subscribed names without a mailbox

	account, site uint64 // counts of changes of annotations that were told
}

// known is what a client knows of a mailbox.
type known struct {
	name       string
	validity   mail.UIDValidity
	next       mail.UID
	modSeq     mail.ModSeq
	messages   int
	subscribed bool
	annotated  uint64 // the count of changes of annotations that were told
}

func knownOf(box *mail.Mailbox) known {
	return known{box.Name, box.UIDValidity, box.UIDNext, box.HighestModSeq, box.Messages, box.Subscribed, 0}
}

// newNotification checks what a client asks for.
func (c *conn) newNotification(ctx context.Context, cmd *imapwire.NotifyCommand) (*notification, error) {
	n := &notification{}
	for i := range cmd.Groups {
		g := &cmd.Groups[i]
		if kind := g.Filter.Kind; kind != imapwire.FilterSelected && kind != imapwire.FilterSelectedDelayed {
			n.groups = append(n.groups, *g)
			continue
		}
		if n.selected != nil {
			return nil, bad("the selected mailbox is in two event groups")
		}
		n.selected = g
	}
	if n.selected != nil && n.selected.Events == 0 {
		n.selected = nil
	}
	boxes, err := c.account.Mailboxes(ctx)
	if err != nil {
		return nil, err
	}
	if len(n.groups) > 0 && len(boxes) > c.srv.cfg.Limits.Watched {
		return nil, no("NOTIFICATIONOVERFLOW", "there are too many mailboxes to watch")
	}
	return n, nil
}

// endNotify drops what NOTIFY has asked for.
func (c *conn) endNotify() {
	if c.notify != nil && c.notify.release != nil {
		c.notify.release()
	}
	c.notify = nil
}

// lookAround notes the state that later events are told against, and tells it
// where asked to (RFC 5465 §3.1).
func (c *conn) lookAround(ctx context.Context, tell bool) error {
	n := c.notify
	boxes, err := c.account.Mailboxes(ctx)
	if err != nil {
		return err
	}
	n.known = make(map[mail.MailboxID]known, len(boxes))
	_, n.account = c.account.AnnotationsSince(0, 0)
	_, n.site = c.srv.cfg.Store.SiteAnnotationsSince(0)
	for i := range boxes {
		box := &boxes[i]
		k := knownOf(box)
		k.annotated = n.account
		n.known[box.ID] = k
		events := n.events(box.Name, box.Subscribed)
		if !tell || events&imapwire.EventMessageNew == 0 || c.sel != nil && c.sel.prefix == "" && c.sel.id == box.ID {
			continue
		}
		if err := c.writeStatus(ctx, c.ownPlace(box), c.statusItems(events)); err != nil {
			return err
		}
	}
	n.orphans, err = c.orphans(ctx)
	return err
}

// statusItems returns what STATUS tells of a mailbox whose messages changed.
func (c *conn) statusItems(events imapwire.Event) imapwire.StatusItems {
	items := imapwire.StatusMessages | imapwire.StatusUIDNext | imapwire.StatusUIDValidity
	if events&imapwire.EventFlagChange != 0 {
		items |= imapwire.StatusUnseen
	}
	if events&imapwire.EventFlagChange != 0 || c.has(condstore) {
		items |= imapwire.StatusHighestModSeq
	}
	return items
}

// events returns what the client wants to hear of a mailbox that is not selected.
func (n *notification) events(name string, subscribed bool) imapwire.Event {
	for i := range n.groups {
		if g := &n.groups[i]; fits(&g.Filter, name, subscribed) {
			return g.Events
		}
	}
	return 0
}

// fits tells whether a filter names a mailbox; FilterSelected names none.
func fits(f *imapwire.MailboxFilter, name string, subscribed bool) bool {
	switch f.Kind {
	case imapwire.FilterInboxes:
		return name == mail.Inbox
	case imapwire.FilterSubscribed:
		return subscribed
	case imapwire.FilterPersonal:
		return true
	case imapwire.FilterSelected, imapwire.FilterSelectedDelayed:
		return false
	}
	return slices.ContainsFunc(f.Names, func(top string) bool { return isWithin(name, top, f.Kind) })
}

// orphans returns the subscribed names that no mailbox has.
func (c *conn) orphans(ctx context.Context) (map[string]bool, error) {
	names, err := c.account.Subscriptions(ctx)
	if err != nil {
		return nil, err
	}
	boxes, err := c.account.Mailboxes(ctx)
	if err != nil {
		return nil, err
	}
	orphans := map[string]bool{}
	for _, name := range names {
		orphans[name] = true
	}
	for i := range boxes {
		delete(orphans, boxes[i].Name)
	}
	return orphans, nil
}

// tellWatched tells what happened to a mailbox; id 0 is a subscription without one.
func (c *conn) tellWatched(ctx context.Context, id mail.MailboxID) error {
	n := c.notify
	old, was := n.known[id]
	box, err := c.account.MailboxByID(ctx, id)
	switch {
	case err != nil && mail.KindOf(err) != mail.KindNotExist:
		return err
	case err != nil && was:
		delete(n.known, id)
		c.tellName(old.name, old.subscribed, imapwire.EventMailboxName, `\NonExistent`, "")
	case err == nil:
		if !was && len(n.known) >= c.srv.cfg.Limits.Watched {
			c.endNotify()
			c.notify = &notification{}
			c.out.Line("* OK [NOTIFICATIONOVERFLOW] there are too many mailboxes to watch")
			return c.out.err
		}
		k := knownOf(&box)
		var entries []string
		entries, k.annotated = c.account.AnnotationsSince(id, old.annotated)
		n.known[id] = k
		if n.events(box.Name, box.Subscribed)&imapwire.EventMailboxMetadataChange != 0 {
			c.tellMetadata(box.Name, entries)
		}
		if err := c.tellBox(ctx, &box, old, was); err != nil {
			return err
		}
	}
	if id == 0 {
		c.tellServerMetadata()
	}
	if id == 0 || was != (err == nil) || old.name != box.Name {
		return c.tellOrphans(ctx, id == 0)
	}
	return c.out.err
}

// tellBox tells what is new of a mailbox that is there.
func (c *conn) tellBox(ctx context.Context, box *mail.Mailbox, old known, was bool) error {
	attributes := ""
	if box.SpecialUse != mail.UseNone {
		attributes = `\` + string(box.SpecialUse)
	}
	switch {
	case !was:
		c.tellName(box.Name, box.Subscribed, imapwire.EventMailboxName, attributes, "")
	case old.name != box.Name:
		c.tellName(box.Name, box.Subscribed, imapwire.EventMailboxName, attributes, old.name)
	case old.subscribed != box.Subscribed:
		// Whoever watches the subscribed wants to hear that one is no longer.
		c.tellName(box.Name, box.Subscribed || old.subscribed, imapwire.EventSubscriptionChange, attributes, "")
	}
	events := c.notify.events(box.Name, box.Subscribed)
	if events&imapwire.EventMessageNew == 0 || c.sel != nil && c.sel.prefix == "" && c.sel.id == box.ID {
		return c.out.err
	}
	now := knownOf(box)
	grown := now.next != old.next || now.messages != old.messages || now.validity != old.validity
	switch {
	case was && grown, !was && now.messages > 0:
		return c.writeStatus(ctx, c.ownPlace(box), c.statusItems(events))
	case was && now.modSeq != old.modSeq && now.name == old.name && now.subscribed == old.subscribed && events&imapwire.EventFlagChange != 0:
		return c.writeStatus(ctx, c.ownPlace(box), imapwire.StatusUIDValidity|imapwire.StatusUnseen|imapwire.StatusHighestModSeq)
	}
	return c.out.err
}

// tellName tells that a mailbox was made, renamed, deleted or (un)subscribed,
// where the client wants to hear of it (RFC 5465 §5.4, §5.5).
func (c *conn) tellName(name string, subscribed bool, event imapwire.Event, attributes, oldName string) {
	if c.notify.events(name, subscribed)&event == 0 {
		return
	}
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
	for i := range n.groups {
		if n.groups[i].Events&imapwire.EventServerMetadataChange != 0 {
			c.tellMetadata("", append(private, shared...))
			return
		}
	}
}

// tellOrphans looks which names without a mailbox are subscribed, and tells
// where that changed.
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
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if !old[name] {
			c.tellName(name, true, imapwire.EventSubscriptionChange, `\NonExistent`, "")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(old)) {
		if !now[name] {
			c.tellName(name, true, imapwire.EventSubscriptionChange, `\NonExistent`, "")
		}
	}
	return c.out.err
}

// tellsExpunges tells whether EXPUNGE may be told whenever the client sends
// nothing (RFC 5465 §6.1).
func (n *notification) tellsExpunges() bool {
	return n.selected != nil && n.selected.Filter.Kind == imapwire.FilterSelected
}

// fetchNew sends what NOTIFY asks for of messages that are new (RFC 5465 §5.2).
func (c *conn) fetchNew(ctx context.Context) error {
	snap := c.sel.view.Snapshot()
	next := snap.Mailbox().UIDNext
	first, _ := snap.Seq(c.sel.fetched)
	c.sel.fetched = next
	if c.notify == nil || len(c.notify.selected.Fetch) == 0 || first > snap.Len() {
		return nil
	}
	return c.fetchUnasked(ctx, []span{{first, snap.Len()}}, c.notify.selected.Fetch)
}

// fetchUnasked sends data items of messages without changing \Seen.
func (c *conn) fetchUnasked(ctx context.Context, spans []span, items []imapwire.FetchItem) error {
	cmd := imapwire.FetchCommand{Items: items}
	f := c.newFetching(&cmd, false)
	f.seen = false
	return f.run(ctx, spans, &cmd)
}
