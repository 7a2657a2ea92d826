package mapi

import (
	"bytes"
	"encoding/binary"
	"unicode/utf16"

	"expost/mapi/codepage"
)

// The providers of EntryIDs ([MS-OXCDATA] 2.2.5, [MS-OXOCNTC] 2.2.2.4.1.1).
var (
	providerEX      = GUID{0xDC, 0xA7, 0x40, 0xC8, 0xC0, 0x42, 0x10, 0x1A, 0xB4, 0xB9, 0x08, 0x00, 0x2B, 0x2F, 0xE1, 0x82}
	providerOneOff  = GUID{0x81, 0x2B, 0x1F, 0xA4, 0xBE, 0xA3, 0x10, 0x19, 0x9D, 0x6E, 0x00, 0xDD, 0x01, 0x0F, 0x54, 0x02}
	providerWrapped = GUID{0xC0, 0x91, 0xAD, 0xD3, 0x51, 0x9D, 0xCF, 0x11, 0xA4, 0xA9, 0x00, 0xAA, 0x00, 0x47, 0xFA, 0xA4}
	providerContact = GUID{0xFE, 0x42, 0xAA, 0x0A, 0x18, 0xC7, 0x1A, 0x10, 0xE8, 0x85, 0x0B, 0x65, 0x1C, 0x24, 0x00, 0x00}
)

// Address is somebody as a message names them.
type Address struct {
	Name  string
	Type  string // "SMTP", "EX", "FAX" …, in capitals
	Email string // in the form of the type
}

// ParseEntryID returns the address that an address book EntryID holds, be it of
// Exchange, a one-off one, or one of these wrapped; cp is the code page of its
// 8-bit text. It returns false for EntryIDs that only point elsewhere.
func ParseEntryID(b []byte, cp int) (Address, bool) {
	for range 4 { // wrapped in wrapped is not written, but harmless
		if len(b) < 20 {
			return Address{}, false
		}
		switch GUID(b[4:20]) {
		case providerEX:
			if len(b) < 29 {
				return Address{}, false
			}
			dn, _ := cutText(b[28:], false, cp)
			return Address{Type: "EX", Email: dn}, dn != ""
		case providerOneOff:
			return parseOneOff(b, cp)
		case providerWrapped:
			if len(b) < 22 {
				return Address{}, false
			}
			b = b[21:]
		case providerContact:
			if len(b) < 36+20 {
				return Address{}, false
			}
			b = b[36:]
		default:
			return Address{}, false
		}
	}
	return Address{}, false
}

// oneOff makes a one-off EntryID, in Unicode.
func oneOff(a Address) []byte {
	b := append(make([]byte, 4), providerOneOff[:]...)
	b = append(b, 0, 0, 0x01, 0x90) // version; MAPI_UNICODE and no TNEF
	for _, s := range []string{a.Name, a.Type, a.Email} {
		for _, u := range utf16.Encode([]rune(s)) {
			if u != 0 {
				b = binary.LittleEndian.AppendUint16(b, u)
			}
		}
		b = append(b, 0, 0)
	}
	return b
}

// parseOneOff reads a one-off EntryID ([MS-OXCDATA] 2.2.5.1).
func parseOneOff(b []byte, cp int) (Address, bool) {
	if len(b) < 24 {
		return Address{}, false
	}
	wide := binary.LittleEndian.Uint16(b[22:])&0x8000 != 0
	b = b[24:]
	var a Address
	a.Name, b = cutText(b, wide, cp)
	a.Type, b = cutText(b, wide, cp)
	a.Email, _ = cutText(b, wide, cp)
	a.Type = upper(a.Type)
	return a, a.Email != ""
}

// cutText returns the text up to a NUL, and what follows.
func cutText(b []byte, wide bool, cp int) (string, []byte) {
	if !wide {
		s, rest, _ := bytes.Cut(b, []byte{0})
		return codepage.Decode(cp, s), rest
	}
	for i := 0; i+1 < len(b); i += 2 {
		if b[i] == 0 && b[i+1] == 0 {
			return wideText(b[:i]), b[i+2:]
		}
	}
	return wideText(b), nil
}

// wideText decodes UTF-16LE; halves of surrogate pairs become U+FFFD.
func wideText(b []byte) string {
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return string(utf16.Decode(units))
}

// entryList splits a FLATENTRYLIST ([MS-OXCDATA] 2.3.3).
func entryList(b []byte) [][]byte {
	if len(b) < 8 {
		return nil
	}
	b = b[8:]
	var list [][]byte
	for len(b) >= 4 {
		n := int(binary.LittleEndian.Uint32(b))
		b = b[4:]
		if n < 0 || n > len(b) {
			break
		}
		list = append(list, b[:n])
		b = b[min(len(b), (n+3)&^3):]
	}
	return list
}
