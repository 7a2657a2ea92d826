// Package ldapwire turns bytes into LDAP messages and back: BER with definite
// lengths (RFC 4511 §5.1), every request and response of LDAP v3, controls.
// It knows no sockets and no directory.
package ldapwire

import (
	"math"
	"slices"

	"expost/internal/ldap"
)

// Tag is the identifier octet of an operation.
type Tag byte

// The operations (RFC 4511 §4.2-4.14).
const (
	TagBindRequest      Tag = 0x60
	TagBindResponse     Tag = 0x61
	TagUnbindRequest    Tag = 0x42
	TagSearchRequest    Tag = 0x63
	TagSearchEntry      Tag = 0x64
	TagSearchDone       Tag = 0x65
	TagModifyRequest    Tag = 0x66
	TagModifyResponse   Tag = 0x67
	TagAddRequest       Tag = 0x68
	TagAddResponse      Tag = 0x69
	TagDeleteRequest    Tag = 0x4a
	TagDeleteResponse   Tag = 0x6b
	TagModifyDNRequest  Tag = 0x6c
	TagModifyDNResponse Tag = 0x6d
	TagCompareRequest   Tag = 0x6e
	TagCompareResponse  Tag = 0x6f
	TagAbandonRequest   Tag = 0x50
	TagSearchReference  Tag = 0x73
	TagExtendedRequest  Tag = 0x77
	TagExtendedResponse Tag = 0x78
	TagIntermediate     Tag = 0x79
)

// Response returns the tag of what answers a request, the last message of it
// where there are several, and 0 for requests that are not answered.
func (t Tag) Response() Tag {
	switch t {
	case TagBindRequest:
		return TagBindResponse
	case TagSearchRequest:
		return TagSearchDone
	case TagModifyRequest:
		return TagModifyResponse
	case TagAddRequest:
		return TagAddResponse
	case TagDeleteRequest:
		return TagDeleteResponse
	case TagModifyDNRequest:
		return TagModifyDNResponse
	case TagCompareRequest:
		return TagCompareResponse
	case TagExtendedRequest:
		return TagExtendedResponse
	}
	return 0
}

// Names of extended operations and notices.
const (
	OIDNoticeOfDisconnection = "1.3.6.1.4.1.1466.20036" // RFC 4511 §4.4.1
	OIDStartTLS              = "1.3.6.1.4.1.1466.20037" // RFC 4511 §4.14
	OIDWhoAmI                = "1.3.6.1.4.1.4203.1.11.3"
	OIDPasswordModify        = "1.3.6.1.4.1.4203.1.11.1"
	OIDCancel                = "1.3.6.1.1.8"
)

// Message is an LDAPMessage (RFC 4511 §4.1.1).
type Message struct {
	ID       int32
	Op       Op
	Controls []Control
}

// Control is a control (RFC 4511 §4.1.11).
type Control struct {
	OID      string
	Critical bool
	Value    []byte // nil where absent
}

// Op is an operation: one of the pointer types of this package.
type Op interface {
	// Tag returns the operation's identifier octet.
	Tag() Tag
	// appendContent appends what stands within the operation's element.
	appendContent(b []byte) []byte
}

// tagControls is the context tag of a message's controls.
const tagControls = classContext | constructed

// Decode reads the message that fills b. Byte slices of the result are parts
// of b, which must not change any more. Errors are *SyntaxError and, where the
// message could be read but asks for what cannot be, *RequestError.
func Decode(b []byte) (*Message, error) {
	d := decoder{b: b, end: len(b)}
	m := &Message{}
	outer := d.enter(tagSequence)
	if d.end != len(b) {
		d.fail("text behind the message")
	}
	m.ID = int32(d.integer(tagInteger, 0, math.MaxInt32))
	tag := Tag(d.peek())
	m.Op = d.operation(tag)
	if d.peek() == tagControls {
		m.Controls = d.controls()
	}
	d.leave(outer)
	switch {
	case d.syntax != nil:
		return nil, d.syntax
	case d.refused != nil:
		return nil, &RequestError{ID: m.ID, Tag: tag, Err: d.refused}
	}
	return m, nil
}

// operation reads the operation that the tag announces.
func (d *decoder) operation(tag Tag) Op {
	switch tag {
	case TagUnbindRequest:
		d.content(byte(tag))
		return &UnbindRequest{}
	case TagAbandonRequest:
		return &AbandonRequest{ID: int32(d.integer(byte(tag), 0, math.MaxInt32))}
	case TagDeleteRequest:
		return &DeleteRequest{DN: d.parseDN(d.string(byte(tag)))}
	}
	outer := d.enter(byte(tag))
	var op Op
	switch tag {
	case TagBindRequest:
		op = d.bindRequest()
	case TagSearchRequest:
		op = d.searchRequest()
	case TagModifyRequest:
		op = d.modifyRequest()
	case TagAddRequest:
		op = &AddRequest{ldap.Entry{DN: d.dn(), Attributes: d.attributes()}}
	case TagModifyDNRequest:
		op = d.modifyDNRequest()
	case TagCompareRequest:
		op = d.compareRequest()
	case TagExtendedRequest:
		op = d.extendedRequest()
	default:
		op = d.response(tag)
	}
	d.leave(outer)
	return op
}

// controls reads the controls of a message.
func (d *decoder) controls() []Control {
	outer := d.enter(tagControls)
	controls := slices.Grow([]Control(nil), d.count()) // nil where there is none
	for d.more() {
		one := d.enter(tagSequence)
		c := Control{OID: d.string(tagOctetString)}
		if d.peek() == tagBoolean {
			c.Critical = d.boolean(tagBoolean)
		}
		if d.peek() == tagOctetString {
			c.Value = d.content(tagOctetString)
		}
		d.leave(one)
		controls = append(controls, c)
	}
	d.leave(outer)
	return controls
}

// Append appends the message's BER.
func (m *Message) Append(b []byte) []byte {
	b, mark := begin(b, tagSequence)
	b = appendInteger(b, tagInteger, int64(m.ID))
	b = appendOp(b, m.Op)
	return end(appendControls(b, m.Controls), mark)
}

// appendOp appends the element of an operation.
func appendOp(b []byte, op Op) []byte {
	b, mark := begin(b, byte(op.Tag()))
	return end(op.appendContent(b), mark)
}

func appendControls(b []byte, controls []Control) []byte {
	if len(controls) == 0 {
		return b
	}
	b, all := begin(b, tagControls)
	for _, c := range controls {
		var one int
		b, one = begin(b, tagSequence)
		b = appendBytes(b, tagOctetString, c.OID)
		if c.Critical {
			b = appendBoolean(b, tagBoolean, true)
		}
		if c.Value != nil {
			b = appendBytes(b, tagOctetString, c.Value)
		}
		b = end(b, one)
	}
	return end(b, all)
}
