package imapwire

// UIDBatchesCommand is a decoded UIDBATCHES (RFC 10022).
type UIDBatchesCommand struct {
	Size        uint32 // messages of a batch
	first, last uint32 // batches, the newest is 1; both 0: all
}

// Wants tells whether a batch was asked for.
func (u UIDBatchesCommand) Wants(batch uint32) bool {
	return u.first == 0 || u.first <= batch && batch <= u.last
}

// UIDBatches reads what follows UIDBATCHES.
func (d *Decoder) UIDBatches() UIDBatchesCommand {
	var u UIDBatchesCommand
	d.SP()
	u.Size = d.nz32()
	if d.TrySP() && !d.AtEnd() {
		u.first = d.nz32()
		d.Expect(':')
		u.last = d.nz32()
		if u.first > u.last {
			u.first, u.last = u.last, u.first
		}
	}
	d.End()
	return u
}
