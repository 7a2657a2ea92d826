// Package msg reads the .msg files of Outlook ([MS-OXMSG]).
package msg

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"expost/mapi"
)

const (
	maxDepth   = 100     // messages in messages
	maxEager   = 1 << 12 // bytes of a value that is read at once
	maxObjects = 100_000 // recipients and attachments
)

// Open reads a message; large properties are read from r when they are asked for.
// What is damaged is left out and joined into the error, which is of type
// Damage, beside the message.
func Open(r io.ReaderAt, size int64) (mapi.Message, error) {
	c, err := openCFB(r, size)
	if err != nil {
		return nil, fmt.Errorf("opening a .msg file: %w", err)
	}
	f := &file{cfb: c, used: map[uint32]bool{}}
	m := &mapi.Item{}
	f.names = &mapi.Item{}
	f.readNames()
	f.message(m, 0, 32, 0)
	if len(f.damage) > 0 {
		return m, Damage(f.damage)
	}
	return m, nil
}

// Damage is what could not be read of a file that else could.
type Damage []error

// Error implements error.
func (d Damage) Error() string { return errors.Join(d...).Error() }

type file struct {
	*cfb
	names  *mapi.Item
	used   map[uint32]bool // storages, each of which is read once
	damage []error
}

func (f *file) damaged(err error) {
	if len(f.damage) < 100 {
		f.damage = append(f.damage, err)
	}
}

// message reads a storage's properties, recipients and attachments; head is how
// long the header of its property stream is.
func (f *file) message(m *mapi.Item, storage uint32, head, depth int) {
	f.properties(m, storage, head)
	var rows, files []uint32
	for _, n := range f.children(storage) {
		switch name := strings.ToLower(f.dir[n].name); {
		case f.used[n] || f.dir[n].kind != 1 || len(f.used) > maxObjects:
		case strings.HasPrefix(name, "__recip_version1.0_"):
			f.used[n] = true
			rows = append(rows, n)
		case strings.HasPrefix(name, "__attach_version1.0_"):
			f.used[n] = true
			files = append(files, n)
		}
	}
	byName := func(a, b uint32) int {
		return strings.Compare(strings.ToLower(f.dir[a].name), strings.ToLower(f.dir[b].name))
	}
	slices.SortFunc(rows, byName)
	slices.SortFunc(files, byName)
	for _, n := range rows {
		row := &mapi.Item{}
		f.properties(row, n, 8)
		m.To = append(m.To, row)
	}
	for _, n := range files {
		m.Attached = append(m.Attached, f.attachment(n, depth))
	}
}

func (f *file) attachment(storage uint32, depth int) *mapi.Item {
	a := &mapi.Item{}
	f.properties(a, storage, 8)
	for _, n := range f.children(storage) {
		e := f.dir[n]
		if e.kind != 1 || f.used[n] || !strings.EqualFold(e.name, "__substg1.0_3701000D") {
			continue
		}
		f.used[n] = true
		if depth+1 >= maxDepth {
			f.damaged(fmt.Errorf("messages are nested more than %d deep", maxDepth))
			continue
		}
		if !f.holdsMessage(n) {
			f.ole(a, n)
			continue
		}
		inner := &mapi.Item{}
		f.message(inner, n, 24, depth+1)
		a.Embedded = inner
	}
	return a
}

func (f *file) holdsMessage(storage uint32) bool {
	return slices.ContainsFunc(f.children(storage), func(n uint32) bool { return strings.EqualFold(f.dir[n].name, propertyStream) })
}

// ole makes the content of an OLE object its data: the stream of its own content
// where it has one, else the largest of its streams.
func (f *file) ole(a *mapi.Item, storage uint32) {
	best := uint32(0)
	for _, n := range f.children(storage) {
		e := f.dir[n]
		if e.kind == 2 && (best == 0 || f.dir[best].name != "CONTENTS" && (e.name == "CONTENTS" || e.size > f.dir[best].size)) {
			best = n
		}
	}
	if best != 0 {
		a.Set(mapi.NewTag(0x3701, mapi.TypeObject), mapi.Opener(func() (mapi.Stream, error) { return f.open(best), nil }))
	}
}

const propertyStream = "__properties_version1.0"

// properties reads the streams of one object ([MS-OXMSG] 2.4, 2.1.3).
func (f *file) properties(m *mapi.Item, storage uint32, head int) {
	m.ShareNames(f.names)
	streams := map[string]uint32{}
	for _, n := range f.children(storage) {
		if f.dir[n].kind == 2 {
			streams[strings.ToLower(f.dir[n].name)] = n
		}
	}
	if n, ok := streams[propertyStream]; ok {
		f.fixed(m, n, head)
	}
	for name, n := range streams {
		hex, ok := strings.CutPrefix(name, "__substg1.0_")
		if !ok || len(hex) != 8 {
			continue
		}
		tag, err := strconv.ParseUint(hex, 16, 32)
		if err != nil {
			continue
		}
		f.variable(m, mapi.Tag(tag), n, streams)
	}
}

