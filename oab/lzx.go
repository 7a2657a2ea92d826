package oab

import (
	"encoding/binary"
	"errors"
)

// What LZX fixes ([MS-PATCH] 2.1 to 2.6).
const (
	frameSize   = 32 << 10
	minMatch    = 2
	maxMatch    = 257
	lengthCodes = 249

	blockVerbatim     = 1
	blockAligned      = 2
	blockUncompressed = 3

	minWindowBits = 17
	maxWindowBits = 25
)

// positionSlots returns how many position slots a window has.
func positionSlots(windowBits uint) int {
	return [...]int{34, 36, 38, 42, 50, 66, 98, 162, 290}[windowBits-minWindowBits]
}

// windowBitsFor returns the window of a block that decompresses to n bytes.
func windowBitsFor(n int) uint {
	bits := uint(minWindowBits)
	for bits < maxWindowBits && n > 1<<bits {
		bits++
	}
	return bits
}

// slotBits returns how many bits follow a position slot.
func slotBits(slot int) uint {
	if slot < 4 {
		return 0
	}
	return min(uint(slot/2-1), 17)
}

var errLZX = errors.New("the compressed data is damaged")

// lzx decompresses one block of LZX DELTA without a reference: the state is
// fresh for each.
type lzx struct {
	in    bitReader
	out   []byte
	size  int
	base  []uint32 // of the position slots
	r     [3]uint32
	intel uint32 // size for the translation of E8 calls; 0: none

	kind            int
	left            int // bytes of the block that are to come
	mainLengths     []uint8
	lengthLengths   [lengthCodes]uint8
	main, len, algn huffman
	pre             huffman
}

// decompress returns the size bytes that a block of LZX DELTA stands for.
func decompress(in []byte, size int) ([]byte, error) {
	slots := positionSlots(windowBitsFor(size))
	z := &lzx{in: bitReader{in: in}, out: make([]byte, 0, size), size: size, r: [3]uint32{1, 1, 1}, mainLengths: make([]uint8, 256+slots*8)}
	z.base = make([]uint32, slots)
	for i := 1; i < slots; i++ {
		z.base[i] = z.base[i-1] + 1<<slotBits(i-1)
	}
	for frame := 0; len(z.out) < size; frame++ {
		z.in.take(16) // the compressed size of the frame
		if frame == 0 && z.in.take(1) == 1 {
			z.intel = z.in.take(16)<<16 | z.in.take(16)
		}
		if !z.frame(min((frame+1)*frameSize, size)) {
			return nil, errLZX
		}
		if len(z.out) < size {
			z.in.align()
		}
	}
	z.translateCalls()
	return z.out, nil
}

// frame decompresses up to end; a match may reach past it.
func (z *lzx) frame(end int) bool {
	for len(z.out) < end {
		if z.left == 0 && !z.blockHeader() {
			return false
		}
		before := len(z.out)
		run := min(z.left, end-before)
		ok := false
		if z.kind == blockUncompressed {
			ok = z.copyRun(run)
		} else {
			ok = z.decodeRun(before + run)
		}
		if !ok || z.in.over {
			return false
		}
		if z.left -= len(z.out) - before; z.left < 0 {
			return false
		}
	}
	return true
}

// blockHeader reads the header of the next block.
func (z *lzx) blockHeader() bool {
	if z.kind == blockUncompressed && len(z.out) > 0 && !z.endUncompressed() {
		return false
	}
	z.kind = int(z.in.take(3))
	z.left = int(z.in.take(24))
	if z.left == 0 || z.in.over {
		return false
	}
	switch z.kind {
	case blockAligned, blockVerbatim:
		return z.readTrees()
	case blockUncompressed:
		return z.startUncompressed()
	}
	return false
}

// readTrees reads the codes of a block.
func (z *lzx) readTrees() bool {
	if z.kind == blockAligned {
		var lengths [8]uint8
		for i := range lengths {
			lengths[i] = uint8(z.in.take(3))
		}
		if !z.algn.build(lengths[:]) {
			return false
		}
	}
	return z.readLengths(z.mainLengths[:256]) && z.readLengths(z.mainLengths[256:]) && z.main.build(z.mainLengths) &&
		z.readLengths(z.lengthLengths[:]) && z.len.build(z.lengthLengths[:])
}

