// Package tnef reads the Transport Neutral Encapsulation Format ([MS-OXTNEF]):
// the winmail.dat that Outlook sends where it means to keep all properties.
package tnef

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"expost/mapi"
	"expost/mapi/codepage"
)

const (
	signature = 0x223E9F78
	maxDepth  = 50
	// MaxSize bounds what Read reads, in bytes.
	MaxSize = 512 << 20
)

// The attributes, by the lower half of their ids ([MS-OXTNEF] 2.1.3.3).
const (
	attFrom          = 0x8000
	attSubject       = 0x8004
	attDateSent      = 0x8005
	attDateReceived  = 0x8006
	attMessageClass  = 0x8008
	attMessageID     = 0x8009
	attBody          = 0x800C
	attPriority      = 0x800D
	attData          = 0x800F
	attTitle         = 0x8010
	attMetaFile      = 0x8011
	attModified      = 0x8020
	attTransportName = 0x9001
	attRendering     = 0x9002
	attProperties    = 0x9003
	attRecipients    = 0x9004
	attAttachment    = 0x9005
	attCodepage      = 0x9007
)

var le = binary.LittleEndian

var errShort = errors.New("ends too early")

// Damage is what could not be read of a file that else could.
type Damage []error

// Error implements error.
func (d Damage) Error() string { return errors.Join(d...).Error() }

// Read reads a whole message. What is damaged is left out and joined into the
// error, which is of type Damage, beside the message; without a message the
// input is not TNEF.
func Read(r io.Reader) (mapi.Message, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxSize))
	if err != nil {
		return nil, fmt.Errorf("reading TNEF: %w", err)
	}
	m, damage := parse(b, 0)
	if m == nil {
		return nil, damage[0]
	}
	if len(damage) > 0 {
		return m, Damage(damage)
	}
	return m, nil
}

type parser struct {
	b      []byte
	at     int
	depth  int
	cp     int
	m      *mapi.Item
	last   *mapi.Item // attachment
	nextID uint16     // of a named property
	ids    map[mapi.Name]uint16
	damage []error
}

func parse(b []byte, depth int) (*mapi.Item, []error) {
	if len(b) < 6 || le.Uint32(b) != signature {
		return nil, []error{errors.New("not TNEF: it has another signature")}
	}
	p := &parser{b: b, at: 6, depth: depth, cp: codepage.Western, m: &mapi.Item{}, nextID: 0x8000, ids: map[mapi.Name]uint16{}}
	for p.at < len(p.b) {
		if !p.attribute() {
			break
		}
	}
	if _, ok, _ := p.m.Value(mapi.NewTag(0x3FFD, mapi.TypeInt32)); !ok {
		p.m.Set(mapi.NewTag(0x3FFD, mapi.TypeInt32), int32(p.cp))
	}
	if _, ok, _ := mapi.Text(p.m, 0x001A, p.cp); !ok {
		p.m.Set(mapi.NewTag(0x001A, mapi.TypeString), "IPM.Note")
	}
	return p.m, p.damage
}

func (p *parser) damaged(at int, err error) {
	if len(p.damage) < 100 {
		p.damage = append(p.damage, fmt.Errorf("at offset %d: %w", at, err))
	}
}

// attribute reads one; false says that no other can follow.
func (p *parser) attribute() bool {
	at, rest := p.at, p.b[p.at:]
	if len(rest) < 9 {
		p.damaged(at, errShort)
		return false
	}
	level, id, n := rest[0], uint16(le.Uint32(rest[1:])), int64(le.Uint32(rest[5:]))
	if level != 1 && level != 2 {
		p.damaged(at, fmt.Errorf("attribute of level %d", level))
		return false
	}
	data := rest[9:]
	whole := n+2 <= int64(len(data))
	if n > int64(len(data)) {
		p.damaged(at, fmt.Errorf("attribute %#04x %w", id, errShort))
		n = int64(len(data))
	}
	data = data[:n]
	if whole {
		var sum uint16
		for _, c := range data {
			sum += uint16(c)
		}
		if sum != le.Uint16(rest[9+n:]) {
			p.damaged(at, fmt.Errorf("attribute %#04x has a wrong checksum", id))
		}
	}
	p.at += 9 + int(n) + 2
	if level == 2 {
		p.ofAttachment(id, data, at)
	} else {
		p.ofMessage(id, data, at)
	}
	return whole
}

