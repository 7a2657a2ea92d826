package oabtest

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// Kinds of blocks of LZX.
const (
	Verbatim     = 1
	Aligned      = 2
	Uncompressed = 3
)

const (
	frameSize   = 32 << 10
	minMatch    = 2
	maxMatch    = 257
	lengthCodes = 249
)

// positionSlots returns how many position slots the window of n bytes has.
func positionSlots(n int) int {
	i := 0
	for i < 8 && n > 1<<(17+i) {
		i++
	}
	return [...]int{34, 36, 38, 42, 50, 66, 98, 162, 290}[i]
}

// slotBits returns how many bits follow a position slot.
func slotBits(slot int) uint {
	if slot < 4 {
		return 0
	}
	return min(uint(slot/2-1), 17)
}

type bitWriter struct {
	out  []byte
	bits uint64
	n    uint
}

func (w *bitWriter) put(v uint32, n uint) {
	for n > 16 {
		n -= 16
		w.put(v>>n&0xFFFF, 16)
	}
	w.bits = w.bits<<n | uint64(v&(1<<n-1))
	w.n += n
	for w.n >= 16 {
		w.n -= 16
		w.out = binary.LittleEndian.AppendUint16(w.out, uint16(w.bits>>w.n))
	}
}

func (w *bitWriter) align() {
	if w.n > 0 {
		w.put(0, 16-w.n)
	}
}

// token is a literal (length 0) or a match.
type token struct{ value, length, offset int }

// tokens finds matches in data[from:to], as a greedy compressor does.
func tokens(data []byte, from, to int, last map[uint32]int) []token {
	var list []token
	hash := func(i int) uint32 { return uint32(data[i]) | uint32(data[i+1])<<8 | uint32(data[i+2])<<16 }
	for i := from; i < to; {
		best := token{value: int(data[i])}
		if i+3 <= to {
			if j, ok := last[hash(i)]; ok {
				n := 0
				for i+n < to && data[j+n] == data[i+n] && n < maxMatch+0x7FFF {
					n++
				}
				if n >= 3 {
					best = token{length: n, offset: i - j}
				}
			}
		}
		for range max(best.length, 1) {
			if i+3 <= len(data) {
				last[hash(i)] = i
			}
			i++
		}
		list = append(list, best)
	}
	return list
}

// symbolOf is how a match is written.
type symbolOf struct {
	main, length int // length: -1 for none
	slot         int
	low          uint32
	extra        int // -1: none
}

func (e *lzxEncoder) symbol(t token) symbolOf {
	if t.length == 0 {
		return symbolOf{main: t.value, length: -1, extra: -1}
	}
	s := symbolOf{length: -1, extra: -1}
	off := uint32(t.offset)
	switch off {
	case e.r[0]:
		s.slot = 0
	case e.r[1]:
		s.slot, e.r[0], e.r[1] = 1, e.r[1], e.r[0]
	case e.r[2]:
		s.slot, e.r[0], e.r[2] = 2, e.r[2], e.r[0]
	default:
		s.slot, _ = slices.BinarySearchFunc(e.base, off+2, func(b, v uint32) int { return cmp.Compare(b, v+1) })
		s.slot--
		s.low = off + 2 - e.base[s.slot]
		e.r = [3]uint32{off, e.r[0], e.r[1]}
	}
	n := min(t.length, maxMatch) - minMatch
	if t.length >= maxMatch {
		s.extra = t.length - maxMatch
	}
	if n >= 7 {
		s.length, n = n-7, 7
	}
	s.main = 256 + s.slot*8 + n
	return s
}

type lzxEncoder struct {
	r           [3]uint32
	base        []uint32
	main        []uint8
	lengths     []uint8
	lastOffsets map[uint32]int
}

// LZX compresses data as LZX DELTA ([MS-PATCH]), with matches of every kind and
// lengths beyond 257; kind says of which kind each frame's block is.
func LZX(data []byte, kind func(frame int) int) []byte {
	slots := positionSlots(len(data))
	e := &lzxEncoder{r: [3]uint32{1, 1, 1}, main: make([]uint8, 256+slots*8), lengths: make([]uint8, lengthCodes), lastOffsets: map[uint32]int{}}
	e.base = make([]uint32, slots)
	for i := 1; i < slots; i++ {
		e.base[i] = e.base[i-1] + 1<<slotBits(i-1)
	}
	var out []byte
	for frame := 0; frame*frameSize < len(data); frame++ {
		from := frame * frameSize
		to := min(from+frameSize, len(data))
		w := &bitWriter{}
		if frame == 0 {
			w.put(0, 1) // no translation
		}
		if k := kind(frame); k == Uncompressed {
			e.plain(w, data[from:to])
		} else {
			e.block(w, k, tokens(data, from, to, e.lastOffsets), to-from)
		}
		w.align()
		out = binary.LittleEndian.AppendUint16(out, uint16(len(w.out)))
		out = append(out, w.out...)
	}
	return out
}

// plain writes an uncompressed block.
func (e *lzxEncoder) plain(w *bitWriter, data []byte) {
	w.put(Uncompressed, 3)
	w.put(uint32(len(data)), 24)
	if w.n == 0 {
		w.put(0, 16)
	}
	w.align()
	for _, r := range e.r {
		w.out = binary.LittleEndian.AppendUint32(w.out, r)
	}
	w.out = append(w.out, data...)
	if len(data)%2 == 1 {
		w.out = append(w.out, 0)
	}
}

