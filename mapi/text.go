package mapi

import (
	"strings"

	"expost/mapi/codepage"
)

// Text returns a string property of either type, decoded; cp is the code page of
// 8-bit strings. NULs at the end are not text.
func Text(p Properties, id uint16, cp int) (string, bool, error) {
	v, ok, err := p.Value(NewTag(id, TypeString))
	if s, is := v.(string); ok && is {
		return strings.TrimRight(s, "\x00"), true, err
	}
	v, ok, err2 := p.Value(NewTag(id, TypeString8))
	if err == nil {
		err = err2
	}
	s, is := v.(String8)
	if !ok || !is {
		return "", false, err
	}
	if codepage.Wide(cp) {
		cp = 0
	}
	return strings.TrimRight(codepage.Decode(cp, s), "\x00"), true, err
}

// Codepage returns the code page of a message's 8-bit strings, fallback where
// the message does not say.
func Codepage(p Properties, fallback int) int {
	for _, id := range []uint16{idMessageCodepage, idStoreCodepage} {
		if cp := pageOf(p, id); cp != 0 {
			return cp
		}
	}
	internet := pageOf(p, idInternetCodepage)
	if internet != 0 && internet != codepage.UTF8 {
		return ansiPage(internet)
	}
	if v, ok, _ := p.Value(NewTag(idLocale, TypeInt32)); ok && fallback == 0 {
		if lcid, is := v.(int32); is && localePages[uint16(lcid)&0x3FF] != 0 {
			return localePages[uint16(lcid)&0x3FF]
		}
	}
	if fallback == 0 {
		return internet
	}
	return fallback
}

// ansiPage returns the code page of Windows for the language of one that mail
// uses: PidTagInternetCodepage names that, 8-bit properties are in this.
func ansiPage(internet int) int {
	switch internet {
	case 50220, 50221, 50222, 51932, 20932:
		return 932
	case 50225, 51949:
		return 949
	case 50227, 51936, 52936, 54936, 20936:
		return 936
	case 28591, 28605, 28603:
		return codepage.Western
	case 28592:
		return 1250
	case 28595, 20866, 21866:
		return 1251
	case 28597:
		return 1253
	case 28599:
		return 1254
	case 28598, 38598:
		return 1255
	case 28596:
		return 1256
	case 28594:
		return 1257
	}
	return internet
}

// pageOf returns a property that is a code page which 8-bit text can be in.
func pageOf(p Properties, id uint16) int {
	v, ok, _ := p.Value(NewTag(id, TypeInt32))
	cp, is := v.(int32)
	if !ok || !is || !codepage.Known(int(cp)) || codepage.Wide(int(cp)) || cp == codepage.ASCII {
		return 0
	}
	return int(cp)
}

// localePages are the ANSI code pages of primary languages ([MS-LCID]).
var localePages = map[uint16]int{
	0x01: 1256, 0x02: 1251, 0x04: 936, 0x05: 1250, 0x08: 1253, 0x0D: 1255, 0x0E: 1250, 0x11: 932, 0x12: 949, 0x15: 1250, 0x18: 1250,
	0x19: 1251, 0x1A: 1250, 0x1B: 1250, 0x1C: 1250, 0x1E: 874, 0x1F: 1254, 0x20: 1256, 0x22: 1251, 0x23: 1251, 0x24: 1250,
	0x25: 1257, 0x26: 1257, 0x27: 1257, 0x29: 1256, 0x2A: 1258, 0x2F: 1251, 0x09: 1252, 0x07: 1252, 0x0C: 1252, 0x0A: 1252,
	0x10: 1252, 0x13: 1252, 0x16: 1252, 0x1D: 1252, 0x06: 1252, 0x0B: 1252, 0x14: 1252,
}

// view reads one object's properties and remembers what was wrong with them.
type view struct {
	Properties
	cp      int
	problem func(error)
}

func (v *view) report(err error) {
	if err != nil {
		v.problem(err)
	}
}

func (v *view) text(id uint16) string {
	s, _, err := Text(v, id, v.cp)
	v.report(err)
	return s
}

// firstText returns the first of the properties that is not empty.
func (v *view) firstText(ids ...uint16) string {
	for _, id := range ids {
		if s := v.text(id); s != "" {
			return s
		}
	}
	return ""
}

func get[T any](v *view, id uint16, typ Type) (T, bool) {
	x, ok, err := v.Value(NewTag(id, typ))
	v.report(err)
	t, is := x.(T)
	return t, ok && is
}

func (v *view) int(id uint16) (int, bool) {
	if n, ok := get[int32](v, id, TypeInt32); ok {
		return int(n), true
	}
	n, ok := get[int16](v, id, TypeInt16)
	return int(n), ok
}

func (v *view) bool(id uint16) bool {
	b, _ := get[bool](v, id, TypeBool)
	return b
}

func (v *view) time(id uint16) (Time, bool) { return get[Time](v, id, TypeTime) }

func (v *view) bytes(id uint16) []byte {
	b, _ := get[[]byte](v, id, TypeBinary)
	return b
}

// named returns the id that a named property has here.
func (v *view) named(set GUID, id uint32, typ Type) (uint16, bool) {
	t, ok := v.Lookup(Name{Set: set, ID: id}, typ)
	return t.ID(), ok
}

// texts returns a property of many strings.
func (v *view) texts(id uint16) []string {
	if s, ok := get[[]string](v, id, TypeString|MultiValued); ok {
		return s
	}
	var out []string
	list, _ := get[[]String8](v, id, TypeString8|MultiValued)
	for _, s := range list {
		out = append(out, codepage.Decode(v.cp, s))
	}
	return out
}

func upper(s string) string { return strings.ToUpper(strings.TrimSpace(s)) }
