package pst

import (
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
)

// internal tells blocks that hold ids, never encoded, from those that hold
// data ([MS-PST] 2.2.2.2).
func internal(bid uint64) bool { return bid&2 != 0 }

// block returns the decoded data of a block, which must not be changed, from
// the cache if it is there.
func (f *File) block(bid uint64) ([]byte, error) {
	if b, ok := f.cached.get(bid &^ 1); ok {
		return b, nil
	}
	b, err := f.readBlock(bid)
	if err == nil {
		f.cached.put(bid&^1, b, len(b))
	}
	return b, err
}

// locate finds a block in the directory.
func (f *File) locate(bid uint64) (blockEntry, error) {
	e, ok, err := f.dir.block(bid)
	if err != nil {
		return e, err
	}
	place := Place{Block: bid, Offset: int64(e.ib)}
	switch {
	case !ok:
		return e, damaged(place, "the block is not in the tree of blocks")
	case e.cb == 0 || e.cb > f.format.maxBlock:
		return e, damaged(place, "the block has %d bytes, 1 to %d are possible", e.cb, f.format.maxBlock)
	}
	return e, nil
}

// readBlock reads and decodes a block ([MS-PST] 2.2.2.8.1).
func (f *File) readBlock(bid uint64) ([]byte, error) {
	e, err := f.locate(bid)
	if err != nil {
		return nil, err
	}
	return f.readBlockInto(make([]byte, f.format.stored(e.cb)), bid, e)
}

// readBlockInto reads the block of an entry into b, which has room for it.
func (f *File) readBlockInto(b []byte, bid uint64, e blockEntry) ([]byte, error) {
	place := Place{Block: bid, Offset: int64(e.ib)}
	if err := f.readAt(b, e.ib, place); err != nil {
		return nil, err
	}
	if fatal, bad := f.format.checkBlock(b, e); fatal {
		return nil, damaged(place, "another block lies there: %w", bad)
	} else if bad != nil {
		f.report(damaged(place, "block: %w", bad))
	}
	data := b[:e.cb:e.cb]
	if e.inflated != e.cb {
		var err error
		if data, err = inflate(data, e.inflated); err != nil {
			return nil, damaged(place, "inflating %d bytes to %d: %w", e.cb, e.inflated, err)
		}
	}
	if !internal(bid) {
		decode(f.header.crypt, data, bid)
	}
	return data, nil
}

// checkBlock compares a block's trailer with the block and with what the tree
// says. It is fatal if both id and checksum differ: then it is another block.
func (f *format) checkBlock(b []byte, e blockEntry) (fatal bool, err error) {
	t := f.blockTrailerOf(b)
	var errs []error
	sum := checksum(b[:e.cb])
	if sum != t.sum {
		errs = append(errs, fmt.Errorf("checksum is %#x, should be %#x", sum, t.sum))
	}
	if t.bid&^1 != e.bid {
		errs = append(errs, fmt.Errorf("id is %#x, should be %#x", t.bid, e.bid))
	}
	fatal = len(errs) == 2
	if t.cb != e.cb {
		errs = append(errs, fmt.Errorf("size is %d, should be %d", t.cb, e.cb))
	}
	if sig := signature(e.ib, t.bid); sig != t.sig {
		errs = append(errs, fmt.Errorf("signature is %#x, should be %#x", t.sig, sig))
	}
	return fatal, errors.Join(errs...)
}

// blockTrailer is a BLOCKTRAILER ([MS-PST] 2.2.2.8.1).
type blockTrailer struct {
	cb  int
	sig uint16
	sum uint32
	bid uint64

	inflated int
}

// blockTrailerOf reads the trailer at the end of b. Its fields have another
// order in ANSI files.
func (f *format) blockTrailerOf(b []byte) blockTrailer {
	b = b[len(b)-f.blockTrailer:]
	t := blockTrailer{cb: int(le.Uint16(b)), sig: le.Uint16(b[2:])}
	t.inflated = t.cb
	if !f.wide {
		t.bid, t.sum = uint64(le.Uint32(b[4:])), le.Uint32(b[8:])
		return t
	}
	t.sum, t.bid = le.Uint32(b[4:]), le.Uint64(b[8:])
	if f.inflate {
		t.inflated = int(le.Uint16(b[18:]))
	}
	return t
}

// inflate decompresses a block of a 4 KiB file. What precedes damage in it is
// lost with it: half a block misleads more than none.
func inflate(b []byte, size int) ([]byte, error) {
	z, err := zlib.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	out := make([]byte, size)
	if _, err := io.ReadFull(z, out); err != nil {
		return nil, err
	}
	return out, nil
}

// readAt fills b from the file.
func (f *File) readAt(b []byte, ib uint64, place Place) error {
	if ib == 0 || ib > uint64(f.size) || uint64(len(b)) > uint64(f.size)-ib {
		return damaged(place, "%w: %d bytes there are beyond its end at %d", ErrTruncated, len(b), f.size)
	}
	if _, err := f.ahead.ReadAt(b, int64(ib)); err != nil {
		return &Damage{place, fmt.Errorf("reading %d bytes: %w", len(b), err)}
	}
	return nil
}
