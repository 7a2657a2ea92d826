package pst

import (
	"iter"

	"expost/mapi"
)

// Message is an item of any class: of a folder, or embedded in an attachment
// ([MS-PST] 2.4.5).
type Message struct {
	*properties
	node    *node
	parent  uint32
	deleted bool
	nest    *nest
}

var _ mapi.Message = (*Message)(nil)

// The limits of what is embedded in one item of a folder: how deep, and how
// often messages are opened in all.
const (
	maxDepth = 256
	maxOpens = 10000
)

// nest is the way down to an embedded message, by the blocks of the messages.
type nest struct {
	up    *nest
	data  uint64
	depth int
	opens *int // shared by all below an item
}

// message opens an item of a folder.
func (f *File) message(nid uint32) (*Message, error) {
	e, ok, err := f.dir.node(nid)
	if err != nil {
		return nil, at(nid, err)
	}
	if !ok {
		return nil, damaged(Place{Node: nid}, "a folder lists the item, but there is no such node")
	}
	m, err := newMessage(f.nodeOf(e), &nest{data: e.data, opens: new(int)})
	if err != nil {
		return nil, err
	}
	m.parent, m.deleted = e.parent, f.isDeleted(nid)
	return m, nil
}

// Message opens an item by its id, for those who kept it.
func (f *File) Message(id uint32) (*Message, error) {
	if t := id & 0x1F; t != typeMessage && t != typeAssociated {
		return nil, damaged(Place{Node: id}, "the node is no item")
	}
	return f.message(id)
}

// Has tells whether the file has a node of this id.
func (f *File) Has(id uint32) bool {
	_, ok, err := f.dir.node(id)
	return ok || err != nil
}

func newMessage(n *node, way *nest) (*Message, error) {
	p, err := openProperties(n)
	if err != nil {
		return nil, err
	}
	return &Message{properties: p, node: n, nest: way}, nil
}

// ID returns the node id: unique in the file for an item of a folder, in its
// attachment for an embedded one.
func (m *Message) ID() uint32 { return m.node.nid }

// Parent returns the id of the folder that the node tree records, 0 for an
// embedded message.
func (m *Message) Parent() uint32 { return m.parent }

// Deleted tells whether the item is in no tree of the file and was found by
// Recover.
func (m *Message) Deleted() bool { return m.deleted }

// Class returns the message class, such as "IPM.Note".
func (m *Message) Class() string { return m.text(0x001A) }

// Recipients implements mapi.Message ([MS-PST] 2.4.5.3.1).
func (m *Message) Recipients() iter.Seq2[mapi.Properties, error] {
	return func(yield func(mapi.Properties, error) bool) {
		t, err := m.table(nidRecipients)
		if err != nil {
			yield(nil, err)
			return
		}
		if t == nil {
			return
		}
		for row, err := range t.all() {
			if err != nil && !yield(nil, err) || err == nil && !yield(row, nil) {
				return
			}
		}
	}
}

// Attachments implements mapi.Message: the attachments of the table, and
// those that it has lost ([MS-PST] 2.4.6).
func (m *Message) Attachments() iter.Seq2[mapi.Attachment, error] {
	return func(yield func(mapi.Attachment, error) bool) {
		ids, err := m.attachmentIDs()
		if err != nil && !yield(nil, err) {
			return
		}
		for _, nid := range ids {
			a, err := m.attachment(nid)
			if err != nil && !yield(nil, err) || err == nil && !yield(a, nil) {
				return
			}
		}
	}
}

// attachmentIDs returns the subnodes that are attachments, in the order of the
// table. With an error some may be missing.
func (m *Message) attachmentIDs() ([]uint32, error) {
	t, broken := m.table(nidAttachments)
	var ids []uint32
	seen := make(map[uint32]bool)
	add := func(nid uint32) {
		if nid&0x1F == typeAttachment && !seen[nid] {
			seen[nid] = true
			ids = append(ids, nid)
		}
	}
	if t != nil {
		for _, r := range t.refs() {
			add(r.id)
		}
	}
	for s, err := range m.node.subnodes() {
		if err != nil {
			broken = err
			continue
		}
		add(s.nid)
	}
	return ids, broken
}

// table opens a table of the message, or returns nil where it has none.
func (m *Message) table(nid uint32) (*table, error) {
	n, ok, err := m.node.subnode(nid)
	if err != nil || !ok {
		return nil, err
	}
	t, err := openTable(n)
	if err != nil {
		return nil, err
	}
	return t, nil
}
