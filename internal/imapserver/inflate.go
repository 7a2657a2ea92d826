package imapserver

import (
	"errors"
	"io"
)

// errDeflate is a stream that is not DEFLATE (RFC 1951).
var errDeflate = errors.New("compressed stream is broken")

// deflateWindow is how far back a DEFLATE stream may refer.
const deflateWindow = 32 << 10

// inflater decompresses a DEFLATE stream (RFC 1951) that is flushed now and
// then and does not end. Unlike compress/flate it gives what can be decoded of
// the bytes that have come, and needs no byte of a block behind a flush: the
// partial flush of zlib ends in the middle of a byte. It holds no more of the
// past than has come, at most 40 KiB.
type inflater struct {
	in     []byte // compressed bytes not yet used
	bits   uint64 // taken out of in, the next one lowest
	nbits  uint
	past   []byte // what was decoded, the last at the end; its tail is what Read gives next
	unread int    // bytes at the end of past that Read has not given

	step   func(*inflater) (more bool, err error)
	last   bool // the block under way is the last one
	err    error
	stored int // bytes left of a stored block
	length int // of the match under way
	codes  *blockCodes
}

// blockCodes are the codes of a compressed block, and what is read of them
// while they come.
type blockCodes struct {
	lengths  [maxLitLen + maxDist]uint8
	read     int // of lengths
	litLen   int // how many of lengths are for literals and lengths
	dist     int
	codeLens int
	code     huffman // of the code lengths
	lit, far huffman
}

// The numbers of symbols of each alphabet.
const (
	maxLitLen  = 288
	maxDist    = 32
	maxCodeLen = 19
	maxBits    = 15
)

// huffman is a canonical Huffman code.
type huffman struct {
	count  [maxBits + 1]uint16 // codes of each length
	symbol [maxLitLen]uint16   // in the order of their codes
}

// newInflater returns an inflater at the start of a stream.
func newInflater() *inflater { return &inflater{step: (*inflater).blockHeader} }

// feed gives compressed bytes, which must stay until they are used up.
func (f *inflater) feed(b []byte) { f.in = b }

// read decodes into p. It returns 0 bytes where more must be fed first, and
// io.EOF behind the end of the stream.
func (f *inflater) read(p []byte) (int, error) {
	for f.unread < len(p) && f.unread < deflateWindow/2 {
		var more bool
		if f.err == nil {
			more, f.err = f.step(f)
		}
		if f.err != nil && f.unread == 0 {
			return 0, f.err
		}
		if !more {
			break
		}
	}
	at := len(f.past) - f.unread
	n := copy(p, f.past[at:])
	f.unread -= n
	return n, nil
}

// put appends a decoded byte. Of the past only what may be referred to stays.
func (f *inflater) put(c byte) {
	if len(f.past) == cap(f.past) {
		f.makeRoom()
	}
	f.past = append(f.past, c)
	f.unread++
}

// makeRoom lets the past grow up to its limit, then drops what is too far back.
func (f *inflater) makeRoom() {
	const limit = deflateWindow + 8<<10
	if cap(f.past) < limit {
		f.past = append(make([]byte, 0, min(max(512, 2*cap(f.past)), limit)), f.past...)
		return
	}
	f.past = f.past[:copy(f.past, f.past[len(f.past)-deflateWindow:])]
}

// need makes n bits available; false where they have not come.
func (f *inflater) need(n uint) bool {
	for f.nbits < n {
		if len(f.in) == 0 {
			return false
		}
		f.bits |= uint64(f.in[0]) << f.nbits
		f.nbits += 8
		f.in = f.in[1:]
	}
	return true
}

// take takes n bits that are available.
func (f *inflater) take(n uint) int {
	v := f.bits & (1<<n - 1)
	f.bits >>= n
	f.nbits -= n
	return int(v)
}

