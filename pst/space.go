package pst

import (
	"fmt"
	"io"
	"math"
)

// space gives out the room of a file that is written ([MS-PST] 2.2.2.7.2): it is
// cut into sections of 253,952 bytes that begin with a map of which 64 bytes of
// them are taken, and here and there with other maps, which today's Outlook only
// wants to be there. A section goes to the file when it is full.
type space struct {
	w     io.WriterAt
	plain bool

	section  []byte // the current one
	number   int    // of it
	at       int    // the next free byte in it
	taken    []byte // its map
	free     int64  // bytes that no map has as taken
	nextPage uint64
}

const (
	firstSection = 0x4400
	sectionSize  = 496 * 8 * 64
	pageSize     = 512

	pageFMap  = 0x82
	pagePMap  = 0x83
	pageAMap  = 0x84
	pageFPMap = 0x85
	pageDList = 0x86
)

func newSpace(w io.WriterAt, plain bool) *space {
	s := &space{w: w, plain: plain, section: make([]byte, sectionSize), taken: make([]byte, 496), nextPage: 4, number: -1}
	s.next()
	return s
}

// next starts the next section: its maps are at fixed places.
func (s *space) next() {
	s.number++
	clear(s.section)
	clear(s.taken)
	s.at = 0
	s.take(pageSize) // the map itself, written last
	n := s.number
	if n%8 == 0 {
		s.mapPage(pagePMap)
	}
	if n >= 128 && (n-128)%496 == 0 {
		s.mapPage(pageFMap)
	}
	if n >= 8192 && (n-8192)%(496*64) == 0 {
		s.mapPage(pageFPMap)
	}
}

// offset returns where the current section lies.
func (s *space) offset() int64 { return firstSection + int64(s.number)*sectionSize }

// take marks the next n bytes as taken and returns their place in the section.
func (s *space) take(n int) int {
	start := s.at
	s.at += n
	for i := start / 64; i < s.at/64; i++ {
		s.taken[i/8] |= 0x80 >> (i % 8)
	}
	return start
}

// mapPage adds a map that says that everything is taken.
func (s *space) mapPage(kind byte) {
	start := s.take(pageSize)
	b := s.section[start : start+pageSize]
	for i := range 496 {
		b[i] = 0xFF
	}
	at := uint64(s.offset()) + uint64(start)
	trailer(b, kind, 0, at)
}

// trailer writes a PAGETRAILER ([MS-PST] 2.2.2.7.1).
func trailer(b []byte, kind byte, sig uint16, bid uint64) {
	t := b[496:]
	t[0], t[1] = kind, kind
	le.PutUint16(t[2:], sig)
	le.PutUint32(t[4:], checksum(b[:496]))
	le.PutUint64(t[8:], bid)
}

// alloc gives out n bytes, which are a multiple of 64 and not more than 8192, at
// a multiple of align. The bytes are zero and to be filled before the next call.
func (s *space) alloc(n, align int) (b []byte, ib uint64, err error) {
	start := (s.at + align - 1) / align * align
	if start+n > sectionSize {
		if err := s.flush(sectionSize); err != nil {
			return nil, 0, err
		}
		s.next()
		start = (s.at + align - 1) / align * align
	}
	if s.offset()+int64(start+n) > math.MaxInt64/2 {
		return nil, 0, fmt.Errorf("the file is too large")
	}
	s.at = start
	s.take(n)
	return s.section[start : start+n], uint64(s.offset()) + uint64(start), nil
}

// flush writes the first n bytes of the section.
func (s *space) flush(n int) error {
	for _, b := range s.taken {
		for ; b != 0xFF; b |= b + 1 {
			s.free += 64
		}
	}
	copy(s.section, s.taken)
	trailer(s.section[:pageSize], pageAMap, 0, uint64(s.offset()))
	_, err := s.w.WriteAt(s.section[:n], s.offset())
	return err
}

// page writes a page of a tree.
func (s *space) page(kind byte, fill func(b []byte)) (ref, error) {
	b, ib, err := s.alloc(pageSize, pageSize)
	if err != nil {
		return ref{}, err
	}
	fill(b)
	bid := s.nextPage
	s.nextPage += 4
	trailer(b, kind, signature(ib, bid), bid)
	return ref{bid, ib}, nil
}

// finish writes the last section, the list of free space and the header.
func (s *space) finish(h []byte) error {
	if err := s.flush(sectionSize); err != nil {
		return err
	}
	list := make([]byte, pageSize)
	bid := s.nextPage
	s.nextPage += 4
	trailer(list, pageDList, signature(0x4200, bid), bid)
	if _, err := s.w.WriteAt(list, 0x4200); err != nil {
		return err
	}
	le.PutUint64(h[32:], s.nextPage)
	le.PutUint64(h[184:], uint64(s.offset())+sectionSize) // ibFileEof
	le.PutUint64(h[192:], uint64(s.offset()))             // ibAMapLast
	le.PutUint64(h[200:], uint64(s.free))                 // cbAMapFree
	h[248] = 2                                            // the maps are valid
	le.PutUint32(h[4:], checksum(h[8:8+471]))
	le.PutUint32(h[524:], checksum(h[8:8+516]))
	_, err := s.w.WriteAt(h, 0)
	return err
}

// leaves writes the leaf pages of a tree as entries come, in order of their
// keys, and keeps what the level above needs.
type leaves struct {
	kind  byte
	space *space
	open  [][]byte // entries of the page that is not full yet
	first uint64   // key of the first of them
	up    [][]byte // BTENTRYs of the pages written
}

// most is how many bytes of entries a page holds ([MS-PST] 2.2.2.7.7.1).
const most = 488

func (l *leaves) add(key uint64, entry []byte) error {
	if len(l.open) == 0 {
		l.first = key
	}
	l.open = append(l.open, entry)
	if len(l.open) < most/len(entry) {
		return nil
	}
	return l.flush()
}

// flush writes the page that is not full.
func (l *leaves) flush() error {
	if len(l.open) == 0 {
		return nil
	}
	e, err := l.page(0, l.first, l.open)
	l.up, l.open = append(l.up, e), l.open[:0]
	return err
}

// page writes a BTPAGE and returns its BTENTRY.
func (l *leaves) page(level byte, key uint64, entries [][]byte) ([]byte, error) {
	size := 24
	if len(entries) > 0 {
		size = len(entries[0])
	}
	r, err := l.space.page(l.kind, func(b []byte) {
		n := 0
		for _, e := range entries {
			n += copy(b[n:], e)
		}
		b[488], b[489], b[490], b[491] = byte(len(entries)), byte(most/size), byte(size), level
	})
	e := le.AppendUint64(nil, key)
	return le.AppendUint64(le.AppendUint64(e, r.bid), r.ib), err
}

// root writes the levels above the leaves, below being pages of smaller keys
// than theirs, and returns the root.
func (l *leaves) root(below [][]byte) (ref, error) {
	if err := l.flush(); err != nil {
		return ref{}, err
	}
	level := append(below, l.up...)
	if len(level) == 0 {
		e, err := l.page(0, 0, nil)
		level = [][]byte{e}
		if err != nil {
			return ref{}, err
		}
	}
	for n := byte(1); len(level) > 1; n++ {
		var up [][]byte
		for len(level) > 0 {
			part := level[:min(len(level), most/24)]
			e, err := l.page(n, le.Uint64(part[0]), part)
			if err != nil {
				return ref{}, err
			}
			up, level = append(up, e), level[len(part):]
		}
		level = up
	}
	return ref{le.Uint64(level[0][8:]), le.Uint64(level[0][16:])}, nil
}
