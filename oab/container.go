package oab

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

// The container of a compressed file ([MS-OXOAB] 2.11): a header of 16 bytes,
// then blocks, each with a header of 16 bytes.
const (
	containerHigh = 3
	containerFull = 1 // a whole file
	containerDiff = 2 // what differs from another

	maxBlock  = 64 << 20 // bytes that a block may decompress to
	freeBytes = 1 << 20  // bytes that a file may decompress to, however small it is
	maxRatio  = 500      // and how many times its own size beyond that
)

// container decompresses a file as it is read.
type container struct {
	r      io.Reader
	limit  uint32 // of a block
	left   uint32 // bytes that the file still decompresses to
	made   int64  // bytes that it has decompressed to
	offset int64  // in the compressed file
	block  []byte
	err    error
}

// newContainer reads the header of a container.
func newContainer(r io.Reader) (*container, error) {
	var h [16]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return nil, fmt.Errorf("reading the header of the compressed file: %w", unexpected(err))
	}
	low := binary.LittleEndian.Uint32(h[4:])
	if low == containerDiff {
		return nil, fmt.Errorf("this file holds only what differs from an older address book: take the full file, whose name in oab.xml has the type \"Full\"")
	}
	c := &container{r: r, limit: binary.LittleEndian.Uint32(h[8:]), left: binary.LittleEndian.Uint32(h[12:]), offset: 16}
	if low != containerFull || c.limit > maxBlock {
		return nil, fmt.Errorf("the header of the compressed file is damaged: type %d, blocks of %d bytes", low, c.limit)
	}
	return c, nil
}

// Read implements io.Reader.
func (c *container) Read(p []byte) (int, error) {
	for len(c.block) == 0 {
		if c.err == nil && c.left == 0 {
			c.err = io.EOF
		}
		if c.err == nil {
			c.err = c.next()
		}
		if c.err != nil {
			return 0, c.err
		}
	}
	n := copy(p, c.block)
	c.block = c.block[n:]
	return n, nil
}

// next decompresses the next block.
func (c *container) next() error {
	var h [16]byte
	if _, err := io.ReadFull(c.r, h[:]); err != nil {
		return fmt.Errorf("reading the block at offset %d: %w", c.offset, unexpected(err))
	}
	flags, packed := binary.LittleEndian.Uint32(h[0:]), binary.LittleEndian.Uint32(h[4:])
	size, sum := binary.LittleEndian.Uint32(h[8:]), binary.LittleEndian.Uint32(h[12:])
	damaged := func(why string) error { return fmt.Errorf("reading the block at offset %d: %s", c.offset, why) }
	if flags > 1 || size == 0 || size > c.limit || size > c.left || packed > maxBlock || flags == 0 && packed != size {
		return damaged("its header is damaged")
	}
	if c.made += int64(size); c.made > freeBytes && c.made > maxRatio*(c.offset+int64(packed)) {
		return damaged(fmt.Sprintf("the file grows more than %d times, as no address book does", maxRatio))
	}
	data := make([]byte, packed)
	if _, err := io.ReadFull(c.r, data); err != nil {
		return fmt.Errorf("reading the block at offset %d: %w", c.offset, unexpected(err))
	}
	if flags == 1 {
		var err error
		if data, err = decompress(data, int(size)); err != nil {
			return damaged(err.Error())
		}
	}
	if checksum(data) != sum {
		return damaged("its checksum is wrong")
	}
	c.block, c.left = data, c.left-size
	c.offset += 16 + int64(packed)
	return nil
}

// checksum is CRC-32 without its last inversion ([MS-OXOAB] 2.11.2).
func checksum(b []byte) uint32 { return ^crc32.ChecksumIEEE(b) }

// unexpected makes an end in the middle of something what it is.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
