package pst

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
)

// block writes a block ([MS-PST] 2.2.2.8.1) and returns its id.
func (w *Writer) block(data []byte, isInternal bool) (uint64, error) {
	f := unicodeFormat()
	n := f.stored(len(data))
	b, ib, err := w.space.alloc(n, f.align)
	if err != nil {
		return 0, err
	}
	bid := w.nextBID
	w.nextBID += 4
	if isInternal {
		bid |= 2
	}
	copy(b, data)
	if !isInternal && !w.space.plain {
		permute(b[:len(data)], &cryptR)
	}
	t := b[n-f.blockTrailer:]
	le.PutUint16(t, uint16(len(data)))
	le.PutUint16(t[2:], signature(ib, bid))
	le.PutUint32(t[4:], checksum(b[:len(data)]))
	le.PutUint64(t[8:], bid)
	e := le.AppendUint64(le.AppendUint64(make([]byte, 0, 24), bid), ib)
	e = le.AppendUint16(le.AppendUint16(e, uint16(len(data))), 2)
	return bid, w.blocks.add(bid, append(e, 0, 0, 0, 0))
}

// dataWriter writes the data of a node: blocks, and lists of them.
type dataWriter struct {
	w     *Writer
	buf   []byte
	bids  []uint64
	held  int64 // bytes in the blocks of bids
	lists []uint64
	total int64
}

const (
	blockSize = 8192 - 16
	listMost  = (blockSize - 8) / 8
)

// Write adds data.
func (d *dataWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		k := min(len(p), blockSize-len(d.buf))
		d.buf, p = append(d.buf, p[:k]...), p[k:]
		if len(d.buf) == blockSize {
			if err := d.cut(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

// cut ends the block.
func (d *dataWriter) cut() error {
	if len(d.buf) == 0 {
		return nil
	}
	bid, err := d.w.block(d.buf, false)
	if err != nil {
		return err
	}
	err = d.add(bid, len(d.buf))
	d.buf = d.buf[:0]
	return err
}

// add adds a block that was written.
func (d *dataWriter) add(bid uint64, size int) error {
	if len(d.bids) == listMost {
		if err := d.list(); err != nil {
			return err
		}
	}
	d.bids = append(d.bids, bid)
	d.held += int64(size)
	if d.total += int64(size); d.total > math.MaxUint32 {
		return errors.New("a property of more than 4 GiB does not fit into a PST file")
	}
	return nil
}

// list writes the XBLOCK of bids ([MS-PST] 2.2.2.8.3.2.1).
func (d *dataWriter) list() error {
	bid, err := d.w.xblock(1, d.held, d.bids)
	d.lists, d.bids, d.held = append(d.lists, bid), d.bids[:0], 0
	return err
}

func (w *Writer) xblock(level byte, total int64, ids []uint64) (uint64, error) {
	b := le.AppendUint32(le.AppendUint16([]byte{1, level}, uint16(len(ids))), uint32(total))
	for _, id := range ids {
		b = le.AppendUint64(b, id)
	}
	return w.block(b, true)
}

// finish returns the id of the whole, 0 where there is no data.
func (d *dataWriter) finish() (uint64, error) {
	if err := d.cut(); err != nil {
		return 0, err
	}
	switch {
	case len(d.lists) == 0 && len(d.bids) <= 1:
		return firstID(d.bids), nil
	case len(d.lists) == 0:
		return d.w.xblock(1, d.total, d.bids)
	}
	if err := d.list(); err != nil {
		return 0, err
	}
	return d.w.xblock(2, d.total, d.lists)
}

func firstID(ids []uint64) uint64 {
	if len(ids) == 0 {
		return 0
	}
	return ids[0]
}

// data writes the data of a node and returns its id and size.
func (w *Writer) data(r io.Reader) (bid uint64, size int64, err error) {
	d := &dataWriter{w: w}
	if _, err := io.Copy(onlyWriter{d}, r); err != nil {
		return 0, 0, err
	}
	bid, err = d.finish()
	return bid, d.total, err
}

// onlyWriter hides other methods.
type onlyWriter struct{ io.Writer }

// bytes returns a node's entry in the tree ([MS-PST] 2.2.2.7.7.4).
func (n nodeEntry) bytes() []byte {
	b := le.AppendUint64(make([]byte, 0, 32), uint64(n.nid))
	b = le.AppendUint64(le.AppendUint64(b, n.data), n.sub)
	return le.AppendUint32(le.AppendUint32(b, n.parent), 0)
}

func sortNodes(n []nodeEntry) {
	slices.SortFunc(n, func(a, b nodeEntry) int { return cmp.Compare(a.nid, b.nid) })
}

// subnodes writes the list of a node's subnodes ([MS-PST] 2.2.2.8.3.3).
func (w *Writer) subnodes(nodes []nodeEntry) (uint64, error) {
	if len(nodes) == 0 {
		return 0, nil
	}
	sortNodes(nodes)
	head := func(level byte, n int) []byte {
		return append(le.AppendUint16([]byte{2, level}, uint16(n)), 0, 0, 0, 0)
	}
	const perList, perIndex = (blockSize - 8) / 24, (blockSize - 8) / 16
	if len(nodes) > perList*perIndex {
		return 0, fmt.Errorf("%d subnodes are more than a node can have", len(nodes))
	}
	var index []byte
	lists, last := 0, uint64(0)
	for part := range slices.Chunk(nodes, perList) {
		b := head(0, len(part))
		for _, n := range part {
			b = le.AppendUint64(le.AppendUint64(le.AppendUint64(b, uint64(n.nid)), n.data), n.sub)
		}
		bid, err := w.block(b, true)
		if err != nil {
			return 0, err
		}
		index = le.AppendUint64(le.AppendUint64(index, uint64(part[0].nid)), bid)
		lists, last = lists+1, bid
	}
	if lists == 1 {
		return last, nil
	}
	return w.block(append(head(1, lists), index...), true)
}
