package imapwire

// FilterKind is how a MailboxFilter names mailboxes.
type FilterKind uint8

// The kinds of filters (RFC 5465 §6, RFC 7377 §2.2).
const (
	FilterSelected        FilterKind = iota // the selected mailbox
	FilterInboxes                           // those that mail is delivered to
	FilterPersonal                          // all of the user's
	FilterSubscribed                        // all that are subscribed
	FilterSubtree                           // Names and all below them
	FilterSubtreeOne                        // Names and those one level below them
	FilterMailboxes                         // Names
	FilterSelectedDelayed                   // the selected mailbox, its EXPUNGEs only where they are allowed (RFC 5465 §6.1)
)

// MailboxFilter names mailboxes.
type MailboxFilter struct {
	Kind  FilterKind
	Names []string
}

// MultiSearchCommand is a decoded ESEARCH command.
type MultiSearchCommand struct {
	In     []MailboxFilter
	Search SearchCommand
}

// MultiSearch reads what follows ESEARCH (RFC 7377 §2.2).
func (d *Decoder) MultiSearch(utf8Names bool) MultiSearchCommand {
	var cmd MultiSearchCommand
	d.SP()
	if d.TryKeyword("IN") {
		d.SP()
		d.List(func() { cmd.In = append(cmd.In, d.mailboxFilter(utf8Names)) })
		if len(cmd.In) == 0 {
			d.Fail("expected mailboxes to search")
		}
		d.SP()
	} else {
		cmd.In = []MailboxFilter{{Kind: FilterSelected}}
	}
	d.searchProgram(&cmd.Search)
	return cmd
}

// mailboxFilter reads one filter.
func (d *Decoder) mailboxFilter(utf8Names bool) MailboxFilter {
	at := d.off
	switch word := d.Keyword(); word {
	case "SELECTED":
		return MailboxFilter{Kind: FilterSelected}
	case "INBOXES":
		return MailboxFilter{Kind: FilterInboxes}
	case "PERSONAL":
		return MailboxFilter{Kind: FilterPersonal}
	case "SUBSCRIBED":
		return MailboxFilter{Kind: FilterSubscribed}
	case "SUBTREE":
		return MailboxFilter{FilterSubtree, d.mailboxes(utf8Names)}
	case "SUBTREE-ONE":
		return MailboxFilter{FilterSubtreeOne, d.mailboxes(utf8Names)}
	case "MAILBOXES":
		return MailboxFilter{FilterMailboxes, d.mailboxes(utf8Names)}
	default:
		d.off = at
		d.Fail("unknown mailbox filter " + word)
		return MailboxFilter{}
	}
}

// mailboxes reads one mailbox or a list of them.
func (d *Decoder) mailboxes(utf8Names bool) []string {
	d.SP()
	if d.peek() != '(' {
		return []string{d.Mailbox(utf8Names)}
	}
	var names []string
	d.List(func() { names = append(names, d.Mailbox(utf8Names)) })
	return names
}
