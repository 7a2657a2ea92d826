package imapwire

// Event is a kind of event that NOTIFY tells of (RFC 5465 §5), as a bit.
type Event uint8

// The events.
const (
	EventMessageNew Event = 1 << iota
	EventMessageExpunge
	EventFlagChange
	EventMailboxName
	EventSubscriptionChange
	EventMailboxMetadataChange
	EventServerMetadataChange
	EventUnknown // any other

	messageEvents = EventMessageNew | EventMessageExpunge | EventFlagChange
)

// EventGroup says of which mailboxes a client wants to hear what.
type EventGroup struct {
	Filter MailboxFilter
	Events Event       // none: of these mailboxes the client wants to hear nothing
	Fetch  []FetchItem // of a new message in the selected mailbox
}

// Messages tells whether the group is about messages.
func (g *EventGroup) Messages() bool { return g.Events&messageEvents != 0 }

// NotifyCommand is a decoded NOTIFY. One without groups is NOTIFY NONE.
type NotifyCommand struct {
	Status bool // tell the present state first
	Groups []EventGroup
}

// Unknown tells whether there is an event that nobody knows.
func (c *NotifyCommand) Unknown() bool {
	for _, g := range c.Groups {
		if g.Events&EventUnknown != 0 {
			return true
		}
	}
	return false
}

// Notify reads what follows NOTIFY (RFC 5465 §8).
func (d *Decoder) Notify(utf8Names bool) NotifyCommand {
	var cmd NotifyCommand
	d.SP()
	if d.TryKeyword("NONE") {
		d.End()
		return cmd
	}
	if !d.TryKeyword("SET") {
		d.Fail("expected SET or NONE")
	}
	d.SP()
	if cmd.Status = d.TryKeyword("STATUS"); cmd.Status {
		d.SP()
	}
	for d.err == nil {
		if len(cmd.Groups) >= d.lim.List {
			d.tooBig("too many event groups")
		}
		cmd.Groups = append(cmd.Groups, d.eventGroup(utf8Names))
		if !d.TrySP() || d.AtEnd() {
			break
		}
	}
	d.End()
	return cmd
}

// eventGroup reads "(filter events)".
func (d *Decoder) eventGroup(utf8Names bool) EventGroup {
	var g EventGroup
	d.Expect('(')
	if d.TryKeyword("SELECTED-DELAYED") {
		g.Filter.Kind = FilterSelectedDelayed
	} else {
		g.Filter = d.mailboxFilter(utf8Names)
	}
	d.SP()
	at := d.off
	if !d.TryKeyword("NONE") {
		d.List(func() { d.event(&g) })
		if g.Events == 0 {
			d.Fail("expected events")
		}
	}
	selected := g.Filter.Kind == FilterSelected || g.Filter.Kind == FilterSelectedDelayed
	both := EventMessageNew | EventMessageExpunge
	problem := ""
	switch {
	case g.Messages() && g.Events&both != both:
		problem = "MessageNew and MessageExpunge go together, and with FlagChange"
	case selected && g.Events&^messageEvents&^EventUnknown != 0:
		problem = "the selected mailbox has message events alone"
	case !selected && len(g.Fetch) > 0:
		problem = "data items are for the selected mailbox alone"
	}
	if problem != "" && d.err == nil {
		d.off = at
		d.Fail(problem)
	}
	d.Expect(')')
	return g
}

// event reads one event, with the data items of a MessageNew.
func (d *Decoder) event(g *EventGroup) {
	switch d.Keyword() {
	case "MESSAGENEW":
		g.Events |= EventMessageNew
		g.Fetch = d.bracketedItems()
	case "MESSAGEEXPUNGE":
		g.Events |= EventMessageExpunge
	case "FLAGCHANGE":
		g.Events |= EventFlagChange
	case "MAILBOXNAME":
		g.Events |= EventMailboxName
	case "SUBSCRIPTIONCHANGE":
		g.Events |= EventSubscriptionChange
	case "MAILBOXMETADATACHANGE":
		g.Events |= EventMailboxMetadataChange
	case "SERVERMETADATACHANGE":
		g.Events |= EventServerMetadataChange
	default:
		g.Events |= EventUnknown
	}
}

// bracketedItems reads data items that may follow in parentheses.
func (d *Decoder) bracketedItems() []FetchItem {
	at := d.off
	d.TrySP()
	if d.peek() != '(' {
		d.off = at
		return nil
	}
	return d.FetchItems()
}
