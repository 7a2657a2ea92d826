package mapi

import (
	"bytes"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"

	"expost/mapi/codepage"
)

// Item is a message, recipient or attachment whose properties are in memory, or
// where they are large, behind a function that opens them. Readers of small
// formats fill one.
type Item struct {
	values   map[Tag]any
	names    map[uint16]Name
	ids      map[Name]uint16
	To       []*Item // recipients
	Attached []*Item
	Embedded Message // of an attachment
}

var (
	_ Message    = (*Item)(nil)
	_ Attachment = attachedItem{}
)

// Opener opens a large property; Item.Set takes it in place of a value.
type Opener func() (Stream, error)

// maxValue bounds what Value reads of a large property.
const maxValue = 256 << 20

// Set gives the item a property. A value is of the Go type that the tag's type
// names, or an Opener.
func (m *Item) Set(tag Tag, v any) {
	if m.values == nil {
		m.values = map[Tag]any{}
	}
	m.values[tag] = v
}

// SetName says what the ids of 0x8000 and above mean.
func (m *Item) SetName(id uint16, name Name) {
	if m.names == nil {
		m.names, m.ids = map[uint16]Name{}, map[Name]uint16{}
	}
	m.names[id] = name
	m.ids[name] = id
}

// ShareNames makes the names of another item this one's too.
func (m *Item) ShareNames(from *Item) { m.names, m.ids = from.names, from.ids }

// Value implements Properties.
func (m *Item) Value(tag Tag) (any, bool, error) {
	v, ok := m.values[tag]
	open, large := v.(Opener)
	if !large {
		return v, ok, nil
	}
	s, err := open()
	if err != nil {
		return nil, true, fmt.Errorf("opening property %08x: %w", uint32(tag), err)
	}
	if s.Size() > maxValue {
		return nil, true, fmt.Errorf("property %08x is too large for memory: %d bytes", uint32(tag), s.Size())
	}
	b, err := io.ReadAll(s)
	if err != nil {
		return nil, true, fmt.Errorf("reading property %08x: %w", uint32(tag), err)
	}
	return Bytes(tag.Type(), b), true, nil
}

// Bytes returns the value of a string or binary property that has these bytes.
func Bytes(typ Type, b []byte) any {
	switch typ {
	case TypeString:
		return wideText(b)
	case TypeString8:
		return String8(b)
	}
	return b
}

// Open implements Properties. Strings open as UTF-8, or as the bytes they are
// where they are large.
func (m *Item) Open(tag Tag) (Stream, error) {
	switch v := m.values[tag].(type) {
	case Opener:
		return v()
	case []byte:
		return bytes.NewReader(v), nil
	case String8:
		return bytes.NewReader(v), nil
	case string:
		return bytes.NewReader([]byte(v)), nil
	}
	return nil, fmt.Errorf("property %08x has no bytes", uint32(tag))
}

// Tags implements Properties.
func (m *Item) Tags() iter.Seq[Tag] { return slices.Values(slices.Sorted(maps.Keys(m.values))) }

// Lookup implements Properties.
func (m *Item) Lookup(name Name, typ Type) (Tag, bool) {
	id, ok := m.ids[name]
	return NewTag(id, typ), ok
}

// Name implements Properties.
func (m *Item) Name(tag Tag) (Name, bool) {
	n, ok := m.names[tag.ID()]
	return n, ok
}

// Recipients implements Message.
func (m *Item) Recipients() iter.Seq2[Properties, error] {
	return func(yield func(Properties, error) bool) {
		for _, r := range m.To {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// Attachments implements Message.
func (m *Item) Attachments() iter.Seq2[Attachment, error] {
	return func(yield func(Attachment, error) bool) {
		for _, a := range m.Attached {
			if !yield(attachedItem{a}, nil) {
				return
			}
		}
	}
}

type attachedItem struct{ *Item }

// Message implements Attachment.
func (a attachedItem) Message() (Message, bool, error) { return a.Embedded, a.Embedded != nil, nil }

// Decode returns s as the code page cp has it.
func (s String8) Decode(cp int) string { return codepage.Decode(cp, s) }
