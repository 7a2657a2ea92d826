package gal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
)

// sidText returns a security identifier as Windows writes it, "S-1-5-21-…", or
// "" ([MS-DTYP] 2.4.2).
func sidText(b []byte) string {
	if len(b) < 8 || b[0] != 1 || len(b) != 8+4*int(b[1]) {
		return ""
	}
	var s strings.Builder
	var authority uint64
	for _, c := range b[2:8] {
		authority = authority<<8 | uint64(c)
	}
	fmt.Fprintf(&s, "S-1-%d", authority)
	for i := 8; i < len(b); i += 4 {
		fmt.Fprintf(&s, "-%d", binary.LittleEndian.Uint32(b[i:]))
	}
	return s.String()
}

// sendAsRight is the extended right to send as a mailbox, the GUID
// ab721a54-1e2f-11d0-9819-00aa0040529b as it is stored ([MS-ADTS] 5.1.3.2.1).
func sendAsRight() []byte {
	return []byte{0x54, 0x1A, 0x72, 0xAB, 0x2F, 0x1E, 0xD0, 0x11, 0x98, 0x19, 0x00, 0xAA, 0x00, 0x40, 0x52, 0x9B}
}

// sendAs returns the SIDs that a security descriptor lets send as its entry,
// without those that it inherits ([MS-DTYP] 2.4.6, 2.4.5, 2.4.4.3). What of a
// descriptor cannot be read says nothing.
func sendAs(sd []byte) []string {
	const (
		allowedObject = 0x05 // ACCESS_ALLOWED_OBJECT_ACE
		inherited     = 0x10
		controlAccess = 0x100
		hasType       = 1
		hasInherited  = 2
	)
	le := binary.LittleEndian
	if len(sd) < 20 {
		return nil
	}
	dacl := int(le.Uint32(sd[16:]))
	if dacl < 20 || dacl > len(sd)-8 {
		return nil
	}
	count, rest := int(le.Uint16(sd[dacl+4:])), sd[dacl+8:]
	var who []string
	for ; count > 0 && len(rest) >= 4; count-- {
		size := int(le.Uint16(rest[2:]))
		if size < 4 || size > len(rest) {
			return who
		}
		ace := rest[:size]
		rest = rest[size:]
		if ace[0] != allowedObject || ace[1]&inherited != 0 || size < 12+16 || le.Uint32(ace[4:])&controlAccess == 0 || le.Uint32(ace[8:])&hasType == 0 {
			continue
		}
		sid := ace[28:]
		if le.Uint32(ace[8:])&hasInherited != 0 {
			if len(sid) < 16 {
				continue
			}
			sid = sid[16:]
		}
		if text := sidText(sid); text != "" && bytes.Equal(ace[12:28], sendAsRight()) {
			who = append(who, text)
		}
	}
	return who
}
