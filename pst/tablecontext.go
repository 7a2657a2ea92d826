package pst

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"

	"expost/mapi"
)

// table is a table context ([MS-PST] 2.3.4).
type table struct {
	heap    *heap
	columns []column
	rowSize int
	exists  int // where in a row the bits lie that tell which cells exist
	index   *bth
	rows    stream
}

// column is a TCOLDESC ([MS-PST] 2.3.4.2).
type column struct {
	tag       mapi.Tag
	off, size int
	bit       int
}

// rowRef is an entry of the row index: a row's id and place (2.3.4.3.1).
type rowRef struct{ id, place uint32 }

// openTable opens the table on a node ([MS-PST] 2.3.4.1, TCINFO).
func openTable(n *node) (*table, error) {
	h, err := openHeap(n, clientTC)
	if err != nil {
		return nil, err
	}
	b, err := h.get(h.root)
	if err != nil {
		return nil, err
	}
	if len(b) < 22 || b[0] != clientTC || len(b) < 22+8*int(b[1]) {
		return nil, damaged(h.place(), "no table is in the heap")
	}
	t := &table{heap: h, exists: int(le.Uint16(b[6:])), rowSize: int(le.Uint16(b[8:]))}
	if t.exists > t.rowSize || t.rowSize < 4 {
		return nil, damaged(h.place(), "the table's rows have %d bytes, bits at %d", t.rowSize, t.exists)
	}
	for c := b[22 : 22+8*int(b[1])]; len(c) > 0; c = c[8:] {
		t.columns = append(t.columns, column{mapi.Tag(le.Uint32(c)), int(le.Uint16(c[4:])), int(c[6]), int(c[7])})
	}
	value := 4
	if !n.f.format.wide {
		value = 2
	}
	if t.index, err = openBTH(h, le.Uint32(b[10:]), 4, value); err != nil {
		return nil, err
	}
	t.rows, err = h.open(le.Uint32(b[14:]))
	return t, err
}

// refs returns the entries of the row index by their places. Parts of it that
// cannot be read are reported.
func (t *table) refs() []rowRef {
	var refs []rowRef
	for r, err := range t.index.records() {
		switch {
		case err != nil:
			t.heap.node.f.report(at(t.heap.node.top, err))
		case t.index.value == 2:
			refs = append(refs, rowRef{le.Uint32(r), uint32(le.Uint16(r[4:]))})
		default:
			refs = append(refs, rowRef{le.Uint32(r), le.Uint32(r[t.index.key:])})
		}
	}
	slices.SortStableFunc(refs, func(a, b rowRef) int { return cmp.Compare(a.place, b.place) })
	return refs
}

// all yields the rows in their order.
func (t *table) all() iter.Seq2[*properties, error] {
	return func(yield func(*properties, error) bool) {
		for _, ref := range t.refs() {
			if !yield(t.row(ref)) {
				return
			}
		}
	}
}

// row reads a row ([MS-PST] 2.3.4.4.1).
func (t *table) row(ref rowRef) (*properties, error) {
	b, err := t.rowBytes(int64(ref.place))
	if err != nil {
		return nil, damaged(t.heap.place(), "row %d of the table: %w", ref.place, err)
	}
	p := &properties{heap: t.heap, list: make([]property, 0, len(t.columns))}
	for _, c := range t.columns {
		if at := t.exists + c.bit/8; at >= len(b) || b[at]&(0x80>>(c.bit%8)) == 0 {
			continue
		}
		if c.off+c.size > len(b) || c.size > 8 {
			continue
		}
		var raw [8]byte
		copy(raw[:], b[c.off:c.off+c.size])
		n := fixed(c.tag.Type())
		inline := n > 0 && n <= 8
		if inline && c.size < n || !inline && c.size < 4 {
			continue
		}
		p.list = append(p.list, property{c.tag, binary.LittleEndian.Uint64(raw[:]), inline})
	}
	p.sort()
	return p, nil
}

// rowBytes returns a row of the matrix, of which no row lies in two blocks.
func (t *table) rowBytes(i int64) ([]byte, error) {
	b := make([]byte, t.rowSize)
	off := i * int64(t.rowSize)
	if m, ok := t.rows.(*tree); ok && m.count() > 1 {
		first, err := m.block(0)
		per := int64(t.heap.node.f.format.maxBlock / t.rowSize)
		if err == nil {
			per = int64(len(first) / t.rowSize)
		}
		if per == 0 {
			return nil, fmt.Errorf("it has %d bytes, more than a block", t.rowSize)
		}
		block, err := m.block(int(i / per))
		if err != nil {
			return nil, err
		}
		off = i % per * int64(t.rowSize)
		if off+int64(t.rowSize) > int64(len(block)) {
			return nil, fmt.Errorf("it is beyond the end of block %d", i/per)
		}
		copy(b, block[off:])
		return b, nil
	}
	if _, err := t.rows.ReadAt(b, off); err != nil {
		return nil, err
	}
	return b, nil
}
