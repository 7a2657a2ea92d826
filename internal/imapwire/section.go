package imapwire

import (
	"strconv"
	"strings"
)

// SectionText is what of an entity a section names (RFC 9051 §6.4.5.1).
type SectionText uint8

// The section texts.
const (
	SectionAll             SectionText = iota // BODY[] and BODY[1.2]
	SectionHeader                             // HEADER
	SectionHeaderFields                       // HEADER.FIELDS
	SectionHeaderFieldsNot                    // HEADER.FIELDS.NOT
	SectionBodyText                           // TEXT
	SectionMIME                               // MIME
)

// Section names a part of a message.
type Section struct {
	Part   []int // 1.2.3
	Text   SectionText
	Fields []string // of HEADER.FIELDS and HEADER.FIELDS.NOT, as sent
}

// Partial is <from.count>. Given is false where there is none.
type Partial struct {
	Given       bool
	From, Count int64
}

// maxPartDepth bounds the numbers of a section: deeper parts do not exist.
const maxPartDepth = 200

// section reads "[...]".
func (d *Decoder) section() Section {
	var s Section
	d.Expect('[')
	if d.Try(']') {
		return s
	}
	d.part(&s)
	if d.peek() != ']' {
		d.sectionText(&s)
	}
	d.Expect(']')
	return s
}

// part reads the numbers of a section, and the period before its text.
func (d *Decoder) part(s *Section) {
	for c := d.peek(); c >= '0' && c <= '9'; c = d.peek() {
		if len(s.Part) >= maxPartDepth {
			d.tooBig("a section has too many numbers")
		}
		s.Part = append(s.Part, int(d.nz32()))
		if !d.Try('.') {
			return
		}
	}
}

// sectionText reads HEADER, TEXT and the like.
func (d *Decoder) sectionText(s *Section) {
	at := d.off
	switch word := d.Keyword(); word {
	case "HEADER":
		s.Text = SectionHeader
	case "TEXT":
		s.Text = SectionBodyText
	case "MIME":
		if s.Text = SectionMIME; len(s.Part) == 0 {
			d.off = at
			d.Fail("MIME needs a part number")
		}
	case "HEADER.FIELDS", "HEADER.FIELDS.NOT":
		s.Text = SectionHeaderFields
		if word == "HEADER.FIELDS.NOT" {
			s.Text = SectionHeaderFieldsNot
		}
		d.SP()
		d.List(func() { s.Fields = append(s.Fields, d.AString()) })
	default:
		d.off = at
		d.Fail("unknown section " + word)
	}
}

// binarySection reads the "[1.2]" of BINARY (RFC 3516 §4.2).
func (d *Decoder) binarySection() Section {
	var s Section
	d.Expect('[')
	d.part(&s)
	d.Expect(']')
	return s
}

// partial reads "<from.count>" where it is next.
func (d *Decoder) partial() Partial {
	if !d.Try('<') {
		return Partial{}
	}
	p := Partial{Given: true, From: d.Number()}
	d.Expect('.')
	p.Count = int64(d.nz32())
	d.Expect('>')
	return p
}

// AppendSection appends "[...]", and "<from>" where partial.
func AppendSection(dst []byte, s *Section, p Partial) []byte {
	dst = append(dst, '[')
	for i, n := range s.Part {
		if i > 0 {
			dst = append(dst, '.')
		}
		dst = strconv.AppendInt(dst, int64(n), 10)
	}
	if len(s.Part) > 0 && s.Text != SectionAll {
		dst = append(dst, '.')
	}
	dst = append(dst, [...]string{"", "HEADER", "HEADER.FIELDS (", "HEADER.FIELDS.NOT (", "TEXT", "MIME"}[s.Text]...)
	if s.Text == SectionHeaderFields || s.Text == SectionHeaderFieldsNot {
		for i, f := range s.Fields {
			if i > 0 {
				dst = append(dst, ' ')
			}
			dst = AppendAString(dst, strings.ToUpper(f))
		}
		dst = append(dst, ')')
	}
	dst = append(dst, ']')
	if p.Given {
		dst = append(dst, '<')
		dst = strconv.AppendInt(dst, p.From, 10)
		dst = append(dst, '>')
	}
	return dst
}
