package imapserver

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"expost/internal/imapwire"
	"expost/internal/mail"
	"expost/internal/store"
)

// notifyCommand is NOTIFY (RFC 5465): the client says what it wants to hear of,
// and hears of it whenever it sends nothing. What is told is in tell.go.
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
		n, err := newNotification(&cmd)
		if err != nil {
			return reply{}, err
		}
		before := c.notify
		c.notify = n
		if err := c.lookAround(ctx, cmd.Status); err != nil {
			c.endNotify()
			c.notify = before
			return reply{}, err
		}
		if c.notify = before; before != nil {
			c.endNotify()
		}
		c.notify = n
		return ok("", "so be it"), c.out.err
	}}
}

// notification is what a client has asked for with NOTIFY.
type notification struct {
	selected *imapwire.EventGroup  // what it wants to hear of the selected mailbox; nil: nothing
	groups   []imapwire.EventGroup // of the others
	watcher  *store.Watcher        // tells what changed; nil: no groups
	known    map[boxID]*known
	sharers  map[mail.AccountID]*sharer // whose mailboxes are watched; nil: no group can name one
	orphans  map[string]bool            // subscribed names without a mailbox of the user's own

	account, site uint64 // counts of changes of annotations that were told
}

// boxID names a mailbox of any account.
type boxID struct {
	account mail.AccountID
	id      mail.MailboxID
}

// known is what a client knows of a mailbox.
type known struct {
	name       string // the client's
	readable   bool   // its messages may be seen
	validity   mail.UIDValidity
	next       mail.UID
	modSeq     mail.ModSeq
	messages   int
	subscribed bool
	annotated  uint64 // the count of changes of annotations that were told
}

// knownOf returns what a client that was told of a mailbox knows.
func knownOf(p *place) known {
	box := &p.box
	return known{name: box.Name, readable: p.rights.Has(mail.RightRead), validity: box.UIDValidity, next: box.UIDNext, modSeq: box.HighestModSeq, messages: box.Messages, subscribed: box.Subscribed}
}

// sharer is an account of another whose mailboxes are watched.
type sharer struct {
	account *store.Account
	prefix  string
	leave   func()
}

// newNotification checks what a client asks for.
func newNotification(cmd *imapwire.NotifyCommand) (*notification, error) {
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
	return n, nil
}

// endNotify drops what NOTIFY has asked for.
func (c *conn) endNotify() {
	n := c.notify
	if c.notify = nil; n == nil || n.watcher == nil {
		return
	}
	n.watcher.Close()
	for _, s := range n.sharers {
		s.leave()
	}
}

// lookAround begins to watch: it notes the state that later events are told
// against, and tells it where asked to (RFC 5465 §3.1).
func (c *conn) lookAround(ctx context.Context, tell bool) error {
	n := c.notify
	if len(n.groups) == 0 {
		return nil
	}
	n.watcher = store.NewWatcher()
	n.watcher.Watch(c.account.Account)
	boxes, err := c.account.Mailboxes(ctx)
	if err != nil {
		return err
	}
	n.known = make(map[boxID]*known, len(boxes))
	_, n.account = c.account.AnnotationsSince(0, 0)
	_, n.site = c.srv.cfg.Store.SiteAnnotationsSince(0)
	var places []place
	for i := range boxes {
		places = append(places, *c.ownPlace(&boxes[i]))
	}
	if slices.ContainsFunc(n.groups, namesOthers) && c.shares() {
		n.sharers = make(map[mail.AccountID]*sharer)
		owners, err := c.srv.cfg.Store.Sharers(ctx, c.principal(ctx))
		if err != nil {
			return err
		}
		for _, id := range owners {
			found, err := c.watchSharer(ctx, id)
			if err != nil {
				return err
			}
			places = append(places, found...)
		}
	}
	if len(places) > c.srv.cfg.Limits.Watched {
		return no("NOTIFICATIONOVERFLOW", "there are too many mailboxes to watch")
	}
	for i := range places {
		if err := c.lookAt(ctx, &places[i], tell); err != nil {
			return err
		}
	}
	n.orphans, err = c.orphans(ctx)
	return err
}

// lookAt notes the state of a mailbox, and tells it.
func (c *conn) lookAt(ctx context.Context, p *place, tell bool) error {
	k := knownOf(p)
	_, k.annotated = p.account.AnnotationsSince(p.box.ID, 0)
	c.notify.known[p.id()] = &k
	events := c.notify.events(namedBy(p))
	if events != 0 && !k.readable { // RFC 5465 §3.1
		c.writeName(p.box.Name, `\NoAccess`, "")
		return c.out.err
	}
	if !tell || events&imapwire.EventMessageNew == 0 || c.hasSelected(p) {
		return c.out.err
	}
	return c.writeStatus(ctx, p, c.statusItems(events))
}

// id returns which mailbox a place is.
func (p *place) id() boxID { return boxID{p.account.ID(), p.box.ID} }

// namesOthers tells whether a group can name mailboxes of others.
func namesOthers(g imapwire.EventGroup) bool {
	switch g.Filter.Kind {
	case imapwire.FilterInboxes, imapwire.FilterPersonal:
		return false
	case imapwire.FilterSubscribed:
		return true
	}
	return slices.ContainsFunc(g.Filter.Names, func(name string) bool {
		space, _, _ := splitShared(name)
		return space != "" || name == ""
	})
}

