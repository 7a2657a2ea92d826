package msg

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unicode/utf16"
)

// cfb is a compound file ([MS-CFB]): storages and streams, in sectors that tables
// chain up.
type cfb struct {
	r      io.ReaderAt
	size   int64
	shift  uint
	fat    []uint32
	mini   []uint32
	cutoff uint32
	dir    []entry
	inner  []uint32 // sectors of the stream that holds the small streams
}

type entry struct {
	name               string
	kind               byte // 1 storage, 2 stream, 5 root
	left, right, child uint32
	start              uint32
	size               int64
}

const (
	maxSector = 0xFFFFFFFA
	noEntry   = 0xFFFFFFFF
	miniShift = 6
	maxTable  = 64 << 20 // sectors of a chain that is held in memory
)

var le = binary.LittleEndian

func openCFB(r io.ReaderAt, size int64) (*cfb, error) {
	var h [512]byte
	if _, err := r.ReadAt(h[:], 0); err != nil {
		return nil, fmt.Errorf("reading the header: %w", err)
	}
	if le.Uint64(h[:]) != 0xE11AB1A1E011CFD0 {
		return nil, errors.New("not a compound file")
	}
	c := &cfb{r: r, size: size, shift: uint(le.Uint16(h[30:])), cutoff: le.Uint32(h[56:])}
	if c.shift != 9 && c.shift != 12 {
		return nil, fmt.Errorf("sectors of 2^%d bytes", c.shift)
	}
	if err := c.readFAT(h[:]); err != nil {
		return nil, err
	}
	mini, err := c.readAll(c.chain(c.fat, le.Uint32(h[60:])), -1)
	if err != nil {
		return nil, fmt.Errorf("reading the small table: %w", err)
	}
	c.mini = words(mini)
	dir, err := c.readAll(c.chain(c.fat, le.Uint32(h[48:])), -1)
	if err != nil && len(dir) == 0 {
		return nil, fmt.Errorf("reading the directory: %w", err)
	}
	for ; len(dir) >= 128; dir = dir[128:] {
		c.dir = append(c.dir, c.entry(dir[:128]))
	}
	if len(c.dir) == 0 {
		return nil, errors.New("the directory is empty")
	}
	c.inner = c.chain(c.fat, c.dir[0].start)
	return c, nil
}

func (c *cfb) entry(b []byte) entry {
	n := min(int(le.Uint16(b[64:])), 64)
	units := make([]uint16, 0, 32)
	for i := 0; i+1 < n; i += 2 {
		if u := le.Uint16(b[i:]); u != 0 {
			units = append(units, u)
		}
	}
	e := entry{name: string(utf16.Decode(units)), kind: b[66], left: le.Uint32(b[68:]), right: le.Uint32(b[72:]),
		child: le.Uint32(b[76:]), start: le.Uint32(b[116:]), size: int64(le.Uint64(b[120:]))}
	if c.shift == 9 {
		e.size &= 0xFFFFFFFF
	}
	return e
}

// readFAT reads the table of sectors, whose own sectors the header and a chain
// of further sectors name.
func (c *cfb) readFAT(h []byte) error {
	where := words(h[76:512])
	seen := map[uint32]bool{}
	per := 1 << c.shift / 4
	for next := le.Uint32(h[68:]); next < maxSector && !seen[next]; {
		seen[next] = true
		b, err := c.sector(next)
		if err != nil {
			return fmt.Errorf("reading the table of tables: %w", err)
		}
		w := words(b)
		where, next = append(where, w[:per-1]...), w[per-1]
	}
	used := map[uint32]bool{}
	for _, s := range where {
		if s >= maxSector || used[s] {
			continue
		}
		used[s] = true
		b, err := c.sector(s)
		if err != nil {
			continue // what it would chain cannot be read; the rest can
		}
		c.fat = append(c.fat, words(b)...)
	}
	if len(c.fat) == 0 {
		return errors.New("the file has no sector table")
	}
	return nil
}

