package imapwire

// ListSelect are the selection options of LIST (RFC 5258 §3.1, RFC 6154 §4).
type ListSelect struct {
	Subscribed, Remote, RecursiveMatch, SpecialUse bool
}

// ListReturn are the return options of LIST (RFC 5258 §3.2, RFC 5819, RFC 6154,
// RFC 8440, RFC 9590).
type ListReturn struct {
	Subscribed, Children, SpecialUse bool
	Status                           StatusItems // RFC 5819
	MyRights                         bool        // RFC 8440
	Metadata                         []string    // the names of annotations (RFC 9590)
}

// ListCommand is a decoded LIST.
type ListCommand struct {
	Extended  bool // written in the form of RFC 5258
	Select    ListSelect
	Reference string
	Patterns  []string
	Return    ListReturn
}

// ListCommand reads what follows LIST.
func (d *Decoder) ListCommand(utf8Names bool) ListCommand {
	var cmd ListCommand
	d.SP()
	if d.peek() == '(' {
		cmd.Extended = true
		cmd.Select = d.listSelect()
		d.SP()
	}
	cmd.Reference = d.Reference(utf8Names)
	d.SP()
	if d.peek() == '(' {
		cmd.Extended = true
		d.List(func() { cmd.Patterns = append(cmd.Patterns, d.ListPattern(utf8Names)) })
	} else {
		cmd.Patterns = []string{d.ListPattern(utf8Names)}
	}
	if d.TrySP() && !d.AtEnd() {
		if !d.TryKeyword("RETURN") {
			d.Fail("expected RETURN")
		}
		d.SP()
		cmd.Extended = true
		d.List(func() { d.listReturn(&cmd.Return) })
	}
	d.End()
	return cmd
}

// listSelect reads the selection options.
func (d *Decoder) listSelect() ListSelect {
	var s ListSelect
	d.List(func() {
		switch word := d.Keyword(); word {
		case "SUBSCRIBED":
			s.Subscribed = true
		case "REMOTE":
			s.Remote = true
		case "RECURSIVEMATCH":
			s.RecursiveMatch = true
		case "SPECIAL-USE":
			s.SpecialUse = true
		default:
			d.Fail("unknown selection option " + word)
		}
	})
	if s.RecursiveMatch && !s.Subscribed && !s.SpecialUse {
		d.Fail("RECURSIVEMATCH needs another selection option")
	}
	return s
}

// listReturn reads one return option.
func (d *Decoder) listReturn(r *ListReturn) {
	switch word := d.Keyword(); word {
	case "SUBSCRIBED":
		r.Subscribed = true
	case "CHILDREN":
		r.Children = true
	case "SPECIAL-USE":
		r.SpecialUse = true
	case "STATUS":
		d.SP()
		r.Status = d.StatusItems()
	case "MYRIGHTS":
		r.MyRights = true
	case "METADATA":
		d.SP()
		d.List(func() { r.Metadata = append(r.Metadata, d.EntryName(2)) })
		if len(r.Metadata) == 0 {
			d.Fail("expected the name of an annotation")
		}
	default:
		d.Fail("unknown return option " + word)
	}
}

// StatusItems is a set of STATUS data items.
type StatusItems uint16

// The data items of STATUS (RFC 9051 §6.3.11, RFC 7162, RFC 8474,
// RFC 7889, RFC 9208), in the order they are answered.
const (
	StatusMessages StatusItems = 1 << iota
	StatusRecent
	StatusUIDNext
	StatusUIDValidity
	StatusUnseen
	StatusDeleted
	StatusSize
	StatusHighestModSeq
	StatusMailboxID
	StatusAppendLimit
	StatusDeletedStorage
)

// StatusItems reads the list of STATUS.
func (d *Decoder) StatusItems() StatusItems {
	var items StatusItems
	d.List(func() {
		word := d.Keyword()
		switch word {
		case "MESSAGES":
			items |= StatusMessages
		case "RECENT":
			items |= StatusRecent
		case "UIDNEXT":
			items |= StatusUIDNext
		case "UIDVALIDITY":
			items |= StatusUIDValidity
		case "UNSEEN":
			items |= StatusUnseen
		case "DELETED":
			items |= StatusDeleted
		case "SIZE":
			items |= StatusSize
		case "HIGHESTMODSEQ":
			items |= StatusHighestModSeq
		case "MAILBOXID":
			items |= StatusMailboxID
		case "DELETED-STORAGE":
			items |= StatusDeletedStorage
		case "APPENDLIMIT":
			items |= StatusAppendLimit
		default:
			d.Fail("unknown status item " + word)
		}
	})
	return items
}