// readLengths reads code lengths, which are told as differences to those of
// the block before, in a code of their own.
func (z *lzx) readLengths(lengths []uint8) bool {
	var pre [20]uint8
	for i := range pre {
		pre[i] = uint8(z.in.take(4))
	}
	if !z.pre.build(pre[:]) {
		return false
	}
	for i := 0; i < len(lengths); {
		code, ok := z.pre.symbol(&z.in)
		if !ok || z.in.over {
			return false
		}
		run, value := 1, uint8(0)
		switch code {
		case 17:
			run = int(z.in.take(4)) + 4
		case 18:
			run = int(z.in.take(5)) + 20
		case 19:
			run = int(z.in.take(1)) + 4
			if code, ok = z.pre.symbol(&z.in); !ok || code > 16 {
				return false
			}
			fallthrough
		default:
			value = (lengths[i] + 17 - uint8(code)) % 17
		}
		if run > len(lengths)-i {
			return false
		}
		for range run {
			lengths[i] = value
			i++
		}
	}
	return true
}

// startUncompressed reads what stands before the bytes of an uncompressed
// block: one to sixteen bits up to the next word, and the repeated offsets.
func (z *lzx) startUncompressed() bool {
	if z.in.n%16 == 0 {
		z.in.take(16)
	} else {
		z.in.align()
	}
	b, ok := z.in.bytes(12)
	if !ok {
		return false
	}
	for i := range z.r {
		z.r[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return true
}

// endUncompressed skips the byte that makes an uncompressed block even.
func (z *lzx) endUncompressed() bool {
	if (z.in.pos-int(z.in.n/8))%2 == 0 {
		return true
	}
	_, ok := z.in.bytes(1)
	return ok
}

// copyRun copies bytes of an uncompressed block.
func (z *lzx) copyRun(n int) bool {
	b, ok := z.in.bytes(n)
	z.out = append(z.out, b...)
	return ok
}

// decodeRun decodes up to stop, or to where a match ends behind it.
func (z *lzx) decodeRun(stop int) bool {
	for len(z.out) < stop {
		s, ok := z.main.symbol(&z.in)
		if !ok || z.in.over {
			return false
		}
		if s < 256 {
			z.out = append(z.out, byte(s))
			continue
		}
		if !z.match(int(s) - 256) {
			return false
		}
	}
	return true
}

// match decodes a match and copies what it names.
func (z *lzx) match(element int) bool {
	length := element & 7
	if length == 7 {
		s, ok := z.len.symbol(&z.in)
		if !ok {
			return false
		}
		length += int(s)
	}
	length += minMatch
	offset, ok := z.offset(element >> 3)
	if !ok {
		return false
	}
	if length == maxMatch {
		length += z.extraLength()
	}
	from := len(z.out) - int(offset)
	if offset == 0 || from < 0 || length > z.size-len(z.out) {
		return false
	}
	if int(offset) >= length {
		z.out = append(z.out, z.out[from:from+length]...)
		return true
	}
	for range length { // overlapping: the copy repeats itself
		z.out = append(z.out, z.out[from])
		from++
	}
	return true
}

// offset decodes the offset of a position slot.
func (z *lzx) offset(slot int) (uint32, bool) {
	switch slot {
	case 0:
	case 1:
		z.r[0], z.r[1] = z.r[1], z.r[0]
	case 2:
		z.r[0], z.r[2] = z.r[2], z.r[0]
	default:
		bits := slotBits(slot)
		var low uint32
		if z.kind == blockAligned && bits >= 3 {
			low = z.in.take(bits-3) << 3
			s, ok := z.algn.symbol(&z.in)
			if !ok {
				return 0, false
			}
			low |= uint32(s)
		} else {
			low = z.in.take(bits)
		}
		z.r[2], z.r[1] = z.r[1], z.r[0]
		z.r[0] = z.base[slot] + low - 2
	}
	return z.r[0], true
}

// extraLength decodes how much longer than the longest a match is ([MS-PATCH]
// 2.6.2, the difference between LZX and LZX DELTA).
func (z *lzx) extraLength() int {
	switch {
	case z.in.take(1) == 0:
		return int(z.in.take(8))
	case z.in.take(1) == 0:
		return int(z.in.take(10)) + 0x100
	case z.in.take(1) == 0:
		return int(z.in.take(12)) + 0x500
	}
	return int(z.in.take(15))
}

// translateCalls turns the absolute targets of x86 CALLs back into relative
// ones, which a compressor for programs may have changed.
func (z *lzx) translateCalls() {
	if z.intel == 0 {
		return
	}
	for start := 0; start < len(z.out) && start < frameSize*frameSize; start += frameSize {
		data := z.out[start:min(start+frameSize, len(z.out))]
		for i := 0; i < len(data)-10; i++ {
			if data[i] != 0xE8 {
				continue
			}
			at, target := int32(start+i), int32(binary.LittleEndian.Uint32(data[i+1:]))
			if target >= -at && target < int32(z.intel) {
				relative := target - at
				if target < 0 {
					relative = target + int32(z.intel)
				}
				binary.LittleEndian.PutUint32(data[i+1:], uint32(relative))
			}
			i += 4
		}
	}
}
