package imapwire

// PartialRange is a range of results, counted from 1 (RFC 9394 §4): of the
// first, or of the last where FromEnd.
type PartialRange struct {
	First, Last uint32 // in order; both 0: not given
	FromEnd     bool
	text        string // as the client wrote it
}

// Given tells whether there is a range.
func (p PartialRange) Given() bool { return p.First > 0 }

// Bounds returns the indexes [from, to) of the range in a list of n results.
func (p PartialRange) Bounds(n int) (from, to int) {
	first, last := min(int64(p.First)-1, int64(n)), min(int64(p.Last), int64(n))
	if p.FromEnd {
		first, last = int64(n)-last, int64(n)-first
	}
	return int(first), int(last)
}

// Append appends the range as the client wrote it: a response repeats it.
func (p PartialRange) Append(dst []byte) []byte { return append(dst, p.text...) }

// partialRange reads "1:100" or "-1:-100".
func (d *Decoder) partialRange() PartialRange {
	p := PartialRange{FromEnd: d.Try('-')}
	start := d.off
	p.First = d.nz32()
	d.Expect(':')
	if p.FromEnd {
		d.Expect('-')
	}
	p.Last = d.nz32()
	if d.err != nil {
		return PartialRange{}
	}
	if p.text = string(d.line[start:d.off]); p.FromEnd {
		p.text = "-" + p.text
	}
	if p.First > p.Last {
		p.First, p.Last = p.Last, p.First
	}
	return p
}
