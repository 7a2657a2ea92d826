package ldapwire

import (
	"fmt"
	"math"

	"expost/internal/ldap"
)

// Universal tags, as whole identifier octets.
const (
	tagBoolean     = 0x01
	tagInteger     = 0x02
	tagOctetString = 0x04
	tagEnumerated  = 0x0a
	tagSequence    = 0x30
	tagSet         = 0x31
)

// Classes and the bit of an identifier octet that says "constructed".
const (
	classContext = 0x80
	constructed  = 0x20
)

// sharedText is the size up to which all strings of a message are parts of one
// copy of it; in larger ones each string is copied, so that a short string
// does not keep a photo in memory.
const sharedText = 16 << 10

// maxElements bounds the attributes, values, URLs and controls of one message:
// in memory each costs a dozen times its two octets on the wire.
const maxElements = 1 << 20

// decoder walks the BER elements of one message (RFC 4511 §5.1: definite
// lengths, primitive strings). The first failure sticks, and every later call
// returns zero values. Byte slices it returns are parts of the message.
type decoder struct {
	b        []byte
	pos, end int // the rest of the element being read is b[pos:end]
	text     string
	elements int
	filters  filterSlab
	syntax   *SyntaxError // the message is not LDAP
	refused  *ldap.Error  // it is, but what it asks cannot be
}

// fail records that the message breaks the grammar.
func (d *decoder) fail(format string, args ...any) {
	if d.syntax == nil {
		d.syntax = &SyntaxError{Offset: d.pos, Text: fmt.Sprintf(format, args...)}
		d.pos = d.end
	}
}

// refuse records why a message of correct grammar cannot be carried out.
func (d *decoder) refuse(err *ldap.Error) {
	if d.refused == nil {
		d.refused = err
	}
}

// more tells whether another element follows in the one being read.
func (d *decoder) more() bool { return d.pos < d.end && d.syntax == nil }

// peek returns the next identifier octet, or 0 at the end.
func (d *decoder) peek() byte {
	if !d.more() {
		return 0
	}
	return d.b[d.pos]
}

// header reads an identifier octet and a length, and returns the octet and the
// place where the content ends.
func (d *decoder) header() (tag byte, end int) {
	if b := d.b[d.pos:d.end]; len(b) >= 2 && b[1] < 0x80 && int(b[1]) <= len(b)-2 && b[0]&0x1f != 0x1f {
		d.pos += 2 // the common case: a short element, all there
		return b[0], d.pos + int(b[1])
	}
	tag, n, size := parseHeader(d.b[d.pos:d.end])
	switch {
	case d.syntax != nil:
		return 0, d.end
	case size == 0:
		d.fail("an element that is cut off")
		return 0, d.end
	case size < 0:
		d.fail("an identifier or length that LDAP does not use")
		return 0, d.end
	case n > d.end-d.pos-size:
		d.fail("an element of %d bytes where %d are left", n, d.end-d.pos-size)
		return 0, d.end
	}
	d.pos += size
	return tag, d.pos + n
}

// parseHeader reads an identifier octet and a definite length from the start
// of b. size is how many bytes they take: 0 where b is too short, -1 where
// they are a form that LDAP does not use.
func parseHeader(b []byte) (tag byte, length, size int) {
	if len(b) < 2 {
		return 0, 0, 0
	}
	tag = b[0]
	if tag&0x1f == 0x1f {
		return 0, 0, -1
	}
	if b[1] < 0x80 {
		return tag, int(b[1]), 2
	}
	octets := int(b[1] & 0x7f)
	if octets == 0 || octets > 4 {
		return 0, 0, -1
	}
	if len(b) < 2+octets {
		return 0, 0, 0
	}
	for _, c := range b[2 : 2+octets] {
		length = length<<8 | int(c)
	}
	if length > math.MaxInt32 {
		return 0, 0, -1
	}
	return tag, length, 2 + octets
}

// enter goes into the element with this tag and returns what leave needs.
func (d *decoder) enter(tag byte) (outer int) {
	outer = d.end
	got, end := d.header()
	if d.syntax == nil && got != tag {
		d.fail("element %#02x where %#02x is due", got, tag)
		return outer
	}
	d.end = end
	return outer
}

// leave skips what is left of the element, as RFC 4511 §4 demands of
// components that are not known, and goes on behind it.
func (d *decoder) leave(outer int) {
	for d.more() {
		d.skip()
	}
	d.pos, d.end = d.end, outer
}

