package pst

import "fmt"

// The page types that trees are made of ([MS-PST] 2.2.2.7.1).
const (
	pageBBT = 0x80
	pageNBT = 0x81
)

// page is a BTPAGE ([MS-PST] 2.2.2.7.7.1).
type page struct {
	ref
	level     int
	entrySize int
	entries   []byte // whole ones
}

func (p *page) count() int         { return len(p.entries) / p.entrySize }
func (p *page) entry(i int) []byte { return p.entries[i*p.entrySize : (i+1)*p.entrySize] }

// page reads a page of a tree.
func (f *File) page(r ref, kind byte) (*page, error) {
	if p, ok := f.pages.get(r.ib); ok && p.bid == r.bid {
		return p, nil
	}
	place := Place{Block: r.bid, Offset: int64(r.ib)}
	b := make([]byte, f.format.page)
	if err := f.readAt(b, r.ib, place); err != nil {
		return nil, err
	}
	p, bad := f.format.parsePage(b, r, kind)
	if p == nil {
		return nil, damaged(place, "page of the tree: %w", bad)
	}
	if bad != nil {
		f.report(damaged(place, "page of the tree: %w", bad))
	}
	f.pages.put(r.ib, p, len(b))
	return p, nil
}

// parsePage reads a BTPAGE. Without a page the error says why it cannot be
// one; with a page it is of its checksum, signature or id.
func (f *format) parsePage(b []byte, r ref, kind byte) (*page, error) {
	t := b[f.trailer:]
	if t[0] != kind || t[1] != kind {
		return nil, fmt.Errorf("type is %#x, %#x, should be %#x", t[0], t[1], kind)
	}
	p := &page{ref: r}
	c, n := b[f.counts:], 0
	if f.page > 512 {
		n, p.entrySize, p.level = int(le.Uint16(c)), int(c[4]), int(c[5])
	} else {
		n, p.entrySize, p.level = int(c[0]), int(c[2]), int(c[3])
	}
	if p.entrySize < f.minEntry(kind, p.level) || n*p.entrySize > f.counts || p.level > 16 {
		return nil, fmt.Errorf("%d entries of %d bytes at level %d", n, p.entrySize, p.level)
	}
	p.entries = b[:n*p.entrySize]
	return p, f.checkPage(b, r)
}

// checkPage compares a page's trailer with the page ([MS-PST] 2.2.2.7.1).
func (f *format) checkPage(b []byte, r ref) error {
	t := b[f.trailer:]
	sum, bid := le.Uint32(t[4:]), uint64(0)
	if f.wide {
		bid = le.Uint64(t[8:])
	} else {
		bid, sum = uint64(le.Uint32(t[4:])), le.Uint32(t[8:])
	}
	if is := checksum(b[:f.trailer]); is != sum {
		return fmt.Errorf("checksum is %#x, should be %#x", is, sum)
	}
	if bid != r.bid {
		return fmt.Errorf("id is %#x, should be %#x", bid, r.bid)
	}
	if sig := signature(r.ib, bid); sig != le.Uint16(t[2:]) {
		return fmt.Errorf("signature is %#x, should be %#x", le.Uint16(t[2:]), sig)
	}
	return nil
}

// minEntry returns the size of a BTENTRY, BBTENTRY or NBTENTRY (2.2.2.7.7.2
// to .4).
func (f *format) minEntry(kind byte, level int) int {
	n := f.idSize()
	if level == 0 && kind == pageNBT {
		if f.wide {
			return 28
		}
		return 16
	}
	if level == 0 && !f.wide {
		return 12
	}
	if level == 0 {
		return 20
	}
	return 3 * n
}