func words(b []byte) []uint32 {
	w := make([]uint32, len(b)/4)
	for i := range w {
		w[i] = le.Uint32(b[4*i:])
	}
	return w
}

func (c *cfb) sector(n uint32) ([]byte, error) {
	b := make([]byte, 1<<c.shift)
	at := (int64(n) + 1) << c.shift
	got, err := c.r.ReadAt(b, at)
	if got < len(b) && (got == 0 || !errors.Is(err, io.EOF)) {
		return nil, fmt.Errorf("sector %d at offset %d: %w", n, at, io.ErrUnexpectedEOF)
	}
	return b, nil
}

// chain follows a table from a sector; a cycle or a wrong number ends it.
func (c *cfb) chain(table []uint32, start uint32) []uint32 {
	var out []uint32
	for n := start; n < maxSector && int(n) < len(table) && len(out) <= len(table) && len(out) < maxTable; n = table[n] {
		out = append(out, n)
	}
	return out
}

func (c *cfb) readAll(sectors []uint32, size int64) ([]byte, error) {
	var out []byte
	for _, s := range sectors {
		if int64(len(out)) > c.size {
			return out, errors.New("a chain is longer than the file")
		}
		b, err := c.sector(s)
		if err != nil {
			return out, err
		}
		out = append(out, b...)
	}
	if size >= 0 && int64(len(out)) > size {
		out = out[:size]
	}
	return out, nil
}

// children returns the entries of a storage. Each entry of the file is in it once
// at most.
func (c *cfb) children(of uint32) []uint32 {
	var out []uint32
	seen := map[uint32]bool{}
	todo := []uint32{c.dir[of].child}
	for len(todo) > 0 {
		n := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if int64(n) >= int64(len(c.dir)) || seen[n] || n == 0 {
			continue
		}
		seen[n] = true
		out = append(out, n)
		todo = append(todo, c.dir[n].left, c.dir[n].right)
	}
	return out
}

// stream is the content of an entry.
type stream struct {
	c       *cfb
	sectors []uint32
	small   bool
	size    int64
	at      int64
}

func (c *cfb) open(n uint32) *stream {
	e := c.dir[n]
	s := &stream{c: c, size: max(0, e.size), small: e.size < int64(c.cutoff)}
	shift := c.shift
	if s.small {
		s.sectors, shift = c.chain(c.mini, e.start), miniShift
	} else {
		s.sectors = c.chain(c.fat, e.start)
	}
	s.size = min(s.size, int64(len(s.sectors))<<shift)
	return s
}

func (s *stream) Size() int64 { return s.size }

func (s *stream) Read(b []byte) (int, error) {
	n, err := s.ReadAt(b, s.at)
	s.at += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

func (s *stream) ReadAt(b []byte, at int64) (int, error) {
	total := 0
	for len(b) > 0 && at < s.size {
		pos, room, err := s.place(at)
		if err != nil {
			return total, err
		}
		want := min(int64(len(b)), room, s.size-at)
		n, err := s.c.r.ReadAt(b[:want], pos)
		total, at, b = total+n, at+int64(n), b[n:]
		if int64(n) < want {
			return total, fmt.Errorf("reading at offset %d: %w", pos, errors.Join(err, io.ErrUnexpectedEOF))
		}
	}
	if len(b) > 0 {
		return total, io.EOF
	}
	return total, nil
}

// place returns where in the file a byte of the stream is, and how many follow it.
func (s *stream) place(at int64) (pos, room int64, err error) {
	shift := s.c.shift
	if s.small {
		shift = miniShift
	}
	in := at & (1<<shift - 1)
	n := int64(s.sectors[at>>shift])
	room = 1<<shift - in
	if !s.small {
		return (n+1)<<shift + in, room, nil
	}
	at = n<<miniShift + in
	if at>>s.c.shift >= int64(len(s.c.inner)) {
		return 0, 0, errors.New("a small stream lies outside of its container")
	}
	return (int64(s.c.inner[at>>s.c.shift])+1)<<s.c.shift + at&(1<<s.c.shift-1), room, nil
}
