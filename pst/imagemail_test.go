package pst_test

import (
	"bytes"
	"fmt"

	"expost/mapi"
)

// The nodes of the mailboxes that tests write.
const (
	nidSubtree = 0x8022
	nidTrash   = 0x8062
	nidMany    = 0x8082 // a folder of many messages
	nidDeep    = 0x80A2 // below it
	nidFirst   = 0x200024
)

var recordKey = []byte("0123456789abcdef")

// category is a named property, at 0x8001 in the files written.
var category = mapi.Name{Set: mapi.GUID{0x29, 3, 2, 0, 0, 0, 0, 0, 0xC0, 0, 0, 0, 0, 0, 0, 0x46}, String: "Keywords"}

func entryID(nid uint32) []byte {
	return le.AppendUint32(append(make([]byte, 4), recordKey...), nid)
}

// mailbox writes the nodes every file has.
func (im *image) mailbox() {
	im.node(im.pc(0x21, 0, []imageProp{blob(0x0FF9, recordKey), im.text(0x3001, "Test"),
		blob(0x35E0, entryID(nidSubtree)), blob(0x35E3, entryID(nidTrash)), number(0x67FF, mapi.TypeInt32, 0x12345678)}))
	names := append(le.AppendUint32(nil, 16), wide("Keywords")...)
	entries := le.AppendUint16(le.AppendUint16(le.AppendUint32(nil, 0x8502), 3<<1), 0)
	entries = le.AppendUint16(le.AppendUint16(le.AppendUint32(entries, 0), 2<<1|1), 1)
	im.node(im.pc(0x61, 0, []imageProp{number(1, mapi.TypeInt32, 251), blob(2, recordKey), blob(3, entries), blob(4, names)}))
	im.folder(0x122, 0x122, "", []uint32{nidSubtree})
	im.folder(nidSubtree, 0x122, "Top", []uint32{nidTrash, nidMany})
	im.folder(nidTrash, nidSubtree, "Corbeille", nil)
}

// folder writes a folder; items are added to it afterwards.
func (im *image) folder(nid, parent uint32, name string, below []uint32, items ...uint32) {
	im.node(im.pc(nid, parent, []imageProp{im.text(0x3001, name), number(0x3602, mapi.TypeInt32, uint64(len(items))),
		number(0x3603, mapi.TypeInt32, 0), number(0x360A, mapi.TypeBool, uint64(min(1, len(below))))}))
	rows := func(ids []uint32, text string) (out [][]imageProp) {
		for _, id := range ids {
			out = append(out, []imageProp{im.text(0x3001, fmt.Sprintf("%s %#x", text, id))})
		}
		return out
	}
	im.table(nid&^0x1F|0x0D, below, rows(below, "folder"))
	im.table(nid&^0x1F|0x0E, items, rows(items, "item"))
	im.table(nid&^0x1F|0x0F, nil, nil)
}

func (im *image) table(nid uint32, ids []uint32, rows [][]imageProp) { im.node(im.tc(nid, ids, rows)) }

// letter is a message to be written.
type letter struct {
	subject     string
	props       []imageProp
	recipients  int
	attachments [][]byte
	inside      *letter // an embedded message
}