// watchSharer begins to watch the account of another, and returns its mailboxes
// that the client may see. One that cannot be used now is left out.
func (c *conn) watchSharer(ctx context.Context, id mail.AccountID) ([]place, error) {
	acct, err := c.srv.cfg.People.ByStore(ctx, id)
	if err != nil && mail.KindOf(err) == mail.KindNotExist || err == nil && !c.srv.servedHere(acct.Host) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	const patience = time.Second // with an account that is being moved
	entering, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	leave, err := c.enterAccount(entering, id)
	if err != nil {
		c.log.Warn("watching another's account", slog.Any("account", id), slog.Any("error", err))
		return nil, ctx.Err()
	}
	account, err := c.srv.cfg.Store.Open(ctx, id)
	if err != nil {
		leave()
		if mail.KindOf(err) == mail.KindNotExist {
			return nil, nil
		}
		return nil, err
	}
	s := &sharer{account: account, prefix: prefixOf(acct), leave: func() {
		account.Release()
		leave()
	}}
	c.notify.sharers[id] = s
	c.notify.watcher.Watch(account)
	access := c.accessTo(ctx, s)
	boxes, err := access.Mailboxes(ctx)
	if err != nil {
		return nil, err
	}
	var found []place
	for i := range boxes {
		if p := s.place(access, &boxes[i]); p.rights.Has(mail.RightLookup) {
			found = append(found, p)
		}
	}
	return found, nil
}

// accessTo returns the account of a sharer as the client sees it now.
func (c *conn) accessTo(ctx context.Context, s *sharer) *store.Access {
	return s.account.Access(c.principal(ctx), c.srv.cfg.Personal)
}

// place returns a mailbox of the sharer's.
func (s *sharer) place(access *store.Access, box *mail.Mailbox) place {
	return (&place{account: access, prefix: s.prefix}).beside(box)
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

// named is a name that a filter may name.
type named struct {
	name       string
	own        bool // a mailbox of the client's own
	takesMail  bool // mail may be delivered there
	subscribed bool
}

// namedBy returns what filters look at of a mailbox; whether one of another's is
// subscribed its place does not say.
func namedBy(p *place) named {
	return named{name: p.box.Name, own: p.own(), takesMail: p.own() && takesMail(p.box.SpecialUse), subscribed: p.box.Subscribed}
}

// takesMail tells whether mail is delivered to mailboxes of a role: to all but
// those that hold what the user wrote or threw away, because of sub-addresses.
func takesMail(use mail.SpecialUse) bool {
	return !slices.Contains([]mail.SpecialUse{mail.UseSent, mail.UseDrafts, mail.UseTrash, mail.UseAll}, use)
}

// events returns what the client wants to hear of a mailbox that is not selected:
// what any group that names it says (RFC 5465 §6), up to one that says NONE.
func (n *notification) events(m named) imapwire.Event {
	var events imapwire.Event
	for i := range n.groups {
		if g := &n.groups[i]; fits(&g.Filter, m) {
			if g.Events == 0 {
				break
			}
			events |= g.Events
		}
	}
	return events
}

// fits tells whether a filter names a mailbox; FilterSelected names none.
func fits(f *imapwire.MailboxFilter, m named) bool {
	switch f.Kind {
	case imapwire.FilterInboxes:
		return m.takesMail
	case imapwire.FilterSubscribed:
		return m.subscribed
	case imapwire.FilterPersonal:
		return m.own
	case imapwire.FilterSelected, imapwire.FilterSelectedDelayed:
		return false
	}
	return slices.ContainsFunc(f.Names, func(top string) bool { return isWithin(m.name, top, f.Kind) })
}

// orphans returns the subscribed names that no mailbox of the user's own has.
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

// parentOf returns the name above a name, or nothing.
func parentOf(name string) string {
	return name[:max(0, strings.LastIndex(name, mail.Delimiter))]
}

// The client's own doings are not told to it (RFC 5465 §5).

// madeName notes that the client made a mailbox, and with it those above it.
func (c *conn) madeName(ctx context.Context, p *place) {
	if c.notify == nil || c.notify.watcher == nil {
		return
	}
	for name := p.name; name != ""; name = parentOf(name) {
		box, err := p.account.Mailbox(ctx, name)
		if err != nil {
			continue // gone already: there is nothing to tell
		}
		at := p.beside(&box)
		if c.notify.known[at.id()] == nil && (p.own() || at.rights.Has(mail.RightLookup)) {
			k := knownOf(&at)
			k.messages, k.next = 0, 1 // what came into it is told
			c.notify.known[at.id()] = &k
		}
	}
}

// movedNames notes that the client renamed a mailbox, and those below it.
func (c *conn) movedNames(account mail.AccountID, from, to string) {
	if c.notify == nil {
		return
	}
	if _, k := c.notify.find(account, from); k != nil {
		k.name = to
	}
	c.notify.movedBelow(account, from, to)
}

// movedBelow notes that the mailboxes below a name are below another.
func (n *notification) movedBelow(account mail.AccountID, from, to string) {
	for id, k := range n.known {
		if below, is := strings.CutPrefix(k.name, from+mail.Delimiter); is && id.account == account {
			k.name = to + mail.Delimiter + below
		}
	}
}

// deletedName notes that the client deleted a mailbox.
func (c *conn) deletedName(account mail.AccountID, name string) {
	if c.notify != nil {
		id, _ := c.notify.find(account, name)
		delete(c.notify.known, id)
	}
}

// find returns what the client knows of a mailbox of an account; nil: nothing.
func (n *notification) find(account mail.AccountID, name string) (boxID, *known) {
	for id, k := range n.known {
		if k.name == name && id.account == account {
			return id, k
		}
	}
	return boxID{}, nil
}

// subscribedName notes that the client subscribed a name, or no longer does.
func (c *conn) subscribedName(name string, on bool) {
	if c.notify == nil || c.notify.watcher == nil {
		return
	}
	if _, k := c.notify.find(c.account.ID(), name); k != nil {
		k.subscribed = on
		return
	}
	if c.notify.orphans[name] = true; !on {
		delete(c.notify.orphans, name)
	}
}
