package pst

import "expost/mapi"

// The property sets that need no entry in the list of GUIDs ([MS-PST]
// 2.4.7.1, wGuid).
var (
	setMAPI          = mapi.GUID{0x28, 0x03, 0x02, 0, 0, 0, 0, 0, 0xC0, 0, 0, 0, 0, 0, 0, 0x46}
	setPublicStrings = mapi.GUID{0x29, 0x03, 0x02, 0, 0, 0, 0, 0, 0xC0, 0, 0, 0, 0, 0, 0, 0x46}
)

// names is the name-to-id map ([MS-PST] 2.4.7), both ways.
type names struct {
	ids   map[mapi.Name]uint16
	names map[uint16]mapi.Name
}

// named returns the map, read when it is first asked for. One that cannot be
// read is reported, and empty.
func (f *File) named() *names {
	f.namesOnce.Do(func() {
		f.names = &names{make(map[mapi.Name]uint16), make(map[uint16]mapi.Name)}
		if err := f.names.read(f); err != nil {
			f.report(at(nidNames, err))
		}
	})
	return f.names
}

func (m *names) read(f *File) error {
	n, err := f.openNode(nidNames)
	if err != nil {
		return err
	}
	p, err := openProperties(n)
	if err != nil {
		return err
	}
	guids, entries, texts := p.binary(0x0002), p.binary(0x0003), p.binary(0x0004)
	for ; len(entries) >= 8; entries = entries[8:] {
		// NAMEID: dwPropertyID, wGuid, wPropIdx ([MS-PST] 2.4.7.1).
		id, guid, index := le.Uint32(entries), le.Uint16(entries[4:]), le.Uint16(entries[6:])
		name := mapi.Name{Set: set(guids, int(guid>>1)), ID: id}
		if guid&1 != 0 {
			name = mapi.Name{Set: name.Set, String: nameString(texts, id)}
			if name.String == "" {
				f.report(damaged(Place{Node: nidNames}, "property %#x has a name beyond the end of the names, or none", 0x8000+int(index)))
				continue
			}
		}
		if index >= 0x8000 {
			continue
		}
		m.names[0x8000+index] = name
		if _, ok := m.ids[name]; !ok {
			m.ids[name] = 0x8000 + index
		}
	}
	return nil
}

// set returns the property set that wGuid names.
func set(guids []byte, i int) mapi.GUID {
	switch {
	case i == 1:
		return setMAPI
	case i == 2:
		return setPublicStrings
	case i >= 3 && 16*(i-2) <= len(guids):
		return mapi.GUID(guids[16*(i-3) : 16*(i-2)])
	}
	return mapi.GUID{}
}

// nameString reads a counted UTF-16 string, cut at the end of b.
func nameString(b []byte, off uint32) string {
	if int64(off)+4 > int64(len(b)) {
		return ""
	}
	n := int64(le.Uint32(b[off:]))
	b = b[off+4:]
	return utf16String(b[:min(n, int64(len(b)))])
}
