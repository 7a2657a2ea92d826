package oab

import "encoding/binary"

// bitReader reads the bit stream of LZX: 16-bit little-endian words, each from
// its highest bit on ([MS-PATCH] 2.2). Past the end of the input it reads zeros
// and remembers it.
type bitReader struct {
	in   []byte
	pos  int    // of the next word
	bits uint64 // the next bits, from the highest on
	n    uint   // how many of them are there
	over bool   // more was read than there is
}

// fill makes at least 32 bits available.
func (r *bitReader) fill() {
	for r.n <= 48 {
		var word uint64
		switch left := len(r.in) - r.pos; {
		case left >= 2:
			word = uint64(binary.LittleEndian.Uint16(r.in[r.pos:]))
		case left == 1:
			word = uint64(r.in[r.pos])
		}
		r.pos += 2
		r.bits |= word << (48 - r.n)
		r.n += 16
	}
}

// peek returns the next n bits, 1 to 32, without taking them.
func (r *bitReader) peek(n uint) uint32 {
	if r.n < n {
		r.fill()
	}
	return uint32(r.bits >> (64 - n))
}

// skip takes n bits that peek has returned.
func (r *bitReader) skip(n uint) {
	r.bits <<= n
	r.n -= n
	if r.pos*8-int(r.n) > (len(r.in)+1)/2*16 {
		r.over = true
	}
}

// take returns the next n bits, 0 to 32.
func (r *bitReader) take(n uint) uint32 {
	if n == 0 {
		return 0
	}
	v := r.peek(n)
	r.skip(n)
	return v
}

// align drops what is left of the present word.
func (r *bitReader) align() { r.skip(r.n % 16) }

// bytes leaves the bit stream at a word's edge and returns the next n bytes
// and whether they are there.
func (r *bitReader) bytes(n int) ([]byte, bool) {
	start := r.pos - int(r.n/8)
	if start < 0 || n > len(r.in)-start {
		r.over = true
		return nil, false
	}
	r.pos, r.bits, r.n = start+n, 0, 0
	return r.in[start : start+n], true
}

// huffman decodes the canonical codes of LZX, of at most 16 bits.
type huffman struct {
	fast  [1 << fastBits]uint16 // symbol<<5 | length for short codes, else 0
	count [17]uint32            // codes of each length
	order []uint16              // symbols by code
	empty bool
}

const fastBits = 9

// build makes the codes of these lengths. It is false where they are no
// complete code; no code at all is allowed, as a tree may be unused.
func (h *huffman) build(lengths []uint8) bool {
	h.fast, h.count = [1 << fastBits]uint16{}, [17]uint32{}
	used := 0
	for _, l := range lengths {
		if l > 16 {
			return false
		}
		h.count[l]++
	}
	used = len(lengths) - int(h.count[0])
	h.count[0], h.empty = 0, used == 0
	if h.empty {
		return true
	}
	var next [17]uint32
	left := uint32(1)
	for l := 1; l <= 16; l++ {
		left <<= 1
		if h.count[l] > left {
			return false
		}
		left -= h.count[l]
		next[l] = next[l-1] + h.count[l-1]
	}
	if left != 0 {
		return false
	}
	h.order = append(h.order[:0], make([]uint16, used)...)
	for s, l := range lengths {
		if l > 0 {
			h.order[next[l]] = uint16(s)
			next[l]++
		}
	}
	h.fillFast()
	return true
}

// fillFast makes the table for codes of at most fastBits.
func (h *huffman) fillFast() {
	code, index := uint32(0), 0
	for l := uint(1); l <= fastBits; l++ {
		code <<= 1
		for range h.count[l] {
			entry := h.order[index]<<5 | uint16(l)
			if h.order[index] < 1<<11 { // larger symbols go the slow way
				for i := range uint32(1) << (fastBits - l) {
					h.fast[code<<(fastBits-l)|i] = entry
				}
			}
			code++
			index++
		}
	}
}

// symbol decodes the next symbol.
func (h *huffman) symbol(r *bitReader) (uint16, bool) {
	if h.empty {
		return 0, false
	}
	bits := r.peek(16)
	if e := h.fast[bits>>(16-fastBits)]; e != 0 {
		r.skip(uint(e & 31))
		return e >> 5, true
	}
	code, first, index := uint32(0), uint32(0), uint32(0)
	for l := uint(1); l <= 16; l++ {
		code = bits >> (16 - l)
		if code-first < h.count[l] {
			r.skip(l)
			return h.order[index+code-first], true
		}
		index += h.count[l]
		first = (first + h.count[l]) << 1
	}
	return 0, false
}
