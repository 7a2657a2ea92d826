package imapwire

import "strings"

// maxEntryName bounds the name of an annotation, in bytes.
const maxEntryName = 512

// GetMetadataCommand is a decoded GETMETADATA (RFC 5464 §4.2).
type GetMetadataCommand struct {
	Mailbox string // empty: the server
	MaxSize int64  // bytes; -1: no limit
	Depth   int    // 0, 1, or -1: infinity
	Entries []string
}

// GetMetadata reads what follows GETMETADATA. The options may stand before the
// mailbox, as the grammar has it, or behind, as the examples do.
func (d *Decoder) GetMetadata(utf8Names bool) GetMetadataCommand {
	cmd := GetMetadataCommand{MaxSize: -1}
	d.SP()
	if d.peek() == '(' {
		d.metadataOptions(&cmd)
		d.SP()
	}
	cmd.Mailbox = d.Mailbox(utf8Names)
	d.SP()
	if d.peek() == '(' && d.off+1 < len(d.line) && d.line[d.off+1] != '/' && d.line[d.off+1] != '"' && d.line[d.off+1] != '{' {
		d.metadataOptions(&cmd)
		d.SP()
	}
	entry := func() { cmd.Entries = append(cmd.Entries, d.EntryName(1)) }
	if d.peek() == '(' {
		d.List(entry)
	} else {
		for entry(); d.TrySP() && !d.AtEnd() && len(cmd.Entries) < d.lim.List; {
			entry()
		}
	}
	if len(cmd.Entries) == 0 {
		d.Fail("expected the name of an annotation")
	}
	d.End()
	return cmd
}

// metadataOptions reads MAXSIZE and DEPTH.
func (d *Decoder) metadataOptions(cmd *GetMetadataCommand) {
	d.List(func() {
		switch word := d.Keyword(); word {
		case "MAXSIZE":
			d.SP()
			cmd.MaxSize = d.Number()
		case "DEPTH":
			d.SP()
			switch depth := d.Keyword(); depth {
			case "0":
				cmd.Depth = 0
			case "1":
				cmd.Depth = 1
			case "INFINITY":
				cmd.Depth = -1
			default:
				d.Fail("DEPTH is 0, 1 or infinity")
			}
		default:
			d.Fail("unknown GETMETADATA option " + word)
		}
	})
}

// MetadataEntry is an annotation to be set; a nil value removes it.
type MetadataEntry struct {
	Name  string
	Value []byte
}

// SetMetadataCommand is a decoded SETMETADATA (RFC 5464 §4.3).
type SetMetadataCommand struct {
	Mailbox string // empty: the server
	Entries []MetadataEntry
}

// SetMetadata reads what follows SETMETADATA.
func (d *Decoder) SetMetadata(utf8Names bool) SetMetadataCommand {
	var cmd SetMetadataCommand
	d.SP()
	cmd.Mailbox = d.Mailbox(utf8Names)
	d.SP()
	d.List(func() {
		e := MetadataEntry{Name: d.EntryName(2)}
		d.SP()
		if text, given := d.NString(); given {
			e.Value = append([]byte{}, text...)
		}
		cmd.Entries = append(cmd.Entries, e)
	})
	if len(cmd.Entries) == 0 {
		d.Fail("expected an annotation")
	}
	d.End()
	return cmd
}

// EntryName reads the name of an annotation of at least some components, and
// returns it in lower case (RFC 5464 §3.2).
func (d *Decoder) EntryName(components int) string {
	at := d.off
	name := strings.ToLower(d.AString())
	if d.err == nil && !isEntryName(name, components) {
		d.off = min(at, len(d.line))
		d.Fail("that cannot be the name of an annotation")
	}
	return name
}

// isEntryName tells whether an annotation can have a name.
func isEntryName(name string, components int) bool {
	if len(name) > maxEntryName || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '*' || r == '%' }) {
		return false
	}
	parts := strings.Split(name, "/")
	if parts[0] != "" || len(parts)-1 < components || parts[1] != "private" && parts[1] != "shared" {
		return false
	}
	for _, part := range parts[1:] {
		if part == "" {
			return false
		}
	}
	vendor := len(parts) > 2 && parts[2] == "vendor"
	return !vendor || components < 2 || len(parts)-1 >= 4
}

// IsFilterName tells whether a stored search can have a name (RFC 5466 §4).
func IsFilterName(name string) bool {
	for i := range len(name) {
		if !atomChar(name[i]) || name[i] == '/' {
			return false
		}
	}
	return name != ""
}
