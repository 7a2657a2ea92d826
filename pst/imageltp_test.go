package pst_test

import (
	"encoding/binary"
	"slices"
	"unicode/utf16"

	"expost/mapi"
)

// imageHeap writes a heap on a node ([MS-PST] 2.3.1).
type imageHeap struct {
	im     *image
	client byte
	blocks [][][]byte // the allocations of each block
	used   int        // bytes in the last block
	subs   []imageNode
}

const maxAlloc = 3580

// alloc adds an allocation and returns its HID.
func (h *imageHeap) alloc(b []byte) uint32 {
	last := len(h.blocks) - 1
	if last < 0 || h.used+len(b)+2 > min(h.im.max, 8176) || len(h.blocks[last]) > 500 {
		h.blocks = append(h.blocks, nil)
		h.used = 100
		last++
	}
	h.blocks[last] = append(h.blocks[last], b)
	h.used += len(b) + 3
	return uint32(len(h.blocks[last]))<<5 | uint32(last)<<(5+h.im.hidBits)
}

// put stores a value: in the heap, or in a subnode if it is large.
func (h *imageHeap) put(b []byte) uint32 {
	if len(b) == 0 {
		return 0
	}
	if len(b) <= maxAlloc {
		return h.alloc(b)
	}
	nid := uint32(0x100+len(h.subs))<<5 | 0x1F
	h.subs = append(h.subs, imageNode{nid: nid, data: h.im.data(b)})
	return nid
}

// write writes the heap.
func (h *imageHeap) write(root uint32) uint64 {
	var leaves [][]byte
	for i, allocs := range h.blocks {
		var b []byte
		switch {
		case i == 0:
			b = le.AppendUint32(le.AppendUint32([]byte{0, 0, 0xEC, h.client}, root), 0)
		case i%128 == 8:
			b = make([]byte, 66)
		default:
			b = make([]byte, 2)
		}
		ends := []int{len(b)}
		for _, a := range allocs {
			b = append(b, a...)
			ends = append(ends, len(b))
		}
		if len(b)%2 != 0 {
			b = append(b, 0)
		}
		le.PutUint16(b, uint16(len(b)))
		b = le.AppendUint16(le.AppendUint16(b, uint16(len(allocs))), 0)
		for _, e := range ends {
			b = le.AppendUint16(b, uint16(e))
		}
		leaves = append(leaves, b)
	}
	return h.im.leaves(leaves...)
}

// bth writes a B-tree on the heap of sorted records, and returns its header.
func (h *imageHeap) bth(key, value int, records [][]byte) uint32 {
	width, levels, root := key+value, byte(0), uint32(0)
	for len(records) > 0 {
		var up [][]byte
		for part := range slices.Chunk(records, maxAlloc/width) {
			root = h.alloc(slices.Concat(part...))
			up = append(up, le.AppendUint32(slices.Clone(part[0][:key]), root))
		}
		if len(up) == 1 {
			break
		}
		records, width = up, key+4
		levels++
	}
	return h.alloc(le.AppendUint32([]byte{0xB5, byte(key), byte(value), levels}, root))
}

// imageProp is a property: a number, or bytes.
type imageProp struct {
	tag    mapi.Tag
	number uint64
	bytes  []byte
}

func wide(s string) []byte {
	b, _ := binary.Append(nil, le, utf16.Encode([]rune(s)))
	return b
}

// text is a string property in the type that the file's strings have.
func (im *image) text(id uint16, s string) imageProp {
	if im.wide {
		return imageProp{tag: mapi.Tag(id)<<16 | 0x1F, bytes: wide(s)}
	}
	return imageProp{tag: mapi.Tag(id)<<16 | 0x1E, bytes: []byte(s)}
}

func number(id uint16, typ mapi.Type, v uint64) imageProp {
	return imageProp{tag: mapi.Tag(id)<<16 | mapi.Tag(typ), number: v}
}

func blob(id uint16, b []byte) imageProp {
	return imageProp{tag: mapi.Tag(id)<<16 | 0x0102, bytes: b}
}

// size is that of a number.
func (p imageProp) size() int {
	switch p.tag.Type() {
	case mapi.TypeBool:
		return 1
	case mapi.TypeInt16:
		return 2
	case mapi.TypeInt32:
		return 4
	case mapi.TypeInt64, mapi.TypeTime:
		return 8
	}
	return 0
}

