package pst

import (
	"cmp"
	"slices"

	"expost/mapi"
)

// The columns of the tables that every file has ([MS-PST] 2.4.4.4.1, 2.4.4.5.1,
// 2.4.4.6.1, 2.4.5.3.1, 2.4.6.1.1); the id and version of the row are added.
var (
	hierarchyColumns = []mapi.Tag{0x0E300003, 0x0E330014, 0x0E340102, 0x0E380003, 0x3001001F, 0x36020003, 0x36030003, 0x360A000B, 0x3613001F, 0x66350003, 0x66360003}
	contentsColumns  = []mapi.Tag{
		0x00170003, 0x001A001F, 0x00360003, 0x0037001F, 0x00390040, 0x0042001F, 0x0057000B, 0x0058000B, 0x0070001F, 0x00710102, 0x0E03001F, 0x0E04001F,
		0x0E060040, 0x0E070003, 0x0E080003, 0x0E170003, 0x0E300003, 0x0E330014, 0x0E340102, 0x0E380003, 0x0E3C0102, 0x0E3D0102, 0x10970003, 0x30080040, 0x65C60003,
	}
	associatedColumns = []mapi.Tag{0x001A001F, 0x0E070003, 0x0E170003, 0x3001001F}
	recipientColumns  = []mapi.Tag{0x0C150003, 0x0E0F000B, 0x0FF90102, 0x0FFE0003, 0x0FFF0102, 0x3001001F, 0x3002001F, 0x3003001F, 0x300B0102, 0x39000003, 0x39FF001F, 0x3A40000B}
	attachmentColumns = []mapi.Tag{0x0E200003, 0x3704001F, 0x37050003, 0x370B0003}
)

const (
	tagRowID      = mapi.Tag(0x67F20003)
	tagRowVersion = mapi.Tag(0x67F30003)
)

// tableWriter writes a table context ([MS-PST] 2.3.4). Rows go to the file as
// blocks of them are full.
type tableWriter struct {
	heap    *heapWriter
	columns []column // in order of their tags
	ends    [4]int   // of the cells of 8 and 4, of 2 and of 1 byte, and of the row
	rows    *dataWriter
	block   []byte // the rows of the block under way
	index   []rowRef
}

func (w *Writer) newTable(tags []mapi.Tag) *tableWriter {
	t := &tableWriter{heap: w.newHeap(clientTC), rows: &dataWriter{w: w}}
	tags = append([]mapi.Tag{tagRowID, tagRowVersion}, tags...)
	at := 0
	for i, size := range []int{4, 8, 2, 1} { // the id and version of a row come first
		for _, tag := range tags {
			if cellSize(tag.Type()) == size {
				t.columns = append(t.columns, column{tag: tag, off: at, size: size, bit: len(t.columns)})
				at += size
			}
		}
		t.ends[max(0, i-1)] = at
	}
	t.ends[3] = at + (len(t.columns)+7)/8
	slices.SortFunc(t.columns, func(a, b column) int { return cmp.Compare(a.tag, b.tag) })
	return t
}

// cellSize is that of a property in a row; others are places in the heap.
func cellSize(typ mapi.Type) int {
	if n := fixed(typ); n > 0 && n <= 8 {
		return n
	}
	return 4
}

// row adds a row. Values of other columns are left out.
func (t *tableWriter) row(id uint32, values map[mapi.Tag]any) error {
	b := make([]byte, t.ends[3])
	for _, c := range t.columns {
		v, ok := values[c.tag]
		switch c.tag {
		case tagRowID:
			v, ok = int32(id), true
		case tagRowVersion:
			v, ok = int32(len(t.index)+1), true
		}
		if !ok || v == nil {
			continue
		}
		cell, err := encode(c.tag.Type(), v)
		if err != nil {
			return err
		}
		if n := fixed(c.tag.Type()); n == 0 || n > 8 {
			place, err := t.heap.value(cell)
			if err != nil {
				return err
			}
			cell = le.AppendUint32(nil, place)
		}
		copy(b[c.off:c.off+c.size], cell)
		b[t.ends[2]+c.bit/8] |= 0x80 >> (c.bit % 8)
	}
	if len(t.block)+len(b) > blockSize/len(b)*len(b) {
		if err := t.cut(); err != nil {
			return err
		}
	}
	t.block = append(t.block, b...)
	t.index = append(t.index, rowRef{id, uint32(len(t.index))})
	return nil
}

// cut ends a block of rows, which is full whether rows fill it or not.
func (t *tableWriter) cut() error {
	if _, err := t.rows.Write(append(t.block, make([]byte, blockSize-len(t.block))...)); err != nil {
		return err
	}
	t.block = t.block[:0]
	return nil
}

// finish writes the table as the node nid.
func (t *tableWriter) finish(nid uint32) (nodeEntry, error) {
	slices.SortFunc(t.index, func(a, b rowRef) int { return cmp.Compare(a.id, b.id) })
	records := make([]byte, 0, 8*len(t.index))
	for _, r := range t.index {
		records = le.AppendUint32(le.AppendUint32(records, r.id), r.place)
	}
	index, err := t.heap.bth(4, 4, records)
	if err != nil {
		return nodeEntry{}, err
	}
	place, err := t.matrix()
	if err != nil {
		return nodeEntry{}, err
	}
	info := []byte{clientTC, byte(len(t.columns))}
	for _, e := range t.ends {
		info = le.AppendUint16(info, uint16(e))
	}
	info = le.AppendUint32(le.AppendUint32(le.AppendUint32(info, index), place), 0)
	for _, c := range t.columns {
		info = append(le.AppendUint16(le.AppendUint32(info, uint32(c.tag)), uint16(c.off)), byte(c.size), byte(c.bit))
	}
	root, err := t.heap.alloc(info)
	if err != nil {
		return nodeEntry{}, err
	}
	return t.heap.finish(nid, root)
}

// matrix writes the rest of the rows and returns where they are.
func (t *tableWriter) matrix() (uint32, error) {
	if t.rows.total == 0 && len(t.block) <= maxAlloc {
		if len(t.block) == 0 {
			return 0, nil
		}
		return t.heap.alloc(t.block)
	}
	if _, err := t.rows.Write(t.block); err != nil {
		return 0, err
	}
	bid, err := t.rows.finish()
	nid := t.heap.nextID<<5 | 0x1F
	t.heap.nextID++
	t.heap.subs = append(t.heap.subs, nodeEntry{nid: nid, data: bid})
	return nid, err
}