func (p *parser) ofMessage(id uint16, data []byte, at int) {
	switch id {
	case attCodepage:
		if len(data) >= 4 && codepage.Known(int(le.Uint32(data))) {
			p.cp = int(le.Uint32(data))
		}
	case attSubject:
		p.text(p.m, 0x0037, data)
	case attBody:
		p.text(p.m, 0x1000, data)
	case attMessageClass:
		p.text(p.m, 0x001A, classOf(data))
	case attMessageID:
		// the search key in hex
	case attFrom:
		p.from(data)
	case attDateSent:
		setDate(p.m, 0x0039, data)
	case attDateReceived:
		setDate(p.m, 0x0E06, data)
	case attModified:
		setDate(p.m, 0x3008, data)
	case attPriority:
		if len(data) >= 2 {
			// 1 is low, 2 normal and 3 high
			p.m.Set(mapi.NewTag(0x0017, mapi.TypeInt32), int32(le.Uint16(data)%4)-1)
		}
	case attProperties:
		p.properties(p.m, data, at)
	case attRecipients:
		p.recipients(data, at)
	}
}

// classOf turns the classes of Microsoft Mail into those of MAPI ([MS-OXTNEF]
// 2.1.3.3.8).
func classOf(data []byte) []byte {
	s := strings.TrimRight(string(data), "\x00")
	s = strings.TrimPrefix(s, "IPM.Microsoft Mail.")
	switch s {
	case "Note":
		s = "IPM.Note"
	case "Read Receipt":
		s = "REPORT.IPM.Note.IPNRN"
	case "Non-Delivery":
		s = "REPORT.IPM.Note.NDR"
	}
	return []byte(strings.Replace(s, "IPM.Microsoft Schedule.Mtg", "IPM.Schedule.Meeting.", 1))
}

func (p *parser) text(m *mapi.Item, id uint16, data []byte) {
	if i := strings.IndexByte(string(data), 0); i >= 0 {
		data = data[:i]
	}
	m.Set(mapi.NewTag(id, mapi.TypeString), codepage.Decode(p.cp, data))
}

// from reads a TRP structure ([MS-OXTNEF] 2.1.3.3.2): a name and an address.
func (p *parser) from(data []byte) {
	if len(data) < 8 {
		return
	}
	name, address := int(le.Uint16(data[4:])), int(le.Uint16(data[6:]))
	data = data[8:]
	if name+address > len(data) {
		return
	}
	p.text(p.m, 0x0C1A, data[:name])
	typ, email, ok := strings.Cut(strings.TrimRight(string(data[name:name+address]), "\x00"), ":")
	if ok {
		p.text(p.m, 0x0C1E, []byte(typ))
		p.text(p.m, 0x0C1F, []byte(email))
	}
}

func setDate(m *mapi.Item, id uint16, data []byte) {
	if len(data) < 12 {
		return
	}
	f := func(i int) int { return int(le.Uint16(data[2*i:])) }
	t := time.Date(f(0), time.Month(f(1)), f(2), f(3), f(4), f(5), 0, time.UTC)
	m.Set(mapi.NewTag(id, mapi.TypeTime), mapi.TimeOf(t))
}

func (p *parser) ofAttachment(id uint16, data []byte, at int) {
	if id == attRendering || p.last == nil {
		if len(p.m.Attached) >= 10_000 {
			return
		}
		p.last = &mapi.Item{}
		p.last.ShareNames(p.m)
		p.m.Attached = append(p.m.Attached, p.last)
		p.last.Set(mapi.NewTag(0x3705, mapi.TypeInt32), int32(1))
	}
	switch id {
	case attRendering:
		if len(data) >= 2 && le.Uint16(data) == 2 {
			p.last.Set(mapi.NewTag(0x3705, mapi.TypeInt32), int32(6))
		}
	case attTitle:
		p.text(p.last, 0x3704, data)
	case attTransportName:
		p.text(p.last, 0x370C, data)
	case attData:
		p.last.Set(mapi.NewTag(0x3701, mapi.TypeBinary), data)
	case attMetaFile:
		p.last.Set(mapi.NewTag(0x3709, mapi.TypeBinary), data)
	case attAttachment:
		p.properties(p.last, data, at)
	}
}

func (p *parser) recipients(data []byte, at int) {
	c := &cursor{b: data}
	n := c.u32()
	for ; n > 0 && c.err == nil && len(c.b) > 0; n-- {
		row := &mapi.Item{}
		p.list(row, c)
		p.m.To = append(p.m.To, row)
	}
	if c.err != nil {
		p.damaged(at, fmt.Errorf("the recipients: %w", c.err))
	}
}

func (p *parser) properties(m *mapi.Item, data []byte, at int) {
	c := &cursor{b: data}
	p.list(m, c)
	if c.err != nil {
		p.damaged(at, fmt.Errorf("the properties: %w", c.err))
	}
}