func (f *file) fixed(m *mapi.Item, n uint32, head int) {
	b, err := f.read(n)
	if err != nil {
		f.damaged(fmt.Errorf("reading the property list %q: %w", f.dir[n].name, err))
	}
	if len(b) < head {
		return
	}
	for b = b[head:]; len(b) >= 16; b = b[16:] {
		tag := mapi.Tag(le.Uint32(b))
		if v := mapi.Fixed(tag.Type(), b[8:16]); v != nil {
			m.Set(tag, v)
		}
	}
}

func (f *file) variable(m *mapi.Item, tag mapi.Tag, n uint32, streams map[string]uint32) {
	typ := tag.Type()
	switch {
	case typ&mapi.MultiValued != 0:
		f.multi(m, tag, n, streams)
	case typ == mapi.TypeGUID:
		if b, err := f.read(n); err == nil && len(b) >= 16 {
			m.Set(tag, mapi.GUID(b[:16]))
		}
	case typ != mapi.TypeString && typ != mapi.TypeString8 && typ != mapi.TypeBinary && typ != mapi.TypeObject && typ != mapi.TypeServerID:
	case f.dir[n].size > maxEager || typ == mapi.TypeObject:
		m.Set(tag, mapi.Opener(func() (mapi.Stream, error) { return f.open(n), nil }))
	default:
		b, err := f.read(n)
		if err != nil {
			f.damaged(fmt.Errorf("reading property %08x: %w", uint32(tag), err))
		}
		m.Set(tag, mapi.Bytes(typ, b))
	}
}

// multi reads a multi-valued property ([MS-OXMSG] 2.1.4): its values lie one after
// the other, or where they differ in size each in a stream of its own.
func (f *file) multi(m *mapi.Item, tag mapi.Tag, n uint32, streams map[string]uint32) {
	one := tag.Type() &^ mapi.MultiValued
	b, err := f.read(n)
	if err != nil {
		f.damaged(fmt.Errorf("reading property %08x: %w", uint32(tag), err))
	}
	var values []any
	if size := mapi.FixedSize(one); size > 0 {
		for ; len(b) >= size; b = b[size:] {
			values = append(values, mapi.Fixed(one, b))
		}
	} else {
		for i := range len(b) / 4 {
			k, ok := streams[fmt.Sprintf("__substg1.0_%08x-%08x", uint32(tag), i)]
			if !ok {
				break
			}
			v, _ := f.read(k)
			x := mapi.Bytes(one, v)
			if s, is := x.(string); is {
				x = strings.TrimRight(s, "\x00")
			}
			values = append(values, x)
		}
	}
	if v := mapi.Slice(one, values); v != nil {
		m.Set(tag, v)
	}
}

const maxRead = 64 << 20

func (f *file) read(n uint32) ([]byte, error) {
	s := f.open(n)
	b, err := io.ReadAll(io.LimitReader(s, maxRead))
	if want := min(f.dir[n].size, maxRead); err == nil && int64(len(b)) < want {
		err = fmt.Errorf("%q ends after %d of %d bytes", f.dir[n].name, len(b), want)
	}
	return b, err
}

// readNames reads the named properties ([MS-OXMSG] 2.2.3).
func (f *file) readNames() {
	var storage uint32
	for _, n := range f.children(0) {
		if strings.EqualFold(f.dir[n].name, "__nameid_version1.0") {
			storage = n
		}
	}
	if storage == 0 {
		return
	}
	var guids, entries, texts []byte
	for _, n := range f.children(storage) {
		switch strings.ToUpper(f.dir[n].name) {
		case "__SUBSTG1.0_00020102":
			guids, _ = f.read(n)
		case "__SUBSTG1.0_00030102":
			entries, _ = f.read(n)
		case "__SUBSTG1.0_00040102":
			texts, _ = f.read(n)
		}
	}
	for ; len(entries) >= 8; entries = entries[8:] {
		if name, ok := propertyName(le.Uint32(entries), le.Uint16(entries[4:]), guids, texts); ok {
			f.names.SetName(0x8000+le.Uint16(entries[6:]), name)
		}
	}
}

func propertyName(id uint32, kind uint16, guids, texts []byte) (mapi.Name, bool) {
	var name mapi.Name
	switch g := int(kind >> 1); {
	case g == 1:
		name.Set = mapi.SetMAPI
	case g == 2:
		name.Set = mapi.SetPublicStrings
	case g >= 3 && (g-2)*16 <= len(guids):
		name.Set = mapi.GUID(guids[(g-3)*16:])
	default:
		return name, false
	}
	if kind&1 == 0 {
		name.ID = id
		return name, true
	}
	if int64(id)+4 > int64(len(texts)) {
		return name, false
	}
	texts = texts[id:]
	n := int64(le.Uint32(texts))
	if n > int64(len(texts))-4 {
		return name, false
	}
	name.String, _ = mapi.Bytes(mapi.TypeString, texts[4:4+n]).(string)
	return name, name.String != ""
}