// blockHeader reads the three bits before a block (RFC 1951 §3.2.3).
func (f *inflater) blockHeader() (bool, error) {
	if f.last {
		return false, io.EOF
	}
	if !f.need(3) {
		return false, nil
	}
	f.last = f.take(1) == 1
	switch f.take(2) {
	case 0:
		f.take(f.nbits % 8)
		f.step = (*inflater).storedHeader
	case 1:
		f.codes = fixedCodes
		f.step = (*inflater).symbol
	case 2:
		f.codes = &blockCodes{}
		f.step = (*inflater).codesHeader
	default:
		return false, errDeflate
	}
	return true, nil
}

// endBlock goes on with the next block.
func (f *inflater) endBlock() {
	f.codes = nil
	f.step = (*inflater).blockHeader
}

// storedHeader reads the length of a stored block (RFC 1951 §3.2.4).
func (f *inflater) storedHeader() (bool, error) {
	if !f.need(32) {
		return false, nil
	}
	if f.stored = f.take(16); f.take(16) != f.stored^0xffff {
		return false, errDeflate
	}
	f.step = (*inflater).storedByte
	return true, nil
}

// storedByte copies a byte of a stored block.
func (f *inflater) storedByte() (bool, error) {
	if f.stored == 0 {
		f.endBlock()
		return true, nil
	}
	if !f.need(8) {
		return false, nil
	}
	f.put(byte(f.take(8)))
	f.stored--
	return true, nil
}

// codesHeader reads how many code lengths follow (RFC 1951 §3.2.7).
func (f *inflater) codesHeader() (bool, error) {
	if !f.need(14) {
		return false, nil
	}
	c := f.codes
	c.litLen, c.dist, c.codeLens = f.take(5)+257, f.take(5)+1, f.take(4)+4
	if c.litLen > 286 || c.dist > 30 {
		return false, errDeflate
	}
	f.step = (*inflater).codeLength
	return true, nil
}

// codeLength reads a length of the code of the code lengths.
func (f *inflater) codeLength() (bool, error) {
	order := [maxCodeLen]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
	c := f.codes
	if c.read < c.codeLens {
		if !f.need(3) {
			return false, nil
		}
		c.lengths[order[c.read]] = uint8(f.take(3))
		c.read++
		return true, nil
	}
	if !c.code.build(c.lengths[:maxCodeLen]) {
		return false, errDeflate
	}
	c.lengths, c.read = [maxLitLen + maxDist]uint8{}, 0
	f.step = (*inflater).symbolLength
	return true, nil
}

// symbolLength reads a length of the codes of literals and distances, or a
// repetition of lengths.
func (f *inflater) symbolLength() (bool, error) {
	c := f.codes
	if c.read == c.litLen+c.dist {
		f.step = (*inflater).symbol
		if !c.lit.build(c.lengths[:c.litLen]) || !c.far.build(c.lengths[c.litLen:c.read]) {
			return false, errDeflate
		}
		return true, nil
	}
	sym, size := f.peek(&c.code)
	if size == 0 {
		return false, f.noCode()
	}
	if !f.need(size + repeatBits(sym)) {
		return false, nil
	}
	f.take(size)
	times, value := 1, uint8(sym)
	switch sym {
	case 16:
		if c.read == 0 {
			return false, errDeflate
		}
		times, value = 3+f.take(2), c.lengths[c.read-1]
	case 17:
		times, value = 3+f.take(3), 0
	case 18:
		times, value = 11+f.take(7), 0
	}
	if c.read+times > c.litLen+c.dist {
		return false, errDeflate
	}
	for range times {
		c.lengths[c.read] = value
		c.read++
	}
	return true, nil
}

// repeatBits returns how many bits follow a symbol of the code lengths.
func repeatBits(sym int) uint {
	switch sym {
	case 16:
		return 2
	case 17:
		return 3
	case 18:
		return 7
	}
	return 0
}

