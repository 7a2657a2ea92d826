// Package oab reads the offline address books of Exchange and Outlook
// ([MS-OXOAB]): version 4 (udetails.oab, and the LZX-compressed file that
// Exchange publishes for download), and versions 2 and 3 (browse.oab with
// rdndex.oab, anrdex.oab and details.oab beside it).
//
// Whatever the version, an entry is a [Record] of MAPI properties. Files are
// read front to back in memory that does not grow with them; nothing a file
// says makes the reader take more than its limits.
package oab

import (
	"fmt"
	"slices"
)

// Tags of the properties that an address book has of its entries
// ([MS-OXPROPS]; the low half is the type).
const (
	TagEmailAddress     = 0x3003001E // the entry's X500 DN
	TagSMTPAddress      = 0x39FE001F
	TagDisplayName      = 0x3001001F
	TagAccount          = 0x3A00001F // alias
	TagSurname          = 0x3A11001F
	TagGivenName        = 0x3A06001F
	TagInitials         = 0x3A0A001F
	TagBusinessPhone    = 0x3A08001F
	TagBusiness2Phones  = 0x3A1B101F
	TagHomePhone        = 0x3A09001F
	TagHome2Phones      = 0x3A2F101F
	TagMobilePhone      = 0x3A1C001F
	TagPager            = 0x3A21001F
	TagPrimaryFax       = 0x3A23001F
	TagAssistantPhone   = 0x3A2E001F
	TagAssistant        = 0x3A30001F
	TagTitle            = 0x3A17001F
	TagCompany          = 0x3A16001F
	TagDepartment       = 0x3A18001F
	TagOffice           = 0x3A19001F
	TagStreetAddress    = 0x3A29001F
	TagLocality         = 0x3A27001F
	TagStateOrProvince  = 0x3A28001F
	TagPostalCode       = 0x3A2A001F
	TagCountry          = 0x3A26001F
	TagComment          = 0x3004001F
	TagPrintableName    = 0x39FF001F
	TagProxyAddresses   = 0x800F101F
	TagTargetAddress    = 0x8011001F
	TagHomeMDB          = 0x8006001E
	TagManager          = 0x8005001E
	TagMembers          = 0x8009101E
	TagUserCertificate  = 0x3A220102
	TagSMIMECertificate = 0x3A701102
	TagX509Certificates = 0x8C6A1102
	TagThumbnailPhoto   = 0x8C9E0102
	TagObjectType       = 0x0FFE0003
	TagDisplayType      = 0x39000003
	TagDisplayTypeEx    = 0x39050003
	TagTruncated        = 0x68051003 // tags of properties that were cut
)

// Display types of entries ([MS-OXNSPI] 2.2.1.3), as TagDisplayType has them
// and the low byte of TagDisplayTypeEx.
const (
	DisplayMailUser   = 0
	DisplayDistList   = 1
	DisplayForum      = 2 // a public folder
	DisplayAgent      = 3
	DisplayRemoteUser = 6
	DisplayRoom       = 7
	DisplayEquipment  = 8
)

// Property is one property of an entry. The value is an int32, bool, string,
// []byte, []int32, []string or [][]byte.
type Property struct {
	Tag   uint32
	Value any
}

// Record is one entry of an address book, or its header.
type Record struct {
	Number     int   // in the file, from 1; 0 for the header
	Offset     int64 // in the (decompressed) file
	Properties []Property
	Damage     string // what of the entry could not be read; empty: nothing
}

// value returns the value of a property of this id, whatever its type.
func (r *Record) value(tag uint32) any {
	i := slices.IndexFunc(r.Properties, func(p Property) bool { return p.Tag>>16 == tag>>16 })
	if i < 0 {
		return nil
	}
	return r.Properties[i].Value
}

// Text returns a property that is text, or "".
func (r *Record) Text(tag uint32) string {
	s, _ := r.value(tag).(string)
	return s
}

// Texts returns the values of a property that has several.
func (r *Record) Texts(tag uint32) []string {
	switch v := r.value(tag).(type) {
	case []string:
		return v
	case string:
		return []string{v}
	}
	return nil
}

