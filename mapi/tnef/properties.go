package tnef

import (
	"fmt"

	"expost/mapi"
)

// cursor reads from the front of b; after an error all is zero.
type cursor struct {
	b   []byte
	err error
}

func (c *cursor) take(n int64) []byte {
	if c.err != nil || n < 0 || n > int64(len(c.b)) {
		if c.err == nil {
			c.err = errShort
		}
		return nil
	}
	out := c.b[:n]
	c.b = c.b[n:]
	return out
}

func (c *cursor) u32() uint32 {
	if b := c.take(4); b != nil {
		return le.Uint32(b)
	}
	return 0
}

// sized returns bytes behind their length, which are padded to four.
func (c *cursor) sized() []byte {
	n := int64(c.u32())
	b := c.take(n)
	c.b = c.b[min(int64(len(c.b)), -n&3):]
	return b
}

// list reads a MsgPropertyList ([MS-OXTNEF] 2.1.3.4).
func (p *parser) list(m *mapi.Item, c *cursor) {
	for n := c.u32(); n > 0 && c.err == nil; n-- {
		tag := mapi.Tag(c.u32())
		if c.err != nil {
			return
		}
		if tag.ID() >= 0x8000 {
			tag = p.named(m, tag, c)
		}
		typ := tag.Type()
		if typ == 0 || typ == 1 {
			continue
		}
		one := typ &^ mapi.MultiValued
		count := uint32(1)
		if typ&mapi.MultiValued != 0 || mapi.FixedSize(one) == 0 {
			count = c.u32()
		}
		var values []any
		for ; count > 0 && c.err == nil; count-- {
			if v := p.value(m, tag, one, c); v != nil {
				values = append(values, v)
			}
		}
		p.set(m, tag, values)
	}
}

func (p *parser) set(m *mapi.Item, tag mapi.Tag, values []any) {
	if tag.Type()&mapi.MultiValued != 0 {
		if v := mapi.Slice(tag.Type(), values); v != nil {
			m.Set(tag, v)
		}
		return
	}
	if len(values) == 0 {
		return
	}
	m.Set(tag, values[0])
	// A list that says how the strings are coded wins over the attribute.
	if cp, ok := values[0].(int32); ok && tag == mapi.NewTag(0x3FFD, mapi.TypeInt32) {
		p.cp = int(cp)
	}
}

func (p *parser) value(m *mapi.Item, tag mapi.Tag, one mapi.Type, c *cursor) any {
	if n := mapi.FixedSize(one); n > 0 {
		return mapi.Fixed(one, c.take(int64(n+3)&^3))
	}
	b := c.sized()
	if c.err != nil {
		return nil
	}
	switch one {
	case mapi.TypeString, mapi.TypeString8:
		for len(b) > 0 && b[len(b)-1] == 0 && (one == mapi.TypeString8 || len(b)%2 == 1 || b[len(b)-2] == 0) {
			b = b[:len(b)-min(len(b), map[bool]int{true: 1, false: 2}[one == mapi.TypeString8 || len(b)%2 == 1])]
		}
		return mapi.Bytes(one, b)
	case mapi.TypeBinary, mapi.TypeServerID:
		return b
	case mapi.TypeObject:
		return p.object(m, tag, b)
	}
	if c.err == nil {
		c.err = fmt.Errorf("property %08x is of an unknown type", uint32(tag))
	}
	return nil
}

// object reads an embedded message, or returns the bytes of another object behind
// the id of its interface.
func (p *parser) object(m *mapi.Item, tag mapi.Tag, b []byte) any {
	if len(b) < 16 {
		return b
	}
	if tag.ID() != 0x3701 || le.Uint32(b) != 0x00020307 { // IID_IMessage
		return b[16:]
	}
	if p.depth+1 >= maxDepth {
		p.damage = append(p.damage, fmt.Errorf("messages are nested more than %d deep", maxDepth))
		return b[16:]
	}
	inner, damage := parse(b[16:], p.depth+1)
	p.damage = append(p.damage, damage[:min(len(damage), 100)]...)
	if inner != nil {
		m.Embedded = inner
		return nil
	}
	return b[16:]
}

// named reads the name of a property and gives it an id that no other name has.
func (p *parser) named(m *mapi.Item, tag mapi.Tag, c *cursor) mapi.Tag {
	var name mapi.Name
	if g := c.take(16); g != nil {
		name.Set = mapi.GUID(g)
	}
	if c.u32() == 0 {
		name.ID = c.u32()
	} else if s, ok := mapi.Bytes(mapi.TypeString, c.sized()).(string); ok {
		for len(s) > 0 && s[len(s)-1] == 0 {
			s = s[:len(s)-1]
		}
		name.String = s
	}
	id, ok := p.ids[name]
	if !ok {
		id = p.nextID
		if p.nextID < 0xFFFE {
			p.nextID++
		}
		p.ids[name] = id
	}
	m.SetName(id, name)
	return mapi.NewTag(id, tag.Type())
}
