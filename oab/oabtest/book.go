// Package oabtest writes the offline address books that tests read: versions 2,
// 3 and 4, plain and compressed.
package oabtest

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
	"strings"
)

// Property is a property of an entry: an int32, bool, string, []byte, []int32,
// []string or [][]byte.
type Property struct {
	Tag   uint32
	Value any
}

func putInteger(b []byte, v uint32) []byte {
	switch {
	case v <= 0x7F:
		return append(b, byte(v))
	case v <= 0xFF:
		return append(b, 0x81, byte(v))
	case v <= 0xFFFF:
		return binary.LittleEndian.AppendUint16(append(b, 0x82), uint16(v))
	case v <= 0xFFFFFF:
		return append(b, 0x83, byte(v), byte(v>>8), byte(v>>16))
	}
	return binary.LittleEndian.AppendUint32(append(b, 0x84), v)
}

func putValue(b []byte, value any) []byte {
	switch v := value.(type) {
	case int32:
		return putInteger(b, uint32(v))
	case bool:
		if v {
			return append(b, 1)
		}
		return append(b, 0)
	case string:
		return append(append(b, v...), 0)
	case []byte:
		return append(putInteger(b, uint32(len(v))), v...)
	case []int32:
		b = putInteger(b, uint32(len(v)))
		for _, one := range v {
			b = putInteger(b, uint32(one))
		}
	case []string:
		b = putInteger(b, uint32(len(v)))
		for _, one := range v {
			b = append(append(b, one...), 0)
		}
	case [][]byte:
		b = putInteger(b, uint32(len(v)))
		for _, one := range v {
			b = append(putInteger(b, uint32(len(one))), one...)
		}
	}
	return b
}

func sizedRecord(b []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(b)+4)), b...)
}

// Details4 makes an address book of version 4.
func Details4(header []Property, records [][]Property) []byte {
	var tags []uint32
	for _, r := range records {
		for _, p := range r {
			if !slices.Contains(tags, p.Tag) {
				tags = append(tags, p.Tag)
			}
		}
	}
	var headerTags []uint32
	for _, p := range header {
		headerTags = append(headerTags, p.Tag)
	}
	var out, meta []byte
	for _, v := range []int{0x20, 0x12345678, len(records)} {
		out = binary.LittleEndian.AppendUint32(out, uint32(v))
	}
	for _, table := range [][]uint32{headerTags, tags} {
		meta = binary.LittleEndian.AppendUint32(meta, uint32(len(table)))
		for _, tag := range table {
			meta = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(meta, tag), 0)
		}
	}
	record := func(properties []Property, tags []uint32) []byte {
		bits := make([]byte, (len(tags)+7)/8)
		var data []byte
		for i, tag := range tags {
			if j := slices.IndexFunc(properties, func(p Property) bool { return p.Tag == tag }); j >= 0 {
				bits[i/8] |= 0x80 >> (i % 8)
				data = putValue(data, properties[j].Value)
			}
		}
		return sizedRecord(append(bits, data...))
	}
	out = append(append(out, sizedRecord(meta)...), record(header, headerTags)...)
	for _, r := range records {
		out = append(out, record(r, tags)...)
	}
	return out
}

// Person is an entry of version 2 or 3. Texts are bytes of the book's code page.
type Person struct {
	DN, SMTP, Name, Alias, Office, Surname, Phone, Proxy string
}

// Book is the four files of an address book of version 2 or 3.
type Book struct{ Browse, RDN, ANR, Details []byte }

const (
	browseRecord = 32
	rdnFixed     = 24
	anrFixed     = 20
)

// Browse makes an address book of version 2 (0x0A) or 3 (0x0E).
func Browse(version byte, people []Person) Book {
	le := binary.LittleEndian
	head := func() []byte {
		return le.AppendUint32(le.AppendUint32([]byte{version, 0, 0, 0}, 0), uint32(len(people)))
	}
	browse, anr, details := head(), head(), le.AppendUint32(le.AppendUint32([]byte{7, 0, 0, 0}, 0), 0)
	rdn := append(head(), 0, 0, 0, 0)
	parents := map[string]uint32{}
	for _, p := range people {
		i, at := strings.LastIndex(p.DN, "=")+1, strings.Index(p.SMTP, "@")
		for _, parent := range []string{p.DN[:i], p.SMTP[at+1:]} {
			if _, ok := parents[parent]; !ok {
				parents[parent] = uint32(len(rdn))
				rdn = append(append(rdn, parent...), 0)
			}
		}
	}
	key := func(b []byte, fixed int, parent uint32, text string) ([]byte, uint32) {
		if text == "" {
			return b, 0
		}
		at := uint32(len(b))
		b = append(b, make([]byte, fixed)...)
		if fixed == rdnFixed {
			le.PutUint32(b[at+20:], parent)
		}
		return append(append(b, text...), 0), at
	}
	for _, p := range people {
		raw := make([]byte, browseRecord)
		i, at := strings.LastIndex(p.DN, "=")+1, strings.Index(p.SMTP, "@")
		put := func(pos int, v uint32) { le.PutUint32(raw[pos:], v) }
		var off uint32
		rdn, off = key(rdn, rdnFixed, parents[p.DN[:i]], p.DN[i:])
		put(0, off)
		rdn, off = key(rdn, rdnFixed, parents[p.SMTP[at+1:]], p.SMTP[:at])
		put(12, off)
		for j, text := range []string{p.Name, p.Alias, p.Office, p.Surname} {
			anr, off = key(anr, anrFixed, 0, text)
			put(16+4*j, off)
		}
		put(4, uint32(len(details)))
		d := detailsRecord(version, p)
		le.PutUint16(raw[8:], uint16(len(d)))
		raw[11] = 0x86
		details = append(details, d...)
		browse = append(browse, raw...)
	}
	return Book{browse, rdn, anr, details}
}

// detailsRecord writes the details of a person: a certificate, 12 texts, four
// fields that the version decides, then the tail.
func detailsRecord(version byte, p Person) []byte {
	middle := []any{"", "", "", ""} // reserved, home phone, second phones
	tail := []any{"", "", "", "", "", []string{p.Proxy}, [][]byte{}, [][]byte{}}
	if version == 0x0E {
		middle = []any{"", "", []string{}, []string{}}
		tail = append(tail, "", "", "")
	}
	values := []any{[]byte{}, p.Phone}
	for range 11 {
		values = append(values, "")
	}
	var out []byte
	for _, v := range slices.Concat(values, middle, tail) {
		out = putValue(out, v)
	}
	return out
}

// Compress makes the container that Exchange publishes, of blocks of this size.
func Compress(data []byte, block int) []byte {
	out := make([]byte, 0, len(data))
	for _, v := range []int{3, 1, block, len(data)} {
		out = binary.LittleEndian.AppendUint32(out, uint32(v))
	}
	for i := 0; len(data) > 0; i++ {
		part := data[:min(block, len(data))]
		data = data[len(part):]
		packed, flag := LZX(part, func(f int) int { return 1 + (f+i)%2 }), 1
		if i%4 == 3 {
			packed, flag = part, 0
		}
		for _, v := range []uint32{uint32(flag), uint32(len(packed)), uint32(len(part)), ^crc32.ChecksumIEEE(part)} {
			out = binary.LittleEndian.AppendUint32(out, v)
		}
		out = append(out, packed...)
	}
	return out
}
