package oab

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"strings"
)

// Reader reads an address book of version 4, plain or compressed.
type Reader struct {
	r          *bufio.Reader
	offset     int64
	total      int
	header     Record
	properties []uint32 // tags of an entry's properties
	next       int
}

// NewReader reads the header of an address book.
func NewReader(r io.Reader) (*Reader, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	first, err := in.Peek(8)
	if err != nil {
		return nil, fmt.Errorf("reading the header of the address book: %w", unexpected(err))
	}
	if binary.LittleEndian.Uint32(first) == containerHigh {
		c, err := newContainer(in)
		if err != nil {
			return nil, err
		}
		in = bufio.NewReaderSize(c, 64<<10)
	}
	a := &Reader{r: in}
	return a, a.readHeader()
}

// IsDetails4 tells whether a file starts as an address book of version 4 does.
func IsDetails4(start []byte) bool {
	if len(start) < 12 {
		return false
	}
	switch binary.LittleEndian.Uint32(start) {
	case versionDetails4:
		size := binary.LittleEndian.Uint32(start[8:])
		return size < 1<<28
	case containerHigh:
		low := binary.LittleEndian.Uint32(start[4:])
		return (low == containerFull || low == containerDiff) && binary.LittleEndian.Uint32(start[8:]) <= maxBlock
	}
	return false
}

// readHeader reads what stands before the entries.
func (a *Reader) readHeader() error {
	var h [12]byte
	if err := a.full(h[:]); err != nil {
		return fmt.Errorf("reading the header of the address book: %w", err)
	}
	if v := binary.LittleEndian.Uint32(h[:]); v != versionDetails4 {
		return fmt.Errorf("this is no full address book of version 4: its version is 0x%X, not 0x20", v)
	}
	a.total = int(binary.LittleEndian.Uint32(h[8:]))
	meta, err := a.sized()
	if err != nil {
		return fmt.Errorf("reading the schema of the address book: %w", err)
	}
	headerTags, rest, err := propertyTable(meta)
	if err == nil {
		a.properties, _, err = propertyTable(rest)
	}
	if err != nil {
		return err
	}
	a.header.Offset = a.offset
	b, err := a.sized()
	if err != nil {
		return fmt.Errorf("reading the header record of the address book: %w", err)
	}
	decode(&a.header, b, headerTags)
	return nil
}

// propertyTable reads an OAB_PROP_TABLE ([MS-OXOAB] 2.9.3).
func propertyTable(b []byte) (tags []uint32, rest []byte, err error) {
	if len(b) < 4 {
		return nil, nil, fmt.Errorf("the schema of the address book is cut off")
	}
	n := binary.LittleEndian.Uint32(b)
	b = b[4:]
	if n > maxProperties || uint64(n)*8 > uint64(len(b)) {
		return nil, nil, fmt.Errorf("the schema of the address book is damaged: it names %d properties", n)
	}
	for range n {
		tags = append(tags, binary.LittleEndian.Uint32(b))
		b = b[8:]
	}
	return tags, b, nil
}

// full reads exactly len(b) bytes.
func (a *Reader) full(b []byte) error {
	n, err := io.ReadFull(a.r, b)
	a.offset += int64(n)
	return unexpected(err)
}

// sized reads a record that starts with its size.
func (a *Reader) sized() ([]byte, error) {
	var h [4]byte
	if err := a.full(h[:]); err != nil {
		return nil, err
	}
	size := binary.LittleEndian.Uint32(h[:])
	if size < 4 || size > maxRecord {
		return nil, fmt.Errorf("the record at offset %d says that it has %d bytes", a.offset-4, size)
	}
	b := make([]byte, size-4)
	return b, a.full(b)
}

// Header returns the header of the address book: its name, its DN.
func (a *Reader) Header() *Record { return &a.header }

// Total returns how many entries the file says it has.
func (a *Reader) Total() int { return a.total }

// Records yields the entries. An entry that is damaged inside is yielded with
// what could be read of it and its Damage; an error ends the sequence, since
// where the next entry starts is not known then.
func (a *Reader) Records() iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		for a.next < a.total {
			rec := &Record{Number: a.next + 1, Offset: a.offset}
			b, err := a.sized()
			if err != nil {
				yield(nil, fmt.Errorf("reading entry %d of %d at offset %d: %w", rec.Number, a.total, rec.Offset, err))
				return
			}
			a.next++
			decode(rec, b, a.properties)
			if !yield(rec, nil) {
				return
			}
		}
	}
}

// decode reads the properties of a record ([MS-OXOAB] 2.9.5).
func decode(rec *Record, b []byte, tags []uint32) {
	bits := (len(tags) + 7) / 8
	if len(b) < bits {
		rec.Damage = "the record is cut off"
		return
	}
	d := &decoder{b: b[bits:], text: func(b []byte) string { return strings.ToValidUTF8(string(b), "\uFFFD") }}
	for i, tag := range tags {
		if b[i/8]&(0x80>>(i%8)) == 0 {
			continue
		}
		v := d.value(uint16(tag))
		if d.err != nil {
			rec.Damage = fmt.Sprintf("property 0x%08X: %v", tag, d.err)
			return
		}
		rec.Properties = append(rec.Properties, Property{tag, v})
	}
}
