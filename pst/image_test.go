package pst_test

import (
	"bytes"
	"cmp"
	"compress/zlib"
	"encoding/binary"
	"slices"

	"expost/pst"
)

var le = binary.LittleEndian

// image writes the nodes and blocks of a file ([MS-PST] 2.2), to test the
// reader with. It shares no layout with it.
type image struct {
	wide                  bool
	ver                   uint16
	page, counts, trailer int
	tail, align, max      int // of blocks
	hidBits               uint
	crypt                 byte
	compress, lists       bool // every other block of data; of ids too
	magic                 string

	buf    []byte
	blocks []imageBlock
	nodes  []imageNode
	next   uint64
}

type imageBlock struct {
	bid, ib  uint64
	cb, full int
}

type imageNode struct {
	nid, parent uint32
	data, sub   uint64
}

func ansiImage(crypt byte) *image {
	return newImage(&image{ver: 15, page: 512, counts: 496, trailer: 500, tail: 12, align: 64, max: 8180, hidBits: 11, crypt: crypt})
}

func unicodeImage(crypt byte) *image {
	return newImage(&image{wide: true, ver: 23, page: 512, counts: 488, trailer: 496, tail: 16, align: 64, max: 8176, hidBits: 11, crypt: crypt})
}

// largeImage is an OST of Outlook 2013, half of its blocks compressed.
func largeImage(crypt byte) *image {
	im := newImage(&image{wide: true, ver: 36, page: 4096, counts: 4056, trailer: 4072, tail: 24, align: 512, max: 65512, hidBits: 14, crypt: crypt})
	im.compress, im.lists, im.magic = true, true, "SO"
	return im
}

func newImage(im *image) *image {
	im.magic, im.next = "SM", 4
	im.buf = make([]byte, 0x4400)
	return im
}

// id appends an id or offset.
func (im *image) id(b []byte, v uint64) []byte {
	if im.wide {
		return le.AppendUint64(b, v)
	}
	return le.AppendUint32(b, uint32(v))
}

func (im *image) pad(to int) {
	for len(im.buf)%to != 0 {
		im.buf = append(im.buf, 0)
	}
}

// block writes a block and returns its id.
func (im *image) block(data []byte, internal bool) uint64 {
	bid := im.next
	im.next += 4
	full := len(data)
	data = slices.Clone(data)
	if internal {
		bid |= 2
	} else {
		pst.Encode(im.crypt, data, bid)
	}
	if im.compress && im.next%8 == 0 && (im.lists || !internal) {
		var z bytes.Buffer
		w := zlib.NewWriter(&z)
		_, _ = w.Write(data)
		_ = w.Close()
		if z.Len() < len(data) {
			data = z.Bytes()
		}
	}
	im.pad(im.align)
	ib := uint64(len(im.buf))
	im.buf = append(im.buf, data...)
	for (len(im.buf)+im.tail)%im.align != 0 {
		im.buf = append(im.buf, 0)
	}
	im.buf = le.AppendUint16(im.buf, uint16(len(data)))
	im.buf = le.AppendUint16(im.buf, pst.Signature(ib, bid))
	if im.wide {
		im.buf = le.AppendUint64(le.AppendUint32(im.buf, pst.Checksum(data)), bid)
	} else {
		im.buf = le.AppendUint32(le.AppendUint32(im.buf, uint32(bid)), pst.Checksum(data))
	}
	if im.page > 512 {
		im.buf = le.AppendUint32(le.AppendUint16(le.AppendUint16(im.buf, 2), uint16(full)), 0)
	}
	im.blocks = append(im.blocks, imageBlock{bid, ib, len(data), full})
	return bid
}

// list writes an XBLOCK or XXBLOCK.
func (im *image) list(level byte, total int, ids []uint64) uint64 {
	b := []byte{1, level}
	b = le.AppendUint16(b, uint16(len(ids)))
	b = le.AppendUint32(b, uint32(total))
	for _, id := range ids {
		b = im.id(b, id)
	}
	return im.block(b, true)
}

// leaves writes the data of a node whose blocks are given.
func (im *image) leaves(leaves ...[]byte) uint64 {
	total, ids := 0, []uint64(nil)
	for _, l := range leaves {
		total += len(l)
		ids = append(ids, im.block(l, false))
	}
	if len(ids) == 1 {
		return ids[0]
	}
	per := (im.max - 8) / len(im.id(nil, 0))
	if len(ids) <= per {
		return im.list(1, total, ids)
	}
	var lists []uint64
	for part := range slices.Chunk(ids, per) {
		n := len(part) * im.max
		lists = append(lists, im.list(1, min(n, total-len(lists)*per*im.max), part))
	}
	return im.list(2, total, lists)
}

// data writes the data of a node.
func (im *image) data(b []byte) uint64 {
	if len(b) == 0 {
		return 0
	}
	return im.leaves(slices.Collect(slices.Chunk(b, im.max))...)
}

