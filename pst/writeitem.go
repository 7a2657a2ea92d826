package pst

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"expost/mapi"
)

// left are properties that belong to the file an item was in, or that are
// written anew.
var left = []uint16{0x0E08, 0x0E09, 0x0E0A, 0x0E12, 0x0E13, 0x0E1B, 0x0E20, 0x0E21, 0x0FF4, 0x0FF8, 0x0FF9, 0x0FFA, 0x0FFB, 0x0FFF,
	0x65E0, 0x65E1, 0x65E2, 0x65E3, 0x6654, 0x67F2, 0x67F3}

// copyProperties writes the properties of an object into p.
func (w *Writer) copyProperties(p *contextWriter, from mapi.Properties, cp int, skip ...uint16) error {
	for t := range from.Tags() {
		if slices.Contains(left, t.ID()) || slices.Contains(skip, t.ID()) || t.Type() == mapi.TypeObject || t.Type() == 0 {
			continue
		}
		id, ok, err := w.newID(from, t)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if t.Type() == mapi.TypeBinary {
			s, err := from.Open(t)
			if err != nil {
				return err
			}
			p.stream(tag(id, mapi.TypeBinary), s)
			continue
		}
		v, ok, err := from.Value(t)
		if err != nil {
			return err
		}
		if ok && v != nil {
			typ, v := unicodeValue(t.Type(), v, cp)
			p.add(id, typ, v)
		}
	}
	return p.err
}

// newID returns the id of a property in the file that is written.
func (w *Writer) newID(from mapi.Properties, t mapi.Tag) (uint16, bool, error) {
	if t.ID() < 0x8000 {
		return t.ID(), true, nil
	}
	name, ok := from.Name(t)
	if !ok {
		return 0, false, nil // nobody can tell what it is
	}
	id, err := w.names.id(name)
	return id, true, err
}

// unicodeValue makes Unicode of text in a code page.
func unicodeValue(typ mapi.Type, v any, cp int) (mapi.Type, any) {
	switch v := v.(type) {
	case mapi.String8:
		return mapi.TypeString, v.Decode(cp)
	case []mapi.String8:
		out := make([]string, len(v))
		for i := range v {
			out[i] = v[i].Decode(cp)
		}
		return mapi.TypeString | mapi.MultiValued, out
	}
	return typ, v
}

// values are properties by the tags they have in a table.
func (w *Writer) values(from mapi.Properties, cp int) (map[mapi.Tag]any, error) {
	out := map[mapi.Tag]any{}
	for t := range from.Tags() {
		if t.Type() == mapi.TypeObject || t.Type()&mapi.MultiValued != 0 || slices.Contains(left, t.ID()) && t.ID() != 0x0FFF && t.ID() != 0x0FF9 {
			continue
		}
		id, ok, err := w.newID(from, t)
		if err != nil {
			return nil, err
		}
		v, have, err := from.Value(t)
		if err != nil {
			return nil, err
		}
		if ok && have && v != nil {
			typ, v := unicodeValue(t.Type(), v, cp)
			out[tag(id, typ)] = v
		}
	}
	return out, nil
}

// item writes a message as the node nid, and returns its row of the table of
// contents.
func (w *Writer) item(m mapi.Message, nid uint32) (nodeEntry, map[mapi.Tag]any, error) {
	cp := mapi.Codepage(m, 0)
	p := w.newContext()
	recipients, err := w.recipients(m, cp)
	if err != nil {
		return nodeEntry{}, nil, err
	}
	p.heap.subs = append(p.heap.subs, recipients)
	attachments, err := w.attachments(p, m, cp)
	if err != nil {
		return nodeEntry{}, nil, err
	}
	row := summary(m, cp)
	flags, _ := row[0x0E070003].(int32)
	if flags &^= 0x10; attachments > 0 {
		flags |= 0x10 // mfHasAttach
	}
	row[0x0E070003] = flags
	p.add(0x0E07, mapi.TypeInt32, flags)
	if err := w.copyProperties(p, m, cp, 0x0E07); err != nil {
		return nodeEntry{}, nil, err
	}
	w.complete(p, row, nid)
	n, err := p.finish(nid)
	return n, row, err
}

// complete adds what every item has.
func (w *Writer) complete(p *contextWriter, row map[mapi.Tag]any, nid uint32) {
	class, ok := row[0x001A001F].(string)
	if !ok || class == "" {
		class = "IPM.Note"
		row[0x001A001F] = class
		p.records = slices.DeleteFunc(p.records, func(r contextRecord) bool { return r.tag.ID() == 0x001A })
	}
	p.add(0x001A, mapi.TypeString, class)
	p.add(0x0E17, mapi.TypeInt32, int32(0))
	row[0x0E170003] = int32(0)
	var known mapi.Time
	for _, t := range []mapi.Tag{0x30080040, 0x0E060040, 0x00390040} {
		if v, ok := row[t].(mapi.Time); ok && known == 0 {
			known = v
		}
	}
	if known != 0 {
		p.add(0x3007, mapi.TypeTime, known)
		p.add(0x3008, mapi.TypeTime, known)
		row[0x30080040] = known
	}
	key := sha256.Sum256(binary.LittleEndian.AppendUint32(append([]byte("item"), w.record[:]...), nid))
	p.add(0x300B, mapi.TypeBinary, key[:16])
	size := int32(min(p.size+512, 1<<31-1))
	p.add(0x0E08, mapi.TypeInt32, size)
	row[0x0E080003] = size
}

