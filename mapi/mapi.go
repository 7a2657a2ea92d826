// Package mapi is the property model of Exchange and Outlook ([MS-OXPROPS],
// [MS-OXCDATA]) and its translation into the formats of the Internet: RFC 5322
// and MIME ([MS-OXCMAIL]), vCard and iCalendar. It reads no file format: pst,
// .msg files and TNEF yield what it translates.
package mapi

import (
	"io"
	"iter"
)

// Tag is a property tag: the id in the upper half, the Type in the lower
// ([MS-OXCDATA] 2.9).
type Tag uint32

// ID returns the property's id.
func (t Tag) ID() uint16 { return uint16(t >> 16) }

// Type returns the property's type.
func (t Tag) Type() Type { return Type(t) }

// Type is a property's data type ([MS-OXCDATA] 2.11.1).
type Type uint16

// The data types, and the Go type a Value of each has.
const (
	TypeInt16    Type = 0x0002 // int16
	TypeInt32    Type = 0x0003 // int32
	TypeFloat32  Type = 0x0004 // float32
	TypeFloat64  Type = 0x0005 // float64
	TypeCurrency Type = 0x0006 // int64, ten-thousandths
	TypeAppTime  Type = 0x0007 // float64, days since 1899-12-30
	TypeError    Type = 0x000A // uint32
	TypeBool     Type = 0x000B // bool
	TypeObject   Type = 0x000D // by Open only
	TypeInt64    Type = 0x0014 // int64
	TypeString8  Type = 0x001E // String8
	TypeString   Type = 0x001F // string
	TypeTime     Type = 0x0040 // Time
	TypeGUID     Type = 0x0048 // GUID
	TypeServerID Type = 0x00FB // []byte
	TypeBinary   Type = 0x0102 // []byte

	MultiValued Type = 0x1000 // with one of the above: a slice of it
)

// String8 is text in a code page that other properties name.
type String8 []byte

// Time is a FILETIME: 100 ns since 1601-01-01 UTC.
type Time uint64

// GUID is a GUID as it lies in files: the first three fields little-endian.
type GUID [16]byte

// Name names a property whose id, 0x8000 or above, is a file's own choice
// ([MS-OXPROPS] 1.3.2): by a number, or by a string where String is not empty.
type Name struct {
	Set    GUID
	ID     uint32
	String string
}

// Properties are the properties of one object. Implementations read lazily;
// they are not for concurrent use.
type Properties interface {
	// Value returns a property's value, in the Go type that Type names, and
	// false where the object does not have it. An error names the place of
	// damage; the other properties stay readable.
	Value(tag Tag) (v any, ok bool, err error)

	// Open returns the bytes of a string, binary or object property of any size.
	Open(tag Tag) (Stream, error)

	// Tags yields the tags of all properties, in ascending order.
	Tags() iter.Seq[Tag]

	// Lookup returns the tag that a named property has here, and false where
	// the file does not know the name.
	Lookup(name Name, typ Type) (Tag, bool)

	// Name is the inverse of Lookup, for ids of 0x8000 and above.
	Name(tag Tag) (Name, bool)
}

// Stream is the bytes of a large property.
type Stream interface {
	io.Reader
	io.ReaderAt
	Size() int64
}

// Message is a message object of any class, from a file or embedded in another.
type Message interface {
	Properties

	// Recipients and Attachments yield the rows of the tables; an error is of
	// one row, and the next follows.
	Recipients() iter.Seq2[Properties, error]
	Attachments() iter.Seq2[Attachment, error]
}

// Attachment is an attachment object.
type Attachment interface {
	Properties

	// Message returns the message embedded in the attachment (PidTagAttachMethod
	// 5), and false where it has none.
	Message() (m Message, ok bool, err error)
}
