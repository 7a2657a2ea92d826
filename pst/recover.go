package pst

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
)

// Recover scans the whole file and returns a view of it with trees rebuilt:
// what the file's own trees still hold; where they are damaged what
// pages and blocks outside them hold, the newest first; and, in the folder of the
// Recovered kind, deleted items whose blocks are not yet overwritten. It needs memory for
// an entry, 40 bytes, of each node and block.
func (f *File) Recover() (*File, error) {
	g := &File{r: f.r, ahead: f.ahead, size: f.size, opt: f.opt, header: f.header, format: f.format, reported: make(map[string]bool),
		pages: f.pages, cached: newCache[[]byte](f.opt.CacheSize / 4 * 3)}
	s := &scan{f: g, rebuilt: &rebuilt{}}
	g.dir = s.rebuilt
	whole := s.live(trees{g})
	if err := s.file(); err != nil {
		return nil, fmt.Errorf("recovering: %w", err)
	}
	s.finish(whole)
	return g, nil
}

// isDeleted tells whether a node is in the file's index only by a scan.
func (f *File) isDeleted(nid uint32) bool {
	r, ok := f.dir.(*rebuilt)
	if !ok {
		return false
	}
	_, found := slices.BinarySearch(r.deleted, nid)
	return found
}

// rebuilt is a directory made by a scan, both lists in order of ids.
type rebuilt struct {
	list    []nodeEntry
	where   []blockEntry
	deleted []uint32
}

func (r *rebuilt) node(nid uint32) (nodeEntry, bool, error) {
	i, ok := slices.BinarySearchFunc(r.list, nid, func(e nodeEntry, nid uint32) int { return cmp.Compare(e.nid, nid) })
	if !ok {
		return nodeEntry{}, false, nil
	}
	return r.list[i], true, nil
}

func (r *rebuilt) block(bid uint64) (blockEntry, bool, error) {
	bid &^= 1
	i, ok := slices.BinarySearchFunc(r.where, bid, func(e blockEntry, bid uint64) int { return cmp.Compare(e.bid, bid) })
	if !ok {
		return blockEntry{}, false, nil
	}
	return r.where[i], true, nil
}

func (r *rebuilt) nodes() iter.Seq2[nodeEntry, error]   { return each(r.list) }
func (r *rebuilt) blocks() iter.Seq2[blockEntry, error] { return each(r.where) }

// each yields what is in a list; none of it is an error.
func each[T any](list []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, e := range list {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// found is an entry of a page outside the trees; the page's id tells its age.
type found struct {
	nodeEntry
	page uint64
}

// scan rebuilds the directory of a file.
type scan struct {
	f     *File
	stale []found
	*rebuilt
}

// live takes what the trees hold, and tells whether they were whole.
func (s *scan) live(t trees) (whole bool) {
	whole = true
	for e, err := range t.nodes() {
		if err != nil {
			whole = false
			s.f.report(err)
			continue
		}
		s.list = append(s.list, e)
	}
	for e, err := range t.blocks() {
		if err != nil {
			s.f.report(err)
			continue
		}
		s.where = append(s.where, e)
	}
	s.sort()
	return whole
}

// sort puts the lists in order. Of blocks with the same id the one known first
// stays.
func (r *rebuilt) sort() {
	slices.SortStableFunc(r.list, func(a, b nodeEntry) int { return cmp.Compare(a.nid, b.nid) })
	r.list = slices.CompactFunc(r.list, func(a, b nodeEntry) bool { return a.nid == b.nid })
	slices.SortStableFunc(r.where, func(a, b blockEntry) int { return cmp.Compare(a.bid, b.bid) })
	r.where = slices.CompactFunc(r.where, func(a, b blockEntry) bool { return a.bid == b.bid })
}

// window is how much of the file is looked at at a time.
const window = 1 << 20

// file looks at every place of the file where a page or a block may end. The
// windows overlap by the longest of them.
func (s *scan) file() error {
	overlap := s.f.format.stored(s.f.format.maxBlock)
	buf := make([]byte, overlap+window)
	known := len(s.where)
	for base := int64(0); base < s.f.size; base += window {
		n, err := s.f.r.ReadAt(buf[:min(int64(len(buf)), s.f.size-base)], base)
		if err != nil && !errors.Is(err, io.EOF) {
			return &Damage{Place{Offset: base}, err}
		}
		s.window(buf[:n], base, known)
	}
	return nil
}

// window looks at the pages and blocks that begin in the first window bytes
// of b, which lies at base.
func (s *scan) window(b []byte, base int64, known int) {
	f := s.f.format
	for end := f.align; end <= len(b); end += f.align {
		if start := end - f.page; start >= 0 && start < window && (base+int64(start))%512 == 0 {
			s.page(b[start:end], base+int64(start))
		}
		t := f.blockTrailerOf(b[:end])
		if t.cb == 0 || t.cb > f.maxBlock || t.bid&^1 == 0 {
			continue
		}
		start := end - f.stored(t.cb)
		if start < 0 || start >= window || t.sig != signature(uint64(base)+uint64(start), t.bid) || t.sum != checksum(b[start:start+t.cb]) {
			continue
		}
		s.note(blockEntry{t.bid &^ 1, uint64(base) + uint64(start), t.cb, t.inflated}, known)
	}
}

// note notes a block unless the trees know where it is.
func (s *scan) note(e blockEntry, known int) {
	_, ok := slices.BinarySearchFunc(s.where[:known], e.bid, func(w blockEntry, bid uint64) int { return cmp.Compare(w.bid, bid) })
	if !ok {
		s.where = append(s.where, e)
	}
}

// page notes the entries of a leaf of the node tree.
func (s *scan) page(b []byte, off int64) {
	f := s.f.format
	t := b[f.trailer:]
	if t[0] != pageNBT || t[1] != pageNBT {
		return
	}
	bid := uint64(le.Uint32(t[4:]))
	if f.wide {
		bid = le.Uint64(t[8:])
	}
	p, err := f.parsePage(b, ref{bid, uint64(off)}, pageNBT)
	if err != nil || p.level != 0 {
		return
	}
	for i := range p.count() {
		e := f.nodeEntry(p.entry(i))
		if _, ok, _ := s.node(e.nid); ok {
			continue // alive
		}
		s.stale = append(s.stale, found{e, bid})
	}
}

// finish adds the nodes outside the trees: the newest of each, if the blocks
// of its data are there. Where the trees were whole it was deleted.
func (s *scan) finish(whole bool) {
	s.sort()
	slices.SortFunc(s.stale, func(a, b found) int { return cmp.Or(cmp.Compare(a.nid, b.nid), cmp.Compare(b.page, a.page)) })
	live := len(s.list)
	for _, e := range s.stale {
		if n := len(s.list); n > live && s.list[n-1].nid == e.nid {
			continue
		}
		if _, ok, _ := s.block(e.data); e.data != 0 && !ok {
			continue
		}
		s.list = append(s.list, e.nodeEntry)
		if whole {
			s.deleted = append(s.deleted, e.nid)
		}
	}
	s.stale = nil
	s.sort()
}