// summary returns what the table of contents shows of an item.
func summary(m mapi.Message, cp int) map[mapi.Tag]any {
	row := map[mapi.Tag]any{}
	for _, t := range contentsColumns {
		if t.Type() == mapi.TypeString {
			if s, ok, _ := mapi.Text(m, t.ID(), cp); ok {
				if r := []rune(s); len(r) > 255 {
					s = string(r[:255])
				}
				row[t] = s
			}
			continue
		}
		if v, ok, err := m.Value(t); ok && err == nil && v != nil && !slices.Contains(left, t.ID()) {
			row[t] = v
		}
	}
	if _, ok := row[0x0037001F]; !ok {
		if s, ok, _ := mapi.Text(m, 0x0E1D, cp); ok {
			row[0x0037001F] = s
		}
	}
	return row
}

// mostColumns bounds the columns of a table: their number is a byte.
const mostColumns = 200

// recipients writes the table of recipients, which every item has.
func (w *Writer) recipients(m mapi.Message, cp int) (nodeEntry, error) {
	var rows []map[mapi.Tag]any
	columns := slices.Clone(recipientColumns)
	known := map[mapi.Tag]bool{tagRowID: true, tagRowVersion: true}
	for _, c := range columns {
		known[c] = true
	}
	for r, err := range m.Recipients() {
		if err != nil {
			return nodeEntry{}, err
		}
		row, err := w.values(r, cp)
		if err != nil {
			return nodeEntry{}, err
		}
		for t := range row {
			if !known[t] && len(columns) < mostColumns {
				known[t] = true
				columns = append(columns, t)
			}
		}
		rows = append(rows, row)
	}
	slices.Sort(columns[len(recipientColumns):])
	t := w.newTable(columns)
	for i, row := range rows {
		if err := t.row(uint32(i), row); err != nil {
			return nodeEntry{}, err
		}
	}
	return t.finish(nidRecipients)
}

// attachments writes the attachments of an item and their table as subnodes of
// p, and returns their number.
func (w *Writer) attachments(p *contextWriter, m mapi.Message, cp int) (int, error) {
	var table *tableWriter
	i := uint32(0)
	for a, err := range m.Attachments() {
		if err != nil {
			return 0, err
		}
		if table == nil {
			table = w.newTable(attachmentColumns)
		}
		nid := (0x400+i)<<5 | typeAttachment
		n, size, err := w.attachment(a, nid, cp)
		if err != nil {
			return 0, fmt.Errorf("attachment %d: %w", i+1, err)
		}
		i++
		p.heap.subs = append(p.heap.subs, n)
		p.size += size
		row := map[mapi.Tag]any{0x0E200003: int32(min(size, 1<<31-1)), 0x370B0003: int32(-1)}
		for _, t := range attachmentColumns[1:] {
			if t.Type() == mapi.TypeString {
				if s, ok, _ := mapi.Text(a, t.ID(), cp); ok {
					row[t] = s
				}
			} else if v, ok, err := a.Value(t); ok && err == nil && v != nil {
				row[t] = v
			}
		}
		if err := table.row(nid, row); err != nil {
			return 0, err
		}
	}
	if table == nil {
		return 0, nil
	}
	n, err := table.finish(nidAttachments)
	p.heap.subs = append(p.heap.subs, n)
	return int(i), err
}

// attachment writes an attachment, with the message that is embedded in it, and
// returns its size.
func (w *Writer) attachment(a mapi.Attachment, nid uint32, cp int) (nodeEntry, int64, error) {
	p := w.newContext()
	inner, embedded, err := a.Message()
	if err != nil {
		return nodeEntry{}, 0, err
	}
	method := int32(1)
	if v, ok, _ := a.Value(tag(idAttachMethod, mapi.TypeInt32)); ok {
		method, _ = v.(int32)
	}
	switch {
	case embedded:
		method = methodEmbedded
		own := w.nextItem<<5 | typeMessage // readers want it to be unique in the file
		w.nextItem++
		n, row, err := w.item(inner, own)
		if err != nil {
			return nodeEntry{}, 0, err
		}
		size, _ := row[0x0E080003].(int32)
		p.object(0x3701, n, int64(size))
	case method == methodOLE:
		if s, err := a.Open(tagAttachObject); err == nil {
			bid, size, err := w.data(s)
			if err != nil {
				return nodeEntry{}, 0, err
			}
			p.object(0x3701, nodeEntry{nid: firstItem<<5 | 0x1F, data: bid}, size)
		}
	}
	p.add(idAttachMethod, mapi.TypeInt32, method)
	if err := w.copyProperties(p, a, cp, idAttachMethod); err != nil {
		return nodeEntry{}, 0, err
	}
	p.add(0x370B, mapi.TypeInt32, int32(-1))
	size := p.size
	p.add(0x0E20, mapi.TypeInt32, int32(min(size+64, 1<<31-1)))
	n, err := p.finish(nid)
	return n, size, err
}

const methodOLE = 6