// block writes a verbatim or aligned block.
func (e *lzxEncoder) block(w *bitWriter, kind int, list []token, size int) {
	var symbols []symbolOf
	main, length, aligned := make([]int, len(e.main)), make([]int, lengthCodes), make([]int, 8)
	for _, t := range list {
		s := e.symbol(t)
		symbols = append(symbols, s)
		main[s.main]++
		if s.length >= 0 {
			length[s.length]++
		}
		aligned[s.low&7]++
	}
	w.put(uint32(kind), 3)
	w.put(uint32(size), 24)
	alignedLengths := codeLengths(aligned, 7)
	if kind == Aligned {
		for _, l := range alignedLengths {
			w.put(uint32(l), 3)
		}
	}
	mainLengths, lengthLengths := codeLengths(main, 16), codeLengths(length, 16)
	writeLengths(w, e.main[:256], mainLengths[:256])
	writeLengths(w, e.main[256:], mainLengths[256:])
	writeLengths(w, e.lengths, lengthLengths)
	e.main, e.lengths = mainLengths, lengthLengths
	mainCodes, lengthCodes, alignedCodes := codes(mainLengths), codes(lengthLengths), codes(alignedLengths)
	for _, s := range symbols {
		w.put(mainCodes[s.main], uint(mainLengths[s.main]))
		if s.main < 256 {
			continue
		}
		if s.length >= 0 {
			w.put(lengthCodes[s.length], uint(lengthLengths[s.length]))
		}
		if s.slot > 2 {
			bits := slotBits(s.slot)
			if kind == Aligned && bits >= 3 {
				w.put(s.low>>3, bits-3)
				w.put(alignedCodes[s.low&7], uint(alignedLengths[s.low&7]))
			} else {
				w.put(s.low, bits)
			}
		}
		writeExtra(w, s.extra)
	}
}

func writeExtra(w *bitWriter, extra int) {
	switch {
	case extra < 0:
	case extra < 0x100:
		w.put(0, 1)
		w.put(uint32(extra), 8)
	case extra < 0x500:
		w.put(2, 2)
		w.put(uint32(extra-0x100), 10)
	case extra < 0x1500:
		w.put(6, 3)
		w.put(uint32(extra-0x500), 12)
	default:
		w.put(7, 3)
		w.put(uint32(extra), 15)
	}
}

// writeLengths writes code lengths as differences, with runs.
func writeLengths(w *bitWriter, old, now []uint8) {
	type op struct {
		code  int
		value uint32
		bits  uint
		then  int
	}
	var ops []op
	for i := 0; i < len(now); {
		n := 1
		for i+n < len(now) && now[i+n] == now[i] {
			n++
		}
		delta := int(old[i]+17-now[i]) % 17
		switch {
		case now[i] == 0 && n >= 20:
			n = min(n, 51)
			ops = append(ops, op{18, uint32(n - 20), 5, -1})
		case now[i] == 0 && n >= 4:
			n = min(n, 19)
			ops = append(ops, op{17, uint32(n - 4), 4, -1})
		case n >= 4:
			n = min(n, 5)
			ops = append(ops, op{19, uint32(n - 4), 1, delta})
		default:
			n = 1
			ops = append(ops, op{delta, 0, 0, -1})
		}
		i += n
	}
	freq := make([]int, 20)
	for _, o := range ops {
		freq[o.code]++
		if o.then >= 0 {
			freq[o.then]++
		}
	}
	lengths := codeLengths(freq, 15)
	c := codes(lengths)
	for _, l := range lengths {
		w.put(uint32(l), 4)
	}
	for _, o := range ops {
		w.put(c[o.code], uint(lengths[o.code]))
		w.put(o.value, o.bits)
		if o.then >= 0 {
			w.put(c[o.then], uint(lengths[o.then]))
		}
	}
}

// codeLengths makes a complete code for the frequencies, of at most limit bits.
func codeLengths(freq []int, limit int) []uint8 {
	freq = slices.Clone(freq)
	used := 0
	for _, f := range freq {
		if f > 0 {
			used++
		}
	}
	for i := 0; used == 1 && i < len(freq); i++ { // a code of one symbol is not complete
		if freq[i] == 0 {
			freq[i] = 1
			used++
		}
	}
	lengths := make([]uint8, len(freq))
	if used == 0 {
		return lengths
	}
	for {
		if deepest := huffmanLengths(freq, lengths); deepest <= limit {
			return lengths
		}
		for i, f := range freq {
			if f > 0 {
				freq[i] = f/2 + 1
			}
		}
	}
}

func huffmanLengths(freq []int, lengths []uint8) int {
	type node struct {
		weight      int
		left, right int // -1-symbol for leaves
	}
	var nodes []node
	var queue []int
	for s, f := range freq {
		if f > 0 {
			nodes = append(nodes, node{f, -1 - s, 0})
			queue = append(queue, len(nodes)-1)
		}
	}
	less := func(a, b int) int { return cmp.Compare(nodes[a].weight, nodes[b].weight) }
	for len(queue) > 1 {
		slices.SortStableFunc(queue, less)
		nodes = append(nodes, node{nodes[queue[0]].weight + nodes[queue[1]].weight, queue[0], queue[1]})
		queue = append(queue[2:], len(nodes)-1)
	}
	deepest := 0
	var walk func(n, depth int)
	walk = func(n, depth int) {
		if nodes[n].left < 0 {
			lengths[-1-nodes[n].left] = uint8(depth)
			deepest = max(deepest, depth)
			return
		}
		walk(nodes[n].left, depth+1)
		walk(nodes[n].right, depth+1)
	}
	walk(queue[0], 0)
	return deepest
}

// codes returns the canonical codes of the lengths.
func codes(lengths []uint8) []uint32 {
	out := make([]uint32, len(lengths))
	code := uint32(0)
	for l := uint8(1); l <= 16; l++ {
		code <<= 1
		for s, n := range lengths {
			if n == l {
				out[s] = code
				code++
			}
		}
	}
	return out
}
