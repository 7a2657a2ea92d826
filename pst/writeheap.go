package pst

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"expost/mapi"
)

// heapWriter writes a heap on a node ([MS-PST] 2.3.1). All blocks but the first
// go to the file when they are full; the first holds the root and is kept.
type heapWriter struct {
	w      *Writer
	client byte
	first  heapBlock
	open   heapBlock // the last one, if it is not the first
	count  int       // of blocks
	others []uint64  // the ids of those written
	sizes  []int
	subs   []nodeEntry
	nextID uint32 // of subnodes
}

// heapBlock is a block under way.
type heapBlock struct {
	b    []byte
	ends []int
}

// maxAlloc is the most that an allocation may have ([MS-PST] 2.3.1).
const maxAlloc = 3580

func (w *Writer) newHeap(client byte) *heapWriter {
	h := &heapWriter{w: w, client: client, count: 1, nextID: 0x100}
	h.first = heapBlock{b: make([]byte, 12, 256), ends: []int{12}}
	return h
}

// last returns the block that is filled.
func (h *heapWriter) last() *heapBlock {
	if h.count == 1 {
		return &h.first
	}
	return &h.open
}

// alloc adds an allocation and returns its place, a HID.
func (h *heapWriter) alloc(b []byte) (uint32, error) {
	if len(b) > maxAlloc {
		return 0, fmt.Errorf("%d bytes are too many for a heap", len(b))
	}
	l := h.last()
	if room := blockSize - len(l.b) - 2*len(l.ends) - 8; room < len(b) || len(l.ends) > 2040 {
		if err := h.more(); err != nil {
			return 0, err
		}
		l = h.last()
	}
	l.b = append(l.b, b...)
	l.ends = append(l.ends, len(l.b))
	return uint32(len(l.ends)-1)<<5 | uint32(h.count-1)<<16, nil
}

// more starts the next block.
func (h *heapWriter) more() error {
	if h.count > 1 {
		if err := h.put(&h.open); err != nil {
			return err
		}
	}
	if h.count == 1<<16 {
		return errors.New("a table or an item is too large for a PST file")
	}
	head := 2
	if h.count >= 8 && (h.count-8)%128 == 0 {
		head = 66
	}
	h.open = heapBlock{b: append(h.open.b[:0], make([]byte, head)...), ends: append(h.open.ends[:0], head)}
	if head == 66 {
		for i := 2; i < head; i++ {
			h.open.b[i] = 0xFF // full, as far as can be said of blocks to come
		}
	}
	h.count++
	return nil
}

// put writes a block that is not the first.
func (h *heapWriter) put(x *heapBlock) error {
	b := x.close()
	bid, err := h.w.block(b, false)
	h.others, h.sizes = append(h.others, bid), append(h.sizes, len(b))
	return err
}

// close returns the block with its map ([MS-PST] 2.3.1.5).
func (x *heapBlock) close() []byte {
	b := x.b
	if len(b)%2 != 0 {
		b = append(b, 0)
	}
	le.PutUint16(b, uint16(len(b)))
	b = le.AppendUint16(le.AppendUint16(b, uint16(len(x.ends)-1)), 0)
	for _, e := range x.ends {
		b = le.AppendUint16(b, uint16(e))
	}
	return b
}

// fill returns how full a block of n bytes is, in the words of [MS-PST] 2.3.1.2.
func fill(n int) byte {
	free := blockSize - n
	for level, least := range []int{3584, 2560, 2048, 1792, 1536, 1280, 1024, 768, 512, 256, 128, 64, 32, 16, 8} {
		if free >= least {
			return byte(level)
		}
	}
	return 15
}

// sub adds a subnode of data and returns its id.
func (h *heapWriter) sub(r io.Reader) (nid uint32, size int64, err error) {
	nid = h.nextID<<5 | 0x1F
	h.nextID++
	bid, size, err := h.w.data(r)
	h.subs = append(h.subs, nodeEntry{nid: nid, data: bid})
	return nid, size, err
}

// value stores bytes: in the heap, or in a subnode where they are many.
func (h *heapWriter) value(b []byte) (uint32, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if len(b) <= maxAlloc {
		return h.alloc(b)
	}
	nid, _, err := h.sub(bytes.NewReader(b))
	return nid, err
}