// Bytes returns the values of a property that is binary.
func (r *Record) Bytes(tag uint32) [][]byte {
	switch v := r.value(tag).(type) {
	case [][]byte:
		return v
	case []byte:
		return [][]byte{v}
	}
	return nil
}

// Int returns a property that is a number, and whether it is there.
func (r *Record) Int(tag uint32) (int32, bool) {
	n, ok := r.value(tag).(int32)
	return n, ok
}

// Types of property values, the low half of a tag ([MS-OXCDATA] 2.11.1).
const (
	typeInt32       = 0x0003
	typeBool        = 0x000B
	typeObject      = 0x000D
	typeString8     = 0x001E
	typeString      = 0x001F
	typeBinary      = 0x0102
	typeInt32s      = 0x1003
	typeString8s    = 0x101E
	typeStrings     = 0x101F
	typeBinaries    = 0x1102
	maxRecord       = 16 << 20 // bytes
	maxProperties   = 4096     // of a schema
	versionDetails4 = 0x20
)

// decoder reads the values of a record ([MS-OXOAB] 2.9.6).
type decoder struct {
	b    []byte
	pos  int
	text func([]byte) string // of String8
	err  error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%s does not fit at byte %d of %d", what, d.pos, len(d.b))
	}
}

// integer reads a number: one byte, or 0x81 to 0x84 and as many bytes.
func (d *decoder) integer() uint32 {
	if d.err != nil || d.pos >= len(d.b) {
		d.fail("a number")
		return 0
	}
	first := d.b[d.pos]
	d.pos++
	if first <= 0x7F {
		return uint32(first)
	}
	n := int(first) - 0x80
	if n < 1 || n > 4 || n > len(d.b)-d.pos {
		d.fail("a number")
		return 0
	}
	var v uint32
	for i := range n {
		v |= uint32(d.b[d.pos+i]) << (8 * i)
	}
	d.pos += n
	return v
}

// raw reads n bytes.
func (d *decoder) raw(n uint32) []byte {
	if d.err != nil || uint64(n) > uint64(len(d.b)-d.pos) {
		d.fail("a binary value")
		return nil
	}
	b := d.b[d.pos : d.pos+int(n)]
	d.pos += int(n)
	return slices.Clone(b)
}

// terminated reads bytes up to a NUL.
func (d *decoder) terminated() []byte {
	if d.err != nil {
		return nil
	}
	n := slices.Index(d.b[d.pos:], 0)
	if n < 0 {
		d.fail("a text")
		return nil
	}
	b := d.b[d.pos : d.pos+n]
	d.pos += n + 1
	return b
}

// count reads how many values follow, each of a byte at least.
func (d *decoder) count() int {
	n := d.integer()
	if uint64(n) > uint64(len(d.b)-d.pos) {
		d.fail("a count of values")
		return 0
	}
	return int(n)
}

// value reads a value of this type.
func (d *decoder) value(kind uint16) any {
	switch kind {
	case typeInt32, typeObject:
		return int32(d.integer())
	case typeBool:
		if d.err != nil || d.pos >= len(d.b) {
			d.fail("a truth value")
			return false
		}
		d.pos++
		return d.b[d.pos-1] != 0
	case typeString8:
		return d.text(d.terminated())
	case typeString:
		return string(d.terminated())
	case typeBinary:
		return d.raw(d.integer())
	case typeInt32s:
		return values(d, func() int32 { return int32(d.integer()) })
	case typeString8s:
		return values(d, func() string { return d.text(d.terminated()) })
	case typeStrings:
		return values(d, func() string { return string(d.terminated()) })
	case typeBinaries:
		return values(d, func() []byte { return d.raw(d.integer()) })
	}
	d.fail(fmt.Sprintf("a property of the type 0x%04X", kind))
	return nil
}

// values reads several values.
func values[T any](d *decoder, one func() T) []T {
	var list []T
	for range d.count() {
		v := one()
		if d.err != nil {
			return list
		}
		list = append(list, v)
	}
	return list
}