// skip passes over one element.
func (d *decoder) skip() { _, d.pos = d.header() }

// content returns the content of the primitive element with this tag.
func (d *decoder) content(tag byte) []byte {
	got, end := d.header()
	if d.syntax == nil && got != tag {
		d.fail("element %#02x where %#02x is due", got, tag)
	}
	if d.syntax != nil {
		return nil
	}
	c := d.b[d.pos:end:end]
	d.pos = end
	return c
}

// string returns the content of the primitive element with this tag as text.
func (d *decoder) string(tag byte) string {
	c := d.content(tag)
	if len(c) == 0 {
		return ""
	}
	if len(d.b) > sharedText {
		return string(c)
	}
	if d.text == "" {
		d.text = string(d.b)
	}
	return d.text[d.pos-len(c) : d.pos]
}

// integer returns a number of the given range.
func (d *decoder) integer(tag byte, lowest, highest int64) int64 {
	c := d.content(tag)
	if d.syntax != nil {
		return 0
	}
	if len(c) == 0 || len(c) > 8 {
		d.fail("a number of %d bytes", len(c))
		return 0
	}
	v := int64(int8(c[0]))
	for _, o := range c[1:] {
		v = v<<8 | int64(o)
	}
	if v < lowest || v > highest {
		d.fail("the number %d, not of %d to %d", v, lowest, highest)
		return 0
	}
	return v
}

// boolean returns a truth value; like every server we take any octet but zero
// for true.
func (d *decoder) boolean(tag byte) bool {
	c := d.content(tag)
	if d.syntax == nil && len(c) != 1 {
		d.fail("a truth value of %d bytes", len(c))
	}
	return d.syntax == nil && c[0] != 0
}

// count returns how many elements are left in the one being read.
func (d *decoder) count() int {
	n := 0
	for at := d.pos; d.syntax == nil && at < d.end; n++ {
		_, length, size := parseHeader(d.b[at:d.end])
		if size <= 0 || length > d.end-at-size {
			break // the walk itself says what is wrong
		}
		at += size + length
	}
	if d.elements += n; d.elements > maxElements {
		d.fail("more than %d elements", maxElements)
		return 0
	}
	return n
}

// appendHeader appends an identifier octet and the shortest form of a length.
func appendHeader(b []byte, tag byte, n int) []byte {
	switch {
	case n < 0x80:
		return append(b, tag, byte(n))
	case n < 0x100:
		return append(b, tag, 0x81, byte(n))
	case n < 0x10000:
		return append(b, tag, 0x82, byte(n>>8), byte(n))
	case n < 0x1000000:
		return append(b, tag, 0x83, byte(n>>16), byte(n>>8), byte(n))
	}
	return append(b, tag, 0x84, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

// appendBytes appends a primitive element.
func appendBytes[T string | []byte](b []byte, tag byte, content T) []byte {
	return append(appendHeader(b, tag, len(content)), content...)
}

// appendInteger appends a number in its shortest form.
func appendInteger(b []byte, tag byte, v int64) []byte {
	n := 1
	for x := v; x > 0x7f || x < -0x80; x >>= 8 {
		n++
	}
	b = append(b, tag, byte(n))
	for n--; n >= 0; n-- {
		b = append(b, byte(v>>(8*n)))
	}
	return b
}

// appendBoolean appends a truth value.
func appendBoolean(b []byte, tag byte, v bool) []byte {
	if v {
		return append(b, tag, 1, 0xff)
	}
	return append(b, tag, 1, 0)
}

// begin opens a constructed element; end closes it. In between its content is
// appended.
func begin(b []byte, tag byte) (_ []byte, mark int) {
	return append(b, tag, 0), len(b) + 2
}

// end writes the length of the element whose content starts at mark, moving
// the content where the length needs more than the octet kept for it.
func end(b []byte, mark int) []byte {
	n := len(b) - mark
	if n < 0x80 {
		b[mark-1] = byte(n)
		return b
	}
	var h [6]byte
	extra := appendHeader(h[:0], b[mark-2], n)[2:]
	b = append(b, extra...) // room, overwritten by the move
	copy(b[mark+len(extra):], b[mark:mark+n])
	b[mark-1] = 0x80 | byte(len(extra))
	copy(b[mark:], extra)
	return b
}