// finish writes the heap as the node nid.
func (h *heapWriter) finish(nid, root uint32) (nodeEntry, error) {
	if h.count > 1 {
		if err := h.put(&h.open); err != nil {
			return nodeEntry{}, err
		}
	}
	b := h.first.close()
	b[2], b[3] = 0xEC, h.client
	le.PutUint32(b[4:], root)
	for i := range min(8, h.count) {
		n := len(b)
		if i > 0 {
			n = h.sizes[i-1]
		}
		b[8+i/2] |= fill(n) << (4 * (i % 2))
	}
	bid, err := h.w.block(b, false)
	if err != nil {
		return nodeEntry{}, err
	}
	d := &dataWriter{w: h.w}
	for i, id := range append([]uint64{bid}, h.others...) {
		n := len(b)
		if i > 0 {
			n = h.sizes[i-1]
		}
		if err := d.add(id, n); err != nil {
			return nodeEntry{}, err
		}
	}
	n := nodeEntry{nid: nid}
	if n.data, err = d.finish(); err != nil {
		return n, err
	}
	n.sub, err = h.w.subnodes(h.subs)
	return n, err
}

// bth writes a tree on the heap of records in order ([MS-PST] 2.3.2), and
// returns the place of its header.
func (h *heapWriter) bth(key, value int, records []byte) (uint32, error) {
	width, levels, root := key+value, byte(0), uint32(0)
	for len(records) > 0 {
		var up []byte
		per := maxAlloc / width * width
		parts := 0
		for ; len(records) > 0; parts++ {
			part := records[:min(len(records), per)]
			records = records[len(part):]
			var err error
			if root, err = h.alloc(part); err != nil {
				return 0, err
			}
			up = le.AppendUint32(append(up, part[:key]...), root)
		}
		if parts == 1 {
			break
		}
		records, width = up, key+4
		levels++
	}
	return h.alloc(le.AppendUint32([]byte{clientBTH, byte(key), byte(value), levels}, root))
}

// contextWriter writes a property context ([MS-PST] 2.3.3).
type contextWriter struct {
	heap    *heapWriter
	records []contextRecord
	size    int64 // of the values
	err     error
}

type contextRecord struct {
	tag   mapi.Tag
	value uint32
}

func (w *Writer) newContext() *contextWriter { return &contextWriter{heap: w.newHeap(clientPC)} }

// add adds a property. The first error is kept for finish.
func (p *contextWriter) add(id uint16, typ mapi.Type, v any) {
	if p.err != nil || p.has(id) {
		return
	}
	b, err := encode(typ, v)
	if err != nil {
		p.err = fmt.Errorf("property %#04x: %w", id, err)
		return
	}
	p.size += int64(len(b))
	r := contextRecord{tag: tag(id, typ)}
	if n := fixed(typ); n > 0 && n <= 4 {
		r.value = le.Uint32(append(b, 0, 0, 0, 0))
	} else if r.value, err = p.heap.value(b); err != nil {
		p.err = err
		return
	}
	p.records = append(p.records, r)
}

func (p *contextWriter) has(id uint16) bool {
	return slices.ContainsFunc(p.records, func(r contextRecord) bool { return r.tag.ID() == id })
}

// stream adds a property of any size.
func (p *contextWriter) stream(t mapi.Tag, r io.Reader) {
	if p.err != nil || p.has(t.ID()) {
		return
	}
	start := make([]byte, maxAlloc+1)
	n, err := io.ReadFull(r, start)
	rec := contextRecord{tag: t}
	switch {
	case err == nil:
		var size int64
		rec.value, size, err = p.heap.sub(io.MultiReader(bytes.NewReader(start), r))
		p.size += size
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		rec.value, err = p.heap.value(start[:n])
		p.size += int64(n)
	}
	if err != nil {
		p.err = fmt.Errorf("property %#08x: %w", uint32(t), err)
		return
	}
	p.records = append(p.records, rec)
}

// object adds a property that is a subnode ([MS-PST] 2.3.3.5).
func (p *contextWriter) object(id uint16, n nodeEntry, size int64) {
	if p.err != nil {
		return
	}
	p.heap.subs = append(p.heap.subs, n)
	hid, err := p.heap.alloc(le.AppendUint32(le.AppendUint32(nil, n.nid), uint32(min(size, 1<<31-1))))
	if p.err = err; err == nil {
		p.size += size
		p.records = append(p.records, contextRecord{tag(id, mapi.TypeObject), hid})
	}
}

// finish writes the context as the node nid.
func (p *contextWriter) finish(nid uint32) (nodeEntry, error) {
	if p.err != nil {
		return nodeEntry{}, p.err
	}
	slices.SortFunc(p.records, func(a, b contextRecord) int { return cmp.Compare(a.tag.ID(), b.tag.ID()) })
	b := make([]byte, 0, 8*len(p.records))
	for _, r := range p.records {
		b = le.AppendUint16(le.AppendUint16(b, r.tag.ID()), uint16(r.tag.Type()))
		b = le.AppendUint32(b, r.value)
	}
	root, err := p.heap.bth(2, 6, b)
	if err != nil {
		return nodeEntry{}, err
	}
	return p.heap.finish(nid, root)
}
