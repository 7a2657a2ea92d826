package pst

import (
	"encoding/binary"
	"hash/crc32"
)

var le = binary.LittleEndian

// format is what differs between the three kinds of file.
type format struct {
	name    string
	wide    bool // ids and offsets have 64 bits
	inflate bool // blocks may be compressed

	page    int // the size of a page
	counts  int // where a BTPAGE's counts lie in it (2.2.2.7.7.1)
	trailer int // where the PAGETRAILER lies (2.2.2.7.1)

	blockTrailer int // the size of a BLOCKTRAILER (2.2.2.8.1)
	align        int // blocks start at multiples of it
	maxBlock     int // the most data a block holds

	hidBits uint // the bits of a HID's index (2.3.1.1)
}

func ansiFormat() *format {
	return &format{name: "ANSI", page: 512, counts: 496, trailer: 500,
		blockTrailer: 12, align: 64, maxBlock: 8192 - 12, hidBits: 11}
}

func unicodeFormat() *format {
	return &format{name: "Unicode", wide: true, page: 512, counts: 488, trailer: 496,
		blockTrailer: 16, align: 64, maxBlock: 8192 - 16, hidBits: 11}
}

// largeFormat is the OST of Outlook 2013 and later.
func largeFormat() *format {
	return &format{name: "Unicode, 4 KiB pages", wide: true, inflate: true, page: 4096, counts: 4056, trailer: 4072,
		blockTrailer: 24, align: 512, maxBlock: 65536 - 24, hidBits: 14}
}

// idSize returns the size of a BID, an IB, or an NID in a tree.
func (f *format) idSize() int {
	if f.wide {
		return 8
	}
	return 4
}

// id reads a BID, IB or NID from the start of b, which is long enough.
func (f *format) id(b []byte) uint64 {
	if f.wide {
		return le.Uint64(b)
	}
	return uint64(le.Uint32(b))
}

// stored returns the bytes a block of cb bytes takes, with padding and trailer.
func (f *format) stored(cb int) int {
	n := cb + f.blockTrailer + f.align - 1
	return n - n%f.align
}

// checksum is the CRC of [MS-PST] 5.3: that of Ethernet without the inversions.
func checksum(b []byte) uint32 { return ^crc32.Update(^uint32(0), crc32.IEEETable, b) }

// signature is that of a page or block at ib with id bid ([MS-PST] 5.5).
func signature(ib, bid uint64) uint16 {
	x := uint32(ib) ^ uint32(bid)
	return uint16(x>>16) ^ uint16(x)
}