// subnodes writes an SLBLOCK, or an SIBLOCK and those it lists.
func (im *image) subnodes(nodes []imageNode) uint64 {
	if len(nodes) == 0 {
		return 0
	}
	slices.SortFunc(nodes, func(a, b imageNode) int { return cmp.Compare(a.nid, b.nid) })
	per := (im.max - 8) / len(im.id(im.id(im.id(nil, 0), 0), 0))
	var blocks, firsts []uint64
	for part := range slices.Chunk(nodes, per) {
		b := im.subHead(0, len(part))
		for _, n := range part {
			b = im.id(im.id(im.id(b, uint64(n.nid)), n.data), n.sub)
		}
		blocks, firsts = append(blocks, im.block(b, true)), append(firsts, uint64(part[0].nid))
	}
	if len(blocks) == 1 {
		return blocks[0]
	}
	b := im.subHead(1, len(blocks))
	for i, bid := range blocks {
		b = im.id(im.id(b, firsts[i]), bid)
	}
	return im.block(b, true)
}

func (im *image) subHead(level byte, n int) []byte {
	b := le.AppendUint16([]byte{2, level}, uint16(n))
	if im.wide {
		b = append(b, 0, 0, 0, 0)
	}
	return b
}

// node adds a node of the file.
func (im *image) node(n imageNode) { im.nodes = append(im.nodes, n) }

type imageEntry struct {
	key   uint64
	bytes []byte
}

// tree writes a B-tree of pages and returns the id and offset of its root.
func (im *image) tree(kind byte, entries []imageEntry) (bid, ib uint64) {
	slices.SortFunc(entries, func(a, b imageEntry) int { return cmp.Compare(a.key, b.key) })
	for level := byte(0); ; level++ {
		size := 24
		if len(entries) > 0 {
			size = len(entries[0].bytes)
		}
		var up []imageEntry
		for part := range slices.Chunk(entries, im.counts/size) {
			bid, ib = im.treePage(kind, level, size, part)
			up = append(up, imageEntry{part[0].key, im.id(im.id(im.id(nil, part[0].key), bid), ib)})
		}
		if len(up) <= 1 {
			return bid, ib
		}
		entries = up
	}
}

func (im *image) treePage(kind, level byte, size int, entries []imageEntry) (bid, ib uint64) {
	im.pad(im.page)
	bid, ib = im.next, uint64(len(im.buf))
	im.next += 4
	b := make([]byte, im.page)
	n := 0
	for _, e := range entries {
		n += copy(b[n:], e.bytes)
	}
	c := b[im.counts:]
	if im.page > 512 {
		le.PutUint16(c, uint16(len(entries)))
		le.PutUint16(c[2:], uint16(im.counts/size))
		c[4], c[5] = byte(size), level
	} else {
		c[0], c[1], c[2], c[3] = byte(len(entries)), byte(im.counts/size), byte(size), level
	}
	t := b[im.trailer:]
	t[0], t[1] = kind, kind
	le.PutUint16(t[2:], pst.Signature(ib, bid))
	if im.wide {
		le.PutUint32(t[4:], pst.Checksum(b[:im.trailer]))
		le.PutUint64(t[8:], bid)
	} else {
		le.PutUint32(t[4:], uint32(bid))
		le.PutUint32(t[8:], pst.Checksum(b[:im.trailer]))
	}
	im.buf = append(im.buf, b...)
	return bid, ib
}

// finish writes the trees and the header, and returns the file.
func (im *image) finish() []byte {
	var bbt, nbt []imageEntry
	for _, b := range im.blocks {
		e := le.AppendUint16(im.id(im.id(nil, b.bid), b.ib), uint16(b.cb))
		if im.page > 512 {
			e = le.AppendUint16(e, uint16(b.full))
		}
		e = le.AppendUint16(e, 2)
		for im.wide && len(e) < 24 {
			e = append(e, 0)
		}
		bbt = append(bbt, imageEntry{b.bid, e})
	}
	for _, n := range im.nodes {
		e := le.AppendUint32(im.id(im.id(im.id(nil, uint64(n.nid)), n.data), n.sub), n.parent)
		for im.wide && len(e) < 32 {
			e = append(e, 0)
		}
		nbt = append(nbt, imageEntry{uint64(n.nid), e})
	}
	bbtID, bbtAt := im.tree(0x80, bbt)
	nbtID, nbtAt := im.tree(0x81, nbt)
	im.header(nbtID, nbtAt, bbtID, bbtAt)
	return im.buf
}

func (im *image) header(ids ...uint64) {
	h := im.buf[:564]
	copy(h, "!BDN")
	copy(h[8:], im.magic)
	le.PutUint16(h[10:], im.ver)
	le.PutUint16(h[12:], 19)
	h[14], h[15] = 1, 1
	root, crypt := 180, 513
	if !im.wide {
		root, crypt = 164, 461
	}
	h[crypt-1], h[crypt] = 0x80, im.crypt
	b := im.id(nil, uint64(len(im.buf)))
	b = im.id(im.id(im.id(b, 0), 0), 0)
	for _, v := range ids {
		b = im.id(b, v)
	}
	copy(h[root+4:], append(b, 2))
	le.PutUint32(h[4:], pst.Checksum(h[8:8+471]))
	if im.wide {
		le.PutUint32(h[524:], pst.Checksum(h[8:8+516]))
	}
}
