package pst

import (
	"errors"
	"hash/crc32"

	"expost/mapi"
)

// namesWriter gathers the named properties of a file ([MS-PST] 2.4.7).
type namesWriter struct {
	ids     map[mapi.Name]uint16
	guids   map[mapi.GUID]uint16 // their places in the list, from 3 on
	list    []byte               // of GUIDs
	entries []byte
	texts   []byte
	buckets [nameBuckets][]byte
}

const nameBuckets = 251

// newNamesWriter returns a map that has the names which nearly every item has:
// some readers refuse a file without any.
func newNamesWriter() *namesWriter {
	n := &namesWriter{ids: make(map[mapi.Name]uint16), guids: make(map[mapi.GUID]uint16)}
	for _, id := range []uint32{0x8501, 0x8502, 0x8503, 0x8506, 0x8510, 0x8516, 0x8517, 0x8518, 0x8530, 0x8580} {
		_, _ = n.id(mapi.Name{Set: mapi.SetCommon, ID: id}) // there is room
	}
	_, _ = n.id(mapi.Name{Set: setPublicStrings, String: "Keywords"})
	return n
}

// id returns the id of a named property.
func (n *namesWriter) id(name mapi.Name) (uint16, error) {
	if id, ok := n.ids[name]; ok {
		return id, nil
	}
	index := len(n.ids)
	if index >= 0x7FFE {
		return 0, errors.New("more than 32,766 named properties do not fit into a PST file")
	}
	guid := n.guid(name.Set) << 1
	key, hash := name.ID, name.ID
	if name.String != "" {
		guid |= 1
		text := wideBytes(name.String)
		key, hash = uint32(len(n.texts)), nameHash(text)
		n.texts = append(le.AppendUint32(n.texts, uint32(len(text))), text...)
		for len(n.texts)%4 != 0 {
			n.texts = append(n.texts, 0)
		}
	}
	entry := func(key uint32) []byte {
		return le.AppendUint16(le.AppendUint16(le.AppendUint32(nil, key), guid), uint16(index))
	}
	n.entries = append(n.entries, entry(key)...)
	b := (hash ^ uint32(guid)) % nameBuckets
	n.buckets[b] = append(n.buckets[b], entry(hash)...)
	n.ids[name] = uint16(0x8000 + index)
	return n.ids[name], nil
}

// guid returns the number of a property set.
func (n *namesWriter) guid(set mapi.GUID) uint16 {
	switch set {
	case setMAPI:
		return 1
	case setPublicStrings:
		return 2
	}
	i, ok := n.guids[set]
	if !ok {
		i = uint16(3 + len(n.guids))
		n.guids[set] = i
		n.list = append(n.list, set[:]...)
	}
	return i
}

// nameHash is the checksum of a name's bytes ([MS-PST] 2.4.7.5).
func nameHash(b []byte) uint32 { return ^crc32.Update(^uint32(0), crc32.IEEETable, b) }

// writeNames writes the name-to-id map.
func (w *Writer) writeNames() error {
	p := w.newContext()
	p.add(0x0001, mapi.TypeInt32, int32(nameBuckets))
	p.add(0x0002, mapi.TypeBinary, w.names.list)
	p.add(0x0003, mapi.TypeBinary, w.names.entries)
	p.add(0x0004, mapi.TypeBinary, w.names.texts)
	for i, b := range w.names.buckets {
		if len(b) > 0 {
			p.add(uint16(0x1000+i), mapi.TypeBinary, b)
		}
	}
	return w.addContext(p, nidNames, 0)
}