// message writes a message and returns its node.
func (im *image) message(nid, parent uint32, l letter) imageNode {
	props := append([]imageProp{im.text(0x001A, "IPM.Note"), im.text(0x0037, l.subject), im.text(0x1000, "Body of "+l.subject),
		number(0x0E07, mapi.TypeInt32, 1), number(0x0E06, mapi.TypeTime, 0x01D0000000000000)}, l.props...)
	var subs []imageNode
	if l.recipients > 0 {
		var ids []uint32
		var rows [][]imageProp
		for i := range l.recipients {
			ids = append(ids, uint32(i))
			rows = append(rows, []imageProp{number(0x0C15, mapi.TypeInt32, 1), im.text(0x3001, fmt.Sprintf("Person %d", i)),
				im.text(0x3003, fmt.Sprintf("p%d@example.org", i)), number(0x3A40, mapi.TypeBool, 1)})
		}
		subs = append(subs, im.tc(0x692, ids, rows))
	}
	var ids []uint32
	var rows [][]imageProp
	add := func(n imageNode) {
		subs, ids = append(subs, n), append(ids, n.nid)
		rows = append(rows, []imageProp{number(0x3705, mapi.TypeInt32, 1)})
	}
	for i, a := range l.attachments {
		n := im.pc(uint32(0x400+i)<<5|5, 0, []imageProp{number(0x3705, mapi.TypeInt32, 1), im.text(0x3707, fmt.Sprintf("file%d.bin", i)), blob(0x3701, a)})
		add(n)
	}
	if l.inside != nil {
		inner := im.message(0x200004, 0, *l.inside)
		n := im.pc(0x3FF<<5|5, 0, []imageProp{number(0x3705, mapi.TypeInt32, 5), {tag: 0x3701000D, number: uint64(inner.nid)}}, inner)
		add(n)
	}
	if len(ids) > 0 {
		im.sortRows(ids, rows)
		subs = append(subs, im.tc(0x671, ids, rows))
	}
	return im.pc(nid, parent, props, subs...)
}

// sortRows puts the last row first, where its id belongs.
func (im *image) sortRows(ids []uint32, rows [][]imageProp) {
	last := len(ids) - 1
	if last > 0 && ids[last] < ids[0] {
		ids[0], ids[last] = ids[last], ids[0]
		rows[0], rows[last] = rows[last], rows[0]
	}
}

// pattern is content that tells where in it one is.
func pattern(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "line %d of a file that is long and compresses well\r\n", i)
	}
	return b.Bytes()[:n]
}

// shapes writes a mailbox of many shapes: lists of blocks of both levels, heaps
// and tables of many blocks, embedded messages, hundreds of attachments.
func (im *image) shapes(big int) []byte {
	im.mailbox()
	letters := []letter{
		{subject: "plain"},
		{subject: "recipients", recipients: 3000},
		{subject: "attachment", attachments: [][]byte{pattern(3000), pattern(100000), pattern(big)}},
		{subject: "many attachments", attachments: make([][]byte, 400)},
		{subject: "outer", inside: &letter{subject: "inner", recipients: 2, inside: &letter{subject: "innermost", attachments: [][]byte{pattern(9000)}}}},
		{subject: "wide", props: im.manyProps(24)},
		{subject: "named", props: []imageProp{{tag: 0x8001101F, bytes: multi("red", "green")}}},
	}
	for i := range letters[3].attachments {
		letters[3].attachments[i] = []byte(fmt.Sprint("content ", i))
	}
	for i := range 60 {
		letters = append(letters, letter{subject: fmt.Sprint("message ", i), recipients: 1})
	}
	var ids []uint32
	for i, l := range letters {
		nid := nidFirst + uint32(i)<<5
		im.node(im.message(nid, nidMany, l))
		ids = append(ids, nid)
	}
	im.folder(nidMany, nidSubtree, "Many", []uint32{nidDeep}, ids...)
	im.folder(nidDeep, nidMany, "Deep", nil)
	return im.finish()
}

// manyProps are large properties that make a heap of many blocks.
func (im *image) manyProps(n int) (props []imageProp) {
	for i := range n {
		props = append(props, blob(uint16(0x6100+i), pattern(3000+i)))
	}
	return props
}

// multi is the value of a multi-valued string property.
func multi(texts ...string) []byte {
	b, data := le.AppendUint32(nil, uint32(len(texts))), []byte(nil)
	for _, s := range texts {
		b = le.AppendUint32(b, uint32(4+4*len(texts)+len(data)))
		data = append(data, wide(s)...)
	}
	return append(b, data...)
}
