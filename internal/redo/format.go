package redo

import (
	"encoding/binary"
	"hash/crc32"
)

// A segment begins with a head of headSize bytes, of which the first headUsed
// are used; records follow, without gaps. Numbers are little-endian.
//
//	head    magic[8] crc[4] zero[4] salt[8] number[8] first[8] inode[8] born[8]
//	record  length[4] crc[4] salt[8] number[8] body[length]
//	body    kind[1] name[2+n] owner[2+n] inode[8] born[8], and for writes
//	        count[4], count times offset[8] length[4], and then their bytes
//
// The crc is CRC-32C of all behind it (of a head up to headUsed). The salt is
// drawn when a segment is begun, so that what an earlier use of the file has
// left is not taken for a record. The number of a segment counts segments and
// first is the number of its first record; records count through all segments.
const (
	magic      = "exporedo"
	headSize   = 4096
	headUsed   = 56
	recordHead = 24
)

// maxRecord bounds a record.
const maxRecord = 4 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// head is the head of a segment.
type head struct {
	salt   uint64
	number uint64
	first  uint64
	self   Identity // of the segment's own file
}

// marshal returns the head's block.
func (h head) marshal() []byte {
	b := make([]byte, headSize)
	copy(b, magic)
	for i, v := range []uint64{h.salt, h.number, h.first, h.self.Inode, uint64(h.self.Born)} {
		binary.LittleEndian.PutUint64(b[16+8*i:], v)
	}
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b[12:headUsed], castagnoli))
	return b
}

// parseHead reads a head; false where there is none.
func parseHead(b []byte) (h head, ok bool) {
	if len(b) < headUsed || string(b[:8]) != magic ||
		binary.LittleEndian.Uint32(b[8:]) != crc32.Checksum(b[12:headUsed], castagnoli) {
		return head{}, false
	}
	n := func(i int) uint64 { return binary.LittleEndian.Uint64(b[16+8*i:]) }
	return head{salt: n(0), number: n(1), first: n(2), self: Identity{n(3), int64(n(4))}}, true
}

// The kinds of records.
const (
	kindWrites  = 1 + iota // bytes written to a file
	kindDeleted            // the file was removed: what came before is void
	kindSynced             // the file was synced: what came before is void
)

// Write is bytes at an offset of a file.
type Write struct {
	Off  int64
	Data []byte
}

// record is a record that was read.
type record struct {
	kind   byte
	name   string // of the file, relative to the journal's root
	owner  string // of the file whose Identity id is
	id     Identity
	writes []Write
}

// appendBody appends a record, with room for its head, to b.
func appendBody(b []byte, kind byte, f *File, writes []Write) []byte {
	b = append(b, make([]byte, recordHead)...)
	b = append(b, kind)
	for _, s := range []string{f.name, f.owner} {
		b = binary.LittleEndian.AppendUint16(b, uint16(len(s)))
		b = append(b, s...)
	}
	b = binary.LittleEndian.AppendUint64(b, f.id.Inode)
	b = binary.LittleEndian.AppendUint64(b, uint64(f.id.Born))
	if kind != kindWrites {
		return b
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(writes)))
	for _, w := range writes {
		b = binary.LittleEndian.AppendUint64(b, uint64(w.Off))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(w.Data)))
	}
	for _, w := range writes {
		b = append(b, w.Data...)
	}
	return b
}

// seal fills in the head of a record.
func seal(b []byte, salt, number uint64) {
	binary.LittleEndian.PutUint32(b, uint32(len(b)-recordHead))
	binary.LittleEndian.PutUint64(b[8:], salt)
	binary.LittleEndian.PutUint64(b[16:], number)
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli))
}

// parseRecord reads the record at the start of b, which it points into, and
// returns what follows; false where there is no whole one of that number.
func parseRecord(b []byte, salt, number uint64) (r record, rest []byte, ok bool) {
	if len(b) < recordHead {
		return record{}, nil, false
	}
	size := uint64(binary.LittleEndian.Uint32(b))
	if size > uint64(len(b)-recordHead) {
		return record{}, nil, false
	}
	whole := b[:recordHead+size]
	if binary.LittleEndian.Uint64(b[8:]) != salt || binary.LittleEndian.Uint64(b[16:]) != number ||
		binary.LittleEndian.Uint32(b[4:]) != crc32.Checksum(whole[8:], castagnoli) {
		return record{}, nil, false
	}
	r, ok = parseBody(whole[recordHead:])
	return r, b[len(whole):], ok
}

// reader takes fields off a body; short once it was too short.
type reader struct {
	b     []byte
	short bool
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.short, r.b = true, nil
		return make([]byte, min(n, 8))
	}
	taken := r.b[:n]
	r.b = r.b[n:]
	return taken
}

func (r *reader) u64() uint64 { return binary.LittleEndian.Uint64(r.take(8)) }
func (r *reader) u32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *reader) text() string {
	n := binary.LittleEndian.Uint16(r.take(2))
	return string(r.take(uint64(n)))
}

// parseBody reads a body.
func parseBody(b []byte) (rec record, ok bool) {
	r := &reader{b: b}
	rec.kind = r.take(1)[0]
	rec.name, rec.owner = r.text(), r.text()
	rec.id = Identity{Inode: r.u64(), Born: int64(r.u64())}
	switch rec.kind {
	case kindDeleted, kindSynced:
		return rec, !r.short && len(r.b) == 0
	case kindWrites:
	default:
		return record{}, false
	}
	n := uint64(r.u32())
	const each = 12
	if r.short || n > uint64(len(r.b))/each {
		return record{}, false
	}
	table := &reader{b: r.take(n * each)}
	for range n {
		w := Write{Off: int64(table.u64())}
		w.Data = r.take(uint64(table.u32()))
		if w.Off < 0 || r.short {
			return record{}, false
		}
		rec.writes = append(rec.writes, w)
	}
	return rec, len(r.b) == 0
}
