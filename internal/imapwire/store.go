package imapwire

import "expost/internal/mail"

// StoreOp is how STORE changes flags.
type StoreOp uint8

// The three forms of STORE (RFC 9051 §6.4.6).
const (
	StoreSet StoreOp = iota
	StoreAdd
	StoreRemove
)

// StoreCommand is a decoded STORE.
type StoreCommand struct {
	Set            NumSet
	UnchangedSince mail.ModSeq // RFC 7162 §3.1.3; counts where Conditional
	Conditional    bool
	Op             StoreOp
	Silent         bool
	Flags          FlagList
}

// Store reads what follows STORE.
func (d *Decoder) Store() StoreCommand {
	var cmd StoreCommand
	d.SP()
	cmd.Set = d.NumSet()
	d.SP()
	if d.peek() == '(' {
		d.List(func() {
			if !d.TryKeyword("UNCHANGEDSINCE") {
				d.Fail("unknown store modifier")
			}
			d.SP()
			cmd.UnchangedSince, cmd.Conditional = mail.ModSeq(d.Number()), true
		})
		d.SP()
	}
	switch {
	case d.Try('+'):
		cmd.Op = StoreAdd
	case d.Try('-'):
		cmd.Op = StoreRemove
	}
	at := d.off
	switch d.Keyword() {
	case "FLAGS":
	case "FLAGS.SILENT":
		cmd.Silent = true
	default:
		d.off = at
		d.Fail("expected FLAGS or FLAGS.SILENT")
	}
	d.SP()
	cmd.Flags = d.StoreFlags()
	d.End()
	return cmd
}