// pc writes a property context; subs are subnodes it needs besides.
func (im *image) pc(nid, parent uint32, props []imageProp, subs ...imageNode) imageNode {
	h := &imageHeap{im: im, client: 0xBC, subs: subs}
	slices.SortFunc(props, func(a, b imageProp) int { return int(a.tag.ID()) - int(b.tag.ID()) })
	var records [][]byte
	for _, p := range props {
		v := uint32(p.number)
		switch n := p.size(); {
		case n == 8:
			v = h.alloc(le.AppendUint64(nil, p.number))
		case p.tag.Type() == mapi.TypeObject:
			v = h.alloc(le.AppendUint32(le.AppendUint32(nil, uint32(p.number)), 0))
		case n == 0:
			v = h.put(p.bytes)
		}
		r := le.AppendUint16(le.AppendUint16(nil, p.tag.ID()), uint16(p.tag.Type()))
		records = append(records, le.AppendUint32(r, v))
	}
	data := h.write(h.bth(2, 6, records))
	return imageNode{nid, parent, data, im.subnodes(h.subs)}
}

// tc writes a table context. All rows have the columns of the first.
func (im *image) tc(nid uint32, ids []uint32, rows [][]imageProp) imageNode {
	h := &imageHeap{im: im, client: 0x7C}
	columns := []imageProp{number(0x67F2, 3, 0), number(0x67F3, 3, 0)}
	if len(rows) > 0 {
		columns = append(columns, rows[0]...)
	}
	var sizes [9]int // the sum of the sizes of cells of a size
	for _, c := range columns {
		sizes[cell(c)] += cell(c)
	}
	at := map[int]int{4: 0, 8: sizes[4], 2: sizes[4] + sizes[8], 1: sizes[4] + sizes[8] + sizes[2]}
	ends := []int{sizes[4] + sizes[8], at[1], at[1] + sizes[1]}
	ends = append(ends, ends[2]+(len(columns)+7)/8)

	info := []byte{0x7C, byte(len(columns))}
	for _, e := range ends {
		info = le.AppendUint16(info, uint16(e))
	}
	offs := make([]int, len(columns))
	for i, c := range columns {
		offs[i] = at[cell(c)]
		at[cell(c)] += cell(c)
	}
	matrix, index := im.matrix(h, columns, offs, ends, ids, rows)
	value := 4
	if !im.wide {
		value = 2
	}
	hidIndex := h.bth(4, value, index)
	rowsAt := uint32(0)
	switch {
	case len(matrix) == 1 && len(matrix[0]) <= maxAlloc:
		rowsAt = h.alloc(matrix[0])
	case len(matrix) > 0:
		rowsAt = 0x9F<<5 | 0x1F
		h.subs = append(h.subs, imageNode{nid: rowsAt, data: im.leaves(matrix...)})
	}
	info = le.AppendUint32(le.AppendUint32(le.AppendUint32(info, hidIndex), rowsAt), 0)
	order := make([]int, len(columns))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return int(columns[a].tag>>1) - int(columns[b].tag>>1) })
	for _, i := range order {
		info = le.AppendUint32(info, uint32(columns[i].tag))
		info = append(le.AppendUint16(info, uint16(offs[i])), byte(cell(columns[i])), byte(i))
	}
	data := h.write(h.alloc(info))
	return imageNode{nid: nid, data: data, sub: im.subnodes(h.subs)}
}

// cell is the size of a property in a row.
func cell(p imageProp) int {
	if n := p.size(); n > 0 {
		return n
	}
	return 4
}

// matrix writes the rows, in the blocks they lie in, and the row index.
func (im *image) matrix(h *imageHeap, columns []imageProp, offs, ends []int, ids []uint32, rows [][]imageProp) (blocks, index [][]byte) {
	per := im.max / ends[3]
	for i, row := range rows {
		if i%per == 0 {
			blocks = append(blocks, nil)
		}
		b := make([]byte, ends[3])
		for j, p := range append([]imageProp{number(0x67F2, 3, uint64(ids[i])), number(0x67F3, 3, 1)}, row...) {
			v := p.number
			if p.size() == 0 {
				v = uint64(h.put(p.bytes))
			}
			copy(b[offs[j]:offs[j]+cell(p)], le.AppendUint64(nil, v))
			b[ends[2]+j/8] |= 0x80 >> (j % 8)
		}
		last := &blocks[len(blocks)-1]
		*last = append(*last, b...)
		r := le.AppendUint32(nil, ids[i])
		if im.wide {
			r = le.AppendUint32(r, uint32(i))
		} else {
			r = le.AppendUint16(r, uint16(i))
		}
		index = append(index, r)
	}
	for i := range len(blocks) - 1 { // every block but the last is full
		blocks[i] = append(blocks[i], make([]byte, im.max-len(blocks[i]))...)
	}
	return blocks, index
}
