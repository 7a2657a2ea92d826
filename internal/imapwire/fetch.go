package imapwire

import "expost/internal/mail"

// FetchKind is the kind of a FETCH data item.
type FetchKind uint8

// The data items of FETCH (RFC 9051 §6.4.5 and extensions).
const (
	FetchFlags FetchKind = iota
	FetchUID
	FetchInternalDate
	FetchSize
	FetchModSeq        // RFC 7162
	FetchEmailID       // RFC 8474
	FetchThreadID      // RFC 8474
	FetchSaveDate      // RFC 8514
	FetchEnvelope      // from the stored structure from here on
	FetchBody          // BODY without section
	FetchBodyStructure //
	FetchPreview       // RFC 8970
	FetchSection       // BODY[...], from the message's bytes from here on
	FetchRFC822        // RFC822
	FetchRFC822Header  // RFC822.HEADER
	FetchRFC822Text    // RFC822.TEXT
	FetchBinary        // BINARY[...], RFC 3516
	FetchBinarySize    // BINARY.SIZE[...]
)

// FetchItem is one data item that FETCH asks for.
type FetchItem struct {
	Kind    FetchKind
	Section Section
	Partial Partial
	Peek    bool // does not set \Seen
}

// SetsSeen tells whether fetching the item sets \Seen.
func (it FetchItem) SetsSeen() bool {
	switch it.Kind {
	case FetchSection, FetchBinary, FetchRFC822, FetchRFC822Text:
		return !it.Peek
	}
	return false
}

// FetchCommand is a decoded FETCH.
type FetchCommand struct {
	Set          NumSet
	Items        []FetchItem
	ChangedSince mail.ModSeq // RFC 7162 §3.1.4.1; counts where Changed
	Changed      bool
	Vanished     bool         // RFC 7162 §3.2.6
	Partial      PartialRange // RFC 9394 §3.3
}

// Fetch reads what follows FETCH.
func (d *Decoder) Fetch() FetchCommand {
	var cmd FetchCommand
	d.SP()
	cmd.Set = d.NumSet()
	d.SP()
	cmd.Items = d.FetchItems()
	if d.TrySP() && !d.AtEnd() {
		d.List(func() { d.fetchModifier(&cmd) })
	}
	d.End()
	return cmd
}

// fetchModifier reads one modifier of FETCH (RFC 4466 §2.4).
func (d *Decoder) fetchModifier(cmd *FetchCommand) {
	switch word := d.Keyword(); word {
	case "CHANGEDSINCE":
		d.SP()
		cmd.ChangedSince, cmd.Changed = mail.ModSeq(d.Number()), true
	case "VANISHED":
		cmd.Vanished = true
	case "PARTIAL":
		if cmd.Partial.Given() {
			d.Fail("PARTIAL may be given once")
		}
		d.SP()
		cmd.Partial = d.partialRange()
	default:
		d.Fail("unknown fetch modifier " + word)
	}
}

// FetchItems reads one data item, a macro, or a list of data items.
func (d *Decoder) FetchItems() []FetchItem {
	if d.peek() == '(' {
		var items []FetchItem
		d.List(func() { items = append(items, d.fetchItem()) })
		if len(items) == 0 {
			d.Fail("expected a data item")
		}
		return items
	}
	kinds := []FetchKind{FetchFlags, FetchInternalDate, FetchSize, FetchEnvelope, FetchBody}
	switch {
	case d.TryKeyword("ALL"):
		kinds = kinds[:4]
	case d.TryKeyword("FAST"):
		kinds = kinds[:3]
	case d.TryKeyword("FULL"):
	default:
		return []FetchItem{d.fetchItem()}
	}
	items := make([]FetchItem, len(kinds))
	for i, k := range kinds {
		items[i].Kind = k
	}
	return items
}

// fetchWord reads the name of a data item: an atom up to a bracket.
func (d *Decoder) fetchWord() string {
	b := d.take(func(c byte) bool { return c != '[' && c != '<' && atomChar(c) })
	word := make([]byte, len(b))
	for i, c := range b {
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		word[i] = c
	}
	return string(word)
}

// fetchItem reads one data item.
func (d *Decoder) fetchItem() FetchItem {
	at := d.off
	word := d.fetchWord()
	if kind, ok := plainItem(word); ok && d.peek() != '[' {
		return FetchItem{Kind: kind, Peek: kind == FetchRFC822Header}
	}
	var it FetchItem
	switch word {
	case "BODY", "BODY.PEEK":
		it = FetchItem{Kind: FetchSection, Peek: word == "BODY.PEEK", Section: d.section(), Partial: d.partial()}
	case "BINARY", "BINARY.PEEK":
		it = FetchItem{Kind: FetchBinary, Peek: word == "BINARY.PEEK", Section: d.binarySection(), Partial: d.partial()}
	case "BINARY.SIZE":
		it = FetchItem{Kind: FetchBinarySize, Section: d.binarySection()}
	case "PREVIEW":
		it.Kind = FetchPreview
		d.previewModifiers()
	default:
		d.off = at
		d.Fail("unknown data item " + word)
	}
	return it
}

// plainItem returns the kind of a data item that is only a word.
func plainItem(word string) (FetchKind, bool) {
	switch word {
	case "FLAGS":
		return FetchFlags, true
	case "UID":
		return FetchUID, true
	case "INTERNALDATE":
		return FetchInternalDate, true
	case "RFC822.SIZE":
		return FetchSize, true
	case "MODSEQ":
		return FetchModSeq, true
	case "EMAILID":
		return FetchEmailID, true
	case "THREADID":
		return FetchThreadID, true
	case "SAVEDATE":
		return FetchSaveDate, true
	case "ENVELOPE":
		return FetchEnvelope, true
	case "BODY":
		return FetchBody, true
	case "BODYSTRUCTURE":
		return FetchBodyStructure, true
	case "RFC822":
		return FetchRFC822, true
	case "RFC822.HEADER":
		return FetchRFC822Header, true
	case "RFC822.TEXT":
		return FetchRFC822Text, true
	}
	return 0, false
}

// previewModifiers reads the "(LAZY)" that may follow PREVIEW (RFC 8970 §3.1).
// Previews are stored, so that LAZY changes nothing.
func (d *Decoder) previewModifiers() {
	if d.off+1 >= len(d.line) || d.peek() != ' ' || d.line[d.off+1] != '(' {
		return
	}
	d.off++
	d.List(func() {
		if !d.TryKeyword("LAZY") {
			d.Fail("unknown preview modifier")
		}
	})
}
