package migrate

// Counts are the items of a folder, an account or a plan by state.
type Counts struct {
	Seen, Copied, There, Aside, Gone int
	Verified                         int   // of Copied and There
	Bytes                            int64 // of Copied and There
}

// add adds n items.
func (c *Counts) add(s ItemState, n int, bytes int64, verified int) {
	switch s {
	case Seen:
		c.Seen += n
	case Copied, Stale: // a stale row's copy is at the target until the pass decides
		c.Copied += n
	case There:
		c.There += n
	case Aside:
		c.Aside += n
	case Gone:
		c.Gone += n
	}
	if s.placed() {
		c.Bytes += bytes
		c.Verified += verified
	}
}

// plus adds another sum.
func (c *Counts) plus(o Counts) {
	c.Seen += o.Seen
	c.Copied += o.Copied
	c.There += o.There
	c.Aside += o.Aside
	c.Gone += o.Gone
	c.Verified += o.Verified
	c.Bytes += o.Bytes
}

// Items returns the number of items that the source holds.
func (c Counts) Items() int { return c.Seen + c.Copied + c.There + c.Aside }

// Placed returns the number of items that the target holds.
func (c Counts) Placed() int { return c.Copied + c.There }