// symbol reads a literal, a length, or the end of the block (RFC 1951 §3.2.5).
func (f *inflater) symbol() (bool, error) {
	sym, size := f.peek(&f.codes.lit)
	if size == 0 {
		return false, f.noCode()
	}
	if sym < 256 {
		f.take(size)
		f.put(byte(sym))
		return true, nil
	}
	if sym == 256 {
		f.take(size)
		f.endBlock()
		return true, nil
	}
	base, extra, ok := lengthOf(sym - 257)
	if !ok {
		return false, errDeflate
	}
	if !f.need(size + extra) {
		return false, nil
	}
	f.take(size)
	f.length = base + f.take(extra)
	f.step = (*inflater).distance
	return true, nil
}

// distance reads how far back the match is, and copies it.
func (f *inflater) distance() (bool, error) {
	sym, size := f.peek(&f.codes.far)
	if size == 0 {
		return false, f.noCode()
	}
	base, extra, ok := distanceOf(sym)
	if !ok {
		return false, errDeflate
	}
	if !f.need(size + extra) {
		return false, nil
	}
	f.take(size)
	back := base + f.take(extra)
	if back > len(f.past) {
		return false, errDeflate
	}
	for range f.length {
		f.put(f.past[len(f.past)-back])
	}
	f.step = (*inflater).symbol
	return true, nil
}

// noCode returns an error where no code begins with the bits there are, however
// they go on.
func (f *inflater) noCode() error {
	if f.nbits >= maxBits {
		return errDeflate
	}
	return nil
}

// peek returns the next symbol of a code and its size in bits, and a size of 0
// where the bits that have come are not a whole code.
func (f *inflater) peek(h *huffman) (symbol int, size uint) {
	code, first, index := 0, 0, 0
	for n := uint(1); n <= maxBits; n++ {
		if !f.need(n) {
			return 0, 0
		}
		code |= int(f.bits>>(n-1)) & 1
		count := int(h.count[n])
		if code-count < first {
			return int(h.symbol[index+code-first]), n
		}
		index, first, code = index+count, (first+count)<<1, code<<1
	}
	return 0, 0
}

// build makes the code of a list of lengths (RFC 1951 §3.2.2); false where
// there are more codes than fit, or fewer, unless it is one of one bit or none.
func (h *huffman) build(lengths []uint8) bool {
	*h = huffman{}
	for _, n := range lengths {
		h.count[n]++
	}
	used := len(lengths) - int(h.count[0])
	h.count[0] = 0
	left := 1
	var offset [maxBits + 2]uint16
	for n := 1; n <= maxBits; n++ {
		left = left<<1 - int(h.count[n])
		if left < 0 {
			return false
		}
		offset[n+1] = offset[n] + h.count[n]
	}
	for sym, n := range lengths {
		if n != 0 {
			h.symbol[offset[n]] = uint16(sym)
			offset[n]++
		}
	}
	return left == 0 || used == 0 || used == 1 && h.count[1] == 1
}

// fixedCodes are the codes of RFC 1951 §3.2.6; nobody changes them.
var fixedCodes = makeFixedCodes()

func makeFixedCodes() *blockCodes {
	c := &blockCodes{}
	l := c.lengths[:]
	for i := range l {
		switch {
		case i < 144:
			l[i] = 8
		case i < 256:
			l[i] = 9
		case i < 280:
			l[i] = 7
		case i < maxLitLen:
			l[i] = 8
		default:
			l[i] = 5
		}
	}
	c.lit.build(l[:maxLitLen])
	c.far.build(l[maxLitLen:])
	return c
}

// lengthOf returns the base and the extra bits of a length symbol.
func lengthOf(sym int) (base int, extra uint, ok bool) {
	switch {
	case sym < 8:
		return sym + 3, 0, true
	case sym == 28:
		return 258, 0, true
	case sym > 28:
		return 0, 0, false
	}
	extra = uint(sym/4 - 1)
	return (4+sym%4)<<extra + 3, extra, true
}

// distanceOf returns the base and the extra bits of a distance symbol.
func distanceOf(sym int) (base int, extra uint, ok bool) {
	switch {
	case sym < 4:
		return sym + 1, 0, true
	case sym >= 30:
		return 0, 0, false
	}
	extra = uint(sym/2 - 1)
	return (2+sym%2)<<extra + 1, extra, true
}
